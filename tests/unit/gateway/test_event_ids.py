"""Event ids are opaque, short, name what they must, and are good in one session only."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.gateway.event_ids import LONGEST, EventId, EventIds

KEY = bytes(range(32))
IDS = EventIds(KEY, "boot1234")


@given(st.integers(1, 2**48 - 1), st.none() | st.binary(min_size=1, max_size=96), st.integers(0, 10**12 - 1))
def test_it_says_gateway_stream_request_and_number(stream: int, request: bytes | None, number: int) -> None:
    text = (IDS.prefix("session", stream, request) + b"%d" % number).decode()
    assert len(text) <= LONGEST
    assert IDS.read(text, "session") == EventId("boot1234", stream, request, number)
    assert EventIds(KEY, "another").read(text, "session") == EventId("boot1234", stream, request, number)


def test_the_stream_of_a_request_with_a_long_id_has_none() -> None:
    assert IDS.prefix("session", 1, b"x" * 97) == b""


def test_it_is_nothing_in_another_session_or_under_another_key() -> None:
    text = (IDS.prefix("session", 5, b"1") + b"3").decode()
    assert IDS.read(text, "other") is None
    assert EventIds(bytes(32), "boot1234").read(text, "session") is None


@pytest.mark.parametrize("request_id", [None, b"1", b'"\xc3\xbc"'])
def test_all_of_it_but_the_number_counts(request_id: bytes | None) -> None:
    prefix = IDS.prefix("session", 255, request_id).decode()
    for at in range(len(prefix)):
        for other in "aZ9._-":
            changed = prefix[:at] + other + prefix[at + 1 :]
            assert changed == prefix or IDS.read(changed + "1", "session") is None


@given(st.text(max_size=250))
def test_any_text_is_none(text: str) -> None:
    assert IDS.read(text, "session") is None
