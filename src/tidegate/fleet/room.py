"""Room: whether there may be one more workload, and which idle ones end to make room for it.

Knows the caps; how much memory there is, `host` says. Ends workloads, and starts none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tidegate.domain.errors import Overloaded
from tidegate.domain.server import Sharing
from tidegate.domain.workload import UNCLAIMED, WorkloadState
from tidegate.fleet.host import RETRY_AFTER, Host
from tidegate.fleet.pool import Pool
from tidegate.fleet.workload import Workload

_SPARE = 10.0
"""Seconds without a call after which one that knows nothing may end for another: those that belong together come faster."""
_MOST = 8
"""Workloads that end for one other at most."""
_ABANDONED = 60.0
"""Seconds of idleness after which a session's workload may be ended for another session of its principal."""


@dataclass(frozen=True, slots=True)
class Caps:
    """Most workloads there may be."""

    workloads: int = 200
    per_server: int = 64
    per_principal: int = 32


class Room:
    """Says whether one more workload may be, and makes room for it where it can."""

    def __init__(
        self,
        pools: Mapping[str, Pool],
        everything: Callable[[], Iterable[Pool]],
        host: Host,
        caps: Caps,
        wanted: Callable[[str, str], bool],
    ) -> None:
        """`everything` gives the pools that only drain too. `wanted` tells of a workload (server, sharing key) whether
        somebody waits to hear from it.
        """
        self.caps = caps
        self._pools = pools
        self._everything = everything
        self._host = host
        self._wanted = wanted

    def admit(self, pool: Pool, sharing: str, *, called: bool) -> None:
        """Hold the caps, and see that there is memory. For a call, what is idle ends where that makes room.

        Raises:
            Overloaded: there is no room. Nothing was ended.
        """
        caps, everything = self.caps, [w for each in self._everything() for w in each.workloads.values()]
        spare = self._spare(pool.clock()) if called else []
        ending = _under("on this gateway", everything, caps.workloads, spare)
        left = [w for w in pool.workloads.values() if w not in ending]
        ending += _under(f"of server {pool.spec.name}", left, caps.per_server, spare)
        if pool.spec.sharing is not Sharing.SHARED and sharing != UNCLAIMED:
            mine = [w for w in everything if w.sharing[:32] == sharing[:32] and w not in ending]
            left_behind = [w for w in mine if w not in spare and _is_abandoned(w, pool.clock())]
            may_end = [*spare, *sorted(left_behind, key=_last_used)]
            ending += _under("for this principal", mine, caps.per_principal, may_end)
        self._host.admit(pool, lambda short: self._free(pool, short, spare, ending))
        self._end(ending, pool)

    def admit_again(self, pool: Pool, workload: Workload) -> None:
        """See that there is memory to start one again.

        Raises:
            Overloaded: there is not. Nothing was ended.
        """
        ending: list[Workload] = []
        spare = self._spare(pool.clock()) if workload.waiting else []
        self._host.admit(pool, lambda short: self._free(pool, short, spare, ending), again=workload)
        self._end(ending, pool)

    def _spare(self, now: float) -> list[Workload]:
        """Give those that may end for another, the one first that was idle longest."""
        found = [
            w
            for pool in self._pools.values()
            if len(pool.tracks) == 1  # else a change is under way, which counts on them
            for w in pool.workloads.values()
            if _is_spare(w, now) and not self._wanted(pool.spec.name, w.sharing)
        ]
        return sorted(found, key=_last_used)

    def _free(self, pool: Pool, short: int, spare: Sequence[Workload], ending: list[Workload]) -> int:
        """Choose who is to end so that so many bytes are free; give how many will be."""
        there = self._host.beside(pool.spec.runtime)
        chosen = list(ending)
        freed = sum(self._host.gives(w) for w in chosen if w in there)
        for workload in spare:
            if freed >= short or len(chosen) >= _MOST:
                break
            if workload in there and workload not in chosen and (gives := self._host.gives(workload)):
                chosen.append(workload)
                freed += gives
        if freed >= short:
            ending[:] = chosen
        return freed

    def _end(self, ending: Sequence[Workload], pool: Pool) -> None:
        for workload in ending:
            self._host.expect(workload)
            for each in self._pools.values():
                if each.workloads.get(workload.sharing) is workload:
                    each.retire(workload, f"ended while idle, to make room for server {pool.spec.name}")


def _under(what: str, there: Sequence[Workload], cap: int, may_end: Sequence[Workload]) -> list[Workload]:
    """Give those that have to end so that one more is within a cap.

    Raises:
        Overloaded: not enough of them may.
    """
    over = len(there) + 1 - cap
    if over <= 0:
        return []
    found = [w for w in may_end if w in there][:over]
    if over > min(_MOST, len(found)):
        raise Overloaded(
            f"{len(there)} workloads run {what}, which is the limit; try again later",
            data={"retryAfter": RETRY_AFTER},
        )
    return found


def _is_spare(workload: Workload, now: float) -> bool:
    """Tell whether nobody misses it: it is idle, and knows nothing, or has been so for as long as it is kept at all."""
    paused = workload.state is WorkloadState.PAUSED
    if not (paused or workload.channel is not None) or _is_used(workload):
        return False
    spec, idle = workload.spec, now - workload.last_used
    if spec.remembers and workload.calls:
        return 0 < spec.timeouts.idle < idle
    return paused or idle > _SPARE


def _is_abandoned(workload: Workload, now: float) -> bool:
    """Tell whether it is a session's that was left, as such sessions often are."""
    if workload.spec.sharing is not Sharing.SESSION or workload.channel is None or _is_used(workload):
        return False
    return now - workload.last_used > _ABANDONED


def _is_used(workload: Workload) -> bool:
    return bool(workload.in_flight or workload.waiting or workload.held or workload.draining)


def _last_used(workload: Workload) -> float:
    return workload.last_used
