"""The suite's runs, once for a session and all at once, since they mostly wait."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from tests.conformance.driver import driving
from tests.conformance.gateways import gateway, vouching
from tests.conformance.suite import ClientRuns, ServerRuns, fixture


@pytest.fixture(scope="session", autouse=True)
def started(request: pytest.FixtureRequest) -> None:
    """Start every run that some test will read."""
    read = {name for item in request.session.items for name in getattr(item, "fixturenames", ())}
    for name in ("through", "vouched", "direct", "driven"):
        if name in read:
            # What cannot be started fails the tests that read it, with the same words, and no others.
            with suppress(AssertionError, RuntimeError):
                request.getfixturevalue(name)


@pytest.fixture(scope="session")
def direct(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerRuns]:
    """The suite's clients at the fixture itself."""
    with fixture() as url, closing(ServerRuns(url, tmp_path_factory.mktemp("direct"))) as runs:
        yield runs


@pytest.fixture(scope="session")
def through(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerRuns]:
    """The suite's clients at a gateway before another fixture."""
    place = tmp_path_factory.mktemp("through")
    with fixture() as url, gateway(place / "gateway", url) as running:
        running.until_servers(upstream="ready")
        with closing(ServerRuns(running.url(), place / "suite")) as runs:
            yield runs


@pytest.fixture(scope="session")
def vouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerRuns]:
    """The suite's clients with a token at a gateway that wants one, before yet another fixture."""
    place = tmp_path_factory.mktemp("vouched")
    with fixture() as url, vouching(place / "gateway", url) as (running, token):
        running.until_servers(upstream="ready")
        with closing(ServerRuns(running.url(), place / "suite", token)) as runs:
            yield runs


@pytest.fixture(scope="session")
def driven(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClientRuns]:
    """The suite's servers behind gateways, one for each scenario."""
    with driving() as command, closing(ClientRuns(command, tmp_path_factory.mktemp("driven"))) as runs:
        yield runs
