"""`policies:` in the settings file: the engines that decide beside rules and roles, in their order.

What each of them takes is its extension's; here is what holds for all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from pydantic import BaseModel

from tidegate.settings.problems import Path, Problem, choose

KIND = "policies"
MOST = 16
"""Engines: each is asked at every decision."""
Read = Callable[[Path, str, object], BaseModel | None]
"""Reads the settings of an extension of a name, as they stand at a path; None where they are wrong, which it notes."""


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """One entry of `policies`."""

    type: str
    """Name of the extension."""
    settings: BaseModel


def policies(
    value: object, known: Sequence[str], read: Read, found: list[Problem]
) -> tuple[PolicySettings, ...]:
    """Read the entries; mistakes go to `found`, save those that the shape of the file tells."""
    made: list[PolicySettings] = []
    for number, item in enumerate(cast("list[object]", value) if isinstance(value, list) else []):
        if not isinstance(item, dict):
            continue
        path: Path = (KIND, number)
        given = dict(cast("dict[str, object]", item))
        name = given.pop("type", None)
        if not isinstance(name, str):
            found.append(Problem(path, f"needs a `type`{choose('', known)}"))
        elif name not in known:
            found.append(Problem((*path, "type"), "is none of the known words" + choose(name, known)))
        else:
            settings = read(path, name, given)
            if settings is not None:
                made.append(PolicySettings(name, settings))
    return tuple(made)
