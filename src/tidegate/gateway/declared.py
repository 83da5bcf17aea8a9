"""What a legacy client declared at `initialize`, cut to what fits into its session id. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import msgspec
from msgspec import Raw

from tidegate.domain.errors import ParseFailure
from tidegate.protocol import capabilities
from tidegate.protocol.capabilities import UI_EXTENSION, UI_TYPE, Offer
from tidegate.protocol.codec import Object, decode_object

LONGEST = 320
"""Bytes of client capabilities that are sealed in. All that is known of them fits, and names beside."""
_PARTS = {"elicitation": ("form", "url"), "sampling": ("tools", "context"), "roots": ("listChanged",)}
"""What is known below a capability: it stays where names are cut."""

_NOTHING: dict[str, object] = {}
_VALUES: dict[str, object] = {"listChanged": True}
_READ = frozenset({*_PARTS, "extensions"})


@dataclass(frozen=True, slots=True)
class Declared:
    """A client's capabilities, decoded one level, and what they offer servers. Shared by sessions; never changed."""

    capabilities: Object
    offer: Offer


@lru_cache(maxsize=256)
def read_declared(encoded: bytes) -> Declared:
    """Read capabilities; what is no object declares nothing. Those of one client program are read once."""
    try:
        found = decode_object(encoded)
    except ParseFailure:
        found = {}
    return Declared(found, capabilities.read(found))


def shorten(encoded: bytes) -> bytes:
    """Cut client capabilities down to `LONGEST`.

    What they offer servers stays; of the rest the names of the first level, and of extensions, as they fit.
    """
    if len(encoded) <= LONGEST:
        return encoded
    found = decode_object(encoded)
    kept = dict(_known(found))
    for name in found:
        if name not in _READ and _fits({**kept, name: {}}):  # what is read and no object declares nothing
            kept[name] = {}
    extensions = _object(found.get("extensions"))
    if extensions is not None and "extensions" in kept:
        inner = _shown_apps(extensions)
        for name in extensions:
            if _fits({**kept, "extensions": {**inner, name: inner.get(name, {})}}):
                inner.setdefault(name, {})
        kept["extensions"] = inner
    return msgspec.json.encode(kept)


def _known(found: Object) -> Iterator[tuple[str, object]]:
    for name, parts in _PARTS.items():
        declared = _object(found.get(name))
        if declared is not None:
            yield name, {part: _VALUES.get(part, _NOTHING) for part in parts if part in declared}
    extensions = _object(found.get("extensions"))
    if extensions is not None:
        yield "extensions", _shown_apps(extensions)


def _shown_apps(extensions: Object) -> dict[str, object]:
    shown = UI_TYPE.encode() in bytes(extensions.get(UI_EXTENSION, b""))
    return {UI_EXTENSION: {"mimeTypes": [UI_TYPE]}} if shown else {}


def _object(value: Raw | None) -> Object | None:
    if value is None:
        return None
    try:
        return decode_object(value)
    except ParseFailure:
        return None


def _fits(names: dict[str, object]) -> bool:
    return len(msgspec.json.encode(names)) <= LONGEST
