"""The streams nobody reads now, kept for clients that come back: bounded in all and for each principal.

Where there are too many, a principal's own go before anybody else's, and first what was written whole. What is
removed, and how, is not decided here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from tidegate.gateway.stream import Stream

IN_ALL, OF_ONE = 10_000, 1_000
"""Streams that are kept: in all, and of one principal."""
BROKEN, DONE = 300.0, 60.0
"""Seconds a stream is kept whose connection was lost, and one whose last message was written."""


@dataclass(slots=True)
class _Own:
    """What is kept for one principal, the oldest first."""

    broken: OrderedDict[int, Stream] = field(default_factory=OrderedDict[int, Stream])
    done: OrderedDict[int, Stream] = field(default_factory=OrderedDict[int, Stream])

    def __len__(self) -> int:
        return len(self.broken) + len(self.done)

    def first(self) -> Stream:
        return next(iter((self.done or self.broken).values()))


class Resting:
    """Knows which streams rest, and which of them goes first."""

    def __init__(self) -> None:
        self._own: dict[str, _Own] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, stream: Stream, *, done: bool) -> None:
        """Have a stream rest. `done`: its last message was written."""
        self.discard(stream)
        own = self._own.setdefault(stream.key, _Own())
        (own.done if done else own.broken)[stream.number] = stream
        self._count += 1

    def discard(self, stream: Stream) -> None:
        """Have it rest no more, where it did."""
        own = self._own.get(stream.key)
        if own is None:
            return
        if own.done.pop(stream.number, None) or own.broken.pop(stream.number, None):
            self._count -= 1
            if not own:
                del self._own[stream.key]

    def first_of(self, principal: str) -> Stream | None:
        """Give the stream of a principal that goes first."""
        own = self._own.get(principal)
        return None if own is None else own.first()

    def surplus(self, principal: str) -> Stream | None:
        """Give the stream that has to go, now that this principal has one more; None where there is room."""
        own = self._own.get(principal)
        if own is not None and len(own) > OF_ONE:
            return own.first()
        if self._count > IN_ALL:
            return max(self._own.values(), key=len).first()
        return None

    def outlived(self, now: float) -> Iterator[Stream]:
        """Give those that were kept long enough; they may be removed meanwhile."""
        for own in list(self._own.values()):
            for kept, age in ((own.broken, BROKEN), (own.done, DONE)):
                for stream in list(kept.values()):
                    if now - stream.quiet_since < age:
                        break
                    yield stream
