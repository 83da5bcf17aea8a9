"""KeptRecords: a recorder that keeps events for a test to look at."""

from __future__ import annotations

from collections.abc import Mapping

from tidegate.domain.errors import JournalUnavailable
from tidegate.domain.record import RecordKind


class KeptRecords:
    """Takes events into a list."""

    def __init__(self) -> None:
        self.events: list[tuple[RecordKind, Mapping[str, object]]] = []
        self.failing = False

    def event(self, kind: RecordKind, fields: Mapping[str, object]) -> None:
        """Keep it, or fail where that is played."""
        if self.failing:
            raise JournalUnavailable("disk full")
        self.events.append((kind, dict(fields)))

    def of(self, server: str) -> list[object]:
        """Give what happened to a server's workloads, in order."""
        return [fields["event"] for _, fields in self.events if fields.get("server") == server]
