"""A legacy client of exact messages that holds event streams, and a relay that can lose its connections."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.integration.gateway.gateway import PATIENCE, Json, Wire


@dataclass(eq=False)
class Heard:
    """What came on one stream."""

    status: int = 0
    kind: str = ""
    messages: list[Json] = field(default_factory=list[Json])
    ids: list[str] = field(default_factory=list[str])
    over: bool = False
    task: asyncio.Task[None] | None = None

    def take(self, line: str) -> None:
        """Take a line of the stream."""
        name, _, value = line.partition(": ")
        if name == "id":
            self.ids.append(value)
        elif name == "data" and value:
            self.messages.append(json.loads(value))

    async def until(self, condition: Callable[[Heard], Any], what: str = "a message") -> Any:
        """Wait until what came is enough."""
        async with asyncio.timeout(PATIENCE):
            while not (found := condition(self)):
                if self.over and not condition(self):
                    raise AssertionError(f"the stream ended without {what}: {self.messages}")
                await asyncio.sleep(0.01)
        return found

    async def method(self, name: str) -> Json:
        """Wait for a message of a method, and give it."""
        found: Json = await self.until(
            lambda heard: next((each for each in heard.messages if each.get("method") == name), None), name
        )
        return found

    async def answer(self, request_id: object) -> Json:
        """Wait for the answer to a request, and give it."""
        found: Json = await self.until(
            lambda heard: next(
                (each for each in heard.messages if each.get("id") == request_id and "method" not in each),
                None,
            ),
            "the answer",
        )
        return found

    async def lose(self) -> None:
        """Cut the connection."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait([self.task])


class Legacy:
    """A legacy session, used at any gateway that knows it."""

    def __init__(self, url: str, key: str | None = None) -> None:
        self.wire = Wire(url, key=key)
        self._http = httpx2.AsyncClient(timeout=30)
        self._heard: list[Heard] = []

    async def open(self, **capabilities: Any) -> Legacy:
        """Initialise."""
        params = {
            "protocolVersion": "2025-11-25", "capabilities": capabilities,
            "clientInfo": {"name": "legacy", "version": "1"},
        }  # fmt: skip
        answered = await self.wire.ask("initialize", params)
        assert answered.status == 200, answered
        self.wire.session = answered.headers["mcp-session-id"]
        return self

    async def close(self) -> None:
        """Lose every connection."""
        for each in self._heard:
            await each.lose()
        await self._http.aclose()

    async def listen(self, last: str | None = None, url: str = "") -> Heard:
        """GET a stream, and wait for its head."""
        headers, _ = self.wire.request("", {}, None)
        if last is not None:
            headers["Last-Event-ID"] = last
        return await self._hear("GET", url or self.wire.url, headers, None)

    async def call(self, request_id: Any, tool: str, url: str = "", **arguments: Any) -> Heard:
        """POST a call that asks for progress, and wait for the answer's head."""
        params = {"name": tool, "arguments": arguments, "_meta": {"progressToken": f"p-{request_id}"}}
        headers, body = self.wire.request("tools/call", params, request_id)
        return await self._hear("POST", url or self.wire.url, headers, body)

    async def post(self, body: Json, url: str = "") -> int:
        """POST a notification or a response, and give the status."""
        headers, _ = self.wire.request("", {}, None)
        got = await self._http.post(url or self.wire.url, json={"jsonrpc": "2.0", **body}, headers=headers)
        return got.status_code

    async def end(self, url: str = "") -> int:
        """DELETE the session, and give the status."""
        headers, _ = self.wire.request("", {}, None)
        return (await self._http.delete(url or self.wire.url, headers=headers)).status_code

    async def ping(self, url: str = "") -> int:
        """Ping, and give the status."""
        headers, body = self.wire.request("ping", {}, 1)
        return (await self._http.post(url or self.wire.url, json=body, headers=headers)).status_code

    async def _hear(self, method: str, url: str, headers: dict[str, str], body: Json | None) -> Heard:
        heard = Heard()
        heard.task = asyncio.create_task(self._read(heard, method, url, headers, body))
        self._heard.append(heard)
        await heard.until(lambda heard: heard.status or heard.over, "an answer")
        return heard

    async def _read(
        self, heard: Heard, method: str, url: str, headers: dict[str, str], body: Json | None
    ) -> None:
        timeout = httpx2.Timeout(30, read=60)
        try:
            async with (
                httpx2.AsyncClient(timeout=timeout) as http,
                http.stream(method, url, headers=headers, json=body) as got,
            ):
                heard.kind, heard.status = got.headers.get("content-type", ""), got.status_code
                if not heard.kind.startswith("text/event-stream"):
                    data = await got.aread()
                    heard.messages += [json.loads(data)] if data else []
                    return
                async for line in got.aiter_lines():
                    heard.take(line)
        except httpx2.HTTPError:
            pass
        finally:
            heard.over = True


@asynccontextmanager
async def legacy(url: str, key: str | None = None, **capabilities: Any) -> AsyncGenerator[Legacy]:
    """Open a legacy session, and lose its connections at the end."""
    made = Legacy(url, key)
    try:
        yield await made.open(**capabilities)
    finally:
        await made.close()


class Relay:
    """Passes connections on to a port, and loses all of them when told to."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self.made = 0

    @property
    def url(self) -> str:
        """The URL of the endpoint through it."""
        if self._server is None:
            raise RuntimeError("not listening")
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/mcp"

    def lose(self) -> None:
        """Cut every connection."""
        for each in self._open:
            each.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.made += 1
        with contextlib.suppress(OSError):
            onward = await asyncio.open_connection("127.0.0.1", self._to)
            ends = {writer, onward[1]}
            self._open |= ends
            try:
                await asyncio.gather(_copy(reader, onward[1]), _copy(onward[0], writer))
            finally:
                self._open -= ends
                for each in ends:
                    each.close()

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Relay]:
        """Listen."""
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", 0)
        try:
            yield self
        finally:
            self.lose()
            self._server.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
