"""Answers of OPA: what each shape means, and that any other is trouble."""

from __future__ import annotations

from typing import Any

import pytest

from tidegate.extensions.policies.opa.api import UNDEFINED, Trouble
from tidegate.extensions.policies.opa.said import decision, many, understood
from tidegate.ports.policy import Verdict

NOTHING = Verdict(None, "no policy")


@pytest.mark.parametrize(
    ("document", "verdict"),
    [
        (True, Verdict(True, "p#allow")),
        (False, NOTHING),
        ({}, NOTHING),
        (UNDEFINED, Verdict(None, "no policy", because="OPA has nothing at p")),
        ({"allow": True}, Verdict(True, "p#allow")),
        ({"allow": False, "helper": [1, {"x": None}]}, NOTHING),
        ({"allow": True, "rule": "adjusters"}, Verdict(True, "adjusters")),
        ({"allow": True, "deny": True}, Verdict(False, "p#deny")),
        ({"allow": True, "deny": []}, Verdict(True, "p#allow")),
        ({"allow": True, "deny": ["b", "a"]}, Verdict(False, "p#deny", because="a; b")),
        ({"deny": ["a"], "because": "c", "rule": "r"}, Verdict(False, "r", because="a; c")),
        ({"because": ["not\nso"]}, Verdict(None, "no policy", because="not so")),
        ({"shown": True}, Verdict(True, "p#shown", arguments=True)),
        ({"shown": True, "reads": ["amount"]}, Verdict(True, "p#shown", arguments=True)),
        ({"allow": True, "reads": ["amount"]}, Verdict(True, "p#allow", arguments=True)),
        ({"reads": ["amount"]}, Verdict(None, "no policy", arguments=True)),
        ({"deny": True, "shown": True, "reads": ["amount"]}, Verdict(False, "p#deny")),
    ],
)
def test_a_document_without_arguments_is_a_verdict(document: object, verdict: Verdict) -> None:
    assert understood(document, "p").verdict("p", {}) == verdict


@pytest.mark.parametrize(
    ("document", "allowed"),
    [
        ({"allow": True, "shown": True, "reads": ["amount"]}, True),
        ({"shown": True, "reads": ["amount"]}, None),
        ({"allow": True, "deny": ["no"]}, False),
        (UNDEFINED, None),
    ],
)
def test_with_arguments_only_what_allows_and_denies_counts(document: object, allowed: bool | None) -> None:
    verdict = understood(document, "p").final("p", {})
    assert (verdict.allowed, verdict.arguments) == (allowed, False)


ODD: list[Any] = [
        None, 1, "true", [], [True], {"allow": "true"}, {"allow": None}, {"allow": 1}, {"allow": ["x"]}, {"deny": None},
        {"deny": {"a": True}}, {"deny": [1]}, {"deny": ["x"] * 65}, {"shown": "yes"}, {"reads": "amount"},
        {"reads": [1]}, {"reads": [[]]}, {"reads": [["a", 1]]}, {"reads": ["x"] * 65}, {"reads": [["k"] * 17]},
        {"reads": ["k" * 257]}, {"because": 5}, {"rule": ["r"]}, {"rule": "r" * 101},
]  # fmt: skip


@pytest.mark.parametrize("document", ODD, ids=lambda document: str(document)[:40])
def test_any_other_shape_is_trouble(document: Any) -> None:
    with pytest.raises(Trouble) as caught:
        understood(document, "p")
    assert str(caught.value).startswith("p")


def test_what_is_shown_for_its_arguments_without_saying_which_is_told_all_of_them() -> None:
    assert understood({"shown": True}, "p").reads == (("*",),)
    assert understood({"shown": True, "reads": ["a", ["b", "c.d"]]}, "p").reads == (("a",), ("b", "c.d"))


def test_words_are_kept_within_bounds() -> None:
    answer = understood({"deny": ["x" * 1000]}, "p")
    assert len(answer.because) == 300
    assert decision("") == {}
    assert len(decision("y" * 1000)["opa.decision"]) == 66


@pytest.mark.parametrize(
    ("document", "told"),
    [
        (UNDEFINED, "nothing at"),
        ({}, "is no list"),
        ([True], "1 answers for 2"),
        ([1, 2, 3], "3 answers for 2"),
    ],
)
def test_answers_about_many_are_as_many(document: object, told: str) -> None:
    with pytest.raises(Trouble, match=told):
        many(document, "p", 2)
    assert many([True, False], "p", 2) == [True, False]
