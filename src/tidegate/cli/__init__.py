"""The command line: one thin module for each group of commands.

Nothing here decides anything: settings are loaded, a running gateway is asked over its control
socket, or a part is called by its public name. What takes long to import is imported inside the
command that needs it, so that `tidegate --help` is quick.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line: `tidegate`."""
    from tidegate.cli.app import run

    sys.exit(run(sys.argv[1:]))
