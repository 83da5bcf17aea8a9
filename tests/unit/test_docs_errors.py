"""The page on errors, metrics and log events is whole: it has every one that there is, and no other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tidegate.domain.errors import MethodNotFound, Refusal
from tidegate.telemetry import LOG_EVENTS, METRICS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "errors.md").read_text("utf-8")
SOURCES = sorted((ROOT / "src" / "tidegate").rglob("*.py"))


def rows(section: str) -> list[list[str]]:
    """Give the cells of every row of a section's tables, without their heads."""
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def named(section: str) -> list[str]:
    """Give what the first cells of a section name in code."""
    return [found[1] for row in rows(section) if (found := re.fullmatch(r"`([\w.]+)`", row[0]))]


def refusals(root: type[Refusal] = Refusal) -> Iterator[type[Refusal]]:
    yield root
    for each in root.__subclasses__():
        yield from refusals(each)


def test_every_error_stands_in_the_table_with_its_code_status_meaning_and_what_to_do() -> None:
    told = {
        row[2].strip("`"): (row[0], row[1], bool(row[3]), bool(row[4]))
        for row in rows("What clients get")
        if len(row) == 5 and row[0] != "code"
    }
    known = {
        each.reason: (str(each.code), str(each.status), True, True)
        for each in refusals()
        if each.__module__ == Refusal.__module__
    }
    known[MethodNotFound.reason] = (
        str(MethodNotFound.code),
        f"{MethodNotFound.status}, legacy 200",
        True,
        True,
    )
    assert told == known


def test_no_error_stands_in_the_table_twice() -> None:
    reasons = [row[2] for row in rows("What clients get") if len(row) == 5]
    assert len(set(reasons)) == len(reasons) - 2  # three tables, three heads


def test_reasons_that_are_only_counted_are_told_beside_their_metric() -> None:
    [told] = [row[2] for row in rows("Metrics") if row[0] == "`tidegate_refusals_total`"]
    counted = {
        reason for path in SOURCES for reason in re.findall(r'refusals\["(\w+)"\]', path.read_text("utf-8"))
    }
    assert counted == set(re.findall(r"`(\w+)`", told))


def test_every_metric_is_told_of_with_its_labels() -> None:
    assert named("Metrics") == list(METRICS)
    probes = (ROOT / "src" / "tidegate" / "edge" / "probes.py").read_text("utf-8")
    labels = {
        name: re.findall(r'"(\w+)"', listed)
        for name, listed in re.findall(
            r'"(tidegate_\w+)",[^\[\]]*(?:\[[^\[\]]*\])?,?\s*(?:labels=)?\[([^\]]*)\]', probes
        )
    }
    told = {row[0].strip("`"): re.findall(r"`(\w+)`", row[1]) for row in rows("Metrics") if row[0] != "name"}
    assert {name: told[name] for name in labels} == labels
    assert {name for name, found in told.items() if found} == set(labels)


def test_every_log_event_is_told_of() -> None:
    assert named("Log events") == list(LOG_EVENTS)
