"""What is recommended follows from what was seen, and says nothing before enough was."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some

from tests.unit.fleet.conftest import Open
from tests.unit.fleet.setting import EPOCH, spec
from tidegate.domain.server import Limits, Remote, ServerSpec
from tidegate.fleet.advice import ENOUGH, advise, needs
from tidegate.fleet.history import Happening
from tidegate.fleet.kept import KeptSeen
from tidegate.fleet.usage import EVERY, Look, Seen, Sketch
from tidegate.ports.runtime import Usage
from tidegate.testing.loop_time import LoopTime

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
        found.told(Happening(0.0, "tg-a-1", "starting", "killed: out of memory (limit 256 MiB)"), 256 * MIB)
    found.told(Happening(0.0, "tg-a-2", "starting", "exited with status 1"), 256 * MIB)
    told = advise(SERVER, found)
    assert told.killed == 1
    assert told.memory_advised == 384 * MIB
    assert "killed" in told.reason


def test_a_kill_says_nothing_of_a_limit_that_was_raised_since_and_is_forgotten_in_time() -> None:
    found = seen([40] * 50)
    found.told(Happening(100.0, "tg-a-1", "starting", "killed: out of memory (limit 128 MiB)"), 128 * MIB)
    assert advise(SERVER, found).killed == 0
    low = spec("a", limits=Limits(memory=128 * MIB))
    assert advise(low, found).memory_advised == 192 * MIB
    found.forget_before(100.0)
    assert found.kills(0) == 1
    found.forget_before(101.0)
    assert found.kills(0) == 0


def test_what_was_seen_is_kept_small_and_taken_up_as_it_was_with_the_time_between() -> None:
    found, dice = seen([40] * 200 + [200]), random.Random(1)
    for _ in range(5000):
        found.memory.add(dice.uniform(1, 1e9), EVERY * 200)
    found.told(Happening(EPOCH, "tg-a-1", "starting", "out of memory"), 256 * MIB)
    data = msgspec.json.encode(found.kept(EVERY * 200, EPOCH))
    assert len(data) < 16 * 1024
    day = 24 * 3600.0
    kept = msgspec.json.decode(data, type=KeptSeen)
    again = Seen.recalled(kept, 5.0, EPOCH + day)  # another loop's time, a day later
    assert again.memory.count == found.memory.count
    for share in (0.5, 0.95, 1.0):
        assert again.memory.quantile(share) == pytest.approx(found.memory.quantile(share))
        assert again.cpus.quantile(share) == pytest.approx(found.cpus.quantile(share))
    assert again.kills(256 * MIB) == 1
    half = found.kept(EVERY * 200, EPOCH).cpus.weights
    assert [w for _, w in again.kept(5.0, EPOCH + day).cpus.weights] == pytest.approx(
        [w / 2 for _, w in half], rel=1e-3
    )


async def test_advice_after_a_restart_knows_what_was_seen_before(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(SERVER)
    setting.runtime.uses = Usage(1.0, 40 * MIB)
    await time.advance(EVERY * 25 + 1, 1.0)
    before = setting.fleet.adviser.of("a")
    assert before.memory_advised == 64 * MIB
    await setting.fleet.close()
    again = await fleet(SERVER, world=setting.world, state=setting.state, servers=setting.servers)
    assert again.fleet.adviser.of("a") == before
    await again.apply()
    await again.apply(SERVER)
    assert await again.state.scan("usage/") == []


async def test_of_a_gateway_that_was_killed_a_few_minutes_of_looks_are_lost(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(SERVER)
    setting.runtime.uses = Usage(1.0, 40 * MIB)
    await time.advance(EVERY * 45 + 1, 1.0)
    await setting.abandon()
    again = await fleet(SERVER, world=setting.world, state=setting.state, servers=setting.servers)
    assert 25 <= again.fleet.adviser.of("a").looks <= 45


async def test_what_is_kept_and_cannot_be_read_is_nothing_seen(fleet: Open) -> None:
    setting = await fleet(SERVER, begin=False)
    await setting.state.put("usage/a", b"{")
    await setting.begin()
    assert setting.fleet.adviser.of("a").looks == 0


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
