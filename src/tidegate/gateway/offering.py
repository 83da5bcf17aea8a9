"""What an endpoint's servers can do, merged into the capabilities that its clients are told.

Never more than some server that the client may reach can do; the gateway adds only what it does itself:
it tells of changes of every list.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from msgspec import Raw

from tidegate.domain.errors import ParseFailure
from tidegate.gateway.definitions import Definitions
from tidegate.protocol.codec import Object, decode_object

TASKS_EXTENSION = "io.modelcontextprotocol/tasks"
_MOST = 32
"""Extensions that are told of."""
_LONGEST = 256
"""Characters of an extension's name."""
_LARGEST = 16 * 1024
"""Bytes of what an extension says of itself."""
Reached = Sequence[tuple[Definitions, Collection[str]]]
"""What is known of each server that can be reached, and which capabilities the rules leave of it."""


def merge(servers: Reached, *, unknown: bool, modern: bool) -> dict[str, object]:
    """Merge what servers declared. `unknown`: whether there is one more of which nothing is known yet.

    That one may have tools: a client that is told of none would never ask for them.
    """
    merged: dict[str, object] = {}
    for name in ("tools", "prompts", "resources"):
        if (unknown and name == "tools") or any(name in reached for _, reached in servers):
            merged[name] = {"listChanged": True}
    if any("resources" in reached and found.has("resources", "subscribe") for found, reached in servers):
        merged["resources"] = {"listChanged": True, "subscribe": True}
    for name in ("completions", "logging"):
        if any(name in found.capabilities for found, _ in servers):
            merged[name] = {}
    extensions = extensions_of([found for found, _ in servers])
    if not modern:
        extensions.pop(TASKS_EXTENSION, None)  # it needs what only modern requests carry
        merged |= _tasks([found for found, _ in servers])
    if extensions:
        merged["extensions"] = extensions
    return merged


def extensions_of(servers: Sequence[Definitions]) -> dict[str, Raw]:
    """Give the extensions that servers declared; what the first says of one stands."""
    merged: dict[str, Raw] = {}
    for found in servers:
        for name, value in found.part("extensions").items():
            if len(merged) < _MOST and len(name) <= _LONGEST and len(value) <= _LARGEST and _is_object(value):
                merged.setdefault(name, value)
    return merged


def _tasks(servers: Sequence[Definitions]) -> Mapping[str, object]:
    """Give the tasks of 2025-11-25, where a server has them for tools. The gateway lists them itself, each to its own."""
    having = [part for found in servers if not found.modern and _for_tools(part := found.part("tasks"))]
    if not having:
        return {}
    tasks: dict[str, object] = {"list": {}, "requests": {"tools": {"call": {}}}}
    if any("cancel" in part for part in having):
        tasks["cancel"] = {}
    return {"tasks": tasks}


def _for_tools(tasks: Object) -> bool:
    return "call" in _part(_part(tasks, "requests"), "tools")


def _part(whole: Object, name: str) -> Object:
    value = whole.get(name)
    try:
        return {} if value is None else decode_object(value)
    except ParseFailure:
        return {}


def _is_object(value: Raw) -> bool:
    try:
        decode_object(value)
    except ParseFailure:
        return False
    return True
