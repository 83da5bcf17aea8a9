"""Spelling: arguments that a policy reads by one name and a server could by another. Judges no value.

Decoders of several languages take `Amount` for `amount`. What a policy allowed would then not be what is done.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import cast

from tidegate.domain.errors import InvalidParams, ParseFailure
from tidegate.protocol.codec import decode_value

MOST = 30_000
"""Names, objects and lists in the arguments of one call that are looked at, in some 30 ms; with more a call is refused."""
LARGEST = 256 * 1024
"""Bytes of a definition that is read: 64 of them are kept, as objects. Of a larger one no names are known."""
_INNER = frozenset({dict, list})
_SCHEMAS = 64
"""Parts of one schema that stand for one value: choices, and what is referred to."""
_CHOICES = ("allOf", "anyOf", "oneOf")
_Json = Mapping[str, object]
_Place = tuple["_Json", "Sequence[_Json]"]
"""An object among the arguments, with the schemas that are about it."""


def check(arguments: object, definition: bytes) -> None:
    """See that no name in arguments differs by case alone from another in its object, or from one that its tool or
    prompt declares there. `definition` is encoded, and empty where none is known.

    Raises:
        InvalidParams: one does; or there are too many to tell.
    """
    root: _Json = _input(definition) if 0 < len(definition) <= LARGEST else {}
    for given, schemas in _objects(arguments, root):
        declared = _declared(schemas)
        folded = {name.casefold() for name in declared}
        for name in given:
            if name not in declared:
                plain = name.casefold()
                if plain in folded:
                    raise InvalidParams(f"argument {name[:40]!r} differs from another one only by case")
                folded.add(plain)


def _objects(arguments: object, root: _Json) -> Iterator[_Place]:
    """Give every object in arguments."""
    left = MOST
    waiting: list[tuple[object, Sequence[_Json]]] = [(arguments, (root,) if root else ())]
    while waiting:
        value, schemas = waiting.pop()
        inner: list[tuple[object, Sequence[_Json]]] = []
        if isinstance(value, dict):
            given = cast("dict[str, object]", value)
            parts = _parts(schemas, root)
            left -= len(given)
            if left >= 0:
                yield given, parts
                inner += ((each, _below(parts, "properties", name)) for name, each in given.items())
        elif isinstance(value, list):
            items = cast("list[object]", value)
            if not _INNER.isdisjoint(map(type, items)):  # nearly always there is nothing to look into
                below = _below(_parts(schemas, root), "items")
                inner += ((each, below) for each in items)
                left -= len(items)
        if left < 0:
            raise InvalidParams(f"the arguments hold more than {MOST} names and lists, too many to be judged")
        waiting += (each for each in inner if type(each[0]) in _INNER)


def _below(parts: Sequence[_Json], keyword: str, name: str | None = None) -> Sequence[_Json]:
    """Give the schemas of what is in a value of these schemas."""
    found: list[_Json] = []
    for part in parts:
        inner = part.get(keyword)
        inner = inner if name is None else _mapping(inner).get(name)
        if isinstance(inner, dict):
            found.append(_mapping(cast("object", inner)))
    return found


def _parts(schemas: Sequence[_Json], root: _Json) -> Sequence[_Json]:
    """Give schemas with all that they choose among and refer to, within the same document."""
    found: list[_Json] = []
    waiting = list(schemas)
    while waiting and len(found) < _SCHEMAS:
        schema = waiting.pop()
        if any(schema is each for each in found):
            continue
        found.append(schema)
        for keyword in _CHOICES:
            waiting += _mappings(schema.get(keyword))
        reference = schema.get("$ref")
        if isinstance(reference, str) and reference.startswith("#/"):
            target = _at(root, reference)
            if target is not None:
                waiting.append(target)
    return found


def _at(root: _Json, reference: str) -> _Json | None:
    """Give what a reference within the document is to (RFC 6901)."""
    value: object = root
    for step in reference[2:].split("/")[:16]:
        name = step.replace("~1", "/").replace("~0", "~")
        value = _mapping(value).get(name)
    return _mapping(cast("object", value)) if isinstance(value, dict) else None


def _declared(schemas: Sequence[_Json]) -> frozenset[str]:
    found: set[str] = set()
    for schema in schemas:
        found |= _mapping(schema.get("properties")).keys()
    return frozenset(found)


def _mapping(value: object) -> _Json:
    return cast("_Json", value) if isinstance(value, dict) else {}


def _mappings(value: object) -> Sequence[_Json]:
    every = cast("list[object]", value) if isinstance(value, list) else []
    return [_mapping(cast("object", each)) for each in every if isinstance(each, dict)]


@lru_cache(maxsize=64)
def _input(definition: bytes) -> _Json:
    """Give the schema of what a tool or prompt takes; an empty one where none can be read."""
    try:
        known = _mapping(decode_value(definition))
    except ParseFailure:
        return {}
    if "inputSchema" in known:
        return _mapping(known["inputSchema"])
    names = [each.get("name") for each in _mappings(known.get("arguments"))]
    return {"properties": dict.fromkeys(name for name in names if isinstance(name, str))}
