"""Endpoint: a URL path and the view it gives of servers and what they offer."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Names(StrEnum):
    """How an endpoint names what it shows."""

    PREFIXED = "prefixed"
    """`server__tool`, and URIs as `scheme://server__rest`."""
    PLAIN = "plain"
    """The server's own names and URIs."""


class Effect(StrEnum):
    """What a rule does."""

    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Rule:
    """Allow or deny targets to roles. Empty means any; patterns are shell-style (`*`, `?`).

    A rule without patterns is about everything; one with patterns only about the kinds it has some for.
    Deny overrides; where no rule matches, nothing is allowed.
    """

    effect: Effect
    roles: frozenset[str] = frozenset()
    servers: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    """Patterns on the server's own tool name."""
    prompts: tuple[str, ...] = ()
    """Patterns on the server's own prompt name."""
    resources: tuple[str, ...] = ()
    """Patterns on the server's own URI, or URI template."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What of servers is meant, by shell-style patterns. Empty means any; as in a rule, patterns of names are for
    their kinds only.
    """

    servers: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Scope:
    """What a token has to have been issued for, where tokens have scopes."""

    name: str
    covers: Selection


@dataclass(frozen=True, slots=True)
class EndpointSpec:
    """An endpoint as declared. `servers` is in the order in which collisions are decided."""

    path: str
    servers: tuple[str, ...]
    tools: tuple[str, ...] = ()
    """Patterns on `server__tool`; empty shows every tool."""
    names: Names = Names.PREFIXED
    rules: tuple[Rule, ...] = (Rule(Effect.ALLOW, frozenset({"user", "admin"})),)
    prompts: tuple[str, ...] = ()
    """Patterns on `server__prompt`; empty shows every prompt."""
    resources: tuple[str, ...] = ()
    """Patterns on `server__uri`; empty shows every resource and template."""
    scopes: tuple[Scope, ...] = ()
    """In the order in which one is asked for where several would do."""
