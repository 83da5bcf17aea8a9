"""The floor: a relay that does the input and output of a governed call and nothing else.

It parses HTTP on both sides, takes the request's bytes to a pooled upstream connection, writes two lines of
a journal's length to a file for each request, and gives the answer back. It knows no MCP, checks nothing
and refuses nothing. What the gateway's CPU is above this is the gateway's own; the floor itself tells how dear a
system call is on this machine today. It says `URL http://…` on stdout when it listens.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import tempfile
from collections import deque
from typing import cast
from urllib.parse import urlsplit

import httptools
import uvloop

LINE = b"x" * 400 + b"\n"
KEPT = (b"content-type", b"accept", b"mcp-session-id", b"mcp-protocol-version", b"mcp-method", b"mcp-name")


class Upstream(asyncio.Protocol):
    """One pooled connection to the upstream: one request at a time."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._head: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._client: Client | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def send(self, client: Client, request: bytes) -> None:
        """Send a request; its answer goes to the client."""
        self._client = client
        if self._transport is not None:
            self._transport.write(request)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name in (b"content-type", b"mcp-session-id"):
            self._head.append(b"%s: %s\r\n" % (name, value))

    def on_body(self, data: bytes) -> None:
        self._body.append(data)

    def on_message_complete(self) -> None:
        body, head = b"".join(self._body), b"".join(self._head)
        self._body.clear()
        self._head.clear()
        os.write(self._relay.journal, LINE)
        status = self._parser.get_status_code()
        if self._client is not None:
            self._client.answer(
                b"HTTP/1.1 %d X\r\n%scontent-length: %d\r\n\r\n%s" % (status, head, len(body), body)
            )
        self._relay.idle.append(self)


class Client(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._parser = httptools.HttpRequestParser(self)
        self._head: list[bytes] = []
        self._body: list[bytes] = []
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() in KEPT:
            self._head.append(b"%s: %s\r\n" % (name, value))

    def on_body(self, data: bytes) -> None:
        self._body.append(data)

    def on_message_complete(self) -> None:
        body, head = b"".join(self._body), b"".join(self._head)
        self._body.clear()
        self._head.clear()
        os.write(self._relay.journal, LINE)
        request = b"%s%scontent-length: %d\r\n\r\n%s" % (self._relay.first, head, len(body), body)
        self._relay.idle.popleft().send(self, request)

    def answer(self, response: bytes) -> None:
        """Give the client its answer."""
        if self._transport is not None:
            self._transport.write(response)


class Relay:
    """The pool and the journal."""

    def __init__(self, url: str, journal: int) -> None:
        parts = urlsplit(url)
        self.journal = journal
        self.first = f"POST {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\n".encode()
        self.host, self.port = parts.hostname or "", parts.port or 80
        self.idle: deque[Upstream] = deque()

    async def fill(self, count: int) -> None:
        """Open that many connections."""
        loop = asyncio.get_running_loop()
        for _ in range(count):
            _, upstream = await loop.create_connection(lambda: Upstream(self), self.host, self.port)
            self.idle.append(upstream)


async def serve(url: str, connections: int) -> None:
    """Relay until SIGTERM."""
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryFile() as journal:
        relay = Relay(url, journal.fileno())
        await relay.fill(connections)
        server = await loop.create_server(lambda: Client(relay), "127.0.0.1", 0, backlog=1024)
        print(f"URL http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp", flush=True)
        ended = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, ended.set)
        await ended.wait()
        server.close()


def main() -> None:
    """Take the options and relay."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--connections", type=int, default=128, help="the load may have no more than these")
    chosen = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(chosen.url, chosen.connections))


if __name__ == "__main__":
    main()
