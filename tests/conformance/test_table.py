"""The page about conformance leaves no scenario out."""

from __future__ import annotations

from tests.conformance import table
from tests.conformance.suite import (
    AUTH,
    Outcome,
    client_scenarios,
    known,
    server_scenarios,
    vouched_scenarios,
)


def test_the_page_lists_every_scenario_of_the_suite() -> None:
    text = table.written()
    missing = [name for side in known().values() for name in side if f"`{name}`" not in text]
    assert not missing


def test_the_page_says_of_every_scenario_that_wants_an_authorization_server_that_it_is_not_yet_run() -> None:
    rows = [line for line in table.written().splitlines() if line.startswith("| `auth/")]
    assert rows
    assert all(line.count(table.NOT_YET) == 2 for line in rows)


def test_the_suite_has_nothing_about_who_may_ask_a_server() -> None:
    # The page says so. Once it has, those scenarios are to be run too.
    assert not [name for name in known()["server"] if name.startswith(AUTH)]


def test_a_table_says_of_each_run_how_it_ended() -> None:
    made = [
        Outcome("a", [{"id": "x", "status": "SUCCESS"}, {"id": "y", "status": "WARNING"}]),
        Outcome("b", [{"id": "x", "status": "SUCCESS"}, {"id": "y", "status": "FAILURE"}]),
        Outcome("c", [{"id": "x", "status": "SKIPPED"}]),
        Outcome("c", [{"id": "x", "status": "INFO"}]),
        Outcome("d", []),
        Outcome("e", [{"id": "x", "status": "SUCCESS"}], status=1),
    ]
    assert [table.cell(each) for each in made] == [
        "passed (1), 1 warned",
        "**failed** (1 of 2)",
        "skipped by the suite",
        "nothing to check",
        "**failed** (0 of 1)",
        "**failed** (1 of 1)",
    ]


def test_every_scenario_that_is_run_has_a_cell_in_the_tables() -> None:
    asked = [*server_scenarios(), *vouched_scenarios(), *client_scenarios()]
    ended = {key: Outcome(key[1], [{"id": "x", "status": "SUCCESS"}]) for key in asked}
    text = table.tables(ended, ended, ended, ended)
    cells = 2 * len(server_scenarios()) + len(vouched_scenarios()) + len(client_scenarios())
    assert text.count("passed (1)") == cells
    assert f"| {table.NOT_RUN} |" not in text
