"""Presence: whether the engine behind a runtime answers. What ends with it is put down to no server, and to nobody's calls.

One for all the workloads of a runtime: what one of them finds, the others know. Asks nothing itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

BEFORE, AFTER = 30.0, 30.0
"""Seconds before it was found to be away, and after it was last so, in which a workload's end is put down to that: an
engine that is stopped ends its containers first, and one that comes back ends those that it left behind."""
_FIRST, _LONGEST, _SHARE = 0.5, 5.0, 0.2
"""Seconds between attempts while it is away: that share of how long it has been so."""


class Presence:
    """What is known of an engine being there."""

    def __init__(self, now: Callable[[], float]) -> None:
        """`now` is the loop's time."""
        self._now = now
        self._since: float | None = None
        self._missed: float | None = None
        self._look = 0.0
        """Loop time from which on somebody may try."""
        self._back = asyncio.Event()

    @property
    def away(self) -> bool:
        """Whether it did not answer when it was last asked for something."""
        return self._since is not None

    @property
    def lately_away(self) -> bool:
        """Whether it is away, or was a short while ago."""
        return self._missed is not None and self._now() - self._missed <= AFTER

    def missed(self) -> None:
        """Learn that it did not answer."""
        self._missed = self._now()
        if self._since is None:
            self._since = self._missed
            self._back.clear()

    def met(self) -> None:
        """Learn that it did as it was told."""
        if self._since is not None:
            self._since, self._missed = None, self._now()
            self._back.set()

    async def until_worth_trying(self) -> None:
        """Wait until it is there again, or it is time that somebody looks: one of those that wait does."""
        await asyncio.sleep(_FIRST)  # it may be there for others, and never for this one
        while self._since is not None:
            if self._now() >= self._look:
                self._look = self._now() + self._pause(self._since)
                return
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._look):
                    await self._back.wait()

    def _pause(self, since: float) -> float:
        return min(_LONGEST, max(_FIRST, _SHARE * (self._now() - since)))
