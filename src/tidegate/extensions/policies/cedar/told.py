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
from tidegate.extensions.policies.cedar.tree import Condition, Reads
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
_SHOWN = 3
"""Policies that are told of where several would do."""
MOST = 24
"""Values that are told."""
_encode = json.JSONEncoder(ensure_ascii=False).encode
_ALL: Tree = {"op": "All"}


def values(policy: Written, who: Subject, thing: Thing, endpoint: str) -> Mapping[str, str]:
    """Give what a policy reads beside arguments, with the values as JSON."""
    return {name: _json(value) for name, value in _values(policy.reads, who, thing, endpoint)}


def argument_values(policy: Written, arguments: Mapping[str, object]) -> Mapping[str, str]:
    """Give the arguments that a policy reads, as they were said to Cedar."""
    return {".".join(("context", "arguments", *path)): _json(_at(arguments, path)) for path in policy.paths}


def denied_by(policy: Written) -> str:
    """Say what denies."""
    return policy.because or f"{policy.name} denies{_clauses(*policy.conditions)}"


def not_allowed(policies: Sequence[Written]) -> str:
    """Say which policies would allow it, to others or for something else."""
    if not policies:
        return "no policy allows it to anybody"
    return "; ".join(
        each.because or f"{each.name} would allow it{_scope(each)}{_clauses(*each.conditions)}"
        for each in policies[:_SHOWN]
    )


def missed(failing: Sequence[tuple[Written, Sequence[Condition]]]) -> str:
    """Say which conditions of policies did not hold."""
    return "; ".join(
        policy.because or f"{policy.name} would allow it{_clauses(*parts)}"
        for policy, parts in failing[:_SHOWN]
    )


def failed(policy: Written, error: str) -> str:
    """Say that a policy could not be evaluated."""
    return f"{policy.name} could not be evaluated: {_NAMELESS.sub(_which, error)}"


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


@lru_cache(_KEPT)
def _scope(policy: Written) -> str:
    scope = policy.tree["principal"]
    return "" if scope["op"] == "All" else f" to {_text({**_bare(), 'principal': scope}, 'principal')}"


@lru_cache(_KEPT)
def _clauses(*conditions: Condition) -> str:
    if not conditions:
        return ""
    policy = {**_bare(), "conditions": [each.tree() for each in conditions]}
    return f" {_text(policy, '')}"


def _bare() -> dict[str, object]:
    return {"effect": "permit", "principal": _ALL, "action": _ALL, "resource": _ALL, "conditions": []}


def _text(policy: Tree, part: str) -> str:
    """Give the scope of the principal, or the clauses, as Cedar writes them, in a line and with fewer brackets."""
    text = " ".join(engine.render(policy).split())
    for _ in range(_BRACKETS):
        text, changed = _BRACKETED.subn(r"\1", text)
        if not changed:
            break
    if part:
        return text.removeprefix("permit(").partition(", action, resource)")[0].strip()
    return text.partition("resource)")[2].strip(" ;")
