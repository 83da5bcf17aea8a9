"""The resolver that a workload asks."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.extensions.runtimes.docker.egress.sidecar import names
from tidegate.extensions.runtimes.docker.egress.sidecar.names import Names
from tidegate.extensions.runtimes.docker.egress.sidecar.rules import Rules

A, AAAA, TXT, HTTPS = 1, 28, 16, 65
OK, FORMAT, NO_SUCH, NOT_DONE, REFUSED = 0, 1, 3, 4, 5


class Asked:
    """A resolver, and what it refused."""

    def __init__(self, *entries: str) -> None:
        self.refused: list[tuple[str, str]] = []
        self.names = Names(Rules(entries), lambda name, why: self.refused.append((name, why)))

    def ask(self, name: str, kind: int = A) -> tuple[int, str | None]:
        """Give the code and the address that came."""
        answer = self.names.answer(query(name, kind))
        assert answer is not None
        ident, flags, questions, answers, _, more = struct.unpack_from(">HHHHHH", answer)
        assert (ident, questions, more) == (7, 1, 0)
        assert flags & 0x8000
        return flags & 0xF, socket.inet_ntoa(answer[-4:]) if answers else None


def query(name: str, kind: int = A, flags: int = 0x0100) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack(">HHHHHH", 7, flags, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", kind, 1)


def test_an_allowed_name_has_an_address_that_stands_for_it() -> None:
    asked = Asked("api.example.com:443", "*.wild.example:443")
    code, address = asked.ask("API.Example.com")
    assert (code, asked.names.name_of(str(address))) == (OK, "api.example.com")
    assert asked.ask("api.example.com") == (OK, address)
    other = asked.ask("a.wild.example")[1]
    assert (other != address, asked.names.name_of(str(other))) == (True, "a.wild.example")
    assert asked.refused == []


@pytest.mark.parametrize("label", ["evil\0x", "192.0.2.7\0", "a b", "a\nb", "a/b", "a\x1b[2j", "\0"])
def test_a_name_that_a_resolver_may_read_as_another_one_is_not_there_below_a_wildcard(label: str) -> None:
    asked = Asked("*.wild.example:443")
    raw = label.encode()
    tail = b"\4wild\7example\0" + struct.pack(">HH", A, 1)
    answer = asked.names.answer(
        struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + bytes([len(raw)]) + raw + tail
    )
    assert answer is not None
    assert answer[3] & 0xF == NO_SUCH
    assert asked.refused == [(f"{label}.wild.example", "the name is not on the list")]


def test_other_names_are_not_there_and_it_is_told() -> None:
    asked = Asked("api.example.com:443")
    assert asked.ask("evil.example") == (NO_SUCH, None)
    assert asked.ask("x.api.example.com", TXT) == (NO_SUCH, None)
    assert asked.refused == [
        ("evil.example", "the name is not on the list"),
        ("x.api.example.com", "the name is not on the list"),
    ]


@pytest.mark.parametrize("kind", [AAAA, TXT, HTTPS, 5, 15, 33])
def test_of_an_allowed_name_there_is_an_address_and_nothing_else(kind: int) -> None:
    assert Asked("api.example.com:443").ask("api.example.com", kind) == (OK, None)


def test_names_of_a_wildcard_are_bounded_in_number() -> None:
    asked = Asked("*.wild.example:443")
    for number in range(names.MOST):
        assert asked.ask(f"n{number}.wild.example")[0] == OK
    assert asked.ask("one-more.wild.example") == (REFUSED, None)
    assert asked.ask("n0.wild.example")[0] == OK
    assert "more than" in asked.refused[0][1]


def test_what_is_no_query_has_no_answer_or_a_refusal() -> None:
    resolver = Asked("a.example:1").names
    assert resolver.answer(b"") is None
    assert resolver.answer(query("a.example", flags=0x8000)) is None
    assert resolver.answer(query("a.example") + b"x" * 512) is None
    notify = resolver.answer(query("a.example", flags=0x2000))
    assert notify is not None
    assert notify[3] & 0xF == NOT_DONE
    pointer = query("a.example")[:12] + b"\xc0\x0c" + struct.pack(">HH", A, 1)
    answer = resolver.answer(pointer)
    assert answer is not None
    assert answer[3] & 0xF == FORMAT


@given(st.binary(max_size=600))
def test_no_bytes_are_too_odd(data: bytes) -> None:
    answer = Asked("a.example:1").names.answer(data)
    assert answer is None or answer[:2] == data[:2]
