"""Arguments in headers: what a schema asks for, and what a call gives."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from tidegate.domain.errors import Refusal
from tidegate.protocol.mirrors import Mirror, read, values


def raw(value: object) -> Raw:
    """Encode a value."""
    return Raw(json.dumps(value).encode())


def asked(kind: object = "string", header: object = "Region") -> dict[str, Any]:
    """Give a property that wants a header."""
    return {"type": kind, "x-mcp-header": header}


def test_properties_and_their_properties_may_ask() -> None:
    schema = {
        "type": "object",
        "properties": {"a": asked(), "b": {"type": "object", "properties": {"c": asked("integer", "Deep")}}},
    }
    assert read(raw(schema)) == (Mirror("Mcp-Param-Region", ("a",)), Mirror("Mcp-Param-Deep", ("b", "c")))


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": asked("number")}},
        {"properties": {"a": asked(["string"])}},
        {"properties": {"a": asked(header="")}},
        {"properties": {"a": asked(header="no space")}},
        {"properties": {"a": asked(header="X\r\nInjected")}},
        {"properties": {"a": asked(header=7)}},
        {"items": {"properties": {"a": asked()}}},
        {"$defs": {"x": asked()}, "properties": {"a": {"$ref": "#/$defs/x"}}},
        {"x-mcp-header": "Root", "type": "string"},
        ["x-mcp-header"],
        "x-mcp-header",
    ],
)
def test_what_may_not_ask_is_left_out(schema: object) -> None:
    assert read(raw(schema)) == ()


def test_a_header_that_two_ask_for_is_the_first_ones() -> None:
    schema = {"properties": {"a": asked(header="Region"), "b": asked(header="REGION")}}
    assert read(raw(schema)) == (Mirror("Mcp-Param-Region", ("a",)),)


def test_a_schema_asks_for_no_more_than_so_many_and_so_deep() -> None:
    wide = {"properties": {f"p{n}": asked(header=f"H{n}") for n in range(500)}}
    assert len(read(raw(wide))) == 32
    deep: dict[str, Any] = asked()
    for _ in range(50):
        deep = {"type": "object", "properties": {"a": deep}}
    assert read(raw(deep)) == ()
    assert read(None) == ()


@pytest.mark.parametrize(
    ("value", "expected"),
    [("eu", "eu"), ("", ""), (7, "7"), (True, "true"), (False, "false"), (None, None), (1.5, None), ([], None), ({}, None)],
)  # fmt: skip
def test_a_call_gives_text_for_what_has_a_plain_one(value: object, expected: str | None) -> None:
    mirrors = (Mirror("Mcp-Param-R", ("a", "b")),)
    found = values(mirrors, raw({"a": {"b": value}}))
    assert found == ({} if expected is None else {"Mcp-Param-R": expected})
    assert values(mirrors, raw({"a": 1})) == values(mirrors, raw([])) == {}


def test_a_number_with_too_many_digits_has_no_plain_text() -> None:
    mirrors = (Mirror("Mcp-Param-R", ("a",)),)
    assert values(mirrors, Raw(b'{"a":1%b}' % (b"0" * 40))) == {}
    with pytest.raises(Refusal):
        values(mirrors, Raw(b'{"a":1%b}' % (b"0" * 9000)))


@given(st.binary(max_size=80))
def test_any_schema_and_arguments_are_survived(data: bytes) -> None:
    read(Raw(b'{"properties":{"x-mcp-header":' + data + b"}}"))
    try:
        values((Mirror("Mcp-Param-R", ("a",)),), Raw(data))
    except Refusal:
        pass
