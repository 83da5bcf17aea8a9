"""Known: what servers say of their tools and prompts, as far as policies can read it.

Schemas are read once a policy needs them, since catalogs are large and few policies read arguments.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from tidegate.domain.target import Kind, Target
from tidegate.extensions.policies.cedar.types import Type, type_of
from tidegate.ports.facts import UNKNOWN, Facts


class Known:
    """The facts of one moment. Never changes."""

    def __init__(self, facts: Mapping[Target, Facts]) -> None:
        self.facts = dict(facts)
        self._types: dict[Target, Type | str] = {}

    def of(self, target: Target) -> Facts:
        """Give the facts of a target; the careful ones where nothing is known."""
        return self.facts.get(target, UNKNOWN)

    def type(self, target: Target) -> Type | str | None:
        """Give the type of a tool's arguments, why it has none, or None where nothing is known of it."""
        facts = self.facts.get(target)
        if facts is None or target.kind is not Kind.TOOL:
            return None
        found = self._types.get(target)
        if found is None:
            found = self._types[target] = _read(facts.schema)
        return found

    def tools(self) -> Iterator[Target]:
        """Give all tools of which something is known."""
        return (target for target in self.facts if target.kind is Kind.TOOL)

    def prompt_arguments(self) -> Sequence[str]:
        """Give the names of all arguments of prompts."""
        names: set[str] = set()
        for target, facts in self.facts.items():
            if target.kind is Kind.PROMPT:
                found = _read(facts.schema)
                names.update(() if isinstance(found, str) else found.members)
        return sorted(names)


def _read(schema: bytes) -> Type | str:
    try:
        return type_of(json.loads(schema)) if schema else "it has no schema"
    except (ValueError, RecursionError):
        return "its schema is no JSON"


def arguments_type(found: Type | str | None) -> Type | None:
    """Give what is known of the types of arguments, for their conversion."""
    return found if isinstance(found, Type) else None
