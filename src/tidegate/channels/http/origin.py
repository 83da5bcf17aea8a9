"""HttpOrigin: requests to one origin over a bounded pool of kept-alive connections.

It follows no redirect, keeps no cookie, undoes no compression, and repeats nothing that may have had
an effect. No error holds a header, a body or a credential.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque

from tidegate.channels.deadlines import Deadlines
from tidegate.channels.http.address import Address, Proxy
from tidegate.channels.http.connection import Connection, Exchange
from tidegate.channels.http.dial import dial, tls_context
from tidegate.channels.http.messages import HttpBounds, HttpRequest, HttpResponse
from tidegate.domain.errors import ChannelClosed, ChannelFailure


class HttpOrigin:
    """An HTTP/1.1 client for one origin. To be closed with `close`."""

    def __init__(
        self,
        address: Address,
        *,
        tls: ssl.SSLContext | None = None,
        proxy: Proxy | None = None,
        bounds: HttpBounds | None = None,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.bounds = bounds or HttpBounds()
        self.where = address.where
        self._address = address
        self._tls = (tls or tls_context()) if address.secure else None
        self._proxy = proxy
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._queue: deque[Exchange] = deque()
        self._dials: set[asyncio.Task[None]] = set()
        self._deadlines = Deadlines(self.loop)
        self._closed = False
        absolute = proxy is not None and not address.secure
        self._target = b"http://" + address.authority if absolute else b""
        self._fixed = b"Host: %b\r\nAccept-Encoding: identity\r\n" % address.authority
        if absolute and proxy is not None:
            self._fixed += proxy.header()

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._open)

    async def request(self, request: HttpRequest) -> HttpResponse:
        """Send a request and give the whole answer; its events, where it streams, come before.

        A stream that broke off is given as a response all the same: the caller knows whether what it
        waited for has come.

        Raises:
            ChannelClosed: no connection, or it broke before the answer was whole.
            ChannelTimeout: the request's time is over.
            UpstreamProtocolError: the answer is not HTTP, or over a bound.
            ChannelFailure: too many requests wait.
        """
        if self._closed:
            raise ChannelClosed("channel was closed", sent=False)
        loop = self.loop
        request.sent = now = loop.time()
        exchange = Exchange(self, request, self._encode(request), now + request.timeout, loop.create_future())
        connection = self._take()
        if connection is not None:
            connection.send(exchange)
        else:
            self._enqueue(exchange)
        self._deadlines.add(exchange)
        try:
            return await exchange.future
        except asyncio.CancelledError:
            self.dropped(exchange)
            raise
        finally:
            self._deadlines.discard(exchange)

    async def close(self) -> None:
        """Close every connection; what waits fails with `ChannelClosed`."""
        self._closed = True
        self._deadlines.close()
        dials = list(self._dials)
        for task in dials:
            task.cancel()
        for exchange in self._queue:
            exchange.fail(ChannelClosed("channel was closed", sent=False))
        self._queue.clear()
        for connection in list(self._open):
            connection.end(ChannelClosed("channel was closed"))
        await asyncio.gather(*dials, return_exceptions=True)

    def _encode(self, request: HttpRequest) -> bytes:
        body = request.body
        if body or request.method == b"POST":
            return b"%b %b%b HTTP/1.1\r\n%b%bContent-Length: %d\r\n\r\n%b" % (
                request.method, self._target, request.path, self._fixed, request.headers, len(body), body,
            )  # fmt: skip
        return b"%b %b%b HTTP/1.1\r\n%b%b\r\n" % (
            request.method, self._target, request.path, self._fixed, request.headers,
        )  # fmt: skip

    def _take(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            self._deadlines.discard(connection)
            if connection.is_open:
                return connection
            connection.abort()
        return None

    def _enqueue(self, exchange: Exchange) -> None:
        if len(self._queue) >= self.bounds.waiting:
            text = f"{len(self._queue)} requests wait for a connection to {self.where}"
            raise ChannelFailure(text, sent=False)
        self._queue.append(exchange)
        self._dial_where_needed()

    def _dial_where_needed(self) -> None:
        room = self.bounds.connections - len(self._open) - len(self._dials)
        wanted = len(self._queue) - len(self._dials)
        for _ in range(min(room, wanted)):
            task = self.loop.create_task(self._dial())
            self._dials.add(task)

    async def _dial(self) -> None:
        made = Connection(self)
        try:
            await dial(self._address, self._proxy, self._tls, made, self.bounds.connect)
            if not made.is_open:
                raise ChannelClosed(f"{self.where} closed the connection at once", sent=False)
        except ChannelClosed as error:
            made.abort()
            self._dialled()
            if self._queue:
                self._queue.popleft().fail(error)
            self._dial_where_needed()
        except asyncio.CancelledError:
            made.abort()
            raise
        else:
            self._dialled()
            self._open.add(made)
            made.deadline = self.loop.time() + self.bounds.idle
            self.free(made)

    def _dialled(self) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._dials.discard(task)

    # What exchanges and connections tell

    def postponed(self, exchange: Exchange) -> None:
        """Watch over a deadline again that was put off."""
        self._deadlines.add(exchange)

    def dropped(self, exchange: Exchange) -> None:
        """Close the connection of an exchange that nobody waits for; nothing else stops the server."""
        if exchange.connection is not None:
            exchange.connection.abort()
        elif exchange in self._queue:
            self._queue.remove(exchange)

    def free(self, connection: Connection) -> None:
        """Give a connection to who waits longest, or keep it."""
        while self._queue:
            exchange = self._queue.popleft()
            if not exchange.future.done():
                self._deadlines.discard(connection)
                connection.send(exchange)
                return
        if self._closed:
            connection.abort()
            return
        self._idle.append(connection)
        self._deadlines.add(connection)

    def lost(self, connection: Connection, broken: Exchange | None) -> None:
        """Forget a connection. What was on it goes out once more where that is safe, and fails else."""
        self._open.discard(connection)
        self._deadlines.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if broken is not None:
            if broken.request.repeatable and connection.used and not broken.repeated and not self._closed:
                broken.repeated = True
                broken.connection = None
                self._queue.appendleft(broken)
            else:
                broken.fail(ChannelClosed(f"{self.where} closed the connection without an answer"))
        if not self._closed:
            self._dial_where_needed()

    def draining(self, connection: Connection, until: float) -> None:
        """Give up a connection whose stream goes on for too long after its last wanted event."""
        connection.deadline = until
        self._deadlines.add(connection)
