"""Keeps a run as the results in docs/benchmark.md: everything below the heading `Results`. It measures nothing."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from itertools import dropwhile, takewhile
from pathlib import Path

from bench.process import ROOT
from bench.report import Budget, above_floor, cells, judged, remarks, shown
from bench.series import Outcome
from bench.single import Single

PAGE = ROOT / "docs" / "benchmark.md"
TRIALS = ROOT / "docs" / "trials"
TABLES = {"many": "With very many servers", "broken": "Beside servers that are broken"}
"""Trials whose first table stands below the run's own, and under which heading."""
HEADING = "## Results\n"
HEADS = (
    "series",
    "upstream",
    "era",
    "load",
    "calls/s",
    "p50 ms",
    "p99 ms",
    "CPU µs/call",
    "RSS MB",
    "failures",
)


def keep(
    outcomes: Sequence[Outcome],
    singles: Sequence[Single],
    held: Sequence[Budget],
    day: str,
    page: Path = PAGE,
) -> None:
    """Replace what stands below the heading.

    Raises:
        ValueError: the page has no such heading.
    """
    text = page.read_text(encoding="utf-8")
    before, heading, _ = text.partition(HEADING)
    if not heading:
        raise ValueError(f"{page} has no heading {HEADING.strip()!r}")
    lines = "\n".join(told(outcomes, singles, held, day))
    page.write_text(f"{before}{HEADING}\n{lines}\n", encoding="utf-8")


def told(
    outcomes: Sequence[Outcome], singles: Sequence[Single], held: Sequence[Budget], day: str
) -> Iterator[str]:
    """Give the lines."""
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    yield f"{day}, tidegate {version('tidegate')}; {machine}, all on one machine."
    yield ""
    yield from rows(HEADS, 4, [cells(row) for outcome in outcomes for row in outcome.rows])
    yield ""
    budgets = [
        (each.name, "-" if each.limit is None else f"{each.limit:g} {each.unit}",
         "-" if each.value is None else f"{shown(each.value, '.2f')} {each.unit}", judged(each).replace("[red]over[/]", "**over**"))
        for each in held
    ]  # fmt: skip
    yield from rows(("what", "at most", "measured", ""), 1, budgets)
    yield ""
    for remark in (*above_floor(outcomes), *remarks(outcomes), *unmeasured(singles)):
        yield f"- {' '.join(remark.split())}"
    for name, heading in TABLES.items():
        yield from tried(name, heading)


def tried(name: str, heading: str, trials: Path = TRIALS) -> Iterator[str]:
    """Give the first table of a trial's kept report, where there is one."""
    page = trials / f"{name}.md"
    lines = page.read_text(encoding="utf-8").splitlines() if page.is_file() else []
    table = list(takewhile(_in_table, dropwhile(lambda line: not _in_table(line), lines)))
    if table:
        yield from (
            "",
            f"### {heading}",
            "",
            f"From the [trial](trials/{name}.md), which has the particulars.",
            "",
        )
        yield from table


def _in_table(line: str) -> bool:
    return line.startswith("|")


def unmeasured(singles: Sequence[Single]) -> Iterator[str]:
    """Give the single numbers that were in vain."""
    for single in singles:
        if single.skipped:
            yield f"{single.name}: not measured: {single.skipped}"


def rows(heads: Sequence[str], left: int, body: Sequence[Sequence[str]]) -> Iterator[str]:
    """Give a table; the first `left` columns hold words, the others numbers."""
    yield f"| {' | '.join(heads)} |"
    yield "|" + "|".join("---" if number < left else "---:" for number in range(len(heads))) + "|"
    for cell in body:
        yield f"| {' | '.join(cell)} |"
