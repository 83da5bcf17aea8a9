"""Types of arguments: what of a tool's JSON Schema can be said in Cedar's types.

Cedar has no null, no fractions but decimals of four digits, no lists with an order, no objects whose keys are not
known, no choice between types. What cannot be said is left out, with the reason: no policy can then read it and be
valid. Follows references within the schema only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

DEEPEST = 16
LARGEST = 2000
"""Parts of one schema that are looked at."""

Kind = Literal["String", "Long", "Boolean", "decimal", "Set", "Record"]
_ANY = "any"
_SIMPLE: Mapping[str, Kind] = {
    "string": "String",
    "integer": "Long",
    "boolean": "Boolean",
    "number": "decimal",
}


@dataclass(frozen=True, slots=True)
class Type:
    """What Cedar takes a value to be."""

    kind: Kind
    of: Type | None = None
    """Of the elements of a set."""
    members: Mapping[str, Member] = field(default_factory=dict[str, "Member"])
    """Of a record."""

    def tree(self) -> Mapping[str, object]:
        """Give it as a Cedar schema in JSON form has it."""
        if self.kind == "decimal":
            return {"type": "Extension", "name": "decimal"}
        if self.of is not None:
            return {"type": "Set", "element": self.of.tree()}
        if self.kind == "Record":
            return {
                "type": "Record",
                "attributes": {
                    name: {**each.type.tree(), "required": each.required}
                    for name, each in sorted(self.members.items())
                    if each.type is not None
                },
            }
        return {"type": self.kind}


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a record. Without a type, it cannot be said."""

    type: Type | None
    required: bool
    why_not: str = ""


NOTHING = Type("Record")
"""A record of nothing: what is known of no argument."""


class _Inexpressible(Exception):
    pass


def type_of(schema: object) -> Type | str:
    """Give the type of what a JSON Schema describes, or why there is none."""
    reader = _Reader(schema)
    try:
        return reader.read(schema, 0)[0]
    except _Inexpressible as reason:
        return str(reason)


class _Reader:
    def __init__(self, root: object) -> None:
        self._root = root
        self._left = LARGEST

    def read(self, schema: object, depth: int) -> tuple[Type, bool]:
        """Give the type, and whether null is taken as well."""
        self._left -= 1
        if depth > DEEPEST or self._left < 0:
            raise _Inexpressible("its schema is too deep, too large, or holds itself")
        if not isinstance(schema, dict):
            raise _Inexpressible("its schema takes anything")
        given = cast("Mapping[str, object]", schema)
        if "$ref" in given:
            return self.read(self._follow(given["$ref"]), depth + 1)
        for word in ("anyOf", "oneOf", "allOf"):
            if word in given:
                return self._choice(word, given[word], depth)
        kinds = given.get("type", _implied(given))
        names = (
            [str(each) for each in cast("list[object]", kinds)] if isinstance(kinds, list) else [str(kinds)]
        )
        rest = [name for name in names if name != "null"]
        if len(rest) != 1:
            raise _Inexpressible("its schema takes values of several types, or any")
        return self._single(rest[0], given, depth), len(rest) < len(names)

    def _single(self, name: str, given: Mapping[str, object], depth: int) -> Type:
        if name in _SIMPLE:
            return Type(_SIMPLE[name])
        if name == "array":
            inner, nullable = self.read(given.get("items"), depth + 1)
            if nullable or "prefixItems" in given:
                raise _Inexpressible("its elements may be null, or of several types")
            return Type("Set", of=inner)
        if name == "object":
            return self._record(given, depth)
        raise _Inexpressible("its schema takes anything" if name == _ANY else "its type is none of JSON's")

    def _record(self, given: Mapping[str, object], depth: int) -> Type:
        properties = given.get("properties")
        if not isinstance(properties, dict):
            if depth and given.get("additionalProperties") is not False:
                raise _Inexpressible("its schema takes an object with any keys")
            return NOTHING
        required = given.get("required")
        needed = cast("list[object]", required) if isinstance(required, list) else []
        members: dict[str, Member] = {}
        for key, inner in cast("dict[str, object]", properties).items():
            try:
                found, nullable = self.read(inner, depth + 1)
                members[key] = Member(found, key in needed and not nullable)
            except _Inexpressible as reason:
                members[key] = Member(None, False, str(reason))
        return Type("Record", members=members)

    def _choice(self, word: str, choices: object, depth: int) -> tuple[Type, bool]:
        given = cast("list[object]", choices) if isinstance(choices, list) else []
        rest = [each for each in given if each != {"type": "null"}]
        if len(rest) != 1:
            raise _Inexpressible(f"its schema is a choice ({word})")
        found, nullable = self.read(rest[0], depth + 1)
        return found, nullable or (len(rest) < len(given) and word != "allOf")

    def _follow(self, reference: object) -> object:
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise _Inexpressible("its schema refers to another document")
        node = self._root
        for part in reference[1:].split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            node = cast("Mapping[str, object]", node).get(key) if isinstance(node, dict) else None
        if node is None:
            raise _Inexpressible("its schema refers to a part that it does not have")
        return node


def _implied(given: Mapping[str, object]) -> str:
    """Give the type of what is listed value by value."""
    values: Sequence[object] = ()
    if isinstance(given.get("enum"), list):
        values = cast("list[object]", given["enum"])
    elif "const" in given:
        values = [given["const"]]
    if values and all(isinstance(each, str) for each in values):
        return "string"
    if values and all(isinstance(each, int) and not isinstance(each, bool) for each in values):
        return "integer"
    return "object" if "properties" in given else _ANY
