"""Gate: how many workloads may be starting at once, and who goes first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager


class Gate:
    """Lets a bounded number in at a time; those somebody waits for before the others."""

    def __init__(self, places: int) -> None:
        self._places = self._free = places
        self._queue: dict[asyncio.Future[None], Callable[[], bool]] = {}
        """Who waits, the first first, with what tells whether somebody waits for it in turn."""

    def resize(self, places: int) -> None:
        """Have another number of places. Whoever is in beyond it stays until it is done."""
        self._free += places - self._places
        self._places = places
        self._admit()

    @asynccontextmanager
    async def place(self, urgent: Callable[[], bool]) -> AsyncGenerator[None]:
        """Wait for a place, and hold it. `urgent` is asked whenever a place is free: it may have become so."""
        await self._enter(urgent)
        try:
            yield
        finally:
            self._free += 1
            self._admit()

    async def _enter(self, urgent: Callable[[], bool]) -> None:
        if self._free > 0 and not self._queue:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue[turn] = urgent
        try:
            await turn
        except asyncio.CancelledError:
            self._queue.pop(turn, None)
            if turn.done() and not turn.cancelled():  # let in and cancelled in the same turn of the loop
                self._free += 1
                self._admit()
            raise

    def _admit(self) -> None:
        while self._free > 0 and self._queue:
            turn = next((each for each, urgent in self._queue.items() if urgent()), next(iter(self._queue)))
            del self._queue[turn]
            if not turn.done():
                self._free -= 1
                turn.set_result(None)
