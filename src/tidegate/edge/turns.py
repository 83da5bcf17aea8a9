"""Turns: whose request is begun next, where more have come than are begun at once. Reads nothing of what is asked.

A client may have hundreds of requests here at one time. Were they begun as they come, everybody else's would wait for
all of them. So beyond a few those who ask take turns, one request at each turn of the loop; what comes meanwhile from
another has its turn before the rest of theirs. It holds for whatever is asked, and however it ends: refusals too.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable

from tidegate.edge.exchange import Exchange

AT_ONCE = 16
"""Requests that are begun in one turn of the loop without a look at whose they are: what a busy client has in flight."""

Whose = Callable[[Exchange], str]
"""Says who asks, as far as it is known before anything is read, else from where."""


class Turns:
    """Requests that wait for their turn. How many may is bounded by how many connections there may be."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, begin: Callable[[Exchange], None], whose: Whose
    ) -> None:
        self.waiting = 0
        self._loop = loop
        self._begin = begin
        self._whose = whose
        self._queues: OrderedDict[str, deque[Exchange]] = OrderedDict()
        """By who asks; the first has the next turn."""

    def add(self, exchange: Exchange) -> None:
        """Have a request begun in its turn."""
        who = self._whose(exchange)
        queue = self._queues.get(who)
        if queue is None:
            queue = self._queues[who] = deque()
        queue.append(exchange)
        self.waiting += 1
        if self.waiting == 1:
            self._loop.call_soon(self._next)

    def all_now(self) -> None:
        """Begin all that wait: there will be no more."""
        while self.waiting:
            self._one()

    def _next(self) -> None:
        if self.waiting:
            self._one()
        if self.waiting:
            self._loop.call_soon(self._next)  # what is read before then has its turn too

    def _one(self) -> None:
        who, queue = next(iter(self._queues.items()))
        exchange = queue.popleft()
        if queue:
            self._queues.move_to_end(who)
        else:
            del self._queues[who]
        self.waiting -= 1
        self._begin(exchange)
