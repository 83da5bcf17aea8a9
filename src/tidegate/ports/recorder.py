"""Recorder: where events go that must be provable. `audit.journal` is the real one.

`Intent` is abstract: only the journal has a concrete one, so a tool call that goes round the journal
does not type-check.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Protocol

from tidegate.domain.record import RecordKind


class Intent(ABC):
    """Proof that a call was recorded before it goes out."""

    __slots__ = ()

    @property
    @abstractmethod
    def sequence(self) -> int:
        """The record's number in the journal."""

    @property
    @abstractmethod
    def call_id(self) -> str:
        """The id that the record, the logs and an error share."""


class Recorder(Protocol):
    """Takes events."""

    def event(self, kind: RecordKind, fields: Mapping[str, object]) -> None:
        """Record an event. Values are JSON scalars, lists or objects of such.

        Raises:
            JournalUnavailable: it cannot be kept.
        """
        ...
