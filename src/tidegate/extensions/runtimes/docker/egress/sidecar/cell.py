"""Cell: plugs the cable, then holds the name space and does nothing more."""

from __future__ import annotations

import os
import signal

from tidegate.extensions.runtimes.docker.egress.sidecar import cable


def hold() -> None:
    """Do all of that. Does not return."""
    cable.plug()
    cable.drop()
    try:
        # It holds no Python then, which is most of its memory.
        os.execvp("sleep", ["sleep", "infinity"])  # noqa: S606  # it takes this one's place
    except OSError:
        signal.pause()
