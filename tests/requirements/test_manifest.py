"""The manifest of the specification's demands, checked against the tests there are, and they against it.

`<revision>/*.toml` hold every sentence with MUST, MUST NOT, SHALL or REQUIRED of a revision's pages, in their
order, numbered by page. Each names the tests that show it is met, or says why it is `not_ours` or `not_yet`.
"""

from __future__ import annotations

import ast
import itertools
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
REVISIONS = ("2025-11-25", "2026-07-28")
STATES = {"tests", "not_ours", "not_yet"}
SIZES = {"2025-11-25": 275, "2026-07-28": 377}
"""How many demands a revision makes, so that none is dropped unseen."""

Entry = dict[str, Any]


@cache
def entries(revision: str) -> list[Entry]:
    """Give the demands of a revision."""
    found: list[Entry] = []
    for path in sorted((HERE / revision).glob("*.toml")):
        whole = tomllib.loads(path.read_text(encoding="utf-8"))
        assert set(whole) == {"revision", "requirement"}, path
        assert whole["revision"] == revision, path
        found += whole["requirement"]
    return found


@cache
def known_in(path: str) -> frozenset[str]:
    """Give the names of a file's tests, without importing it."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(
        node.name for node in ast.walk(tree) if isinstance(node, functions) and node.name.startswith("test_")
    )


def named() -> Iterator[tuple[str, str]]:
    """Give each test that some demand names, and the demand."""
    for revision in REVISIONS:
        for entry in entries(revision):
            for test in entry.get("tests", ()):
                yield test, f"{revision} {entry['id']}"


@pytest.mark.parametrize("revision", REVISIONS)
def test_every_demand_has_an_id_its_words_a_place_and_one_state(revision: str) -> None:
    for entry in entries(revision):
        state = STATES & entry.keys()
        assert entry.keys() - {"note"} == {"id", "says", "at", *state}, entry
        assert len(state) == 1, entry
        assert entry[state.pop()], entry
        assert re.search(r"\b(MUST|SHALL|REQUIRED)\b", entry["says"]), entry
        assert len(entry["says"]) <= 200, entry
        page = entry["at"].partition("#")[0]
        assert entry["id"].rpartition(".")[0] == page.replace("/", "."), entry


@pytest.mark.parametrize("revision", REVISIONS)
def test_no_demand_is_missing_or_there_twice(revision: str) -> None:
    ids = [entry["id"] for entry in entries(revision)]
    assert len(set(ids)) == len(ids) == SIZES[revision]
    numbers = sorted((page, int(number)) for page, _, number in (each.rpartition(".") for each in ids))
    for page, of_page in itertools.groupby(numbers, key=lambda each: each[0]):
        counted = [number for _, number in of_page]
        assert counted == list(range(1, len(counted) + 1)), page


def test_every_test_that_is_named_is_there() -> None:
    missing = []
    for test, demand in named():
        path, _, name = test.partition("::")
        if not (ROOT / path).is_file() or name not in known_in(path):
            missing.append(f"{demand}: {test}")
    assert missing == []


def test_every_test_that_is_here_for_a_demand_is_named_by_one() -> None:
    claimed = {test for test, _ in named()}
    for path in sorted(HERE.glob("test_*.py")):
        if path != Path(__file__):
            relative = str(path.relative_to(ROOT))
            assert {f"{relative}::{name}" for name in known_in(relative)} <= claimed, relative
