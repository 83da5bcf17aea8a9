"""MCP over HTTP: from an exchange to a Call, and from its Answer back. Decides nothing itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Set
from hmac import compare_digest

from tidegate.domain.errors import (
    Cancelled,
    Draining,
    InvalidRequest,
    NotAcceptable,
    Refusal,
    SessionMissing,
    TooLarge,
    UnsupportedVersion,
    WrongMediaType,
)
from tidegate.edge import batch
from tidegate.edge.events import EventWriter
from tidegate.edge.exchange import Exchange, Request, Wire
from tidegate.edge.guard import Guard
from tidegate.edge.resources import Resources, has_token, no_challenge
from tidegate.edge.respond import Responder
from tidegate.edge.rests import Rests
from tidegate.gateway.call import Answer, Call, refused
from tidegate.gateway.catalog import Endpoint
from tidegate.gateway.pipeline import Pipeline
from tidegate.gateway.stream import Writer
from tidegate.gateway.streams import Streams
from tidegate.ports.identity import Credentials, Vouched
from tidegate.protocol import revisions
from tidegate.protocol.codec import Message, decode_message
from tidegate.protocol.inbound import Inbound, read
from tidegate.telemetry import log

_ONCE = frozenset(
    {b"host", b"origin", b"authorization", b"content-type", b"content-length", b"mcp-session-id",
     b"mcp-protocol-version", b"mcp-method", b"mcp-name", b"last-event-id", b"traceparent", b"dpop", b"client-cert"}
)  # fmt: skip
"""Headers of which a second one is refused: two readers could each take another."""
_QUIET = 15.0
"""Seconds after which an answer that is still to come is preceded by a keep-alive."""
_PRIME = 2.0
"""Seconds after which a legacy client is given an id by which it can come back for its answer."""
_CHECKED = 256
"""Combinations of headers that were found right and are known again."""
_NOTHING = Message(None, None, {}, {})

OpenStream = Callable[[Call, Writer, str | None], Awaitable[Answer | None]]
"""Serves a GET: the call, where events go, the Last-Event-ID. Gives the answer where nothing was written."""


class McpEdge:
    """Serves the MCP endpoints."""

    def __init__(
        self,
        pipeline: Pipeline,
        endpoints: Mapping[str, Endpoint],
        guard: Guard,
        *,
        new_id: Callable[[], str],
        operator: Vouched | None = None,
        streams: Streams | None = None,
        open_stream: OpenStream | None = None,
        resources: Resources | None = None,
    ) -> None:
        """`operator` is everyone who asks here, where the listener itself vouches for who they are.

        `streams` keeps what legacy clients come back for; `open_stream` serves their GETs, where there are to be any; `resources` is what
        this is to clients that bring tokens or certificates, where any do.
        """
        self.endpoints = endpoints
        self.active: set[Responder] = set()
        self.resources = resources
        self._pipeline = pipeline
        self._guard = guard
        self._new_id = new_id
        self._operator = operator
        self._streams = streams
        self._open_stream = open_stream
        self._clock = asyncio.get_running_loop().time
        self._checked: dict[tuple[bytes | None, ...], bool] = {}
        """Whether a client with such headers takes an event stream."""
        self._rests = Rests(self._clock)

    @property
    def guard(self) -> Guard:
        """What Host and Origin are checked by now."""
        return self._guard

    def guard_by(self, guard: Guard) -> None:
        """Have another guard from now on; what the one before found right is looked at anew."""
        self._guard = guard
        self._checked.clear()

    def whose(self, exchange: Exchange) -> str:
        """Say who asks, by credentials that were seen to be good before, else from where. To share by, not to trust."""
        headers, resources = exchange.request.headers, self.resources
        peer = self._guard.peer(exchange.peer, headers)
        if self._operator is not None:
            return peer
        try:
            if resources is None:
                credentials = Credentials(headers.get(b"authorization"), peer)
            else:
                credentials = resources.credentials(exchange, self._guard, peer, exchange.request.path)
        except Refusal:
            return peer
        return self._pipeline.whose(credentials) or peer

    async def serve(self, exchange: Exchange, endpoint: Endpoint) -> None:
        """Serve one request to an endpoint."""
        call_id, request, request_id = self._new_id(), exchange.request, None
        responder = Responder(exchange, self._clock(), self._streams)
        peer = exchange.peer if self._operator is None else "control"
        try:
            headers = request.headers
            responder.events = self._check(request)
            peer = self._guard.peer(peer, headers)
            if (resources := self.resources) is None:
                credentials = _credentials(exchange.wire, headers.get(b"authorization"), peer)
            else:
                credentials = resources.credentials(exchange, self._guard, peer, endpoint.path)
            if request.method != b"POST":
                await self._attend(exchange, endpoint, call_id, credentials, responder)
            elif request.body[:1] == b"[":
                await self._batch(exchange, endpoint, credentials, responder)
            else:
                message = decode_message(request.body)
                request_id = message.id
                inbound, size = read(headers, message), len(request.body)
                call = Call(call_id, inbound, endpoint, credentials, responder.since, size)
                if (trace := headers.get(b"traceparent")) is not None:
                    call.trace = trace.decode("latin-1")[:64]
                try:
                    await self._handle(exchange, call, responder)
                finally:  # a call and the way to its client know each other: no collector should have to find that
                    call.notify = call.say = call.task = responder.call = None
        except Refusal as refusal:
            self._pipeline.refuse_unread(call_id, endpoint.path, peer, refusal)
            await self._rest(exchange, peer)
            await self._finish(responder, endpoint, refused(refusal, call_id, request_id, modern=True))

    async def _attend(
        self,
        exchange: Exchange,
        endpoint: Endpoint,
        call_id: str,
        credentials: Credentials,
        responder: Responder,
    ) -> None:
        """Serve what is no POST: a legacy client's stream, or the end of its session."""
        method = exchange.request.method
        inbound = self._about_session(exchange.request)
        if inbound is None:
            await responder.finish(_not_allowed(method, streams=self._open_stream is not None))
            return
        call = Call(call_id, inbound, endpoint, credentials, responder.since)
        call.operator = self._operator
        if method == b"DELETE":
            await self._finish(responder, endpoint, await self._pipeline.end_session(call))
        else:
            await self._listen(exchange, call, responder)

    def _about_session(self, request: Request) -> Inbound | None:
        """Read a GET or DELETE, which legacy clients alone send; None where it is not allowed."""
        headers = request.headers
        if request.method != b"DELETE" and (request.method != b"GET" or self._open_stream is None):
            return None
        version = headers.get(b"mcp-protocol-version", b"").decode("latin-1")
        session = _session(headers)
        if version == revisions.MODERN or (session is None and not version and request.method == b"GET"):
            return None  # the last is how clients of 2024-11-05 look for its transport
        if version and version not in revisions.LEGACY:
            raise UnsupportedVersion(f"protocol version {version[:40]!r} is not supported")
        if session is None:
            raise SessionMissing("no Mcp-Session-Id: there is no session")
        return Inbound(_NOTHING, False, version or revisions.DEFAULT_LEGACY, session=session)

    async def _listen(self, exchange: Exchange, call: Call, responder: Responder) -> None:
        """Serve a legacy client's GET until it or its stream is over."""
        if not responder.events:
            raise NotAcceptable("Accept must list text/event-stream")
        if not exchange.can_stream or self._open_stream is None:
            raise InvalidRequest("an event stream needs HTTP/1.1")
        last = exchange.request.headers.get(b"last-event-id")
        exchange.request.headers = {}  # many streams are open for long, and headers are most of what one holds
        writer, task = EventWriter(exchange), exchange.task
        if task is not None:
            exchange.when_lost = task.cancel
        try:
            answer = await self._open_stream(call, writer, None if last is None else last.decode("latin-1"))
        except asyncio.CancelledError:
            if exchange.gone or task is None:
                return
            task.uncancel()  # by a stop; the exchange still has to end
            answer = None
        finally:
            exchange.when_lost = None
        if answer is None:
            writer.end()
        else:
            await self._finish(responder, call.endpoint, answer)

    def _check(self, request: Request) -> bool:
        """Check what does not depend on the body. Tell whether the client takes an event stream."""
        if request.repeated:
            _check_repeated(request.repeated)
        get = request.headers.get
        seen = (request.method, get(b"host"), get(b"origin"), get(b"content-type"), get(b"accept"))
        events = self._checked.get(seen)
        if events is None:
            events = self._look(request)
            if len(self._checked) < _CHECKED:
                self._checked[seen] = events
        if request.query and has_token(request.query):
            raise InvalidRequest("a token is taken in the Authorization header only, never in the URL")
        if request.oversize:
            raise TooLarge("the body is larger than is taken (limits.body)")
        return events

    def _look(self, request: Request) -> bool:
        """Check Host, Origin and media types. Tell whether the client takes an event stream."""
        self._guard.check(request.headers)
        if request.method == b"POST":
            _check_types(request.headers)
        return b"text/event-stream" in request.headers.get(b"accept", b"").lower()

    async def _batch(
        self, exchange: Exchange, endpoint: Endpoint, credentials: Credentials, responder: Responder
    ) -> None:
        """Answer several messages at once."""
        headers = exchange.request.headers
        messages = batch.split(exchange.request.body, headers.get(b"mcp-protocol-version"))
        calls = [
            Call(self._new_id(), read(headers, each), endpoint, credentials, responder.since)
            for each in messages
        ]
        for call in calls:
            call.operator = self._operator
        refusal = await self._pipeline.check_batch(calls[0])
        if refusal is not None:
            await self._finish(responder, endpoint, refusal)
            return

        async def handle(call: Call) -> Answer:
            try:
                return await self._pipeline.handle(call)
            except asyncio.CancelledError:
                return self._pipeline.refuse(call, self._why_cancelled(exchange, call))

        await responder.finish(await batch.answer(calls, handle))

    async def _handle(self, exchange: Exchange, call: Call, responder: Responder) -> None:
        task = call.task = exchange.task
        if call.inbound.modern and task is not None:
            exchange.when_lost = task.cancel  # 2026-07-28, cancellation: closing the stream is cancelling
        else:
            responder.call = call  # 2025-11-25, transports: it is not; the client may come back
        call.notify = responder.notify
        call.say = responder.say
        call.operator = self._operator
        self.active.add(responder)
        try:
            answer = await self._pipeline.handle(call)
        except asyncio.CancelledError:
            answer = self._pipeline.refuse(call, self._why_cancelled(exchange, call))
            if task is None or (exchange.gone and call.inbound.modern):
                return
            task.uncancel()  # by notifications/cancelled, or by a stop; the exchange, or its stream, has to end
        except Exception as error:  # noqa: BLE001 - the edge: a fault of ours must not look like an answer
            log().error("edge.failed", call=call.id, method=call.method, exc_info=error)
            answer = refused(Refusal("internal error"), call.id, call.inbound.message.id, modern=True)
        finally:
            exchange.when_lost = None
            self.active.discard(responder)
        if answer.refusal is None:
            if not responder.send(answer):
                await responder.finish(answer)
        else:
            await self._rest(exchange, _who(call))
            await self._finish(responder, call.endpoint, answer)

    async def _rest(self, exchange: Exchange, who: str) -> None:
        """Wait with a refusal, where there were many."""
        if not self._pipeline.draining:
            await self._rests.rest(exchange, who)

    async def _finish(self, responder: Responder, endpoint: Endpoint, answer: Answer) -> None:
        """Send an answer that may be a refusal: with what tells the client how to be let in."""
        if answer.refusal is not None:
            resources, path = self.resources, endpoint.path
            told = resources.challenge(path, answer.refusal) if resources else no_challenge(answer.refusal)
            answer = Answer(answer.status, answer.body, answer.headers + told)
        await responder.finish(answer)

    def _why_cancelled(self, exchange: Exchange, call: Call) -> Refusal:
        if call.ended is not None:
            return call.ended
        if exchange.gone:
            return Cancelled("the client went away")
        if self._pipeline.draining:
            return Draining("the gateway is stopping, and the call took longer than it waits")
        return Cancelled("cancelled by the client")

    def keep_alive(self) -> None:
        """Say something on every answer that is long in coming. Called now and then."""
        now = self._clock()
        for responder in self.active:
            if responder.since < now - _QUIET:
                responder.since = now
                responder.keep_alive()
            elif responder.since < now - _PRIME:
                responder.prime()


def _who(call: Call) -> str:
    return call.credentials.peer if call.vouched is None else call.principal.key


def _credentials(wire: Wire, header: bytes | None, peer: str) -> Credentials:
    """Give what a request brought: where that is the same as the one before it on its connection, the very same."""
    before = wire.credentials
    if (
        not header
        or before is None
        or before.known is None
        or before.peer != peer
        or not compare_digest(before.authorization or b"", header)
    ):
        before = wire.credentials = Credentials(header, peer)
    return before


def _session(headers: Mapping[bytes, bytes]) -> str | None:
    found = headers.get(b"mcp-session-id")
    return None if found is None else found.decode("latin-1")


def _check_repeated(repeated: Set[bytes]) -> None:
    once = repeated & _ONCE
    if once:
        raise InvalidRequest(f"header {min(once).decode('latin-1')} stands twice")
    if any(name.startswith(b"mcp-param-") for name in repeated):
        raise InvalidRequest("a header Mcp-Param-* stands twice")


def _check_types(headers: Mapping[bytes, bytes]) -> None:
    kind = headers.get(b"content-type", b"")
    if kind != b"application/json" and kind.partition(b";")[0].strip().lower() != b"application/json":
        raise WrongMediaType("Content-Type must be application/json")
    accept = headers.get(b"accept", b"*/*").lower()
    if not any(kind in accept for kind in (b"json", b"*/*", b"application/*")):
        raise NotAcceptable("Accept must list application/json and text/event-stream")


def _not_allowed(method: bytes, *, streams: bool) -> Answer:
    allowed = b"POST, DELETE" if not streams or method == b"GET" else b"GET, POST, DELETE"
    what = b'{"error": "send POST; legacy clients also DELETE to end a session, and GET to listen in it"}'
    return Answer(405, what, ((b"allow", allowed),))
