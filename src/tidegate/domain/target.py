"""Target and Decision: what a call is for, and whether it may."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """What sort of thing a target is."""

    TOOL = "tool"
    PROMPT = "prompt"
    RESOURCE = "resource"
    TEMPLATE = "template"
    """A URI template of resources. What is read by it is a `RESOURCE`."""
    EXTENSION = "extension"
    """A method of an extension that one server has. Never listed; no pattern names it."""


LISTED = (Kind.TOOL, Kind.PROMPT, Kind.RESOURCE, Kind.TEMPLATE)
"""The kinds that servers list."""


class Target(NamedTuple):
    """A catalog entry: server, kind, its own name or URI. Authorisation binds to this, never to a shown name.

    A tuple, since each call looks a decision up by it: its hash needs no Python.
    """

    server: str
    kind: Kind
    name: str


def reaching(server: str) -> Target:
    """Give what stands for knowing of a server at all, where nothing of what it offers is known."""
    return Target(server, Kind.EXTENSION, "")


def is_reaching(target: Target) -> bool:
    """Tell whether a target stands for knowing of a server at all."""
    return target.kind is Kind.EXTENSION and not target.name


@dataclass(frozen=True, slots=True)
class Decision:
    """Allow or deny, with the rule that said so."""

    allowed: bool
    rule: str
    """A word for the record: where the rule stands (`/mcp rules[0]`) or `no rule`."""
    arguments: bool = False
    """Whether it is only for a call with arguments that a policy has still to judge."""
    reads: Mapping[str, str] = field(default_factory=dict[str, str], compare=False)
    """What was read for it, with the values as JSON, for the record and for people."""
    because: str = field(default="", compare=False)
    """What would have allowed it, in a sentence, where that is known."""
