"""`tidegate version`."""

from __future__ import annotations

import platform

import tidegate
from tidegate.cli.options import Json
from tidegate.cli.output import write, write_json


def version(json: Json = False) -> None:
    """Say which version this is."""
    if json:
        write_json({"tidegate": tidegate.__version__, "python": platform.python_version()})
    else:
        write(f"tidegate {tidegate.__version__} (Python {platform.python_version()})")
