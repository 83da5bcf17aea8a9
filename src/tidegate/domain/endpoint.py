"""Endpoint: a URL path and the view it gives of servers and tools."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Names(StrEnum):
    """How an endpoint names what it shows."""

    PREFIXED = "prefixed"
    """`server__tool`."""
    PLAIN = "plain"
    """The server's own names."""


class Effect(StrEnum):
    """What a rule does."""

    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Rule:
    """Allow or deny targets to roles. Empty means any; patterns are shell-style (`*`, `?`).

    Deny overrides; where no rule matches, nothing is allowed.
    """

    effect: Effect
    roles: frozenset[str] = frozenset()
    servers: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    """Patterns on the server's own tool name."""


@dataclass(frozen=True, slots=True)
class EndpointSpec:
    """An endpoint as declared. `servers` is in the order in which collisions are decided."""

    path: str
    servers: tuple[str, ...]
    tools: tuple[str, ...] = ()
    """Patterns on `server__tool`; empty shows every tool."""
    names: Names = Names.PREFIXED
    rules: tuple[Rule, ...] = (Rule(Effect.ALLOW, frozenset({"user", "admin"})),)
