"""A trial's report: Markdown on standard output; what went on meanwhile on standard error."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from statistics import median


def options(what: str, minutes: float) -> argparse.Namespace:
    """Read the command line that every trial has."""
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("--minutes", type=float, default=minutes, help="how long it goes on")
    return parser.parse_args()


def say(text: str) -> None:
    """Tell how it goes."""
    print(text, file=sys.stderr, flush=True)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Give a Markdown table."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(str(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def counts(what: str, found: Mapping[str, object]) -> str:
    """Give a table of counts."""
    return table((what, "count"), list(found.items()))


def spread(seconds: Sequence[float]) -> str:
    """Say how long something took, in words."""
    if not seconds:
        return "no time, since none was"
    return f"{median(seconds):.1f} s (median; {max(seconds):.1f} s at most)"


def machine() -> str:
    """Say what it ran on."""
    return f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.system()}"


def end(report: str, faults: Sequence[str]) -> None:
    """Print the report, or what is wrong, and end accordingly."""
    if faults:
        for fault in faults[:40]:
            say(f"FAULT {fault}")
        say(f"{len(faults)} faults")
        say(report)
        raise SystemExit(1)
    print(report)
