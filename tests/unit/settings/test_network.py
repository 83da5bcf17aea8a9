"""The key `network` of a server: what is taken, what it means, and what is told of mistakes."""

from __future__ import annotations

import pytest

from tests.unit.settings.given import only_mistake, read
from tidegate.domain.errors import SettingsError
from tidegate.domain.server import Network

BOTH = """
servers:
  a: {image: x, network: {egress: [API.example.com:443, 10.1.0.0/16:5432, 192.0.2.7:22], peers: [b]}}
  b: {image: y, transport: http, port: 9000, sharing: shared, network: {peers: [a]}}
  c: {image: z}
  d: {image: z, network: open}
"""


def test_a_list_says_what_is_reached_and_peers_come_with_their_port() -> None:
    a, b, c, d = read(BOTH).servers
    assert (a.network, a.peers) == (Network.ALLOWED, ("b:9000",))
    assert a.egress == ("api.example.com:443", "10.1.0.0/16:5432", "192.0.2.7:22")
    assert (b.network, b.egress, b.peers) == (Network.ALLOWED, (), ("a",))
    assert (c.network, d.network) == (Network.NONE, Network.OPEN)


def test_a_changed_list_is_a_change_of_what_runs() -> None:
    one, two = (read(f"servers: {{a: {{image: x, network: {{egress: ['{h}:1']}}}}}}") for h in ("b", "c"))
    assert one.servers[0].digest() != two.servers[0].digest()


@pytest.mark.parametrize(
    ("destination", "said"),
    [
        ("api.example.com", "host:port"),
        ("api.example.com:0", "a port from 1"),
        ("api.example.com:65536", "a port from 1"),
        ("api.example.com:443x", "host:port"),
        ("api_!.example.com:443", "letters, digits"),
        ("*:443", "letters, digits"),
        ("a.*.com:443", "letters, digits"),
        ("10.0.0.1/8:443", "no IPv4 address or network"),
        ("300.0.0.1:443", "no IPv4 address or network"),
        ("127.0.0.1:443", "leads nowhere"),
        ("224.0.0.0/8:443", "leads nowhere"),
        ("[2001:db8::1]:443", "IPv6 is shut"),
        (f"{'a' * 60}.{'b' * 60}.{'c' * 60}:443", "at most 128"),
    ],
)
def test_a_destination_that_is_none_is_told_of(destination: str, said: str) -> None:
    mistake = only_mistake(f"servers: {{a: {{image: x, network: {{egress: ['{destination}']}}}}}}")
    assert "servers.a.network.egress[0]: " in mistake
    assert said in mistake


@pytest.mark.parametrize(
    ("servers", "said"),
    [
        ("a: {image: x, network: {peers: [b]}}, b: {image: y}", "a.network.peers[0]: is not mutual"),
        ("a: {image: x, network: {peers: [b]}}", "a.network.peers[0]: there is no server b"),
        ("a: {image: x, network: {peers: [a]}}", "a.network.peers[0]: is the server itself"),
        (
            "a: {image: x, companions: {b: {image: z}}, network: {peers: [b]}}, "
            "b: {image: y, transport: http, sharing: shared, network: {peers: [a]}}",
            "a.network.peers[0]: is the name of a companion",
        ),
        ("a: {command: [x], network: {egress: []}}", "a.network: goes with containers only"),
        ("a: {image: x, network: {egres: []}}", "a.network.egres: is no known key; did you mean egress?"),
        ("a: {image: x, network: opne}", "a.network: is none of the known words; did you mean open?"),
        ("a: {image: x, network: 3}", "a.network: should be a mapping, is a number"),
    ],
)
def test_a_network_that_cannot_be_is_told_of(servers: str, said: str) -> None:
    assert said in only_mistake(f"servers: {{{servers}}}")


def test_a_peer_that_is_reached_is_shared_by_all() -> None:
    assert "needs sharing: shared" in only_mistake(BOTH.replace("sharing: shared, ", ""))


def test_of_two_peers_one_listens() -> None:
    both = "servers: {a: {image: x, network: {peers: [b]}}, b: {command: [y], network: {peers: [a]}}}"
    with pytest.raises(SettingsError, match="neither a nor b listens"):
        read(both)
