"""The size gate: no file over 500 lines, no function over 50, in the places it is given.

It counts lines as they stand, docstrings included, decorators not. It must not import what it measures.

    python scripts/sizes.py src tests bench
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

FILE_LINES = 500
FUNCTION_LINES = 50


def too_long(path: Path) -> Iterator[str]:
    """Give one line for the file, and one for each of its functions, that is over its limit."""
    text = path.read_text(encoding="utf-8")
    lines = text.count("\n") + (not text.endswith("\n") and bool(text))
    if lines > FILE_LINES:
        yield f"{path}: {lines} lines, at most {FILE_LINES}"
    for node in ast.walk(ast.parse(text, str(path))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES:
                yield f"{path}:{node.lineno}: {node.name} has {length} lines, at most {FUNCTION_LINES}"


def sources(places: Sequence[str]) -> Iterator[Path]:
    """Give every Python file under the places named; a place that is missing is an error."""
    for place in map(Path, places):
        if place.is_file():
            yield place
        elif place.is_dir():
            yield from sorted(place.rglob("*.py"))
        else:
            raise SystemExit(f"{place}: no such file or directory")


def main(places: Sequence[str]) -> int:
    """Print what is too long; 1 when anything is."""
    if not places:
        raise SystemExit("usage: sizes.py PLACE…")
    files = list(sources(places))
    found = [line for path in files for line in too_long(path)]
    for line in found:
        print(line)
    print(f"{len(files)} files, {len(found)} over their size")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
