"""What is printed: the table, the one JSON line, and which budgets hold. It measures nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from bench.series import Outcome, Row
from bench.single import Single
from bench.wire import Era
from bench.yardstick import REFERENCE

SUMMARY = ("direct", "minimal", "governed", "container")
GOVERNED_CPU = 80.0
CONTAINER_CPU = 70.0
ADDED_P50 = 0.25
ADDED_P50_FSYNC = 0.6
GOVERNED_RSS = 150.0
MINIMAL_RSS = 80.0


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit of the architecture, and what was measured against it."""

    name: str
    unit: str
    limit: float | None
    value: float | None

    @property
    def broken(self) -> bool:
        """Whether it was measured and is over."""
        return self.value is not None and self.limit is not None and not self.value <= self.limit


def table(outcomes: Sequence[Outcome]) -> Table:
    """Give the table of all rows."""
    made = Table(title="tools/call", title_justify="left", header_style="bold")
    for name in ("series", "upstream", "era", "load"):
        made.add_column(name)
    for name in ("calls/s", "p50 ms", "p99 ms", "CPU µs/call", "RSS MB", "failures"):
        made.add_column(name, justify="right")
    for outcome in outcomes:
        for row in outcome.rows:
            made.add_row(*cells(row))
        made.add_section()
    return made


def cells(row: Row) -> tuple[str, ...]:
    """Give a row's words."""
    return (
        row.series, row.upstream, row.era.value, row.load, f"{row.rate:,.0f}", f"{row.p50:.3f}", f"{row.p99:.3f}",
        shown(row.cpu, ".1f"), shown(row.rss, ".0f"), str(row.failures.total()),
    )  # fmt: skip


def shown(value: float | None, form: str) -> str:
    """Give a number, or a dash."""
    return "-" if value is None else format(value, form)


def remarks(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Give what the table does not show: what was skipped, what failed, the stalls."""
    for outcome in outcomes:
        if outcome.skipped:
            yield f"{outcome.series}: not measured{' to its end' if outcome.rows else ''}: {outcome.skipped}"
        for row in outcome.rows:
            for reason, count in row.failures.most_common(3):
                yield f"{row.series} {row.era} {row.load}: {count} × {reason}"
        if outcome.stall is not None:
            yield f"{outcome.series}: longest stall of the gateway's loop {outcome.stall:.1f} ms"


def above_floor(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Give each series' CPU as a multiple of the floor's, which holds from machine to machine."""
    cpu = {made.series: row.cpu for made in outcomes if (row := made.row(Era.LEGACY, "c=16")) and row.cpu}
    for name, value in cpu.items():
        if name not in ("floor", "haproxy") and "floor" in cpu:
            yield f"{name}: {value / cpu['floor']:.2f} × the CPU of the floor, c=16"


def summary(outcomes: Sequence[Outcome]) -> dict[str, dict[str, object]]:
    """Give what `--json` prints: the legacy era, by series."""
    by_name = {outcome.series: outcome for outcome in outcomes}
    return {name: brief(by_name.get(name)) for name in SUMMARY}


def brief(outcome: Outcome | None) -> dict[str, object]:
    """Give one series of the summary; a number that was not measured is null, and `skipped` says why."""
    one = outcome.row(Era.LEGACY, "c=1") if outcome else None
    sixteen = outcome.row(Era.LEGACY, "c=16") if outcome else None
    said: dict[str, object] = {
        "rate_c16": rounded(sixteen.rate, 1) if sixteen else None,
        "p50_ms_c1": rounded(one.p50, 4) if one else None,
        "p99_ms_c16": rounded(sixteen.p99, 4) if sixteen else None,
        "cpu_us_c16": rounded(sixteen.cpu, 2) if sixteen else None,
        "rss_mb": rounded(sixteen.rss, 1) if sixteen else None,
    }
    failures = sum(row.failures.total() for row in outcome.rows) if outcome else 0
    if failures:
        said["failures"] = failures
    if outcome is None or outcome.skipped:
        said["skipped"] = last_line(outcome.skipped or "") if outcome else "not chosen"
    return said


def last_line(text: str) -> str:
    """Give the line that says it, of a reason that may be a whole traceback; bounded."""
    lines = [line.strip() for line in text.splitlines() if re.search(r"\w", line)]
    return lines[-1][-300:] if lines else text


def rounded(value: float | None, digits: int) -> float | None:
    """Round a number that is one; what is not a number becomes null, as JSON has none."""
    return None if value is None or value != value else round(value, digits)


def budgets(outcomes: Sequence[Outcome], singles: Sequence[Single]) -> list[Budget]:
    """Compare with the limits; the era is the legacy one, as in the summary."""
    by_name = {outcome.series: outcome for outcome in outcomes}

    def of(name: str, load: str) -> Row | None:
        outcome = by_name.get(name)
        return outcome.row(Era.LEGACY, load) if outcome else None

    direct, governed, container = of("direct", "c=1"), of("governed", "c=1"), of("container", "c=16")
    governed16, minimal16, yard = of("governed", "c=16"), of("minimal", "c=16"), of("haproxy", "c=16")

    def added(row: Row | None) -> float | None:
        return row.p50 - direct.p50 if direct and row else None

    def times(row: Row | None) -> float | None:
        return row.cpu / yard.cpu if row and row.cpu and yard and yard.cpu else None

    return [
        Budget(
            "governed, as a multiple of haproxy", "×", round(GOVERNED_CPU / REFERENCE, 2), times(governed16)
        ),
        Budget(
            "container, as a multiple of haproxy", "×", round(CONTAINER_CPU / REFERENCE, 2), times(container)
        ),
        Budget(
            "governed, HTTP upstream, CPU per call",
            "µs",
            GOVERNED_CPU,
            governed16.cpu if governed16 else None,
        ),
        Budget(
            "governed, stdio in a container, CPU per call",
            "µs",
            CONTAINER_CPU,
            container.cpu if container else None,
        ),
        Budget("added p50 at c=1, journal write", "ms", ADDED_P50, added(governed)),
        Budget("added p50 at c=1, journal fsync", "ms", ADDED_P50_FSYNC, added(of("fsync", "c=1"))),
        Budget("resident memory, minimal", "MB", MINIMAL_RSS, minimal16.rss if minimal16 else None),
        Budget("resident memory, governed", "MB", GOVERNED_RSS, governed16.rss if governed16 else None),
        *(Budget(single.name, single.unit, single.limit, single.value) for single in singles),
    ]


def budget_table(held: Sequence[Budget]) -> Table:
    """Give the table of the budgets."""
    made = Table(title="budgets", title_justify="left", header_style="bold")
    made.add_column("what")
    made.add_column("at most", justify="right")
    made.add_column("measured", justify="right")
    made.add_column("")
    for each in held:
        limit = "-" if each.limit is None else f"{each.limit:g} {each.unit}"
        made.add_row(each.name, limit, shown(each.value, ".2f"), judged(each))
    return made


def judged(budget: Budget) -> str:
    """Say whether a budget holds."""
    if budget.value is None:
        return "not measured"
    if budget.limit is None:
        return ""
    return "[red]over[/]" if budget.broken else "holds"


def tell_all(console: Console, outcomes: Sequence[Outcome], singles: Sequence[Single]) -> list[Budget]:
    """Print the tables and the remarks; give the budgets."""
    console.print(table(outcomes))
    held = budgets(outcomes, singles)
    console.print(budget_table(held))
    for remark in remarks(outcomes):
        console.print(remark, markup=False, highlight=False)
    for line in above_floor(outcomes):
        console.print(line, markup=False, highlight=False)
    for single in singles:
        if single.skipped:
            console.print(f"{single.name}: not measured: {single.skipped}", markup=False, highlight=False)
    return held


def json_line(outcomes: Sequence[Outcome]) -> str:
    """Give the one last line of `--json`."""
    return json.dumps(summary(outcomes))
