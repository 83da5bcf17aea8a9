"""Queue: calls that wait for a place on a server: how many may, in which order, and how long they had to.

Principals take turns: each call is given a round, one later than its principal's call before it, and rounds are
served one after the other. Where as many wait as may, the last call of whoever has the most gives way.
"""

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

Ticket = tuple[int, int]
"""A place in the order of those who wait: the round, then who came first."""
_Waiter = tuple[Ticket, asyncio.Future[None]]


class Entry:
    """One call that waits, whatever for."""

    __slots__ = ("_cancelling", "_task", "gave_way", "principal", "ticket")

    def __init__(self, principal: str) -> None:
        """To be made in the task that waits."""
        self.principal = principal
        self.ticket: Ticket | None = None
        """Where it waits for a workload that is only busy, or did."""
        self.gave_way = False
        """Whether it was to make room for another principal's."""
        self._task = asyncio.current_task()
        self._cancelling = 0 if self._task is None else self._task.cancelling()

    def give_way(self) -> None:
        """Have it wait no more: its task is cancelled, as by a timeout."""
        if self._task is not None:
            self.gave_way = True
            self._task.cancel()

    def is_alone(self) -> bool:
        """Tell whether it was cancelled for that alone. To be asked once, with the cancellation in hand."""
        return self.gave_way and self._task is not None and self._task.uncancel() <= self._cancelling


class Waiting:
    """The calls that wait for a place on one server."""

    def __init__(self, server: str, now: Callable[[], float]) -> None:
        """`now` is the loop's time."""
        self.count = 0
        """Of all that wait, whatever for."""
        self._server = server
        self._now = now
        self._order = count()
        self._entries: dict[str, list[Entry]] = {}
        """By principal, in the order in which they came."""
        self._round = 0
        """The one that was served last."""
        self._rounds: dict[str, int] = {}
        """The last that each principal was given, while anybody waits."""
        self._queues: dict[str, list[_Waiter]] = {}
        self._waits: deque[tuple[float, float]] = deque(maxlen=_KEPT)

    # -- who waits ----------------------------------------------------------------------------

    def enter(self, principal: str, bounds: Queue, pace: Callable[[], tuple[float, int]]) -> Entry:
        """Take one more in. Where as many wait as may, the last of the principal with the most gives way.

        Raises:
            Overloaded: that would be this principal. `pace` gives how long calls take and how many are done at one
                time, which says when to come again.
        """
        mine = self._entries.get(principal) or list[Entry]()
        if self.count >= bounds.length:
            most = max(self._entries.values(), key=len, default=mine)
            if len(most) <= 1 + len(mine):  # else the two would take turns in giving way
                latency, places = pace()
                raise self.refusal(f"{self.count} calls wait for it, which is the limit", latency, places)
            last = most[-1]
            self._remove(last)
            last.give_way()
        entry = Entry(principal)
        self._entries.setdefault(principal, []).append(entry)
        self.count += 1
        return entry

    def leave(self, entry: Entry, *, served: bool) -> None:
        """Learn that one waits no more; `served` where it has its place."""
        if entry.ticket is not None:
            if served:
                self._round = max(self._round, entry.ticket[0])
            elif entry.principal in self._rounds:
                self._rounds[entry.principal] -= 1  # its turn is not used
        if not entry.gave_way:
            self._remove(entry)
        if not self.count:
            self._round = 0
            self._rounds.clear()

    def refusal(self, why: str, latency: float | None, places: int) -> Overloaded:
        """Give the refusal of a call that cannot wait."""
        seconds = ceil((latency or 1.0) * (self.count + 1) / max(1, places))
        after = min(_LONGEST, max(1, seconds))
        return Overloaded(
            f"server {self._server} is busy: {why}; nothing was called; try again in {after} s",
            data={"retryAfter": after},
        )

    def _remove(self, entry: Entry) -> None:
        entries = self._entries[entry.principal]
        entries.remove(entry)
        if not entries:
            del self._entries[entry.principal]
        self.count -= 1

    # -- their order --------------------------------------------------------------------------

    def ticket(self, entry: Entry) -> Ticket:
        """Give its place in the order of those who wait. It keeps it until it has what it waits for."""
        if entry.ticket is None:
            number = max(self._round, self._rounds.get(entry.principal, -1) + 1)
            self._rounds[entry.principal] = number
            entry.ticket = number, next(self._order)
        return entry.ticket

    def has(self, key: str) -> bool:
        """Tell whether anybody waits for a place on that key."""
        return key in self._queues

    async def wait(self, key: str, ticket: Ticket, ends: float) -> bool:
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
