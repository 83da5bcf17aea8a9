"""MCP Apps (`io.modelcontextprotocol/ui`, 2026-01-26): what a tool's `_meta` says of its user interface."""

from __future__ import annotations

from typing import cast

from tidegate.domain.errors import ParseFailure
from tidegate.protocol.codec import Object, decode_object, decode_text, decode_value


def is_shown_by(tool: Object) -> bool:
    """Tell whether a tool has a user interface, or is one's."""
    meta = _part(tool, "_meta")
    return decode_text(meta.get("ui/resourceUri")) is not None or bool(_part(meta, "ui"))


def is_for_apps_only(tool: Object) -> bool:
    """Tell whether a tool is for its server's own user interface, and not for a model."""
    ui = _part(_part(tool, "_meta"), "ui")
    try:
        visibility = decode_value(ui["visibility"]) if "visibility" in ui else None
    except ParseFailure:
        return False
    if not isinstance(visibility, list):
        return False
    return "model" not in cast("list[object]", visibility)


def _part(whole: Object, name: str) -> Object:
    value = whole.get(name)
    if value is None:
        return {}
    try:
        return decode_object(value)
    except ParseFailure:
        return {}
