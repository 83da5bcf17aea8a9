"""Definitions as servers send them: any bytes are survived, what is too deep is found without decoding it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from tidegate.domain.errors import ParseFailure, UpstreamProtocolError
from tidegate.domain.target import LISTED, Kind
from tidegate.gateway.definitions import (
    DEEPEST,
    LISTS,
    Definition,
    Definitions,
    Delta,
    freshness,
    read_page,
    too_deep,
)
from tidegate.protocol.codec import decode_object


def nested(levels: int, inside: str = "0") -> bytes:
    """Give JSON of so many levels, arrays and objects in turn."""
    opening = "".join('{"a":' if level % 2 else "[" for level in range(levels))
    closing = "".join("}" if level % 2 else "]" for level in reversed(range(levels)))
    return (opening + inside + closing).encode()


@pytest.mark.parametrize("levels", [0, 1, 100, DEEPEST - 1, DEEPEST, DEEPEST + 1, DEEPEST + 2, 400])
def test_depth_is_counted_as_it_is(levels: int) -> None:
    wide = b"[" + b",".join([b"{}"] * 500) + b"]"
    assert too_deep(nested(levels)) is (levels > DEEPEST)
    assert too_deep(nested(levels, wide.decode())) is (levels + 2 > DEEPEST)
    assert too_deep(nested(levels, '"' + "[{" * 1000 + '\\"]\\\\"')) is (levels > DEEPEST)


def test_a_definition_of_many_parts_is_not_deep() -> None:
    schema = {
        "properties": {f"p{number}": {"type": "string", "enum": ["{", "[", '"']} for number in range(2000)}
    }
    assert not too_deep(json.dumps(schema).encode())


@given(st.sampled_from(LISTED), st.binary(max_size=200))
def test_any_page_is_read_or_refused(kind: Kind, data: bytes) -> None:
    for whole in (data, b'{"%b":%b}' % (LISTS[kind].key.encode(), data)):
        found: dict[str, Definition] = {}
        refused: list[str] = []
        try:
            page = decode_object(whole)
            read_page(kind, page, found, refused)
            freshness(page)
        except (ParseFailure, UpstreamProtocolError):
            continue
        assert all(name.isprintable() for name in found)


def test_what_is_left_out_is_said_of_the_first_only() -> None:
    tools = [{"name": f"a\n{number}"} for number in range(1000)]
    refused: list[str] = []
    read_page(Kind.TOOL, decode_object(json.dumps({"tools": tools}).encode()), {}, refused)
    assert len(refused) == 20


@pytest.mark.parametrize(
    ("hints", "expected"),
    [
        ({}, (None, False)),
        ({"ttlMs": 5, "cacheScope": "public"}, (5, True)),
        ({"ttlMs": 5, "cacheScope": "private"}, (5, False)),
        ({"ttlMs": 5, "cacheScope": "PUBLIC"}, (5, False)),
        ({"cacheScope": "public"}, (None, False)),
        ({"ttlMs": -1, "cacheScope": "public"}, (0, True)),
        ({"ttlMs": 10**30}, (86_400_000, False)),
        ({"ttlMs": True}, (None, False)),
        ({"ttlMs": 1.5}, (None, False)),
        ({"ttlMs": "5"}, (None, False)),
        ({"ttlMs": None}, (None, False)),
    ],
)
def test_how_long_a_list_holds_is_read_with_care(hints: dict[str, Any], expected: object) -> None:
    assert freshness(decode_object(json.dumps(hints).encode())) == expected


NAMES = st.lists(st.sampled_from("abcdef"), unique=True, max_size=6)


@given(NAMES, NAMES, st.sets(st.sampled_from("abcdef")))
def test_a_difference_applied_to_what_all_are_shown_is_what_was_offered(
    common: list[str], offered: list[str], otherwise: set[str]
) -> None:
    def define(name: str, text: bytes) -> Definition:
        return Definition(name, {"name": Raw(name.encode()), "description": Raw(text)})

    all_get = [define(name, b'"common"') for name in common]
    some_get = [define(name, b'"other"' if name in otherwise else b'"common"') for name in offered]
    delta = Delta.between(all_get, some_get)
    found = delta.apply(all_get)
    assert {each.name: each.fields for each in found} == {each.name: each.fields for each in some_get}
    assert len(found) == len(some_get)


def test_where_nothing_is_otherwise_the_very_same_definitions_are_offered() -> None:
    definitions = Definitions(offers={"form": {Kind.TOOL: Delta()}})
    assert definitions.offered("form") is definitions
    assert definitions.offered("never heard of") is definitions
