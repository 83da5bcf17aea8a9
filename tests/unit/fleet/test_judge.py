"""A new version goes on where it does as well as the old, and is taken back where it does not."""

from __future__ import annotations

import pytest

from tidegate.domain.server import Rollout
from tidegate.fleet.judge import Seen, Verdict, judge

HOW = Rollout(watch=30.0, calls=20, errors=0.05, latency=2.0)
OLD = Seen(200, 0, 0.1)


def verdict(new: Seen, watched: float = 30.0, old: Seen = OLD, how: Rollout = HOW) -> Verdict:
    """Judge, and see that a reason is given."""
    judged = judge(new, old, how, watched)
    assert judged.reason
    return judged.verdict


def test_a_version_that_does_as_well_goes_on_once_it_was_watched() -> None:
    assert verdict(Seen(40, 0, 0.1), 29.9) is Verdict.WAIT
    assert verdict(Seen(40, 0, 0.1), 30.0) is Verdict.GO_ON


def test_too_few_calls_are_waited_for_and_not_for_ever() -> None:
    assert verdict(Seen(19, 0, 0.1), 299.0) is Verdict.WAIT
    assert verdict(Seen(19, 0, 0.1), 300.0) is Verdict.GO_ON
    assert verdict(Seen(), 300.0) is Verdict.GO_ON


@pytest.mark.parametrize(
    ("failures", "expected"), [(0, Verdict.GO_ON), (5, Verdict.GO_ON), (6, Verdict.TAKE_BACK)]
)
def test_the_share_of_failures_is_judged_at_what_was_allowed(failures: int, expected: Verdict) -> None:
    assert verdict(Seen(100, failures, 0.1)) is expected


def test_failures_that_no_further_calls_can_make_up_for_are_enough_at_once() -> None:
    assert verdict(Seen(2, 2, 0.1), 0.1) is Verdict.TAKE_BACK
    lenient = Rollout(watch=30.0, calls=100, errors=0.05)
    assert verdict(Seen(5, 5, 0.1), 0.1, how=lenient) is Verdict.WAIT
    assert verdict(Seen(6, 6, 0.1), 0.1, how=lenient) is Verdict.TAKE_BACK


def test_of_too_few_calls_the_share_still_counts_in_the_end() -> None:
    lenient = Rollout(watch=30.0, calls=100, errors=0.05)
    assert verdict(Seen(4, 4, 0.1), 300.0, how=lenient) is Verdict.TAKE_BACK


def test_a_new_version_may_fail_as_often_as_the_old_does() -> None:
    failing = Seen(100, 50, 0.1)
    assert verdict(Seen(100, 50, 0.1), old=failing) is Verdict.GO_ON
    assert verdict(Seen(100, 55, 0.1), old=failing) is Verdict.GO_ON
    assert verdict(Seen(100, 56, 0.1), old=failing) is Verdict.TAKE_BACK


def test_where_no_failure_more_is_allowed_none_is_needed_to_go_on() -> None:
    strict = Rollout(watch=30.0, calls=20, errors=0.0)
    assert verdict(Seen(100, 0, 0.1), how=strict) is Verdict.GO_ON
    assert verdict(Seen(100, 1, 0.1), how=strict) is Verdict.TAKE_BACK


def test_a_slow_version_is_taken_back_once_it_was_watched() -> None:
    assert verdict(Seen(40, 0, 0.2), 10.0) is Verdict.WAIT
    assert verdict(Seen(40, 0, 0.2)) is Verdict.TAKE_BACK
    assert verdict(Seen(40, 0, 0.199)) is Verdict.GO_ON


def test_a_factor_of_next_to_nothing_and_an_old_that_was_not_called_say_nothing_of_latency() -> None:
    assert verdict(Seen(40, 0, 0.003), old=Seen(200, 0, 0.001)) is Verdict.GO_ON
    assert verdict(Seen(40, 0, 9.0), old=Seen(3, 0, 0.001)) is Verdict.GO_ON
    assert verdict(Seen(40, 0, 9.0), old=Seen()) is Verdict.GO_ON


def test_what_was_before_does_not_count() -> None:
    assert Seen(120, 7, 0.2).since(Seen(100, 7, 0.1)) == Seen(20, 0, 0.2)
