"""Between the eras: a result keeps its bytes, in the client's dress."""

from __future__ import annotations

import json

import pytest
from msgspec import Raw

from tidegate.protocol import bridge, revisions


def crossed(result: bytes, *, modern_client: bool) -> bytes:
    """Give what a client gets of a result."""
    raw = Raw(result)
    return bytes(bridge.result_for(raw, bridge.ResultKind(raw), modern_client=modern_client))


LEGACY = b'{"content": [ {"type":"text","text":"\\u00e4"} ], "isError":false}'
MODERN = b'{"resultType":"complete","content":[],"_meta":{"x": 1}}'


def test_a_result_of_the_clients_own_era_passes_as_the_bytes_it_came_in() -> None:
    assert crossed(LEGACY, modern_client=False) == LEGACY
    assert crossed(MODERN, modern_client=True) == MODERN


def test_a_legacy_result_becomes_complete_for_a_modern_client_and_keeps_the_rest() -> None:
    found = json.loads(crossed(LEGACY, modern_client=True))
    assert found == {**json.loads(LEGACY), "resultType": "complete"}


def test_a_modern_result_loses_its_type_for_a_legacy_client_and_keeps_the_rest() -> None:
    assert json.loads(crossed(MODERN, modern_client=False)) == {"content": [], "_meta": {"x": 1}}


def test_values_are_not_rebuilt_on_the_way() -> None:
    result = b'{"structuredContent":{"n": 1.0e5 , "n2":12345678901234567890123}}'
    assert b'{"n": 1.0e5 , "n2":12345678901234567890123}' in crossed(result, modern_client=True)


@pytest.mark.parametrize("result", [b"[]", b"1", b'"x"', b"null", b"{"])
def test_a_result_that_is_no_object_is_left_to_the_client_to_judge(result: bytes) -> None:
    assert crossed(result, modern_client=True) == result
    kind = bridge.ResultKind(Raw(result))
    assert (kind.is_error, kind.type) == (False, "complete")


@pytest.mark.parametrize(
    ("result", "expected"), [(b'{"isError":true}', True), (b'{"isError":"true"}', False)]
)
def test_a_tools_own_error_is_told_apart(result: bytes, expected: bool) -> None:
    assert bridge.ResultKind(Raw(result)).is_error is expected


def test_a_meta_goes_on_without_what_belongs_to_its_hop() -> None:
    meta = {
        revisions.META_VERSION: Raw(b'"2026-07-28"'), revisions.META_CAPABILITIES: Raw(b"{}"),
        revisions.META_CLIENT: Raw(b"{}"), revisions.META_LOG_LEVEL: Raw(b'"info"'),
        "progressToken": Raw(b"1"), "traceparent": Raw(b'"00-x"'),
    }  # fmt: skip
    assert bridge.hop_free(meta).keys() == {"progressToken", "traceparent"}
    legacy = {"progressToken": Raw(b"1")}
    assert bridge.hop_free(legacy) is legacy
