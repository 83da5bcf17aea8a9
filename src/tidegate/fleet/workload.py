"""One workload's life: brought up, kept, brought up again with backoff, taken down.

A supervisor task owns it from beginning to end, so that whatever happens there is one place that
knows, and nothing is left running.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from tidegate.channels.channel import Channel, Party
from tidegate.domain.errors import (
    ChannelFailure,
    ChannelTimeout,
    EngineUnavailable,
    Overloaded,
    RuntimeFailure,
    ServerUnavailable,
    SessionForgotten,
)
from tidegate.domain.server import Remote
from tidegate.domain.workload import Upstream, WorkloadIdentity, WorkloadState
from tidegate.fleet.blame import Restarts
from tidegate.fleet.launcher import Opened
from tidegate.fleet.owner import Owner
from tidegate.fleet.presence import BEFORE
from tidegate.fleet.probe import answers
from tidegate.fleet.track import Track
from tidegate.fleet.turns import Turns
from tidegate.fleet.vitals import Vitals
from tidegate.protocol.codec import Object
from tidegate.telemetry import log

FIRST_BACKOFF, LONGEST_BACKOFF = 1.0, 60.0
"""Seconds between attempts; doubled each time."""
SETTLED = 60.0
"""Seconds of readiness after which an end counts as the first again."""
_BREAKS = 3
"""Breaks of its channel alone, in a row, after each of which it is attached to again at once."""
_NO_ROOM = 5.0
"""Seconds at least between attempts where there is no room for it."""
STOP_GRACE = 5.0
"""Seconds a workload has to end by itself when it is stopped."""
CRASH_GRACE = 0.5
"""Seconds it has when it is of no use any more."""


class Workload:
    """A running realisation of a ServerSpec, or the attempt at one."""

    reason: str | None = None
    """Of its state."""
    woken = False
    """Whether it became ready by going on after a pause."""
    held = False
    """Whether it gets no calls yet: it is to follow another."""
    draining = False
    """Whether it gets no calls any more."""
    heard = 0.0
    """Loop time at which it was last probed, or became ready."""
    restarts = 0
    admitted = True
    """Whether there is room for it where it comes up now: for one that is made that was looked at before."""

    def __init__(self, track: Track, identity: WorkloadIdentity, owner: Owner) -> None:
        self.track = track
        self.spec = track.spec
        self.identity = identity
        self.sharing = identity.key.sharing
        """Whose it is now; a warm one is claimed after its labels were written."""
        self.offer = identity.key.profile
        """Label of what its clients offer it."""
        self.state = WorkloadState.WAITING
        self.channel: Channel | None = None
        """The way to it while it may be used: None while it is paused."""
        self.drained = asyncio.Event()
        """Set once it is draining, and nothing is under way on it."""
        self.gone = asyncio.Event()
        """Set once it has ended for good."""
        self.vitals = Vitals(track.now, self._judged)
        self.took = track.meter.took
        self.facts: Mapping[str, str] = {}
        self.in_flight = 0
        self.own = 0
        """How many of those are the gateway's own."""
        self.calls = 0
        self.ready_since: float | None = None
        self.last_used = 0.0
        self.retry_at: float | None = None
        self.waiting = 0
        """Calls that wait for it to become ready."""
        self.callers: list[Party] = []
        """Those of them, and of the calls that waited, who may be asked something."""
        self.turns: Turns | None = None
        """Who may call it, where only one may at a time."""
        self._owner = owner
        self._failures = 0
        self._breaks = 0
        self._restarts = Restarts()
        self._counts = False
        """Whether a failure now is the workload's own."""
        self._freed = asyncio.Event()
        self._asleep: Channel | None = None
        self._freezing = asyncio.Lock()
        self._waking: asyncio.Task[None] | None = None
        self._used = False
        """Whether it was called since it was last brought up."""
        self._changed = asyncio.Event()
        self._ended: asyncio.Future[tuple[str, bool]] | None = None
        self._retired: Channel | None = None
        self._stopping = False
        self._probe: asyncio.Task[None] | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def health(self) -> str:
        """`healthy`, `suspect`, `ejected`, or `unknown` before anything was seen of it."""
        return self.vitals.state

    @property
    def health_reason(self) -> str | None:
        """Why it is not healthy."""
        return self.vitals.reason

    def begin(self, known: Upstream | None = None) -> None:
        """Start supervising; with `known`, by attaching to what runs already."""
        self._task = asyncio.create_task(self._supervise(known), name=f"workload {self.identity.id}")

    async def wait_ready(self, timeout: float) -> None:
        """Wait until it answers.

        Raises:
            ServerUnavailable: it failed, or `timeout` seconds passed.
        """
        self.waiting += 1
        try:
            async with asyncio.timeout(timeout):
                while self.state is not WorkloadState.READY:
                    if self.state in HOPELESS:
                        raise ServerUnavailable(self.unavailable())
                    if self.state is WorkloadState.PAUSED:
                        self.wake()
                    await self._changed.wait()
        except TimeoutError as error:
            raise ServerUnavailable(self.unavailable()) from error
        finally:
            self.waiting -= 1

    def unavailable(self) -> str:
        """Say in one line why it cannot be called now."""
        name = self.spec.name
        if self.state is WorkloadState.FAILED:
            again = ""
            if self.retry_at is not None:
                wait = max(0.0, self.retry_at - asyncio.get_running_loop().time())
                again = f"; trying again in {wait:.0f} s"
            return f"server {name} is not available: {self.reason}{again}"
        if self.state is WorkloadState.QUARANTINED:
            return f"server {name} is quarantined: {self.reason}"
        return f"server {name} is still {self.state.value}" + (f": {self.reason}" if self.reason else "")

    async def stop(self) -> None:
        """End it for good, bounded in time. Idempotent."""
        stopping, self._stopping = self._stopping, True
        if self._task is None:
            return
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(("stopped", True))
        elif not stopping:  # a second cancellation would part us from the end that is under way
            self._task.cancel()
        await asyncio.wait([self._task])

    def suspect(self) -> None:
        """Look whether it still answers, after a call on it timed out."""
        self._look(1, "a call timed out, and a ping")

    def probe(self) -> None:
        """Look whether it answers, though nobody calls it; it is replaced where it does not, asked several times."""
        tries = self.spec.health.failures
        self._look(tries, f"{tries} pings" if tries > 1 else "a ping", idle=True)

    async def pause(self) -> bool:
        """Freeze it while nobody calls it; tell whether it is frozen. The next call wakes it."""
        async with self._freezing:
            if self.channel is None or self.in_flight or self.draining or self._probe is not None:
                return False
            self._asleep, self.channel = self.channel, None  # no call gets on it from now on
            self._set(WorkloadState.PAUSED, "idle")
            try:
                frozen = await self.track.launcher.pause(self.identity)
            except RuntimeFailure as error:
                log().warning("workload.pause_failed", workload=self.identity.id, reason=str(error))
                frozen = False
            if not frozen:
                self._awaken()
            return frozen

    def wake(self) -> None:
        """Have it go on, where it is paused."""
        if self.state is WorkloadState.PAUSED and self._waking is None:
            self._waking = asyncio.create_task(self._wake(), name=f"wake {self.identity.id}")

    def drain(self, reason: str) -> None:
        """Give it no more calls; `drained` is set with the end of those under way."""
        self.draining = True
        if self.channel is not None:
            self._set(WorkloadState.DRAINING, reason)
        if not self.in_flight:
            self.drained.set()

    def release(self) -> None:
        """Start it again, where it is in quarantine."""
        self._freed.set()

    def replace(self, reason: str) -> None:
        """Bring it up anew: it is of no use any more, though it may still run."""
        self.channel_closed(reason, violated=True)

    def channel_closed(self, reason: str, *, violated: bool = False) -> None:
        """Learn that the channel is gone; `violated` where the workload must not be attached to again."""
        if self._ended is None or self._ended.done():
            return
        self._ended.set_result((reason, violated))
        self._retired, self.channel = self.channel or self._asleep, None  # no further call gets on it
        self._asleep = None
        self._owner.workload_broke(self, reason)
        if violated:
            self._owner.workload_lost(self)
        self._set(WorkloadState.STARTING, reason)

    def channel_notified(self, method: str, params: Object) -> None:
        """Pass on."""
        self._owner.workload_notified(self, method, params)

    def channel_logged(self, line: bytes) -> None:
        """Pass on."""
        self._owner.workload_logged(self, line)

    def channel_contended(self) -> None:
        """Pass on."""
        self._owner.workload_contended(self)

    def channel_callers(self) -> Iterable[Party]:
        """Give those who wait for it, or waited and have a place on it."""
        return self.callers

    async def _supervise(self, known: Upstream | None) -> None:
        try:
            while not self._stopping:
                known = await self._attempt(known)
        except asyncio.CancelledError:
            if not self._stopping:
                raise
        finally:
            await asyncio.shield(self._finish())

    async def _attempt(self, known: Upstream | None) -> Upstream | None:
        try:
            return await self._live(known)
        except Exception as error:  # noqa: BLE001 - a supervisor: a fault of ours costs this server only, and is said
            log().error("supervisor.failed", workload=self.identity.id, exc_info=error)
            await self.track.launcher.end(self.identity, CRASH_GRACE)
            await self._back_off(f"internal error ({type(error).__name__})", FIRST_BACKOFF)
            self._rename()
            return None

    async def _live(self, known: Upstream | None) -> Upstream | None:
        """Bring it up and see it to its end. Give what is known for attaching to it again, if that may do."""
        try:
            opened = await self._bring_up(known)
        except EngineUnavailable as error:
            await self._await_engine(str(error))
            return known
        except Overloaded as error:  # it was not started, and what there was of it is gone
            await self._back_off(str(error), _NO_ROOM)
            return None
        except (RuntimeFailure, ChannelFailure) as error:
            await self.track.launcher.end(self.identity, CRASH_GRACE)
            if known is not None:  # what ran is gone, and so is what it remembered
                self._breaks = 0
                self._owner.workload_lost(self)
                if isinstance(error, SessionForgotten) and self._used:
                    self._failures = 0  # a remote server's way, and no faster than it is called
                await self._back_off(self.reason or str(error), 0.0)
            else:
                await self._back_off(str(error), FIRST_BACKOFF)
            self._rename()
            return None
        reason, violated = await self._serve(opened)
        if self._stopping:
            return None
        self.restarts += 1
        if self.draining:
            self._stopping = True  # nobody is to come to it any more
            return None
        if not violated:
            self._set(WorkloadState.STARTING, reason)
            await self._hold_off(reason)
            return opened.channel.upstream
        await self.track.launcher.end(self.identity, CRASH_GRACE)
        await self._back_off(reason, 0.0)
        self._rename()
        return None

    async def _bring_up(self, known: Upstream | None) -> Opened:
        self._counts = False
        if known is None:
            self._set(WorkloadState.PREPARING, self.reason)
            await self.track.launcher.prepare()
            self._set(WorkloadState.WAITING, self.reason)
        if not self.admitted and known is None:
            self._owner.admit(self)
        self.admitted = True
        async with self._owner.gate.place(lambda: self.waiting > 0):
            self._set(WorkloadState.STARTING, self.reason)
            self._counts = not isinstance(
                self.spec.launch, Remote
            )  # one that is elsewhere is not ours to end
            try:
                async with asyncio.timeout(self.spec.timeouts.start):
                    return await self.track.launcher.open(self.identity, self, known)
            except TimeoutError as error:
                limit = self.spec.timeouts.start
                raise ChannelTimeout(f"did not answer the handshake within {limit:g} s") from error

    async def _serve(self, opened: Opened) -> tuple[str, bool]:
        loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        self.channel, self.facts = opened.channel, opened.facts
        self.ready_since = self.last_used = self.heard = loop.time()
        before = self.calls
        self.vitals.renew()
        self._set(WorkloadState.READY, None)
        try:
            reason, violated = await self._ended
        finally:
            if loop.time() - self.ready_since >= SETTLED:
                self._failures = self._breaks = 0
            self._used = self.calls > before
            self._ended, self.ready_since = None, None
        if self._stopping:
            self._set(WorkloadState.STOPPING, self.reason)  # whoever ends it says why
        else:
            self._set(WorkloadState.STARTING, reason)
        await self._close_channel()
        return reason, violated

    async def _close_channel(self) -> None:
        channels = [each for each in (self.channel, self._retired, self._asleep) if each is not None]
        self.channel = self._retired = self._asleep = None
        for task in (self._probe, self._waking):
            if task is not None:
                task.cancel()
        self._probe = self._waking = None
        for channel in channels:
            await channel.close()

    async def _finish(self) -> None:
        await self._close_channel()
        await self.track.launcher.end(self.identity, STOP_GRACE)
        self._set(WorkloadState.STOPPED, self.reason)
        self.gone.set()
        self._owner.workload_dropped(self)

    async def _back_off(self, reason: str, first: float) -> None:
        """Wait before the next attempt: `first` seconds the first time, then doubling."""
        self._failures += 1
        if self.draining or not self._owner.wants(self):
            self._stopping = True
        elif self.track.launcher.presence.lately_away:
            self._failures = max(1, self._failures - 1)
        elif self._counts and self._is_often():
            await self._stay_quarantined(reason)
            return
        doubled = FIRST_BACKOFF * 2 ** min(self._failures - 2, 10) if self._failures > 1 else first
        delay = min(LONGEST_BACKOFF, max(first, doubled))
        if delay and not self._stopping:
            await self._rest(delay, reason)
        self._set(WorkloadState.FAILED if self._stopping else WorkloadState.STARTING, reason)

    async def _await_engine(self, reason: str) -> None:
        """Wait while the engine is away, which ends what it runs: nothing of that is the workload's doing."""
        since = self.track.now() - BEFORE
        self._restarts.forgive(since)
        self._owner.workload_excused(self, since)
        self._failures = self._breaks = 0
        if self.draining or not self._owner.wants(self):
            self._stopping = True
            return
        self._set(WorkloadState.FAILED, reason)
        await self.track.launcher.presence.until_worth_trying()
        self._set(WorkloadState.STARTING, reason)

    async def _hold_off(self, reason: str) -> None:
        """Wait before it is attached to again where its channels do not last: a server may mean to break them."""
        self._breaks += 1
        if self._breaks > _BREAKS:
            await self._rest(
                min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** min(self._breaks - _BREAKS - 1, 10)), reason
            )
            self._set(WorkloadState.STARTING, reason)

    async def _rest(self, seconds: float, reason: str) -> None:
        self.retry_at = self.track.now() + seconds
        self._set(WorkloadState.FAILED, reason)
        await asyncio.sleep(seconds)
        self.retry_at = None

    def _is_often(self) -> bool:
        """Tell whether one more restart were too many, and count it where it is not, nor somebody's."""
        culprits = self.vitals.culprits()
        if blamed := self._owner.workload_blamed(self, culprits):
            self._restarts.excuse(blamed)
            self._failures = 1
            return False
        return self._restarts.are_often(self.track.now(), self.spec.health, culprits)

    async def _stay_quarantined(self, reason: str) -> None:
        """Do nothing until somebody releases it."""
        health = self.spec.health
        self._freed.clear()
        self._set(
            WorkloadState.QUARANTINED,
            f"{health.restarts} restarts within {health.window:g} s were not enough, the last failure: {reason}",
        )
        self._owner.workload_quarantined(self)
        await self._freed.wait()
        self._restarts.clear()
        self._failures = 0
        self._set(WorkloadState.STARTING, "released from quarantine")

    def _rename(self) -> None:
        self.admitted = False
        self.identity = self._owner.identity_for(self.sharing, self.offer, self.track)

    def _set(self, state: WorkloadState, reason: str | None) -> None:
        self.woken = self.state is WorkloadState.PAUSED and state is WorkloadState.READY
        self.state, self.reason = state, reason
        self._changed.set()
        self._changed = asyncio.Event()
        self._owner.workload_changed(self)

    def _judged(self) -> None:
        self._owner.workload_judged(self)

    # -- pause --------------------------------------------------------------------------------

    async def _wake(self) -> None:
        try:
            async with self._freezing:
                if self.state is not WorkloadState.PAUSED:
                    return
                await self.track.launcher.resume(self.identity)
                self._awaken()
        except RuntimeFailure as error:
            self.replace(f"did not go on after a pause: {error}")
        finally:
            self._waking = None

    def _awaken(self) -> None:
        if self.state is WorkloadState.PAUSED:
            self.channel, self._asleep = self._asleep, None
            self.last_used = self.track.now()
            self._set(WorkloadState.READY, None)

    # -- probes -------------------------------------------------------------------------------

    def _look(self, tries: int, what: str, *, idle: bool = False) -> None:
        if self._probe is None and self.channel is not None:
            self._probe = asyncio.create_task(self._ask(tries, what, idle), name=f"probe {self.identity.id}")

    async def _ask(self, tries: int, what: str, idle: bool) -> None:
        limit = self.spec.health.timeout
        try:
            for _ in range(tries):
                channel = self.channel
                if channel is None or await answers(channel, self.vitals, self.spec.health, idle=idle):
                    if channel is not None and not idle:
                        self._owner.workload_answered(self)
                    return
            self.replace(f"hangs: {what} went without answer for {limit:g} s")
        except ChannelFailure as error:
            self.replace(str(error))
        finally:
            self._probe = None


HOPELESS = frozenset(
    {WorkloadState.FAILED, WorkloadState.QUARANTINED, WorkloadState.STOPPING, WorkloadState.STOPPED}
)
"""States in which a call that waits is told so at once."""
