"""Target and Decision: what a call is for, and whether it may."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What sort of thing a target is."""

    TOOL = "tool"
    PROMPT = "prompt"
    RESOURCE = "resource"
    TEMPLATE = "template"


@dataclass(frozen=True, slots=True)
class Target:
    """A catalog entry: server, kind, its own name. Authorisation binds to this, never to a shown name."""

    server: str
    kind: Kind
    name: str


@dataclass(frozen=True, slots=True)
class Decision:
    """Allow or deny, with the rule that said so."""

    allowed: bool
    rule: str
    """A word for the record: where the rule stands (`/mcp rules[0]`) or `no rule`."""
