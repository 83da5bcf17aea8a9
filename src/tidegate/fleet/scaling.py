"""Scaling: the loop that gives every server as many replicas as it needs now, and lets what is idle rest.

How many that is, is judged in `sizing`; bringing replicas up and down is the pool's. Known peaks (`schedule`)
and signals from outside only ever raise the least there is to be.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from tidegate.domain.errors import StateError
from tidegate.domain.server import ServerSpec, Sharing
from tidegate.domain.workload import WorkloadState
from tidegate.fleet.pool import Pool
from tidegate.fleet.schedule import active
from tidegate.fleet.sizing import Floor, Load, Sizing, Verdict
from tidegate.fleet.workload import Workload
from tidegate.ports.runtime import Pauses, Runtime
from tidegate.ports.state import State
from tidegate.telemetry import Metrics, log

TICK = 1.0
"""Seconds between looks. What idles is looked at on each; what nobody has asked anything of costs next to nothing."""
_AT_ONCE = 30
"""Servers that are looked at without letting go of the loop: hundreds together would hold up calls."""
_SIGNAL = "signal/"
_PAUSES = 8
"""Workloads that are being paused at one time: each takes the engine a moment."""
_MINUTE = 60.0
_FRESH = 30.0
"""Seconds for which a replica stays that came up though nobody called, where none need be."""
_COMING = frozenset({WorkloadState.WAITING, WorkloadState.PREPARING, WorkloadState.STARTING})


@dataclass(frozen=True, slots=True)
class Signal:
    """A signal from outside that is on."""

    name: str
    until: float | None
    """Unix seconds; None: until it is turned off."""


class _Kept(msgspec.Struct, frozen=True):
    until: float | None = None


@dataclass(slots=True)
class _Sized:
    """The judgement on one server, and what it was made for."""

    spec: ServerSpec
    sizing: Sizing
    verdict: Verdict


class Scaling:
    """Sizes every pool, and pauses what is idle."""

    def __init__(
        self,
        pools: Mapping[str, Pool],
        runtimes: Mapping[str, Runtime],
        state: State,
        metrics: Metrics,
        *,
        now: Callable[[], float],
        listened: Callable[[str, str], bool] = lambda server, sharing: False,
    ) -> None:
        """`pools` is read at each look; `now` gives Unix seconds.

        `listened` tells of a workload (server, sharing key) whether somebody waits to hear from it unasked.
        """
        self._pools = pools
        self._runtimes = runtimes
        self._state = state
        self._metrics = metrics
        self._now = now
        self._listened = listened
        self._clock = asyncio.get_running_loop().time
        self._sized: dict[str, _Sized] = {}
        self._signals: dict[str, float] = {}
        self._peaks: dict[str, tuple[int, Floor, ServerSpec]] = {}
        """By server: the minute for which its known peaks were looked up, what they ask for, and whose they are."""
        self._pausing: set[asyncio.Task[bool]] = set()
        self._failed: set[str] = set()
        self._pausable: dict[str, bool] = {}

    # -- for whoever shows or asks ----------------------------------------------------------------

    async def signal(self, name: str, on: bool, seconds: float | None = None) -> Sequence[str]:
        """Turn a signal on for so many seconds (None: until it is turned off), or off.

        It is kept over a restart. Gives the servers that it is about; where there are none, none is turned on.

        Raises:
            StateError: it cannot be kept, and is as it was.
        """
        servers = self.about(name)
        if on and not servers:
            return ()
        until = None if seconds is None else self._now() + seconds
        value = msgspec.json.encode(_Kept(until)) if on else None
        await self._state.put(_SIGNAL + name, value, expires=seconds if on else None)
        if on:
            self._signals[name] = math.inf if until is None else until
        else:
            self._signals.pop(name, None)
        log().info("signal.changed", signal=name, on=on, seconds=seconds)
        return servers

    def about(self, name: str) -> Sequence[str]:
        """Give the servers that a signal is about."""
        return [n for n, pool in self._pools.items() if name in pool.spec.scaling.signals]

    def signals(self) -> Sequence[Signal]:
        """Give the signals that are on."""
        now = self._now()
        on = [(name, until) for name, until in sorted(self._signals.items()) if until > now]
        return [Signal(name, None if until == math.inf else until) for name, until in on]

    def verdict(self, server: str) -> Verdict | None:
        """Give how many replicas a server is to have and why, where that is judged at all."""
        sized = self._sized.get(server)
        return None if sized is None else sized.verdict

    # -- the loop ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look again and again. Never ends by itself."""
        await self._recall()
        try:
            while True:
                parts = 1 + len(self._pools) // _AT_ONCE
                for part in range(parts):
                    await asyncio.sleep(TICK / parts)
                    self.look(part, parts)
        finally:
            for task in self._pausing:
                task.cancel()
            await asyncio.gather(*self._pausing, return_exceptions=True)

    def look(self, part: int = 0, parts: int = 1) -> None:
        """Look at every server once, or at a part of them. One whose look fails costs the others nothing."""
        for name, pool in list(self._pools.items())[part::parts]:
            try:
                self._rest(pool)
                if is_sized(pool.spec):
                    self._size(pool)
            except Exception as error:  # noqa: BLE001 - a supervisor: a fault of ours costs this server only, and is said
                if name not in self._failed:
                    self._failed.add(name)
                    log().error("supervisor.failed", task="scaling", server=name, exc_info=error)
        for name in self._sized.keys() - self._pools.keys():
            del self._sized[name]
            self._peaks.pop(name, None)

    async def _recall(self) -> None:
        """Go on with the signals that were on when the gateway before us ended."""
        try:
            rows = await self._state.scan(_SIGNAL)
        except StateError as error:
            log().error("state.failed", reason=str(error))
            return
        for key, value in rows:
            try:
                until = msgspec.json.decode(value, type=_Kept).until
            except (msgspec.DecodeError, msgspec.ValidationError):
                continue
            self._signals.setdefault(key.removeprefix(_SIGNAL), math.inf if until is None else until)

    # -- how many ---------------------------------------------------------------------------------

    def _size(self, pool: Pool) -> None:
        spec, floor = pool.spec, self._floor(pool.spec)
        sized = self._sized.get(spec.name)
        resting = sized is not None and sized.spec is spec and sized.sizing.wanted == 0
        if resting and not floor.count and not pool.waiting and not pool.workloads:
            return  # nobody asks for anything: no need to look closer
        now = self._clock()
        load = _load(pool, now)
        if sized is None or sized.spec is not spec:
            wanted = sized.sizing.wanted if sized is not None else max(pool.wanted, spec.replicas.min)
            sizing = Sizing(spec.replicas, spec.scaling, spec.timeouts.idle, wanted)
            sized = self._sized[spec.name] = _Sized(spec, sizing, Verdict(wanted, "as it was found"))
        before = sized.sizing.wanted
        verdict = sized.sizing.decide(load, floor, _each(pool), now)
        if verdict.wanted != before:
            self._tell(spec.name, before, verdict)
        if verdict.wanted != before or verdict.reason != "as it is":
            sized.verdict = verdict
        if verdict.wanted != pool.wanted:  # a call may have brought one up, and somebody scaled it by hand
            pool.want(verdict.wanted, sized.verdict.reason)

    def _tell(self, server: str, before: int, verdict: Verdict) -> None:
        way = "up" if verdict.wanted > before else "down"
        self._metrics.scalings[server, way] += 1
        log().info(
            "server.scaled", server=server, wanted=verdict.wanted, before=before, reason=verdict.reason
        )

    def _floor(self, spec: ServerSpec) -> Floor:
        floor = Floor()
        if spec.scaling.schedules:
            minute = int(self._now() // _MINUTE)
            kept = self._peaks.get(spec.name)
            if kept is None or kept[0] != minute or kept[2] is not spec:
                peak = active(spec.scaling.schedules, minute * _MINUTE)
                found = Floor() if peak is None else Floor(peak.min, f"schedule {peak.name}")
                kept = self._peaks[spec.name] = (minute, found, spec)
            floor = kept[1]
        for name, least in spec.scaling.signals.items():
            if least > floor.count and self._signals.get(name, 0.0) > self._now():
                floor = Floor(least, f"signal {name}")
        return floor

    # -- rest -------------------------------------------------------------------------------------

    def _rest(self, pool: Pool) -> None:
        """Pause what nobody has called for `pause_after`, where its runtime can."""
        after = pool.spec.scaling.pause_after
        if after is None or not self._can_pause(pool.spec.runtime):
            return
        for workload in list(pool.workloads.values()):
            if len(self._pausing) >= _PAUSES:
                return
            if self._is_idle(pool, workload, after):
                task = asyncio.create_task(workload.pause(), name=f"pause {workload.identity.id}")
                self._pausing.add(task)
                task.add_done_callback(self._pausing.discard)

    def _can_pause(self, runtime: str) -> bool:
        if runtime not in self._pausable:  # asked once: it takes its time
            self._pausable[runtime] = isinstance(self._runtimes.get(runtime), Pauses)
        return self._pausable[runtime]

    def _is_idle(self, pool: Pool, workload: Workload, after: float) -> bool:
        return (
            workload.state is WorkloadState.READY
            and not workload.in_flight
            and not workload.waiting
            and self._clock() - workload.last_used > after
            and not self._listened(pool.spec.name, workload.sharing)
        )


def is_sized(spec: ServerSpec) -> bool:
    """Tell whether there is anything to judge: one workload for everybody, or several, or none."""
    return spec.sharing is Sharing.SHARED and (spec.replicas.max > 1 or spec.replicas.min == 0)


def _load(pool: Pool, now: float) -> Load:
    """Give what is asked of a pool. For one that nobody calls that is little, and costs little.

    What came up for no call counts as used until it was there for a while: its tools are read meanwhile.
    """
    in_flight, ready, used = 0, 0, pool.last_used
    for workload in pool.workloads.values():
        in_flight += workload.in_flight - workload.own
        ready += workload.state is WorkloadState.READY
        if workload.state in _COMING:
            used = now
        elif workload.calls:
            used = max(used, workload.last_used)
        elif workload.ready_since is not None:
            used = max(used, workload.ready_since + _FRESH - pool.spec.timeouts.idle)
    if not in_flight and not pool.waiting:
        return Load(ready=ready, last_used=used)
    told = pool.demand()
    return Load(told.in_flight, told.waiting, told.wait, told.latency_p95, told.ready, used)


def _each(pool: Pool) -> int:
    """Give how many calls at once are meant for one workload."""
    if pool.exclusive:
        return 1
    spec = pool.spec
    return max(1, min(spec.scaling.in_flight, spec.queue.in_flight or spec.scaling.in_flight))
