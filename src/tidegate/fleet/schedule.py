"""Schedule: which known peaks are on at a moment, on the clocks of their own zones.

Pure: the time comes in. A peak belongs to the day on which it begins, also where it ends after midnight.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from tidegate.domain.server import Schedule

_DAY = 24 * 60


def active(schedules: Iterable[Schedule], now: float) -> Schedule | None:
    """Give the one with the most replicas of those that are on at `now` (Unix seconds), or None.

    Raises:
        ZoneInfoNotFoundError: a zone is not known here.
    """
    on = [each for each in schedules if is_on(each, now)]
    return max(on, key=lambda each: each.min, default=None)


def is_on(schedule: Schedule, now: float) -> bool:
    """Tell whether a peak lasts at `now` (Unix seconds)."""
    zone = ZoneInfo(schedule.zone)
    today = datetime.fromtimestamp(now, zone).date()
    return any(
        day.weekday() in schedule.days and begin <= now < end
        for day in (today - timedelta(days=1), today)
        for begin, end in (_span(schedule, day, zone),)
    )


def _span(schedule: Schedule, day: date, zone: ZoneInfo) -> tuple[float, float]:
    """Give the moments of a peak that begins on a day; one that ends when it begins lasts a whole day."""
    past_midnight = _DAY if schedule.end <= schedule.begin else 0
    begin = _moment(day, schedule.begin, zone, last=False)
    return begin, _moment(day, schedule.end + past_midnight, zone, last=True)


def _moment(day: date, minute: int, zone: ZoneInfo, *, last: bool) -> float:
    """Give the Unix seconds at which the clocks of a zone show so many minutes after a midnight.

    What they show twice is the first or the `last` of both, so that a peak is not broken; what they leave out
    is the moment at which they are put forward.
    """
    shown = datetime.combine(day, time()) + timedelta(minutes=minute)
    first = shown.replace(tzinfo=zone, fold=0).timestamp()
    second = shown.replace(tzinfo=zone, fold=1).timestamp()
    if first <= second:
        return second if last else first
    between = range(int(second), int(first) + 1)

    def clock(moment: int) -> datetime:
        return datetime.fromtimestamp(moment, UTC).astimezone(zone).replace(tzinfo=None)

    return float(between[bisect_left(between, shown, key=clock)])
