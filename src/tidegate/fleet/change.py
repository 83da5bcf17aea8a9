"""Change: one rollout under way: its two versions, the steps that can be taken, and what ends it.

Each step waits until it is done, and breaks off where the new version shows to be bad, or somebody says so.
Which steps are taken in which order is in `strategies`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from tidegate.domain.errors import Overloaded, TidegateError
from tidegate.domain.server import ServerSpec, Sharing
from tidegate.domain.workload import SHARED, WorkloadState
from tidegate.fleet.balance import base
from tidegate.fleet.judge import Judgement, Seen, Verdict, judge
from tidegate.fleet.pool import Pool
from tidegate.fleet.track import Track
from tidegate.fleet.vitals import EJECTED
from tidegate.fleet.workload import Workload

ATTEMPTS = 3
"""Attempts at, or ends of, new workloads after which the new version counts as bad."""
_LOOK, _JUDGE = 0.1, 1.0
"""Seconds between looks at how it goes, and between judgements, for which all its calls are looked at."""

Tell = Callable[[str, "Change", str | None], None]
"""Told of each step: its name, of which change, and why."""


class TakenBack(TidegateError):
    """The new version is not to be: why."""


class Change:
    """One change of a server on its way in."""

    def __init__(self, pool: Pool, old: Track, new: Track, count: int, tell: Tell) -> None:
        """`count` is how many workloads of the old version there are to replace."""
        self.pool = pool
        self.old = old
        self.new = new
        self.count = count
        self.how = new.spec.rollout
        self.phase = "waiting"
        """What is being done, for people."""
        self.share = 0.0
        """Of the calls, that the new version is to get."""
        self.paused = False
        self.hurried = False
        """Whether somebody said to go on without waiting and judging."""
        self.judged: Judgement | None = None
        self.promoted = False
        self._tell = tell
        self._clock = asyncio.get_running_loop().time
        self._broken_off: str | None = None
        self._attempts: set[tuple[str, float]] = set()
        self._before = seen(old)
        self._bad = _bad(new)
        self._keeps = _keeps_data(old.spec) or _keeps_data(new.spec)
        self._ran = ready(pool, old) > 0 and not self._keeps
        self._no_room = ""

    @property
    def replicated(self) -> bool:
        """Whether the workloads of both versions are everybody's, so that each can take the calls of the other."""
        return self.old.spec.sharing is Sharing.SHARED and self.new.spec.sharing is Sharing.SHARED

    @property
    def broken_off(self) -> bool:
        """Whether somebody said that it is to be taken back."""
        return self._broken_off is not None

    def break_off(self, reason: str) -> None:
        """Have it taken back at the next look."""
        self._broken_off = reason

    def hurry(self) -> None:
        """Have it go on without waiting and judging."""
        self.hurried, self.paused = True, False

    def told(self, step: str, reason: str | None = None) -> None:
        """Say that a step was taken."""
        self._tell(step, self, reason)

    # -- steps --------------------------------------------------------------------------------

    async def go_on(self) -> None:
        """Begin with what a gateway before this one left; what is missing of the old is brought up again."""
        self.phase = "adopting"
        ends = self._clock() + self.new.spec.timeouts.start
        while self._is_coming() and self._clock() < ends:  # noqa: ASYNC110 - of many workloads nobody tells when all are there
            await asyncio.sleep(_LOOK)
        self._grow(self.old, max(1, ready(self.pool, self.old), self.count - ready(self.pool, self.new)))

    def _is_coming(self) -> bool:
        return any(w.state in _COMING for each in (self.old, self.new) for w in of(self.pool, each))

    async def bring_up(self, count: int) -> None:
        """Have so many workloads of the new version ready.

        Raises:
            TakenBack: they do not become ready.
        """
        self.phase = f"bringing up {count} of {self.count}" if self.replicated else "bringing up the first"
        count = max(count, ready(self.pool, self.new))  # more of it may have been adopted
        limit, spent = ATTEMPTS * self.new.spec.timeouts.start, 0.0
        while not self._covered(count) or self.paused:
            self._check()
            self._grow(self.new, count)
            workloads = of(self.pool, self.new)
            if not any(w.state in _PREPARING for w in workloads):
                spent += _LOOK
            if spent > limit and not self.paused:
                why = self._no_room or _why(workloads)
                raise TakenBack(f"its workloads are not ready after {limit:g} s{why}")
            await asyncio.sleep(_LOOK)
        self._check()
        self.told("ready")

    def _covered(self, count: int) -> bool:
        """Tell whether so many new ones are ready, and one at least for each offer that old ones are there for."""
        offers = {w.offer for w in of(self.pool, self.new) if w.state is WorkloadState.READY}
        wanted = {w.offer for w in of(self.pool, self.old) if self.replicated and w.calls}
        return ready(self.pool, self.new) >= count and wanted <= offers

    def give(self, share: float) -> None:
        """Have the new version get a share of the calls."""
        self.share = share
        self.pool.set_share(self.new, share)
        self.told("share")

    async def watch(self) -> None:
        """Wait until the new version is judged good.

        Raises:
            TakenBack: it is not.
        """
        self.phase = "watching"
        began = self._clock()
        while not self.hurried:
            self._check()
            self.judged = judge(seen(self.new), self._of_old(), self.how, self._clock() - began)
            if self.judged.verdict is Verdict.TAKE_BACK:
                raise TakenBack(self.judged.reason)
            if self.judged.verdict is Verdict.GO_ON and not self.paused:
                self.told("judged", self.judged.reason)
                return
            await self._rest(_JUDGE)

    async def replace(self, left: int) -> None:
        """Have only so many workloads of the old version, the others ending as they fall idle."""
        self.phase = f"replaced {self.count - left} of {self.count}"
        self._check()
        while self.paused:
            await asyncio.sleep(_LOOK)
            self._check()
        self._grow(self.old, left)
        self.told("replaced")

    def promote(self) -> None:
        """Have the new version be the server's: whatever is made from now on is made of it."""
        self.promoted, self.share = True, 1.0
        self.pool.promote(self.new)
        if self.old.spec.sharing is not self.new.spec.sharing:
            for workload in of(self.pool, self.new):  # made for a key that means nothing from now on
                self.pool.discard(workload)
            self.pool.ensure_warm()
        self.told("promoted")

    async def take_back(self) -> None:
        """Have all calls on the old version again, and nothing of the new one."""
        self.phase, self.paused = "taking back", False
        limit, began = ATTEMPTS * self.old.spec.timeouts.start, self._clock()
        while self._is_needed() and self._clock() - began < limit:
            self._grow(self.old, self.count)
            if ready(self.pool, self.old):
                self.pool.set_share(self.new, 0.0)
            await asyncio.sleep(_LOOK)
        self._grow(self.old, self.count)
        self.pool.promote(self.old)
        self.promoted, self.share = False, 0.0
        if self.old.spec.sharing is self.new.spec.sharing:
            await self.pool.drain(self.new, self.how.drain)
        else:
            await leave(self.pool, self.new, self.how.drain)
        self.pool.drop_track(self.new)

    # -- what ends it -------------------------------------------------------------------------

    async def _rest(self, seconds: float) -> None:
        until = self._clock() + seconds
        while self._clock() < until and not self.hurried:
            self._check()
            await asyncio.sleep(_LOOK)

    def _check(self) -> None:
        if self._broken_off is not None:
            raise TakenBack(self._broken_off)
        workloads = of(self.pool, self.new)
        for each in workloads:
            if each.state is WorkloadState.QUARANTINED:
                raise TakenBack(f"{each.identity.id} is in quarantine: {each.reason}")
            if each.retry_at is not None and not self._is_elsewhere():
                self._attempts.add((each.sharing, each.retry_at))
        # An end is often followed by an attempt that fails: the same trouble, not to be counted twice.
        failed = max(len(self._attempts), sum(each.restarts for each in workloads))
        if failed >= ATTEMPTS:
            raise TakenBack(f"its workloads failed {failed} times{_why(workloads)}")
        if self._is_ejected():
            raise TakenBack(f"its workloads are sick{_why_sick(workloads)}")
        bad = _bad(self.new)
        if bad > self._bad and not self.hurried:  # only then is there anything to judge at once
            self._bad = bad
            found = judge(seen(self.new), self._of_old(), self.how, 0.0)
            if found.verdict is Verdict.TAKE_BACK:
                self.judged = found
                raise TakenBack(found.reason)

    def _is_needed(self) -> bool:
        """Tell whether the new version has to go on until the old one can take its calls.

        Where companions keep data, the old one cannot come up beside it.
        """
        if not self.replicated or self._keeps or not ready(self.pool, self.new):
            return False
        return ready(self.pool, self.old) < self.count

    def _is_elsewhere(self) -> bool:
        """Tell whether the old version, which ran, does not either: then it is not the new one that is to blame."""
        return self._ran and not self.promoted and not ready(self.pool, self.old)

    def _is_ejected(self) -> bool:
        """Tell whether no workload of the new version is given calls, since they fail, and those of the old are well."""
        new, old = (
            [w.health for w in of(self.pool, each) if w.state is WorkloadState.READY]
            for each in (self.new, self.old)
        )
        return EJECTED in new and set(new) == {EJECTED} and bool(old) and EJECTED not in old

    def _of_old(self) -> Seen:
        """Give how the old version does: of late, where that is enough to tell."""
        whole = seen(self.old)
        lately = whole.since(self._before)
        return lately if lately.calls >= self.how.calls else whole

    def _grow(self, track: Track, count: int) -> None:
        try:
            self.pool.grow(track, count)
        except Overloaded as error:
            self._no_room = (
                f": {error}"  # there may be later; how long that is waited for is the caller's to say
            )
        else:
            self._no_room = ""


def of(pool: Pool, track: Track) -> Sequence[Workload]:
    """Give the workloads of a version, those left out that end."""
    return [w for w in pool.workloads.values() if w.track is track and w.state not in _ENDING and not w.held]


def ready(pool: Pool, track: Track) -> int:
    """Count the workloads of a version that take calls; of a shared server, those for clients that offer nothing."""
    shared = pool.spec.sharing is Sharing.SHARED
    there = [w for w in of(pool, track) if not shared or base(w.sharing) == SHARED]
    return sum(w.state in (WorkloadState.READY, WorkloadState.PAUSED) for w in there)


async def leave(pool: Pool, track: Track, seconds: float) -> None:
    """End the workloads of a version whose keys nobody asks for any more, each as its calls end."""
    track.draining = True
    for workload in of(pool, track):
        pool.renewal.leave(workload, "another version follows it", seconds)
    while any(w.track is track for w in pool.workloads.values()):  # noqa: ASYNC110 - nobody tells of it
        await asyncio.sleep(_LOOK)


def seen(track: Track) -> Seen:
    """Give how the calls of a version went."""
    demand = track.demand()
    return Seen(demand.calls, demand.failures + demand.errors, demand.latency_p95)


def _bad(track: Track) -> int:
    meter = track.meter
    return meter.all_failures + meter.all_errors + meter.failures + meter.errors


def _why(workloads: Sequence[Workload]) -> str:
    return next((f": {each.reason}" for each in workloads if each.reason), "")


def _why_sick(workloads: Sequence[Workload]) -> str:
    return next((f": {each.health_reason}" for each in workloads if each.health_reason), "")


def _keeps_data(spec: ServerSpec) -> bool:
    return any(companion.volumes for companion in spec.companions)


_PREPARING = frozenset({WorkloadState.PREPARING, WorkloadState.WAITING})
_COMING = _PREPARING | {WorkloadState.STARTING}
_ENDING = frozenset({WorkloadState.DRAINING, WorkloadState.STOPPING, WorkloadState.STOPPED})
