"""StreamableHttpChannel: MCP over Streamable HTTP, in both eras. A POST a message, its answer on it.

Sources: MCP 2026-07-28 and 2025-11-25, basic/transports, Streamable HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace

from tidegate.channels.channel import ChannelEvents, Outbound, Reply
from tidegate.channels.errands import Errands
from tidegate.channels.exchange import HttpCall, RequestHeaders, read_session
from tidegate.channels.handshake import Patience
from tidegate.channels.http.messages import HttpRequest, HttpResponse
from tidegate.channels.inbox import LISTEN, Dropped, Inbox, id_prefix, with_token
from tidegate.channels.listening import listen, resume
from tidegate.channels.place import HttpPlace
from tidegate.channels.watching import Watching, opened
from tidegate.domain.errors import (
    ChannelClosed,
    ChannelFailure,
    ChannelTimeout,
    SessionForgotten,
    UpstreamProtocolError,
    UpstreamRefused,
)
from tidegate.domain.workload import Upstream
from tidegate.ports.recorder import Intent
from tidegate.protocol import revisions
from tidegate.protocol.client import (
    INITIALIZED,
    Dress,
    Introduction,
    cancelled,
    decode_inbound,
    discover,
    initialize,
    read_discovery,
    read_initialize,
)
from tidegate.protocol.codec import encode_notification, encode_request, one_line
from tidegate.protocol.sse import Event

_PROBE = 10.0
_ERRAND = 10.0
"""Seconds that a message nobody waits for may take."""
_ERRANDS = 128
"""Of them at once: more than questions of the server that may be open."""
_LASTING = 5.0
"""Seconds for the question whether a session lasts."""
_STREAM = 1.0
"""Seconds that a legacy server has to say whether it has a stream of its own. Many send no head before there is
something on it."""
_GOODBYE = 2.0
"""Seconds for the end of a session."""
_LEAVE = 1.0
"""Seconds that calls under way have to learn that their session was forgotten."""
_NO_WORD_ON_THE_ERA = frozenset({401, 403, 407, 408, 429, 502, 503, 504})
"""Statuses of a probe that say nothing about the server's era: asking again in the other one is of no use."""


class StreamableHttpChannel:
    """A channel to a Streamable HTTP server. Implements `Channel`.

    `epoch` is random, of letters and digits. `channel_closed` is told only after `open` has returned,
    and then only if the server forgot the session: a server that is away now may be there for the next
    call. With `listening`, a legacy server's own stream of notifications is read where it has one.
    """

    def __init__(
        self,
        events: ChannelEvents,
        place: HttpPlace,
        *,
        epoch: str,
        listening: bool = True,
    ) -> None:
        self._events = events
        self._path = place.address().path
        self._fixed = place.header_lines()
        self._origin = place.origin()
        self._headers = RequestHeaders(self._fixed)
        self._calls: dict[bytes, HttpCall] = {}
        self._inbox = Inbox(events, self._send, self._calls, self._origin.loop.time)
        self._askers = self._inbox.askers
        self._prefix = id_prefix(epoch)
        self._count = 0
        self._errands = Errands(_ERRANDS)
        self._listening = listening
        self._listener: asyncio.Task[None] | None = None
        self._upstream: Upstream | None = None
        self._watching: Watching | None = None
        self._dress: Dress | None = None
        self._ended: str | None = None
        self._forgotten = False
        """Whether it ended since the server no longer knows the session."""
        self._idle = asyncio.Event()
        """Set whenever the last call under way has ended."""

    # Handshake

    async def open(
        self, known: Upstream | None, client: Introduction, patience: Patience | None = None
    ) -> Upstream:
        """Find out the era and shake hands, or with `known` (a session from before) see that it lasts.

        After a failure the channel is to be closed.

        Raises:
            SessionForgotten: the session of `known` is gone; a new channel is to be opened without it.
            ChannelFailure: it did not come to that, and why.
        """
        patience = patience or Patience()
        try:
            async with asyncio.timeout(patience.total):
                upstream = await (
                    self._settle(client, patience) if known is None else self._rejoin(known, client)
                )
        except TimeoutError as error:
            text = f"{self._origin.where} shook no hands within {patience.total:g} s"
            raise ChannelTimeout(text) from error
        self._upstream = upstream
        self._dress = Dress(upstream.revision, client)
        self._inbox.settled(modern=self._dress.modern)
        self._watching = Watching(upstream, self.ask, self._events.channel_notified)
        if self._listening and upstream.era == "legacy":
            await self._begin_listening()
        return upstream

    async def _begin_listening(self) -> None:
        """Open the server's own stream before any call: what it asks or tells there would else be lost."""
        answered = asyncio.Event()
        self._listener = asyncio.get_running_loop().create_task(self._listen(answered.set))
        self._listener.add_done_callback(lambda _: answered.set())
        with suppress(TimeoutError):
            async with asyncio.timeout(_STREAM):
                await answered.wait()

    async def _settle(self, client: Introduction, patience: Patience) -> Upstream:
        probe = _PROBE if patience.probe is None else patience.probe
        if probe > 0:
            self._headers = RequestHeaders(self._fixed, revisions.MODERN)
            upstream = await self._discover(client, probe)
            if upstream is not None:
                return upstream
        self._headers = RequestHeaders(self._fixed)
        call = self._begin(Outbound("initialize", timeout=patience.total))
        response = await self._post(call, initialize(call.ident, client))
        reply = call.settle(response, self._origin.where, session=False)
        upstream = replace(read_initialize(reply.result, reply.error), session=read_session(response))
        self._headers = RequestHeaders(self._fixed, upstream.revision, upstream.session)
        self._inbox.settled(modern=False)
        await self._deliver(INITIALIZED, patience.total)
        return upstream

    async def _discover(self, client: Introduction, probe: float) -> Upstream | None:
        """Ask as a modern client does. None: it is a legacy server, or says nothing that settles it."""
        call = self._begin(Outbound("server/discover", timeout=probe))
        try:
            response = await self._post(call, discover(call.ident, client))
            reply = call.settle(response, self._origin.where, session=False)
        except UpstreamRefused as refused:
            if refused.status in _NO_WORD_ON_THE_ERA:
                raise
            return None
        except (ChannelTimeout, ChannelClosed, UpstreamProtocolError) as failure:
            if not failure.sent:
                raise
            return None
        return read_discovery(reply.result, reply.error)

    async def _rejoin(self, known: Upstream, client: Introduction) -> Upstream:
        self._headers = RequestHeaders(self._fixed, known.revision, known.session)
        self._dress = Dress(known.revision, client)
        self._inbox.settled(modern=self._dress.modern)
        self._askers.resumed()
        await self.ask(Outbound("server/discover" if known.era == "modern" else "ping"))
        return known

    # What a caller sees

    @property
    def upstream(self) -> Upstream:
        """What the handshake settled."""
        if self._upstream is None:
            raise ChannelClosed("channel is not open", sent=False)
        return self._upstream

    @property
    def in_flight(self) -> int:
        """How many requests wait for an answer; a subscription waits for none."""
        return sum(1 for each in self._calls.values() if each.outbound.method != LISTEN)

    @property
    def dropped(self) -> Dropped:
        """How many messages came that were good for nothing."""
        return self._inbox.dropped

    def call(self, intent: Intent, outbound: Outbound) -> Coroutine[object, object, Reply]:
        """Send a request that was recorded."""
        return self._request(outbound)

    async def ask(self, outbound: Outbound) -> Reply:
        """Send a request of the gateway's own, never one with an effect."""
        if outbound.method == "tools/call":
            raise ValueError("tools/call needs an intent")
        return await self._request(outbound, repeatable=True)

    async def watch(self, uris: frozenset[str], tasks: frozenset[str]) -> None:
        """Say of which resources and tasks changes are to be told."""
        await opened(self._watching).watch(uris, tasks)

    def tell(self, outbound: Outbound) -> bool:
        """Send a client's notification."""
        self._count += 1
        if outbound.holder:
            self._askers.enter(outbound)
            self._askers.abandon(b"%d" % self._count, outbound)
        return self._inbox.say(encode_notification(outbound.method, outbound.params, outbound.meta))

    async def want_logs(self, level: str) -> None:
        """Have a legacy server send log messages from `level` on."""
        if self._watching is not None:
            await self._watching.want_logs(level)

    async def close(self) -> None:
        """End the session and the channel; what waits fails with `ChannelClosed`."""
        was_open = self._ended is None and self._upstream is not None
        self._ended = self._ended or "channel was closed"
        if self._watching is not None:
            await self._watching.close()
        self._inbox.questions.close("the server is gone")
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)
        if self._forgotten and self._calls:
            # Each learns for itself that nothing was done with it, and may be sent again.
            self._idle.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(_LEAVE):
                    await self._idle.wait()
        await self._errands.close(_GOODBYE)
        if was_open and self._headers.session is not None:
            request = HttpRequest(b"DELETE", self._path, self._headers.get(), timeout=_GOODBYE)
            try:
                await self._origin.request(request)
            except ChannelFailure:
                pass  # the server forgets it by itself
        await self._origin.close()

    # Calls

    def _begin(self, outbound: Outbound) -> HttpCall:
        self._count += 1
        return HttpCall(self._inbox, b'%b%d"' % (self._prefix, self._count), outbound)

    async def _request(self, outbound: Outbound, *, repeatable: bool = False) -> Reply:
        dress = self._dress
        if self._ended is not None or dress is None:
            raise ChannelClosed(self._ended or "channel is not open", sent=False)
        call = self._begin(outbound)
        ident = call.ident
        self._calls[ident] = call
        told = None
        if dress.modern:
            told = dress.told(outbound.capabilities, outbound.log_level)
        elif outbound.holder:
            self._askers.enter(outbound)
        meta = with_token(outbound, ident)
        data = dress.request(ident, outbound.method, outbound.params, meta, told)
        try:
            response = await self._post(call, data, repeatable=repeatable)
            if call.reply is not None:
                return call.reply
            if response.status == 400 and not await self._session_lasts():
                raise SessionForgotten(f"{self._origin.where} no longer knows the session")
            return call.settle(response, self._origin.where, session=self._headers.session is not None)
        except (asyncio.CancelledError, ChannelTimeout):
            if not dress.modern:  # else the end of the stream has said so
                if outbound.holder:
                    self._askers.abandon(ident, outbound)
                self._errands.run(self._errand(cancelled(ident, "nobody waits for it")))
            raise
        except SessionForgotten as failure:
            self._forgotten = True
            self._end(str(failure))
            raise
        finally:
            self._over(call, dress.modern)

    def _over(self, call: HttpCall, modern: bool) -> None:
        del self._calls[call.ident]
        if call.outbound.holder and not modern:
            self._askers.leave(call.outbound)
        if call.pauses is not None:
            self._inbox.questions.drop(call)
        if "task" in call.outbound.params:
            self._inbox.answered(call.ident, call.outbound)
        if not self._calls:
            self._idle.set()

    async def _post(self, call: HttpCall, data: bytes, *, repeatable: bool = False) -> HttpResponse:
        outbound = call.outbound
        headers = self._headers.post(outbound.method, outbound.name, outbound.mirrored)
        more = None if outbound.asked is None else call.more
        request = HttpRequest(
            b"POST", self._path, headers, data, outbound.timeout, call.take_event, more, repeatable
        )
        response = await self._origin.request(request)
        if response.streamed and not call.settled and response.last_id and not self._headers.modern:
            deadline = request.sent + outbound.timeout
            return await resume(self._origin, self._path, self._headers, call, response, deadline)
        return response

    async def _session_lasts(self) -> bool:
        """Ask whether the session is still known, where a refusal leaves it open.

        A forgotten session is to be answered with 404. Many servers say 400 instead, as they do for a
        session that was never given, and that alone could also be about the request.
        """
        if self._headers.session is None:
            return True
        ping = self._begin(Outbound("ping", timeout=_LASTING))
        try:
            response = await self._post(ping, encode_request(ping.ident, "ping", {}))
        except ChannelFailure:
            return True  # it did not say
        return response.status not in (400, 404)

    async def _deliver(self, data: bytes, timeout: float) -> None:
        """POST what has no answer."""
        headers = self._headers.post("notifications/initialized")
        response = await self._origin.request(HttpRequest(b"POST", self._path, headers, data, timeout))
        if not 200 <= response.status < 300:
            text = f"{self._origin.where} answered a notification with status {response.status}"
            raise UpstreamRefused(text, status=response.status)

    def _send(self, data: bytes) -> bool:
        """Send an answer to a server's request; a modern server has none to make."""
        return not self._headers.modern and self._errands.run(self._errand(data))

    async def _errand(self, data: bytes) -> None:
        try:
            await self._deliver(data, _ERRAND)
        except ChannelFailure:
            pass  # nobody waits for it, and the next call says what is wrong

    # What the server says on its own stream

    async def _listen(self, answered: Callable[[], None]) -> None:
        gone = await listen(self._origin, self._path, self._headers, self._heard, answered)
        if gone and self._headers.session is not None:
            self._forgotten = True
            self._end(f"{self._origin.where} no longer knows the session")

    def _heard(self, event: Event) -> bool:
        if not event.data or event.event != "message":
            return False
        message = decode_inbound(one_line(event.data))
        if message is None:
            self._inbox.junk()
        elif message.method is None:
            self._inbox.dropped.unknown += 1  # answers stand on their own requests' streams
        else:
            self._inbox.take(message)
        return False

    def _end(self, reason: str) -> None:
        if self._ended is None:
            self._ended = reason
            self._inbox.questions.close(reason)
            if self._upstream is not None:
                self._events.channel_closed(reason)
