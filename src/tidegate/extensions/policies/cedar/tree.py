"""Tree: what a policy reads, found in its parsed form. Evaluates nothing.

What is found here only chooses which policies Cedar is asked about, what it is told, and for how long its answer is
kept. Where an expression is written in a way not known here, the policy counts as one that reads everything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from tidegate.extensions.policies.cedar.engine import Tree
from tidegate.extensions.policies.cedar.words import (
    ACTION,
    ACTIONS,
    CALL,
    GROUP,
    ROLE,
    SERVER,
    USER,
    Reference,
)

ArgumentPath = tuple[str, ...]
DEEPEST = 80
"""Levels of an expression, `&&` and `||` in a row apart."""
_GROUPS_OF_ACTIONS = frozenset(ACTIONS.values())


class TooDeep(Exception):
    """A policy is nested deeper than anybody would write."""


@dataclass(slots=True)
class Reads:
    """What is read. `everything` makes the rest irrelevant."""

    everything: bool = False
    user: bool = False
    """Who the principal is."""
    users: set[str] = field(default_factory=set[str])
    """Users that are named: who is none of them is like any other."""
    roles: set[str] = field(default_factory=set[str])
    groups: set[str] = field(default_factory=set[str])
    principal: set[str] = field(default_factory=set[str])
    """Attributes of the principal."""
    resource: set[str] = field(default_factory=set[str])
    """Attributes of the target."""
    target: bool = False
    """Which target it is, by its identifier or by the action upon it."""
    endpoint: bool = False
    bare_call: bool = False
    """Whether the action is compared with that of every tool, which is that of none."""
    arguments: set[ArgumentPath] = field(default_factory=set[ArgumentPath])

    def add(self, other: Reads) -> None:
        """Add what another part reads."""
        self.everything |= other.everything
        self.user |= other.user
        self.target |= other.target
        self.endpoint |= other.endpoint
        self.bare_call |= other.bare_call
        self.users |= other.users
        self.roles |= other.roles
        self.groups |= other.groups
        self.principal |= other.principal
        self.resource |= other.resource
        self.arguments |= other.arguments


@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """A part of a policy's conditions that has to hold (`when`) or must not (`unless`)."""

    kind: str
    body: Tree
    reads: Reads

    @property
    def dynamic(self) -> bool:
        """Whether it can only be told with the arguments of a call."""
        return bool(self.reads.arguments)

    def tree(self) -> Tree:
        """Give it as a clause of a policy."""
        return {"kind": self.kind, "body": self.body}


def conditions(policy: Tree) -> Sequence[Condition]:
    """Give the parts that have to hold together, in the order in which Cedar evaluates them."""
    found: list[Condition] = []
    for clause in policy["conditions"]:
        operator = "&&" if clause["kind"] == "when" else "||"  # unless a || b: unless a, unless b
        found += [Condition(clause["kind"], part, read(part)) for part in _flat(clause["body"], operator)]
    return found


def read(expression: Tree) -> Reads:
    """Find what an expression reads.

    Raises:
        TooDeep: it is nested too deep.
    """
    found = Reads()
    _visit(expression, found, 0)
    if found.everything:
        found.arguments.add(())
    return found


def literals(part: object) -> Iterator[Reference]:
    """Give all entities that are named in a policy or a part of one."""
    if isinstance(part, dict):
        given = cast("dict[str, Any]", part)
        entity = cast("dict[str, object]", given.get("__entity", given))
        if set(entity) == {"type", "id"} and all(isinstance(each, str) for each in entity.values()):
            yield str(entity["type"]), str(entity["id"])
            return
        for each in given.values():
            yield from literals(each)
    elif isinstance(part, list):
        for each in cast("list[object]", part):
            yield from literals(each)


def _flat(expression: Tree, operator: str) -> Sequence[Tree]:
    """Take `a && b && c` apart; it leans to the left, as deep as it is long."""
    parts: list[Tree] = []
    left = [expression]
    while left:
        node = left.pop()
        if operator in node:
            left += [node[operator]["left"], node[operator]["right"]]
        else:
            parts.append(node)
    # The last one put aside is taken first: what was found comes from the right.
    return parts[::-1]


def _visit(node: object, found: Reads, depth: int) -> None:
    if depth > DEEPEST:
        raise TooDeep(f"is nested deeper than {DEEPEST} levels")
    if not isinstance(node, dict) or len(cast("Tree", node)) != 1:
        found.everything = True
        return
    tree = cast("Tree", node)
    ((operator, inner),) = tree.items()
    if operator == "Value":
        found.everything |= any(
            True for _ in literals(inner)
        )  # what holds for somebody who is named, and not asks
    elif operator == "Var":
        _whole(inner, found)
    elif operator in (".", "has"):
        _attribute(tree, found, depth)
    elif operator in ("in", "==", "!=", "is"):
        _relation(operator, inner, found, depth)
    else:
        for part in _operands(operator, tree):
            _visit(part, found, depth + 1)


def _operands(operator: str, node: Tree) -> Sequence[object]:
    """Give the expressions that an operator or function is applied to; of a `like`, its pattern is none."""
    inner: object = node[operator]
    if operator in ("&&", "||"):
        return _flat(node, operator)
    if isinstance(inner, list):
        return cast("list[object]", inner)
    if not isinstance(inner, dict):
        return [inner]
    parts = cast("Mapping[str, object]", inner)
    return [parts["left"]] if operator == "like" else list(parts.values())


def _whole(variable: str, found: Reads) -> None:
    """A variable stands by itself, where its attributes may be read by others than we see."""
    if variable == "context":
        found.arguments.add(())
        found.endpoint = True
    elif variable in ("action", "resource"):
        found.target = True
    else:
        found.user = True


def _attribute(node: Tree, found: Reads, depth: int) -> None:
    path: list[str] = []
    base = node
    while "." in base or "has" in base:
        part = base.get(".") or base["has"]
        path.append(part["attr"])
        base = part["left"]
    path.reverse()
    variable = base.get("Var")
    if variable == "principal":
        found.principal.add(path[0])
    elif variable == "resource":
        found.resource.add(path[0])
    elif variable == "context":
        if path[0] == "arguments" and (len(path) > 1 or "." in node):
            found.arguments.add(tuple(path[1:]))
        elif path[0] == "endpoint":
            found.endpoint = True
    elif variable is not None:
        found.everything = True
    elif "Record" in base:
        _visit(base, found, depth + 1)
    else:
        found.everything = True  # an attribute of something that has to be evaluated first


def _relation(operator: str, inner: Mapping[str, Any], found: Reads, depth: int) -> None:
    left, right = inner["left"], inner.get("in" if operator == "is" else "right")
    variable = left.get("Var")
    if variable is None:
        for part in (left, right):
            if part is not None:
                _visit(part, found, depth + 1)
        return
    if variable == "context":
        _whole(variable, found)
    named: Sequence[Reference] | None = () if right is None else _named(right)
    if named is None:
        found.everything = True
        return
    for reference in named:
        _name(variable, reference, found)
        found.bare_call |= operator in ("==", "!=") and reference == (ACTION, CALL)


def _named(node: Tree) -> Sequence[Reference] | None:
    """Give the entities of a literal or a set of them; None where it is something else."""
    if "Value" in node:
        value = cast("dict[str, object] | object", node["Value"])
        found = list(literals(cast("object", value)))
        return found if len(found) == 1 and isinstance(value, dict) else None
    if "Set" in node:
        parts = [_named(part) for part in node["Set"]]
        return (
            None if any(part is None for part in parts) else [each for part in parts for each in part or ()]
        )
    return None


def _name(variable: str, reference: Reference, found: Reads) -> None:
    kind, name = reference
    if variable == "principal":
        {ROLE: found.roles, GROUP: found.groups, USER: found.users}.get(kind, set[str]()).add(name)
    elif variable == "resource":
        found.target |= kind != SERVER
    elif variable == "action":
        found.target |= kind != ACTION or name not in _GROUPS_OF_ACTIONS


def scope(part: Tree, variable: str) -> Reads:
    """Find what the scope of a policy reads of one of its variables."""
    found = Reads()
    for reference in literals([value for name, value in part.items() if name != "op"]):
        _name(variable, reference, found)
        found.bare_call |= part["op"] == "==" and reference == (ACTION, CALL)
    return found
