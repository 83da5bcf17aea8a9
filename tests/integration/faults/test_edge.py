"""Clients that mean harm, or mean well and fail: bounded, answered where there is an answer, and others are served."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from tests.integration.gateway.gateway import Gateway, Wire, marked, server, until

pytestmark = pytest.mark.timeout(180)
Make = Callable[..., Gateway]
BODY = 256 * 1024
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that must outlive all of it."""
    place = tmp_path_factory.mktemp("edge")
    settings = {"servers": {"old": server("legacy_stdio")}, "limits": {"body": BODY}}
    gateway = Gateway(place, marked(settings, place)).start().until_servers(old="ready")
    yield gateway
    gateway.check_end()


@dataclass
class Stalled:
    """A gateway with clients that asked for much and take nothing."""

    gateway: Gateway
    before: int
    """Connections that it counted before they came."""


@pytest.fixture(scope="module", autouse=True)
def stalled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stalled]:
    """Let them stall from the first test here on, for the last to see that they were cut off after half a minute."""
    place = tmp_path_factory.mktemp("stalled")
    gateway = Gateway(place, marked({"servers": {"old": server("legacy_stdio")}}, place)).start()
    gateway.until_servers(old="ready")
    before = asyncio.run(connections(gateway))
    host, _, port = gateway.base.removeprefix("http://").rpartition(":")
    params = {"name": "old__big", "arguments": {"size": 3_500_000}, "_meta": META}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    headers = ("MCP-Protocol-Version: 2026-07-28", "Mcp-Method: tools/call", "Mcp-Name: old__big")
    with contextlib.ExitStack() as stack:
        stack.callback(gateway.stop)
        for _ in range(10):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # it takes little, and nothing more
            client.connect((host, int(port)))
            client.sendall(post(json.dumps(message).encode(), *headers))
        gateway.until(lambda: asyncio.run(connections(gateway)) >= before + 10, "them to be there")
        yield Stalled(gateway, before)


class Raw:
    """A connection of exact bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, gateway: Gateway) -> Raw:
        host, _, port = gateway.base.removeprefix("http://").rpartition(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    async def send(self, data: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            self.writer.write(data)
            await self.writer.drain()

    async def rest(self, seconds: float = 10) -> bytes:
        """Give all that comes until the other side ends."""
        with contextlib.suppress(ConnectionError):
            return await asyncio.wait_for(self.reader.read(), seconds)
        return b""

    async def answer(self) -> tuple[int, bytes]:
        """Give the status and body of one answer that states its length."""
        async with asyncio.timeout(15):
            head = await self.reader.readuntil(b"\r\n\r\n")
            status = int(head.split(b" ", 2)[1])
            length = next(
                int(line.split(b":")[1])
                for line in head.lower().split(b"\r\n")
                if line.startswith(b"content-length:")
            )
            return status, await self.reader.readexactly(length)

    def close(self) -> None:
        self.writer.transport.abort()


def post(body: bytes, *more: str, length: int | None = None) -> bytes:
    """Give the bytes of a POST to the endpoint."""
    head = [
        "POST /mcp HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json",
        "Accept: application/json, text/event-stream", *more,
        *([] if length == -1 else [f"Content-Length: {len(body) if length is None else length}"]),
    ]  # fmt: skip
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def ping(number: int) -> bytes:
    """Give a modern request that the gateway answers itself."""
    message = {"jsonrpc": "2.0", "id": number, "method": "tools/list", "params": {"_meta": META}}
    headers = ("MCP-Protocol-Version: 2026-07-28", "Mcp-Method: tools/list")
    return post(json.dumps(message).encode(), *headers)


def memory(gateway: Gateway) -> float:
    """Give the gateway's resident megabytes."""
    assert gateway.process is not None
    pages = int(Path(f"/proc/{gateway.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def connections(gateway: Gateway) -> int:
    """Give how many connections the gateway counts."""
    async with httpx2.AsyncClient() as http:
        text = (await http.get(f"{gateway.base}/metrics")).text
    return int(
        float(next(line for line in text.splitlines() if line.startswith("tidegate_connections")).split()[1])
    )


async def served(gateway: Gateway, count: int = 5) -> None:
    """See that somebody else is served, and soon."""
    wire = Wire(gateway.url(), modern=True)
    for number in range(count):
        async with asyncio.timeout(5):
            assert await wire.text("old__echo", {"text": f"n{number}"}) == f"n{number}"


MALFORMED = {
    "nonsense": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),
    "no such version": b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    "no version": b"POST /mcp\r\n\r\n",
    "a bare newline": b"\n\n\n\n",
    "two lengths": post(b"{}", "Content-Length: 5"),
    "a negative length": post(b"{}", "Content-Length: -1", length=-1),
    "a length that is no number": post(b"{}", "Content-Length: 2x", length=-1),
    "length and chunks": post(b"2\r\n{}\r\n0\r\n\r\n", "Transfer-Encoding: chunked", length=2),
    "a chunk size that is no number": post(b"zz\r\n{}\r\n", "Transfer-Encoding: chunked", length=-1),
    "a chunk size without end": post(b"1" * 5000, "Transfer-Encoding: chunked", length=-1),
    "an unknown coding": post(b"{}", "Transfer-Encoding: gzip, identity", length=-1),
    "a header without a colon": b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nnonsense\r\n\r\n",
    "a nul in a header": b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nx: a\x00b\r\n\r\n",
    "a folded header": b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nx: a\r\n b\r\n\r\n",
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
async def test_what_is_no_request_is_refused_and_the_connection_ended(standing: Gateway, data: bytes) -> None:
    raw = await Raw.open(standing)
    await raw.send(data)
    with contextlib.suppress(OSError):
        raw.writer.write_eof()
    said = await raw.rest()
    assert not said or said.split(b" ", 2)[1] in (b"400", b"414", b"431", b"501", b"505"), said
    raw.close()
    await served(standing, 1)


BODIES = {
    "empty": (b"", -32700),
    "no json": (b"{", -32700),
    "not utf-8": (b'{"jsonrpc":"2.0","id":1,"method":"\xff"}', -32700),
    "a list": (b"[]", -32600),
    "a number": (b"42", -32600),
    "deep": (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":' + b"[" * 20000 + b"]" * 20000 + b"}", None),
    "a key twice": (b'{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}', None),
    "a key in another case": (b'{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}', None),
    "a method that is no text": (b'{"jsonrpc":"2.0","id":1,"method":7}', -32600),
    "an id that is an object": (b'{"jsonrpc":"2.0","id":{},"method":"ping"}', -32600),
    "parameters that are a list": (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":[1]}', None),
}


@pytest.mark.parametrize(("body", "code"), BODIES.values(), ids=BODIES)
async def test_a_body_that_is_no_request_is_a_json_rpc_error(
    standing: Gateway, body: bytes, code: int | None
) -> None:
    raw = await Raw.open(standing)
    await raw.send(post(body))
    status, said = await raw.answer()
    error = json.loads(said)["error"]
    assert 400 <= status < 500
    assert error["code"] == code if code is not None else error["code"] < 0
    assert len(error["message"].splitlines()) == 1
    await raw.send(ping(1))
    assert (await raw.answer())[0] == 200, "the connection is as good as before"
    raw.close()


async def test_a_body_over_the_bound_is_413_before_it_is_read(standing: Gateway) -> None:
    before = memory(standing)
    raw = await Raw.open(standing)
    await raw.send(post(b"x" * 1000, length=10**12))
    status, said = await raw.answer()
    assert status == 413, said
    raw.close()
    assert memory(standing) - before < 5


async def test_a_body_in_chunks_without_end_is_413_at_its_bound(standing: Gateway) -> None:
    before = memory(standing)
    raw = await Raw.open(standing)
    await raw.send(post(b"", "Transfer-Encoding: chunked", length=-1))
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    for _ in range(64):
        if raw.writer.is_closing():
            break
        await raw.send(chunk)
    said = await raw.rest()
    raw.close()
    assert not said or b" 413 " in said.split(b"\r\n")[0], said[:200]
    assert memory(standing) - before < 10
    await served(standing, 1)


@pytest.mark.parametrize("header", ["one long", "many short", "a long path"])
async def test_headers_over_the_bound_are_refused(standing: Gateway, header: str) -> None:
    before = memory(standing)
    raw = await Raw.open(standing)
    await raw.send(b"GET /" + (b"a" * 10_000_000 if header == "a long path" else b"healthz"))
    await raw.send(b" HTTP/1.1\r\nHost: 127.0.0.1\r\n")
    if header == "one long":
        await raw.send(b"x: " + b"a" * 10_000_000)
    else:
        for number in range(100_000):
            if raw.writer.is_closing():
                break
            raw.writer.write(b"x-%d: y\r\n" % number)
    said = await raw.rest()
    raw.close()
    assert not said or said.split(b" ", 2)[1] in (b"431", b"400", b"414"), said[:200]
    assert memory(standing) - before < 10
    await served(standing, 1)


async def test_a_truncated_body_is_no_call(standing: Gateway) -> None:
    count = len(standing.records())
    message = (
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"old__counter","arguments":{}}}'
    )
    for cut in (1, 40, len(message) - 1):
        raw = await Raw.open(standing)
        await raw.send(post(message[:cut], length=len(message)))
        raw.writer.write_eof()
        await raw.rest()
        raw.close()
    await served(standing, 1)
    intents = [each for each in standing.records()[count:] if each["kind"] == "call.intent"]
    assert [each["shown"] for each in intents] == ["old__echo"]


async def test_pipelined_requests_are_answered_each_and_in_order(standing: Gateway) -> None:
    raw = await Raw.open(standing)
    await raw.send(b"".join(ping(number) for number in range(100)))
    answers = [await raw.answer() for _ in range(100)]
    assert [(status, json.loads(body)["id"]) for status, body in answers] == [(200, n) for n in range(100)]
    raw.close()


async def test_a_client_that_pipelines_and_never_reads_costs_little(gateway: Make) -> None:
    """A list of some 800 kB for each of thousands of requests, and nobody takes an answer."""
    made = gateway(servers={"many": server("legacy_stdio", "--tools", "5000"), "old": server("legacy_stdio")})
    made.until_servers(many="ready", old="ready")
    await served(made, 2)
    before = memory(made)
    raws = [await Raw.open(made) for _ in range(4)]
    requests = b"".join(ping(number) for number in range(2000))
    sending = [asyncio.create_task(raw.send(requests)) for raw in raws]
    deadline = time.monotonic() + 4
    while time.monotonic() < deadline:
        await served(made, 1)
    grown = memory(made) - before
    for task, raw in zip(sending, raws, strict=True):
        task.cancel()
        raw.close()
    await asyncio.wait(sending)
    assert grown < 60, f"grew by {grown:.0f} MB"
    made.check_end()


async def test_random_bytes_never_end_the_gateway(standing: Gateway) -> None:
    dice = random.Random(7)
    whole = ping(1)

    async def one() -> None:
        data = bytearray(whole)
        for _ in range(dice.randint(1, 12)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        cut = dice.randint(1, len(data))
        raw = await Raw.open(standing)
        await raw.send(bytes(data[:cut]))
        with contextlib.suppress(OSError):
            raw.writer.write_eof()
        await raw.rest()
        raw.close()

    for _ in range(20):
        await asyncio.gather(*(one() for _ in range(20)))
    await served(standing)


async def test_a_thousand_silent_and_a_hundred_slow_clients_are_cut_off_and_hinder_nobody(
    standing: Gateway,
) -> None:
    before, rss = await connections(standing), memory(standing)
    silent = [await Raw.open(standing) for _ in range(1000)]
    slow = [await Raw.open(standing) for _ in range(100)]
    began = time.monotonic()

    async def drip(raw: Raw) -> None:
        for byte in post(b"{}", "X-Slow: " + "s" * 200):
            await raw.send(bytes([byte]))
            if raw.reader.at_eof() or raw.writer.is_closing():
                return
            await asyncio.sleep(0.5)

    drips = [asyncio.create_task(drip(raw)) for raw in slow]
    while time.monotonic() < began + 5:
        await served(standing, 3)
    assert await connections(standing) >= before + 1000
    assert memory(standing) - rss < 40
    ends = [asyncio.create_task(raw.rest(60)) for raw in silent + slow]
    _, late = await asyncio.wait(ends, timeout=50)
    assert not late, f"{len(late)} connections are still open"
    assert 20 < time.monotonic() - began < 50
    for task in drips:
        task.cancel()
    await asyncio.wait(drips)
    for raw in silent + slow:
        raw.close()
    await served(standing, 1)
    await until(lambda: standing.status()["in_flight"] == 0, "nothing to be under way")
    assert await connections(standing) < before + 10


async def test_a_client_that_never_takes_its_large_answer_is_cut_off(stalled: Stalled) -> None:
    await until(lambda: stalled.gateway.status()["in_flight"] == 0, "the calls to be answered")
    deadline = time.monotonic() + 120
    while await connections(stalled.gateway) > stalled.before and time.monotonic() < deadline:
        await served(stalled.gateway, 1)
        await asyncio.sleep(1)
    assert await connections(stalled.gateway) <= stalled.before, "connections that take nothing are kept"
    stalled.gateway.check_end()
