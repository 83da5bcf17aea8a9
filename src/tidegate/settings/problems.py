"""Mistakes in the settings file: where each is, and what it is in one line.

Turns what pydantic found into sentences that name the known words. No message holds a value, save
names that stand for keys, servers, runtimes and choices.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from tidegate.settings.servers import LAUNCH_KEYS, LAUNCHES
from tidegate.settings.shape import keys_at, keys_of
from tidegate.settings.tree import Node

Path = tuple[str | int, ...]

_TAG = re.compile(r"<\w+>")
_KNOWN_SHOWN = 24
_ONE_LAUNCH = f"exactly one of {', '.join(LAUNCH_KEYS)} is needed"
_WANTED = {
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dict_type": "a mapping",
    "tuple_type": "a list",
    "list_type": "a list",
    "string_type": "text",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """A mistake at a place in the file."""

    path: Path
    message: str


def choose(word: str, known: Iterable[str]) -> str:
    """Say which words are known, and which of them was probably meant: ends a message."""
    words = sorted(set(known))
    close = difflib.get_close_matches(word[:100], words, n=1)
    meant = f"; did you mean {close[0]}?" if close else ""
    shown = ", ".join(words[:_KNOWN_SHOWN]) + (", …" if len(words) > _KNOWN_SHOWN else "")
    return f"{meant} (known: {shown or 'none'})"


def explain(error: ErrorDetails, model: type[BaseModel], prefix: Path = ()) -> Problem:
    """Put an error that pydantic found in `model` (at `prefix` in the file) into words."""
    loc = error["loc"]
    path = prefix + _without_tag(loc) if not prefix else prefix + tuple(loc)
    kind, given = error["type"], cast(object, error["input"])
    context = error.get("ctx", {})
    if kind == "extra_forbidden":
        return Problem(path, _unknown_key(path, keys_at(model, loc[:-1]), prefix))
    if kind == "missing":
        launch = not prefix and len(path) == 3 and path[0] == "servers" and path[2] in LAUNCH_KEYS
        if launch and isinstance(given, dict) and path[2] not in given:
            return Problem(path[:2], _ONE_LAUNCH)
        return Problem(path, "is needed")
    if kind in _WANTED:
        return Problem(path, f"should be {_WANTED[kind]}, is {_kind(given)}{_quotes(kind, given)}")
    if kind in ("literal_error", "enum"):
        return Problem(path, _unknown_choice(str(context.get("expected", "")), given))
    if kind == "union_tag_invalid":
        known = ", ".join(f"'{tag}'" for tag in re.findall(r"<(\w+)>", str(context.get("expected_tags", ""))))
        word = cast("dict[str, object]", given).get("type") if isinstance(given, dict) else given
        return Problem((*path, "type"), _unknown_choice(known, word))
    if kind == "value_error":
        return Problem(path, str(context["error"]))
    if kind in ("string_too_short", "too_short"):
        return Problem(path, "should not be empty")
    if kind == "string_too_long":
        return Problem(path, f"should be no longer than {context['max_length']} characters")
    message = error["msg"].removeprefix("Input ")
    return Problem(path, message[:1].lower() + message[1:])


def place(root: Node, path: Path) -> int:
    """Give the line of the deepest part of a path that is there."""
    node, line = root, root.line
    for step in path:
        if node.entries is not None and step in node.entries:
            line, node = node.entries[str(step)]
        elif node.items is not None and isinstance(step, int) and step < len(node.items):
            node = node.items[step]
            line = node.line
        else:
            break
    return line


def show(path: Path) -> str:
    """Write a path as `servers.time.args[0]`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{_printable(step)}"
    return text.removeprefix(".")


def _printable(step: str) -> str:
    return step if step.isprintable() and step else repr(step)


def _without_tag(loc: Sequence[str | int]) -> Path:
    if loc[:1] == ("auth",):  # auth.<tag of its shape>.[index].<tag of the type>.….<tag of a choice>
        return tuple(step for step in loc if not (isinstance(step, str) and _TAG.fullmatch(step)))
    # servers.<name>.<tag of the launch>.network.<tag of the choice>.…: the tags are ours, not the file's.
    if loc[:1] != ("servers",) or len(loc) < 3:
        return tuple(loc)
    path = (*loc[:2], *loc[3:])
    return (*path[:3], *path[4:]) if path[2:3] == ("network",) else path


def _unknown_key(path: Path, known: Sequence[str], prefix: Path) -> str:
    key = str(path[-1])
    if not prefix and len(path) == 3 and path[0] == "servers":
        here = next((launch for launch in LAUNCH_KEYS if launch in known), LAUNCH_KEYS[0])
        if key in LAUNCH_KEYS:
            return f"{_ONE_LAUNCH}; {here} is there already"
        others = [launch for launch, model in LAUNCHES.items() if key in keys_of(model)]
        if others:
            return f"does not go with {here} (goes with: {', '.join(others)})"
        # Most likely the launch key itself is mistyped, so all of them are among the known.
        known = [*known, *LAUNCH_KEYS]
    return "is no known key" + choose(key, known)


def _unknown_choice(expected: str, given: object) -> str:
    known = re.findall(r"'([^']*)'", expected) or [expected]
    if isinstance(given, str):
        return "is none of the known words" + choose(given, known)
    return f"should be {' or '.join(known)}, is {_kind(given)}"


def _kind(value: object) -> str:
    match value:
        case None:
            return "empty"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list() | tuple():
            return "a list"
        case _:
            return "a mapping"


def _quotes(kind: str, given: object) -> str:
    return "; write it in quotes" if kind == "string_type" and isinstance(given, bool | int | float) else ""
