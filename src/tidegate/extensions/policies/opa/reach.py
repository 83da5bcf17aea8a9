"""Reach: which of OPA's policies a document is made of, and which data they read; found in their trees.

A tree is read as JSON of any shape: references are looked for wherever they stand, so that one too many is followed
rather than one too few. Asks nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

Name = tuple[str, ...]
"""Of something in OPA's data, without `data`."""
_OUTSIDE = frozenset({
    ("http", "send"), ("time", "now_ns"), ("rand", "intn"), ("net", "lookup_ip_addr"), ("uuid", "rfc4122"),
    ("opa", "runtime"),
})  # fmt: skip
"""Built-in functions whose values change though no policy and no data does."""


@dataclass(slots=True)
class Reached:
    """What a document is made of."""

    modules: set[int] = field(default_factory=set[int])
    data: set[Name] = field(default_factory=set[Name])
    """Documents that are no policy's."""
    computed: bool = False
    """Whether something in `data` is read by a name that is computed from its root on."""
    outside: set[str] = field(default_factory=set[str])
    """Functions that read the time, the network and the like."""
    arguments: bool = False
    """Whether `input.arguments` is read."""
    rules: set[str] = field(default_factory=set[str])
    """Names of the rules of the packages that the documents themselves are."""


@dataclass(slots=True)
class _Module:
    package: Name
    rules: frozenset[str]
    references: Sequence[Sequence[object]]
    """Each a variable's name, then keys, with None for what is computed."""


def reach(trees: Sequence[object], roots: Sequence[Name]) -> Reached:
    """Find what documents are made of. `trees` are OPA's own, as its API gives them."""
    modules = [_module(tree) for tree in trees]
    found = Reached()
    open_, seen = list(roots), set(roots)
    while open_:
        name = open_.pop()
        for number in _holding(modules, name, found.data):
            if number in found.modules:
                continue
            found.modules.add(number)
            if modules[number].package in roots:
                found.rules |= modules[number].rules
            for each in _read(modules[number], found):
                if each not in seen:
                    seen.add(each)
                    open_.append(each)
    found.data -= set(roots)
    return found


def name_of(path: str) -> Name:
    """Give the name that a path with slashes is."""
    return tuple(path.split("/"))


def _holding(modules: Sequence[_Module], name: Name, data: set[Name]) -> Sequence[int]:
    """Give the modules that a name may be of; where it may be of none alone, it is data."""
    holding: list[int] = []
    made = False
    for number, module in enumerate(modules):
        length = len(module.package)
        within, above = name[:length] == module.package, module.package[: len(name)] == name
        if within or above:
            holding.append(number)
            made = made or above or name[length] in module.rules
    if not made:
        data.add(name)
    return holding


def _read(module: _Module, found: Reached) -> Iterator[Name]:
    """Give what a module reads of `data`, and note what else it reads."""
    for head, *keys in module.references:
        if head == "data":
            name: list[str] = []
            for key in keys:
                if not isinstance(key, str):
                    break
                name.append(key)
            if name:
                yield tuple(name)
            else:
                found.computed = True
        elif head == "input":
            found.arguments = found.arguments or (bool(keys) and keys[0] in ("arguments", None))
        elif keys and (head, keys[0]) in _OUTSIDE:
            found.outside.add(f"{head}.{keys[0]}")


def _module(tree: object) -> _Module:
    given = _mapping(tree)
    package = _mapping(given.get("package"))
    named = [each for each in _keys(package.get("path")) if isinstance(each, str)][1:]
    rules: set[str] = set()
    for rule in _list(given.get("rules")):
        head = _mapping(_mapping(rule).get("head"))
        reference = _keys(head.get("ref"))
        first = reference[0] if reference else head.get("name")
        if isinstance(first, str):
            rules.add(first)
    rest = {key: value for key, value in given.items() if key != "package"}
    return _Module(tuple(named), frozenset(rules), list(_references(rest)))


def _references(tree: object) -> Iterator[Sequence[object]]:
    """Find references wherever they stand, and names of variables by themselves."""
    open_: list[object] = [tree]
    while open_:
        each = open_.pop()
        if isinstance(each, list):
            open_ += cast("list[object]", each)
            continue
        node = _mapping(each)
        if node.get("type") == "ref":
            terms = _list(node.get("value"))
            yield _keys(terms)
            open_ += terms[1:]
            continue
        if node.get("type") == "var" and node.get("value") == "data":
            yield ("data",)
        open_ += node.values()


def _mapping(value: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", value) if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def _keys(terms: object) -> list[object]:
    """Give the names and keys of a reference, with None for what is computed."""
    keys: list[object] = []
    for number, term in enumerate(_list(terms)):
        node = _mapping(term)
        known = node.get("type") == "string" or (number == 0 and node.get("type") == "var")
        keys.append(node.get("value") if known else None)
    return keys
