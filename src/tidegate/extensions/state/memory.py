"""Small values kept in memory: gone with the process, seen by no other."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from tidegate.domain.errors import StateError
from tidegate.extensions.state.changes import Watchers, check_bounds
from tidegate.ports.extension import Extension, Surroundings
from tidegate.ports.state import State


class MemorySettings(BaseModel):
    """Settings of the store in memory."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["memory"] = "memory"
    entries: int = Field(default=100_000, ge=1, le=10_000_000)
    """How many keys are kept at most."""


@dataclass(frozen=True, slots=True)
class _Entry:
    value: bytes
    expires: float | None


class MemoryState:
    """Keys and values in a dictionary. `clock` gives seconds and never goes back."""

    def __init__(self, *, entries: int = 100_000, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = entries
        self._clock = clock
        self._entries: dict[str, _Entry] = {}
        self._watchers = Watchers()

    async def get(self, key: str) -> bytes | None:
        """Give the value, or None where there is none or it expired."""
        return self._live(key)

    async def put(self, key: str, value: bytes | None, *, expires: float | None = None) -> None:
        """Set a value, or delete it with None."""
        self._put(key, value, expires)

    async def compare_and_set(
        self, key: str, expected: bytes | None, value: bytes | None, *, expires: float | None = None
    ) -> bool:
        """Set only where the value now is `expected`. Nothing is awaited in between, so it is atomic."""
        check_bounds(key, value)
        if self._live(key) != expected:
            return False
        self._put(key, value, expires)
        return True

    async def scan(self, prefix: str) -> Sequence[tuple[str, bytes]]:
        """Give the live keys that begin with `prefix`, in order, with their values."""
        found: list[tuple[str, bytes]] = []
        for key in sorted(key for key in self._entries if key.startswith(prefix)):
            value = self._live(key)
            if value is not None:
                found.append((key, value))
        return found

    def watch(self, prefix: str) -> AsyncIterator[str]:
        """Yield the keys under `prefix` that change from now on."""
        return self._watchers.add(prefix)

    def _live(self, key: str) -> bytes | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.expires is not None and entry.expires <= self._clock():
            del self._entries[key]
            return None
        return entry.value

    def _put(self, key: str, value: bytes | None, expires: float | None) -> None:
        check_bounds(key, value)
        if value is None:
            self._entries.pop(key, None)
        else:
            if key not in self._entries and len(self._entries) >= self._limit:
                self._sweep()
            until = None if expires is None else self._clock() + expires
            self._entries[key] = _Entry(value, until)
        self._watchers.tell(key)

    def _sweep(self) -> None:
        now = self._clock()
        gone = [
            key for key, entry in self._entries.items() if entry.expires is not None and entry.expires <= now
        ]
        for key in gone:
            del self._entries[key]
        if len(self._entries) >= self._limit:
            raise StateError(f"the state store holds {self._limit} keys, as many as it may")


@asynccontextmanager
async def open_memory(settings: MemorySettings, surroundings: Surroundings) -> AsyncGenerator[State]:
    """Open an empty store."""
    yield MemoryState(entries=settings.entries)


MEMORY: Extension[MemorySettings, State] = Extension(MemorySettings, open_memory)
