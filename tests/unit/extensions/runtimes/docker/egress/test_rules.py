"""What a list of destinations allows."""

from __future__ import annotations

import pytest

from tidegate.extensions.runtimes.docker.egress.sidecar.rules import Peer, Rules

LIST = Rules(
    ("api.example.com:443", "*.wild.example:443", "*.wild.example:80", "192.0.2.7:22", "10.1.0.0/16:5432"),
    (Peer("other", "other.peer", 8000),),
    ("172.30.0.0/16",),
)
EVERYTHING = Rules(("0.0.0.0/0:443", "any.example:443"))


@pytest.mark.parametrize(
    ("name", "port", "allowed"),
    [
        ("api.example.com", 443, True),
        ("api.example.com", 80, False),
        ("example.com", 443, False),
        ("x.api.example.com", 443, False),
        ("api.example.com.evil.example", 443, False),
        ("notapi.example.com", 443, False),
        ("wild.example", 443, False),
        ("a.wild.example", 443, True),
        ("a.b.wild.example", 80, True),
        ("awild.example", 443, False),
        ("other", 8000, True),
        ("other", 443, False),
        ("", 443, False),
    ],
)
def test_a_name_is_allowed_with_its_ports_alone(name: str, port: int, allowed: bool) -> None:
    assert LIST.name_allowed(name, port) is allowed


@pytest.mark.parametrize(
    ("address", "port", "allowed"),
    [
        ("192.0.2.7", 22, True),
        ("192.0.2.7", 23, False),
        ("192.0.2.8", 22, False),
        ("10.1.255.1", 5432, True),
        ("10.2.0.1", 5432, False),
    ],
)
def test_an_address_is_allowed_by_itself_or_its_network(address: str, port: int, allowed: bool) -> None:
    assert LIST.address_allowed(address, port) is allowed


@pytest.mark.parametrize(
    "address",
    ["10.0.0.1", "192.168.1.1", "172.17.0.1", "169.254.169.254", "100.64.0.1", "127.0.0.1", "0.0.0.0"],
)
def test_a_list_of_everything_names_nothing_that_is_private(address: str) -> None:
    assert EVERYTHING.address_allowed("192.0.2.1", 443)
    assert not EVERYTHING.address_allowed(address, 443)
    assert EVERYTHING.objection("any.example", address, 443) is not None


def test_a_name_leads_to_a_private_address_only_where_that_is_named_with_the_port() -> None:
    assert LIST.objection("api.example.com", "10.1.2.3", 443) is not None
    assert LIST.objection("api.example.com", "10.1.2.3", 5432) is None
    assert LIST.objection("api.example.com", "203.0.113.9", 443) is None


@pytest.mark.parametrize("address", ["127.0.0.1", "100.127.255.1", "0.0.0.0", "224.0.0.1", "255.255.255.255"])
def test_what_is_the_sidecars_own_is_never_reached_even_if_it_is_named(address: str) -> None:
    named = Rules((f"{address}:80", "name.example:80"))
    assert not named.address_allowed(address, 80)
    assert named.objection("name.example", address, 80) is not None


def test_this_machine_is_reached_only_where_its_very_address_is_named() -> None:
    own = ("203.0.113.7", "10.0.0.7")
    rules = Rules(("0.0.0.0/0:443", "203.0.113.0/24:443", "10.0.0.0/8:443", "any.example:443"), own=own)
    named = Rules(("203.0.113.7:443", "any.example:443"), own=own)
    assert rules.address_allowed("203.0.113.8", 443)
    for address in own:
        assert not rules.address_allowed(address, 443)
        assert rules.objection("any.example", address, 443) is not None
    assert named.address_allowed("203.0.113.7", 443)
    assert named.objection("any.example", "203.0.113.7", 443) is None


def test_a_peer_leads_into_the_network_that_is_shared_and_nowhere_else() -> None:
    assert LIST.objection("other", "172.30.0.9", 8000) is None
    assert "leads out" in str(LIST.objection("other", "203.0.113.9", 8000))


def test_a_long_name_is_not_known_though_its_domain_is() -> None:
    assert LIST.knows("a.wild.example")
    assert not LIST.knows(f"{'a' * 60}.{'b' * 60}.wild.example")


@pytest.mark.parametrize("entry", ["x", "x:", ":1", "x:0", "x:65536", "x:-1", "10.0.0.1/8:1"])
def test_what_is_no_destination_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match=r"host:port|no port|host bits"):
        Rules((entry,))
