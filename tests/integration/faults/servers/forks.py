"""An MCP server over stdio that forks without end, and so do its children. For containers alone: nothing else bounds it.

As `broken.py`, with one way more: `forks.py forks --after N`.
"""

from __future__ import annotations

import contextlib
import os

import broken


def forks(turn: broken.Turn) -> None:
    """Forks without end."""
    while True:
        with contextlib.suppress(OSError):
            os.fork()


if __name__ == "__main__":
    broken.WAYS["forks"] = forks
    broken.main()
