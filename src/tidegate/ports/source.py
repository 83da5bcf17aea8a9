"""Source: what declares ServerSpecs. It hands over the complete desired state, never a change."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from tidegate.domain.server import ServerSpec


class Source(Protocol):
    """Declares servers."""

    def watch(self) -> AsyncIterator[Sequence[ServerSpec]]:
        """Yield everything this source declares: now, and again whenever it changed."""
        ...
