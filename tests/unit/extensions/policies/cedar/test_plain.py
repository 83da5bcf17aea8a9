"""What a condition wants is said in words that need no Cedar, with the values as they are now."""

from __future__ import annotations

import pytest

from tidegate.extensions.policies.cedar import engine
from tidegate.extensions.policies.cedar.plain import wanted

VALUES = {"principal.limit": "5000", "principal.region": '"eu"', "context.arguments.amount": "6000",
          "principal.desk": "null", "resource.readOnly": "false"}  # fmt: skip


def say(condition: str, *, holds: bool) -> str | None:
    tree = engine.parse(f"permit(principal, action, resource) when {{ {condition} }};")
    return wanted(tree["conditions"][0]["body"], VALUES, holds=holds)


@pytest.mark.parametrize(
    ("condition", "so", "otherwise"),
    [
        (
            "context.arguments.amount <= principal.limit",
            "context.arguments.amount (now 6000) is at most principal.limit (now 5000)",
            "context.arguments.amount (now 6000) is more than principal.limit (now 5000)",
        ),
        ("context.arguments.n < 5", "context.arguments.n is less than 5", "context.arguments.n is at least 5"),
        ("principal.limit > 9", "principal.limit (now 5000) is more than 9", "principal.limit (now 5000) is at most 9"),
        ("principal.limit >= 9", "principal.limit (now 5000) is at least 9", "principal.limit (now 5000) is less than 9"),
        (
            'principal.region == "uk"',
            'principal.region (now "eu") is "uk"',
            'principal.region (now "eu") is other than "uk"',
        ),
        (
            'principal.region != "eu"',
            'principal.region (now "eu") is other than "eu"',
            'principal.region (now "eu") is "eu"',
        ),
        (
            'context.arguments.price.lessThan(decimal("9.99"))',
            "context.arguments.price is less than 9.99",
            "context.arguments.price is at least 9.99",
        ),
        ("principal has desk", "principal.desk is there", "principal.desk is absent"),
        ('principal.desk == "a"', 'principal.desk (now absent) is "a"', 'principal.desk (now absent) is other than "a"'),
        ("resource.readOnly", "resource.readOnly (now false) is true", "resource.readOnly (now false) is false"),
        ("!resource.readOnly", "resource.readOnly (now false) is false", "resource.readOnly (now false) is true"),
        ('principal in Role::"lead"', "whoever asks has the role lead", "whoever asks has not the role lead"),
        ('principal in Group::"g"', "whoever asks is in the group g", "whoever asks is not in the group g"),
        (
            'principal in [Role::"a", Role::"b"]',
            "whoever asks has one of the roles a, b",
            "whoever asks has not one of the roles a, b",
        ),
        ('resource in Server::"claims"', "it is of the server claims", "it is not of the server claims"),
        ('resource.name like "get_*"', 'resource.name is like "get_*"', 'resource.name is not like "get_*"'),
        ('context.arguments.tags.contains("x")', 'context.arguments.tags has "x"', 'context.arguments.tags has not "x"'),
        (
            "principal has desk || resource.readOnly",
            "principal.desk is there or resource.readOnly (now false) is true",
            "principal.desk is absent and resource.readOnly (now false) is false",
        ),
        (
            "!(principal has desk && resource.readOnly)",
            "principal.desk is absent or resource.readOnly (now false) is false",
            "principal.desk is there and resource.readOnly (now false) is true",
        ),
    ],
)  # fmt: skip
def test_what_a_condition_wants_is_said_with_what_is_now(condition: str, so: str, otherwise: str) -> None:
    assert (say(condition, holds=True), say(condition, holds=False)) == (so, otherwise)


@pytest.mark.parametrize(
    "condition",
    [
        "if principal.limit > 5 then resource.readOnly else true",
        "principal.limit + 5 > 9",
        'principal in [Role::"a", Group::"b"]',
        'resource == Tool::"claims__pay"',
        "principal.tags.containsAll(context.arguments.tags)",
        "principal has desk && principal.limit * 2 > 9",
    ],
)
def test_what_cannot_be_said_plainly_is_left_to_be_quoted(condition: str) -> None:
    assert say(condition, holds=True) is None
    assert say(condition, holds=False) is None


def test_values_and_sets_that_are_long_are_cut() -> None:
    body = engine.parse('permit(principal, action, resource) when { principal.a == "b" };')["conditions"][0][
        "body"
    ]
    told = wanted(body, {"principal.a": '"' + "x" * 500 + '"'}, holds=True)
    assert told is not None
    assert len(told) < 120
    many = ", ".join(f'Role::"{number}"' for number in range(20))
    assert say(f"principal in [{many}]", holds=True) == (
        "whoever asks has one of the roles 0, 1, 2, 3, 4, 5, 6, 7 and 12 more"
    )
