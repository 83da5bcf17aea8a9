"""Asked: who asks and what for, as Cedar is told of it: only what the policies read, so that those alike are one.

An answer is kept by just what Cedar was told for it; it cannot hold for anybody whom Cedar could have told apart.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from tidegate.domain.principal import Attribute, Principal
from tidegate.domain.target import Kind, Target
from tidegate.extensions.policies.cedar.engine import Tree
from tidegate.extensions.policies.cedar.schema import AttributeType
from tidegate.extensions.policies.cedar.tree import Reads
from tidegate.extensions.policies.cedar.values import Sayer, Unsayable
from tidegate.extensions.policies.cedar.words import (
    ACTION,
    ACTIONS,
    ANY_CALL,
    CALL,
    CLAIMED,
    GROUP,
    ROLE,
    SERVER,
    TYPES,
    USER,
    VOUCHED,
    Reference,
    target_id,
    user_id,
)
from tidegate.ports.facts import Facts

NOBODY = "-"
"""Stands for an identifier that no policy reads."""
_SHAPES: Mapping[AttributeType, type] = {"text": str, "number": int, "bool": bool, "list": tuple}
_SHAPE_WORDS: Mapping[AttributeType, str] = {
    "text": "text",
    "number": "a whole number",
    "bool": "true or false",
    "list": "a list of texts",
}


@dataclass(frozen=True, slots=True)
class Subject:
    """All that Cedar is told of who asks."""

    id: str
    parents: tuple[Reference, ...]
    attributes: tuple[tuple[str, Attribute], ...]

    def entity(self) -> Tree:
        """Give it as an entity."""
        return _entity((USER, self.id), dict(self.attributes), self.parents)


@dataclass(frozen=True, slots=True)
class Thing:
    """All that Cedar is told of a target and of what is to be done with it."""

    own: Reference
    server: str
    attributes: tuple[tuple[str, str | bool], ...]
    action: Reference

    def entities(self) -> Mapping[Reference, Tree]:
        """Give both as entities."""
        calls = ((ACTION, CALL),) if self.own[0] == TYPES[Kind.TOOL] else ()
        return {
            self.own: _entity(self.own, dict(self.attributes), ((SERVER, self.server),)),
            self.action: _entity(self.action, {}, calls),
        }


def subject(principal: Principal, reads: Reads, declared: Mapping[str, AttributeType]) -> Subject:
    """Say who asks.

    Raises:
        Unsayable: an attribute that is read is not what settings say.
    """
    own = user_id(principal)
    told = own if reads.everything or reads.user or own in reads.users else NOBODY
    roles = principal.roles if reads.everything else principal.roles & reads.roles
    groups = principal.groups if reads.everything else principal.groups & reads.groups
    parents = [(ROLE, name) for name in sorted(roles)] + [(GROUP, name) for name in sorted(groups)]
    found: list[tuple[str, Attribute]] = []
    for name in (*VOUCHED, *declared):
        if reads.everything or name in reads.principal:
            value = getattr(principal, name) if name in VOUCHED else principal.attributes.get(name)
            if value is not None:
                found.append((name, _attribute(name, value, declared.get(name, "text"))))
    for kind, name in ((USER, told), *parents):
        Sayer().value(name, None, f"the name of a {kind.lower()} of the principal")
    return Subject(told, tuple(parents), tuple(found))


def thing(target: Target, facts: Facts, reads: Reads) -> Thing:
    """Say what is asked for."""
    told = target_id(target) if reads.everything or reads.target else NOBODY
    claims = (facts.read_only, facts.destructive and not facts.read_only, facts.idempotent, facts.open_world)
    every: dict[str, str | bool] = {"name": target.name, "server": target.server}
    if target.kind is Kind.TOOL:
        every.update(zip(CLAIMED, claims, strict=True))
    found = tuple(each for each in every.items() if reads.everything or each[0] in reads.resource)
    return Thing((TYPES[target.kind], told), target.server, found, action(target, told))


def action(target: Target, told: str) -> Reference:
    """Give what is done with a target: of a tool, its own call, if it may be known which it is."""
    group = ACTIONS[target.kind]
    if target.kind is not Kind.TOOL:
        return ACTION, group
    return ACTION, ANY_CALL if told == NOBODY else told


def request(subject: Subject, thing: Thing, context: object) -> Tree:
    """Give what Cedar is asked; the context as a record, or as JSON."""
    return {
        "principal": {"type": USER, "id": subject.id},
        "action": _reference(thing.action),
        "resource": _reference(thing.own),
        "context": context,
    }


def _attribute(name: str, value: Attribute, declared: AttributeType) -> Attribute:
    at = f"principal.{name}"
    shape = _SHAPES[declared]
    if not isinstance(value, shape) or (shape is int and isinstance(value, bool)):
        raise Unsayable(f"{at} is not {_SHAPE_WORDS[declared]}")
    Sayer().value(list(value) if isinstance(value, tuple) else value, None, at)
    return value


def _entity(own: Reference, attributes: Mapping[str, Attribute], parents: Collection[Reference]) -> Tree:
    return {
        "uid": _reference(own),
        "attrs": {name: list(each) if isinstance(each, tuple) else each for name, each in attributes.items()},
        "parents": [_reference(each) for each in parents],
    }


def _reference(reference: Reference) -> Tree:
    return {"type": reference[0], "id": reference[1]}
