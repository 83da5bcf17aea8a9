"""History: what happened to the workloads of one server, bounded, and who is told of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tidegate.telemetry import log

KEPT = 200
"""Happenings of one server; the oldest go first."""


@dataclass(frozen=True, slots=True)
class Happening:
    """One change of one workload, or of the server where `workload` is empty."""

    time: float
    """Unix seconds."""
    workload: str
    state: str
    """A `WorkloadState`, or a word of health: `healthy`, `suspect`, `ejected`."""
    reason: str | None = None


Told = Callable[[Happening], None]
"""Called on the loop's thread; must not block."""


class History:
    """The last happenings."""

    def __init__(self, now: Callable[[], float]) -> None:
        """`now` gives Unix seconds."""
        self._now = now
        self._kept: deque[Happening] = deque(maxlen=KEPT)
        self._told: list[Told] = []

    def __iter__(self) -> Iterator[Happening]:
        """Give them, the oldest first."""
        return iter(tuple(self._kept))

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, workload: str, state: str, reason: str | None = None) -> None:
        """Note one, and tell of it. What is as it was is no news."""
        last = self._kept[-1] if self._kept else None
        if last is not None and (last.workload, last.state, last.reason) == (workload, state, reason):
            return
        happening = Happening(self._now(), workload, state, reason)
        self._kept.append(happening)
        for told in tuple(self._told):
            try:
                told(happening)
            except Exception as error:  # noqa: BLE001 - who listens must not end a workload's supervisor
                log().error("supervisor.failed", task="history", exc_info=error)

    def subscribe(self, told: Told) -> Callable[[], None]:
        """Tell of all that comes; give what ends it."""
        self._told.append(told)

        def leave() -> None:
            if told in self._told:
                self._told.remove(told)

        return leave
