"""What a stranger sends before anyone knows who it is: it costs little, and passes for nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from tidegate.edge.connection import STUCK_TIME, Connection, HttpBounds, Server
from tidegate.edge.exchange import Exchange, Request

PATIENCE = 10.0
HEAD = b"POST /mcp HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@dataclass
class Site:
    """Takes requests and answers each with `answer`."""

    answer: bytes = b"{}"
    seen: list[Request] = field(default_factory=list[Request])
    refused: list[str] = field(default_factory=list[str])
    hold: asyncio.Event | None = None

    async def serve(self, exchange: Exchange) -> None:
        self.seen.append(exchange.request)
        if self.hold is not None:
            await self.hold.wait()
        exchange.respond(200, b"", self.answer)

    def malformed(self, peer: str, reason: str) -> None:
        self.refused.append(reason)


@dataclass
class Door:
    """A server of requests, and ways to it."""

    site: Site
    server: Server
    port: int

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 16)

    async def send(self, *data: bytes) -> bytes:
        """Send on a connection of its own; give what comes until it ends."""
        reader, writer = await self.connect()
        try:
            for each in data:
                writer.write(each)
            writer.write_eof()
            async with asyncio.timeout(PATIENCE):
                return await reader.read()
        finally:
            writer.close()


@asynccontextmanager
async def opened(site: Site | None = None, bounds: HttpBounds | None = None) -> AsyncGenerator[Door]:
    site = site or Site()
    server = Server(site, bounds or HttpBounds())
    listening = await asyncio.get_running_loop().create_server(lambda: Connection(server), "127.0.0.1", 0)
    try:
        yield Door(site, server, listening.sockets[0].getsockname()[1])
    finally:
        listening.close()
        for each in list(server.connections):
            each.abort()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_trailer_is_no_header() -> None:
    """A proxy sets or filters headers, and passes trailers on: one must not speak for it."""
    async with opened() as door:
        trailers = b"Authorization: Bearer tg_x\r\nX-Forwarded-For: 127.0.0.1\r\nHost: evil.example\r\n"
        answer = await door.send(CHUNKED + b"2\r\n{}\r\n0\r\n" + trailers + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    (request,) = door.site.seen
    assert request.body == b"{}"
    assert request.headers == {b"host": b"localhost", b"transfer-encoding": b"chunked"}
    assert not request.repeated


@pytest.mark.parametrize(
    "endless",
    [b"2\r\n{}\r\n0\r\nX: " + b"a" * 300_000, b"2;x=" + b"a" * 300_000, b"0\r\n" + b"X: a\r\n" * 50_000],
    ids=["trailer", "chunk extension", "trailers"],
)
async def test_what_is_neither_head_nor_body_is_bounded_like_a_head(endless: bytes) -> None:
    async with opened() as door:
        reader, writer = await door.connect()
        writer.write(CHUNKED + endless)
        async with asyncio.timeout(PATIENCE):
            assert (await reader.readline()).startswith((b"HTTP/1.1 431", b"HTTP/1.1 400"))
        writer.close()
        assert not door.site.seen


async def test_more_headers_than_any_client_has_are_refused() -> None:
    async with opened() as door:
        answer = await door.send(HEAD + b"a:\r\n" * 5_000 + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 431")
    assert door.site.seen == []
    assert door.site.refused == ["too many headers"]


async def test_bodies_that_are_being_read_are_bounded_all_together() -> None:
    bounds = HttpBounds(body=1 << 20, small=1 << 10, held=3 << 20)
    async with opened(bounds=bounds) as door:
        head = HEAD + b"Content-Length: 1048576\r\n\r\n"
        slow = [await door.connect() for _ in range(8)]
        for _, writer in slow:
            writer.write(head + b"x" * 1_000_000)
        refused = 0
        for reader, _ in slow:
            try:
                async with asyncio.timeout(0.5):
                    refused += (await reader.readline()).startswith(b"HTTP/1.1 503")
            except TimeoutError:
                pass
        assert refused == 5
        assert door.server.held <= bounds.held
        small = await door.send(HEAD + b"Content-Length: 2\r\nConnection: close\r\n\r\n{}")
        assert small.startswith(b"HTTP/1.1 200")
        for _, writer in slow:
            writer.close()
        await until(lambda: not door.server.connections)
        assert door.server.held == 0


async def test_nothing_is_held_any_more_once_it_is_answered() -> None:
    async with opened(bounds=HttpBounds(small=10)) as door:
        for body in (b"x" * 100_000, b"x" * 9, b"x" * 5_000_000):
            await door.send(HEAD + b"Content-Length: %d\r\n\r\n" % len(body), body)
        assert [len(each.body) for each in door.site.seen] == [100_000, 9, 0]
        await until(lambda: not door.server.connections)
        assert door.server.held == 0


async def test_a_client_that_asks_and_never_reads_is_asked_no_more_and_then_cut_off() -> None:
    site = Site(answer=b"x" * 100_000)
    async with opened(site) as door:
        _, writer = await door.connect()
        ask = HEAD + b"Content-Length: 2\r\n\r\n{}"

        async def flood() -> None:
            while True:
                writer.write(ask * 100)
                await writer.drain()

        task = asyncio.create_task(flood())
        (connection,) = await _connections(door)
        await until(lambda: connection._stalled)
        answered = len(site.seen)
        assert answered < 500
        door.server.sweep()
        later = door.server.loop.time() + STUCK_TIME + 1
        door.server.now = later
        connection.check()
        await until(lambda: not door.server.connections)
        assert len(site.seen) == answered
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        writer.close()


async def test_a_client_that_reads_slowly_gets_everything() -> None:
    site = Site(answer=b"x" * 100_000)
    async with opened(site) as door:
        reader, writer = await door.connect()
        writer.write((HEAD + b"Content-Length: 2\r\n\r\n{}") * 100)
        size = 0
        async with asyncio.timeout(30):
            for _ in range(100):
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200")
                size += len(await reader.readexactly(100_000))
        assert size == 10_000_000
        writer.close()


async def _connections(door: Door) -> list[Connection]:
    await until(lambda: len(door.server.connections) == 1)
    return list(door.server.connections)
