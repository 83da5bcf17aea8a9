"""Owner: what a workload needs of the pool that it is in, and tells it."""

from __future__ import annotations

from collections.abc import Set
from typing import TYPE_CHECKING, Protocol

from tidegate.domain.workload import WorkloadIdentity
from tidegate.fleet.gate import Gate
from tidegate.fleet.track import Track
from tidegate.protocol.codec import Object

if TYPE_CHECKING:
    from tidegate.fleet.workload import Workload


class Owner(Protocol):
    """What a workload needs of the pool it is in, and tells it."""

    gate: Gate

    def identity_for(self, sharing: str, offer: str, track: Track | None = None) -> WorkloadIdentity:
        """Give a name to a new realisation."""
        ...

    def wants(self, workload: Workload) -> bool:
        """Tell whether it should be brought up again after it broke."""
        ...

    def admit(self, workload: Workload) -> None:
        """Say whether one that ended may be started again, or raise `Overloaded`."""
        ...

    def workload_changed(self, workload: Workload) -> None:
        """Learn that its state changed."""
        ...

    def workload_judged(self, workload: Workload) -> None:
        """Learn that its health changed."""
        ...

    def workload_answered(self, workload: Workload) -> None:
        """Learn that it answered a probe after calls on it had failed."""
        ...

    def workload_blamed(self, workload: Workload, culprits: Set[str]) -> Set[str]:
        """Learn whose calls failed with its end; give those who are refused for it."""
        ...

    def workload_excused(self, workload: Workload, since: float) -> None:
        """Learn that what ended since then, in loop time, ended with the engine."""
        ...

    def workload_quarantined(self, workload: Workload) -> None:
        """Learn that it was restarted too often."""
        ...

    def workload_broke(self, workload: Workload, reason: str) -> None:
        """Learn that it was ready and is no more."""
        ...

    def workload_lost(self, workload: Workload) -> None:
        """Learn that what it remembered is gone."""
        ...

    def workload_dropped(self, workload: Workload) -> None:
        """Learn that its supervisor has ended: it will not come back."""
        ...

    def workload_notified(self, workload: Workload, method: str, params: Object) -> None:
        """Take a notification that belongs to no call."""
        ...

    def workload_logged(self, workload: Workload, line: bytes) -> None:
        """Take a line of its standard error."""
        ...

    def workload_contended(self, workload: Workload) -> None:
        """Learn that it asked what could have been for more than one holder."""
        ...
