"""Known peaks: on when the clocks of their zone say so, whatever is done to those clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as some

from tidegate.domain.server import Schedule
from tidegate.fleet.schedule import active, is_on

ALL = frozenset(range(7))
BERLIN = "Europe/Berlin"


def peak(
    begin: str, end: str, days: frozenset[int] = ALL, zone: str = BERLIN, least: int = 2, name: str = "p"
) -> Schedule:
    def minutes(text: str) -> int:
        hours, _, rest = text.partition(":")
        return int(hours) * 60 + int(rest)

    return Schedule(name, days, minutes(begin), minutes(end), zone, least)


def at(text: str) -> float:
    """Read a moment in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("schedule", "moment", "on"),
    [
        (peak("07:00", "09:30"), "2026-01-14T05:59:59", False),
        (peak("07:00", "09:30"), "2026-01-14T06:00", True),
        (peak("07:00", "09:30"), "2026-01-14T08:29:59", True),
        (peak("07:00", "09:30"), "2026-01-14T08:30", False),
        (peak("07:00", "09:30"), "2026-07-14T05:00", True),  # summer time
        (peak("07:00", "09:30", frozenset({0})), "2026-01-12T07:00", True),  # a Monday
        (peak("07:00", "09:30", frozenset({0})), "2026-01-13T07:00", False),
        (peak("22:00", "02:00", frozenset({4})), "2026-01-16T22:30", True),  # a Friday
        (peak("22:00", "02:00", frozenset({4})), "2026-01-17T00:30", True),  # and the Saturday after it
        (peak("22:00", "02:00", frozenset({4})), "2026-01-17T01:00", False),
        (peak("22:00", "02:00", frozenset({4})), "2026-01-16T00:30", False),  # the Friday's own night
        (peak("00:00", "24:00", frozenset({2})), "2026-01-14T22:59", True),
        (peak("00:00", "24:00", frozenset({2})), "2026-01-14T23:00", False),
        (peak("06:00", "06:00", frozenset({2})), "2026-01-15T04:59", True),  # a whole day
        (peak("07:00", "08:00", zone="Asia/Kathmandu"), "2026-01-14T01:15", True),
        (peak("07:00", "08:00", zone="Asia/Kathmandu"), "2026-01-14T01:14", False),
    ],
)
def test_a_peak_is_on_between_its_times_on_its_days(schedule: Schedule, moment: str, on: bool) -> None:
    assert is_on(schedule, at(moment)) is on


def test_a_peak_whose_beginning_the_clocks_leave_out_begins_when_they_are_put_forward() -> None:
    schedule = peak("02:30", "04:00")  # 2026-03-29: 02:00 becomes 03:00, at 01:00 UTC
    assert not is_on(schedule, at("2026-03-29T00:59:59"))
    assert is_on(schedule, at("2026-03-29T01:00"))
    assert not is_on(schedule, at("2026-03-29T02:00"))


def test_a_peak_that_the_clocks_leave_out_altogether_does_not_happen() -> None:
    schedule = peak("02:10", "02:50")
    moments = (at("2026-03-29T00:00") + 60 * n for n in range(180))
    assert not any(is_on(schedule, moment) for moment in moments)


def test_a_peak_in_the_hour_that_comes_twice_lasts_through_both() -> None:
    schedule = peak("02:15", "02:45")  # 2026-10-25: 03:00 becomes 02:00, at 01:00 UTC
    on = [n for n in range(240) if is_on(schedule, at("2026-10-24T23:00") + 60 * n)]
    assert on == list(range(75, 165))


def test_of_those_that_are_on_the_one_with_the_most_replicas_counts() -> None:
    both = [peak("00:00", "24:00", least=2, name="day"), peak("08:00", "09:00", least=5, name="rush")]
    rush = active(both, at("2026-01-14T07:30"))
    day = active(both, at("2026-01-14T12:00"))
    assert (rush and rush.name, day and day.name, active([], 0.0)) == ("rush", "day", None)


@given(
    begin=some.integers(0, 1439),
    length=some.integers(1, 1439),
    zone=some.sampled_from([BERLIN, "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "UTC"]),
    day=some.integers(0, 365),
)
def test_a_daily_peak_lasts_as_long_as_declared_but_for_what_is_done_to_the_clocks(
    begin: int, length: int, zone: str, day: int
) -> None:
    schedule = Schedule("p", ALL, begin, (begin + length) % 1440, zone, 1)
    first = at("2026-01-01T00:00") + 86400 * day
    on = sum(is_on(schedule, first + 600 * n) for n in range(144)) * 10
    assert abs(on - length) <= 60 + 10 + 60


def test_a_peak_changes_at_most_twice_a_day_all_year() -> None:
    schedule = peak("01:30", "02:30")
    moments = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=15 * n) for n in range(4 * 24 * 365)]
    states = [is_on(schedule, moment.timestamp()) for moment in moments]
    changes = sum(before != after for before, after in pairwise(states))
    assert 2 * 363 <= changes <= 2 * 365
