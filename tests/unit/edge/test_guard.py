"""Which Host and Origin are served, and whose address a request is counted under."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.domain.errors import Forbidden
from tidegate.edge.guard import Guard

LOCAL = Guard(listen_host="127.0.0.1")
PUBLIC = Guard(
    listen_host="0.0.0.0",
    public_url="https://MCP.example.com/base",
    hosts=["Inside.example"],
    origins=["https://app.example/"],
)


def served(guard: Guard, host: str | None, origin: str | None = None) -> bool:
    """Tell whether a request with these headers is served."""
    headers = {} if host is None else {b"host": host.encode("latin-1")}
    if origin is not None:
        headers[b"origin"] = origin.encode("latin-1")
    try:
        guard.check(headers)
    except Forbidden:
        return False
    return True


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8080", "localhost", "LocalHost:1", "[::1]", "[::1]:8080"]
)
def test_a_loopback_listener_serves_its_own_names(host: str) -> None:
    assert served(LOCAL, host)


@pytest.mark.parametrize(
    "host",
    [
        None, "", "attacker.example", "attacker.example:8080", "localhost.attacker.example", "127.0.0.1.nip.example",
        "notlocalhost", "0.0.0.0", "[::1", "[::2]", ":8080", "localhost.", "127.0.0.2", "mcp.example.com",
        "127.0.0.1@attacker.example", "xn--localhost", "loc\xe4lhost", "[v1.x]",
    ],
)  # fmt: skip
def test_a_loopback_listener_serves_no_name_that_a_rebound_page_sends(host: str | None) -> None:
    assert not served(LOCAL, host)
    assert not served(LOCAL, host)  # and remembers nothing wrong of it


@pytest.mark.parametrize(
    "origin", ["http://localhost", "http://localhost:3000", "https://127.0.0.1:5173", "http://[::1]:1"]
)
def test_a_page_of_this_machine_may_ask_a_loopback_listener(origin: str) -> None:
    assert served(LOCAL, "localhost", origin)
    assert not served(PUBLIC, "mcp.example.com", origin)


@pytest.mark.parametrize(
    "origin",
    [
        "null", "", "http://attacker.example", "http://localhost.attacker.example", "http://localhost@attacker.example",
        "attacker.example", "localhost", "http://[::1", "file://", "http://\xff",
    ],
)  # fmt: skip
def test_any_other_page_may_not(origin: str) -> None:
    assert not served(LOCAL, "localhost", origin)


def test_a_public_listener_serves_its_url_and_what_was_allowed() -> None:
    assert served(PUBLIC, "mcp.example.com")
    assert served(PUBLIC, "mcp.example.com:443", "https://mcp.example.com")
    assert served(PUBLIC, "inside.example", "https://app.example")
    assert served(PUBLIC, "INSIDE.example", "https://APP.example")
    assert not served(PUBLIC, "0.0.0.0")
    assert not served(PUBLIC, "mcp.example.com", "http://mcp.example.com")
    assert not served(PUBLIC, "mcp.example.com", "https://app.example.evil")
    assert not served(PUBLIC, "other.example")


@given(st.text(max_size=60, alphabet=st.characters(max_codepoint=255)), st.none() | st.text(max_size=60, alphabet=st.characters(max_codepoint=255)))  # fmt: skip
def test_nothing_but_a_refusal_comes_of_any_headers(host: str, origin: str | None) -> None:
    served(LOCAL, host, origin)
    served(PUBLIC, host, origin)


def peer(client: str, forwarded: str | None, *proxies: str) -> str:
    """Give whom a request is counted under."""
    headers = {} if forwarded is None else {b"x-forwarded-for": forwarded.encode("latin-1")}
    return Guard(listen_host="127.0.0.1", proxies=proxies).peer(client, headers)


@pytest.mark.parametrize(
    ("client", "forwarded", "expected"),
    [
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "192.0.2.7", "192.0.2.7"),
        ("10.0.0.1", "192.0.2.7, 10.0.0.2", "192.0.2.7"),
        ("10.0.0.1", "198.51.100.9, 192.0.2.7", "192.0.2.7"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "192.0.2.7, garbage", "garbage"),
        ("10.0.0.1", "x" * 5000, "x" * 64),
        ("203.0.113.5", "192.0.2.7", "203.0.113.5"),
        ("fd00::1", "2001:db8::9", "2001:db8::9"),
    ],
)
def test_the_client_is_the_last_one_that_no_trusted_proxy_vouches_away(
    client: str, forwarded: str | None, expected: str
) -> None:
    assert peer(client, forwarded, "10.0.0.0/8", "fd00::/8") == expected


def test_without_trusted_proxies_a_forwarded_address_is_only_words() -> None:
    assert peer("203.0.113.5", "192.0.2.7") == "203.0.113.5"


def test_a_forwarded_chain_is_read_only_so_far() -> None:
    assert peer("10.0.0.1", ",".join(["192.0.2.1"] + ["10.0.0.2"] * 10_000), "10.0.0.0/8") == "10.0.0.2"


def test_what_everybody_may_be_told_is_told_by_its_own_host_to_any_origin() -> None:
    elsewhere = {b"host": b"localhost", b"origin": b"https://elsewhere.example"}
    LOCAL.check_host(elsewhere)
    with pytest.raises(Forbidden):
        LOCAL.check(elsewhere)
    with pytest.raises(Forbidden):
        LOCAL.check_host({b"host": b"elsewhere.example"})


@pytest.mark.parametrize(
    ("address", "trusted"),
    [
        ("10.0.0.5", True),
        ("10.1.0.5", False),
        ("::1", False),
        ("", False),
        ("uid:0", False),
        ("10.0.0.5x", False),
    ],
)
def test_a_proxy_is_who_the_settings_say_and_nobody_else(address: str, trusted: bool) -> None:
    assert Guard(listen_host="127.0.0.1", proxies=["10.0.0.0/24"]).trusts(address) == trusted
    assert not LOCAL.trusts(address)
