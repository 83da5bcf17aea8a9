"""How long results hold: read, and told to clients."""

from __future__ import annotations

import json

import pytest
from msgspec import Raw

from tidegate.protocol import caching
from tidegate.protocol.codec import decode_object


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (b'{"resultType":"complete","ttlMs":1500}', 1.5),
        (b'{"ttlMs":2000}', 2.0),
        (b'{"ttlMs":0}', 0.0),
        (b'{"ttlMs":-1}', 0.0),
        (b'{"ttlMs":1.5}', 0.0),
        (b'{"ttlMs":"1500"}', 0.0),
        (b"{}", 0.0),
        (b'{"resultType":"input_required","ttlMs":1500}', 0.0),
        (b'{"ttlMs":99999999999999}', caching.LONGEST),
    ],
)
def test_how_long_a_result_holds_is_read_with_care(result: bytes, expected: float) -> None:
    assert caching.seconds(decode_object(result)) == expected


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (b'{"cacheScope":"public"}', True),
        (b'{"cacheScope":"private"}', False),
        (b"{}", False),
        (b'{"cacheScope":"PUBLIC"}', False),
    ],
)
def test_only_what_says_that_it_is_public_is(result: bytes, expected: bool) -> None:
    assert caching.is_public(decode_object(result)) is expected


@pytest.mark.parametrize("ttl", [None, b"-1", b'"x"', b"null", b"1.5"])
@pytest.mark.parametrize("scope", [None, b'"Public"', b"1"])
def test_what_is_not_said_or_not_soundly_does_not_hold_and_is_private(
    ttl: bytes | None, scope: bytes | None
) -> None:
    said = {"ttlMs": ttl, "cacheScope": scope}
    found = caching.told({key: Raw(value) for key, value in said.items() if value is not None})
    assert found == {"ttlMs": Raw(b"0"), "cacheScope": Raw(b'"private"')}


def test_a_legacy_servers_result_tells_a_modern_client_that_it_does_not_hold() -> None:
    assert caching.told({"contents": Raw(b"[]")}) == {"ttlMs": Raw(b"0"), "cacheScope": Raw(b'"private"')}


def test_what_a_server_says_stands() -> None:
    for text in (b'{"ttlMs":5,"cacheScope":"public"}', b'{"ttlMs":0,"cacheScope":"private"}'):
        assert caching.told(decode_object(text)) == {}


def test_a_kept_result_says_what_is_left_of_its_time() -> None:
    fields = decode_object(b'{"contents":[],"ttlMs":5000,"cacheScope":"public"}')
    assert json.loads(caching.aged(fields, 1.25))["ttlMs"] == 1250
    assert json.loads(caching.aged(fields, -1.0))["ttlMs"] == 0
