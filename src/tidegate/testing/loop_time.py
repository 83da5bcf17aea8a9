"""LoopTime: the running loop's own time, which a test turns forward, so that hours pass in no time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_TURNS = 40
"""Turns of the loop after which all that can happen without time passing has happened."""


class LoopTime:
    """Makes the running loop's time this one. Called, it gives it, in seconds.

    For asyncio's own loop, before anything on it has kept `loop.time`.
    """

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._real = loop.time
        self._ahead = 0.0
        loop.time = self  # type: ignore[method-assign]  # a loop has no other place to set it

    def __call__(self) -> float:
        return self._real() + self._ahead

    async def settle(self) -> None:
        """Let everything happen that needs no time."""
        for _ in range(_TURNS):
            await asyncio.sleep(0)

    async def advance(self, seconds: float, step: float = 0.25) -> None:
        """Let time pass in steps, 200 at most, with everything that happens in it."""
        step, end = max(step, seconds / 200), self() + seconds
        while self() < end:
            self._ahead += min(step, end - self())
            await self.settle()

    async def until(self, condition: Callable[[], object], seconds: float = 300.0) -> float:
        """Let time pass until something holds; give how many seconds that took.

        Raises:
            TimeoutError: it did not, within so many seconds.
        """
        began = self()
        await self.settle()
        while not condition():
            if self() - began > seconds:
                raise TimeoutError(f"it did not happen within {seconds:g} s")
            await self.advance(0.05, 0.05)
        return self() - began
