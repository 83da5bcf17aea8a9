"""One connection of the load generator: raw socket, httptools, no task per request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import httptools

from bench.wire import Era, Requests, Target

DEADLINE = 30.0


class Failed(Exception):
    """The target cannot be measured: it refused what every client may do."""


class Connection(asyncio.Protocol):
    """Sends a request, gives the response to `answered`. One at a time."""

    def __init__(self) -> None:
        self.answered: Callable[[int, bytes], None] = lambda status, body: None
        self.lost: Callable[[str], None] = lambda reason: None
        self.headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._parser = httptools.HttpResponseParser(_Whole(self))
        self._transport: asyncio.Transport | None = None
        self._hand_off = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.lost(f"connection lost: {exc or 'closed by the target'}")

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as problem:
            self.lost(f"no HTTP: {problem}")
            self.close()

    def send(self, request: bytes) -> None:
        """Send a request, where the connection still stands."""
        if self._transport is None:
            self.lost("connection closed by the target")
        else:
            self._transport.write(request)

    def close(self) -> None:
        """Close it without a word to `lost`."""
        self.lost = lambda reason: None
        if self._transport is not None:
            self._transport.close()

    # called by the parser

    def body(self, data: bytes) -> None:
        """Take a part of a body."""
        self._body.append(data)

    def complete(self) -> None:
        """Hand the response on."""
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        self.answered(self._parser.get_status_code(), body)

    def read_headers(self, wanted: bool) -> None:
        """Say whether the headers of the next responses are kept; reading them costs."""
        self._parser = httptools.HttpResponseParser(_WithHeaders(self) if wanted else _Whole(self))

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send one request and wait for its response, headers kept in `headers`.

        Raises:
            Failed: nothing came, or the connection ended.
        """
        future: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self.headers.clear()
        self.read_headers(True)

        def lost(reason: str) -> None:
            if not future.done():
                future.set_exception(Failed(reason))

        self.lost = lost
        self.answered = lambda status, body: None if future.done() else future.set_result((status, body))
        self.send(request)
        try:
            async with asyncio.timeout(DEADLINE):
                answer = await future
        except TimeoutError:
            raise Failed(f"no answer within {DEADLINE:g} s") from None
        # The parser is in the middle of a callback when the future is set, so it is replaced only now.
        self.read_headers(False)
        return answer


class _Whole:
    """The parser's callbacks where only the body matters."""

    def __init__(self, connection: Connection) -> None:
        self.on_body = connection.body
        self.on_message_complete = connection.complete


class _WithHeaders(_Whole):
    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._headers = connection.headers

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode().lower()] = value.decode()


async def connect(target: Target, era: Era, number: int) -> tuple[Connection, Requests]:
    """Open a connection and, in the legacy era, a session of its own on it.

    Raises:
        Failed: the target refuses.
    """
    host, port = target.address
    try:
        async with asyncio.timeout(DEADLINE):
            _, connection = await asyncio.get_running_loop().create_connection(Connection, host, port)
    except OSError as problem:
        raise Failed(f"{target.url}: {problem}") from None
    requests = Requests(target, era, number)
    if era is Era.LEGACY:
        status, body = await connection.ask(requests.initialize())
        if status != 200:
            raise Failed(f"{target.url}: initialize answered {status}: {body[:300].decode(errors='replace')}")
        requests.in_session(connection.headers.get("mcp-session-id"))
        status, body = await connection.ask(requests.initialized())
        if status not in (200, 202, 204):
            raise Failed(f"{target.url}: notifications/initialized answered {status}")
    return connection, requests
