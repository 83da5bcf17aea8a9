"""What the sidecars are made of."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, cast

import pytest

from tidegate.domain.server import Image, Network, ServerSpec, Transport
from tidegate.domain.workload import WorkloadIdentity, WorkloadKey
from tidegate.extensions.runtimes.docker import facts
from tidegate.extensions.runtimes.docker.egress import parts
from tidegate.extensions.runtimes.docker.egress.image import image_name
from tidegate.extensions.runtimes.docker.egress.parts import Joins, Sidecars

STDIO, HTTP = Image("x"), Image("x", transport=Transport.HTTP, port=9000)
SPEC = ServerSpec(
    "asks", HTTP, "docker", network=Network.ALLOWED, egress=("a.example:443",), peers=("b:8000", "c")
)
IDENTITY = WorkloadIdentity("tg-asks-1", "0" * 16, WorkloadKey("asks", SPEC.digest(), "shared"))
MADE = Sidecars(
    SPEC,
    IDENTITY,
    "image",
    Joins("net", {"peers": "172.30.0.0/16"}),
    resolvers=("192.0.2.53",),
    own=("203.0.113.7",),
)


def host(body: dict[str, object]) -> dict[str, Any]:
    return cast("dict[str, Any]", body["HostConfig"])


@pytest.mark.parametrize(
    ("launch", "network", "bridged", "wanted"),
    [
        (STDIO, Network.NONE, False, False),
        (STDIO, Network.OPEN, False, False),
        (STDIO, Network.ALLOWED, False, True),
        (STDIO, Network.ALLOWED, True, True),
        (HTTP, Network.NONE, False, True),
        (HTTP, Network.NONE, True, False),
        (HTTP, Network.OPEN, False, False),
        (HTTP, Network.ALLOWED, True, True),
    ],
)
def test_who_stands_behind_sidecars(launch: Image, network: Network, bridged: bool, wanted: bool) -> None:
    assert parts.wanted(ServerSpec("s", launch, "docker", network=network), bridged) is wanted


def test_the_cell_alone_is_on_the_network_of_companions_and_forwards_nothing_from_it() -> None:
    beside = Joins("net", companions="tg-asks-c1", hosts=("db:198.18.0.2", "asks:198.18.0.3"))
    made = replace(MADE, joins=beside)
    outlet, cell = parts.outlet(made), parts.cell(made)
    assert host(outlet)["NetworkMode"] == "net"
    assert host(cell)["NetworkMode"] == "tg-asks-c1"
    assert host(cell)["Sysctls"] == {"net.ipv4.ip_forward": "0"}
    assert host(cell)["Dns"] == ["100.127.255.1"]
    assert host(cell)["ExtraHosts"] == ["asks-server:127.0.0.1", "db:198.18.0.2", "asks:198.18.0.3"]
    assert cell["Hostname"] == "asks-server"


def test_the_outlet_alone_has_a_network_and_is_reached_on_loopback_alone() -> None:
    outlet, cell = parts.outlet(MADE), parts.cell(MADE)
    assert host(outlet)["NetworkMode"] == "net"
    assert host(outlet)["PortBindings"] == {"9000/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}
    assert host(outlet)["Sysctls"]["net.ipv4.ip_forward"] == "0"
    assert host(cell)["NetworkMode"] == "none"
    assert host(cell)["PidMode"] == "container:tg-asks-1-out"
    assert "PortBindings" not in host(cell)


def test_sidecars_have_the_rights_they_need_and_are_bounded() -> None:
    for body, rights in (
        (parts.outlet(MADE), ["NET_ADMIN", "NET_RAW", "SETGID", "SETUID"]),
        (parts.cell(MADE), ["NET_ADMIN", "SETGID", "SETUID"]),
    ):
        config = host(body)
        assert (config["CapDrop"], config["CapAdd"]) == (["ALL"], rights)
        assert (config["Privileged"], config["ReadonlyRootfs"]) == (False, True)
        assert "no-new-privileges:true" in config["SecurityOpt"]
        assert config["Memory"] == config["MemorySwap"] <= 128 << 20
        assert config["PidsLimit"] <= 32
        assert "Mounts" not in config
        assert "Binds" not in config


def test_the_outlet_is_told_what_is_allowed_and_no_secret() -> None:
    [told] = cast("list[str]", parts.outlet(MADE)["Env"])
    assert json.loads(told.removeprefix("TIDEGATE_OUTLET=")) == {
        "egress": ["a.example:443"],
        "peers": [["b", "b.peer.tidegate.internal", 8000]],
        "networks": ["172.30.0.0/16"],
        "port": 9000,
        "own": ["203.0.113.7"],
    }


def test_sidecars_are_found_by_label_and_are_no_workloads() -> None:
    for body, part in ((parts.outlet(MADE), "outlet"), (parts.cell(MADE), "cell")):
        labels = cast("dict[str, str]", body["Labels"])
        assert labels[facts.PART_LABEL] == part
        assert WorkloadIdentity.from_labels(labels) == IDENTITY
        assert facts.observed({"Labels": labels, "State": "running"}) is None


def test_peers_share_a_network_of_their_own_whichever_asks() -> None:
    one, other = (parts.peers_network("0" * 16, *pair) for pair in (("a", "b"), ("b", "a")))
    assert one == other
    assert one["Internal"] is True


def test_no_two_pairs_of_peers_share_a_network() -> None:
    pairs = [("a-b", "c"), ("a", "b-c"), ("a", "b"), ("peers-a", "open")]
    assert len({str(parts.peers_network("0" * 16, *pair)["Name"]) for pair in pairs}) == len(pairs)


def test_the_image_is_another_for_another_base() -> None:
    assert image_name("sha256:1") != image_name("sha256:2")
    assert image_name("sha256:1").startswith("tidegate/sidecar:")
