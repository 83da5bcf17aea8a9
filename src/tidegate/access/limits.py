"""How many calls may be under way, in all and for one principal. Counts; never waits."""

from __future__ import annotations

from tidegate.domain.errors import Overloaded
from tidegate.domain.principal import Principal


class CallLimits:
    """Counts calls under way. Every `enter` that returns is followed by one `leave`."""

    __slots__ = ("_by_principal", "_each", "_in_all", "in_flight")

    def __init__(self, *, in_all: int, each: int) -> None:
        self._in_all = in_all
        self._each = each
        self._by_principal: dict[str, int] = {}
        self.in_flight = 0

    def change(self, *, in_all: int, each: int) -> None:
        """Have other limits. What is under way beyond them goes on; nothing is added to it."""
        self._in_all = in_all
        self._each = each

    def enter(self, principal: Principal) -> None:
        """Take a place.

        Raises:
            Overloaded: there is none, for this principal or for anyone.
        """
        if self.in_flight >= self._in_all:
            raise Overloaded(f"{self._in_all} calls are under way already, as many as may be")
        key = principal.key
        count = self._by_principal.get(key, 0)
        if count >= self._each:
            raise Overloaded(f"{self._each} of your calls are under way already, as many as may be")
        self._by_principal[key] = count + 1
        self.in_flight += 1

    def leave(self, principal: Principal) -> None:
        """Give a place back."""
        key = principal.key
        count = self._by_principal[key] - 1
        if count:
            self._by_principal[key] = count
        else:
            del self._by_principal[key]
        self.in_flight -= 1

    def of(self, principal: Principal) -> int:
        """Tell how many calls of a principal are under way."""
        return self._by_principal.get(principal.key, 0)
