"""Writing: tables and text for people, JSON for machines.

Text that comes from servers can hold what a terminal takes as commands; it never reaches one.
"""

from __future__ import annotations

import json
import os
import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_NUMBERS = frozenset({"TOOLS", "CALLS", "IN FLIGHT", "RESTARTS", "P50 / P95", "MEMORY", "AGE"})
"""Columns that hold them, and stand to the right."""

# C0 save tab and newline, DEL, C1, and the characters that turn the direction of text (CVE-2021-42574).
_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def harmless(text: str) -> str:
    """Show control characters as escapes."""
    return _COMMANDS.sub(lambda match: match[0].encode("unicode_escape", "surrogatepass").decode(), text)


def out() -> Console:
    """Give the console on standard output; without colours, and wide, where that is no terminal."""
    from rich.console import Console

    narrow = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(highlight=False, width=None if narrow else 200)


def table(*columns: str) -> Table:
    """Begin a table. What goes into it passes `cell` first where it is not our own."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(column, overflow="fold", justify="right" if column in _NUMBERS else "left")
    return made


def cell(text: str) -> str:
    """Make text harmless in a table, which takes markup."""
    from rich.markup import escape

    return escape(harmless(text))


def say(line: str) -> None:
    """Write a line on standard error: what is going on, beside the result."""
    print(harmless(line), file=sys.stderr, flush=True)


def write(text: str) -> None:
    """Write text on standard output, as it is but for what a terminal would obey."""
    sys.stdout.write(harmless(text) + "\n")


def write_json(value: object) -> None:
    """Write a value as JSON on standard output."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    # What is left after JSON's own escapes stands inside strings, where \\u means the same.
    text = re.sub("[\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", lambda m: f"\\u{ord(m[0]):04x}", text)
    sys.stdout.write(text + "\n")
