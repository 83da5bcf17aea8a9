"""Asked: what OPA is told of who asks and of what for. Of arguments only what a policy says that it reads."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import cast

from tidegate.domain.principal import Principal
from tidegate.domain.target import Kind, Target, is_reaching
from tidegate.extensions.policies.spelling import otherwise_spelled
from tidegate.ports.facts import Facts

VOUCHED = ("subject", "client", "roles", "groups")
"""What every principal has beside its tenant, and settings may name."""
ALL = "*"
"""Stands for every argument."""
Claims = Mapping[str, bool]
Document = Mapping[str, object]
_METHOD, _SERVER = "method", "server"
_LONGEST = 200

Path = tuple[str, ...]
"""Keys that lead to an argument."""


def who(principal: Principal, told: Collection[str] | None) -> Document:
    """Say who asks: its tenant, and of the rest what is `told`. None: all of it."""
    found: dict[str, object] = {"tenant": principal.tenant}
    if told is None or "subject" in told:
        found |= {"issuer": principal.issuer, "subject": principal.subject}
    if told is None or "client" in told:
        found["client"] = principal.client
    if told is None or "roles" in told:
        found["roles"] = sorted(principal.roles)
    if told is None or "groups" in told:
        found["groups"] = sorted(principal.groups)
    found["attributes"] = {
        name: value for name, value in sorted(principal.attributes.items()) if told is None or name in told
    }
    return found


def what(target: Target, claims: Claims | None) -> Document:
    """Say what is asked for, with what its server claims of a tool."""
    kind = str(target.kind)
    if target.kind is Kind.EXTENSION:
        kind = _SERVER if is_reaching(target) else _METHOD
    found: dict[str, object] = {"kind": kind, "server": target.server, "name": target.name}
    if target.kind is Kind.TOOL:
        found |= claims_of(Facts()) if claims is None else claims
    return found


def claims_of(facts: Facts) -> Claims:
    """Give what a server claims of a tool, as policies read it."""
    return {
        "readOnly": facts.read_only,
        "destructive": facts.destructive and not facts.read_only,
        "idempotent": facts.idempotent,
        "openWorld": facts.open_world,
    }


def part(arguments: object, paths: Sequence[Path]) -> object:
    """Give only what is at some paths of arguments. What is not there is left out."""
    if not isinstance(arguments, dict) or (ALL,) in paths:
        return cast("object", arguments)
    found: dict[str, object] = {}
    given = cast("Mapping[str, object]", arguments)
    for path in paths:
        _take(given, path, found)
    return found


def misspelled(arguments: object, paths: Sequence[Path]) -> str | None:
    """Give a name on a path of which arguments have one that differs by case alone; None where they have none."""
    if not isinstance(arguments, dict):
        return None
    given = cast("Mapping[str, object]", arguments)
    below: dict[str, list[Path]] = {}
    for first, *rest in paths:
        below.setdefault(first, []).append(tuple(rest))
    found = otherwise_spelled(given, below)
    for key, rest in below.items():
        further = [path for path in rest if path]
        found = found or (misspelled(given.get(key), further) if further else None)
    return found


def record(principal: Principal, told: Collection[str] | None) -> Mapping[str, str]:
    """Give what of a principal stands in records, which have its personal data only where settings name it.

    Where they name nothing it stands there that it was told, as no JSON, so that nobody takes it for absent later.
    """
    if told is None:
        return {"principal.attributes": "told, not kept"}
    found = {
        f"principal.{name}": _text(principal.attributes[name])
        for name in sorted(told)
        if name in principal.attributes
    }
    if "groups" in told:
        found["principal.groups"] = _text(sorted(principal.groups))
    if "client" in told:
        found["principal.client"] = _text(principal.client)
    return found


def record_arguments(sent: object) -> Mapping[str, str]:
    """Give the arguments that were judged, for records."""
    found: dict[str, str] = {}
    _flatten(sent, "context.arguments", found)
    return found


def _take(given: Mapping[str, object], path: Path, into: dict[str, object]) -> None:
    """Copy what is at a path, with the objects on its way."""
    for key in path[:-1]:
        inner = given.get(key)
        if not isinstance(inner, dict):
            if key in given:
                into[key] = inner  # something else than was expected is to be seen as that
            return
        made = into.get(key)
        if made is inner:
            return  # it is there whole
        if not isinstance(made, dict):
            made = into[key] = {}
        given, into = cast("Mapping[str, object]", inner), cast("dict[str, object]", made)
    if path[-1] in given:
        into[path[-1]] = given[path[-1]]


def _flatten(given: object, at: str, found: dict[str, str]) -> None:
    if isinstance(given, dict) and at.count(".") < 8:
        for key, value in cast("Mapping[str, object]", given).items():
            if len(found) < 16:
                _flatten(value, f"{at}.{key}", found)
    elif at != "context.arguments":
        found[at] = _text(cast("object", given))


def _text(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else text[:_LONGEST]
