"""`quotas:` in the settings file: how many calls, and whose and which count together."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Literal, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field, StrictInt, WithJsonSchema

from tidegate.domain.quota import Per, Quota
from tidegate.domain.role import BUILT_IN
from tidegate.settings.base import Model
from tidegate.settings.problems import Problem, choose
from tidegate.settings.roles import PathPattern, Pattern
from tidegate.settings.values import Text

MOST = 64
"""Quotas that there may be: each that concerns a call costs it time."""
_CALLS = re.compile(r"([1-9][0-9]{0,8})/(s|min|h|hour|day)")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_WILD = frozenset("*?[")
_Data = Mapping[str, object]


def _per(value: object) -> object:
    if value == "all":
        return ()
    return (value,) if isinstance(value, str) else value


def _once(value: tuple[Per, ...]) -> tuple[Per, ...]:
    if len(set(value)) != len(value):
        raise ValueError("names one thing twice")
    return tuple(each for each in Per if each in value)


def _calls(value: str) -> str:
    match = _CALLS.fullmatch(value)
    if match is None:
        raise ValueError('should be a number of calls in a time: "5/s", "100/min", "10/h" or "10000/day"')
    return f"{match[1]}/{'h' if match[2] == 'hour' else match[2]}"


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("should be a name of at most 64 of a-z, 0-9, . _ and -")
    return value


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("is no time zone known here, such as Europe/Berlin") from None
    return value


PerChoice = Annotated[
    tuple[Per, ...],
    BeforeValidator(_per),
    AfterValidator(_once),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "enum": ["all", *(each.value for each in Per)]},
                {
                    "type": "array",
                    "items": {"type": "string", "enum": [each.value for each in Per]},
                    "minItems": 1,
                },
            ]
        }
    ),
]
Calls = Annotated[
    Text,
    AfterValidator(_calls),
    WithJsonSchema({"type": "string", "pattern": "^[1-9][0-9]*/(s|min|h|hour|day)$"}),
]


class QuotaModel(Model):
    """A quota: `calls` in a time, or calls `at_once`. `roles`, `tenants`, `endpoints`, `servers` and `tools` say which
    calls count; those that are absent stand for all.
    """

    name: Annotated[Text, AfterValidator(_name)] | None = None
    """What refusals, metrics and `tidegate quotas` call it. Absent: made of `per` and the time."""
    per: PerChoice
    """What counts together: the calls of each `principal`, `tenant` or `client`, those to each `tool`, `server` or
    `endpoint`, of each combination of several; or `all`."""
    calls: Calls | None = None
    """So many in a time: `5/s`, `100/min`, `10/h`, or `10000/day`, of the calendar day."""
    burst: Annotated[StrictInt, Field(ge=1, le=1_000_000)] | None = None
    """How many may come at once after a pause. Absent: as many as `calls` says. Not of a day's."""
    zone: Annotated[Text, AfterValidator(_zone)] | None = None
    """Time zone in which a day begins. Absent: `UTC`."""
    when_unknown: Literal["refuse", "allow"] | None = None
    """What becomes of calls while a day's count cannot be kept. Absent: `refuse`."""
    at_once: Annotated[StrictInt, Field(ge=1, le=1_000_000)] | None = None
    """So many under way at one time, parked ones among them."""
    roles: tuple[Text, ...] = ()
    """Of principals with one of these roles."""
    tenants: tuple[Text, ...] = ()
    """Of these tenants; patterns."""
    endpoints: tuple[PathPattern, ...] = ()
    """At these endpoints; patterns."""
    servers: tuple[Pattern, ...] = ()
    """To these servers; patterns."""
    tools: tuple[Pattern, ...] = ()
    """To these tools; patterns on `server__tool`. Nothing else counts then."""


def quotas(
    models: Iterable[QuotaModel], own: Mapping[str, Iterable[QuotaModel]] | None = None
) -> tuple[Quota, ...]:
    """Give the declared quotas, each with a name of its own; `own` has those of tenants' own, by their names."""
    found: dict[str, Quota] = {}
    all_ = [("", model) for model in models]
    all_ += [(tenant, model) for tenant, theirs in (own or {}).items() for model in theirs]
    taken = {_of(tenant, model.name) for tenant, model in all_ if model.name is not None}
    for tenant, model in all_:
        calls, _, period = (model.calls or "").partition("/")
        made = _made(tenant, model.per, period or "at-once", found.keys() | taken)
        name = made if model.name is None else _of(tenant, model.name)
        found[name] = Quota(
            name=name,
            per=model.per,
            calls=int(calls or 0),
            period=period,
            burst=0 if period in ("", "day") else model.burst or int(calls),
            zone=model.zone or "UTC",
            at_once=model.at_once or 0,
            closed=model.when_unknown != "allow",
            roles=frozenset(model.roles),
            tenants=(tenant,) if tenant else model.tenants,
            endpoints=model.endpoints,
            servers=model.servers,
            tools=model.tools,
        )
    return tuple(found.values())


def _of(tenant: str, name: str) -> str:
    return f"{tenant}.{name}" if tenant else name


def _made(tenant: str, per: tuple[Per, ...], period: str, taken: Collection[str]) -> str:
    first = _of(tenant, "-".join([*(each.value for each in per), period]) if per else f"all-{period}")
    return next(
        name for n in range(1, MOST + 2) if (name := first if n == 1 else f"{first}-{n}") not in taken
    )


# -- mistakes ---------------------------------------------------------------------------------


def mistakes(data: _Data) -> Iterator[Problem]:
    """Find what does not go together in `quotas`."""
    servers, endpoints = _mapping(data.get("servers")), _mapping(data.get("endpoints")) or {"/mcp": None}
    roles = tuple(dict.fromkeys((*BUILT_IN, *_mapping(data.get("roles")))))
    names: set[str] = set()
    for index, value in enumerate(_list(data.get("quotas"))):
        quota, at = _mapping(value), ("quotas", index)
        name = quota.get("name")
        if isinstance(name, str):
            if name in names:
                yield Problem((*at, "name"), f"is the name of another quota already: {name[:64]}")
            names.add(name)
        yield from _check_kind(at, quota)
        for key, known in (
            ("servers", tuple(servers)),
            ("endpoints", tuple(p.rstrip("/") for p in endpoints)),
        ):
            for number, pattern in enumerate(_list(quota.get(key))):
                if isinstance(pattern, str) and not any(fnmatchcase(each, pattern) for each in known):
                    if key == "servers" and set(pattern) & _WILD:
                        continue
                    told = f"there is no {key[:-1]} {pattern[:64]}" + choose(pattern, known)
                    yield Problem((*at, key, number), told)
        for number, role in enumerate(_list(quota.get("roles"))):
            if isinstance(role, str) and role not in roles:
                yield Problem((*at, "roles", number), f"there is no role {role[:64]}" + choose(role, roles))


def _check_kind(at: tuple[str | int, ...], quota: _Data) -> Iterator[Problem]:
    calls, at_once = quota.get("calls"), quota.get("at_once")
    if (calls is None) == (at_once is None):
        yield Problem(at, "a quota has exactly one of calls and at_once")
        return
    daily = isinstance(calls, str) and calls.endswith("/day")
    if quota.get("burst") is not None and (calls is None or daily):
        yield Problem((*at, "burst"), "goes with calls in a second, a minute or an hour only")
    for key in ("zone", "when_unknown"):
        if quota.get(key) is not None and not daily:
            yield Problem((*at, key), "goes with calls in a day only")


def _mapping(value: object) -> _Data:
    return cast("_Data", value) if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []
