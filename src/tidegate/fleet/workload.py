"""One workload's life: brought up, kept, brought up again with backoff, taken down.

A supervisor task owns it from beginning to end, so that whatever happens there is one place that
knows, and nothing is left running.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from tidegate.channels.channel import Channel, ChannelEvents, Outbound, Party
from tidegate.domain.errors import (
    ChannelFailure,
    ChannelTimeout,
    EngineUnavailable,
    RuntimeFailure,
    ServerUnavailable,
    SessionForgotten,
)
from tidegate.domain.server import ServerSpec
from tidegate.domain.workload import Upstream, WorkloadIdentity, WorkloadState
from tidegate.fleet.gate import Gate
from tidegate.fleet.turns import Turns
from tidegate.protocol.codec import Object
from tidegate.telemetry import log

FIRST_BACKOFF, LONGEST_BACKOFF = 1.0, 60.0
"""Seconds between attempts; doubled each time."""
SETTLED = 60.0
"""Seconds of readiness after which an end counts as the first again."""
STOP_GRACE = 5.0
"""Seconds a workload has to end by itself when it is stopped."""
CRASH_GRACE = 0.5
"""Seconds it has when it is of no use any more."""
PROBE_TIMEOUT = 5.0
"""Seconds a workload whose call timed out has to answer a ping."""


@dataclass(slots=True)
class Opened:
    """A workload that answers: its channel, and how to end it."""

    channel: Channel
    facts: Mapping[str, str] = field(default_factory=dict[str, str])


class Launcher(Protocol):
    """Brings workloads of one server up and down, whatever they are made of."""

    doing: str | None
    """What is being prepared now, for people."""

    async def prepare(self) -> None:
        """Make what starting needs, once for all workloads of the server."""
        ...

    async def open(self, identity: WorkloadIdentity, events: ChannelEvents, known: Upstream | None) -> Opened:
        """Start a workload and shake hands; with `known`, attach to the one that runs."""
        ...

    async def end(self, identity: WorkloadIdentity, grace: float) -> None:
        """End and remove it. Idempotent; never raises: what cannot be ended now is tried again later."""
        ...


class Owner(Protocol):
    """What a workload needs of the pool it is in, and tells it."""

    launcher: Launcher
    gate: Gate

    def identity_for(self, sharing: str, offer: str) -> WorkloadIdentity:
        """Give a name to a new realisation."""
        ...

    def wants(self, workload: Workload) -> bool:
        """Tell whether it should be brought up again after it broke."""
        ...

    def workload_changed(self, workload: Workload) -> None:
        """Learn that its state changed."""
        ...

    def workload_broke(self, workload: Workload, reason: str) -> None:
        """Learn that it was ready and is no more."""
        ...

    def workload_lost(self, workload: Workload) -> None:
        """Learn that what it remembered is gone."""
        ...

    def workload_dropped(self, workload: Workload) -> None:
        """Learn that its supervisor has ended: it will not come back."""
        ...

    def workload_notified(self, workload: Workload, method: str, params: Object) -> None:
        """Take a notification that belongs to no call."""
        ...

    def workload_logged(self, workload: Workload, line: bytes) -> None:
        """Take a line of its standard error."""
        ...

    def workload_contended(self, workload: Workload) -> None:
        """Learn that it asked what could have been for more than one holder."""
        ...


class Workload:
    """A running realisation of a ServerSpec, or the attempt at one."""

    def __init__(self, spec: ServerSpec, identity: WorkloadIdentity, owner: Owner) -> None:
        self.spec = spec
        self.identity = identity
        self.sharing = identity.key.sharing
        """Whose it is now; a warm one is claimed after its labels were written."""
        self.offer = identity.key.profile
        """Label of what its clients offer it."""
        self.state = WorkloadState.WAITING
        self.reason: str | None = None
        self.channel: Channel | None = None
        self.facts: Mapping[str, str] = {}
        self.in_flight = 0
        self.own = 0
        """How many of those are the gateway's own."""
        self.calls = 0
        self.restarts = 0
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
        self._used = False
        """Whether it was called since it was last brought up."""
        self._changed = asyncio.Event()
        self._ended: asyncio.Future[tuple[str, bool]] | None = None
        self._retired: Channel | None = None
        self._stopping = False
        self._probe: asyncio.Task[None] | None = None
        self._task: asyncio.Task[None] | None = None

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
                    if self.state in _HOPELESS:
                        raise ServerUnavailable(self.unavailable())
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
        if self._probe is None and self.state is WorkloadState.READY:
            self._probe = asyncio.create_task(self._ping(), name=f"probe {self.identity.id}")

    def replace(self, reason: str) -> None:
        """Bring it up anew: it is of no use any more, though it may still run."""
        self.channel_closed(reason, violated=True)

    def channel_closed(self, reason: str, *, violated: bool = False) -> None:
        """Learn that the channel is gone; `violated` where the workload must not be attached to again."""
        if self._ended is None or self._ended.done():
            return
        self._ended.set_result((reason, violated))
        self._retired, self.channel = self.channel, None  # no further call gets on it
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
            await self._owner.launcher.end(self.identity, CRASH_GRACE)
            await self._back_off(f"internal error ({type(error).__name__})", FIRST_BACKOFF)
            self.identity = self._owner.identity_for(self.sharing, self.offer)
            return None

    async def _live(self, known: Upstream | None) -> Upstream | None:
        """Bring it up and see it to its end. Give what is known for attaching to it again, if that may do."""
        try:
            opened = await self._bring_up(known)
        except EngineUnavailable as error:
            await self._back_off(str(error), FIRST_BACKOFF)
            return known
        except (RuntimeFailure, ChannelFailure) as error:
            await self._owner.launcher.end(self.identity, CRASH_GRACE)
            if known is not None:  # what ran is gone, and so is what it remembered
                self._owner.workload_lost(self)
                if isinstance(error, SessionForgotten) and self._used:
                    self._failures = 0  # a remote server's way, and no faster than it is called
                await self._back_off(self.reason or str(error), 0.0)
            else:
                await self._back_off(str(error), FIRST_BACKOFF)
            self.identity = self._owner.identity_for(self.sharing, self.offer)
            return None
        reason, violated = await self._serve(opened)
        if self._stopping:
            return None
        self.restarts += 1
        if not violated:
            self._set(WorkloadState.STARTING, reason)
            return opened.channel.upstream
        await self._owner.launcher.end(self.identity, CRASH_GRACE)
        await self._back_off(reason, 0.0)
        self.identity = self._owner.identity_for(self.sharing, self.offer)
        return None

    async def _bring_up(self, known: Upstream | None) -> Opened:
        if known is None:
            self._set(WorkloadState.PREPARING, self.reason)
            await self._owner.launcher.prepare()
            self._set(WorkloadState.WAITING, self.reason)
        async with self._owner.gate.place(urgent=self.waiting > 0):
            self._set(WorkloadState.STARTING, self.reason)
            try:
                async with asyncio.timeout(self.spec.timeouts.start):
                    return await self._owner.launcher.open(self.identity, self, known)
            except TimeoutError as error:
                limit = self.spec.timeouts.start
                raise ChannelTimeout(f"did not answer the handshake within {limit:g} s") from error

    async def _serve(self, opened: Opened) -> tuple[str, bool]:
        loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        self.channel, self.facts = opened.channel, opened.facts
        self.ready_since = self.last_used = loop.time()
        before = self.calls
        self._set(WorkloadState.READY, None)
        try:
            reason, violated = await self._ended
        finally:
            if loop.time() - self.ready_since >= SETTLED:
                self._failures = 0
            self._used = self.calls > before
            self._ended, self.ready_since = None, None
        if self._stopping:
            self._set(WorkloadState.STOPPING, None)
        else:
            self._set(WorkloadState.STARTING, reason)
        await self._close_channel()
        return reason, violated

    async def _close_channel(self) -> None:
        channels = [channel for channel in (self.channel, self._retired) if channel is not None]
        self.channel = self._retired = None
        if self._probe is not None:
            self._probe.cancel()
            self._probe = None
        for channel in channels:
            await channel.close()

    async def _finish(self) -> None:
        await self._close_channel()
        await self._owner.launcher.end(self.identity, STOP_GRACE)
        self._set(WorkloadState.STOPPED, self.reason)
        self._owner.workload_dropped(self)

    async def _back_off(self, reason: str, first: float) -> None:
        """Wait before the next attempt: `first` seconds the first time, then doubling."""
        self._failures += 1
        if not self._owner.wants(self):
            self._stopping = True
        doubled = FIRST_BACKOFF * 2 ** min(self._failures - 2, 10) if self._failures > 1 else first
        delay = min(LONGEST_BACKOFF, max(first, doubled))
        if delay and not self._stopping:
            self.retry_at = asyncio.get_running_loop().time() + delay
            self._set(WorkloadState.FAILED, reason)
            await asyncio.sleep(delay)
            self.retry_at = None
        self._set(WorkloadState.FAILED if self._stopping else WorkloadState.STARTING, reason)

    def _set(self, state: WorkloadState, reason: str | None) -> None:
        self.state, self.reason = state, reason
        self._changed.set()
        self._changed = asyncio.Event()
        self._owner.workload_changed(self)

    async def _ping(self) -> None:
        channel = self.channel
        try:
            if channel is not None:
                method = "server/discover" if channel.upstream.era == "modern" else "ping"
                await channel.ask(Outbound(method, timeout=PROBE_TIMEOUT))
        except ChannelTimeout:
            self.replace(f"hangs: a call timed out, and a ping went without answer for {PROBE_TIMEOUT:g} s")
        except ChannelFailure as error:
            self.replace(str(error))
        finally:
            self._probe = None


_HOPELESS = frozenset({WorkloadState.FAILED, WorkloadState.STOPPING, WorkloadState.STOPPED})
