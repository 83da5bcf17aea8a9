"""Arguments that a tool wants repeated in headers: `x-mcp-header` (MCP 2026-07-28, Streamable HTTP).

Only what a chain of `properties` reaches counts, and only strings, whole numbers and booleans; nothing is
followed by reference.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from msgspec import Raw

from tidegate.domain.errors import ParseFailure
from tidegate.protocol.codec import decode_value

_KEY = "x-mcp-header"
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}")
_TYPES = frozenset({"string", "integer", "boolean"})
_DEEPEST, _MOST = 8, 32
"""Levels that are looked through, and headers that a tool may ask for."""

_LARGEST = 64
"""Bits of a whole number: Python writes out no number of thousands of digits."""


@dataclass(frozen=True, slots=True)
class Mirror:
    """One argument, by its path, and the whole name of its header."""

    header: str
    path: tuple[str, ...]


def read(schema: Raw | None) -> tuple[Mirror, ...]:
    """Give what a tool's input schema asks for; what is not as it must be is left out."""
    if schema is None or _KEY.encode() not in bytes(schema):
        return ()
    try:
        found = decode_value(schema)
    except ParseFailure:
        return ()
    kept: dict[str, Mirror] = {}
    for mirror in _walk(found, ()):
        kept.setdefault(mirror.header.lower(), mirror)
    return tuple(kept.values())[:_MOST]


def values(mirrors: Sequence[Mirror], arguments: Raw) -> dict[str, str]:
    """Give the headers of a call. An argument that is absent, null or of another type has none.

    Raises:
        ParseFailure: the arguments are nested too deep.
    """
    if not mirrors:
        return {}
    whole = decode_value(arguments)
    headers: dict[str, str] = {}
    for mirror in mirrors:
        value = whole
        for key in mirror.path:
            value = cast("dict[str, object]", value).get(key) if isinstance(value, dict) else None
        if isinstance(value, bool):
            headers[mirror.header] = "true" if value else "false"
        elif isinstance(value, str):
            headers[mirror.header] = value
        elif isinstance(value, int) and value.bit_length() <= _LARGEST:
            headers[mirror.header] = str(value)
    return headers


def _walk(schema: object, path: tuple[str, ...]) -> Iterator[Mirror]:
    if len(path) >= _DEEPEST or not isinstance(schema, dict):
        return
    properties = cast("dict[str, object]", schema).get("properties")
    if not isinstance(properties, dict):
        return
    for name, part in cast("dict[str, object]", properties).items():
        if isinstance(part, dict):
            fields = cast("dict[str, object]", part)
            token, kind = fields.get(_KEY), fields.get("type")
            if (
                isinstance(token, str)
                and _TOKEN.fullmatch(token)
                and isinstance(kind, str)
                and kind in _TYPES
            ):
                yield Mirror(f"Mcp-Param-{token}", (*path, name))
            yield from _walk(fields, (*path, name))
