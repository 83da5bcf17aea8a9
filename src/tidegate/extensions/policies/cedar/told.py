"""Told: what a verdict says of itself: which policies, what they read, and what would have to be otherwise.

Makes sentences of what was decided elsewhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import cast

from tidegate.extensions.policies.cedar import engine
from tidegate.extensions.policies.cedar.asked import NOBODY, Subject, Thing
from tidegate.extensions.policies.cedar.engine import Tree
from tidegate.extensions.policies.cedar.plain import wanted
from tidegate.extensions.policies.cedar.tree import Condition, Reads, literals
from tidegate.extensions.policies.cedar.words import GROUP, ROLE, USER
from tidegate.extensions.policies.cedar.written import Written

NO_RULE = "no policy"
LONGEST = 200
"""Characters of a value that is told."""
_BRACKETED = re.compile(
    r"(?<![A-Za-z0-9_])\(((?:context|principal|resource|action)(?:\.\w+|\[\"[^\"]*\"\])*)\)"
)
_NAMELESS = re.compile(rf'`(\w+)::"{NOBODY}\d*"`')
"""What Cedar calls those whose names it was not told."""
_BRACKETS = 8
_KEPT = 2048
"""Texts of policies, which take Cedar some time to write, and are said with every denial."""
SHOWN = 3
"""Policies that are told of where several would do."""
MOST = 24
"""Values that are told."""
_SHORT = 60
"""Characters of a value within a sentence."""
_OWN = "principal."
"""What is alike for all targets: what is said of those has to be the same text for many of them."""
_NOTHING: Mapping[str, str] = {}
_encode = json.JSONEncoder(ensure_ascii=False).encode
_ALL: Tree = {"op": "All"}


def values(policy: Written, who: Subject, thing: Thing, endpoint: str) -> Mapping[str, str]:
    """Give what a policy reads beside arguments, with the values as JSON."""
    return {name: _json(value) for name, value in _values(policy.reads, who, thing, endpoint)}


def argument_values(policy: Written, arguments: Mapping[str, object]) -> Mapping[str, str]:
    """Give the arguments that a policy reads, as they were said to Cedar."""
    return {".".join(("context", "arguments", *path)): _json(_at(arguments, path)) for path in policy.paths}


def denied_by(policy: Written, read: Mapping[str, str]) -> str:
    """Say what denies, by the values that it read, and where it would not."""
    ways = [_wants(each, read, holds=False) for each in policy.conditions]
    if not ways:
        return f"{_named(policy)} denies it in any case{_author(policy)}"
    return f"{_named(policy)} denies it{_author(policy)}. It would not where {_listed(ways, 'or where')}"


def not_allowed(policies: Sequence[Written], read: Mapping[str, str] = _NOTHING) -> str:
    """Say which policies would allow it, to others or for something else."""
    if not policies:
        return "no policy allows it to anybody"
    about = tuple(item for item in read.items() if item[0].startswith(_OWN))
    return "; ".join(_allowing(each, about) for each in policies[:SHOWN])


def missed(failing: Sequence[tuple[Written, Sequence[Condition]]], read: Mapping[str, str]) -> str:
    """Say which conditions of policies did not hold, by the values that they read."""
    return "; ".join(_would(policy, (), parts, read) for policy, parts in failing[:SHOWN])


def failed(policy: Written, error: str) -> str:
    """Say that a policy could not be evaluated."""
    return f"{_named(policy)} could not be evaluated: {_NAMELESS.sub(_which, error)}"


@lru_cache(_KEPT)
def _allowing(policy: Written, read: tuple[tuple[str, str], ...]) -> str:
    return _would(policy, _scope(policy), policy.conditions, dict(read))


def _would(policy: Written, scope: Sequence[str], parts: Sequence[Condition], read: Mapping[str, str]) -> str:
    """Say where a policy would allow it."""
    ways = [*scope, *(_wants(each, read, holds=True) for each in parts)]
    where = f" where {_listed(ways, 'and')}" if ways else ""
    return f"{_named(policy)} would allow it{where}{_author(policy)}"


def _wants(condition: Condition, read: Mapping[str, str], *, holds: bool) -> str:
    """Say what has to be so that a condition lets a policy apply, or (`holds` is false) keeps it from that."""
    body_holds = holds is (condition.kind == "when")
    plain = wanted(condition.body, read, holds=body_holds)
    if plain is not None:
        return plain
    text = _clause(condition)
    values = ", ".join(f"{name} is now {value[:_SHORT]}" for name, value in _read_by(condition, read))
    return f"this {'holds' if body_holds else 'does not hold'}: {text}" + (f" ({values})" if values else "")


def _read_by(condition: Condition, read: Mapping[str, str]) -> Sequence[tuple[str, str]]:
    reads = condition.reads
    names = [
        *(f"principal.{name}" for name in sorted(reads.principal)),
        *(f"resource.{name}" for name in sorted(reads.resource)),
        *(".".join(("context", "arguments", *path)) for path in sorted(reads.arguments)),
    ]
    return [(name, read[name]) for name in names if name in read]


def _named(policy: Written) -> str:
    """Give a policy by its name, and its line where that is not the name."""
    line = policy.place.rpartition(":")[2]
    return policy.name if policy.name.endswith(f"#{line}") else f"{policy.name} (line {line})"


def _author(policy: Written) -> str:
    return f": {policy.because}" if policy.because else ""


def _listed(ways: Sequence[str], word: str) -> str:
    return f" {word} ".join(dict.fromkeys(ways))


def _which(match: re.Match[str]) -> str:
    return "the principal" if match[1] == USER else f"the {match[1].lower()}"


def _values(reads: Reads, who: Subject, thing: Thing, endpoint: str) -> Iterable[tuple[str, object]]:
    if reads.user or reads.users:
        yield "principal", who.id
    for kind, read, word in ((ROLE, reads.roles, "roles"), (GROUP, reads.groups, "groups")):
        if read:
            yield f"principal.{word}", [name for each, name in who.parents if each == kind]
    told = dict(who.attributes)
    for name in sorted(reads.principal):
        yield f"principal.{name}", told.get(name)
    if reads.target:
        yield "resource", thing.own[1]
    claims = dict(thing.attributes)
    for name in sorted(reads.resource):
        yield f"resource.{name}", claims.get(name)
    if reads.endpoint:
        yield "context.endpoint", endpoint


def _at(arguments: object, path: Sequence[str]) -> object:
    for key in path:
        if not isinstance(arguments, dict):
            return None
        arguments = cast("dict[str, object]", arguments).get(key)
    return arguments


def _json(value: object) -> str:
    extension = cast("Mapping[str, object]", value).get("__extn") if isinstance(value, dict) else None
    if isinstance(extension, dict):
        return str(cast("Mapping[str, object]", extension).get("arg"))[:LONGEST]
    return _encode(value)[:LONGEST]


def _scope(policy: Written) -> Sequence[str]:
    """Say to whom a policy allows something, where it is not everybody."""
    scope = policy.tree["principal"]
    if scope["op"] == "All":
        return ()
    named = list(literals([value for name, value in scope.items() if name != "op"]))
    if scope["op"] == "in" and len(named) == 1 and named[0][0] in (ROLE, GROUP):
        kind, name = named[0]
        return (f"whoever asks {'has the role' if kind == ROLE else 'is in the group'} {name}",)
    if scope["op"] == "==" and len(named) == 1:
        return (f"whoever asks is {named[0][1]}",)
    return (f"this is who asks: {_text({**_bare(), 'principal': scope}, 'principal')}",)


@lru_cache(_KEPT)
def _clause(condition: Condition) -> str:
    """Give the body of a condition as Cedar writes it."""
    policy = {**_bare(), "conditions": [{"kind": "when", "body": condition.body}]}
    return _text(policy, "").removeprefix("when {").removesuffix("}").strip()


def _bare() -> dict[str, object]:
    return {"effect": "permit", "principal": _ALL, "action": _ALL, "resource": _ALL, "conditions": []}


def _text(policy: Tree, part: str) -> str:
    """Give the scope of the principal, or a clause, as Cedar writes them, in a line and with fewer brackets."""
    text = " ".join(engine.render(policy).split())
    for _ in range(_BRACKETS):
        text, changed = _BRACKETED.subn(r"\1", text)
        if not changed:
            break
    if part:
        return text.removeprefix("permit(").partition(", action, resource)")[0].strip()
    return text.partition("resource)")[2].strip(" ;")
