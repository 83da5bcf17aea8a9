"""What is recommended follows from what was seen, and says nothing before enough was."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as some

from tests.unit.fleet.setting import spec
from tidegate.domain.server import Limits, Remote, ServerSpec
from tidegate.fleet.advice import ENOUGH, advise, needs
from tidegate.fleet.history import Happening
from tidegate.fleet.usage import EVERY, Look, Seen, Sketch
from tidegate.ports.runtime import Usage

MIB = 1024 * 1024
SERVER = spec("a", limits=Limits(memory=256 * MIB, cpus=1.0))


def seen(memory: list[int], cpus: float = 0.2) -> Seen:
    """Have looked at one workload so often, in MiB."""
    found = Seen()
    for number, size in enumerate(memory):
        usage = Usage(0.0, size * MIB)
        found.look(Look(EVERY * number, usage, cpus if number else None))
    return found


def test_little_use_is_recommended_less_and_much_use_more() -> None:
    little, much = advise(SERVER, seen([40] * 50)), advise(SERVER, seen([250] * 50, cpus=0.97))
    assert little.memory_advised == 64 * MIB
    assert little.cpus_advised == 0.3
    assert much.memory_advised == 352 * MIB
    assert much.cpus_advised == 2.0
    assert little.changes
    assert much.changes


def test_what_is_about_right_stays_as_it_is() -> None:
    told = advise(SERVER, seen([190] * 50, cpus=0.75))
    assert (told.memory_advised, told.cpus_advised) == (256 * MIB, 1.0)
    assert not told.changes


def test_before_enough_was_seen_nothing_is_recommended() -> None:
    told = advise(SERVER, seen([40] * (ENOUGH - 1)))
    assert told.memory_advised is None
    assert told.cpus_advised is None
    assert str(ENOUGH) in told.reason


def test_a_rare_peak_counts_for_memory_but_not_for_processors() -> None:
    told = advise(SERVER, seen([40] * 200 + [200]))
    assert told.memory_advised is not None
    assert told.memory_advised >= 200 * MIB
    assert told.memory_p95 < 50 * MIB


def test_a_kill_for_want_of_memory_counts_more_than_what_was_seen() -> None:
    found = seen([40] * 3)
    for _ in range(2):
        found.told(Happening(0.0, "tg-a-1", "starting", "killed: out of memory (limit 256 MiB)"))
    found.told(Happening(0.0, "tg-a-2", "starting", "exited with status 1"))
    told = advise(SERVER, found)
    assert told.killed == 1
    assert told.memory_advised == 384 * MIB
    assert "killed" in told.reason


def test_a_server_that_runs_elsewhere_is_left_alone() -> None:
    told = advise(ServerSpec("far", Remote("http://127.0.0.1:1/mcp"), "remote"), seen([40] * 50))
    assert told.memory_advised is None
    assert not told.changes


def test_a_new_workload_is_counted_with_its_limit_until_more_is_known() -> None:
    assert needs(SERVER, Seen()) == 256 * MIB
    assert needs(SERVER, seen([40] * 50)) < 64 * MIB
    assert needs(SERVER, seen([400] * 50)) == 256 * MIB


@given(
    values=some.lists(some.floats(0.01, 1e9), min_size=1, max_size=200), share=some.sampled_from([0.5, 0.95])
)
def test_a_sketch_is_right_to_its_grain(values: list[float], share: float) -> None:
    sketch = Sketch()
    for value in values:
        sketch.add(value, 0.0)
    ordered = sorted(values)
    exact = ordered[min(len(values) - 1, max(0, -int(-share * len(values) // 1) - 1))]
    assert exact * 0.999 <= sketch.quantile(share) <= exact * 1.051 + 1e-9
    assert ordered[-1] * 0.999 <= sketch.highest <= ordered[-1] * 1.051


def test_a_sketch_forgets_and_stays_small() -> None:
    sketch, dice = Sketch(), random.Random(1)
    for hour in range(24 * 365):
        sketch.add(500.0 if hour < 1000 else dice.uniform(90, 110), hour * 3600.0)
    assert sketch.quantile(0.95) == pytest.approx(108, rel=0.06)
    assert sketch.highest < 130
    assert len(sketch._weights) < 60  # pyright: ignore[reportPrivateUsage]
