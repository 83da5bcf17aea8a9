"""Flow: how much a workload may say that nobody asked for, before it is read more slowly.

Reading, splitting and throwing away costs whoever reads, the engine too, as much as the workload likes to write: so one
that floods would take the machine from all others. What answers a call is never counted.
"""

from __future__ import annotations

from collections.abc import Callable

BURST = 16 * 1024 * 1024
"""Bytes that are read as fast as they come."""
RATE = 2 * 1024 * 1024
"""Bytes a second after that."""
LINE, MESSAGE = 100, 512
"""Bytes that a log line and a message count beside their own: each costs something however short it is."""
LONGEST = 0.25
"""Seconds of one rest: what a workload has to say besides comes no later than that."""


class Flow:
    """An account of one workload. Pure."""

    __slots__ = ("_clock", "_owed", "_since")

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` gives seconds."""
        self._clock = clock
        self._owed = 0.0
        self._since = clock()

    def take(self, size: int) -> float:
        """Count so many bytes; give for how many seconds nothing is to be read, mostly none."""
        self._owed += size
        if self._owed <= BURST:
            return 0.0
        now = self._clock()
        self._owed = max(0.0, self._owed - (now - self._since) * RATE)
        self._since = now
        return min(LONGEST, max(0.0, self._owed - BURST) / RATE)
