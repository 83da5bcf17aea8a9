"""Who watches which keys of a store, and the bounds every store keeps. No storage here."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator

from tidegate.domain.errors import StateError

MAX_KEY = 512
"""Bytes of a key, encoded."""
MAX_VALUE = 1024 * 1024
"""Bytes of a value."""


def check_bounds(key: str, value: bytes | None) -> None:
    """Refuse what is over the bounds of `ports.state`.

    Raises:
        StateError: the key is empty or too long, or the value too large.
    """
    if not key or len(key.encode("utf-8", "surrogatepass")) > MAX_KEY:
        raise StateError(f"a key of the state store has 1 to {MAX_KEY} bytes")
    if value is not None and len(value) > MAX_VALUE:
        raise StateError(f"the value of {key[:64]!r} has {len(value)} bytes; at most {MAX_VALUE} can be kept")


class Watch(AsyncIterator[str]):
    """One who watches. Changes are taken from the moment it is made; those not read yet come as one."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self._pending: dict[str, None] = {}
        self._some = asyncio.Event()

    def tell(self, key: str) -> None:
        """Learn that `key` was put or deleted."""
        if key.startswith(self.prefix):
            self._pending[key] = None
            self._some.set()

    async def __anext__(self) -> str:
        while not self._pending:
            self._some.clear()
            await self._some.wait()
        key = next(iter(self._pending))
        del self._pending[key]
        return key


class Watchers:
    """Everyone who watches a store; whoever is dropped is forgotten."""

    def __init__(self) -> None:
        self._watches: weakref.WeakSet[Watch] = weakref.WeakSet()

    def add(self, prefix: str) -> Watch:
        """Begin to watch the keys under `prefix`."""
        watch = Watch(prefix)
        self._watches.add(watch)
        return watch

    def tell(self, key: str) -> None:
        """Say that `key` was put or deleted."""
        for watch in list(self._watches):
            watch.tell(key)
