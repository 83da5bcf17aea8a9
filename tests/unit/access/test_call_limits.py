"""Calls under way are counted, in all and for each principal."""

import pytest

from tidegate.access.limits import CallLimits
from tidegate.domain.errors import Overloaded
from tidegate.domain.principal import Principal

ALICE, BOB = Principal("t", "i", "alice"), Principal("t", "i", "bob")


def test_a_principal_cannot_take_the_places_of_others() -> None:
    limits = CallLimits(in_all=10, each=2)
    limits.enter(ALICE)
    limits.enter(ALICE)
    with pytest.raises(Overloaded, match="2 of your calls"):
        limits.enter(ALICE)
    limits.enter(BOB)
    assert (limits.in_flight, limits.of(ALICE), limits.of(BOB)) == (3, 2, 1)


def test_there_is_a_bound_over_all() -> None:
    limits = CallLimits(in_all=2, each=2)
    limits.enter(ALICE)
    limits.enter(BOB)
    with pytest.raises(Overloaded, match="2 calls are under way"):
        limits.enter(BOB)
    assert limits.in_flight == 2


def test_who_leaves_makes_room_and_is_forgotten() -> None:
    limits = CallLimits(in_all=1, each=1)
    for _ in range(3):
        limits.enter(ALICE)
        limits.leave(ALICE)
    assert (limits.in_flight, limits.of(ALICE)) == (0, 0)
    limits.enter(BOB)


def test_a_refused_call_takes_no_place() -> None:
    limits = CallLimits(in_all=5, each=1)
    limits.enter(ALICE)
    for _ in range(3):
        with pytest.raises(Overloaded):
            limits.enter(ALICE)
    limits.leave(ALICE)
    assert limits.in_flight == 0
    limits.enter(ALICE)


def test_other_limits_hold_for_the_next_call_and_end_none() -> None:
    limits = CallLimits(in_all=5, each=2)
    limits.enter(ALICE)
    limits.enter(ALICE)
    limits.change(in_all=5, each=1)
    assert limits.in_flight == 2
    limits.leave(ALICE)
    with pytest.raises(Overloaded, match="1 of your calls"):
        limits.enter(ALICE)
    limits.change(in_all=1, each=5)
    with pytest.raises(Overloaded, match="1 calls are under way"):
        limits.enter(BOB)
    limits.change(in_all=2, each=5)
    limits.enter(BOB)
