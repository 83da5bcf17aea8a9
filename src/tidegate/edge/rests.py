"""Rests: who is refused again and again gets each further refusal a moment later, so that asking anew costs the others less.

It is the answer that waits, not the connection after it: behind a proxy the next request on a connection is another client's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tidegate.access.rates import Bucket, Rate, Table
from tidegate.edge.exchange import Exchange

FREE, PER_SECOND = 400, 200.0
"""Refusals of one client that are answered at once, and how many more each second: no client that works has so many."""
LONGEST = 2.0
"""Seconds that one refusal waits at most: less than any client waits for an answer."""
_MOST = 4096
"""Clients that are counted."""
_SMALL = 64 * 1024
"""Bytes of a body that may lie meanwhile; what is larger counts towards what the listener may hold."""


class Rests:
    """Counts refusals by who gets them."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        rate = Rate(PER_SECOND, FREE)
        self._table = Table(lambda of: Bucket(rate, of), most=_MOST)

    def after(self, who: str) -> float:
        """Count a refusal, and give the seconds that it is to wait."""
        now = self._clock()
        bucket = self._table.find(who, "", now)
        seconds = bucket.wait(now)
        if seconds >= LONGEST:
            return LONGEST
        bucket.take(now)
        return seconds

    async def rest(self, exchange: Exchange, who: str) -> None:
        """Count a refusal, and wait with its answer where there were many. Ends with the client."""
        seconds = self.after(who)
        task = exchange.task
        if not seconds or exchange.gone or task is None or len(exchange.request.body) > _SMALL:
            return
        exchange.when_lost = task.cancel
        try:
            await asyncio.sleep(seconds)
        finally:
            exchange.when_lost = None
