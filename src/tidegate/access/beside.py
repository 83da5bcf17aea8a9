"""Beside: much work, done in a thread beside the loop, a little at a time, so that the loop has the interpreter.

One piece at a time, whoever wants it: the interpreter is one, and each thread more would have the loop wait for longer.
Knows nothing of what is worked on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

_HELD, _REST = 0.001, 0.0005
"""Seconds: how long the interpreter is held at a time, and how long it is then left to the loop."""
_ASKING = 4
"""Who may have engines asked about much at one time: the others wait before an engine's patience begins."""

_Made = TypeVar("_Made")


class Pace:
    """Counts how long the interpreter has been held by a thread beside the loop's."""

    def __init__(self) -> None:
        self.over = False
        """Set where nobody waits for the work any more."""
        self._since = time.perf_counter()

    def rest(self) -> None:
        """Leave the interpreter to others for a moment, if it has been held for long.

        Raises:
            Over: nobody waits for the work any more.
        """
        if time.perf_counter() - self._since > _HELD:
            if self.over:
                raise Over
            time.sleep(_REST)
            self._since = time.perf_counter()


class Over(Exception):
    """Nobody waits for the work any more."""


Work = Callable[[Pace], _Made]
"""What is done beside the loop. It calls `rest` of its pace for every few microseconds of work."""


class Run(Protocol):
    """Has work done: `Lane.run`, or `here`."""

    async def __call__(self, work: Work[_Made]) -> _Made:
        """Give what comes of it."""
        ...


class Lane:
    """Does one piece of work after the other, in the order in which they were wanted."""

    def __init__(self) -> None:
        self.asking = asyncio.Semaphore(_ASKING)
        """To be held while engines are asked about much."""
        self._free = asyncio.Lock()

    async def run(self, work: Work[_Made]) -> _Made:
        """Have work done, after what was wanted before."""
        async with self._free:
            pace = Pace()
            running = asyncio.get_running_loop().run_in_executor(None, work, pace)
            try:
                return await asyncio.shield(running)
            except asyncio.CancelledError:
                pace.over = True
                await asyncio.wait([running])  # a moment: until then the thread is not free for the next
                raise


class _Unpaced(Pace):
    def rest(self) -> None:
        """Go on: it is on the loop's own thread, and little."""


async def here(work: Work[_Made]) -> _Made:
    """Do what is little at once, where `Lane.run` would do it beside the loop."""
    return work(_Unpaced())
