"""What servers write to their standard error: kept apart from MCP, bounded, by server."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

KEPT_BYTES = 256 * 1024
"""Per server. Enough for a traceback or two of the last few workloads."""
_LONGEST_LINE = 4096
_QUEUED_LINES = 1000
"""Per follower; a slower one loses the oldest."""


class ServerLog:
    """The last lines of one server's workloads."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque()
        self._size = 0
        self._followers: set[asyncio.Queue[str]] = set()

    def add(self, workload: str, line: bytes) -> None:
        """Keep a line, dropping the oldest over the bound."""
        text = f"{workload} {line[:_LONGEST_LINE].decode('utf-8', 'replace').rstrip()}"
        self._lines.append(text)
        self._size += len(text)
        while self._size > KEPT_BYTES:
            self._size -= len(self._lines.popleft())
        for queue in self._followers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(text)

    def tail(self, lines: int) -> list[str]:
        """Give the last `lines` lines."""
        return list(self._lines)[-lines:] if lines > 0 else []

    async def follow(self) -> AsyncIterator[str]:
        """Yield lines as they come, for ever."""
        queue: asyncio.Queue[str] = asyncio.Queue(_QUEUED_LINES)
        self._followers.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._followers.discard(queue)
