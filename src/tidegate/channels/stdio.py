"""StdioChannel: MCP over the standard streams of a workload, one message a line.

It is given to the runtime as the stream's events before the stream exists, and never waits to read.
It does not start, stop or replace workloads, and knows no policy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

from tidegate.channels.channel import ChannelEvents, Outbound, Reply
from tidegate.channels.conversation import Conversation
from tidegate.channels.flow import LINE, MESSAGE, Flow
from tidegate.channels.handshake import Handshake, Patience
from tidegate.channels.inbox import Dropped
from tidegate.channels.watching import Watching, opened
from tidegate.domain.errors import ChannelClosed, ChannelFailure, UpstreamProtocolError
from tidegate.domain.workload import Upstream
from tidegate.ports.recorder import Intent
from tidegate.ports.stream import Stream
from tidegate.protocol.client import Dress, Introduction
from tidegate.protocol.framing import CutLines, Lines


@dataclass(frozen=True, slots=True)
class StdioBounds:
    """How much is taken from a workload, and kept for it. Sizes in bytes."""

    message: int = 4 * 1024 * 1024
    """Largest message taken; a larger one ends the channel."""
    backlog: int = 4 * 1024 * 1024
    """With so much unread by the workload, further calls are refused."""
    junk: int = 1000
    """Lines in a row that are no messages; one more ends the channel."""
    log_line: int = 4096
    """Log lines are cut here."""


class StdioChannel:
    """A channel over a stream. Implements `Channel` and, for the runtime, `StreamEvents`.

    `epoch` is random, of letters and digits, and new for every attach. `channel_closed` is told only
    after `open` has returned; before, `open` raises.
    """

    def __init__(self, events: ChannelEvents, *, epoch: str, bounds: StdioBounds | None = None) -> None:
        self._events = events
        self._bounds = bounds or StdioBounds()
        self._talk = Conversation(epoch, events, self._send)
        self._inbox = self._talk.inbox
        self._flow = Flow(self._talk.loop.time)
        self._lines = Lines(self._bounds.message)
        self._log = CutLines(self._bounds.log_line)
        self._junk = 0
        self._stream: Stream | None = None
        self._upstream: Upstream | None = None
        self._watching: Watching | None = None
        self._dress: Dress | None = None
        self._ended: str | None = None
        self._closing: asyncio.Task[None] | None = None

    # What a caller sees

    async def open(
        self,
        stream: Stream,
        known: Upstream | None,
        client: Introduction,
        patience: Patience | None = None,
    ) -> Upstream:
        """Shake hands, or with `known` (a workload that ran before this gateway) see that it answers.

        A workload is never initialised twice: what its handshake settled is to be kept with its id.
        After a failure the channel is of no use and is to be closed.

        Raises:
            ChannelFailure: it did not come to that, and why.
        """
        self._stream = stream
        handshake = Handshake(self._talk, client, patience or Patience())
        if self._ended is not None:
            raise ChannelClosed(self._ended, sent=False)
        if known is None:
            upstream = await handshake.settle()
        else:
            self._send(b"")  # ends half a line that the one before us may have left
            await handshake.resume(known)
            upstream = known
        if self._ended is not None:
            raise ChannelClosed(self._ended)
        self._upstream = upstream
        self._dress = Dress(upstream.revision, client)
        self._talk.inbox.settled(modern=self._dress.modern)
        self._watching = Watching(upstream, self._request, self._events.channel_notified)
        return upstream

    @property
    def upstream(self) -> Upstream:
        """What the handshake settled."""
        if self._upstream is None:
            raise ChannelClosed("channel is not open", sent=False)
        return self._upstream

    @property
    def in_flight(self) -> int:
        """How many requests wait for an answer."""
        return self._talk.in_flight

    @property
    def dropped(self) -> Dropped:
        """How many messages came that were good for nothing."""
        return self._talk.inbox.dropped

    def call(self, intent: Intent, outbound: Outbound) -> Coroutine[object, object, Reply]:
        """Send a request that was recorded."""
        return self._request(outbound)

    async def ask(self, outbound: Outbound) -> Reply:
        """Send a request of the gateway's own, never one with an effect."""
        if outbound.method == "tools/call":
            raise ValueError("tools/call needs an intent")
        return await self._request(outbound)

    async def watch(self, uris: frozenset[str], tasks: frozenset[str]) -> None:
        """Say of which resources and tasks changes are to be told."""
        await opened(self._watching).watch(uris, tasks)

    def tell(self, outbound: Outbound) -> bool:
        """Send a client's notification."""
        return self._talk.tell(outbound)

    async def want_logs(self, level: str) -> None:
        """Have a legacy server send log messages from `level` on."""
        if self._watching is not None:
            await self._watching.want_logs(level)

    async def close(self) -> None:
        """End the channel; what waits fails with `ChannelClosed`. The workload goes on."""
        if self._watching is not None:
            await self._watching.close()
        if self._ended is None:
            self._ended = "channel was closed"
            self._talk.fail(lambda: ChannelClosed("channel was closed"))
        if self._closing is not None:
            await self._closing
        elif self._stream is not None:
            await self._stream.close()

    async def _request(self, outbound: Outbound) -> Reply:
        stream, dress = self._stream, self._dress
        if self._ended is not None or stream is None or dress is None:
            raise ChannelClosed(self._ended or "channel is not open", sent=False)
        backlog = stream.backlog
        if backlog > self._bounds.backlog:
            raise ChannelFailure(f"workload does not read: {backlog} bytes wait for it", sent=False)
        waiting = self._talk.expect(outbound)
        try:
            stream.write(self._talk.encode(waiting, dress) + b"\n")
            return await waiting.future
        except asyncio.CancelledError:
            self._talk.abandon(waiting, "cancelled by the client")
            raise
        except ChannelFailure:
            self._talk.forget(waiting)
            raise

    def _send(self, data: bytes) -> bool:
        stream = self._stream
        if self._ended is not None or stream is None or stream.backlog > self._bounds.backlog:
            return False
        try:
            stream.write(data + b"\n")
        except ChannelClosed:
            return False
        return True

    # What the stream tells

    def stdout(self, data: bytes) -> None:
        """Take bytes from the workload's standard output."""
        for line in self._lines.feed(data):
            if self._ended is not None:
                return
            if self._talk.receive(line):
                self._junk = 0
            elif not line.isspace() and line:
                self._odd(line)
        if self._inbox.unasked:
            self._count(len(data) + MESSAGE * self._inbox.unasked)
            self._inbox.unasked = 0
        if self._lines.overflowed and self._ended is None:
            self._break(f"message larger than {self._bounds.message} bytes")

    def stderr(self, data: bytes) -> None:
        """Take bytes from the workload's standard error."""
        lines = 0
        for line in self._log.feed(data):
            self._events.channel_logged(line)
            lines += 1
        self._count(len(data) + LINE * lines)

    def closed(self, reason: str) -> None:
        """Learn that the stream has ended."""
        if rest := self._log.rest():
            self._events.channel_logged(rest)
        if self._ended is None:
            self._end(reason, lambda: ChannelClosed(reason))

    def _odd(self, line: bytes) -> None:
        self._junk += 1
        if self._junk > self._bounds.junk:
            self._break(f"more than {self._bounds.junk} lines that are no messages")
        else:
            self._events.channel_logged((b"stdout: " + line)[: self._bounds.log_line])

    def _count(self, size: int) -> None:
        """Count what nobody asked for, and read on later where that is too much."""
        seconds = self._flow.take(size)
        if seconds and self._stream is not None:
            self._stream.rest(seconds)

    def _break(self, reason: str) -> None:
        """End a channel whose workload does not keep to the protocol."""
        self._end(reason, lambda: UpstreamProtocolError(reason), violated=True)
        if self._stream is not None:
            self._closing = asyncio.ensure_future(self._stream.close())  # awaited by `close`

    def _end(self, reason: str, error: Callable[[], ChannelFailure], *, violated: bool = False) -> None:
        self._ended = reason
        self._talk.fail(error)
        if self._upstream is not None:
            self._events.channel_closed(reason, violated=violated)
