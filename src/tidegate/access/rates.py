"""Rates: what was used of a rate or of so many calls at once, in buckets of a bounded number. Pure; the time is given.

A bucket fills by one with each call and leaks at the rate; a call for which there is no room has to wait. So in any
time no more calls get through than the rate gives in it, and the burst on top.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Generic, Protocol, TypeVar

MOST = 65_536
"""Keys that one quota keeps buckets for."""
_LOOKED_AT, _DROPPED = 4096, 64
"""Buckets that are looked at when there are too many, and how many go where all of these are in use."""
_ROUNDING = 1e-9
"""Of a call: whoever comes again just when told must not find that a float says otherwise."""


class Use(Protocol):
    """What one key has used of one quota."""

    of: str
    """Whose or what it is, for people."""

    def wait(self, now: float) -> float:
        """Give the seconds until there may be room for one more call; 0 where there is."""
        ...

    def take(self, now: float) -> None:
        """Count one call, which has to have room."""
        ...

    def used(self, now: float) -> float:
        """Give how much is used."""
        ...

    def idle(self, now: float) -> bool:
        """Tell whether nothing would be lost if this were forgotten."""
        ...


class Rate:
    """A rate. Changed in place, so that buckets follow with what they hold."""

    __slots__ = ("burst", "per_second")

    def __init__(self, per_second: float, burst: int) -> None:
        self.per_second = per_second
        self.burst = burst


class Bucket:
    """What one key has used of a rate."""

    __slots__ = ("_at", "_level", "_rate", "of")

    def __init__(self, rate: Rate, of: str = "") -> None:
        self.of = of
        self._rate = rate
        self._level = 0.0
        """Calls in it, at that time."""
        self._at = 0.0

    def wait(self, now: float) -> float:
        """Give the seconds until there is room for one more call; 0 where there is."""
        rate = self._rate
        over = self._level - (now - self._at) * rate.per_second + 1.0 - rate.burst
        return 0.0 if over <= _ROUNDING else over / rate.per_second

    def take(self, now: float) -> None:
        """Count one call."""
        level = self._level - (now - self._at) * self._rate.per_second
        self._level = level + 1.0 if level > 0.0 else 1.0
        self._at = now

    def used(self, now: float) -> float:
        """Give the calls in it now."""
        return max(0.0, self._level - (now - self._at) * self._rate.per_second)

    def idle(self, now: float) -> bool:
        """Tell whether it is as full of room as a new one."""
        return self.used(now) == 0.0


class Bound:
    """How many calls may be under way. Changed in place."""

    __slots__ = ("most",)

    def __init__(self, most: int) -> None:
        self.most = most


class AtOnce:
    """The calls of one key that are under way."""

    __slots__ = ("_bound", "count", "of")

    def __init__(self, bound: Bound, of: str = "") -> None:
        self.of = of
        self.count = 0
        self._bound = bound

    def wait(self, now: float) -> float:
        """Give a second where there is no room: when one ends is not known."""
        return 0.0 if self.count < self._bound.most else 1.0

    def take(self, now: float) -> None:
        """Count one call; `leave` follows."""
        self.count += 1

    def leave(self) -> None:
        """Count one less."""
        self.count -= 1

    def used(self, now: float) -> float:
        """Give how many are under way."""
        return self.count

    def idle(self, now: float) -> bool:
        """Tell whether none is."""
        return not self.count


U = TypeVar("U", bound=Use)


class Table(Generic[U]):
    """The uses of one quota by their keys: at most so many. The oldest that holds nothing goes first."""

    def __init__(self, make: Callable[[str], U], *, most: int = MOST) -> None:
        self._make = make
        self._most = most
        self.uses: dict[str, U] = {}
        """In the order in which they came."""
        self.dropped = 0
        """How many have gone: whoever holds one has to look again when this changes."""

    def find(self, key: str, of: str, now: float) -> U:
        """Give what a key uses, from nothing where it is new."""
        found = self.uses.get(key)
        if found is None:
            if len(self.uses) >= self._most:
                self._make_room(now)
            found = self.uses[key] = self._make(of)
        return found

    def _make_room(self, now: float) -> None:
        oldest = list(islice(self.uses.items(), _LOOKED_AT))
        gone = [key for key, use in oldest if use.idle(now)]
        for key in gone or [key for key, _ in oldest[:_DROPPED]]:
            del self.uses[key]
            self.dropped += 1
