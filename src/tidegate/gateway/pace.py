"""Pace: how often the same thing is told. Servers decide how often they say it, and telling it costs a turn for each hearer.

It knows neither what is told nor to whom.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass

from msgspec import Raw

from tidegate.protocol.codec import Object

REST = 0.1
"""Seconds between two times that one thing is told: what comes in them becomes one, the last."""
MOST, SIZE = 1024, 4 * 1024 * 1024
"""Things that are being waited with, and bytes of what is kept of them; beyond it the oldest is told early."""

Tell = Callable[[Object], bool]
"""Tells, with these params. Says whether anybody was told: what nobody hears is not waited with."""


@dataclass(slots=True)
class _Resting:
    timer: asyncio.TimerHandle
    tell: Tell | None = None
    """What is told when it has rested, if anything."""
    params: Mapping[str, Raw] | None = None
    size: int = 0


class Pace:
    """Tells things at once where they were not told just now, else once they have rested."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._resting: OrderedDict[Hashable, _Resting] = OrderedDict()
        self._size = 0
        self._closed = False

    def __len__(self) -> int:
        return len(self._resting)

    def tell(self, thing: Hashable, params: Object, tell: Tell) -> None:
        """Have a thing told now, or later with what was said of it last."""
        resting = self._resting.get(thing)
        if resting is None:
            self._tell(thing, params, tell)
            return
        self._size -= resting.size
        resting.tell = tell
        # Copied: a field would else keep the whole message.
        resting.params = {name: Raw(bytes(value)) for name, value in params.items()}
        resting.size = sum(len(name) + len(value) for name, value in params.items())
        self._size += resting.size
        while self._size > SIZE:
            self._end(next(iter(self._resting)))

    def close(self) -> None:
        """Tell what is left, and wait with nothing any more."""
        self._closed = True
        while self._resting:
            self._end(next(iter(self._resting)))

    def _tell(self, thing: Hashable, params: Object, tell: Tell) -> None:
        if not tell(params) or self._closed:
            return
        self._resting[thing] = _Resting(self._loop.call_later(REST, self._rested, thing))
        while len(self._resting) > MOST:
            self._end(next(iter(self._resting)))

    def _rested(self, thing: Hashable) -> None:
        resting = self._forget(thing)
        if resting.tell is not None and resting.params is not None:
            self._tell(thing, dict(resting.params), resting.tell)

    def _end(self, thing: Hashable) -> None:
        """Tell what is left of a thing now."""
        resting = self._forget(thing)
        if resting.tell is not None and resting.params is not None:
            resting.tell(dict(resting.params))

    def _forget(self, thing: Hashable) -> _Resting:
        resting = self._resting.pop(thing)
        resting.timer.cancel()
        self._size -= resting.size
        return resting
