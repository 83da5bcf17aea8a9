"""Turns: whose request is begun next, where more have come than are begun at once. Reads nothing of what is asked.

A client may have hundreds of requests here at one time. Were they begun as they come, everybody else's would wait for
all of them. So beyond a few those who ask take turns, one request of each at each turn of the loop, or a few while nobody else asks;
what comes meanwhile from another has its turn before the rest of theirs. It holds for whatever is asked, and however it ends: refusals too.

While several ask, one that has a few under way gets a further one when one of them has ended, so that the others do not
find the servers full of its calls. Where none ends soon, its calls are slow rather than many, and it goes on.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from itertools import islice

from tidegate.edge.exchange import Exchange

AT_ONCE = 16
"""Requests that are begun in one turn of the loop without a look at whose they are: what a busy client has in flight."""
FEW = 8
"""Requests of one that had to wait for their turns which are under way at one time, while others ask too."""
PAUSE = 0.01
"""Seconds in which none of them ended, after which one more is begun all the same."""
LATELY = 1.0
"""Seconds for which somebody counts as asking too."""

Whose = Callable[[Exchange], str]
"""Says who asks, as far as it is known before anything is read, else from where."""


class _Asker:
    __slots__ = ("queue", "under_way")

    def __init__(self) -> None:
        self.queue: deque[Exchange] = deque()
        self.under_way = 0


class Turns:
    """Requests that wait for their turn. How many may is bounded by how many connections there may be."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, begin: Callable[[Exchange], None], whose: Whose
    ) -> None:
        self.waiting = 0
        self.begun: dict[Exchange, str] = {}
        """What was begun in its turn and is under way, with who asked; `ended` follows."""
        self._loop = loop
        self._begin = begin
        self._whose = whose
        self._askers: dict[str, _Asker] = {}
        self._order: OrderedDict[str, _Asker] = OrderedDict()
        """Those who have something waiting; the first has the next turn."""
        self._newest: str = ""
        self._several = float("-inf")
        """Loop time when somebody asked after somebody else."""
        self._soon: asyncio.Handle | None = None
        self._pause: asyncio.TimerHandle | None = None

    def add(self, exchange: Exchange) -> None:
        """Have a request begun in its turn."""
        who = self._whose(exchange)
        if who != self._newest:
            if self._newest:
                self._several = self._loop.time()
            self._newest = who
        asker = self._askers.get(who)
        if asker is None:
            asker = self._askers[who] = _Asker()
        asker.queue.append(exchange)
        self._order.setdefault(who, asker)
        self.waiting += 1
        self._go_on()

    def ended(self, exchange: Exchange) -> None:
        """Learn that one that was begun here is over."""
        who = self.begun.pop(exchange, None)
        if who is None:
            return
        asker = self._askers[who]
        asker.under_way -= 1
        if asker.queue:
            self._go_on()
        else:
            self._forget(who, asker)

    def all_now(self) -> None:
        """Begin all that wait: there will be no more."""
        while self._order:
            self._one(next(iter(self._order)))

    def _go_on(self) -> None:
        if self._soon is None:
            self._soon = self._loop.call_soon(self._next)
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None

    def _next(self) -> None:
        self._soon = None
        if not self._order:
            return
        if (
            self._loop.time() - self._several > LATELY
        ):  # a turn of the loop for each costs more than the request
            for _ in range(min(AT_ONCE, self.waiting)):
                self._one(next(iter(self._order)))
            if self._order:
                self._soon = self._loop.call_soon(self._next)
            return
        these = list(islice((who for who, each in self._order.items() if each.under_way < FEW), AT_ONCE))
        if not these:
            self._pause = self._loop.call_later(PAUSE, self._paused)
            return
        for who in these:
            self._one(who)
        if self._order and self._soon is None:
            self._soon = self._loop.call_soon(self._next)  # what is read before then has its turn too

    def _paused(self) -> None:
        self._pause = None
        if self._order:
            self._one(next(iter(self._order)))
            self._go_on()

    def _one(self, who: str) -> None:
        """Begin the next one of somebody."""
        asker = self._order[who]
        exchange = asker.queue.popleft()
        if asker.queue:
            self._order.move_to_end(who)
        else:
            del self._order[who]
        self.waiting -= 1
        self._begin(exchange)
        if exchange.task is not None and exchange.request.method != b"GET":  # those may go on for hours
            self.begun[exchange] = who
            asker.under_way += 1
        self._forget(who, asker)

    def _forget(self, who: str, asker: _Asker) -> None:
        if not asker.queue and not asker.under_way:
            self._askers.pop(who, None)
