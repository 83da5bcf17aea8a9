"""Quota: how many calls may be made, or be under way at once, and whose and which calls count together."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

PERIODS = {"s": 1.0, "min": 60.0, "h": 3600.0}
"""Seconds of the periods that are no calendar day."""


class Per(StrEnum):
    """What calls have in common that count together."""

    PRINCIPAL = "principal"
    TENANT = "tenant"
    CLIENT = "client"
    """The OAuth client, or agent; where none is known, the principal stands for it."""
    TOOL = "tool"
    """Each tool by itself. Of what is no tool, all that is of one kind on a server counts together."""
    SERVER = "server"
    ENDPOINT = "endpoint"


@dataclass(frozen=True, slots=True)
class Quota:
    """A bound on calls: a rate or a daily budget (`calls`), or how many are under way (`at_once`)."""

    name: str
    per: tuple[Per, ...] = ()
    """Empty: all calls together."""
    calls: int = 0
    period: str = ""
    """`s`, `min`, `h`, or `day` for the calendar day of `zone`."""
    burst: int = 0
    """Of a rate: how many may come at once after a pause."""
    zone: str = "UTC"
    at_once: int = 0
    closed: bool = True
    """Of a daily budget: whether calls are refused while it cannot be kept count of."""
    roles: frozenset[str] = frozenset()
    """Whose calls count, by roles; empty: everybody's. So are all that follow; patterns are shell-style."""
    tenants: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()
    servers: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    """Patterns on `server__tool`. With any, nothing but tools counts."""

    @property
    def daily(self) -> bool:
        """Whether it is a budget of calendar days."""
        return self.period == "day"

    @property
    def rate(self) -> float:
        """Give the calls a second, of a rate."""
        return self.calls / PERIODS[self.period]

    @property
    def words(self) -> str:
        """Say how much it is."""
        if self.at_once:
            return f"{self.at_once} at once"
        burst = "" if self.daily or self.burst == self.calls else f", burst {self.burst}"
        zone = f" ({self.zone})" if self.daily else ""
        return f"{self.calls}/{self.period}{burst}{zone}"
