"""The kept inputs, read and written: one line for each, as a Python bytes literal."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).parent


def inputs(reader: str) -> list[bytes]:
    """Give what is kept for a reader."""
    lines = (HERE / f"{reader}.txt").read_text(encoding="ascii").splitlines()
    return [ast.literal_eval(line) for line in lines if line and not line.startswith("#")]


def add(reader: str, found: Iterable[bytes], why: str) -> int:
    """Keep further inputs below a line that says why. Tell how many were new."""
    new = sorted(set(found) - set(inputs(reader)), key=lambda data: (len(data), data))
    if new:
        with (HERE / f"{reader}.txt").open("a", encoding="ascii") as file:
            file.write("".join(f"{line}\n" for line in (f"# {why}", *map(repr, new))))
    return len(new)
