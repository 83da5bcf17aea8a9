"""How many workloads a server has, who waits for them, and when one counts as sick: keys of a server.

The docstrings are the reference of the keys. What goes together is found by `mistakes`, on the plain data.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, TypeGuard, cast
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, StrictInt

from tidegate.domain.server import Health, Queue, Replicas, Scaling, Schedule
from tidegate.settings.base import Emptiable, Model
from tidegate.settings.values import Seconds, SecondsOrNever, Text

MOST = 64
"""Replicas of one server, schedules and signals."""
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
_SIGNAL = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
_REPLICAS, _SCALING, _QUEUE, _HEALTH = Replicas(), Scaling(), Queue(), Health()

Count = Annotated[StrictInt, Field(ge=1, le=MOST)]


def _clock(value: str) -> str:
    if not _CLOCK.fullmatch(value):
        raise ValueError('should be a time of day such as "07:30", in quotes')
    return value


def _some(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        raise ValueError("should not be empty; leave it out for every day")
    return value


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError) as error:  # what is not found, badly named, or a directory
        raise ValueError("should be the name of a time zone such as Europe/Berlin, or UTC") from error
    return value


def _signals(value: dict[str, int]) -> dict[str, int]:
    if len(value) > MOST:
        raise ValueError(f"holds more than {MOST}")
    for name in value:
        if not _SIGNAL.fullmatch(name):
            raise ValueError("holds a name that is not at most 32 of a-z, 0-9 and -, no - at an end")
    return value


class ReplicasModel(Model):
    """How many workloads of a shared server there are: as many as are needed, within bounds."""

    min: Annotated[StrictInt, Field(ge=0, le=MOST)] = _REPLICAS.min
    """Least; 0 lets it go to none when nobody has called it for `timeouts.idle`."""
    max: Count = _REPLICAS.max
    """Most. More than 1 goes with `sharing: shared` and `stateless: true`, or with `sharing: call`, where it is how many are kept warm."""

    def noun(self) -> Replicas:
        """Give what it means."""
        return Replicas(self.min, self.max)


class ScheduleModel(Model):
    """A known peak: while it lasts, there are at least so many replicas."""

    name: Text
    """What it is called."""
    days: Annotated[
        tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...], AfterValidator(_some)
    ] = _DAYS
    """Days of the week on which it begins."""
    begin: Annotated[Text, AfterValidator(_clock), Field(alias="from")]
    """Time of day at which it begins, in quotes: `"07:30"`."""
    end: Annotated[Text, AfterValidator(_clock), Field(alias="to")]
    """Time of day at which it ends; of the next day where that is not later than `from`."""
    zone: Annotated[Text, AfterValidator(_zone)] = "UTC"
    """Name of the time zone whose clocks are meant."""
    min: Count
    """Least replicas."""

    def noun(self) -> Schedule:
        """Give what it means."""
        days = frozenset(_DAYS.index(day) for day in self.days)
        return Schedule(self.name, days, _minutes(self.begin), _minutes(self.end), self.zone, self.min)


class ScalingModel(Model):
    """When there are more replicas, and when fewer."""

    in_flight: Annotated[StrictInt, Field(ge=1, le=100_000)] = _SCALING.in_flight
    """Calls under way at one replica that are meant to be."""
    wait: Seconds = _SCALING.wait
    """That a call may wait for a place; when they wait longer, there are to be more."""
    latency: Seconds | None = None
    """Of calls (p95), above which there are to be more."""
    up_after: SecondsOrNever = _SCALING.up_after
    """That it has to be so before there are more."""
    down_after: SecondsOrNever = _SCALING.down_after
    """That fewer have to be enough before there are fewer."""
    pause_after: Seconds | None = None
    """An idle workload is paused after so long, where the runtime can: it keeps its memory and uses no processor."""
    schedules: Annotated[tuple[ScheduleModel, ...], Field(max_length=MOST)] = ()
    """Known peaks."""
    signals: Annotated[dict[str, Count], Emptiable, AfterValidator(_signals)] = Field(default_factory=dict)
    """Least replicas while a signal from outside is on, by its name: `storm: 4`."""

    def noun(self) -> Scaling:
        """Give what it means."""
        return Scaling(
            self.in_flight,
            self.wait,
            self.latency,
            self.up_after,
            self.down_after,
            self.pause_after,
            tuple(each.noun() for each in self.schedules),
            dict(self.signals),
        )


class QueueModel(Model):
    """Calls that wait for a place."""

    length: Annotated[StrictInt, Field(ge=0, le=100_000)] = _QUEUE.length
    """So many may wait; one more is refused."""
    wait: Seconds = _QUEUE.wait
    """That one waits at most for workloads that are only busy."""
    in_flight: Annotated[StrictInt, Field(ge=1, le=100_000)] | None = None
    """Most calls under way at one workload; as many as come where absent."""

    def noun(self) -> Queue:
        """Give what it means."""
        return Queue(self.length, self.wait, self.in_flight)


class HealthModel(Model):
    """When a workload counts as sick, and what becomes of it then."""

    every: SecondsOrNever = _HEALTH.every
    """Between two probes (`ping`, `server/discover`) of a workload that is not called; 0: none."""
    timeout: Seconds = _HEALTH.timeout
    """For the answer to a probe."""
    failures: Annotated[StrictInt, Field(ge=1, le=1000)] = _HEALTH.failures
    """Calls or probes in a row that broke or timed out, after which it gets no calls for a while; one that answers none of so many probes is replaced."""
    eject: Seconds = _HEALTH.eject
    """For which it gets none; doubled each time, up to five minutes."""
    restarts: Annotated[StrictInt, Field(ge=1, le=100_000)] = _HEALTH.restarts
    """Restarts within `window` after which it is quarantined: not started again until `tidegate server release`."""
    window: Seconds = _HEALTH.window
    """In which restarts are counted."""

    def noun(self) -> Health:
        """Give what it means."""
        return Health(self.every, self.timeout, self.failures, self.eject, self.restarts, self.window)


def mistakes(server: Mapping[str, object]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Find what does not go together in a server's data: where, and what. `server` is plain data, unchecked."""
    sharing, replicas = server.get("sharing", "principal"), _mapping(server.get("replicas"))
    least, most = replicas.get("min", _REPLICAS.min), replicas.get("max", _REPLICAS.max)
    if _is_count(most) and most > 1:
        if sharing not in ("shared", "call"):
            yield ("replicas", "max"), "goes with sharing: shared or call; each key has one workload else"
        elif sharing == "shared" and server.get("stateless") is not True:
            yield (
                ("replicas", "max"),
                "needs stateless: true: calls of one client go to any replica, and what one was told the others do not know",
            )
    if _is_count(least) and _is_count(most) and least > most:
        yield ("replicas", "min"), f"is more than replicas.max ({most})"
    scaling = _mapping(server.get("scaling"))
    for key in ("schedules", "signals"):
        if scaling.get(key) and sharing != "shared":
            yield ("scaling", key), "goes with sharing: shared only"
    for place, count in _least(scaling):
        if _is_count(count) and _is_count(most) and count > most:
            yield ("scaling", *place), f"is more than replicas.max ({most})"


def _least(scaling: Mapping[str, object]) -> Iterator[tuple[tuple[str | int, ...], object]]:
    schedules = scaling.get("schedules")
    if isinstance(schedules, list):
        for index, schedule in enumerate(cast("list[object]", schedules)):
            yield ("schedules", index, "min"), _mapping(schedule).get("min")
    for name, count in _mapping(scaling.get("signals")).items():
        yield ("signals", name), count


def _minutes(clock: str) -> int:
    return int(clock[:2]) * 60 + int(clock[3:])


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _mapping(value: object) -> dict[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}
