"""One connection to an HTTP/1.1 origin: bytes out, answers in, one exchange at a time. No pool.

httptools parses; here are the bounds it does not have, and what becomes of the connection.
"""

from __future__ import annotations

import asyncio
import select
from typing import Protocol, cast

import httptools
from msgspec import Struct

from tidegate.channels.http.messages import HttpBounds, HttpRequest, HttpResponse
from tidegate.domain.errors import (
    ChannelClosed,
    ChannelFailure,
    ChannelTimeout,
    UpstreamProtocolError,
)
from tidegate.protocol.sse import EventParser

_MOST_HEADERS = 256
_DRAIN = 1.0
"""Seconds that a stream may go on after its last wanted event, before its connection is given up."""
_FRESH = 0.05
"""Seconds for which an idle connection is taken to be open without looking."""


class Exchange(Struct, eq=False):
    """A request and what came of it so far."""

    owner: ExchangeOwner
    request: HttpRequest
    wire: bytes
    deadline: float
    future: asyncio.Future[HttpResponse]
    connection: Connection | None = None
    repeated: bool = False

    def expire(self) -> None:
        """Give up: the deadline has passed, and there is no more time."""
        more = 0.0 if self.request.more is None else self.request.more(self.owner.loop.time())
        if more:
            self.deadline += more
            self.owner.postponed(self)
            return
        text = f"no answer from {self.owner.where} within {self.request.timeout:g} s"
        self.fail(ChannelTimeout(text, sent=self.connection is not None))
        self.owner.dropped(self)

    def fail(self, error: ChannelFailure) -> None:
        """End with an error, unless it has ended already."""
        if not self.future.done():
            self.future.set_exception(error)


class ExchangeOwner(Protocol):
    """What an exchange and a connection need to know of the pool."""

    loop: asyncio.AbstractEventLoop
    where: str
    bounds: HttpBounds

    def postponed(self, exchange: Exchange) -> None:
        """Watch over its deadline again, which is later now."""
        ...

    def dropped(self, exchange: Exchange) -> None:
        """Nobody waits for this exchange any more."""
        ...

    def free(self, connection: Connection) -> None:
        """This connection may take another exchange."""
        ...

    def lost(self, connection: Connection, broken: Exchange | None) -> None:
        """This connection is gone; `broken` was sent on it and not one byte of answer came."""
        ...

    def draining(self, connection: Connection, until: float) -> None:
        """Call `connection.expire` then, unless it comes free before."""
        ...


class Connection(asyncio.Protocol):
    """A connection. It belongs to its pool, which hands it exchanges and is told when it is free or lost."""

    def __init__(self, owner: ExchangeOwner) -> None:
        self._owner = owner
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._poll: select.poll | None = None
        self._exchange: Exchange | None = None
        self.used = False
        """Whether an exchange has been on it before."""
        self.deadline = 0.0
        """When it has been idle for too long, or drained for too long."""
        self._idle_since = 0.0
        self._idle_for = owner.bounds.idle
        self._keep_alive = b""
        self._problem: str | None = None
        self._status = 0
        self._keep = self._enough = False
        self._new_answer()

    # What the pool does with it

    @property
    def is_open(self) -> bool:
        """Whether the next exchange may be put on it."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        if self._owner.loop.time() - self._idle_since < _FRESH or self._poll is None:
            return True
        return not self._poll.poll(0)  # readable while idle: closed, or answering what was not asked

    def send(self, exchange: Exchange) -> None:
        """Put an exchange on a connection that is free."""
        transport = self._transport
        self._exchange = exchange
        exchange.connection = self
        if transport is not None:
            transport.write(exchange.wire)

    def abort(self) -> None:
        """Close at once, whatever is on it."""
        if self._transport is not None:
            self._transport.abort()

    def expire(self) -> None:
        """Close: it was idle, or drained, for too long."""
        self.abort()

    def end(self, error: ChannelFailure) -> None:
        """Fail what is on it and close."""
        if self._exchange is not None:
            self._exchange.fail(error)
        self.abort()

    # What the transport tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Learn that it stands."""
        self._transport = cast("asyncio.Transport", transport)
        socket = transport.get_extra_info("socket")
        if socket is not None:
            self._poll = select.poll()
            self._poll.register(socket.fileno(), select.POLLIN | select.POLLHUP)
        self._idle_since = self._owner.loop.time()

    def data_received(self, data: bytes) -> None:
        """Take bytes of an answer."""
        if self._exchange is None:
            self.abort()  # an answer to nothing
            return
        if not self._head_done:
            self._head_size += len(data)
        self._touched = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._problem = "switched to another protocol"
        except httptools.HttpParserCallbackError:
            raise
        except httptools.HttpParserError:
            self._problem = self._problem or "answered with what is not HTTP/1.1"
        if self._problem is None and not self._head_done and self._head_size > self._owner.bounds.head:
            self._too_large()
        if self._problem is not None:
            self.end(UpstreamProtocolError(f"{self._owner.where} {self._problem}"))
        elif self._complete:
            self._finish()

    def eof_received(self) -> bool | None:
        """Let the transport close."""
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        """Learn that it is gone."""
        exchange, self._exchange = self._exchange, None
        self._transport = None
        if exchange is None or exchange.future.done():
            self._owner.lost(self, None)
        elif not self._touched:
            self._owner.lost(self, exchange)
        else:
            if self._head_done and (self._events is not None or (exc is None and self._until_end())):
                exchange.future.set_result(self._response())
            else:
                exchange.fail(ChannelClosed(f"{self._owner.where} broke off its answer"))
            self._owner.lost(self, None)

    # What the parser tells

    def on_message_begin(self) -> None:
        """Learn that an answer begins."""
        if self._complete:
            self._problem = "answered twice"

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header. Of a head whose bytes are few nothing has to be counted; trailers have no such bound."""
        if self._head_done or self._head_size > self._owner.bounds.head:
            self._count(name, value)
            if self._problem is not None:
                return
        self._headers[name.lower()] = value

    def _count(self, name: bytes, value: bytes) -> None:
        headers = self._headers
        if not self._header_size:
            self._header_size = sum(len(known) + len(headers[known]) + 4 for known in headers)
        self._header_size += len(name) + len(value) + 4
        if self._header_size > self._owner.bounds.head or len(headers) >= _MOST_HEADERS:
            self._too_large()

    def _too_large(self) -> None:
        self._problem = f"sent a head larger than {self._owner.bounds.head} bytes"

    def on_headers_complete(self) -> None:
        """Learn that the head is whole."""
        status = self._status = self._parser.get_status_code()
        exchange = self._exchange
        if status < 200 or exchange is None:
            return
        self._head_done = True
        headers, request = self._headers, exchange.request
        if len(headers) > _MOST_HEADERS:
            self._too_large()
        encoding = headers.get(b"content-encoding")
        if encoding is not None and encoding.lower() != b"identity":
            self._problem = "sent a compressed answer, which was not asked for"
        keep_alive = headers.get(b"keep-alive")
        if keep_alive is not None and keep_alive != self._keep_alive:
            self._keep_alive = keep_alive
            self._idle_for = min(self._owner.bounds.idle, _kept_alive(keep_alive))
        if request.on_head is not None:
            request.on_head()
        kind = headers.get(b"content-type", b"")
        if kind[:17].lower() == b"text/event-stream" and request.on_event is not None:
            self._events, self._enough = EventParser(self._owner.bounds.body), False

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        if self._problem is not None:
            return
        if self._events is not None:
            self._take_events(body)
            return
        if len(self._body) + len(body) > self._owner.bounds.body:
            self._problem = f"sent an answer larger than {self._owner.bounds.body} bytes"
            self._body = b""
        elif not self._body:
            self._body = body
        elif isinstance(self._body, bytearray):
            self._body += body
        else:  # no list of pieces: each would cost forty bytes, and may be of one
            self._body = bytearray(self._body) + body

    def on_message_complete(self) -> None:
        """Learn that an answer is whole."""
        if self._status < 200:  # 100 Continue, 103 Early Hints: the answer is still to come
            self._headers = {}
        else:
            self._complete = True
            self._keep = self._parser.should_keep_alive()  # true only here

    def _take_events(self, body: bytes) -> None:
        exchange, events = self._exchange, self._events
        if exchange is None or events is None or exchange.request.on_event is None or self._enough:
            return
        for event in events.feed(body):
            if exchange.request.on_event(event):
                self._enough = True
                if not exchange.future.done():
                    exchange.future.set_result(self._response())
                self._owner.draining(self, self._owner.loop.time() + _DRAIN)
                return
        if events.overflowed:
            self._problem = f"sent an event larger than {self._owner.bounds.body} bytes"

    def _new_answer(self) -> None:
        self._headers: dict[bytes, bytes] = {}
        self._header_size = 0
        self._head_size = 0
        self._head_done = False
        self._body: bytes | bytearray = b""
        self._events: EventParser | None = None
        self._touched = False
        self._complete = False

    def _response(self) -> HttpResponse:
        response = HttpResponse(self._status, self._headers, bytes(self._body))
        events = self._events
        if events is not None:
            response.streamed = True
            response.enough = self._enough
            response.last_id = events.last_id
            response.retry = events.retry
        return response

    def _finish(self) -> None:
        exchange, self._exchange = self._exchange, None
        transport, keep = self._transport, self._keep
        if exchange is not None and not exchange.future.done():
            exchange.future.set_result(self._response())
        self._new_answer()
        self.used = True
        if transport is None or not keep or transport.is_closing() or transport.get_write_buffer_size():
            self.abort()
            return
        self._idle_since = self._owner.loop.time()
        self.deadline = self._idle_since + self._idle_for
        self._owner.free(self)

    def _until_end(self) -> bool:
        return b"content-length" not in self._headers and b"transfer-encoding" not in self._headers


def _kept_alive(value: bytes) -> float:
    """Seconds for which a server keeps an idle connection, less one for the way; `inf` unsaid."""
    number = value.lower().partition(b"timeout=")[2].partition(b",")[0].strip()
    return max(0.5, int(number) - 1) if number.isdigit() and len(number) < 8 else float("inf")
