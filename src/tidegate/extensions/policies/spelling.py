"""Spelling: an argument that a policy reads by one name and a server could by another, where no schema says its names."""

from __future__ import annotations

from collections.abc import Collection


def otherwise_spelled(given: Collection[str], read: Collection[str | None]) -> str | None:
    """Give the first name that is read of which another is given that differs by case alone; None where there is none.

    Decoders of several languages take `Amount` for `amount`.
    """
    folded = {name.casefold(): name for name in read if name is not None}
    for name in given:
        meant = folded.get(name.casefold())
        if meant is not None and name not in read:
            return meant
    return None
