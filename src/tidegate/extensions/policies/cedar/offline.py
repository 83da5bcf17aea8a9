"""Offline: policies and their schema for commands, without a gateway."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tidegate.domain.target import Target
from tidegate.extensions.policies.cedar import check as checks
from tidegate.extensions.policies.cedar.engine import Tree
from tidegate.extensions.policies.cedar.files import Files
from tidegate.extensions.policies.cedar.known import Known
from tidegate.extensions.policies.cedar.schema import AttributeType, schema
from tidegate.extensions.policies.cedar.types import Type
from tidegate.extensions.policies.cedar.words import target_id
from tidegate.ports.facts import Facts


def check(
    paths: Sequence[Path], attributes: Mapping[str, AttributeType], facts: Mapping[Target, Facts]
) -> tuple[Sequence[str], Sequence[str]]:
    """Check files, and give the names of the policies in them, and notes.

    Raises:
        SettingsError: one line for each mistake.
    """
    found = checks.check(Files(paths).read(), attributes, Known(facts))
    return [each.name for each in found.written], found.notes


def schema_of(
    attributes: Mapping[str, AttributeType], facts: Mapping[Target, Facts]
) -> tuple[Tree, Sequence[str]]:
    """Give the schema in JSON form, and what it has to leave out."""
    known = Known(facts)
    calls: dict[str, Type] = {}
    notes: list[str] = []
    for target in known.tools():
        found, name = known.type(target), target_id(target)
        if not isinstance(found, Type):
            notes.append(f"{name}: {found}")
            found = Type("Record")
        notes += [
            f"{name}: {argument} is left out: {each.why_not}"
            for argument, each in found.members.items()
            if each.type is None
        ]
        calls[name] = found
    return schema(attributes, calls, known.prompt_arguments()), notes
