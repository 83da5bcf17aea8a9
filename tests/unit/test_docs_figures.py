"""Figures that the README tells are those of the page they come from."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "conformance.md").read_text("utf-8")


def cells(section: str) -> list[list[str]]:
    """Give the rows of a section's table of scenarios, without their names."""
    text = PAGE.partition(f"### {section}\n")[2].partition("\n### ")[0]
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in row[1:]] for row in rows]


def passed(rows: list[list[str]], column: int) -> int:
    return sum(row[column].startswith("passed (") for row in rows)


def test_the_readme_tells_how_many_scenarios_pass_through_the_gateway() -> None:
    words = " ".join((ROOT / "README.md").read_text("utf-8").split())
    told = re.search(
        r"as client (\d+) pass for 2025-11-25 and (\d+) for 2026-07-28, with it as server (\d+) and (\d+)",
        words,
    )
    assert told, "the README has no such sentence"
    client, server = cells("The suite as client"), cells("The suite as server")
    through = [passed(client, 1), passed(client, 3), passed(server, 0), passed(server, 1)]
    assert [int(figure) for figure in told.groups()] == through, "docs/conformance.md says otherwise"


def test_no_scenario_fails_as_the_readme_says() -> None:
    rows = cells("The suite as client") + cells("The suite as server")
    assert rows
    fine = ("passed (", "–", "nothing to check", "skipped by the suite", "not yet: ", "not run: ")
    assert [cell for row in rows for cell in row if not cell.startswith(fine)] == []
