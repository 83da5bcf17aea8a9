"""Responder: one request's answer, as JSON, or as an event stream once there is more to say than one thing."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from tidegate.edge.connection import Exchange
from tidegate.gateway.call import Answer
from tidegate.protocol.codec import Object, encode_notification, one_line

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_PENDING = 256
"""Notifications that wait for a slow client; over it the oldest go. Progress is a report, not a promise."""
_JSON = b"content-type: application/json\r\n"
_EVENTS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would hold events back (2026-07-28, Streamable HTTP)
]
_KEEP_ALIVE = b": keep-alive\n\n"


class Responder:
    """Sends one answer, and what belongs to it before it."""

    __slots__ = ("_exchange", "_flushing", "_pending", "_send", "_started", "events", "since")

    def __init__(self, exchange: Exchange, send: Send, *, since: float) -> None:
        """`since` is the loop time of the request."""
        self._exchange = exchange
        self.since = since
        self.events = False
        """Whether the client takes an event stream."""
        self._send = send
        self._started = False
        self._pending: deque[bytes] = deque(maxlen=_PENDING)
        self._flushing: asyncio.Task[None] | None = None

    def notify(self, method: str, params: Object) -> None:
        """Send a notification before the answer."""
        self._queue(b"data: %b\n\n" % encode_notification(method, params))

    def keep_alive(self) -> None:
        """Send something, so that nothing in between takes the connection for dead."""
        self._queue(_KEEP_ALIVE)

    def _queue(self, data: bytes) -> None:
        if not self.events:
            return
        self._pending.append(data)
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush(), name="edge flush")

    async def _flush(self) -> None:
        try:
            while self._pending:
                if not self._started:
                    self._started = True
                    await self._send({"type": "http.response.start", "status": 200, "headers": _EVENTS})
                chunk = self._pending.popleft()
                await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
        finally:
            self._flushing = None

    async def finish(self, answer: Answer) -> None:
        """Send the answer itself."""
        while self._flushing is not None:
            await asyncio.wait([self._flushing])
        if self._started:
            await self._send({"type": "http.response.body", "body": b"data: %b\n\n" % one_line(answer.body)})
            return
        headers = _JSON
        for name, value in answer.headers:
            headers += b"%b: %b\r\n" % (name, value)
        self._exchange.respond(answer.status, headers, answer.body)
