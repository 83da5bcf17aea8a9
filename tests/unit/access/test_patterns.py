"""Patterns of rules, roles, stops and quotas: whatever name a client makes up, looking at it takes no time."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tidegate.access.authorize import Authorizer
from tidegate.access.quotas import InForce
from tidegate.access.stops import Stops
from tidegate.domain.endpoint import Effect, EndpointSpec, Rule
from tidegate.domain.principal import Principal
from tidegate.domain.quota import Quota
from tidegate.domain.stop import Stop, StopScope
from tidegate.domain.target import Kind, Target

STARS = "*a" * 12 + "*b"
"""Tried in every way, such a pattern would be looked for until the sun is gone."""
NAME = "a" * 2000
ANN = Principal("t", "test", "ann", frozenset({"user"}))


def ruled(target: Target) -> bool:
    allow = Rule(Effect.ALLOW, tools=(STARS, STARS), resources=(STARS,))
    return Authorizer(EndpointSpec("/mcp", ("one",), rules=(allow,))).decide(ANN, target).allowed


def stopped(target: Target) -> bool:
    stops = Stops()
    stops.turn([Stop("s", StopScope.TOOL, f"one__{STARS}", "r", "ops", 1.0)])
    return stops.check(ANN, target) is not None


def counted(target: Target) -> bool:
    return InForce(Quota("q", (), 1, "min", burst=1, tools=(f"one__{STARS}",)), None).concerns(
        ANN, "/mcp", target
    )


@pytest.mark.parametrize("looks", [ruled, stopped, counted])
def test_no_name_makes_a_pattern_take_long(looks: Callable[[Target], bool]) -> None:
    began = time.process_time()
    assert looks(Target("one", Kind.TOOL, NAME)) is False
    assert looks(Target("one", Kind.TOOL, f"{NAME}b")) is True
    assert time.process_time() - began < 5
