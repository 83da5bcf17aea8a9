"""Every server scenario of the conformance suite is passed by the fixture when it is asked directly.

So whatever fails through the gateway fails because of the gateway.
"""

from __future__ import annotations

import pytest

from tests.conformance.suite import ServerRuns, server_scenarios


@pytest.mark.parametrize(("which", "scenario"), server_scenarios())
def test_the_fixture_passes_when_asked_directly(direct: ServerRuns, which: str, scenario: str) -> None:
    outcome = direct.outcome(which, scenario)
    assert not outcome.failed, outcome.told()
