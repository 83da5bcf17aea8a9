"""A Streamable HTTP server that shakes hands and leaves the rest to the test, and a channel to it."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

from msgspec import Raw

from tidegate.channels.channel import Outbound
from tidegate.channels.place import HttpPlace
from tidegate.channels.streamable import StreamableHttpChannel
from tidegate.protocol.client import introduce
from tidegate.testing.scripted import Got, Peer, serving
from tidegate.testing.stream import FreeIntent, HeardEvents

CLIENT = introduce("1.2.3")
DISCOVERED = {"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}
INITIALIZED = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "old"}}


class McpServer:
    """Shakes hands, and leaves what comes after to the test."""

    def __init__(self, serve=None, *, modern=False, session="s-1", stream=None, refusal="400 Bad Request"):
        self.serve = serve
        self.modern = modern
        self.session = session
        self.stream = stream
        self.refusal = refusal
        self.got: list[Got] = []
        self.capabilities: dict = {"tools": {}}

    async def __call__(self, peer: Peer) -> None:
        while True:
            request = await peer.request()
            self.got.append(request)
            await self.answer(peer, request)

    async def answer(self, peer: Peer, request: Got) -> None:
        method = request.json.get("method") if request.body else None
        if request.method == "GET" and self.stream is not None:
            await self.stream(peer, request)
        elif request.method != "POST":
            await peer.answer(b"", "405 Method Not Allowed")
        elif method == "server/discover":
            if self.modern:
                await peer.result(request, {**DISCOVERED, "capabilities": self.capabilities})
            else:
                await peer.answer(b'{"error":"no session"}', self.refusal)
        elif method == "initialize":
            session = [f"Mcp-Session-Id: {self.session}"] if self.session else []
            await peer.result(request, INITIALIZED, *session)
        elif method == "notifications/initialized":
            await peer.answer(b"", "202 Accepted")
        elif self.serve is None or method in (None, "notifications/cancelled", "ping"):
            if method == "ping":
                await peer.result(request, {})
            else:
                await peer.answer(b"", "202 Accepted")
        else:
            await self.serve(peer, request)

    def heard(self, method: str) -> list[Got]:
        """Give the requests of a JSON-RPC method."""
        return [each for each in self.got if each.body and each.json.get("method") == method]


class Setting:
    def __init__(self, channel: StreamableHttpChannel, events: HeardEvents, server: McpServer):
        self.channel = channel
        self.events = events
        self.server = server

    def call(self, **parts) -> asyncio.Task:
        outbound = Outbound("tools/call", {"name": Raw(b'"t"')}, **{"name": "t", "timeout": 5, **parts})
        return asyncio.ensure_future(self.channel.call(FreeIntent(), outbound))


@asynccontextmanager
async def channel_to(server: McpServer, *, opened=True, known=None, headers=None, listening=True):
    async with serving(server) as listener:
        place = HttpPlace(f"{listener.url}/mcp?x=1", headers or {})
        events = HeardEvents()
        channel = StreamableHttpChannel(events, place, epoch="e0", listening=listening)
        try:
            if opened:
                await channel.open(known, CLIENT)
            yield Setting(channel, events, server)
        finally:
            await channel.close()


def result_of(reply) -> object:
    return json.loads(bytes(reply.result))


def note(method: str, **params) -> dict:
    """Make a notification."""
    return {"jsonrpc": "2.0", "method": method, "params": params}
