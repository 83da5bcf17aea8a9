"""How long results hold: read, told to modern clients, not told to legacy ones."""

from __future__ import annotations

import json

import pytest
from msgspec import Raw

from tidegate.protocol import caching
from tidegate.protocol.codec import decode_object

READ = "resources/read"


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


def test_a_legacy_servers_result_tells_a_modern_client_that_it_does_not_hold() -> None:
    found = caching.dressed(READ, Raw(b'{"contents":[ {"n": 1.0e5} ]}'), modern_client=True)
    assert json.loads(bytes(found)) == {"contents": [{"n": 1e5}], "ttlMs": 0, "cacheScope": "private"}
    assert b'[ {"n": 1.0e5} ]' in bytes(found)


@pytest.mark.parametrize("ttl", [b"-1", b'"x"', b"null"])
def test_a_time_that_must_not_be_told_becomes_none(ttl: bytes) -> None:
    found = caching.dressed(READ, Raw(b'{"ttlMs":%b,"cacheScope":"public"}' % ttl), modern_client=True)
    assert json.loads(bytes(found)) == {"ttlMs": 0, "cacheScope": "public"}


def test_what_a_modern_server_says_passes_as_the_bytes_it_came_in() -> None:
    result = Raw(b'{"resultType":"complete","contents":[],"ttlMs": 5 ,"cacheScope":"public"}')
    assert caching.dressed(READ, result, modern_client=True) is result


def test_a_legacy_client_is_told_nothing_of_it() -> None:
    found = caching.dressed(
        READ, Raw(b'{"contents":[],"ttlMs":5,"cacheScope":"public"}'), modern_client=False
    )
    assert json.loads(bytes(found)) == {"contents": []}


@pytest.mark.parametrize("modern", [True, False])
def test_what_cannot_be_kept_is_left_alone(modern: bool) -> None:
    for method, result in (("tools/call", b'{"ttlMs":5}'), (READ, b"[]")):
        raw = Raw(result)
        assert caching.dressed(method, raw, modern_client=modern) is raw
    asks = Raw(b'{"resultType":"input_required"}')
    assert caching.dressed(READ, asks, modern_client=True) is asks


def test_a_kept_result_says_what_is_left_of_its_time() -> None:
    fields = decode_object(b'{"contents":[],"ttlMs":5000,"cacheScope":"public"}')
    assert json.loads(caching.aged(fields, 1.25))["ttlMs"] == 1250
    assert json.loads(caching.aged(fields, -1.0))["ttlMs"] == 0
