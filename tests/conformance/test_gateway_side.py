"""Every scenario of the conformance suite is passed through a gateway that renames nothing.

On the server's side the suite is the gateway's client, on the client's side it is the gateway's server. There is
no list of failures to expect. The scenarios of the client's side that want an authorization server are not here.
"""

from __future__ import annotations

import pytest

from tests.conformance import table
from tests.conformance.suite import (
    ClientRuns,
    ServerRuns,
    client_scenarios,
    server_scenarios,
    vouched_scenarios,
)


@pytest.mark.parametrize(("which", "scenario"), server_scenarios())
def test_a_server_scenario_is_passed_through_the_gateway(
    through: ServerRuns, which: str, scenario: str
) -> None:
    outcome = through.outcome(which, scenario)
    assert not outcome.failed, outcome.told()


@pytest.mark.parametrize(("which", "scenario"), vouched_scenarios())
def test_a_server_scenario_is_passed_with_a_token_where_one_is_needed(
    vouched: ServerRuns, which: str, scenario: str
) -> None:
    outcome = vouched.outcome(which, scenario)
    assert not outcome.failed, outcome.told()


@pytest.mark.parametrize(("revision", "scenario"), client_scenarios())
def test_a_client_scenario_is_passed_through_the_gateway(
    driven: ClientRuns, revision: str, scenario: str
) -> None:
    outcome = driven.outcome(revision, scenario)
    assert not outcome.failed, outcome.told()
    assert outcome.status == 0, outcome.told()


def test_the_page_about_conformance_tells_of_this_run(
    direct: ServerRuns, through: ServerRuns, vouched: ServerRuns, driven: ClientRuns
) -> None:
    before = table.written()
    now = table.tables(
        table.outcomes(server_scenarios(), direct.outcome),
        table.outcomes(server_scenarios(), through.outcome),
        table.outcomes(vouched_scenarios(), vouched.outcome),
        table.outcomes(client_scenarios(), driven.outcome),
    )
    if table.without_counts(before) != table.without_counts(now):
        table.write(now)
        pytest.fail(f"{table.PAGE.name} told otherwise; it is written anew, look at it")
