"""Offline: whether what OPA has is what was agreed, for `tidegate policy check`, and what is odd about it.

Asks it as a call would, with a principal that is nobody's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tidegate.domain.errors import SettingsError
from tidegate.domain.principal import Principal
from tidegate.domain.target import Kind, Target
from tidegate.extensions.policies.opa import OpaSettings, asked, said
from tidegate.extensions.policies.opa.api import UNDEFINED, Api, Trouble, open_api
from tidegate.extensions.policies.opa.changes import Changes, Unseen, reached
from tidegate.ports.extension import Surroundings

_MOST_ASKED = 64
_NOBODY = Principal("default", "check", "nobody")


async def check(settings: OpaSettings, targets: Sequence[Target]) -> tuple[str, Sequence[str]]:
    """See that OPA answers as agreed, about some targets. Give how it is called, and notes.

    Raises:
        SettingsError: one line for each mistake.
    """
    name = f"opa {settings.url} {settings.path}"
    wanted = list(targets)[:_MOST_ASKED] or [Target("server", Kind.TOOL, "tool")]
    try:
        async with open_api(settings, Surroundings(Path(), "")) as api:
            await _agreed(api, settings, wanted)
            await Changes(api, settings).stamp()
            return name, [f"{name}: {note}" for note in await odd(api, settings)]
    except Trouble as error:
        raise SettingsError(f"{name}: {error}") from None


async def odd(api: Api, settings: OpaSettings) -> Sequence[str]:
    """Say what is odd about the documents that decide.

    Raises:
        Trouble: it does not answer.
    """
    notes: list[str] = []
    told = await api.ask(settings.path, _question(Target("server", Kind.TOOL, "tool")))
    if told.value() is UNDEFINED:
        notes.append("there is nothing at this path, so nothing is allowed by it")
    try:
        modules = await api.modules()
    except Trouble as error:
        if error.unreadable:
            return notes  # what it lets nobody see cannot be odd to us
        raise
    found = reached(modules, settings)
    if found.rules and found.rules.isdisjoint(said.KEYS):
        notes.append(f"it has none of the rules {', '.join(said.KEYS)}, so it says nothing")
    if found.outside and settings.revision is None:
        outside = ", ".join(sorted(found.outside))
        notes.append(
            f"it reads what changes by itself ({outside}): what was decided holds until something else does"
        )
    return notes


async def _agreed(api: Api, settings: OpaSettings, targets: Sequence[Target]) -> None:
    one_by_one: list[said.Answer] = []
    for target in targets:
        told = await api.ask(settings.path, _question(target))
        one_by_one.append(said.understood(told.value(), settings.path))
    if not any(each.defined for each in one_by_one):
        raise Trouble("there is nothing at this path")
    if settings.batch is None:
        return
    every = [asked.what(target, None) for target in targets]
    told = await api.ask(settings.batch, {**_who(), "targets": every})
    together = said.many(told.value(), settings.batch, len(targets))
    for target, alone, each in zip(targets, one_by_one, together, strict=True):
        if said.understood(each, settings.batch) != alone:
            shown = f"{target.server}__{target.name}"[:200]
            raise Trouble(f"{settings.batch} says something else of {shown} than {settings.path}")


def _question(target: Target) -> asked.Document:
    return {**_who(), "target": asked.what(target, None)}


def _who() -> asked.Document:
    return {"principal": asked.who(_NOBODY, None), "endpoint": "/mcp"}


__all__ = ["Unseen", "check", "odd"]
