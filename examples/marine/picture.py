"""Make a picture of what a command really prints in a terminal: the command is run, its output is drawn.

python -m examples.marine.picture docs/servers.svg 118 .venv/bin/tidegate servers --config …
"""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text


def draw(target: Path, width: int, command: list[str]) -> None:
    """Run a command and write what it prints as an SVG."""
    environment = {**os.environ, "FORCE_COLOR": "1", "COLUMNS": str(width), "TERM": "xterm-256color"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(done.stdout.rstrip()))
    # A fixed id, so that the same output makes the same file; no fonts, so that it loads nothing from elsewhere.
    drawn = console.export_svg(title=shlex.join(command), unique_id="tidegate")
    target.write_text(re.sub(r"\s*@font-face \{.*?\}", "", drawn, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) < 4 or not sys.argv[2].isdigit():
        raise SystemExit("usage: python -m examples.marine.picture FILE.svg WIDTH COMMAND…")
    draw(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
