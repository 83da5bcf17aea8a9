"""Slices: which policies can be about a request, by their scopes alone. What they then say is asked of Cedar.

Two hundred policies cost Cedar some hundred microseconds for each request; those whose scope fits are a few.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, cast

from tidegate.domain.target import Kind, Target
from tidegate.extensions.policies.cedar.asked import NOBODY, Subject, action
from tidegate.extensions.policies.cedar.engine import Tree
from tidegate.extensions.policies.cedar.tree import literals
from tidegate.extensions.policies.cedar.words import (
    ACTION,
    CALL,
    SERVER,
    TYPES,
    USER,
    Reference,
    target_id,
)

_KEPT = 4096


class Index:
    """The scopes of a list of policies, which are named by their place in it."""

    def __init__(self, policies: Sequence[Tree]) -> None:
        self._policies = policies
        self._named: dict[str, set[int]] = {}
        """By the identifiers of targets that the scopes name."""
        for number, each in enumerate(policies):
            for kind, name in literals([each["action"], each["resource"]]):
                if kind != SERVER:
                    self._named.setdefault(name, set()).add(number)
        self._of_subject: dict[Subject, frozenset[int]] = {}
        self._of_server: dict[tuple[Kind, str], frozenset[int]] = {}

    def knows(self, subject: Subject, target: Target) -> bool:
        """Tell whether it was looked through before for who asks, and for what is on a target's server."""
        return subject in self._of_subject and (target.kind, target.server) in self._of_server

    def about(self, target: Target) -> frozenset[int]:
        """Give the policies that are about a target, whoever asks."""
        common = self._of_server.get((target.kind, target.server))
        if common is None:
            common = self._about(target, NOBODY, range(len(self._policies)))
            _keep(self._of_server, (target.kind, target.server), common)
        named = self._named.get(target_id(target))
        return common if named is None else common | self._about(target, target_id(target), named)

    def of(self, subject: Subject) -> frozenset[int]:
        """Give the policies that are about who asks, whatever for."""
        found = self._of_subject.get(subject)
        if found is None:
            own = (USER, subject.id)
            found = frozenset(
                number
                for number, each in enumerate(self._policies)
                if _holds(each["principal"], own, subject.parents)
            )
            _keep(self._of_subject, subject, found)
        return found

    def _about(self, target: Target, told: str, numbers: Collection[int]) -> frozenset[int]:
        own, done = (TYPES[target.kind], told), action(target, told)
        calls = ((ACTION, CALL),) if target.kind is Kind.TOOL else ()
        return frozenset(
            number
            for number in numbers
            if _holds(self._policies[number]["resource"], own, ((SERVER, target.server),))
            and _holds(self._policies[number]["action"], done, calls)
        )


def _holds(scope: Tree, own: Reference, parents: Collection[Reference]) -> bool:
    """Tell whether a scope fits an entity; where it has a form not known here, it may."""
    match scope["op"]:
        case "==":
            return _given(scope["entity"]) == own
        case "in":
            given = scope["entities"] if "entities" in scope else [scope["entity"]]
            return any(_given(each) == own or _given(each) in parents for each in given)
        case "is":
            inner = scope.get("in")
            fits = scope["entity_type"] == own[0]
            return fits and (inner is None or _holds({"op": "in", **inner}, own, parents))
        case _:
            return True


def _given(entity: Mapping[str, Any]) -> Reference:
    found = cast("Mapping[str, str]", entity.get("__entity", entity))
    return found["type"], found["id"]


def _keep(kept: dict[Any, frozenset[int]], key: object, value: frozenset[int]) -> None:
    if len(kept) >= _KEPT:
        kept.clear()
    kept[key] = value
