"""Changes: in what two settings differ, by the keys of the file, and which of them a running gateway can follow."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields

from tidegate.settings.settings import Settings

RESTART = frozenset({"listen", "state", "shared", "admin", "dpop", "journal", "outbound"})
"""What a gateway is built on. Listeners, sessions, the journal and the runtimes would have to be opened anew."""


def different(before: Settings, after: Settings) -> list[str]:
    """Give the keys that differ, in the file's order."""
    return [each.name for each in fields(Settings) if getattr(before, each.name) != getattr(after, each.name)]


def needing_restart(before: Settings, after: Settings, opened: Collection[str]) -> list[str]:
    """Give the keys that differ and that only a start can follow. `opened` names the runtimes that are in use."""
    found = [name for name in different(before, after) if name in RESTART]
    if (before.tls is None) != (after.tls is None):
        found.append("tls")
    if before.local != after.local:
        found.append("auth")
    differ = (name for name in sorted(opened) if before.runtimes.get(name) != after.runtimes.get(name))
    return [*found, *(f"runtimes.{name}" for name in differ)]
