"""Arguments in headers: what a schema asks for, and what a call gives."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from tidegate.domain.errors import HeaderMismatch, Refusal
from tidegate.protocol.mirrors import Mirror, check, others, read, values


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


NESTED = {"type": "object", "properties": {"a": asked()}}


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"properties": {"a": asked("number")}}, "no string, integer or boolean"),
        ({"properties": {"a": asked("object")}}, "no string, integer or boolean"),
        ({"properties": {"a": asked("null")}}, "no string, integer or boolean"),
        ({"properties": {"a": asked(["string"])}}, "no string, integer or boolean"),
        ({"properties": {"a": {"x-mcp-header": "A"}}}, "no string, integer or boolean"),
        ({"properties": {"a": asked(header="")}}, "no token"),
        ({"properties": {"a": asked(header="no space")}}, "no token"),
        ({"properties": {"a": asked(header="Région")}}, "no token"),
        ({"properties": {"a": asked(header="A:B")}}, "no token"),
        ({"properties": {"a": asked(header="X\r\nInjected")}}, "no token"),
        ({"properties": {"a": asked(header="X" * 129)}}, "no token"),
        ({"properties": {"a": asked(header=7)}}, "no token"),
        ({"properties": {"a": asked(), "b": asked()}}, "'a' too"),
        ({"properties": {"a": asked(header="Region"), "b": asked(header="REGION")}}, "'a' too"),
        ({"properties": {"a": {"items": NESTED}}}, "no chain of properties"),
        ({"properties": {"a": {"oneOf": [{}, NESTED]}}}, "no chain of properties"),
        ({"properties": {"a": {"additionalProperties": asked()}}}, "no chain of properties"),
        ({"patternProperties": {"^a": asked()}}, "no chain of properties"),
        ({"$defs": {"x": asked()}, "properties": {"a": {"$ref": "#/$defs/x"}}}, "no chain of properties"),
        ({"if": NESTED, "then": {}}, "no chain of properties"),
        ({"x-mcp-header": "Root", "type": "string"}, "no chain of properties"),
        ({"properties": {f"p{n}": asked(header=f"H{n}") for n in range(500)}}, "more than 64"),
    ],
)
def test_a_schema_that_asks_as_it_must_not_is_refused_with_the_reason(schema: object, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read(raw(schema))


def test_an_annotation_whose_key_is_written_with_escapes_counts_as_well() -> None:
    with pytest.raises(ValueError, match="no chain"):
        read(Raw(b'{"type":"object","x-mcp-\\u0068eader":"Root"}'))


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"x-mcp-header": {"type": "string"}}},
        {"properties": {"a": {"type": "object", "default": {"x-mcp-header": 7}}}},
        {"enum": [{"x-mcp-header": ""}]},
        {"$defs": {"x-mcp-header": {"type": "number"}}},
        ["x-mcp-header"],
        "x-mcp-header",
        None,
    ],
)
def test_a_property_of_that_name_and_data_are_no_annotations(schema: object) -> None:
    assert read(raw(schema)) == ()


def test_a_schema_may_be_deep_and_refer_to_itself_or_to_the_network() -> None:
    deep: dict[str, Any] = asked()
    for _ in range(50):
        deep = {"type": "object", "properties": {"a": deep, "b": {"$ref": "http://192.0.2.1/x"}}}
    (mirror,) = read(raw(deep))
    assert mirror.path == ("a",) * 50
    assert read(None) == ()


@pytest.mark.parametrize(
    ("value", "expected"),
    [("eu", "eu"), ("", ""), (7, "7"), (True, "true"), (False, "false"), (None, None), (1.5, None), (7.0, "7"), ([], None), ({}, None)],
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


HEADER = (Mirror("Mcp-Param-R", ("a",)),)


@pytest.mark.parametrize(
    ("arguments", "header"),
    [
        ({"a": "eu"}, b"eu"),
        ({"a": "eu"}, b"=?base64?ZXU=?="),
        ({"a": ""}, b""),
        ({"a": "ü"}, b"=?base64?w7w=?="),
        ({"a": "=?base64?ZXU"}, b"=?base64?ZXU"),
        ({"a": 42}, b"42"),
        ({"a": 42}, b"42.0"),
        ({"a": 42.0}, b"42"),
        ({"a": -7}, b"-7"),
        ({"a": True}, b"true"),
        ({"a": None}, None),
        ({}, None),
        ({"a": {"no": "text"}}, None),
        ([], None),
    ],
)
def test_a_header_that_repeats_its_argument_is_taken(arguments: object, header: bytes | None) -> None:
    others = {b"mcp-param-unknown": b"whatever", b"mcp-name": b"t"}
    check(HEADER, raw(arguments), others if header is None else {**others, b"mcp-param-r": header})


@pytest.mark.parametrize(
    ("arguments", "header"),
    [
        ({"a": "eu"}, None),
        ({"a": "eu"}, b"us"),
        ({"a": "eu"}, b"EU"),
        ({"a": "eu"}, b"=?base64?ZXU?="),
        ({"a": "eu"}, b"=?base64?Z!!XU=?="),
        ({"a": "ü"}, "ü".encode("latin-1")),
        ({"a": "a\x01"}, b"a\x01"),
        ({"a": 42}, b"43"),
        ({"a": 42}, b"4_2"),
        ({"a": 42}, b"42.5"),
        ({"a": 42}, b" 42"),
        ({"a": 42}, b"9" * 5000),
        ({"a": "42"}, b"42.0"),
        ({"a": True}, b"True"),
        ({"a": True}, b"1"),
        ({"a": 0}, None),
        ({"a": False}, None),
        ({"a": None}, b""),
        ({}, b"eu"),
        ([], b"eu"),
        ({"a": {"no": "text"}}, b"x"),
        ({"a": 1.5}, b"1.5"),
    ],
)
def test_a_header_that_is_missing_differs_or_stands_alone_is_refused(
    arguments: object, header: bytes | None
) -> None:
    with pytest.raises(HeaderMismatch):
        check(HEADER, raw(arguments), {} if header is None else {b"mcp-param-r": header})


@given(st.binary(max_size=80), st.binary(max_size=40))
def test_any_schema_arguments_and_header_are_survived(data: bytes, header: bytes) -> None:
    for schema in (data, b'{"properties":{"x-mcp-header":' + data + b"}}"):
        try:
            read(Raw(schema))
        except ValueError:
            pass
    try:
        values(HEADER, Raw(data))
        check(HEADER, Raw(data), {b"mcp-param-r": header})
    except Refusal:
        pass


@pytest.mark.parametrize("number", [2**53, -(2**53), 10**30])
def test_a_whole_number_that_not_every_implementation_holds_has_no_header(number: int) -> None:
    asked = read(Raw(b'{"properties": {"n": {"type": "integer", "x-mcp-header": "N"}}}'))
    assert values(asked, Raw(b'{"n": %d}' % number)) == {}
    edge = number // abs(number) * (2**53 - 1)
    assert values(asked, Raw(b'{"n": %d}' % edge)) == {"Mcp-Param-N": str(edge)}


def test_headers_that_repeat_nothing_known_are_given_to_be_passed_on() -> None:
    asked = read(Raw(b'{"properties": {"n": {"type": "string", "x-mcp-header": "N"}}}'))
    headers = {
        b"mcp-param-n": b"x",
        b"mcp-param-other": b"=?base64?w6k=?=",
        b"mcp-name": b"t",
        b"mcp-param-bad": b"\xff",
    }
    assert others(asked, headers) == {"mcp-param-other": "\u00e9"}
    assert others((), {b"host": b"x"}) == {}
