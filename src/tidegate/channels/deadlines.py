"""Deadlines of many waiting things, with one timer. It knows no clock but the loop's."""

from __future__ import annotations

import asyncio
from typing import Protocol

_GRAIN = 0.005
"""Seconds between two looks at least, so that many deadlines close together cost one look."""


class Expiring(Protocol):
    """What has a deadline."""

    deadline: float
    """On the loop's clock."""

    def expire(self) -> None:
        """Learn that the deadline has passed, once. Must not block or raise."""
        ...


LONGEST_PAUSE = 900.0
"""Seconds by which one call's deadline may be put off, all in all."""
_PAUSE_LOOK = 1.0
"""Seconds between two looks whether a call still waits for a person."""


class Pauses:
    """How long a call waited for a person: time that its deadline is put off by.

    It is asked only when the deadline has passed, so a call that waits for nobody pays nothing.
    """

    __slots__ = ("_open", "_since", "_total", "granted")

    def __init__(self) -> None:
        self.granted = 0.0
        """Seconds by which the deadline was put off so far."""
        self._total = 0.0
        self._since = 0.0
        self._open = 0

    def begin(self, now: float) -> None:
        """Learn that a question was put."""
        if not self._open:
            self._since = now
        self._open += 1

    def end(self, now: float) -> None:
        """Learn that it is answered, or given up."""
        self._open -= 1
        if not self._open:
            self._total += now - self._since

    def more(self, now: float) -> float:
        """Give by how many seconds a deadline that has passed is put off; 0: it has passed for good."""
        waited = self._total + (now - self._since if self._open else 0.0)
        more = min(waited, LONGEST_PAUSE) - self.granted
        if self._open and waited < LONGEST_PAUSE:
            more = max(more, _PAUSE_LOOK)
        more = max(0.0, more)
        self.granted += more
        return more


class Deadlines:
    """Calls `expire` on what was added and not discarded when its deadline passes.

    The timer is set for the earliest deadline ever seen and set anew only when it fires: a call that is
    answered in time costs two operations on a set, and no timer.
    """

    __slots__ = ("_at", "_loop", "_timer", "_waiting", "discard")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: set[Expiring] = set()
        self.discard = self._waiting.discard
        """Watches over it no longer. What is not watched may be discarded too."""
        self._timer: asyncio.TimerHandle | None = None
        self._at = float("inf")

    def add(self, item: Expiring) -> None:
        """Watch over a deadline."""
        self._waiting.add(item)
        if item.deadline < self._at:
            self._arm(item.deadline)

    def close(self) -> None:
        """Watch over nothing any more."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._at = when
        self._timer = self._loop.call_at(when, self._fire)

    def _fire(self) -> None:
        now = self._loop.time()
        self._timer = None
        self._at = float("inf")
        for item in [item for item in self._waiting if item.deadline <= now]:
            self.discard(item)
            item.expire()
        following = min((item.deadline for item in self._waiting), default=None)
        if following is not None and following < self._at:
            self._arm(max(following, now + _GRAIN))
