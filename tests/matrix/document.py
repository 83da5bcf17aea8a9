"""Writes the matrix into docs/conformance.md, from what a run gave.

python -m tests.matrix.document        run everything, and write it
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.matrix.features import DIRECTIONS, FEATURES, cell, columns
from tests.matrix.run import Column, standing

PAGE = Path(__file__).resolve().parents[2] / "docs" / "conformance.md"
BEGIN, END = "<!-- matrix -->", "<!-- /matrix -->"
INTRODUCTION = """\
## The matrix

What an MCP server can do, through the gateway, from clients and servers of either era: modern is 2026-07-28, legacy the
revisions before. A cell is what the named act of `tests/matrix` came to, both on a plain endpoint with this server
alone and on a prefixed one with five servers at once: **✓** it arrived, as the test
`tests/matrix/test_matrix.py::test_a_cell[FEATURE-DIRECTION-CARRIER]` shows; **(n)** the client got the refusal that the
specification prescribes, with the section below, and the same test asserts it. Two things are of endpoints with one
server only: an extension's own method, which names no server, and tools that are for apps alone, which the prefixed
endpoint does not have, since there nobody can tell whose app calls. HTTP+SSE is a transport of legacy
servers only. The clients are the official Python SDK's; elicitation, sampling, roots and subscriptions are tried with
the TypeScript SDK too (`tests/matrix/test_typescript.py`). `python -m tests.matrix.document` runs all of it and writes
this table; the tests do the same and say when it is no longer true."""


def render(done: Mapping[Column, Mapping[str, str]]) -> str:
    """Give the matrix as Markdown. What was not run, or failed, says so."""
    sections: list[str] = []
    heads = [f"{DIRECTIONS[direction]}, {carrier}" for direction, carrier in columns()]
    lines = [f"| feature | {' | '.join(heads)} |", f"| --- |{' :-: |' * len(heads)}"]
    for feature in FEATURES:
        cells: list[str] = []
        for direction, carrier in columns():
            problem = done.get((direction, carrier), {}).get(feature.id)
            _, section = cell(feature, direction)
            if section and section not in sections:
                sections.append(section)
            right = f"({sections.index(section) + 1})" if section else "✓"
            cells.append("not run" if problem is None else "**fails**" if problem else right)
        lines.append(f"| {feature.title} (`{feature.id}`) | {' | '.join(cells)} |")
    codes = ", ".join(f"`{key}` {words}" for key, words in DIRECTIONS.items())
    refusals = "\n".join(f"{number}. {section}" for number, section in enumerate(sections, 1))
    return "\n\n".join([
        INTRODUCTION, "\n".join(lines), f"Directions in the tests' names: {codes}.", f"Refusals:\n\n{refusals}",
    ])  # fmt: skip


def written() -> str:
    """Give the part of the page that is the matrix."""
    return PAGE.read_text().partition(BEGIN)[2].partition(END)[0].strip()


def write(text: str) -> None:
    """Put the matrix into the page, and touch nothing else of it."""
    page = PAGE.read_text()
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE} lacks {BEGIN} … {END}")
    PAGE.write_text(f"{head}{BEGIN}\n\n{text}\n\n{END}{tail}")


def main() -> int:
    """Run everything and write the page; the status tells whether every cell is right."""
    with tempfile.TemporaryDirectory() as place, standing(Path(place)) as run:
        done = asyncio.run(run.all())
    write(render(done))
    wrong = [
        f"{feature}-{direction}-{carrier}: {problem}"
        for (direction, carrier), found in done.items()
        for feature, problem in found.items()
        if problem
    ]
    print("\n".join(wrong))
    print(f"{sum(len(found) for found in done.values()) - len(wrong)} cells right, {len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
