"""Launchers: how the workloads of a server are brought up and down, by what the server is made of."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from msgspec import Raw

from tidegate.channels.channel import ChannelEvents
from tidegate.channels.flow import LINE, Flow
from tidegate.channels.handshake import Patience
from tidegate.channels.http.messages import HttpBounds
from tidegate.channels.place import HttpPlace
from tidegate.channels.sse import SseChannel
from tidegate.channels.stdio import StdioBounds, StdioChannel
from tidegate.channels.streamable import StreamableHttpChannel
from tidegate.domain.errors import (
    ChannelClosed,
    ChannelFailure,
    EngineUnavailable,
    RuntimeFailure,
    UpstreamRefused,
)
from tidegate.domain.server import Image, Remote, ServerSpec, Transport
from tidegate.domain.workload import Upstream, WorkloadIdentity
from tidegate.fleet.launcher import Opened
from tidegate.fleet.presence import Presence
from tidegate.ports.runtime import Pauses, Progress, Runtime
from tidegate.ports.stream import Stream
from tidegate.protocol.capabilities import declare, parse
from tidegate.protocol.client import Introduction
from tidegate.protocol.codec import encode
from tidegate.protocol.framing import CutLines
from tidegate.telemetry import log


@dataclass(frozen=True, slots=True)
class Wiring:
    """What every channel needs to know of the gateway."""

    introduction: Introduction
    new_epoch: Callable[[], str]
    """Gives a random word of letters and digits: upstream ids of one attach begin with it."""
    tls: ssl.SSLContext | None = None
    """For servers reached by `https:`."""
    proxy: str | None = field(default=None, repr=False)
    """Outbound proxy, for servers reached by URL. May hold credentials."""

    def introduce(self, identity: WorkloadIdentity) -> Introduction:
        """Give what a workload is told: what its clients offer, which is part of what it is.

        Raises:
            RuntimeFailure: it was labelled by a gateway that knows other offers.
        """
        try:
            offer = parse(identity.key.profile)
        except ValueError as error:
            raise RuntimeFailure(f"{identity.id} was offered what is not known: {error}") from error
        if not offer:
            return self.introduction
        return Introduction(self.introduction.info, Raw(encode(dict(declare(offer)))))


class RuntimeLauncher:
    """Launches workloads through a runtime."""

    def __init__(
        self,
        spec: ServerSpec,
        runtime: Runtime,
        wiring: Wiring,
        end_later: Callable[[Runtime, WorkloadIdentity], None],
        presence: Presence,
    ) -> None:
        self.doing: str | None = None
        self.presence = presence
        self._spec = spec
        self._runtime = runtime
        self._wiring = wiring
        self._end_later = end_later
        self._probing = True
        """Whether to ask for the era first. Some old servers end at a request they do not know."""
        self._pauses = runtime if isinstance(runtime, Pauses) else None
        self._preparing = asyncio.Lock()
        self._prepared = False

    async def prepare(self) -> None:
        """Have the runtime prepare, once."""
        async with self._preparing:
            if self._prepared:
                return
            try:
                with self._noticing():
                    await self._runtime.prepare(self._spec, self._say)
            finally:
                self.doing = None
            self._prepared = True

    async def open(self, identity: WorkloadIdentity, events: ChannelEvents, known: Upstream | None) -> Opened:
        """Start, or attach to, a workload and shake hands."""
        with self._noticing():
            if known is not None and self._pauses is not None:
                await self._pauses.resume(identity)  # the gateway before may have paused it
            if self._spec.transport is Transport.STDIO:
                return await self._open_stdio(identity, events, known)
            return await self._open_http(identity, events, known)

    async def end(self, identity: WorkloadIdentity, grace: float) -> None:
        """End it; what cannot be ended now is tried again later."""
        try:
            with self._noticing():
                await self._runtime.stop(identity, grace)
        except RuntimeFailure as error:
            log().warning("workload.stop_failed", workload=identity.id, reason=str(error))
            self._end_later(self._runtime, identity)

    async def pause(self, identity: WorkloadIdentity) -> bool:
        """Freeze it, where the runtime can."""
        if self._pauses is None:
            return False
        with self._noticing():
            await self._pauses.pause(identity)
        return True

    async def resume(self, identity: WorkloadIdentity) -> None:
        """Let it go on."""
        if self._pauses is not None:
            with self._noticing():
                await self._pauses.resume(identity)

    @contextmanager
    def _noticing(self) -> Generator[None]:
        """Notice whether the engine is there."""
        try:
            yield
        except EngineUnavailable:
            self.presence.missed()
            raise
        self.presence.met()

    async def _open_stdio(
        self, identity: WorkloadIdentity, events: ChannelEvents, known: Upstream | None
    ) -> Opened:
        spec, wiring = self._spec, self._wiring
        introduction = wiring.introduce(identity)
        channel = StdioChannel(
            events, epoch=wiring.new_epoch(), bounds=StdioBounds(message=spec.limits.message)
        )
        begin = self._runtime.start if known is None else self._runtime.attach
        running = await begin(spec, identity, channel)
        try:
            await channel.open(running.stream, known, introduction, _patience(spec, known))
        except BaseException:
            await channel.close()
            raise
        return Opened(channel, running.facts)

    async def _open_http(
        self, identity: WorkloadIdentity, events: ChannelEvents, known: Upstream | None
    ) -> Opened:
        """Start a server that listens; its streams are its log."""
        introduction = self._wiring.introduce(identity)
        tap = _Tap(events)
        begin = self._runtime.start if known is None else self._runtime.attach
        running = await begin(self._spec, identity, tap)
        tap.stream = running.stream
        if running.address is None:
            raise RuntimeFailure(f"runtime {self._spec.runtime} gives no address for an HTTP server")
        path = self._spec.launch.path if isinstance(self._spec.launch, Image) else "/mcp"
        place = HttpPlace(running.address + path, bounds=HttpBounds(body=self._spec.limits.message))
        while True:
            if tap.ended is not None:
                raise RuntimeFailure(f"it ended before it answered: {tap.ended}")
            channel = StreamableHttpChannel(events, place, epoch=self._wiring.new_epoch())
            try:
                await channel.open(known, introduction, _patience(self._spec, known))
            except ChannelFailure as error:
                await channel.close()
                if known is not None or not isinstance(error, ChannelClosed | UpstreamRefused):
                    raise
                await asyncio.sleep(_LISTENING_LOOK)  # it does not listen yet; the caller bounds the wait
            except BaseException:
                await channel.close()
                raise
            else:
                tap.opened = True
                return Opened(channel, running.facts)

    def _say(self, progress: Progress) -> None:
        share = ""
        if progress.done is not None and progress.total:
            share = f" {100 * progress.done // progress.total} %"
        self.doing = progress.what + share


def _patience(spec: ServerSpec, known: Upstream | None) -> Patience:
    """Say how long a workload is waited for. One that runs already may be busy, or hang: it is waited for longer
    where replacing it would lose what it remembers.
    """
    start = spec.timeouts.start
    return Patience(total=start if known is None or spec.remembers else min(start, _AGAIN))


class RemoteLauncher:
    """Opens sessions with a server that runs elsewhere."""

    def __init__(self, spec: ServerSpec, remote: Remote, wiring: Wiring) -> None:
        """Check what can be checked without asking the server.

        Raises:
            SettingsError: the URL, a header or the proxy cannot be used.
        """
        self.doing: str | None = None
        self.presence = Presence(asyncio.get_running_loop().time)
        self._spec = spec
        self._remote = remote
        self._wiring = wiring
        bounds = HttpBounds(body=spec.limits.message)
        host = urlsplit(remote.url).hostname
        proxy = None if host in _OWN_HOSTS else wiring.proxy
        self._place = HttpPlace(remote.url, remote.headers, wiring.tls, proxy, bounds)
        self._place.origin()
        self._place.header_lines()

    async def prepare(self) -> None:
        """Do nothing: there is nothing to prepare."""

    async def open(self, identity: WorkloadIdentity, events: ChannelEvents, known: Upstream | None) -> Opened:
        """Open a session; with `known`, go on with the one from before."""
        introduction = self._wiring.introduce(identity)
        epoch = self._wiring.new_epoch()
        channel = (
            SseChannel(events, self._place, epoch=epoch)
            if self._remote.transport is Transport.SSE
            else StreamableHttpChannel(events, self._place, epoch=epoch)
        )
        try:
            await channel.open(known, introduction, Patience(total=self._spec.timeouts.start))
        except BaseException:
            await channel.close()
            raise
        facts = {
            "sandbox": "none of ours: it runs elsewhere",
            "tls": str(self._remote.url.startswith("https:")),
        }
        return Opened(channel, facts)

    async def end(self, identity: WorkloadIdentity, grace: float) -> None:
        """Do nothing: the session ended with its channel."""

    async def pause(self, identity: WorkloadIdentity) -> bool:
        """Say that it cannot be paused from here."""
        return False

    async def resume(self, identity: WorkloadIdentity) -> None:
        """Do nothing: it was not paused."""


_OWN_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
"""Reached without the outbound proxy: to the proxy they would be itself."""
_AGAIN = 8.0
"""Seconds that a workload without memory which runs already has to answer."""
_LISTENING_LOOK = 0.1
"""Seconds between attempts to reach a server that has just been started."""
_LOG_LINE = 4096


class _Tap:
    """Takes the streams of a server that speaks HTTP: both are its log."""

    def __init__(self, events: ChannelEvents) -> None:
        self.opened = False
        self.ended: str | None = None
        self.stream: Stream | None = None
        self._events = events
        self._lines = CutLines(_LOG_LINE)
        self._flow = Flow(asyncio.get_running_loop().time)

    def stdout(self, data: bytes) -> None:
        """Log it."""
        self.stderr(data)

    def stderr(self, data: bytes) -> None:
        """Log it, and read on later where it is too much."""
        lines = 0
        for line in self._lines.feed(data):
            self._events.channel_logged(line)
            lines += 1
        seconds = self._flow.take(len(data) + LINE * lines)
        if seconds and self.stream is not None:
            self.stream.rest(seconds)

    def closed(self, reason: str) -> None:
        """Tell that the server ended, once there is a channel to it."""
        self.ended = reason
        if self.opened:
            self._events.channel_closed(reason)
