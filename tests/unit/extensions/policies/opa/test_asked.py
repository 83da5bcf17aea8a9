"""What OPA is told: no more of a principal than settings name, no argument that no policy reads."""

from __future__ import annotations

from typing import Any

import pytest

from tidegate.domain.principal import Principal
from tidegate.domain.target import Kind, Target, reaching
from tidegate.extensions.policies.opa.asked import misspelled, part, record, record_arguments, what, who

ANN = Principal(
    "t",
    "i",
    "ann",
    frozenset({"b", "a"}),
    frozenset({"g"}),
    "cli",
    {"region": "eu", "roles": "odd", "limit": 5},
)


def test_of_who_asks_everything_is_told_where_nothing_is_named() -> None:
    assert who(ANN, None) == {
        "tenant": "t", "issuer": "i", "subject": "ann", "client": "cli", "roles": ["a", "b"], "groups": ["g"],
        "attributes": {"region": "eu", "roles": "odd", "limit": 5},
    }  # fmt: skip


def test_of_who_asks_only_what_is_named_is_told() -> None:
    assert who(ANN, frozenset()) == {"tenant": "t", "attributes": {}}
    assert who(ANN, frozenset({"limit", "groups"})) == {
        "tenant": "t",
        "groups": ["g"],
        "attributes": {"limit": 5},
    }
    assert who(ANN, frozenset({"subject"})) == {
        "tenant": "t",
        "issuer": "i",
        "subject": "ann",
        "attributes": {},
    }


def test_a_target_has_the_words_of_the_other_policies() -> None:
    careful = {"readOnly": False, "destructive": True, "idempotent": False, "openWorld": True}
    assert what(Target("s", Kind.TOOL, "n"), None) == {"kind": "tool", "server": "s", "name": "n", **careful}
    assert what(Target("s", Kind.EXTENSION, "x/y"), None) == {"kind": "method", "server": "s", "name": "x/y"}
    assert what(reaching("s"), None) == {"kind": "server", "server": "s", "name": ""}


SENT = {"amount": 5, "to": {"iban": "x", "name": {"first": "a", "last": "b"}}, "list": [1], "null": None}


@pytest.mark.parametrize(
    ("paths", "told"),
    [
        ((), {}),
        ((("amount",),), {"amount": 5}),
        ((("nothing",), ("null",)), {"null": None}),
        ((("to", "iban"),), {"to": {"iban": "x"}}),
        ((("to", "iban"), ("to", "name", "last")), {"to": {"iban": "x", "name": {"last": "b"}}}),
        ((("to",), ("to", "iban")), {"to": SENT["to"]}),
        ((("to", "iban"), ("to",)), {"to": SENT["to"]}),
        ((("amount", "deep"),), {"amount": 5}),
        ((("list", "0"),), {"list": [1]}),
        ((("none", "deep"),), {}),
        ((("*",),), SENT),
        ((("amount",), ("*",)), SENT),
    ],
)
def test_of_arguments_only_what_is_read_is_told(paths: Any, told: Any) -> None:
    before = repr(SENT)
    assert part(SENT, paths) == told
    assert repr(SENT) == before


@pytest.mark.parametrize("sent", [[], [1], "text", 5, True])
def test_what_is_no_arguments_is_told_as_it_is(sent: object) -> None:
    assert part(sent, (("amount",),)) == sent


def test_records_have_what_settings_name_and_the_arguments_that_were_judged() -> None:
    assert record(ANN, None) == {"principal.attributes": "told, not kept"}
    assert record(ANN, frozenset({"client"})) == {"principal.client": '"cli"'}
    assert record(ANN, frozenset({"limit", "groups", "roles", "none"})) == {
        "principal.limit": "5", "principal.roles": '"odd"', "principal.groups": '["g"]',
    }  # fmt: skip
    told = record_arguments({"amount": 5, "to": {"iban": "x" * 500}, "none": None})
    assert told["context.arguments.amount"] == "5"
    assert len(told["context.arguments.to.iban"]) == 200
    assert len(record_arguments({str(each): each for each in range(100)})) == 16


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ({"a": {"b": 1}, "c": 2}, None),
        ({"A": {"b": 1}}, "a"),
        ({"a": {"b": 1, "B": 2}}, "b"),
        ({"a": [{"B": 2}]}, None),
        ({"a": {"x": 1}, "C": 2}, "c"),
        ([], None),
        (None, None),
    ],
)
def test_a_name_on_a_path_is_known_by_another_spelling(sent: object, meant: str | None) -> None:
    assert misspelled(sent, [("a", "b"), ("c",)]) == meant
