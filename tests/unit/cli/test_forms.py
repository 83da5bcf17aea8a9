"""Forms: a flat schema becomes fields, and what is typed becomes values that the schema takes."""

from __future__ import annotations

from typing import Any

import pytest

from tidegate.cli.forms import MAX_CHOICES, MAX_FIELDS, Field, FormError, read_form


def field(**schema: Any) -> Field:
    return read_form({"type": "object", "properties": {"it": schema}})[0]


TITLED = [{"const": "#f00", "title": "Red"}, {"const": "#0f0", "title": "Green"}]
COLOURS = {"type": "array", "items": {"type": "string", "enum": ["red", "green", "a, b"]}}


@pytest.mark.parametrize(
    ("schema", "typed", "value"),
    [
        ({"type": "string"}, "  kept as typed ", "  kept as typed "),
        ({"type": "string", "minLength": 1, "maxLength": 2}, "é€", "é€"),
        ({"type": "string", "format": "email"}, "ada@example.com", "ada@example.com"),
        ({"type": "string", "format": "date"}, "2026-02-28", "2026-02-28"),
        ({"type": "string", "format": "date-time"}, "2026-02-28T01:02:03Z", "2026-02-28T01:02:03Z"),
        ({"type": "string", "format": "uri"}, "https://example.com/", "https://example.com/"),
        ({"type": "string", "format": "of another time"}, "x", "x"),
        ({"type": "string", "format": ["date"]}, "x", "x"),
        ({"type": "integer", "minimum": -2}, " -2 ", -2),
        ({"type": "number"}, "1.5", 1.5),
        ({"type": "number"}, "12345678901234567890", 12345678901234567890),
        ({"type": "boolean"}, "Yes", True),
        ({"type": "boolean"}, "n", False),
        ({"type": "string", "enum": ["red", "green"]}, "green", "green"),
        ({"type": "string", "enum": ["red", "green"]}, "2", "green"),
        ({"type": "string", "enum": ["2", "1"]}, "2", "2"),
        ({"type": "string", "enum": ["a", "b"], "enumNames": ["Alpha", "Beta"]}, "beta", "b"),
        ({"type": "string", "oneOf": TITLED}, "green", "#0f0"),
        (COLOURS, "red, 2", ["red", "green"]),
        (COLOURS, "a, b", ["a, b"]),
        ({"type": "array", "items": {"anyOf": TITLED}}, "Red,1,#f00", ["#f00"]),
        (COLOURS, "", []),
    ],
)
def test_what_the_schema_takes_is_read_as_its_type(schema: dict[str, Any], typed: str, value: object) -> None:
    found = field(**schema).read([typed])
    assert field(**schema).expects
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("schema", "typed", "why"),
    [
        ({"type": "string", "minLength": 3}, "ab", "takes at least 3 characters"),
        ({"type": "string", "maxLength": 3}, "abcd", "takes at most 3 characters"),
        ({"type": "string"}, "x" * 4001, "takes at most 4000 characters"),
        ({"type": "string", "format": "email"}, "ada", "should be an address such as ada@example.com"),
        ({"type": "string", "format": "uri"}, "example", "should be a URI such as https://example.com/"),
        ({"type": "string", "format": "date"}, "2026-02-30", "should be a date such as 2026-01-02"),
        ({"type": "string", "format": "date-time"}, "2026-02-03T04:05:06", "should be a moment such as 2026-01-02T03:04:05Z"),
        ({"type": "integer"}, "1.0", "should be a whole number"),
        ({"type": "integer"}, "9" * 4000, "should be 5 or less"),
        ({"type": "number"}, "nan", "should be a number"),
        ({"type": "number"}, "1e999", "should be a number"),
        ({"type": "number", "minimum": 0.5}, "0.4", "should be 0.5 or more"),
        ({"type": "boolean"}, "maybe", "should be yes or no"),
        ({"type": "string", "enum": ["red", "green"]}, "3", "should be one of the 2 choices"),
        ({"type": "string", "enum": ["red"]}, "²", "should be one of the 1 choices"),
        ({**COLOURS, "minItems": 2}, "red", "takes at least 2 of the choices"),
        ({**COLOURS, "maxItems": 1}, "1,2", "takes at most 1 of the choices"),
    ],
)  # fmt: skip
def test_what_it_does_not_take_is_refused_with_what_it_does(
    schema: dict[str, Any], typed: str, why: str
) -> None:
    bounds = {"maximum": 5} if schema["type"] == "integer" else {}
    with pytest.raises(ValueError, match="^" + why.replace(".", r"\.").replace("+", r"\+") + "$"):
        field(**bounds, **schema).read([typed])


def test_several_answers_are_several_choices_and_else_too_many() -> None:
    assert field(**COLOURS).read(["red", "a, b"]) == ["red", "a, b"]
    with pytest.raises(ValueError, match="takes one value"):
        field(type="string").read(["a", "b"])


@pytest.mark.parametrize(
    ("schema", "default"),
    [
        ({"type": "string", "default": "x"}, "x"),
        ({"type": "string", "default": 3}, None),
        ({"type": "string", "enum": ["a"], "default": "b"}, None),
        ({"type": "integer", "default": 7}, 7),
        ({"type": "integer", "default": True}, None),
        ({"type": "integer", "default": 7, "maximum": 6}, None),
        ({"type": "boolean", "default": False}, False),
        ({**COLOURS, "default": ["green"]}, ["green"]),
        ({**COLOURS, "default": ["blue"]}, None),
    ],
)
def test_a_default_is_one_only_where_the_field_would_take_it(schema: dict[str, Any], default: object) -> None:
    assert field(**schema).default == default


@pytest.mark.parametrize(
    "schema",
    [
        None,
        [],
        {"type": "array"},
        {"type": "object", "properties": []},
        {"type": "object", "properties": {"a": "string"}},
        {"type": "object", "properties": {"a": {"type": "object", "properties": {}}}},
        {"type": "object", "properties": {"a": {"type": ["string"]}}},
        {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string"}}}},
        {"type": "object", "properties": {"a": {"type": "string", "enum": [1]}}},
        {"type": "object", "properties": {"a": {"type": "string", "enum": ["x"] * (MAX_CHOICES + 1)}}},
        {"type": "object", "properties": {"a" * 201: {"type": "string"}}},
        {"type": "object", "properties": {str(n): {"type": "string"} for n in range(MAX_FIELDS + 1)}},
    ],
)
def test_what_is_no_flat_form_is_refused(schema: object) -> None:
    with pytest.raises(FormError):
        read_form(schema)


def test_fields_stand_in_the_servers_order_and_say_what_they_are() -> None:
    found = read_form({
        "type": "object", "required": ["b"],
        "properties": {"b": {"type": "integer", "title": "How\nmany", "description": "of\tthem"}, "a": {"type": "boolean"}},
    })  # fmt: skip
    assert [(each.title, each.about, each.needed, each.expects) for each in found] == [
        ("How many", "of them", True, "whole number"), ("a", "", False, "yes or no"),
    ]  # fmt: skip
