"""Responder: one call's answer, as JSON, or as an event stream once there is more to say than one thing."""

from __future__ import annotations

import asyncio
from collections import deque

from tidegate.edge.exchange import Exchange
from tidegate.gateway.call import Answer
from tidegate.protocol.codec import Object, encode_notification, one_line

_PENDING = 256
"""Notifications that wait for a slow client; over it the oldest go. Progress is a report, not a promise."""
_PENDING_SIZE = 1024 * 1024
"""Bytes of them."""
_JSON = b"content-type: application/json\r\n"
_EVENTS = (
    b"content-type: text/event-stream\r\n"
    b"cache-control: no-store\r\n"
    b"x-accel-buffering: no\r\n"  # nginx would hold events back (2026-07-28, Streamable HTTP)
)
_KEEP_ALIVE = b": keep-alive\n\n"


class Responder:
    """Sends one answer, and what belongs to it before it."""

    __slots__ = ("_begun", "_exchange", "_flushing", "_pending", "_size", "events", "since")

    def __init__(self, exchange: Exchange, *, since: float, events: bool = False) -> None:
        """`since` is the loop time of the request; `events` whether the client takes an event stream."""
        self.since = since
        self.events = events
        self._exchange = exchange
        self._begun = False
        self._pending: deque[bytes] | None = None
        self._size = 0
        self._flushing: asyncio.Task[None] | None = None

    def notify(self, method: str, params: Object) -> None:
        """Send a notification before the answer."""
        self._queue(b"data: %b\n\n" % encode_notification(method, params))

    def keep_alive(self) -> None:
        """Send something, so that nothing in between takes the connection for dead."""
        self._queue(_KEEP_ALIVE)

    def _queue(self, data: bytes) -> None:
        if not self.events or not self._exchange.can_stream:
            return
        if self._pending is None:
            self._pending = deque()
        pending = self._pending
        pending.append(data)
        self._size += len(data)
        while len(pending) > 1 and (len(pending) > _PENDING or self._size > _PENDING_SIZE):
            self._size -= len(pending.popleft())
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush(pending), name="edge flush")

    async def _flush(self, pending: deque[bytes]) -> None:
        try:
            while pending:
                if not self._begun:
                    self._begun = True
                    self._exchange.begin(200, _EVENTS)
                data = pending.popleft()
                self._size -= len(data)
                await self._exchange.send(data)
        finally:
            self._flushing = None

    async def finish(self, answer: Answer) -> None:
        """Send the answer itself."""
        if self._pending is not None:
            while self._flushing is not None:
                await asyncio.wait([self._flushing])
            if self._begun:
                self._exchange.end(b"data: %b\n\n" % one_line(answer.body))
                return
        headers = _JSON
        for name, value in answer.headers:
            headers += b"%b: %b\r\n" % (name, value)
        self._exchange.respond(answer.status, headers, answer.body)
