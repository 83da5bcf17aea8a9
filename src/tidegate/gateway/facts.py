"""Facts: what the definitions of servers say to policies. Reads definitions, and believes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import cast

from msgspec import Raw

from tidegate.domain.errors import ParseFailure
from tidegate.domain.target import Kind, Target
from tidegate.gateway.definitions import Definition, Definitions
from tidegate.ports.facts import Facts
from tidegate.protocol.codec import Object, decode_object, decode_value, encode

LARGEST = 1024 * 1024
"""Bytes of one schema."""
_HINTS = {
    "readOnlyHint": "read_only",
    "destructiveHint": "destructive",
    "idempotentHint": "idempotent",
    "openWorldHint": "open_world",
}


def facts_of(server: str, definitions: Definitions) -> Mapping[Target, Facts]:
    """Give what a server says of its tools and prompts.

    Where it says one thing to some and another to others, the more careful one holds, and no schema.
    """
    found: dict[Target, Facts] = {}
    for kind, definition in _all(definitions):
        target = Target(server, kind, definition.name)
        facts = _tool(definition.fields) if kind is Kind.TOOL else _prompt(definition.fields)
        before = found.get(target)
        found[target] = facts if before is None else _careful(before, facts)
    return found


def _all(definitions: Definitions) -> Iterator[tuple[Kind, Definition]]:
    for kind in (Kind.TOOL, Kind.PROMPT):
        for definition in definitions.of(kind):
            yield kind, definition
        for offered in definitions.offers.values():
            if kind in offered:
                for definition in offered[kind].more:
                    yield kind, definition


def _tool(fields: Object) -> Facts:
    schema = bytes(fields.get("inputSchema", b""))
    hints = {name: value for name, value in _members(fields.get("annotations")).items() if name in _HINTS}
    said = {_HINTS[name]: bytes(value) == b"true" for name, value in hints.items() if _is_flag(value)}
    return Facts(**said, schema=schema if len(schema) <= LARGEST else b"")


def _prompt(fields: Object) -> Facts:
    """All arguments of prompts are texts (2025-11-25, `GetPromptRequestParams`)."""
    try:
        listed: object = decode_value(fields.get("arguments", Raw(b"[]")))
    except ParseFailure:
        listed = ()
    every = cast("list[object]", listed) if isinstance(listed, list) else []
    named = [cast("dict[str, object]", each).get("name") for each in every if isinstance(each, dict)]
    properties = {name: {"type": "string"} for name in named if isinstance(name, str)}
    return Facts(schema=encode({"type": "object", "properties": properties}))


def _careful(one: Facts, other: Facts) -> Facts:
    return replace(
        one,
        read_only=one.read_only and other.read_only,
        destructive=one.destructive or other.destructive,
        idempotent=one.idempotent and other.idempotent,
        open_world=one.open_world or other.open_world,
        schema=one.schema if one.schema == other.schema else b"",
    )


def _members(value: Raw | None) -> Object:
    try:
        return {} if value is None else decode_object(value)
    except ParseFailure:
        return {}


def _is_flag(value: Raw) -> bool:
    return bytes(value) in (b"true", b"false")
