"""The settings file itself, and what it names that decides who may do what: no server that it declares may write it.

Looks at the file system to follow links, and changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import cast

from tidegate.domain.errors import SettingsError
from tidegate.settings.policies import PolicySettings
from tidegate.settings.settings import Settings

_WILD = frozenset("*?[")


def keep_from_servers(path: Path, settings: Settings) -> None:
    """See that no server is given the file, or a directory that it is in, to write to; nor files of policies.

    Raises:
        SettingsError: one is; what it wrote would be in force a moment later, outside of its sandbox.
    """
    mine = _places(path)
    rules = {place for entry in settings.policies for named in _files(entry) for place in _patterns(named)}
    mistakes: list[str] = []
    for spec in settings.servers:
        for mount in spec.mounts:
            source = os.path.realpath(mount.source)
            at = f"{path}: servers.{spec.name}.mounts: {mount.source} may not be writable: "
            if mount.writable and any(_within(place, source) for place in mine):
                mistakes.append(f"{at}this file is in it, and the server could write what runs here")
            elif mount.writable and any(_may_hold(source, place) for place in rules):
                mistakes.append(f"{at}policies are in it, and the server could write what it may do")
    if mistakes:
        raise SettingsError(mistakes)


def _places(path: Path) -> set[str]:
    named = Path(os.path.abspath(path))
    return {os.path.realpath(named), os.path.join(os.path.realpath(named.parent), named.name)}


def _files(entry: PolicySettings) -> Iterator[Path]:
    """Give the paths among the settings of an engine, or patterns of them."""
    for name in type(entry.settings).model_fields:
        value: object = getattr(entry.settings, name)
        for each in cast("tuple[object, ...]", value) if isinstance(value, tuple) else (value,):
            if isinstance(each, Path):
                yield each


def _patterns(pattern: Path) -> set[str]:
    """Follow the links before a pattern begins to be one."""
    wild = next(
        (part for part in (*reversed(pattern.parents), pattern) if not _WILD.isdisjoint(str(part))), None
    )
    if wild is None:
        return _places(pattern)
    rest = pattern.relative_to(wild.parent)
    return {os.path.join(place, rest) for place in _places(wild.parent)}


def _may_hold(source: str, pattern: str) -> bool:
    """Tell whether a file that fits the pattern may be what is mounted, or in it."""
    parts, wanted = Path(source).parts, Path(pattern).parts
    fit = all(fnmatchcase(part, each) for part, each in zip(parts, wanted, strict=False))
    return len(parts) <= len(wanted) and fit


def _within(path: str, place: str) -> bool:
    return path == place or path.startswith(place.rstrip("/") + "/")
