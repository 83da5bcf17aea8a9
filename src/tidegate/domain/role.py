"""Role: a name that principals may have, and what whoever has it is granted or denied."""

from __future__ import annotations

from dataclasses import dataclass, field

from tidegate.domain.endpoint import Effect, Selection

BUILT_IN = ("user", "admin")
"""Roles that there are without being declared."""


@dataclass(frozen=True, slots=True)
class Grant:
    """One entry of a role's `allow` or `deny`."""

    effect: Effect
    number: int
    """Where it stands in its list, for the record."""
    endpoints: tuple[str, ...] = ()
    """Patterns on paths of endpoints; empty means every one."""
    selection: Selection = field(default_factory=Selection)


@dataclass(frozen=True, slots=True)
class Role:
    """A role as declared. Whoever has it has those that it includes, too."""

    name: str
    includes: tuple[str, ...] = ()
    grants: tuple[Grant, ...] = ()


def implied(roles: tuple[Role, ...]) -> dict[str, frozenset[str]]:
    """Give, for each declared role, itself and all that it includes, however far. A circle is no end."""
    direct = {role.name: role.includes for role in roles}
    found: dict[str, frozenset[str]] = {}
    for name in direct:
        seen, waiting = {name}, [name]
        while waiting:
            for each in direct.get(waiting.pop(), ()):
                if each not in seen:
                    seen.add(each)
                    waiting.append(each)
        found[name] = frozenset(seen)
    return found
