"""Two connections made into one."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from tidegate.extensions.runtimes.docker.egress.sidecar.relay import Relay, Side

Reach = Callable[[Side], Awaitable[Side | None]]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def relayed(
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[Streams]:
    """Give a connection that is relayed to `handle`."""
    target = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = target.sockets[0].getsockname()[1]

    async def reach(_: Side) -> Side:
        _, side = await asyncio.get_running_loop().create_connection(Side, "127.0.0.1", port)
        return side

    async with target, through(reach) as streams:
        yield streams


@asynccontextmanager
async def through(reach: Reach) -> AsyncIterator[Streams]:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    async with await Relay(4).listen(listener, reach):
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        try:
            yield reader, writer
        finally:
            writer.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def test_what_is_sent_before_the_other_side_stands_is_not_lost() -> None:
    async with relayed(echo) as (reader, writer):
        writer.write(b"hello")
        writer.write_eof()
        assert await reader.read() == b"hello"


async def test_much_goes_both_ways_at_once_whole() -> None:
    async with relayed(echo) as (reader, writer):
        sent = bytes(range(256)) * 16384

        async def send() -> None:
            for at in range(0, len(sent), 100_000):
                writer.write(sent[at : at + 100_000])
                await writer.drain()
            writer.write_eof()

        got, _ = await asyncio.gather(reader.read(), send())
        assert got == sent


async def test_an_end_of_one_way_leaves_the_other_open() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.write_eof()
        writer.write_eof()
        said.set_result(await reader.read())
        writer.close()

    said: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    async with relayed(greet) as (reader, writer):
        assert await reader.read() == b"hello"
        writer.write(b"still here")
        writer.write_eof()
        assert await said == b"still here"


async def test_what_is_not_reached_is_reset() -> None:
    async def nowhere(_: Side) -> None:
        return None

    async with through(nowhere) as (reader, _):
        with pytest.raises(ConnectionResetError):
            await reader.read()
