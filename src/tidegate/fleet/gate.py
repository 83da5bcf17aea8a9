"""Gate: how many workloads may be starting at once, and who goes first."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import count


class Gate:
    """Lets a bounded number in at a time; those somebody waits for before the others."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._queue: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = count()

    @asynccontextmanager
    async def place(self, *, urgent: bool) -> AsyncGenerator[None]:
        """Wait for a place, and hold it."""
        await self._enter(urgent)
        try:
            yield
        finally:
            self._free += 1
            self._admit()

    async def _enter(self, urgent: bool) -> None:
        if self._free and not self._queue:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._queue, (0 if urgent else 1, next(self._order), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # let in and cancelled in the same turn of the loop
                self._free += 1
                self._admit()
            raise

    def _admit(self) -> None:
        while self._free and self._queue:
            _, _, turn = heapq.heappop(self._queue)
            if not turn.done():
                self._free -= 1
                turn.set_result(None)
