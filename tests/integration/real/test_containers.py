"""Published servers over stdio in containers, asked by the official clients."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.integration.gateway.gateway import Gateway
from tests.integration.real.asked import CLIENTS, PUBLISHED, check_answers, check_cancellation, check_progress
from tests.integration.real.images import base_with_git, docker
from tests.integration.real.standing import kept, lay, published, standing

pytestmark = [pytest.mark.docker, pytest.mark.node, pytest.mark.network, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def containers() -> Iterator[Gateway]:
    """A gateway whose servers are containers."""
    try:
        base = base_with_git()
    except (RuntimeError, FileNotFoundError) as missing:
        pytest.skip(f"no base image with git can be made here: {missing}")
    place = kept("containers")
    settings = {
        "runtime": "docker",
        "runtimes": {"docker": {"bootstrap": True, "base": {"python": base}}},
        "servers": published(lay(place), git={}),
    }
    with standing(place, settings) as gateway:
        yield gateway
    assert ours(gateway) == []


def ours(gateway: Gateway) -> list[str]:
    """Give the containers that are this gateway's, running or not."""
    instance = (gateway.state / "instance").read_text().strip()
    return docker("ps", "--all", "--quiet", "--filter", f"label=dev.tidegate.instance={instance}").split()


@pytest.mark.parametrize(("language", "mode"), CLIENTS)
async def test_every_client_gets_what_the_servers_say_and_their_progress_and_can_cancel(
    containers: Gateway, language: str, mode: str
) -> None:
    await check_answers(containers, language, mode, PUBLISHED)
    await check_progress(containers, language, mode)
    await check_cancellation(containers, language, mode)


def test_every_server_has_one_hardened_container(containers: Gateway) -> None:
    inspected = json.loads(docker("inspect", *ours(containers)))
    assert len(inspected) == len(containers.status()["servers"])
    for each in inspected:
        assert each["Config"]["User"] == "65532:65532"
        host = each["HostConfig"]
        assert host["ReadonlyRootfs"]
        assert host["CapDrop"] == ["ALL"]
        assert host["NetworkMode"] == "none"
        assert host["PidsLimit"]
        assert host["Memory"]
        assert any(option.startswith("no-new-privileges") for option in host["SecurityOpt"])


def test_servers_of_either_era_are_spoken_to_in_theirs(containers: Gateway) -> None:
    eras = {each["name"]: each["workloads"][0]["era"] for each in containers.status()["servers"]}
    assert (eras["time"], eras["git"], eras["sqlite"]) == ("modern", "modern", "legacy")
    assert eras["everything"] == eras["filesystem"] == eras["memory"] == "legacy"
