"""Published servers as sandboxed processes, asked by the official clients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.gateway.gateway import Gateway
from tests.integration.real.asked import CLIENTS, PUBLISHED, check_answers, check_cancellation, check_progress
from tests.integration.real.standing import kept, lay, published, standing

pytestmark = [pytest.mark.sandbox, pytest.mark.node, pytest.mark.network, pytest.mark.timeout(700)]


@pytest.fixture(scope="module")
def processes() -> Iterator[Gateway]:
    """A gateway whose servers are processes."""
    place = kept("processes")
    settings = {"runtime": "process", "servers": published(lay(place), git={})}
    with standing(place, settings) as gateway:
        yield gateway


@pytest.mark.parametrize(("language", "mode"), CLIENTS)
async def test_every_client_gets_what_the_servers_say_and_their_progress_and_can_cancel(
    processes: Gateway, language: str, mode: str
) -> None:
    await check_answers(processes, language, mode, PUBLISHED)
    await check_progress(processes, language, mode)
    await check_cancellation(processes, language, mode)


def test_every_server_runs_in_a_sandbox(processes: Gateway) -> None:
    for each in processes.status()["servers"]:
        for workload in each["workloads"]:
            assert "NONE" not in workload["facts"]["sandbox"]
            assert "seccomp" in workload["facts"]["sandbox"]


def test_servers_of_either_era_are_spoken_to_in_theirs(processes: Gateway) -> None:
    eras = {each["name"]: each["workloads"][0]["era"] for each in processes.status()["servers"]}
    assert (eras["time"], eras["git"], eras["sqlite"]) == ("modern", "modern", "legacy")
    assert eras["everything"] == eras["filesystem"] == eras["memory"] == "legacy"
