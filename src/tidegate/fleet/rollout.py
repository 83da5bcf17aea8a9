"""Rollouts: how changes of servers come in, asked for by settings and by hand; one at a time for each server.

What is under way outlives the process: the next one adopts the workloads of both versions and goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import msgspec

from tidegate.domain.errors import StateError, TidegateError
from tidegate.domain.server import ServerSpec
from tidegate.fleet.books import PREFIX, Books, Kept, Phase, Target
from tidegate.fleet.change import Change, ready, seen
from tidegate.fleet.course import Course
from tidegate.fleet.launcher import Launcher
from tidegate.fleet.pool import Pool
from tidegate.fleet.specs import SpecKeeper
from tidegate.fleet.track import Track
from tidegate.ports.recorder import Recorder
from tidegate.ports.state import State
from tidegate.telemetry import Metrics, log

LauncherFor = Callable[[ServerSpec], Launcher]

_TAKEN_BACK = frozenset({Phase.ROLLED_BACK, Phase.TAKING_BACK})


class Rollouts:
    """The rollouts of all servers."""

    def __init__(
        self,
        pools: Mapping[str, Pool],
        state: State,
        recorder: Recorder,
        metrics: Metrics,
        *,
        key: bytes,
        now: Callable[[], float],
        changed: Callable[[str], None],
    ) -> None:
        """`key` seals what is kept; `now` gives Unix seconds; `changed` is told of a server that is another now."""
        self.launcher_for: LauncherFor | None = None
        """Gives what launches a version that the settings do not name any more."""
        self._pools = pools
        self._books = Books(state, recorder, metrics, SpecKeeper(key), now, changed)
        self._courses: dict[str, Course] = {}
        self._pending: dict[str, Callable[[], None]] = {}
        """What a server's rollout goes on with, once what runs of it is adopted."""
        self._leaving: dict[str, Course] = {}

    # -- asked for by settings ----------------------------------------------------------------

    def begin(self, pool: Pool, spec: ServerSpec, launcher: Launcher) -> None:
        """Bring a version of a server in, in place of the one that is current or on its way. Returns at once.

        One that was taken back is not tried again by this.
        """
        course, target = self._course(pool), Target(spec, launcher)
        self._pending.pop(pool.spec.name, None)
        change, digest = course.change, spec.digest()
        if change is None and course.next is None:
            self._begin_anew(course, target)
        elif change is None or course.draining:
            course.start(target)
        elif digest == change.new.digest and not change.broken_off:
            course.next = None
        elif digest == change.old.digest and not change.promoted:
            course.next = None
            course.supersede("the settings name the version before again")
        else:
            course.start(target)
            if change.promoted:
                change.hurry()  # all calls are on it already: it is what the newer one replaces
            else:
                course.supersede("a newer change came")

    def _begin_anew(self, course: Course, target: Target) -> None:
        kept, digest = course.kept, target.digest
        if digest == course.pool.current.digest:
            if not course.quarantined:
                course.forget()
        elif kept is not None and kept.phase in _TAKEN_BACK and kept.new == digest:
            course.refused = target
            log().warning("rollout.refused", server=course.server, digest=digest, reason=kept.reason)
        else:
            course.start(target)

    # -- asked for by hand --------------------------------------------------------------------

    async def pause(self, server: str) -> None:
        """Have the rollout that is under way stay at the step where it is.

        Raises:
            TidegateError: none is.
        """
        course, change = self._under_way(server)
        change.paused = True
        change.told("paused")
        if course.kept is not None:
            await course.keep(msgspec.structs.replace(course.kept, paused=True))

    async def promote(self, server: str) -> None:
        """Have the rollout that is under way go on without waiting and judging; or try again what failed.

        Raises:
            TidegateError: there is neither.
        """
        course = self._known(server)
        if course.change is None and course.refused is not None:
            course.start(course.refused)
            return
        if course.change is None and course.quarantined:
            current = course.pool.current
            course.start(Target(current.spec, current.launcher))
            return
        course, change = self._under_way(server)
        change.hurry()
        change.told("resumed", "promoted by hand")
        if course.kept is not None and course.kept.paused:
            await course.keep(msgspec.structs.replace(course.kept, paused=False))

    async def undo(self, server: str) -> None:
        """Take back the rollout that is under way; where it is done or in quarantine, bring in the version before it.

        Raises:
            TidegateError: there is nothing to undo.
        """
        course = self._known(server)
        if course.change is not None and not course.draining:
            if course.change.broken_off:
                raise TidegateError(f"the rollout of server {server} is being taken back already")
            course.change.break_off("undone by hand")
        elif course.before is not None and course.next is None:
            before = course.before
            course.start(Target(before.spec, before.launcher, "undone by hand"))
        else:
            raise TidegateError(f"there is no rollout of server {server} to undo")

    def status(self, server: str | None = None) -> Sequence[dict[str, object]]:
        """Say where the rollouts are, or the one of a server; those that ended with how they did."""
        courses = [self._courses[name] for name in self._pools if name in self._courses]
        return [
            _standing(course, course.kept)
            for course in courses
            if course.kept is not None and server in (None, course.server)
        ]

    def brief(self, server: str) -> str | None:
        """Say in a few words where a server's rollout is; None where none is under way, nor was taken back."""
        course = self._courses.get(server)
        kept = None if course is None else course.kept
        if course is None or kept is None or kept.phase in (Phase.DONE, Phase.SUPERSEDED):
            return None
        if kept.phase in (Phase.ROLLED_BACK, Phase.QUARANTINED):
            return f"{kept.phase.replace('_', ' ')}: {kept.reason}"
        step = "" if course.change is None or course.draining else f", {course.change.phase}"
        paused = course.change is not None and course.change.paused
        return f"{'paused' if paused else kept.phase.replace('_', ' ')} ({kept.strategy}{step})"

    def _known(self, server: str) -> Course:
        course = self._courses.get(server)
        if course is None or server not in self._pools:
            raise TidegateError(f"there is no rollout of server {server}")
        return course

    def _under_way(self, server: str) -> tuple[Course, Change]:
        course = self._known(server)
        if course.change is None or course.draining or course.change.broken_off:
            raise TidegateError(f"no rollout of server {server} is under way")
        return course, course.change

    def _course(self, pool: Pool) -> Course:
        course = self._courses.get(pool.spec.name)
        if course is None or course.pool is not pool:
            course = self._courses[pool.spec.name] = Course(pool, self._books)
        return course

    # -- life ---------------------------------------------------------------------------------

    async def leave(self, pool: Pool) -> None:
        """Let go of a server that is declared no more."""
        course = self._courses.get(pool.spec.name)
        if course is not None and course.pool is pool:
            del self._courses[pool.spec.name]
            self._pending.pop(pool.spec.name, None)
            await course.close()
            await course.keep(None)

    async def close(self) -> None:
        """Leave everything as it stands, for the next gateway process to go on with."""
        for course in self._courses.values():
            await course.close()

    async def recall(self) -> None:
        """Have pools know both versions of what was under way, before anything of theirs is adopted or started."""
        try:
            rows = await self._books.state.scan(PREFIX)
        except StateError as error:
            log().error("state.failed", reason=str(error))
            return
        for key, value in rows:
            pool = self._pools.get(key.removeprefix(PREFIX))
            with suppress(msgspec.DecodeError, msgspec.ValidationError):
                kept = msgspec.json.decode(value, type=Kept)
                if pool is not None and pool.spec.name not in self._courses:
                    await self._recall(self._course(pool), kept)

    def resume(self, pool: Pool) -> None:
        """Go on with what was under way, now that what runs of the server is adopted."""
        pending = self._pending.pop(pool.spec.name, None)
        if pending is not None:
            pending()

    async def _recall(self, course: Course, kept: Kept) -> None:
        named = course.pool.current
        before = self._open(course, kept)
        if kept.phase == Phase.QUARANTINED and kept.new == named.digest:
            course.stay_quarantined(kept, before)
            self._pending[course.server] = course.end_adopted
            return
        if before is None or kept.old == named.digest:
            await course.keep(None)
            return
        if kept.new == named.digest and kept.phase in (Phase.DONE, Phase.DRAINING, Phase.UNDOING):
            course.kept, course.before = kept, before
            self._go_on(course, kept, before)
        elif kept.phase in (Phase.DONE, Phase.DRAINING, Phase.SUPERSEDED, Phase.QUARANTINED):
            await course.keep(None)  # the settings name a third version by now: it is simply what runs
        else:
            course.kept = kept
            self._go_back(course, kept, before, named)

    def _open(self, course: Course, kept: Kept) -> Target | None:
        """Give the version that the settings do not name, where it can still be had."""
        spec = self._books.keeper.open(kept.spec)
        if spec is None or self.launcher_for is None or spec.name != course.server:
            return None
        try:
            return Target(spec, self.launcher_for(spec))
        except (TidegateError, KeyError) as error:
            log().warning("rollout.refused", server=course.server, digest=kept.old, reason=str(error))
            return None

    def _go_on(self, course: Course, kept: Kept, before: Target) -> None:
        """Have the version that the settings name be current, and see to the one before it."""
        if kept.phase == Phase.DONE:
            return
        old = course.pool.add_track(before.spec, before.launcher)
        if kept.phase == Phase.DRAINING:
            seconds = course.pool.spec.rollout.drain
            self._pending[course.server] = lambda: course.drain_on(old, seconds, kept)
        else:
            undoing = Target(before.spec, before.launcher, kept.reason or "undone by hand")
            self._pending[course.server] = lambda: course.start(undoing, kept.count)

    def _go_back(self, course: Course, kept: Kept, before: Target, named: Track) -> None:
        """Have the version before be current, and go on from there."""
        pool = course.pool
        old = pool.add_track(before.spec, before.launcher)
        pool.promote(old)
        named.wanted = old.wanted = None  # how many of each there are is seen once they are adopted
        target = Target(named.spec, named.launcher)
        if kept.new != named.digest or kept.phase not in _TAKEN_BACK:
            self._pending[course.server] = lambda: course.start(target, kept.count)
            return
        course.refused = target
        log().warning("rollout.refused", server=course.server, digest=named.digest, reason=kept.reason)
        self._pending[course.server] = lambda: course.drop(named, kept)


def _standing(course: Course, kept: Kept) -> dict[str, object]:
    change = course.change
    told: dict[str, object] = {
        "server": course.server, "state": kept.phase, "strategy": kept.strategy, "step": None,
        "reason": kept.reason, "paused": kept.paused, "share": None, "began": round(kept.began, 3),
        "changed": round(kept.changed, 3), "old": kept.old, "new": kept.new, "versions": [],
        "undo": course.before is not None or (change is not None and not course.draining),
    }  # fmt: skip
    if change is None:
        return told
    told["step"], told["share"], told["paused"] = change.phase, round(change.share, 4), change.paused
    if change.judged is not None and told["reason"] is None:
        told["reason"] = change.judged.reason
    told["versions"] = [_version(course.pool, track, change) for track in (change.old, change.new)]
    return told


def _version(pool: Pool, track: Track, change: Change) -> dict[str, object]:
    how = seen(track)
    return {
        "digest": track.digest,
        "launch": track.spec.describe(),
        "ready": ready(pool, track),
        "of": change.count,
        "calls": how.calls,
        "failures": how.failures,
        "p95": how.p95,
    }
