"""Connection: HTTP/1.1 with clients, bounded in everything a client may do. Parsing is llhttp's.

A request is read in whole, then handed on; pipelined ones wait their turn. Nothing here knows MCP.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Protocol, cast

import httptools

from tidegate.edge.exchange import Exchange, Request, request_for
from tidegate.edge.turns import AT_ONCE, Turns, Whose
from tidegate.ports.identity import Credentials
from tidegate.telemetry import log

REQUEST_TIME = 30.0
"""Seconds a client has to send one whole request (slow-request attacks)."""
IDLE_TIME = 75.0
"""Seconds an idle connection is kept."""
STUCK_TIME = 30.0
"""Seconds a client may leave an answer lying without taking a byte of it."""
_LINGER = 2.0
"""Seconds in which a refused client may still send, so that it reads the refusal and no reset."""
_MOST_AGAIN = 256
"""Headers of a request whose name stood before; how many there are at all is bounded by their bytes."""
_NONE = frozenset[bytes]()
_CREDENTIALS = struct.Struct("iII")
"""Process, user and group at the other end of a Unix socket (unix(7), SO_PEERCRED)."""
_REFUSAL = (
    b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
)


@dataclass(frozen=True, slots=True)
class HttpBounds:
    """What is taken from clients. Sizes in bytes."""

    body: int = 4 * 1024 * 1024
    head: int = 64 * 1024
    """Request line and headers: tokens and session ids fit many times over."""
    connections: int = 4096
    """Open at one time: each costs a descriptor and some kilobytes."""
    small: int = 64 * 1024
    """Of a body; what goes beyond it counts towards `held`."""
    held: int = 256 * 1024 * 1024
    """Of all bodies together that are being read or answered: who sends them is not known yet."""


class Site(Protocol):
    """What is served."""

    def serve(self, exchange: Exchange) -> Coroutine[None, None, None]:
        """Answer one request."""
        ...

    def malformed(self, peer: str, reason: str) -> None:
        """Learn of bytes that are no request; they were answered."""
        ...


def _other_end(transport: asyncio.BaseTransport) -> str:
    """Give the client's address; on a Unix socket `uid:` and the number of its user, as the kernel has it."""
    peer: object = transport.get_extra_info("peername")
    if isinstance(peer, tuple):
        return str(cast("tuple[object, ...]", peer)[0])
    end: socket.socket | None = transport.get_extra_info("socket")
    if end is None or end.family != socket.AF_UNIX:
        return ""
    try:
        said = end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    except OSError:
        return ""  # it has gone already
    return f"uid:{_CREDENTIALS.unpack(said)[1]}"


def _certificate(transport: asyncio.BaseTransport) -> bytes | None:
    """Give the certificate that the client showed. Only a context that verifies it has one (ssl, getpeercert)."""
    tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    if tls is None or tls.context.verify_mode is ssl.CERT_NONE:
        return None
    return tls.getpeercert(binary_form=True)


class Server:
    """What the connections of one listener share."""

    def __init__(self, site: Site, bounds: HttpBounds, whose: Whose = lambda exchange: exchange.peer) -> None:
        self.site = site
        self.bounds = bounds
        self.at_once = min(bounds.small, bounds.body)
        """Bytes of a body that need no looking at the bounds."""
        self.loop = asyncio.get_running_loop()
        self.connections: set[Connection] = set()
        self.active: set[Exchange] = set()
        self.fresh = 0
        """Requests that were begun and have not run yet: those of this turn of the loop."""
        self.turns = Turns(self.loop, self.begin, whose)
        self.held = 0
        """Bytes of bodies beyond what is small."""
        self.now = self.loop.time()
        """Loop time of the last sweep: good enough for bounds of seconds, and free."""
        self.closing = False
        self.certificates = False
        """Whether clients are asked for theirs."""

    def bound(self, bounds: HttpBounds) -> None:
        """Have other bounds, for what is read from now on."""
        self.bounds = bounds
        self.at_once = min(bounds.small, bounds.body)

    def sweep(self) -> None:
        """End connections that are too slow, or idle for too long. Called about once a second."""
        self.now = self.loop.time()
        for connection in list(self.connections):
            connection.check()

    def begin(self, exchange: Exchange) -> None:
        """Have a request answered that had to wait for its turn, unless its client went away meanwhile."""
        if exchange.gone:
            exchange.close()
            return
        self.fresh += 1
        self.active.add(exchange)
        exchange.task = self.loop.create_task(self.run(exchange))

    async def run(self, exchange: Exchange) -> None:
        """Have a request answered, whatever happens."""
        self.fresh -= 1
        self.active.add(exchange)
        try:
            await self.site.serve(exchange)
        except asyncio.CancelledError:
            pass  # at the end of a drain: the connection is cut below
        except Exception as error:  # noqa: BLE001 - the edge: a fault of ours must not look like an answer
            log().error("edge.failed", path=exchange.request.path[:100], exc_info=error)
            exchange.respond(500, b"content-type: application/json\r\n", b'{"error": "internal error"}')
        finally:
            self.active.discard(exchange)
            if self.turns.begun:
                self.turns.ended(exchange)
            exchange.close()


class Connection(asyncio.Protocol):
    """One client connection."""

    def __init__(self, server: Server) -> None:
        self.gone = False
        self.peer = ""
        self.certificate: bytes | None = None
        """Of the client (DER): seen to be its own, and signed by an authority of the listener's."""
        self.chunks = True
        """Whether the request in hand is of an HTTP that has chunks."""
        self.keep = True
        """Whether it goes on after the answer in hand."""
        self.credentials: Credentials | None = None
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._current: Exchange | None = None
        self._waiting: deque[tuple[Request, bool, bool]] = deque()
        self._writable: asyncio.Future[None] | None = None
        self._since = server.now
        self._in_request = False
        self._again = 0
        self._paused = False
        self._deaf = False
        """Whether what still comes is thrown away."""
        self._head = 0
        self._held = 0
        """This connection's part of what the server holds."""
        self._written = 0
        self._taken = 0
        self._taken_at = server.now
        self._stalled = False
        """Whether it goes on only when the client has read."""
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._repeated: frozenset[bytes] = _NONE
        self._request: Request | None = None
        """The one in hand, once its head is whole."""
        self._body: bytes | bytearray = b""

    # -- asyncio ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, unless there are too many."""
        self._transport = cast("asyncio.Transport", transport)
        self.peer = _other_end(transport)
        if self._server.certificates:
            self.certificate = _certificate(transport)
        connections = self._server.connections
        connections.add(self)
        most = self._server.bounds.connections
        if len(connections) > most + most // 8:
            self._transport.abort()  # not even an answer: each that lingers costs a descriptor too
        elif len(connections) > most:
            self._refuse(b"503 Service Unavailable", "too many connections")

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever handles a request on it."""
        self.gone, self._transport = True, None
        self._server.connections.discard(self)
        self._waiting.clear()
        self._body = b""
        self._hold(-self._held)
        self.resume_writing()
        current = self._current
        if current is not None and current.when_lost is not None and not current.answered:
            lost, current.when_lost = current.when_lost, None
            lost()

    def data_received(self, data: bytes) -> None:
        """Feed the parser."""
        if self._deaf:
            return
        self._head += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._deaf, self.keep = (
                True,
                False,
            )  # no other protocol is spoken here; the request itself stands
        except httptools.HttpParserError as error:
            self._refuse(b"400 Bad Request", "not a request of HTTP/1.1")
            self._server.site.malformed(self.peer, type(error).__name__)
            return
        if self._head > self._server.bounds.head:
            self._refuse(b"431 Request Header Fields Too Large", "the request's headers are too large")
            self._server.site.malformed(self.peer, "headers too large")

    def pause_writing(self) -> None:
        """Note that the client does not read."""
        if self._writable is None:
            self._writable = self._server.loop.create_future()

    def resume_writing(self) -> None:
        """Note that it does."""
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)
        if self._stalled:
            self._stalled = False
            self._go_on()

    # -- llhttp -------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Begin a request."""
        if not self._in_request:
            self._since = self._server.now
        self._in_request, self._again = True, 0
        self._target, self._headers, self._repeated = b"", {}, _NONE

    def on_url(self, url: bytes) -> None:
        """Take a part of the target."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or a trailer, which goes no further than this."""
        name = name.lower()
        if value and value[-1] <= 0x20:  # no part of it (RFC 9110, 5.5); the parser takes off leading ones
            value = value.rstrip(b" \t")
        headers = self._headers
        if name in headers:
            self._again += 1
            if self._again > _MOST_AGAIN:  # joining thousands of one name takes the square of their number
                if not self._deaf:
                    self._refuse(b"431 Request Header Fields Too Large", "the request has too many headers")
                    self._server.site.malformed(self.peer, "too many headers")
                return
            self._repeated |= {name}
            value = headers[name] + b", " + value
        headers[name] = value

    def on_headers_complete(self) -> None:
        """Have the request, without its body. Refuse one that is said to be too large before it comes."""
        self._head = 0  # counted on where no body comes: chunks' extensions, trailers
        if self._deaf:
            return
        headers = self._headers
        self._request = request_for(self._target, self._parser.get_method(), headers, self._repeated)
        self._headers = {}  # trailers are no headers: whoever filters those before us does not look there
        length, expect = headers.get(b"content-length"), headers.get(b"expect")
        if length is not None and int(length) > self._server.bounds.body:
            self._oversize()
        elif expect is not None and expect.lower() == b"100-continue" and self._current is None:
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        if self._deaf:
            return
        self._head = 0
        if not self._body and len(body) <= self._server.at_once:  # nearly always: all of it in one piece
            self._body = body
            return
        bounds, before = self._server.bounds, len(self._body)
        size = before + len(body)
        if size > bounds.body:
            self._oversize()
            return
        if not self._body:
            self._body = body
        elif isinstance(self._body, bytearray):
            self._body += body
        else:  # no list of pieces: each piece would cost forty bytes, and may be of one
            self._body = bytearray(self._body) + body
        if size > bounds.small:
            self._hold(size - max(before, bounds.small))
            if self._server.held > bounds.held:
                self._refuse(b"503 Service Unavailable", "too much is being read already")

    def on_message_complete(self) -> None:
        """Have a request that is whole answered."""
        request, self._request = self._request, None
        if self._deaf or request is None:
            return
        self._head, self._in_request = 0, False
        version = self._parser.get_http_version()
        if version not in ("1.1", "1.0"):
            self._refuse(b"505 HTTP Version Not Supported", "only HTTP/1.1 and 1.0 are spoken here")
            return
        request.body, self._body = bytes(self._body), b""
        self._begin(request, self._parser.should_keep_alive(), version == "1.1")

    # -- requests -----------------------------------------------------------------------------

    def _oversize(self) -> None:
        """Hand the request on without its body, and read no more."""
        request = self._request
        if not self._deaf and request is not None:
            self._deaf, self._in_request = True, False
            self._drop_body()
            request.oversize = True
            self._begin(request, False, self._parser.get_http_version() != "1.0")

    def _drop_body(self) -> None:
        self._hold(-max(0, len(self._body) - self._server.bounds.small))
        self._body = b""

    def _pause(self) -> None:
        if self._transport is not None and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _hold(self, size: int) -> None:
        self._held += size
        self._server.held += size

    def _begin(self, request: Request, keep: bool, chunks: bool) -> None:
        """Hand a request on, or have it wait for the one before it."""
        if self._current is not None or self._stalled:
            self._waiting.append((request, keep, chunks))
            self._pause()
            return
        server = self._server
        self.keep, self.chunks = keep and not self._deaf and not server.closing, chunks
        exchange = self._current = Exchange(self, request)
        if server.fresh < AT_ONCE and not server.turns.waiting:
            server.fresh += 1
            exchange.task = server.loop.create_task(server.run(exchange))
        else:
            server.turns.add(exchange)

    def finished(self, exchange: Exchange) -> None:
        """Go on with the next request, or end the connection."""
        self._current = None
        self._since = self._server.now
        if self._held and (beyond := len(exchange.request.body) - self._server.bounds.small) > 0:
            self._hold(-beyond)
        if self._writable is not None and self.keep:
            self._stalled = True  # else the answers to a client that asks and never reads would pile up
            self._pause()
        else:
            self._go_on()

    def _go_on(self) -> None:
        transport = self._transport
        if transport is None:
            return
        if not self.keep:
            self._linger()
        elif self._waiting:
            self._begin(*self._waiting.popleft())
        elif self._server.closing and not self._in_request:
            transport.close()
        if self._paused and not self._waiting and not transport.is_closing():
            self._paused = False
            transport.resume_reading()

    # -- Wire ---------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send bytes."""
        transport = self._transport
        if transport is not None:
            self._written += len(data)
            transport.write(data)

    async def drained(self) -> None:
        """Wait while the client does not read."""
        if self._writable is not None:
            await asyncio.shield(self._writable)

    def abort(self) -> None:
        """Cut the connection."""
        if self._transport is not None:
            self._transport.abort()

    # -- bounds -------------------------------------------------------------------------------

    def check(self) -> None:
        """End it if it is too slow or idle for too long. A request that is being answered is neither."""
        if self._is_stuck():
            self.abort()  # closing would wait for what it does not take
            return
        if self._current is not None or self._deaf:
            return
        waited = self._server.now - self._since
        new = not self._written  # it has brought no request so far
        if new and not self._in_request and waited > REQUEST_TIME and self._transport is not None:
            self._transport.close()
        elif self._in_request and waited > REQUEST_TIME:
            self._refuse(b"408 Request Timeout", "the request took too long to come")
            self._server.site.malformed(self.peer, "too slow")
        elif waited > IDLE_TIME and self._transport is not None:
            self._transport.close()

    def _is_stuck(self) -> bool:
        left = 0 if self._transport is None else self._transport.get_write_buffer_size()
        taken = self._written - left
        if not left or taken > self._taken:
            self._taken, self._taken_at = taken, self._server.now
        return self._server.now - self._taken_at > STUCK_TIME

    def shut(self) -> None:
        """End it as soon as nothing is being answered on it."""
        if self._current is None and self._transport is not None:
            self._transport.close()
        else:
            self.keep = False

    def _refuse(self, status: bytes, why: str) -> None:
        body = b'{"error": "%b"}' % why.encode()
        self._deaf = True
        self._drop_body()
        if self._current is not None:  # an answer is under way: nothing may come between
            self.keep = False
            return
        self.write(_REFUSAL % (status, len(body), body))
        self._linger()

    def _linger(self) -> None:
        """Close, after a moment in which what the client still sends is thrown away."""
        transport = self._transport
        if transport is None:
            return
        if not self._deaf:
            transport.close()
            return
        if transport.can_write_eof():
            transport.write_eof()
        self._server.loop.call_later(_LINGER, transport.close)
