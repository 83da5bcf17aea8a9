"""Replicas: the workloads that a pool has, made, numbered and taken away, so that there are as many as are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from tidegate.domain.errors import Overloaded, ServerUnavailable
from tidegate.domain.server import Sharing
from tidegate.domain.workload import NO_OFFER, SHARED, UNCLAIMED, WorkloadState
from tidegate.fleet.balance import Spread, base, number, numbered
from tidegate.fleet.group import Group
from tidegate.fleet.track import Track
from tidegate.fleet.turns import Turns
from tidegate.fleet.vitals import EJECTED
from tidegate.fleet.warm import Warm
from tidegate.fleet.workload import Workload
from tidegate.telemetry import log

if TYPE_CHECKING:
    from tidegate.fleet.pool import Pool

_STOPPED = (WorkloadState.STOPPING, WorkloadState.STOPPED)
_USELESS = (WorkloadState.FAILED, WorkloadState.QUARANTINED)


class Replicas:
    """Makes and takes away the workloads of one pool."""

    def __init__(self, pool: Pool) -> None:
        self.warm = Warm(pool.clock)
        self._pool = pool
        self._spread = Spread()
        self._new_keys = Spread()
        self._last = 1
        """Highest number that a replica has had."""

    # -- one workload -------------------------------------------------------------------------

    def create(
        self,
        sharing: str,
        offer: str = NO_OFFER,
        track: Track | None = None,
        *,
        held: bool = False,
        called: bool = False,
    ) -> Workload:
        """Make a workload and bring it up. With `held` it gets no calls yet; `called`: a call waits for it.

        Raises:
            Overloaded: one more would be over a cap.
            ServerUnavailable: the server is in quarantine, since a call began to wait for it.
        """
        pool = self._pool
        if pool.quarantined is not None:
            raise ServerUnavailable(f"server {pool.spec.name} is quarantined: {pool.quarantined}")
        pool.watcher.admit(pool, sharing, called=called)
        track = track or pool.current
        workload = Workload(track, pool.identity_for(sharing, offer, track), pool.reports)
        workload.held = held
        self.add(workload)
        workload.begin()
        return workload

    def add(self, workload: Workload) -> None:
        """Have a workload be in the pool."""
        pool = self._pool
        if pool.exclusive:
            workload.turns = Turns(0, pool.clock)
        self._last = max(self._last, number(workload.sharing))
        pool.workloads[workload.sharing] = workload
        self.regroup(workload.sharing)

    def remove(self, workload: Workload) -> bool:
        """Have it be there no more; tell whether it was."""
        pool = self._pool
        if pool.workloads.get(workload.sharing) is not workload:
            return False
        del pool.workloads[workload.sharing]
        self.regroup(workload.sharing)
        return True

    def move(self, workload: Workload, sharing: str) -> None:
        """Give a workload another key."""
        pool = self._pool
        del pool.workloads[workload.sharing]
        workload.sharing = sharing
        self._last = max(self._last, number(sharing))
        pool.workloads[sharing] = workload
        pool.reports.remember(workload)

    def next_key(self, key: str) -> str:
        """Give the key of one more replica. No number is given twice, as tasks are known by it."""
        return numbered(key, self._last + 1)

    def step_aside(self, workload: Workload) -> None:
        """Make the first place of its key free: what it is asked for now, another is to be."""
        key = base(workload.sharing)
        if workload.sharing == key:
            self.move(workload, self.next_key(key))
            self._pool.watcher.forget(workload.identity.id)

    def claim(self, sharing: str, offer: str) -> Workload | None:
        """Give a warm workload to a key. It was told nothing yet, so nothing is carried over.

        Nothing was offered to it either, so it is of no use to whoever offers something.

        Raises:
            ServerUnavailable: there is one that failed; it stays the one that is retried, after its backoff.
        """
        pool = self._pool
        if offer != NO_OFFER or pool.spec.sharing is Sharing.SHARED:
            return None
        track = self.choose_track()
        warm = [w for w in self.of(UNCLAIMED) if not w.calls and not w.draining and w.state not in _STOPPED]
        # What holds data of its key was made with nobody's, and cannot be given somebody's any more.
        warm = [w for w in warm if not w.spec.keyed]
        if pool.spec.sharing is not Sharing.CALL:
            warm = [w for w in warm if w.track is track]
        found = min(warm, key=lambda w: _fitness(w, track), default=None)
        if found is None:
            return None
        if found.state in _USELESS:
            raise ServerUnavailable(found.unavailable())
        self.move(found, sharing)
        self.regroup(UNCLAIMED)
        log().info("workload.claimed", workload=found.identity.id)
        if pool.spec.sharing is Sharing.CALL:
            self._taken(found)
        return found

    def failed(self, workload: Workload, reason: str, principal: str) -> None:
        """Learn that a call failed. Of the last of a shared key that takes calls it matters whose it was.

        One principal is not to take it from all: where its calls alone fail, and the workload answers a probe, the
        principal is refused (`Reports.workload_answered`).
        """
        pool, health = self._pool, workload.spec.health
        others = [w for w in self.of(workload.sharing) if w is not workload and w.channel is not None]
        others = [w for w in others if not w.held and not w.draining]
        shared = pool.spec.sharing is Sharing.SHARED
        last = shared and (not others or any(w.health == EJECTED for w in others))
        whose = principal if shared and not pool.blame.alone else ""
        workload.vitals.failed(health, reason, whose, last=last)
        if workload.health != EJECTED and workload.vitals.failures >= health.failures:
            workload.suspect()

    def choose_track(self) -> Track:
        """Say of which version the next new key is."""
        pool = self._pool
        shares = {track: track.share for track in pool.tracks if track.share > 0}
        return self._new_keys.choose(shares) if len(shares) > 1 else next(iter(shares), pool.current)

    # -- groups -------------------------------------------------------------------------------

    def of(self, key: str) -> list[Workload]:
        """Give the replicas of a key."""
        key = base(key)
        return [w for w in self._pool.workloads.values() if base(w.sharing) == key]

    def all_keys(self) -> list[str]:
        """Give the keys that there are, without numbers."""
        return list(dict.fromkeys(base(key) for key in self._pool.workloads))

    def regroup(self, key: str) -> None:
        """Know anew who shares the calls of a key. To be called whenever something about one of them is another."""
        pool, key = self._pool, base(key)
        each_its_own = pool.spec.sharing is Sharing.CALL
        if each_its_own and key != UNCLAIMED:
            return
        members = self.of(key)
        if members and key not in pool.workloads:
            self._fill(key, members)
        limit = pool.spec.queue.in_flight
        watched = bool(pool.blame.refused) and bool(members)
        if key != UNCLAIMED and (watched or _is_special(members, limit)):
            group = pool.groups.setdefault(key, Group(key, self._spread))
            group.members, group.limit = members, limit
        else:
            pool.groups.pop(key, None)
        pool.follows = each_its_own or bool(pool.groups)
        pool.queue.wake_all(key)

    def _fill(self, key: str, members: Sequence[Workload]) -> None:
        """Have the first of those that go on be the one that is found by the bare key."""
        going_on = [w for w in members if not w.draining and not w.held]
        if going_on:
            first = min(going_on, key=lambda w: w.channel is None)
            self.move(first, key)
            if first.channel is not None:
                self._pool.watcher.pool_changed(self._pool, first)

    # -- how many -----------------------------------------------------------------------------

    def converge(self) -> None:
        """Have as many as are wanted. Does nothing where there are.

        Raises:
            Overloaded: one more would be over a cap.
        """
        pool = self._pool
        if pool.closed or pool.quarantined is not None or pool.outage is not None:
            return
        for track in pool.tracks:
            if not track.draining:
                self._converge(track)

    def _converge(self, track: Track) -> None:
        pool, sharing = self._pool, self._pool.spec.sharing
        alone = len(pool.tracks) == 1
        if sharing is Sharing.SHARED:
            count = pool.wanted if alone else track.wanted
            if count is not None:
                for key in {SHARED: None, **dict.fromkeys(self.all_keys())}:
                    self._level(key, track, self._count(key, count))
        elif sharing is Sharing.CALL:
            count = self.warm.count(pool.spec) if track is pool.current else track.wanted or 0
            self._level(UNCLAIMED, track, count)
        elif not alone and track.wanted:
            self._level(UNCLAIMED, track, 1)

    def _count(self, key: str, count: int) -> int:
        """Say how many of a key there are to be: of one that nobody uses, no more than the least."""
        pool, members = self._pool, self.of(key)
        if not members and pool.workloads and pool.spec.replicas.max == 1:
            return 0  # the one there is may be all that is needed
        idle = pool.spec.timeouts.idle
        used = any(
            w.in_flight or w.waiting or (w.calls and (not idle or pool.clock() - w.last_used < idle))
            for w in members
        )
        if used:
            return count
        if key == SHARED:
            others = any(base(each) != SHARED for each in pool.workloads)
            return min(count, pool.spec.replicas.min) if others else count
        return min(count, 1)

    def _level(self, key: str, track: Track, count: int) -> None:
        mine = [w for w in self.of(key) if w.track is track and not w.draining and not w.held]
        offer = next((w.offer for w in self.of(key)), NO_OFFER)  # part of the key: all have the same
        for _ in range(len(mine), count):
            first = key not in self._pool.workloads
            self.create(key if first else self.next_key(key), offer, track)
        surplus = sorted(mine, key=_use)[: max(0, len(mine) - count)]
        for workload in surplus:
            if count or not (workload.in_flight or workload.waiting):
                self._pool.renewal.leave(workload, "fewer are needed")

    def _taken(self, workload: Workload) -> None:
        """Have another take the place of a warm one that was claimed."""
        pool = self._pool
        if workload.channel is None:
            self.warm.missed(pool.spec)
        left = [w for w in self.of(UNCLAIMED) if w.channel is not None]
        self.warm.taken(len(left))
        with suppress(Overloaded):  # the next call asks for its own, and is told then
            self.converge()


def _is_special(members: Sequence[Workload], limit: int | None) -> bool:
    if len(members) != 1:
        return len(members) > 1
    only = members[0]
    return limit is not None or only.draining or only.held or only.health == EJECTED


def _fitness(workload: Workload, track: Track) -> tuple[bool, bool, bool]:
    return workload.state in _USELESS, workload.channel is None, workload.track is not track


def _use(workload: Workload) -> tuple[bool, int, bool, float]:
    """Sort by who is missed least: what is not ready first, then the emptiest, the first of its key last."""
    is_first = workload.sharing == base(workload.sharing)
    return workload.channel is not None, workload.in_flight, is_first, workload.last_used
