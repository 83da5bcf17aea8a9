"""Course: the rollouts of one server, one after the other, kept for the next gateway process as they go.

The supervisor of a rollout: whatever happens in one, the server ends with one version that has all calls; or
with none, in quarantine, where the only other version has rights that were to be taken away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

import msgspec

from tidegate.domain.rights import in_words, taken_away
from tidegate.domain.server import Sharing
from tidegate.fleet.books import Books, Kept, Phase, Target
from tidegate.fleet.change import Change, TakenBack, leave, ready
from tidegate.fleet.history import Happening
from tidegate.fleet.pool import Pool
from tidegate.fleet.strategies import bring_in
from tidegate.fleet.track import Track
from tidegate.telemetry import log

_NOT_BACK = "it is not taken back, as the version before it had"
_RELEASED = "released from quarantine"


class Course:
    """The rollouts of one server."""

    def __init__(self, pool: Pool, books: Books) -> None:
        self.pool = pool
        self.server = pool.spec.name
        self.kept: Kept | None = None
        self.change: Change | None = None
        """The one under way."""
        self.next: Target | None = None
        """What is brought in after it."""
        self.before: Target | None = None
        """What an undo brings back."""
        self.refused: Target | None = None
        """What was taken back: it is tried again only when that is asked for."""
        self._count: int | None = None
        """Workloads to replace, where a gateway before this one had begun to."""
        self._superseded = False
        """Whether the one under way ends for a newer one."""
        self._books = books
        self.draining = False
        """Whether all calls of the one under way are on the new version for good."""
        self._hastened = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._drains: dict[str, asyncio.Task[None]] = {}
        """By digest."""
        self._more: set[asyncio.Task[None]] = set()
        pool.history.subscribe(self._heard)

    @property
    def quarantined(self) -> bool:
        """Whether the last rollout left the server in quarantine."""
        return self.kept is not None and self.kept.phase == Phase.QUARANTINED

    def start(self, target: Target, count: int | None = None) -> None:
        """Have a version brought in, once what is under way has ended; in place of `count` workloads."""
        self.next, self._count = target, count
        self._hastened.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"rollout {self.server}")

    def supersede(self, reason: str) -> None:
        """Have the one under way taken back, which is no fault of it."""
        if self.change is not None and not self.change.broken_off:
            self._superseded = True
            self.change.break_off(reason)

    def forget(self) -> None:
        """Know nothing more of what was: the settings name what is current."""
        self.before = self.refused = None
        self._spawn(self.keep(None), "forget")

    def drain_on(self, old: Track, seconds: float, kept: Kept) -> None:
        """Go on with draining where a gateway before this one had begun to."""
        self._spawn(self._finish(old, seconds, kept), "finish")

    def drop(self, track: Track, kept: Kept) -> None:
        """Let nothing be left of a version that was taken back."""
        self._spawn(self._drop(track, kept), "drop")

    async def close(self) -> None:
        """Leave everything as it stands, for the next gateway process to go on with."""
        tasks = [task for task in (self._task, *self._drains.values(), *self._more) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _drain_away(self, track: Track, seconds: float) -> asyncio.Task[None]:
        """End what is left of a version, as its calls end."""
        task = asyncio.create_task(self._drain(track, seconds), name=f"drain {self.server}")
        self._drains[track.digest] = task
        task.add_done_callback(lambda _: self._drains.pop(track.digest, None))
        return task

    async def _finish(self, old: Track, seconds: float, kept: Kept) -> None:
        """Drain the version before and say that the rollout is done; what follows does not wait for it."""
        draining = self._drain_away(old, seconds)
        hastened = asyncio.create_task(self._hastened.wait(), name=f"hasten {self.server}")
        try:
            await asyncio.wait([draining, hastened], return_when=asyncio.FIRST_COMPLETED)
        finally:
            hastened.cancel()
        await self._end(kept, Phase.DONE, None)

    async def _drop(self, track: Track, kept: Kept) -> None:
        await self._drain_away(track, self.pool.spec.rollout.drain)
        if kept.phase != Phase.ROLLED_BACK:
            await self._end(kept, Phase.ROLLED_BACK, kept.reason)

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(work, name=f"rollout {name} {self.server}")
        self._more.add(task)
        task.add_done_callback(self._more.discard)

    # -- the supervisor -----------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            while self.next is not None:
                target, self.next = self.next, None
                self._hastened.clear()
                draining = self._drains.get(target.digest)
                if draining is not None:  # a version cannot go and come at one time
                    await asyncio.wait([draining])
                if self.quarantined:
                    await self._begin_again(target)
                elif target.digest != self.pool.current.digest:
                    await self._bring_in(target)
        except Exception as error:  # noqa: BLE001 - a supervisor: a fault of ours is said, and the next change is tried
            log().error("supervisor.failed", server=self.server, exc_info=error)
        finally:
            self._task, self.change = None, None

    async def _bring_in(self, target: Target) -> None:
        old = self.pool.current
        new = self._track(target.digest) or self.pool.add_track(target.spec, target.launcher)
        left, self._count = self._count, None
        wanted = self.pool.wanted if self.pool.spec.sharing is Sharing.SHARED else 1
        count = left or max(1, ready(self.pool, old), wanted)
        self._superseded = self.draining = False
        change = self.change = Change(self.pool, old, new, count, self._tell)
        was = self.kept
        paused = was is not None and was.paused and was.new == new.digest
        change.paused = paused
        change.hurried = target.undoing is not None  # somebody wants out, and it was good before
        kept = self._kept(change, target)
        await self.keep(kept)
        self._tell("began", change, target.undoing)
        try:
            if left is not None:
                await change.go_on()
            await self._go(change)
        except TakenBack as error:
            rights = () if change.broken_off else taken_away(old.spec, new.spec)
            if rights:
                await self._quarantine(change, target, kept, f"{error}; {_NOT_BACK} {in_words(rights)}")
            else:
                await self._take_back(change, target, kept, str(error))
        else:
            await self._brought_in(change, target, kept)
        finally:
            self.change = None

    async def _go(self, change: Change) -> None:
        try:
            await bring_in(change)
        except TakenBack:
            raise
        except Exception as error:
            # A supervisor: no fault of ours may leave a server between two versions.
            log().error("supervisor.failed", server=self.server, exc_info=error)
            raise TakenBack(f"internal error ({type(error).__name__})") from error

    async def _brought_in(self, change: Change, target: Target, kept: Kept) -> None:
        self.draining = True
        self._tell("draining", change, None)
        if target.undoing is not None:
            self.refused, self.before = Target(change.old.spec, change.old.launcher), None
            await self._end(kept, Phase.ROLLED_BACK, target.undoing)
            self._tell("rolled_back", change, target.undoing)
            self._drain_away(change.old, change.how.drain)
            return
        self.refused = None
        self.before = Target(change.old.spec, change.old.launcher)
        kept = msgspec.structs.replace(kept, phase=Phase.DRAINING, changed=self._books.now(), paused=False)
        await self.keep(kept)
        await self._finish(change.old, change.how.drain, kept)
        self._tell("done", change, None)

    async def _take_back(self, change: Change, target: Target, kept: Kept, reason: str) -> None:
        self._tell("taking_back", change, reason)
        await self.keep(msgspec.structs.replace(kept, phase=Phase.TAKING_BACK, reason=reason))
        await change.take_back()
        self._books.changed(self.server)
        if target.undoing is not None:  # the version that the settings name stays
            await self._end(kept, Phase.DONE, reason)
        elif self._superseded:
            await self._end(kept, Phase.SUPERSEDED, reason)
        else:
            self.refused, self.before = target, None
            await self._end(kept, Phase.ROLLED_BACK, reason)
        self._tell("superseded" if self._superseded else "rolled_back", change, reason)

    # -- quarantine ---------------------------------------------------------------------------

    async def _quarantine(self, change: Change, target: Target, kept: Kept, reason: str) -> None:
        """Have nothing of the server run: the version before has what was to be taken away.

        It is kept before it is done, so that no gateway brings that version back.
        """
        named, other = (change.new, change.old) if target.undoing is None else (change.old, change.new)
        self.draining = True
        self.refused, self.before = None, Target(other.spec, other.launcher)
        await self._end(kept, Phase.QUARANTINED, reason)
        self.pool.promote(named)
        if self.pool.quarantined is None:  # what somebody put there before is theirs to release
            self.pool.quarantine(reason)
        self.pool.drop_track(other)
        self._books.changed(self.server)
        self._tell("quarantined", change, reason)

    def stay_quarantined(self, kept: Kept, before: Target | None) -> None:
        """Have the server be in quarantine as a gateway before this one left it."""
        self.kept, self.before = kept, before
        self.pool.quarantine(kept.reason or _NOT_BACK)
        self._books.changed(self.server)

    def end_adopted(self) -> None:
        """End what is adopted of a server in quarantine: the gateway before this one had not come to it."""
        for workload in list(self.pool.workloads.values()):
            self.pool.retire(workload, self.pool.quarantined or _NOT_BACK)

    async def _begin_again(self, target: Target) -> None:
        """Have a version run alone, and the server out of quarantine: somebody decided that, and there is no other."""
        pool, named, kept = self.pool, self.pool.current, self.kept
        by_hand = target.undoing is not None or target.digest == named.digest
        released = by_hand or kept is None or kept.reason == pool.quarantined
        if target.digest != named.digest:
            pool.promote(self._track(target.digest) or pool.add_track(target.spec, target.launcher))
            pool.drop_track(named)
        if kept is None or (target.digest == kept.old and target.undoing is None):
            self.before = None  # the settings name the version before again
            await self.keep(None)
        elif target.undoing is not None:
            self.refused, self.before = Target(named.spec, named.launcher), None
            await self._end(kept, Phase.ROLLED_BACK, target.undoing)
        else:
            await self._end(msgspec.structs.replace(kept, new=target.digest), Phase.DONE, None)
        if released:  # a change of the settings does not end what somebody put there
            pool.release()
        self._books.changed(self.server)
        self._resumed(named.digest, target.digest, target.undoing)

    def _heard(self, happening: Happening) -> None:
        """Learn that the server was released from quarantine by hand."""
        kept, released = self.kept, (happening.workload, happening.state) == ("", "released")
        if kept is not None and self.quarantined and released:
            self._spawn(self._end(kept, Phase.DONE, _RELEASED), "release")
            self._resumed(kept.old, kept.new, _RELEASED)

    def _resumed(self, old: str, new: str, reason: str | None) -> None:
        fields = {"server": self.server, "from": old, "to": new, "reason": reason}
        self._books.record("resumed", fields)

    async def _drain(self, track: Track, seconds: float) -> None:
        if track.spec.sharing is self.pool.spec.sharing:
            await self.pool.drain(track, seconds)
        else:
            await leave(self.pool, track, seconds)
        self.pool.drop_track(track)

    # -- what is kept -------------------------------------------------------------------------

    def _track(self, digest: str) -> Track | None:
        """Give the version of that digest, where there is one."""
        return next((track for track in self.pool.tracks if track.digest == digest), None)

    async def keep(self, kept: Kept | None) -> None:
        """Keep where the rollout is."""
        self.kept = kept
        await self._books.keep(self.server, kept)

    def _kept(self, change: Change, target: Target) -> Kept:
        """Say what the next process has to know. It is the version of the settings that it has without this."""
        now = self._books.now()
        named, other = change.new, change.old
        phase = Phase.UNDER_WAY
        if target.undoing is not None:
            named, other, phase = change.old, change.new, Phase.UNDOING
        sealed = self._books.keeper.seal(other.spec)
        return Kept(
            phase, change.how.strategy.value, other.digest, named.digest, sealed, change.count, now, now,
            target.undoing, change.paused,
        )  # fmt: skip

    async def _end(self, kept: Kept, phase: Phase, reason: str | None) -> None:
        ended = msgspec.structs.replace(
            kept, phase=phase, reason=reason, changed=self._books.now(), paused=False
        )
        await self.keep(ended)
        self._books.metrics.rollouts[self.server, phase.value] += 1

    def _tell(self, step: str, change: Change, reason: str | None) -> None:
        """Record and log a step, and pass on what matters."""
        fields: dict[str, object] = {
            "server": self.server, "strategy": change.how.strategy.value,
            "from": change.old.digest, "to": change.new.digest,
        }  # fmt: skip
        if step == "share":
            fields["share"] = round(change.share, 4)
        if step in ("ready", "replaced"):
            fields["ready"], fields["count"] = ready(self.pool, change.new), change.count
        if step == "quarantined":
            fields["rights"] = list(taken_away(change.old.spec, change.new.spec))
        if step == "promoted":
            self._books.changed(self.server)
        self._books.record(step, {**fields, "reason": reason})
