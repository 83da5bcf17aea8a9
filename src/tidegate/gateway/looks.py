"""Looks: many things are looked at again and again, and one whose answer is slow keeps no other waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from tidegate.telemetry import log

T = TypeVar("T")
AT_ONE_TIME = 128
"""That are looked at before others have their turn."""
PATIENCE, LEAST = 0.25, 0.01
"""Seconds that all together wait for slow answers in one look, and each such many at least."""


class Looks(Generic[T]):
    """Looks at each of many; at one whose last look still goes on, not another time."""

    def __init__(self, look: Callable[[T], Awaitable[None]], name: str) -> None:
        """`name` is for the log."""
        self._look = look
        self._name = name
        self._slow: dict[int, asyncio.Task[None]] = {}
        """By what they look at, which they keep alive."""

    async def over(self, found: Sequence[T]) -> None:
        """Look at all of these once. What is slow goes on beside."""
        clock = asyncio.get_running_loop().time
        until = clock() + PATIENCE
        fresh = [each for each in found if id(each) not in self._slow]
        for at in range(0, len(fresh), AT_ONE_TIME):
            begun = {
                asyncio.create_task(self._one(each), name=self._name): each
                for each in fresh[at : at + AT_ONE_TIME]
            }
            try:
                _, late = await asyncio.wait(begun, timeout=max(LEAST, until - clock()))
            except asyncio.CancelledError:
                for task in begun:
                    task.cancel()
                raise
            for task in late:
                self._keep(begun[task], task)

    def close(self) -> None:
        """Look no further."""
        for task in list(self._slow.values()):
            task.cancel()

    def _keep(self, each: T, task: asyncio.Task[None]) -> None:
        self._slow[id(each)] = task
        task.add_done_callback(lambda _: self._slow.pop(id(each), None))

    async def _one(self, each: T) -> None:
        try:
            await self._look(each)
        except Exception as error:  # noqa: BLE001 - a supervisor: one that cannot be looked at is no other's matter
            log().error("supervisor.failed", task=self._name, exc_info=error)
