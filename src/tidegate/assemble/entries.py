"""Entries: what the entries of a list in the settings are opened as, and kept open over reloads that leave them alone.

Others are opened beside those in force, put in their place in one step, and closed where they are not taken. What they
are is not known here.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

_Entry = TypeVar("_Entry")
_It = TypeVar("_It")


@dataclass(frozen=True, slots=True, eq=False)
class Opened(Generic[_Entry, _It]):
    """One entry of the settings, and what it is opened as."""

    entry: _Entry
    it: _It
    close: Callable[[], Coroutine[None, None, None]]


class Entries(Generic[_Entry, _It]):
    """Those in force, in their order."""

    def __init__(self, opening: Callable[[_Entry], AbstractAsyncContextManager[_It]]) -> None:
        """`opening` opens what an entry stands for, and closes it at its end."""
        self.in_force: Sequence[Opened[_Entry, _It]] = ()
        self._opening = opening
        self._left: list[Opened[_Entry, _It]] = []

    async def prepare(
        self, entries: Sequence[_Entry], again: Callable[[_It], Coroutine[None, None, None]] | None = None
    ) -> Sequence[Opened[_Entry, _It]]:
        """Open what is not open yet, and have `again` look at what is; nothing comes in force.

        Raises what opening raises, and what `again` does; all is closed then that was opened.
        """
        made: list[Opened[_Entry, _It]] = []
        try:
            for entry in entries:
                one = next((each for each in self.in_force if each.entry == entry and each not in made), None)
                made.append(await self._open(entry) if one is None else one)
                if one is not None and again is not None:
                    await again(one.it)
        except BaseException:
            await self._forget(made)
            raise
        return made

    @asynccontextmanager
    async def prepared(
        self, entries: Sequence[_Entry], again: Callable[[_It], Coroutine[None, None, None]] | None = None
    ) -> AsyncGenerator[Sequence[Opened[_Entry, _It]]]:
        """Prepare entries, and at the end close whatever is not in force then."""
        found = await self.prepare(entries, again)
        try:
            yield found
        finally:
            await self._forget(found)
            await self._close_left()

    def adopt(self, prepared: Sequence[Opened[_Entry, _It]]) -> None:
        """Put them in force, in one step; at the end of `prepared` those that were are closed."""
        self._left += [each for each in self.in_force if each not in prepared]
        self.in_force = prepared

    async def close(self) -> None:
        """Close all."""
        self.adopt(())
        await self._close_left()

    async def _open(self, entry: _Entry) -> Opened[_Entry, _It]:
        async with AsyncExitStack() as stack:
            it = await stack.enter_async_context(self._opening(entry))
            return Opened(entry, it, stack.pop_all().aclose)

    async def _forget(self, prepared: Sequence[Opened[_Entry, _It]]) -> None:
        for each in prepared:
            if each not in self.in_force:
                await each.close()

    async def _close_left(self) -> None:
        left, self._left = self._left, []
        for each in left:
            await each.close()
