"""Values: the arguments of a call, said to Cedar; what cannot be said exactly is refused, and never rounded.

Only what policies read is converted. Null counts as absent. Where the tool's type is known, a value has to be of it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import cast

from tidegate.extensions.policies.cedar.tree import ArgumentPath
from tidegate.extensions.policies.cedar.types import Type
from tidegate.extensions.policies.spelling import otherwise_spelled

DEEPEST = 32
LARGEST = 10_000
"""Values of one call."""
LONGEST = 65_536
"""Characters of one call, keys included."""
_LEAST, _MOST = -(2**63), 2**63 - 1
_EXACT = 2**53
"""From here on, not every whole number is a float, and a float may stand for another number than was sent."""
_DIGITS = 4
_TAKEN = frozenset({"__entity", "__extn", "__expr"})
"""Keys by which Cedar's JSON says something else than a record (https://docs.cedarpolicy.com/auth/entities-syntax.html)."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_WORDS = {"String": "text", "Long": "a whole number", "Boolean": "true or false", "decimal": "a number"}


class Unsayable(Exception):
    """A value cannot be said to Cedar; the text says which and why, and never the value."""


class Sayer:
    """Says the arguments of one call, within bounds."""

    def __init__(self) -> None:
        self._values = LARGEST
        self._characters = LONGEST

    def arguments(self, sent: object, read: Branches, type: Type | None) -> Mapping[str, object]:
        """Give the record of those arguments that are read.

        Raises:
            Unsayable: one of them cannot be said.
        """
        if sent is not None and not isinstance(sent, dict):
            raise Unsayable("the arguments are no object")
        given = cast("dict[str, object]", sent or {})
        _see_spelling(given, read, "arguments")
        said = self._part(given, read, type, "arguments", 0)
        return cast("Mapping[str, object]", said)

    def value(self, given: object, type: Type | None, at: str = "it", depth: int = 0) -> object:
        """Say a value.

        Raises:
            Unsayable: it cannot be said.
        """
        self._count(at, depth)
        if type is not None and not _fits(given, type):
            raise Unsayable(f"{at} is not {_WORDS.get(type.kind, 'what its schema says')}")
        if isinstance(given, bool):
            return given
        if isinstance(given, str):
            return self._text(given, at)
        if isinstance(given, int | float):
            return _number(given, type, at)
        if isinstance(given, list):
            of = None if type is None else type.of
            return [self.value(each, of, at, depth + 1) for each in cast("list[object]", given)]
        if isinstance(given, dict):
            return self._record(cast("dict[str, object]", given), type, at, depth)
        raise Unsayable(f"{at} is or holds null" if given is None else f"{at} is nothing that JSON has")

    def _part(self, given: object, branches: Branches, type: Type | None, at: str, depth: int) -> object:
        if None in branches or not isinstance(given, dict):
            return self.value(given, type, at, depth)
        self._count(at, depth)
        said: dict[str, object] = {}
        held = cast("dict[str, object]", given)
        for key, inner in branches.items():
            value = held.get(cast("str", key))
            if key is None or value is None:
                continue
            name = f"{at}.{key}"
            self._key(key, name)
            said[key] = self._part(value, inner, _member(type, key), name, depth + 1)
        return said

    def _record(self, given: dict[str, object], type: Type | None, at: str, depth: int) -> object:
        said: dict[str, object] = {}
        for key, value in given.items():
            if value is not None:
                self._key(key, at)
                said[key] = self.value(value, _member(type, key), at, depth + 1)
        return said

    def _count(self, at: str, depth: int) -> None:
        self._values -= 1
        if depth > DEEPEST or self._values < 0:
            raise Unsayable(f"{at} is too deep or too large to be judged")

    def _key(self, key: str, at: str) -> None:
        if key in _TAKEN:
            raise Unsayable(f"{at} has a key that Cedar keeps for itself")
        self._text(key, at)

    def _text(self, text: str, at: str) -> str:
        self._characters -= len(text)
        if self._characters < 0:
            raise Unsayable(f"{at} is too long to be judged")
        if _SURROGATE.search(text):
            raise Unsayable(f"{at} is no Unicode text")
        return text


Branches = Mapping[str | None, "Branches"]
"""Keys that are read, each with what is read below it; with None, all of it."""


def branches(paths: Collection[ArgumentPath]) -> Branches:
    """Put paths together."""
    root: dict[str | None, Branches] = {}
    for path in paths:
        node = root
        for key in path:
            node = cast("dict[str | None, Branches]", node.setdefault(key, {}))
        node[None] = {}
    return root


def _see_spelling(given: Mapping[str, object], branches: Branches, at: str) -> None:
    if meant := otherwise_spelled(given, branches):
        raise Unsayable(f"{at} has a name that differs only by case from {meant!r}, which is read")
    for key, further in branches.items():
        inner = None if key is None else given.get(key)
        if isinstance(inner, dict):
            _see_spelling(cast("Mapping[str, object]", inner), further, f"{at}.{key}")


def _member(type: Type | None, key: str) -> Type | None:
    if type is None:
        return None
    member = type.members.get(key)
    return None if member is None else member.type


def _fits(given: object, type: Type) -> bool:
    match type.kind:
        case "String":
            return isinstance(given, str)
        case "Boolean":
            return isinstance(given, bool)
        case "Long":
            if isinstance(given, bool):
                return False
            whole = isinstance(given, float) and given.is_integer() and abs(given) < _EXACT
            return whole or isinstance(given, int)
        case "decimal":
            return isinstance(given, int | float) and not isinstance(given, bool)
        case "Set":
            return isinstance(given, list)
        case "Record":
            return isinstance(given, dict)


def _number(given: float, type: Type | None, at: str) -> object:
    whole = isinstance(given, int) if type is None else type.kind == "Long"
    if whole:
        if not _LEAST <= given <= _MOST:
            raise Unsayable(f"{at} is beyond the whole numbers of 64 bits")
        return int(given)
    if given != given or given in (float("inf"), float("-inf")):
        raise Unsayable(f"{at} is no number")
    return {"__extn": {"fn": "decimal", "arg": _decimal(given, at)}}


def _decimal(given: float, at: str) -> str:
    """Write a number with one to four digits after its point, if it has no more."""
    number = Decimal(given) if isinstance(given, int) else Decimal(repr(given))
    scaled = number.scaleb(_DIGITS)
    if abs(number.adjusted()) > 40 or scaled != scaled.to_integral_value():
        raise Unsayable(f"{at} has more than {_DIGITS} digits after its point, or is too large")
    units = int(scaled)
    if not _LEAST <= units <= _MOST:
        raise Unsayable(f"{at} is too large for a decimal")
    sign = "-" if units < 0 else ""
    return f"{sign}{abs(units) // 10**_DIGITS}.{abs(units) % 10**_DIGITS:0{_DIGITS}d}"
