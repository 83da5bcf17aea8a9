"""A server of exact bytes, for tests of HTTP: each connection runs a script of the test's."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast


@dataclass
class Peer:
    """The server's side of one connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    number: int
    """Of the connection, from 0."""

    async def request(self) -> Got:
        """Read a whole request."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        line, *lines = head.decode("latin-1").rstrip().split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (each.partition(":") for each in lines)}
        body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        method, target, _ = line.split(" ")
        return Got(method, target, headers, body)

    async def send(self, *pieces: bytes) -> None:
        """Send pieces, each in a write of its own that the loop has carried out before the next."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0)

    async def answer(self, body: bytes = b"{}", status: str = "200 OK", *headers: str) -> None:
        """Send a whole answer with a content length; JSON unless a header says else."""
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
        if not any(each.lower().startswith("content-type") for each in headers):
            lines.append("Content-Type: application/json")
        await self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    async def result(self, request: Got, result: object, *headers: str) -> None:
        """Answer a JSON-RPC request in JSON."""
        message = {"jsonrpc": "2.0", "id": request.json["id"], "result": result}
        await self.answer(json.dumps(message).encode(), "200 OK", *headers)

    async def stream(self, *headers: str) -> None:
        """Begin an event stream that ends with the connection."""
        lines = ["HTTP/1.1 200 OK", "Content-Type: text/event-stream", *headers, "", ""]
        await self.send("\r\n".join(lines).encode())

    async def event(self, message: object, ident: str | None = None) -> None:
        """Send one event with a JSON message."""
        head = b"" if ident is None else f"id: {ident}\n".encode()
        await self.send(head + b"data: " + json.dumps(message).encode() + b"\n\n")


@dataclass
class Got:
    """A request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        """Its body."""
        return cast("dict[str, Any]", json.loads(self.body))


Script = Callable[[Peer], Awaitable[None]]


@dataclass
class Server:
    """Where it listens, and what went wrong in its scripts."""

    port: int
    connections: int = 0
    failures: list[Exception] = field(default_factory=list[Exception])

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def serving(script: Script, tls: ssl.SSLContext | None = None) -> AsyncGenerator[Server]:
    """Run `script` for every connection. What it raises, other than a client's going, fails the test."""
    running: set[asyncio.Task[object]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            running.add(task)
        peer = Peer(reader, writer, server.connections)
        server.connections += 1
        try:
            await script(peer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client has gone, or the test is over
        except Exception as error:  # noqa: BLE001 - shown at the end, where the test can fail by it
            server.failures.append(error)
        finally:
            if task is not None:
                running.discard(task)
            writer.close()

    listener = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    server = Server(listener.sockets[0].getsockname()[1])
    try:
        yield server
    finally:
        listener.close()
        for task in list(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    if server.failures:
        raise ExceptionGroup("the server's script failed", server.failures)


async def until(condition: Callable[[], bool], patience: float = 5.0) -> None:
    """Wait until something holds, and fail where it does not come to that."""
    async with asyncio.timeout(patience):
        while not condition():  # noqa: ASYNC110 - any condition, so there is no event for it
            await asyncio.sleep(0.002)
