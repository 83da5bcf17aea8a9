"""What of a call's arguments can be said to Cedar, and what becomes of a call whose arguments cannot."""

from __future__ import annotations

import json
import math

import pytest

from tests.unit.extensions.policies.cedar.parts import PAY, book, judge, principal, tool
from tidegate.extensions.policies.cedar.types import Type, type_of
from tidegate.extensions.policies.cedar.values import LARGEST, LONGEST, Sayer, Unsayable, branches

LONG, TEXT, FLAG, DECIMAL = Type("Long"), Type("String"), Type("Boolean"), Type("decimal")
TEXTS = Type("Set", of=TEXT)


def decimal(text: str) -> object:
    return {"__extn": {"fn": "decimal", "arg": text}}


SAID = [
    (5, None, 5),
    (5, LONG, 5),
    (5.0, LONG, 5),
    (-0.0, LONG, 0),
    (2**63 - 1, LONG, 2**63 - 1),
    (-(2**63), None, -(2**63)),
    (5, DECIMAL, decimal("5.0000")),
    (5.0, None, decimal("5.0000")),
    (0.1, DECIMAL, decimal("0.1000")),
    (-0.0001, DECIMAL, decimal("-0.0001")),
    (-0.0, DECIMAL, decimal("0.0000")),
    (1e3, DECIMAL, decimal("1000.0000")),
    (922337203685477.5, DECIMAL, decimal("922337203685477.5000")),
    (True, None, True),
    (False, FLAG, False),
    ("", TEXT, ""),
    ('é\0\n"\\', TEXT, 'é\0\n"\\'),
    ([], TEXTS, []),
    (["a", "a"], TEXTS, ["a", "a"]),
    ([1, "a", [True]], None, [1, "a", [True]]),
    ({"a": None, "b": 1}, None, {"b": 1}),
    ({"type": "User", "id": "x"}, None, {"type": "User", "id": "x"}),
]
UNSAID = [
    (2**63, None),
    (-(2**63) - 1, LONG),
    (10**400, None),
    (10**400, DECIMAL),
    (1e19, LONG),
    (float(2**53), LONG),
    (5.5, LONG),
    (0.00001, DECIMAL),
    (1.23456, None),
    (1e300, DECIMAL),
    (5e-324, DECIMAL),
    (922337203685478.0, DECIMAL),
    (math.nan, None),
    (math.inf, DECIMAL),
    (None, None),
    (None, TEXT),
    ([None], None),
    (["a", 1], TEXTS),
    ("5", LONG),
    (True, LONG),
    (True, DECIMAL),
    (1, FLAG),
    (5, TEXT),
    (["a"], TEXT),
    ({}, TEXT),
    ("\ud800", None),
    ({"\ud800": 1}, None),
    ({"__entity": {"type": "Role", "id": "admin"}}, None),
    ({"__extn": {"fn": "decimal", "arg": "1.0"}}, None),
    ({"a": [{"__expr": "1"}]}, None),
    ("x" * (LONGEST + 1), None),
    ([0] * LARGEST, None),
    (b"", None),
]


@pytest.mark.parametrize(("given", "type", "said"), SAID)
def test_a_value_is_said_as_it_is(given, type, said):
    assert Sayer().value(given, type) == said


@pytest.mark.parametrize(("given", "type"), UNSAID)
def test_what_cannot_be_said_exactly_is_not_said(given, type):
    with pytest.raises(Unsayable):
        Sayer().value(given, type)


def test_a_value_deeper_than_is_judged_is_not_said():
    given: object = 1
    for _ in range(64):
        given = [given]
    with pytest.raises(Unsayable, match="too deep"):
        Sayer().value(given, None)


def test_no_message_holds_a_value():
    for given, type in UNSAID:
        with pytest.raises(Unsayable) as caught:
            Sayer().value(given, type)
        assert "admin" not in str(caught.value)
        assert "1.23456" not in str(caught.value)


def test_only_what_is_read_is_said():
    sent = {"amount": 5, "note": "\ud800", "big": [None] * 10**5, "a": {"b": 1, "c": None, "d": 2}, "e": None}
    read = branches({("amount",), ("a", "b"), ("a", "c"), ("missing", "x"), ("e", "f")})
    assert Sayer().arguments(sent, read, None) == {"amount": 5, "a": {"b": 1}}


@pytest.mark.parametrize("sent", [[], "x", 5, True, [{"amount": 1}]])
def test_arguments_that_are_no_object_are_not_said(sent):
    with pytest.raises(Unsayable):
        Sayer().arguments(sent, branches({("amount",)}), None)


POLICIES = """
permit(principal, action, resource);
@id("limit") forbid(principal, action in Action::"call", resource) when { context.arguments.amount > 5000 };
"""


@pytest.mark.parametrize(
    "amount",
    [5001, 2**63, 2**70, -(2**70), 5.5, 5000.5, 1e300, "5", "6000", None, [], {}, True, [1], {"amount": 1}],
)
def test_a_call_whose_argument_a_denial_cannot_compare_is_denied(amount):
    made = book(POLICIES, {PAY: tool({"amount": {"type": "integer"}}, "amount")})
    assert judge(made, principal(), {"amount": amount}).allowed is False
    assert judge(book(POLICIES), principal(), {"amount": amount}).allowed is False


@pytest.mark.parametrize("sent", [None, {}, {"Amount": 1}, {"amount ": 1}, [], "amount"])
def test_a_call_without_the_argument_that_a_denial_reads_is_denied(sent):
    assert judge(book(POLICIES), principal(), sent).allowed is False


@pytest.mark.parametrize(
    "sent", [{"amount": 1, "Amount": 60000}, {"AMOUNT": 60000}, {"pay": {"Limit": 1}}, {"Pay": {"limit": 1}}]
)
def test_where_no_schema_says_its_names_an_argument_cannot_be_spelled_past_who_reads_it(sent):
    text = """
    permit(principal, action, resource);
    forbid(principal, action in Action::"call", resource)
    when { context.arguments has amount && context.arguments.amount > 5000 };
    forbid(principal, action in Action::"call", resource)
    when { context.arguments has pay && context.arguments.pay has limit && context.arguments.pay.limit > 5000 };
    """
    assert judge(book(text), principal(), {"amount": 1, "pay": {"limit": 1, "other": 2}}).allowed is True
    verdict = judge(book(text), principal(), sent)
    assert verdict.allowed is False


def test_an_argument_of_another_shape_than_the_tools_cannot_slip_past_a_comparison():
    text = 'permit(principal, action, resource) unless { context.arguments.account == "treasury" };'
    made = book(text, {PAY: tool({"account": {"type": "string"}}, "account")})
    assert judge(made, principal(), {"account": "mine"}).allowed is True
    for account in ("treasury", ["treasury"], {"account": "treasury"}, 1, True):
        assert judge(made, principal(), {"account": account}).allowed is not True


def test_an_argument_cannot_be_made_a_role():
    made = book('permit(principal, action, resource) when { context.arguments.as in Role::"admin" };')
    for key in ("__entity", "__extn", "__expr"):
        told = judge(made, principal(), {"as": {key: {"type": "Role", "id": "admin"}}})
        assert told.allowed is False


SCHEMAS = [
    ({"type": "string"}, TEXT),
    ({"type": "integer"}, LONG),
    ({"type": "number"}, DECIMAL),
    ({"type": "boolean"}, FLAG),
    ({"type": "array", "items": {"type": "string"}}, TEXTS),
    ({"enum": ["a", "b"]}, TEXT),
    ({"const": 5}, LONG),
    ({"type": ["string", "null"]}, TEXT),
    ({"anyOf": [{"type": "string"}, {"type": "null"}]}, TEXT),
    ({"allOf": [{"type": "integer"}]}, LONG),
]
NO_TYPE = [
    {},
    True,
    None,
    {"type": "null"},
    {"type": ["string", "integer"]},
    {"anyOf": [{"type": "string"}, {"type": "integer"}]},
    {"anyOf": []},
    {"anyOf": "x"},
    {"type": "array"},
    {"type": "array", "items": {"type": ["string", "null"]}},
    {"type": "array", "items": {"type": "string"}, "prefixItems": [{"type": "integer"}]},
    {"enum": ["a", 1]},
    {"$ref": "https://example.com/schema"},
    {"$ref": "#/$defs/none"},
    {"$ref": "#"},
    {"$ref": 5},
    {"type": "date"},
    {"type": {}},
]


@pytest.mark.parametrize(("schema", "type"), SCHEMAS)
def test_a_schema_has_the_type_of_its_values(schema, type):
    assert type_of(schema) == type


@pytest.mark.parametrize("schema", NO_TYPE)
def test_a_schema_that_cedar_has_no_type_for_says_why(schema):
    assert isinstance(type_of(schema), str)


def test_members_that_cannot_be_said_are_left_out_of_a_record_and_nothing_else_is():
    found = type_of(
        {
            "type": "object",
            "properties": {
                "a": {"type": "string"},
                "b": {"type": ["integer", "null"]},
                "c": {},
                "d": {"$ref": "#/$defs/d"},
                "e": {"type": "object", "additionalProperties": {"type": "string"}},
            },
            "required": ["a", "b", "c"],
            "$defs": {"d": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}},
        }
    )
    assert isinstance(found, Type)
    assert json.loads(json.dumps(found.tree()))["attributes"] == {
        "a": {"type": "String", "required": True},
        "b": {"type": "Long", "required": False},
        "d": {
            "type": "Record",
            "attributes": {"x": {"type": "Extension", "name": "decimal", "required": True}},
            "required": False,
        },
    }


def test_a_schema_that_holds_itself_ends():
    found = type_of(
        {
            "type": "object",
            "properties": {"a": {"$ref": "#"}, "b": {"$ref": "#/properties/b"}, "c": {"type": "string"}},
        }
    )
    assert isinstance(found, Type)
    assert "c" in found.members
    assert found.members["b"].type is None
