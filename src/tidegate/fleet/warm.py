"""Warm: how many workloads are kept ready that nobody has claimed, so that a call waits for no start. Pure."""

from __future__ import annotations

from collections.abc import Callable

from tidegate.domain.server import ServerSpec, Sharing

_MOST = 4
"""Warm workloads of a server whose calls each have their own, where `replicas.max` says nothing."""
_FEWER = 60.0
"""Seconds for which one of them was always to spare, until there is one less."""


class Warm:
    """The size of the warm pool. It grows by one for each call that found none, and shrinks when one is to spare."""

    def __init__(self, now: Callable[[], float]) -> None:
        """`now` is the loop's time."""
        self._size = 1
        self._now = now
        self._short = now()

    def count(self, spec: ServerSpec) -> int:
        """Give how many there are to be."""
        if spec.sharing is not Sharing.CALL:
            return min(1, spec.replicas.min)
        return max(spec.replicas.min, min(self._size, most(spec)))

    def taken(self, left: int) -> None:
        """Learn that one was taken, and how many are left."""
        if not left:
            self._short = self._now()

    def missed(self, spec: ServerSpec) -> None:
        """Learn that a call found none that was ready."""
        self._size = min(self._size + 1, most(spec))
        self._short = self._now()

    def turn(self) -> bool:
        """Let time have its way; tell whether there are to be fewer."""
        if self._size > 1 and self._now() - self._short >= _FEWER:
            self._size -= 1
            self._short = self._now()
            return True
        return False


def most(spec: ServerSpec) -> int:
    """Give how many warm ones there may be."""
    return spec.replicas.max if spec.replicas.max > 1 else _MOST
