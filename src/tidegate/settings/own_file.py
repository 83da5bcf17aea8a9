"""The settings file itself: no server that it declares may write it, since what it says is run.

Looks at the file system to follow links, and changes nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

from tidegate.domain.errors import SettingsError
from tidegate.settings.settings import Settings


def keep_from_servers(path: Path, settings: Settings) -> None:
    """See that no server is given the file, or a directory that it is in, to write to.

    Raises:
        SettingsError: one is; what it wrote would be in force a moment later, outside of its sandbox.
    """
    named = Path(os.path.abspath(path))
    places = {os.path.realpath(named), os.path.join(os.path.realpath(named.parent), named.name)}
    mistakes = [
        f"{path}: servers.{spec.name}.mounts: {mount.source} may not be writable: this file is in it, and the "
        "server could write what runs here"
        for spec in settings.servers
        for mount in spec.mounts
        if mount.writable and any(_within(place, os.path.realpath(mount.source)) for place in places)
    ]
    if mistakes:
        raise SettingsError(mistakes)


def _within(path: str, place: str) -> bool:
    return path == place or path.startswith(place.rstrip("/") + "/")
