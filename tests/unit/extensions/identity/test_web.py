"""What is fetched from issuers: over connections that break, packed, or while all is being closed."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.servers.issuer import issuing
from tests.unit.extensions.identity.setting import AROUND, refusal, until, vouching
from tidegate.extensions.identity.web import Unreachable, open_web

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@contextlib.asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await handler(reader, writer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


async def request(reader: asyncio.StreamReader) -> bytes:
    """Read a request whose body, if any, is a form that says `token=…`."""
    head = await reader.readuntil(b"\r\n\r\n")
    if head.startswith(b"POST"):
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        head += await reader.readexactly(int(length.split(b":")[1]))
    return head


async def test_a_kept_connection_that_the_other_side_closed_is_no_issuer_that_is_down() -> None:
    asked: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number in range(2):
            asked.append(await request(reader))
            if number == 0:
                writer.write(GOOD)
                await writer.drain()

    async with serving(handler) as url, open_web(AROUND) as web:
        assert (await web.post(url, {"token": "a"}, {})).status == 200
        assert (await web.post(url, {"token": "b"}, {})).status == 200
    assert [each.endswith(b"token=b") for each in asked] == [False, True, True]


async def test_one_that_closes_every_connection_is_down() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)

    async with serving(handler) as url, open_web(AROUND) as web:
        with pytest.raises(Unreachable, match="cannot be reached"):
            await web.get(url)


@pytest.mark.parametrize(
    "answer",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 99_999,
    ],
)
async def test_what_is_no_http_is_an_issuer_that_is_down(answer: bytes) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(answer)
        await writer.drain()

    async with serving(handler) as url, open_web(AROUND) as web:
        with pytest.raises(Unreachable):
            await web.get(url)


async def test_an_answer_without_an_end_is_cut_off() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    async with serving(handler) as url, open_web(AROUND) as web:
        with pytest.raises(Unreachable, match="more than 524288 bytes"):
            await web.get(url)


async def test_nothing_is_unpacked() -> None:
    packed = gzip.compress(b"{}" + b" " * 10_000_000)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert b"accept-encoding: identity" in (await request(reader)).lower()
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n"
        writer.write(head.encode() + packed)
        await writer.drain()

    async with serving(handler) as url, open_web(AROUND) as web:
        assert (await web.get(url)).body == packed


async def test_who_waits_for_keys_is_told_at_once_when_the_entry_goes() -> None:
    async with issuing(gate=asyncio.Event()) as issuer:
        async with vouching(issuer) as vouch:
            waiting = asyncio.create_task(refusal(vouch, issuer.token()))
            await until(lambda: issuer.asked, "the issuer to be asked")
        assert (await asyncio.wait_for(waiting, 5)).startswith("IdentityUnavailable")


async def test_who_is_asked_about_while_the_entry_goes_is_told_that_nobody_can_tell() -> None:
    async with issuing(gate=asyncio.Event()) as issuer:
        settings = {"type": "introspection", "client_id": "x", "client_secret": "y"}
        async with vouching(issuer, **settings) as vouch:
            waiting = asyncio.create_task(refusal(vouch, "opaque"))
            await until(lambda: issuer.asked, "the issuer to be asked")
        assert (await asyncio.wait_for(waiting, 5)).startswith("IdentityUnavailable")
        vouch.clock.ahead = 10
        assert (await refusal(vouch, "another")).startswith("IdentityUnavailable")
