"""Keys of replicas, shares that are exact, and quantiles."""

from __future__ import annotations

import pytest

from tidegate.fleet.balance import Spread, base, exact, number, numbered, quantile


@pytest.mark.parametrize(
    ("key", "without", "replica"),
    [
        ("shared", "shared", 1),
        ("shared~2", "shared", 2),
        ("shared~12+form.url", "shared+form.url", 12),
        ("shared+form", "shared+form", 1),
        ("a" * 32, "a" * 32, 1),
    ],
)
def test_a_key_says_which_replica_it_is(key: str, without: str, replica: int) -> None:
    assert (base(key), number(key)) == (without, replica)
    assert base(numbered(key, 7)) == without
    assert number(numbered(key, 7)) == 7


def test_the_first_replica_has_a_name_that_means_it_alone() -> None:
    assert [exact(key) for key in ("shared", "shared+form", "shared~3")] == [
        "shared~1",
        "shared~1+form",
        "shared~3",
    ]


def test_each_gets_its_share_to_within_one_at_any_moment() -> None:
    spread, counts = Spread(), {"old": 0, "new": 0}
    for calls in range(1, 1001):
        counts[spread.choose({"old": 0.9, "new": 0.1})] += 1
        assert abs(counts["new"] - 0.1 * calls) <= 1
    assert counts == {"old": 900, "new": 100}


def test_shares_that_change_hold_from_then_on() -> None:
    spread = Spread()
    for _ in range(10):
        spread.choose({"old": 1.0})
    chosen = [spread.choose({"old": 0.5, "new": 0.5}) for _ in range(10)]
    assert chosen.count("new") == 5
    assert {spread.choose({"new": 1.0}) for _ in range(10)} == {"new"}


def test_a_quantile_is_one_of_the_values_and_nothing_is_zero() -> None:
    assert quantile(sorted(range(100)), 0.95) == 95
    assert quantile([3.0], 0.95) == 3.0
    assert quantile([], 0.5) == 0.0
