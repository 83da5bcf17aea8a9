"""Connection: uvicorn's HTTP protocol with bounds on what a client may send and how slowly.

A request that is heading for an application carries its `Exchange` in `scope["extensions"]`: so a modern
client that goes away can be taken for one that cancelled, and a whole answer goes out in one write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

EXTENSION = "tidegate.connection"
HEADERS = 64 * 1024
"""Bytes of request line and headers that are taken: tokens and session ids fit many times over."""
CONNECTIONS = 4096
"""Open connections per listener: each costs a descriptor and a few kilobytes."""
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\n"
    b"content-length: 43\r\nconnection: close\r\n\r\n"
    b'{"error": "request headers are over 64 kB"}'
)


class Exchange:
    """One request and its answer on a connection: a shorter way than ASGI for an answer that is whole."""

    __slots__ = ("_connection", "_cycle")

    def __init__(self, connection: Connection, cycle: RequestResponseCycle) -> None:
        self._connection = connection
        self._cycle = cycle

    @property
    def gone(self) -> bool:
        """Whether the client went away."""
        return self._connection.gone

    def when_lost(self, call: Callable[[], object] | None) -> None:
        """Have `call` called once if the client goes away before it is answered; None takes that back."""
        self._connection.lost = call

    def body(self, limit: int) -> bytes | None:
        """Take the request's body if it has come whole already and is within `limit`, else None."""
        cycle = self._cycle
        if cycle.more_body or cycle.waiting_for_100_continue or len(cycle.body) > limit:
            return None
        body = bytes(cycle.body)
        cycle.body = bytearray()
        return body

    def respond(self, status: int, headers: bytes, body: bytes) -> None:
        """Answer in one write. `headers` is encoded lines, without the length."""
        cycle = self._cycle
        if cycle.disconnected:
            return
        cycle.response_started = cycle.response_complete = True
        close = b"" if cycle.keep_alive else b"connection: close\r\n"
        cycle.transport.write(
            b"%bcontent-length: %d\r\n%b%b\r\n%b" % (STATUS_LINE[status], len(body), headers, close, body)
        )
        cycle.message_event.set()
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()


class Connection(HttpToolsProtocol):
    """One client connection."""

    lost: Callable[[], object] | None = None
    """Called once when the client goes away while a request of its is being handled."""
    gone = False
    reading_since: float | None = None
    """Loop time since which a request is being read; a sweeper ends those that take too long."""
    _head = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, unless there are too many."""
        super().connection_made(transport)
        self.reading_since = self.loop.time()
        if len(self.connections) > CONNECTIONS:
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever handles a request on it."""
        super().connection_lost(exc)
        self.gone = True
        lost, self.lost = self.lost, None
        if lost is not None and self.cycle is not None and not self.cycle.response_complete:  # pyright: ignore[reportUnnecessaryComparison] - None before the first request
            lost()

    def data_received(self, data: bytes) -> None:
        """Feed the parser, as long as the headers stay within their bound."""
        self._head += len(data)
        super().data_received(data)
        if self._head > HEADERS and not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def on_message_begin(self) -> None:
        """Start the clock of a request."""
        super().on_message_begin()
        self._head = 0 if self.reading_since is None else self._head
        self.reading_since = self.loop.time()

    def on_headers_complete(self) -> None:
        """Count body bytes no more: the application bounds those."""
        self._head = -(1 << 62)
        super().on_headers_complete()
        # The application runs in a task, so it sees this though it was started already.
        cast("dict[str, Any]", self.scope)["extensions"] = {EXTENSION: Exchange(self, self.cycle)}

    def on_message_complete(self) -> None:
        """Stop the clock."""
        self._head = 0
        self.reading_since = None
        super().on_message_complete()
