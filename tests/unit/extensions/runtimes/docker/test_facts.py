"""What an inspected container says."""

from __future__ import annotations

from typing import Any

import pytest

from tidegate.domain.workload import WorkloadIdentity, WorkloadKey
from tidegate.extensions.runtimes.docker.facts import address_of, ending_of, facts_of, observed

IDENTITY = WorkloadIdentity("tg-web-00000001", "f" * 16, WorkloadKey("web", "a" * 16, "shared"))


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"ExitCode": 0}, "exited with status 0"),
        ({"ExitCode": 3}, "exited with status 3"),
        ({"ExitCode": 137}, "killed by signal 9"),
        ({"ExitCode": 137, "OOMKilled": True}, "killed: out of memory (limit 64 MiB)"),
        ({"Running": True}, "the engine dropped the stream of a server that still runs"),
    ],
)
def test_an_ending_is_told_in_words(state: dict[str, Any], words: str) -> None:
    assert ending_of({"State": state, "HostConfig": {"Memory": 64 << 20}}) == words


def inspected(network: dict[str, Any], **labels: str) -> dict[str, Any]:
    return {"Config": {"Labels": labels}, "NetworkSettings": network}


def test_a_stdio_workload_has_no_address() -> None:
    assert address_of(inspected({"Networks": {"bridge": {"IPAddress": "172.17.0.2"}}})) is None


def test_a_published_port_comes_before_the_containers_own_address() -> None:
    published = {"Ports": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "4711"}]}}
    own = {"Networks": {"net": {"IPAddress": "172.18.0.2"}}}
    labels = {"dev.tidegate.port": "80"}
    assert address_of(inspected({**published, **own}, **labels)) == "http://127.0.0.1:4711"
    assert address_of(inspected({"Ports": {"80/tcp": None}, **own}, **labels)) == "http://172.18.0.2:80"


def test_a_container_without_our_labels_is_not_observed() -> None:
    assert observed({"Labels": {"other": "1"}, "State": "running"}) is None
    assert observed({"Labels": None, "State": "running"}) is None


def test_a_listed_workload_is_observed_with_address_and_facts() -> None:
    labels = {**IDENTITY.labels(), "dev.tidegate.port": "80", "dev.tidegate.image": "web:1"}
    listed = {
        "Labels": labels,
        "State": "running",
        "Ports": [{"PrivatePort": 80, "PublicPort": 4711}],
        "NetworkSettings": {"Networks": {"net": {"IPAddress": "172.18.0.2"}}},
    }
    seen = observed(listed)
    assert seen is not None
    assert (seen.identity, seen.running, seen.address) == (IDENTITY, True, "http://127.0.0.1:4711")
    assert seen.facts["image"] == "web:1"
    stopped = observed({**listed, "State": "exited"})
    assert stopped is not None
    assert (stopped.running, stopped.address) == (False, None)


def test_limits_are_told_once_and_in_one_line() -> None:
    host = {"Memory": 256 << 20, "NanoCpus": 10**9, "PidsLimit": 128, "NetworkMode": "none"}
    told = facts_of({"Id": "0123456789abcdef", "Config": {"User": "1:1"}, "HostConfig": host})
    assert told == {
        "limits": "256 MiB memory, 1 cpu, 128 pids",
        "user": "1:1",
        "network": "none",
        "container": "0123456789ab",
    }
