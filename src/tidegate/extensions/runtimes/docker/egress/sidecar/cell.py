"""Cell: plugs the cable, then holds the name space and does nothing more."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tidegate.extensions.runtimes.docker.egress.sidecar import cable

_RESOLVERS = Path("/etc/resolv.conf")
"""The engine's file, which whoever shares this name space has too."""


def hold() -> None:
    """Do all of that. Does not return."""
    _ask_the_outlet()
    cable.plug()
    cable.drop()
    try:
        # It holds no Python then, which is most of its memory.
        os.execvp("sleep", ["sleep", "infinity"])  # noqa: S606  # it takes this one's place
    except OSError:
        signal.pause()


def _ask_the_outlet() -> None:
    """Have the outlet asked for names. On a network with companions the engine names a resolver of its own."""
    wanted = f"nameserver {cable.OUTLET}\n"
    if wanted not in _RESOLVERS.read_text(encoding="utf-8"):
        _RESOLVERS.write_text(wanted, encoding="utf-8")
