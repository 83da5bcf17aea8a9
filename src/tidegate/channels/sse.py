"""SseChannel: the older HTTP+SSE transport of 2024-11-05. One stream down, POSTs up.

The session is the stream: when it is lost, so is the session, and the channel with it.
Source: MCP 2024-11-05, basic/transports, "HTTP with SSE".
"""

from __future__ import annotations

import asyncio
from urllib.parse import urljoin

from tidegate.channels.channel import ChannelEvents, Outbound, Reply
from tidegate.channels.conversation import Conversation
from tidegate.channels.errands import Errands
from tidegate.channels.handshake import Handshake, Patience
from tidegate.channels.http.address import read_address
from tidegate.channels.http.messages import HttpRequest
from tidegate.channels.inbox import Dropped
from tidegate.channels.place import HttpPlace
from tidegate.channels.watching import Watching, opened
from tidegate.domain.errors import (
    ChannelClosed,
    ChannelFailure,
    ChannelTimeout,
    SettingsError,
    UpstreamProtocolError,
    UpstreamRefused,
)
from tidegate.domain.workload import Upstream
from tidegate.ports.recorder import Intent
from tidegate.protocol.client import Dress, Introduction
from tidegate.protocol.codec import one_line
from tidegate.protocol.sse import Event

_LARGEST_ENDPOINT = 4096
"""Bytes of the URL that the server names."""
_ERRAND = 10.0
"""Seconds that a message nobody waits for may take."""
_ERRANDS = 128
"""Of them at once: more than questions of the server that may be open."""
_GOODBYE = 2.0
"""Seconds that closing waits for errands."""


class SseChannel:
    """A channel to a server of the older transport. Implements `Channel`.

    `epoch` is random, of letters and digits. `channel_closed` is told only after `open` has returned;
    before, `open` raises.
    """

    def __init__(self, events: ChannelEvents, place: HttpPlace, *, epoch: str) -> None:
        self._events = events
        self._address = place.address()
        self._url = place.url
        self._origin = place.origin()
        headers = place.header_lines()
        self._get = headers + b"Accept: text/event-stream\r\nCache-Control: no-store\r\n"
        self._post = headers + b"Content-Type: application/json\r\nAccept: application/json\r\n"
        self._talk = Conversation(epoch, events, self._send)
        self._errands = Errands(_ERRANDS)
        self._endpoint: asyncio.Future[bytes] = self._talk.loop.create_future()
        self._reader: asyncio.Task[None] | None = None
        self._upstream: Upstream | None = None
        self._watching: Watching | None = None
        self._dress: Dress | None = None
        self._ended: str | None = None

    async def open(
        self, known: Upstream | None, client: Introduction, patience: Patience | None = None
    ) -> Upstream:
        """Open the stream and shake hands. `known` is of no use here: a session ends with its stream.

        After a failure the channel is to be closed.

        Raises:
            ChannelFailure: it did not come to that, and why.
        """
        patience = patience or Patience()
        started = self._talk.loop.time()
        self._reader = self._talk.loop.create_task(self._read())
        await asyncio.wait({self._endpoint}, timeout=patience.total)
        if not self._endpoint.done():
            raise ChannelTimeout(f"{self._origin.where} named no endpoint within {patience.total:g} s")
        self._endpoint.result()
        left = max(0.0, patience.total - (self._talk.loop.time() - started))
        upstream = await Handshake(self._talk, client, Patience(left, probe=0)).settle()
        if self._ended is not None:
            raise ChannelClosed(self._ended)
        self._upstream = upstream
        self._dress = Dress(upstream.revision, client)
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

    async def call(self, intent: Intent, outbound: Outbound) -> Reply:
        """Send a request that was recorded."""
        return await self._request(outbound)

    async def ask(self, outbound: Outbound) -> Reply:
        """Send a request of the gateway's own, never one with an effect."""
        if outbound.method == "tools/call":
            raise ValueError("tools/call needs an intent")
        return await self._request(outbound)

    async def watch(self, uris: frozenset[str], tasks: frozenset[str]) -> None:
        """Say of which resources changes are to be told."""
        await opened(self._watching).watch(uris, tasks)

    def tell(self, outbound: Outbound) -> bool:
        """Send a client's notification."""
        return self._talk.tell(outbound)

    async def want_logs(self, level: str) -> None:
        """Have the server send log messages from `level` on."""
        if self._watching is not None:
            await self._watching.want_logs(level)

    async def close(self) -> None:
        """End the channel and its stream; what waits fails with `ChannelClosed`."""
        if self._watching is not None:
            await self._watching.close()
        self._end("channel was closed", tell=False)
        await self._errands.close(_GOODBYE)
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        if not self._endpoint.cancel() and not self._endpoint.cancelled():
            self._endpoint.exception()  # looked at, so that the loop does not complain
        await self._origin.close()

    async def _request(self, outbound: Outbound) -> Reply:
        if self._ended is not None or self._dress is None:
            raise ChannelClosed(self._ended or "channel is not open", sent=False)
        waiting = self._talk.expect(outbound)
        try:
            await self._deliver(self._talk.encode(waiting, self._dress), outbound.timeout)
            return await waiting.future
        except asyncio.CancelledError:
            self._talk.abandon(waiting, "cancelled by the client")
            raise
        except ChannelTimeout:
            self._talk.abandon(waiting, "deadline passed")
            raise
        except ChannelFailure as failure:
            self._talk.forget(waiting)
            if waiting.future.done() and not waiting.future.cancelled():
                waiting.future.exception()  # looked at: the failure above came first
            raise failure

    async def _deliver(self, data: bytes, timeout: float) -> None:
        """POST a message to the endpoint the server named."""
        path = self._endpoint.result()
        response = await self._origin.request(HttpRequest(b"POST", path, self._post, data, timeout))
        if not 200 <= response.status < 300:
            text = f"{self._origin.where} answered a message with status {response.status}"
            raise UpstreamRefused(text, status=response.status)

    def _send(self, data: bytes) -> bool:
        return self._ended is None and self._endpoint.done() and self._errands.run(self._errand(data))

    async def _errand(self, data: bytes) -> None:
        try:
            await self._deliver(data, _ERRAND)
        except ChannelFailure as failure:
            if self._upstream is None:
                self._end(str(failure))  # a part of the handshake did not get there

    # What the stream brings

    async def _read(self) -> None:
        request = HttpRequest(b"GET", self._address.path, self._get, timeout=float("inf"))
        request.on_event = self._heard
        failure: ChannelFailure
        try:
            response = await self._origin.request(request)
            if response.streamed:
                failure = ChannelClosed(f"{self._origin.where} ended its stream")
            else:
                text = f"{self._origin.where} opened no stream, but answered with status {response.status}"
                failure = UpstreamRefused(text, status=response.status)
        except ChannelFailure as error:
            failure = error
        if not self._endpoint.done():
            self._endpoint.set_exception(failure)
        self._end(str(failure))

    def _heard(self, event: Event) -> bool:
        if event.event == "endpoint":
            if not self._endpoint.done():
                self._take_endpoint(event.data)
        elif event.event == "message":
            self._talk.receive(one_line(event.data))
        return self._ended is not None

    def _take_endpoint(self, data: bytes) -> None:
        try:
            if len(data) > _LARGEST_ENDPOINT:
                raise SettingsError("URL is too long")
            named = read_address(urljoin(self._url, data.decode("ascii")))
        except (SettingsError, ValueError):
            self._endpoint.set_exception(
                UpstreamProtocolError(f"{self._origin.where} named no usable endpoint")
            )
            return
        if named.same_origin(self._address):
            self._endpoint.set_result(named.path)
        else:  # else a server could have our credentials sent to another
            text = f"{self._origin.where} named an endpoint of another origin"
            self._endpoint.set_exception(UpstreamProtocolError(text))

    def _end(self, reason: str, *, tell: bool = True) -> None:
        if self._ended is not None:
            return
        self._ended = reason
        self._talk.fail(lambda: ChannelClosed(reason))
        if tell and self._upstream is not None:
            self._events.channel_closed(reason)
