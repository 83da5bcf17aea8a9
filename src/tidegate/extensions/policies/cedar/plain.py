"""Plain: what has to be so that a condition holds, or does not, in words, with the values that it reads as they are now.

For people who do not write policies. What cannot be said so is quoted, as Cedar writes it. Evaluates nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from tidegate.extensions.policies.cedar.engine import Tree
from tidegate.extensions.policies.cedar.tree import literals
from tidegate.extensions.policies.cedar.words import GROUP, ROLE, SERVER, Reference

Values = Mapping[str, str]
"""What is read, by its name, with the values as JSON."""
_LONGEST = 60
"""Characters of a value."""
_SHOWN = 8
"""Names of a set that are told."""
_COMPARED = {
    "<": ("less than", "at least"), "<=": ("at most", "more than"),
    ">": ("more than", "at most"), ">=": ("at least", "less than"),
    "==": ("", "other than"), "!=": ("other than", ""),
    "lessThan": ("less than", "at least"), "lessThanOrEqual": ("at most", "more than"),
    "greaterThan": ("more than", "at most"), "greaterThanOrEqual": ("at least", "less than"),
}  # fmt: skip
"""What a comparison wants, where it is to hold and where not."""


def wanted(expression: Tree, values: Values, *, holds: bool) -> str | None:
    """Say what has to be so that an expression holds, or does not; None where it cannot be said plainly."""
    if len(expression) != 1:
        return None
    ((operator, inner),) = expression.items()
    if operator == "!":
        return wanted(inner["arg"], values, holds=not holds)
    if operator in ("&&", "||"):
        parts = [wanted(inner[side], values, holds=holds) for side in ("left", "right")]
        if None in parts:
            return None
        return (" and " if (operator == "&&") is holds else " or ").join(cast("list[str]", parts))
    if operator in _COMPARED:
        return _compared(operator, inner, values, holds=holds)
    if operator == "in":
        return _member(inner, holds=holds)
    if operator == "has":
        name = _path(expression)
        return None if name is None else f"{name} is {'there' if holds else 'absent'}"
    if operator == ".":
        name = _said(expression, values)
        return None if name is None else f"{name} is {'true' if holds else 'false'}"
    if operator == "like":
        return _like(inner, values, holds=holds)
    if operator == "contains":
        left, right = _said(inner["left"], values), _said(inner["right"], values)
        return None if left is None or right is None else f"{left} {_not('has', holds)} {right}"
    return None


def _compared(operator: str, inner: Any, values: Values, *, holds: bool) -> str | None:
    pair = cast("list[Tree]", inner) if isinstance(inner, list) else [inner["left"], inner["right"]]
    if len(pair) != 2:
        return None
    left, right = _said(pair[0], values), _said(pair[1], values)
    if left is None or right is None:
        return None
    relation = _COMPARED[operator][0 if holds else 1]
    return " ".join(
        ("whoever asks" if left == "principal" else left, "is", *([relation] if relation else []), right)
    )


def _member(inner: Mapping[str, Any], *, holds: bool) -> str | None:
    variable = inner["left"].get("Var")
    named = list(literals(inner["right"]))
    if not named or len({kind for kind, _ in named}) != 1:
        return None
    kind, names = named[0][0], _names(named)
    one = "one of the " if len(named) > 1 else "the "
    if variable == "principal" and kind in (ROLE, GROUP):
        what = f"{one}{kind.lower()}{'s' if len(named) > 1 else ''} {names}"
        if kind == ROLE:
            return f"whoever asks {'has' if holds else 'has not'} {what}"
        return f"whoever asks is {'' if holds else 'not '}in {what}"
    if variable == "resource" and kind == SERVER:
        return f"it is {'' if holds else 'not '}of {one}server{'s' if len(named) > 1 else ''} {names}"
    return None


def _like(inner: Mapping[str, Any], values: Values, *, holds: bool) -> str | None:
    left, pattern = _said(inner["left"], values), inner.get("pattern")
    if left is None or not isinstance(pattern, list):
        return None
    text = ""
    for part in cast("list[object]", pattern):
        if part == "Wildcard":
            text += "*"
        elif isinstance(part, dict) and isinstance(literal := cast("Tree", part).get("Literal"), str):
            text += literal.replace("*", "\\*")
        else:
            return None
    return f"{left} is {'' if holds else 'not '}like {json.dumps(text, ensure_ascii=False)}"


def _said(node: Tree, values: Values) -> str | None:
    """Say an operand: a literal as it is, what is read by its name and what it is now."""
    if len(node) != 1:
        return None
    if "Value" in node:
        value = node["Value"]
        if isinstance(value, bool | int | str):
            return json.dumps(value, ensure_ascii=False)[:_LONGEST]
        named = list(literals(value))
        return f'{named[0][0]} "{named[0][1][:_LONGEST]}"' if len(named) == 1 else None
    for function in ("decimal", "ip"):
        given = node.get(function)
        if isinstance(given, list) and len(cast("list[Tree]", given)) == 1:
            text = cast("list[Tree]", given)[0].get("Value")
            return text[:_LONGEST] if isinstance(text, str) else None
    if node.get("Var") == "principal":
        return "principal"
    name = _path(node)
    if name is None or name not in values:
        return name
    now = "absent" if values[name] == "null" else values[name][:_LONGEST]
    return f"{name} (now {now})"


def _path(node: Tree) -> str | None:
    """Give the name of what is read: `principal.limit`, `context.arguments.amount`."""
    parts: list[str] = []
    while "." in node or "has" in node:
        part = node.get(".") or node["has"]
        parts.append(part["attr"])
        node = part["left"]
    variable = node.get("Var")
    return ".".join((variable, *reversed(parts))) if isinstance(variable, str) and parts else None


def _names(named: Sequence[Reference]) -> str:
    shown = ", ".join(name[:_LONGEST] for _, name in named[:_SHOWN])
    return shown + (f" and {len(named) - _SHOWN} more" if len(named) > _SHOWN else "")


def _not(word: str, holds: bool) -> str:
    return word if holds else f"{word} not"
