"""State: small values that outlive a call and may be shared by gateways.

Keys are text of at most 512 bytes; values are bytes of at most 1 MiB. Expiry is in seconds from now.
The contract suite is `tidegate.testing.state_contract`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol


class State(Protocol):
    """A store of keys and values with expiry."""

    async def get(self, key: str) -> bytes | None:
        """Give the value, or None where there is none or it expired."""
        ...

    async def put(self, key: str, value: bytes | None, *, expires: float | None = None) -> None:
        """Set a value, or delete it with None."""
        ...

    async def compare_and_set(
        self, key: str, expected: bytes | None, value: bytes | None, *, expires: float | None = None
    ) -> bool:
        """Set only where the value now is `expected` (None: absent). Tell whether it was."""
        ...

    async def scan(self, prefix: str) -> Sequence[tuple[str, bytes]]:
        """Give the live keys that begin with `prefix`, in order, with their values."""
        ...

    def watch(self, prefix: str) -> AsyncIterator[str]:
        """Yield the keys under `prefix` that were put or deleted since the iteration began.

        Changes in quick succession may come as one. Never ends by itself.
        """
        ...
