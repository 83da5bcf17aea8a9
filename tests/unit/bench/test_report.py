"""The report says what was measured, what was not, and which budget is broken."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from bench.__main__ import NAMES, all_series
from bench.report import budgets, json_line, tell_all
from bench.results import keep
from bench.series import Outcome, Row
from bench.single import Single
from bench.wire import Era
from rich.console import Console


def row(series: str, load: str, p50: float = 0.1, cpu: float | None = 60.0, **failures: int) -> Row:
    return Row(series, "HTTP", Era.LEGACY, load, 9000.0, p50, 1.5, cpu, 64.0, Counter(failures))


def outcomes(governed_cpu: float = 60.0, governed_p50: float = 0.3) -> list[Outcome]:
    return [
        Outcome("direct", [row("direct", "c=1", cpu=None), row("direct", "c=16", cpu=None)]),
        Outcome(
            "governed", [row("governed", "c=1", governed_p50), row("governed", "c=16", cpu=governed_cpu)]
        ),
        Outcome("container", skipped="no Docker Engine answers"),
    ]


def broken(made: list[Outcome], *singles: Single) -> list[str]:
    return [budget.name for budget in budgets(made, singles) if budget.broken]


def test_the_json_line_holds_the_four_series_and_says_what_was_skipped() -> None:
    said = json.loads(json_line(outcomes()))
    assert list(said) == ["direct", "minimal", "governed", "container"]
    measured = {"rate_c16": 9000.0, "p50_ms_c1": 0.3, "p99_ms_c16": 1.5, "cpu_us_c16": 60.0, "rss_mb": 64.0}
    assert said["governed"] == measured
    assert said["direct"]["cpu_us_c16"] is None
    assert said["container"]["skipped"] == "no Docker Engine answers"
    assert said["minimal"]["skipped"] == "not chosen"


def test_the_json_line_is_json_even_where_nothing_came_back() -> None:
    made = [Outcome("direct", [row("direct", "c=1", p50=float("nan"), refused=4), row("direct", "c=16")])]
    said = json.loads(json_line(made), parse_constant=lambda name: f"not JSON: {name}")
    assert said["direct"]["p50_ms_c1"] is None
    assert said["direct"]["failures"] == 4


def test_a_budget_is_broken_only_by_a_number_over_it() -> None:
    assert broken(outcomes()) == []
    assert broken(outcomes(governed_cpu=80.1)) == ["governed, HTTP upstream, CPU per call"]
    assert broken(outcomes(governed_p50=0.36)) == ["added p50 at c=1, journal write"]
    assert broken(outcomes(), Single("a list", "ms", 5.0, 5.1)) == ["a list"]
    assert broken(outcomes(), Single("a list", "ms", None, 5.1)) == []


def test_failures_and_what_was_skipped_stand_below_the_table() -> None:
    out = io.StringIO()
    made = outcomes()
    made[1].rows[0].failures["status 503: busy"] = 12
    tell_all(Console(file=out, width=140), made, [Single("a list", "ms", 5.0, skipped="no gateway")])
    assert "governed legacy c=1: 12 × status 503: busy" in out.getvalue()
    assert "container: not measured: no Docker Engine answers" in out.getvalue()
    assert "a list: not measured: no gateway" in out.getvalue()


def test_kept_results_replace_the_old_ones_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "benchmark.md"
    page.write_text("# The benchmark\n\nHow.\n\n## Results\n\nold numbers\n")
    made = outcomes(governed_cpu=99.0)
    keep(made, [], budgets(made, []), "2026-01-02", page)
    text = page.read_text()
    assert text.startswith("# The benchmark\n\nHow.\n\n## Results\n\n2026-01-02, tidegate ")
    assert "| governed | HTTP | legacy | c=16 | 9,000 | 0.100 | 1.500 | 99.0 | 64 | 0 |" in text
    assert "| governed, HTTP upstream, CPU per call | 80 µs | 99.00 µs | **over** |" in text
    assert "- container: not measured: no Docker Engine answers" in text
    assert "old numbers" not in text


def test_a_page_without_a_place_for_results_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "benchmark.md"
    page.write_text("# Another page\n")
    with pytest.raises(ValueError, match="has no heading"):
        keep(outcomes(), [], [], "2026-01-02", page)
    assert page.read_text() == "# Another page\n"


def test_every_series_that_can_be_chosen_is_measured() -> None:
    assert tuple(series.name for series in all_series(unsandboxed=False)) == NAMES


def test_the_stdio_upstream_answers_both_eras_and_odd_calls(root: Path) -> None:
    lines = [
        '{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18"}}',
        '{"jsonrpc":"2.0","method":"notifications/initialized"}',
        '{"jsonrpc":"2.0","id":"a","method":"server/discover","params":{}}',
        '{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"echo","arguments":{"text":"w\\"x"}}}',
        '{"params": {"arguments": {"n": {"id":5}, "text": "spaced"}}, "method":"tools/call", "id":3, "jsonrpc":"2.0"}',
        '{"jsonrpc":"2.0","id":4,"method":"unheard/of"}',
    ]
    done = subprocess.run(
        [sys.executable, str(root / "bench" / "upstream_stdio.py")],
        input="\n".join(lines) + "\n", capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["id"] for answer in answers] == [0, "a", 2, 3, 4]
    assert answers[1]["result"]["supportedVersions"] == ["2026-07-28"]
    assert [answer["result"]["content"][0]["text"] for answer in answers[2:4]] == ['w"x', "spaced"]
    assert answers[4]["error"]["code"] == -32601
