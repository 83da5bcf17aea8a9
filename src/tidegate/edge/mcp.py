"""MCP over HTTP: from an ASGI request to a Call, and from its Answer back. Decides nothing itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

from tidegate.domain.errors import (
    Cancelled,
    Draining,
    InvalidRequest,
    NotAcceptable,
    Refusal,
    TooLarge,
    WrongMediaType,
)
from tidegate.edge.connection import EXTENSION, Exchange
from tidegate.edge.guard import Guard
from tidegate.edge.respond import Receive, Responder, Scope, Send
from tidegate.gateway.call import Answer, Call, refused
from tidegate.gateway.catalog import Endpoint
from tidegate.gateway.pipeline import Pipeline
from tidegate.ports.identity import Credentials, Vouched
from tidegate.protocol.codec import Message, decode_message
from tidegate.protocol.inbound import Inbound, read
from tidegate.telemetry import log

_ONCE = frozenset(
    {b"host", b"origin", b"authorization", b"content-type", b"content-length", b"mcp-session-id",
     b"mcp-protocol-version", b"mcp-method", b"mcp-name", b"traceparent"}
)  # fmt: skip
"""Headers of which a second one is refused: two readers could each take another."""
_QUIET = 15.0
"""Seconds after which an answer that is still to come is preceded by a keep-alive."""
_NOTHING = Message(None, None, {}, {})


@dataclass(frozen=True, slots=True)
class EdgeBounds:
    """What the edge takes."""

    body: int = 4 * 1024 * 1024


class McpEdge:
    """The ASGI application of the MCP endpoints."""

    def __init__(
        self,
        pipeline: Pipeline,
        endpoints: Mapping[str, Endpoint],
        guard: Guard,
        *,
        bounds: EdgeBounds,
        new_id: Callable[[], str],
        operator: Vouched | None = None,
    ) -> None:
        """`operator` is everyone who asks here, where the listener itself vouches for who they are."""
        self._pipeline = pipeline
        self._endpoints = endpoints
        self._guard = guard
        self._bounds = bounds
        self._new_id = new_id
        self._operator = operator
        self.active: set[Responder] = set()
        self._clock = asyncio.get_running_loop().time

    def serves(self, path: str) -> bool:
        """Tell whether the path is an endpoint's."""
        return path in self._endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request to an endpoint."""
        call_id, endpoint = self._new_id(), self._endpoints[scope["path"]]
        exchange: Exchange = scope["extensions"][EXTENSION]
        responder = Responder(exchange, send, since=self._clock())
        peer, request_id = self._client(scope), None
        try:
            headers = _headers(scope["headers"])
            self._guard.check(headers)
            peer = self._guard.peer(peer, headers)
            credentials = Credentials(headers.get(b"authorization"), peer)
            if scope["method"] == "POST":
                _check_types(headers)
                message = decode_message(
                    exchange.body(self._bounds.body) or await self._body(headers, receive)
                )
                request_id = message.id
                call = Call(call_id, read(headers, message), endpoint, credentials, responder.since)
                call.trace = headers.get(b"traceparent", b"").decode("latin-1")[:64]
                responder.events = b"text/event-stream" in headers.get(b"accept", b"")
                await self._handle(exchange, call, responder)
            elif scope["method"] == "DELETE":
                inbound = Inbound(_NOTHING, False, "", _session(headers))
                call = Call(call_id, inbound, endpoint, credentials, responder.since)
                call.operator = self._operator
                await responder.finish(await self._pipeline.end_session(call))
            else:
                await responder.finish(_NOT_ALLOWED)
        except Refusal as refusal:
            self._pipeline.refuse_unread(call_id, endpoint.path, peer, refusal)
            await responder.finish(refused(refusal, call_id, request_id, modern=True))

    async def _handle(self, exchange: Exchange, call: Call, responder: Responder) -> None:
        task = asyncio.current_task()
        if call.inbound.modern and task is not None:
            exchange.when_lost(task.cancel)  # 2026-07-28, cancellation: closing the stream is cancelling
        call.notify = responder.notify
        call.operator = self._operator
        self.active.add(responder)
        try:
            answer = await self._pipeline.handle(call)
        except asyncio.CancelledError:
            answer = self._pipeline.refuse(call, self._why_cancelled(exchange))
            if exchange.gone or task is None:
                return
            task.uncancel()  # by notifications/cancelled, or by a stop; the exchange still has to end
        except Exception as error:  # noqa: BLE001 - the edge: a fault of ours must not look like an answer
            log().error(
                "edge.failed", call=call.id, method=call.method, error=type(error).__name__, exc_info=error
            )
            answer = refused(Refusal("internal error"), call.id, call.inbound.message.id, modern=True)
        finally:
            exchange.when_lost(None)
            self.active.discard(responder)
        await responder.finish(answer)

    def _why_cancelled(self, exchange: Exchange) -> Refusal:
        if exchange.gone:
            return Cancelled("the client went away")
        if self._pipeline.draining:
            return Draining("the gateway is stopping, and the call took longer than it waits")
        return Cancelled("cancelled by the client")

    def keep_alive(self) -> None:
        """Say something on every answer that is long in coming. Called now and then."""
        quiet_since = self._clock() - _QUIET
        for responder in self.active:
            if responder.since < quiet_since:
                responder.since = self._clock()
                responder.keep_alive()

    def _client(self, scope: Scope) -> str:
        if self._operator is not None:
            return "control"
        client = cast("tuple[str, int] | None", scope.get("client"))
        return client[0] if client else ""

    async def _body(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        limit = self._bounds.body
        if int(headers.get(b"content-length", b"0")) > limit:
            raise TooLarge(f"the body is over {limit} bytes")
        event = await receive()
        body: bytes = event.get("body", b"")
        if len(body) > limit:
            raise TooLarge(f"the body is over {limit} bytes")
        if event.get("more_body"):
            parts, size = [body], len(body)
            while event.get("more_body"):
                event = await receive()
                parts.append(event.get("body", b""))
                size += len(parts[-1])
                if size > limit:
                    raise TooLarge(f"the body is over {limit} bytes")
            body = b"".join(parts)
        if event["type"] == "http.disconnect":
            raise InvalidRequest("the body ended early")
        return body


def _headers(pairs: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    headers = dict(pairs)
    if len(headers) != len(pairs):
        names = [name for name, _ in pairs]
        for name in headers.keys() & _ONCE:
            if names.count(name) > 1:
                raise InvalidRequest(f"header {name.decode('latin-1')} stands twice")
    return headers


def _session(headers: Mapping[bytes, bytes]) -> str | None:
    found = headers.get(b"mcp-session-id")
    return None if found is None else found.decode("latin-1")


def _check_types(headers: Mapping[bytes, bytes]) -> None:
    kind = headers.get(b"content-type", b"")
    if kind != b"application/json" and kind.partition(b";")[0].strip().lower() != b"application/json":
        raise WrongMediaType("Content-Type must be application/json")
    accept = headers.get(b"accept")
    if (
        accept is not None
        and b"json" not in accept
        and b"*/*" not in accept
        and b"application/*" not in accept
    ):
        raise NotAcceptable("Accept must list application/json and text/event-stream")


_NOT_ALLOWED = Answer(
    405, b'{"error": "send POST, or DELETE to end a session"}', ((b"allow", b"POST, DELETE"),)
)
