"""The cheapest MCP server over HTTP that Python can be: raw protocol, httptools, uvloop, both eras.

It answers tools/call of `echo` with what it was sent, of `stream` the same after some notifications of progress,
tools/list with one tool (or `--tools N`), and keeps its sessions. It reads no more of a request than it must: it is there to be far faster than what is measured.
It says `URL http://…` on stdout when it listens.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import signal
from typing import cast

import httptools
import msgspec
import uvloop

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
NOTED = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
GONE = b"HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
REFUSED = b"HTTP/1.1 405 Method Not Allowed\r\nallow: POST, DELETE\r\ncontent-length: 0\r\n\r\n"
PROGRESS = 10
"""Notifications before the result of `stream`."""
PROTOCOL = "io.modelcontextprotocol"
MODERN = "2026-07-28"


class Arguments(msgspec.Struct):
    """What echo is given."""

    text: msgspec.Raw = msgspec.Raw(b'""')


class Meta(msgspec.Struct):
    """What is read of a request's _meta."""

    progressToken: msgspec.Raw = msgspec.Raw(b"null")


class Params(msgspec.Struct):
    """What is read of a request's parameters."""

    name: str = ""
    meta: Meta | None = msgspec.field(name="_meta", default=None)
    arguments: Arguments | None = None
    protocolVersion: str = ""


class Request(msgspec.Struct):
    """What is read of a request."""

    method: str = ""
    id: msgspec.Raw = msgspec.Raw()
    params: Params | None = None


class Book:
    """What the server says, made once, and the sessions it knows."""

    def __init__(self, tools: int) -> None:
        self.sessions: set[bytes] = set()
        schema = {
            "type": "object",
            "properties": {
                "text": {"type": "string"},
                "amount": {"type": "integer"},
                "urgent": {"type": "boolean"},
            },
            "required": ["text"],
        }
        names = ["echo", "stream", *(f"tool_{number}" for number in range(tools - 2))][:tools]
        listed = [{"name": name, "description": "Say it again.", "inputSchema": schema} for name in names]
        fresh: dict[str, object] = {"ttlMs": 60_000, "cacheScope": "public", "resultType": "complete"}
        self.listed = msgspec.json.encode({"tools": listed})
        self.listed_modern = msgspec.json.encode({"tools": listed, **fresh})
        info = {"name": "bench-upstream", "version": "1"}
        found = {"supportedVersions": [MODERN], "capabilities": {"tools": {}}, "instructions": "", **fresh}
        self.discovered = msgspec.json.encode({**found, "_meta": {f"{PROTOCOL}/serverInfo": info}})
        self.initialized = {"capabilities": {"tools": {}}, "serverInfo": info}


decode = msgspec.json.Decoder(Request).decode


class Exchange(asyncio.Protocol):
    """One connection."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._parser = httptools.HttpRequestParser(self)
        self._body: list[bytes] = []
        self._session = b""
        self._modern = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            if self._transport is not None:
                self._transport.close()

    def on_message_begin(self) -> None:
        self._body.clear()
        self._session, self._modern = b"", False

    def on_header(self, name: bytes, value: bytes) -> None:
        length = len(name)
        if length == 14 and name.lower() == b"mcp-session-id":
            self._session = value
        elif length == 20 and value == b"2026-07-28" and name.lower() == b"mcp-protocol-version":
            self._modern = True

    def on_body(self, data: bytes) -> None:
        self._body.append(data)

    def on_message_complete(self) -> None:
        if self._transport is not None:
            self._transport.write(self._answer())

    def _answer(self) -> bytes:
        method = self._parser.get_method()
        if method == b"DELETE":
            self._book.sessions.discard(self._session)
            return HEAD % (0, b"")
        if method != b"POST":
            return REFUSED
        try:
            request = decode(b"".join(self._body))
        except msgspec.DecodeError:
            return self._problem(b"null", b"-32700", b"parse error")
        identity = bytes(request.id)
        if not identity:
            return NOTED
        if request.method == "initialize" and not self._modern:
            return self._initialize(request, identity)
        if not self._modern and self._session not in self._book.sessions:
            return self._problem(identity, b"-32000", b"Session not found")
        return self._result(request, identity)

    def _result(self, request: Request, identity: bytes) -> bytes:
        book = self._book
        if request.method == "tools/call":
            arguments = request.params.arguments if request.params else None
            ending = b',"resultType":"complete"}}' if self._modern else b"}}"
            body = (
                b'{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":%s}],"isError":false%s'
                % (
                    identity,
                    bytes(arguments.text) if arguments else b'""',
                    ending,
                )
            )
            if request.params is not None and request.params.name == "stream":
                return self._streamed(request.params, body)
            return HEAD % (len(body), body)
        if request.method == "tools/list":
            value = book.listed_modern if self._modern else book.listed
        elif request.method == "server/discover" and self._modern:
            value = book.discovered
        elif request.method == "ping" and not self._modern:
            value = b"{}"
        else:
            return self._problem(identity, b"-32601", b"method not found")
        body = b'{"jsonrpc":"2.0","id":%s,"result":%s}' % (identity, value)
        return HEAD % (len(body), body)

    def _streamed(self, params: Params, body: bytes) -> bytes:
        """Send notifications, each by itself, and give the end of the stream."""
        token = bytes(params.meta.progressToken) if params.meta else b"null"
        if self._transport is not None:
            self._transport.write(STREAM)
            for done in range(1, PROGRESS + 1):
                note = b'{"progressToken":%s,"progress":%d,"total":%d}' % (token, done, PROGRESS)
                self._transport.write(
                    _chunk(b'{"jsonrpc":"2.0","method":"notifications/progress","params":%s}' % note)
                )
        return _chunk(body) + b"0\r\n\r\n"

    def _initialize(self, request: Request, identity: bytes) -> bytes:
        session = secrets.token_hex(16)
        self._book.sessions.add(session.encode())
        revision = request.params.protocolVersion if request.params else ""
        known = {"2025-03-26", "2025-06-18", "2025-11-25"}
        value = {"protocolVersion": revision if revision in known else "2025-11-25", **self._book.initialized}
        body = b'{"jsonrpc":"2.0","id":%s,"result":%s}' % (identity, msgspec.json.encode(value))
        head = HEAD.replace(b"\r\n\r\n", b"\r\nmcp-session-id: " + session.encode() + b"\r\n\r\n", 1)
        return head % (len(body), body)

    def _problem(self, identity: bytes, code: bytes, text: bytes) -> bytes:
        body = b'{"jsonrpc":"2.0","id":%s,"error":{"code":%s,"message":"%s"}}' % (identity, code, text)
        return GONE % (len(body), body)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\nevent: message\ndata: %s\n\n\r\n" % (len(data) + 23, data)


async def serve(port: int, tools: int) -> None:
    """Listen on loopback until SIGTERM or SIGINT."""
    loop, book = asyncio.get_running_loop(), Book(tools)
    server = await loop.create_server(lambda: Exchange(book), "127.0.0.1", port, backlog=1024)
    print(f"URL http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp", flush=True)
    ended = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, ended.set)
    await ended.wait()
    server.close()


def main() -> None:
    """Take the options and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tools", type=int, default=1)
    chosen = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(chosen.port, chosen.tools))


if __name__ == "__main__":
    main()
