"""A stdio channel with a stream in memory, and who listens to it."""

from __future__ import annotations

import asyncio

from msgspec import Raw

from tidegate.channels.channel import Outbound, Reply
from tidegate.channels.handshake import Patience
from tidegate.channels.stdio import StdioChannel
from tidegate.domain.workload import Upstream
from tidegate.protocol.client import introduce
from tidegate.testing.stream import FreeIntent, HeardEvents, MemoryStream

CLIENT = introduce("1.2.3")
DISCOVERED = {
    "resultType": "complete",
    "supportedVersions": ["2026-07-28"],
    "capabilities": {"tools": {}},
    "instructions": "be kind",
    "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "modern", "version": "1"}},
}
INITIALIZED = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"tools": {"listChanged": True}},
    "serverInfo": {"name": "old", "version": "1"},
}
LEGACY = Upstream("legacy", "2025-11-25", b"{}", b"{}")
MODERN = Upstream("modern", "2026-07-28", b"{}", b"{}")


class Setting:
    """A channel, its stream and who listens."""

    def __init__(self, **options: object) -> None:
        self.events = HeardEvents()
        self.channel = StdioChannel(self.events, epoch="e0", **options)  # type: ignore[arg-type]
        self.stream = MemoryStream(self.channel)

    def opening(self, known: Upstream | None = None, **patience: float) -> asyncio.Task[Upstream]:
        times = Patience(**patience)
        return asyncio.ensure_future(self.channel.open(self.stream, known, CLIENT, times))

    async def open(self, upstream: Upstream = LEGACY) -> Setting:
        """Open it as adopted, which takes the fewest messages."""
        opening = self.opening(upstream)
        self.stream.answer(await self.stream.hear(), DISCOVERED)
        await opening
        return self

    def call(self, **parts: object) -> asyncio.Task[Reply]:
        outbound = Outbound("tools/call", {"name": Raw(b'"t"')}, **parts)  # type: ignore[arg-type]
        return asyncio.ensure_future(self.channel.call(FreeIntent(), outbound))
