"""Breaker: while something does not answer, nobody waits for it; now and then one may try."""

from __future__ import annotations

from collections.abc import Callable

ENOUGH = 5
"""Failures in a row after which nobody is let through."""
REST = 1.0
"""Seconds until one may try again."""


class Breaker:
    """Counts what becomes of tries. `clock` gives seconds and never goes back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures = 0
        self._until = 0.0

    def lets_through(self) -> bool:
        """Tell whether it may be tried now. Where it has failed, one alone may, and the next one after a rest."""
        if self._failures < ENOUGH:
            return True
        now = self._clock()
        if now < self._until:
            return False
        self._until = now + REST
        return True

    def answered(self) -> None:
        """Note that it answered, whatever it said."""
        self._failures = 0

    def failed(self) -> None:
        """Note that it did not."""
        self._failures += 1
        if self._failures == ENOUGH:
            self._until = self._clock() + REST
