"""Written: the policies as people wrote them, read from their files and understood, each with its place.

Reads text that it is given; asks Cedar for the form of each policy; decides nothing.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from tidegate.domain.errors import SettingsError
from tidegate.extensions.policies.cedar import engine
from tidegate.extensions.policies.cedar.engine import CedarFailure, Tree
from tidegate.extensions.policies.cedar.text import Statement, cut
from tidegate.extensions.policies.cedar.tree import (
    ArgumentPath,
    Condition,
    Reads,
    TooDeep,
    conditions,
    literals,
    scope,
)
from tidegate.extensions.policies.cedar.words import ACTION, CALL, USER, quoted

MOST = 5000
"""Policies of one engine."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_./:-]{0,63}")
_UNFINISHED = "unexpected end of input"


@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """One policy."""

    place: str
    """`file:line`."""
    name: str
    """`file#id`; where it has no `@id`, `file#line`, and `file#line.2` for another one there."""
    text: str
    tree: Tree
    conditions: Sequence[Condition]
    reads: Reads
    """All that it reads, with its scope."""
    paths: Sequence[ArgumentPath]
    """The arguments among that, in order."""

    @property
    def permits(self) -> bool:
        """Whether it allows; else it denies."""
        return self.tree["effect"] == "permit"

    @property
    def dynamic(self) -> bool:
        """Whether it reads arguments."""
        return bool(self.reads.arguments)

    @property
    def because(self) -> str | None:
        """What its author wants to be said where it denies, or allows nothing."""
        return _annotation(self.tree, "because")

    def with_conditions(self, kept: Sequence[Condition], effect: str = "") -> Tree:
        """Give the policy with these conditions only."""
        return {
            **self.tree,
            "effect": effect or self.tree["effect"],
            "conditions": [each.tree() for each in kept],
        }

    def head(self) -> Sequence[Condition]:
        """Give the conditions that have to hold before arguments matter, whatever these are.

        Of what allows, all that read none: where one does not hold, nothing is allowed. Of what denies, those before
        the first that reads some: one that stands behind it may be wrong without being evaluated.
        """
        if self.permits:
            return [each for each in self.conditions if not each.dynamic]
        first = next((at for at, each in enumerate(self.conditions) if each.dynamic), len(self.conditions))
        return self.conditions[:first]


def understand(files: Mapping[str, str]) -> Sequence[Written]:
    """Read the policies of files, which are given by the names that people know them by.

    Raises:
        SettingsError: one line for each mistake, with file and line.
    """
    found: list[Written] = []
    mistakes: list[str] = []
    for file, text in files.items():
        names: dict[str, str] = {}
        for statement in cut(text):
            if len(found) >= MOST:
                raise SettingsError(f"{file}:{statement.line}: there are more than {MOST} policies")
            try:
                each = _one(file, statement)
            except _Mistake as mistake:
                mistakes.append(f"{file}:{mistake.line}: {mistake}")
                continue
            if each.name in names and _annotation(each.tree, "id") is not None:
                mistakes.append(f"{each.place}: the @id of this policy is also that of {names[each.name]}")
            if each.name in names:
                each = replace(each, name=_other_name(each.name, names))
            names[each.name] = each.place
            found.append(each)
    if mistakes:
        raise SettingsError(mistakes)
    return found


class _Mistake(Exception):
    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def _one(file: str, statement: Statement) -> Written:
    excess = statement.excess()
    if excess is not None:
        raise _Mistake(statement.line, excess)
    try:
        tree = engine.parse(statement.text)
        parts = conditions(tree)
    except CedarFailure as error:
        raise _Mistake(_line(statement, str(error)), str(error)) from None
    except TooDeep as error:
        raise _Mistake(statement.line, str(error)) from None
    name = _annotation(tree, "id")
    if name is not None and not _NAME.fullmatch(name):
        raise _Mistake(
            statement.line,
            "its @id should be a letter, then letters, digits and _ . / : -, 64 in all at most",
        )
    reads = Reads()
    for variable in ("principal", "action", "resource"):
        reads.add(scope(tree[variable], variable))
    for each in parts:
        reads.add(each.reads)
    if reads.bare_call:
        call = quoted((ACTION, CALL))
        raise _Mistake(
            statement.line, f"{call} is no call, it holds those of all tools: write `action in {call}`"
        )
    for kind, found in literals(tree):
        if kind == USER and found.count("|") < 2:
            shown = quoted((kind, found))
            raise _Mistake(statement.line, f"{shown} is nobody: users are called tenant|issuer|subject")
    shown = f"{file}#{name if name is not None else statement.line}"
    return Written(
        f"{file}:{statement.line}", shown, statement.text, tree, parts, reads, sorted(reads.arguments)
    )


def _annotation(tree: Tree, name: str) -> str | None:
    found = cast("Mapping[str, str | None]", tree.get("annotations", {}))
    return found.get(name)


def _other_name(name: str, taken: Collection[str]) -> str:
    return next(f"{name}.{number}" for number in itertools.count(2) if f"{name}.{number}" not in taken)


def _line(statement: Statement, message: str) -> int:
    if not message.startswith("unexpected"):
        return statement.line

    def unfinished(beginning: str) -> bool:
        try:
            engine.parse(beginning)
        except CedarFailure as error:
            return _UNFINISHED in str(error)
        return True

    return statement.line_of(unfinished)
