"""Queue: calls that wait for a place on a server: how many may, in which order, and how long they had to."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable
from itertools import count
from math import ceil

from tidegate.domain.errors import Overloaded
from tidegate.domain.server import Queue

_KEPT = 4096
"""Waits that are remembered."""
_LONGEST = 60
"""Seconds after which a refused call may at most be told to come again."""

_Waiter = tuple[int, asyncio.Future[None]]


class Waiting:
    """The calls that wait for a place on one server."""

    def __init__(self, server: str, now: Callable[[], float]) -> None:
        """`now` is the loop's time."""
        self.count = 0
        """Of all that wait, whatever for."""
        self._server = server
        self._now = now
        self._order = count()
        self._queues: dict[str, list[_Waiter]] = {}
        self._waits: deque[tuple[float, float]] = deque(maxlen=_KEPT)

    def check(self, bounds: Queue, latency: float | None, places: int) -> None:
        """Refuse one more where as many wait as may.

        Raises:
            Overloaded: they do. `latency` of calls and number of `places` say when to come again.
        """
        if self.count >= bounds.length:
            raise self.refusal(f"{self.count} calls wait for it, which is the limit", latency, places)

    def refusal(self, why: str, latency: float | None, places: int) -> Overloaded:
        """Give the refusal of a call that cannot wait."""
        seconds = ceil((latency or 1.0) * (self.count + 1) / max(1, places))
        after = min(_LONGEST, max(1, seconds))
        return Overloaded(
            f"server {self._server} is busy: {why}; nothing was called; try again in {after} s",
            data={"retryAfter": after},
        )

    def ticket(self) -> int:
        """Give a place in the order of those who wait."""
        return next(self._order)

    def has(self, key: str) -> bool:
        """Tell whether anybody waits for a place on that key."""
        return key in self._queues

    async def wait(self, key: str, ticket: int, ends: float) -> bool:
        """Wait until there may be a place on that key; False where there was none in time."""
        waiter: _Waiter = (ticket, asyncio.get_running_loop().create_future())
        began = self._now()
        queue = self._queues.setdefault(key, [])
        heapq.heappush(queue, waiter)
        try:
            await asyncio.wait({waiter[1]}, timeout=max(0.0, ends - began))
            return waiter[1].done()
        except asyncio.CancelledError:
            if waiter[1].done():
                self.wake(key)  # what it was woken for is the next one's
            raise
        finally:
            self._waits.append((self._now(), self._now() - began))
            if not waiter[1].done():
                waiter[1].cancel()
                queue.remove(waiter)
                heapq.heapify(queue)
            if not queue and self._queues.get(key) is queue:
                del self._queues[key]

    def wake(self, key: str) -> None:
        """Have the first who waits for a place on that key look again."""
        queue = self._queues.get(key)
        if queue:
            heapq.heappop(queue)[1].set_result(None)

    def wake_all(self, key: str) -> None:
        """Have all of them look again, in their order."""
        queue = self._queues.get(key)
        while queue:
            heapq.heappop(queue)[1].set_result(None)

    def wait_p95(self, seconds: float, calls: int) -> float:
        """Give the p95 of the waits of the last seconds; of that many calls, the others did not wait."""
        since = self._now() - seconds
        waits = sorted(wait for when, wait in self._waits if when > since)
        skipped = max(0, calls - len(waits))
        place = int(0.95 * (skipped + len(waits))) - skipped
        return waits[min(place, len(waits) - 1)] if waits and place >= 0 else 0.0
