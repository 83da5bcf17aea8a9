"""Errands: small requests that nobody waits for, bounded in number and in time. The owner of their tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine


class Errands:
    """Runs coroutines in the background. They are to catch what they expect themselves.

    With `most` of them under way a further one is not run: whoever makes so many does not read.
    """

    def __init__(self, most: int = 32) -> None:
        self._most = most
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def run(self, errand: Coroutine[object, object, None]) -> bool:
        """Start an errand. Tell whether it was taken."""
        if self._closed or len(self._tasks) >= self._most:
            errand.close()
            return False
        task = asyncio.get_running_loop().create_task(errand)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def close(self, patience: float) -> None:
        """Let those under way end, but not for longer than `patience` seconds."""
        self._closed = True
        tasks = list(self._tasks)
        if not tasks:
            return
        await asyncio.wait(tasks, timeout=patience)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
