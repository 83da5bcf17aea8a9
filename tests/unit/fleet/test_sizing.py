"""How many replicas there are to be: within bounds, soon more, slowly fewer, and never back and forth."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as some

from tidegate.domain.server import Replicas, Scaling
from tidegate.fleet.sizing import Extreme, Floor, Load, Sizing, recommend

NOTHING, NONE = Floor(), Load()
QUICK = Scaling(in_flight=4, up_after=3.0, down_after=30.0)


def run(
    sizing: Sizing, loads: Iterable[Load], floor: Floor = NOTHING, each: int = 4, begin: float = 100.0
) -> list[int]:
    """Decide once a second; give what was wanted. What is wanted is ready at the next look."""
    found: list[int] = []
    for second, load in enumerate(loads):
        now = replace(load, ready=sizing.wanted)
        found.append(sizing.decide(now, floor, each, begin + second).wanted)
    return found


def steady(load: Load, seconds: int) -> list[Load]:
    return [load] * seconds


def test_more_come_only_when_more_were_needed_all_the_while() -> None:
    sizing = Sizing(Replicas(1, 8), QUICK, 0.0, 1)
    assert run(sizing, steady(Load(in_flight=16), 6)) == [1, 1, 1, 4, 4, 4]


def test_a_burst_shorter_than_the_delay_changes_nothing() -> None:
    sizing = Sizing(Replicas(1, 8), QUICK, 0.0, 1)
    burst = [*steady(NONE, 5), *steady(Load(in_flight=30), 2), *steady(NONE, 5)]
    assert set(run(sizing, burst * 5)) == {1}


def test_fewer_come_late_and_by_half_at_a_time() -> None:
    sizing = Sizing(Replicas(1, 8), QUICK, 0.0, 8)
    wanted = run(sizing, steady(Load(in_flight=1), 130))
    steps = [(second, now) for second, (before, now) in enumerate(pairwise(wanted), 1) if now != before]
    assert steps == [(30, 4), (60, 2), (90, 1)]


def test_a_load_that_swings_keeps_what_its_highest_needs() -> None:
    sizing = Sizing(Replicas(1, 8), QUICK, 0.0, 1)
    swing = [*steady(Load(in_flight=16), 10), *steady(NONE, 20)] * 8
    wanted = run(sizing, swing)
    assert set(wanted[4:]) == {4}


def test_what_waits_too_long_brings_more_though_few_are_under_way() -> None:
    sizing = Sizing(Replicas(1, 8), QUICK, 0.0, 1)
    wanted = run(sizing, steady(Load(in_flight=1, waiting=1, wait=2.0), 5))
    assert wanted[-1] == 2


def test_while_some_are_on_their_way_a_long_wait_brings_no_more() -> None:
    waits = Load(in_flight=2, waiting=1, wait=2.0, ready=1)
    assert recommend(waits, QUICK, 3, 4).wanted == 3


def test_slow_calls_bring_more_but_never_more_than_there_are_calls() -> None:
    scaling = replace(QUICK, latency=0.5)
    assert recommend(Load(in_flight=3, latency_p95=2.0), scaling, 1, 4).wanted == 2
    assert recommend(Load(in_flight=3, latency_p95=2.0), scaling, 2, 4).wanted == 3
    assert recommend(Load(in_flight=1, latency_p95=2.0), scaling, 1, 4).wanted == 1
    assert recommend(Load(latency_p95=2.0), scaling, 1, 4).wanted == 0


def test_a_latency_of_before_the_last_change_brings_no_second_change() -> None:
    sizing = Sizing(Replicas(1, 64), replace(QUICK, latency=0.5), 0.0, 1)
    wanted = run(sizing, steady(Load(in_flight=60, latency_p95=2.0), 40), each=60)
    assert wanted[-1] == 2
    assert run(sizing, steady(Load(in_flight=60, latency_p95=2.0), 40), each=60, begin=140.0)[-1] == 4


def test_a_floor_is_there_at_once_and_goes_slowly_when_it_ends() -> None:
    sizing = Sizing(Replicas(1, 8), QUICK, 0.0, 1)
    raised = run(sizing, [NONE], Floor(5, "signal storm"))
    assert raised == [5]
    assert sizing.decide(NONE, Floor(5, "signal storm"), 4, 101.0).reason == "signal storm"
    after = run(sizing, steady(NONE, 100), begin=102.0)
    assert after[20] == 5
    assert after[-1] == 1


def test_a_floor_over_the_most_there_may_be_is_the_most() -> None:
    sizing = Sizing(Replicas(1, 3), QUICK, 0.0, 1)
    assert run(sizing, [NONE], Floor(50, "signal storm")) == [3]


def test_the_last_goes_when_nobody_called_for_as_long_as_was_said_and_comes_back_for_a_call() -> None:
    sizing = Sizing(Replicas(0, 3), QUICK, 60.0, 1)
    wanted = run(sizing, steady(Load(last_used=100.0), 63))
    assert wanted[60] == 1
    assert wanted[61:] == [0, 0]
    assert run(sizing, [Load(waiting=1)], begin=170.0) == [1]


def test_one_that_a_short_call_brought_up_between_two_looks_stays() -> None:
    sizing = Sizing(Replicas(0, 3), QUICK, 60.0, 0)
    verdict = sizing.decide(Load(ready=1, last_used=99.5), NOTHING, 4, 100.0)
    assert (verdict.wanted, verdict.reason) == (1, "somebody called")


def test_none_are_wanted_of_a_server_that_nobody_has_called_yet() -> None:
    assert set(run(Sizing(Replicas(0, 3), QUICK, 60.0, 0), steady(NONE, 90))) == {0}


def test_the_last_stays_where_idleness_has_no_end() -> None:
    assert set(run(Sizing(Replicas(0, 3), QUICK, 0.0, 1), steady(NONE, 900))) == {1}


def test_a_machine_that_slept_waits_again_before_it_judges() -> None:
    sizing = Sizing(Replicas(1, 8), QUICK, 0.0, 8)
    run(sizing, steady(Load(in_flight=30), 5))
    assert run(sizing, steady(NONE, 1), begin=90_000.0) == [8]


loads = some.builds(
    Load,
    in_flight=some.integers(0, 200),
    waiting=some.integers(0, 50),
    wait=some.floats(0, 60),
    latency_p95=some.none() | some.floats(0, 60),
    last_used=some.floats(0, 100),
)
scalings = some.builds(
    Scaling,
    in_flight=some.integers(1, 64),
    wait=some.floats(0.01, 10),
    latency=some.none() | some.floats(0.01, 10),
    up_after=some.floats(0, 10),
    down_after=some.floats(0, 40),
)


@given(
    least=some.integers(0, 4),
    more=some.integers(0, 12),
    scaling=scalings,
    series=some.lists(some.tuples(loads, some.integers(0, 30)), max_size=60),
    began=some.integers(0, 16),
)
def test_whatever_is_asked_the_bounds_hold(
    least: int, more: int, scaling: Scaling, series: list[tuple[Load, int]], began: int
) -> None:
    replicas = Replicas(least, max(1, least + more))
    sizing = Sizing(replicas, scaling, 20.0, began)
    for second, (load, floor) in enumerate(series):
        wanted = sizing.decide(load, Floor(floor, "f"), scaling.in_flight, 100.0 + second).wanted
        assert min(replicas.max, max(least, floor)) <= wanted <= replicas.max
        if load.in_flight + load.waiting:
            assert wanted >= 1


@given(load=loads, scaling=scalings, began=some.integers(1, 12), each=some.integers(1, 64))
def test_a_load_that_stays_the_same_never_moves_it_back_and_forth(
    load: Load, scaling: Scaling, began: int, each: int
) -> None:
    sizing = Sizing(Replicas(1, 12), scaling, 0.0, began)
    wanted = [began, *run(sizing, steady(load, 400), each=each)]
    ups = any(after > before for before, after in pairwise(wanted))
    downs = any(after < before for before, after in pairwise(wanted))
    assert not (ups and downs), wanted


@given(
    values=some.lists(some.integers(0, 9), min_size=1, max_size=80),
    seconds=some.integers(0, 20),
    most=some.booleans(),
)
def test_an_extreme_is_that_of_all_values_in_its_window(values: list[int], seconds: int, most: bool) -> None:
    extreme = Extreme(float(seconds), most=most)
    for now, value in enumerate(values):
        window = values[max(0, now - seconds) : now + 1]
        expected = (max if most else min)(window) if now >= seconds else None
        assert extreme.add(float(now), value) == expected


@pytest.mark.parametrize("most", [True, False])
def test_an_extreme_keeps_no_more_than_there_are_different_values(most: bool) -> None:
    extreme = Extreme(10_000.0, most=most)
    for now in range(5000):
        extreme.add(float(now), now % 7)
    assert len(extreme._kept) <= 7  # pyright: ignore[reportPrivateUsage]
