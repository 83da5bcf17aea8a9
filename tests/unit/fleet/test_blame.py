"""Whose calls end a shared server, who is refused for it, and for how long."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from tidegate.domain.errors import ServerUnavailable
from tidegate.domain.server import Health
from tidegate.fleet.blame import Blame, Restarts

HEALTH = Health(failures=3, eject=10.0, restarts=8, window=600.0)


@dataclass
class Court:
    """Blame on a clock that a test sets."""

    now: float = 100.0
    changes: list[bool] = field(default_factory=list[bool])

    def __post_init__(self) -> None:
        self.blame = Blame("all", lambda: self.now, lambda: self.changes.append(bool(self.blame.refused)))

    def broke(self, *culprits: str) -> set[str]:
        """Have a workload end during the calls of these, and refuse who is to blame."""
        blamed = set(self.blame.broke(set(culprits), HEALTH))
        for each in blamed:
            self.blame.refuse(each, HEALTH, "it ended")
        return blamed

    def after(self, principal: str) -> object:
        """Give the seconds after which a principal may come again; None where it may call."""
        try:
            self.blame.check(principal)
        except ServerUnavailable as refused:
            return (refused.data or {})["retryAfter"]
        return None

    def turn(self, seconds: float) -> None:
        self.now += seconds
        self.blame.turn()


@pytest.fixture
def court() -> Court:
    return Court()


def test_who_was_there_at_each_of_the_last_ends_is_to_blame(court: Court) -> None:
    assert [court.broke("ann", "bob"), court.broke("ann"), court.broke("ann", "cy")] == [
        set(),
        set(),
        {"ann"},
    ]
    assert court.after("ann") == 10
    assert court.after("bob") is None


def test_where_they_differ_nobody_is(court: Court) -> None:
    assert not any(court.broke(who) for who in ("ann", "bob", "ann", "bob", "cy", "bob"))


def test_ends_without_a_call_are_nobodys(court: Court) -> None:
    assert not any(court.broke() for _ in range(10))


def test_ends_that_are_far_apart_are_no_row(court: Court) -> None:
    for _ in range(6):
        assert court.broke("ann") == set()
        court.turn(400)


def test_whoever_does_it_again_alone_is_refused_at_once_and_for_longer(court: Court) -> None:
    spans: list[object] = []
    for _ in range(3):
        court.broke("ann")
    for _ in range(7):
        spans.append(court.after("ann"))
        court.turn(400)
        assert court.after("ann") is None
        assert court.broke("ann") == {"ann"}
    assert spans == [10, 20, 40, 80, 160, 300, 300]
    court.turn(300 + 600)
    assert court.broke("ann") == set()  # that was long ago


def test_it_is_told_when_the_first_is_refused_and_when_the_last_is_no_more(court: Court) -> None:
    assert court.blame.refuse("ann", HEALTH, "its calls fail")
    assert not court.blame.refuse("ann", HEALTH, "its calls fail")  # calls that were under way
    court.turn(5)
    assert court.blame.refuse("bob", HEALTH, "its calls fail")
    court.turn(5)
    assert (court.changes, set(court.blame.refused)) == ([True], {"bob"})
    court.turn(5)
    assert court.changes == [True, False]


def test_of_those_that_were_refused_only_so_many_are_remembered(court: Court) -> None:
    for number in range(1500):
        court.blame.refuse(f"p{number}", HEALTH, "its calls fail")
    assert len(court.blame.refused) == 1000
    assert (court.after("p0"), court.after("p1499")) == (None, 10)


def test_restarts_that_are_somebodys_do_not_count() -> None:
    restarts, health = Restarts(), Health(restarts=2, window=60)
    assert not restarts.are_often(0, health, {"ann"})
    assert not restarts.are_often(1, health, {"bob"})
    assert restarts.are_often(2, health, {"bob"})
    restarts.excuse({"ann"})
    assert not restarts.are_often(3, health, set())
    assert restarts.are_often(4, health, set())
    assert not restarts.are_often(100, health, set())
