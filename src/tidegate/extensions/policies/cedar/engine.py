"""Engine: the one place that speaks to the Cedar library, which is imported when a policy is first read.

Says what the library said, in our words; decides nothing. Whatever the library cannot do is an error here, never a
permission.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import cedarpy

Tree = Mapping[str, Any]
"""A policy or expression in Cedar's JSON form (https://docs.cedarpolicy.com/policies/json-format.html)."""

_FAILED = re.compile(r"error while evaluating policy `([a-z][0-9]+)`: (.*)", re.DOTALL)
_LONGEST = 300


class CedarFailure(Exception):
    """Cedar could not do what was asked; the text says why, in a line."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a set of policies says to a request."""

    permitted: bool
    reasons: frozenset[str]
    """The policies that decided: forbidding ones where it is not permitted, none where none is about it."""
    errors: Mapping[str, str] = field(default_factory=dict[str, str])
    """What could not be evaluated, and why."""


def parse(text: str) -> Tree:
    """Parse one policy.

    Raises:
        CedarFailure: it is none.
    """
    import cedarpy

    try:
        found = json.loads(cedarpy.policies_to_json_str(text))
    except (ValueError, RecursionError) as error:
        raise CedarFailure(_line(error)) from None
    if found["templates"]:
        raise CedarFailure("templates (?principal, ?resource) are not taken")
    policies = list(cast("dict[str, Tree]", found["staticPolicies"]).values())
    if len(policies) != 1:
        raise CedarFailure("should be one policy")
    return policies[0]


def render(policy: Tree) -> str:
    """Write a policy as text."""
    import cedarpy

    return cedarpy.policies_from_json_str(json.dumps(_set({"policy0": policy})))


def policy_set(policies: Mapping[str, Tree]) -> cedarpy.PolicySet:
    """Make a set, by the names that answers have them by: a small letter and a number."""
    import cedarpy

    try:
        return cedarpy.PolicySet.from_json_str(json.dumps(_set(policies)), release_gil=True)
    except ValueError as error:
        raise CedarFailure(_line(error)) from None


def entities(found: Sequence[Tree]) -> cedarpy.Entities:
    """Make a set of entities."""
    import cedarpy

    try:
        return cedarpy.Entities.from_json_str(  # pyright: ignore[reportUnknownMemberType] - a bare dict in its types
            json.dumps(found)
        )
    except ValueError as error:
        raise CedarFailure(_line(error)) from None


def ask(requests: Sequence[Tree], policies: cedarpy.PolicySet, known: cedarpy.Entities) -> Sequence[Answer]:
    """Have requests decided.

    Raises:
        CedarFailure: one of them is none that Cedar could decide.
    """
    import cedarpy

    results = cedarpy.is_authorized_batch(  # pyright: ignore[reportUnknownMemberType] - as above
        cast("list[dict[str, Any]]", list(requests)), policies, known
    )
    if len(results) != len(requests):
        raise CedarFailure("not every request was answered")
    return [_answer(each) for each in results]


def validate(texts: Sequence[str], schema: Tree) -> Sequence[Sequence[str]]:
    """Give what a validator finds wrong with each of some policies, strictly, against a schema in JSON form.

    Raises:
        CedarFailure: the schema is none, or it cannot be told which policy is wrong.
    """
    import cedarpy

    try:
        result = cedarpy.validate_policies(  # pyright: ignore[reportUnknownMemberType] - as above
            "\n".join(texts), cedarpy.Schema.from_json_str(json.dumps(schema))
        )
    except ValueError as error:
        raise CedarFailure(_line(error)) from None
    found: list[list[str]] = [[] for _ in texts]
    for each in result.errors:
        number = each.policy_id.removeprefix("policy")
        if not number.isdecimal() or int(number) >= len(found):
            raise CedarFailure(_line(each.error))
        found[int(number)].append(_line(each.error))
    if not result.validation_passed and not any(found):
        raise CedarFailure("a policy is not valid")
    return found


def schema_text(schema: Tree) -> str:
    """Write a schema as people read it.

    Raises:
        CedarFailure: it is none.
    """
    import cedarpy

    try:
        return str(cedarpy.Schema.from_json_str(json.dumps(schema)))
    except ValueError as error:
        raise CedarFailure(_line(error)) from None


def _set(policies: Mapping[str, Tree]) -> Tree:
    return {"templates": {}, "templateLinks": [], "staticPolicies": policies}


def _answer(result: cedarpy.AuthzResult) -> Answer:
    import cedarpy

    told = result.diagnostics
    if result.decision is cedarpy.Decision.NoDecision:
        raise CedarFailure(_line("; ".join(told.errors) or "there was no decision"))
    errors: dict[str, str] = {}
    for error in told.errors:
        match = _FAILED.fullmatch(error)
        if match is None:
            raise CedarFailure(
                _line(error)
            )  # of a policy that cannot be told: it may have been one that forbids
        errors[match[1]] = _line(match[2])
    return Answer(result.allowed, frozenset(told.reasons), errors)


def _line(error: object) -> str:
    return " ".join(str(error).split())[:_LONGEST]
