"""A change of a server comes in without a failed call, by each strategy; what shows to be bad is taken back."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.unit.fleet.conftest import Open
from tests.unit.fleet.rolling import NAME, Callers, opened, ready, standing, state, steps, version
from tidegate.domain.errors import TidegateError
from tidegate.domain.server import (
    Companion,
    Health,
    Replicas,
    Strategy,
    Timeouts,
    Volume,
)
from tidegate.fleet.fleet import Caps
from tidegate.protocol.capabilities import Offer
from tidegate.testing.loop_time import LoopTime
from tidegate.testing.memory_server import MemoryServer

ALL = list(Strategy)


@pytest.mark.parametrize("strategy", ALL)
async def test_a_change_comes_in_without_a_failed_call_and_never_with_fewer_workloads(
    fleet: Open, time: LoopTime, strategy: Strategy
) -> None:
    old, new = version("one", strategy), version("two", strategy)
    setting = await opened(fleet, time, old)
    callers = Callers(setting)
    await time.advance(1)
    await setting.apply(new)
    await time.until(lambda: state(setting) == "done")
    await time.advance(1)
    await callers.end()
    assert callers.failed == []
    assert callers.fewest >= 3
    assert callers.answers[old.digest()] > 0
    assert callers.answers[new.digest()] > 0
    pool = setting.fleet.pools[NAME]
    assert [track.digest for track in pool.tracks] == [new.digest()]
    assert pool.spec == new
    assert len(setting.world.running) == 3
    assert (steps(setting)[0], steps(setting)[-1]) == ("began", "done")
    assert setting.metrics.rollouts[NAME, "done"] == 1


async def test_rolling_takes_one_workload_after_the_other(fleet: Open, time: LoopTime) -> None:
    setting = await opened(fleet, time, version("one"))
    await setting.apply(version("two"))
    await time.until(lambda: state(setting) == "done")
    assert [each for each in steps(setting) if each in ("ready", "replaced")] == [
        "ready", "replaced", "ready", "replaced", "ready",
    ]  # fmt: skip
    assert setting.servers["two"].runs == 3


async def test_blue_green_gives_no_call_to_the_new_before_all_of_it_is_ready_and_keeps_the_old_for_a_while(
    fleet: Open, time: LoopTime
) -> None:
    old, new = version("one", Strategy.BLUE_GREEN), version("two", Strategy.BLUE_GREEN)
    setting = await opened(fleet, time, old)
    callers = Callers(setting)
    pool = setting.fleet.pools[NAME]
    await setting.apply(new)
    await time.until(lambda: pool.current.digest == new.digest())
    assert callers.answers[new.digest()] == 0
    before = callers.answers[old.digest()]
    await time.advance(4)
    assert ready(pool) == 6
    assert callers.answers[old.digest()] - before <= 4  # those under way
    await time.until(lambda: state(setting) == "done")
    await callers.end()
    assert ready(pool) == 3


async def test_a_canary_gets_its_share_of_the_calls_to_within_one(fleet: Open, time: LoopTime) -> None:
    how = {"share": 0.2, "watch": 10.0, "calls": 10_000}
    old = version("one", Strategy.CANARY, rollout=how)
    new = version("two", Strategy.CANARY, rollout=how)
    setting = await opened(fleet, time, old)
    callers = Callers(setting)
    await setting.apply(new)
    await time.until(lambda: standing(setting)["share"] == 0.2)
    callers.answers.clear()
    await time.advance(9, 0.05)
    await callers.end()
    total = callers.answers.total()
    assert total > 50
    assert abs(callers.answers[new.digest()] - total * 0.2) <= 2
    assert state(setting) == "under_way"


@pytest.mark.parametrize("strategy", ALL)
async def test_a_version_that_does_not_start_is_taken_back_and_no_call_notices(
    fleet: Open, time: LoopTime, strategy: Strategy
) -> None:
    old, bad = version("one", strategy), version("two", strategy)
    broken = MemoryServer()
    broken.exits = 3
    setting = await opened(fleet, time, old, two=broken)
    callers = Callers(setting)
    await setting.apply(bad)
    await time.until(lambda: state(setting) == "rolled_back")
    await time.advance(1)
    await callers.end()
    assert callers.failed == []
    assert set(callers.answers) == {old.digest()}
    assert "failed" in standing(setting)["reason"]
    assert setting.fleet.pools[NAME].spec == old
    assert len(setting.world.running) == 3
    assert steps(setting)[-1] == "rolled_back"


async def test_a_version_that_never_answers_its_handshake_is_taken_back_after_its_time(
    fleet: Open, time: LoopTime
) -> None:
    silent = MemoryServer()
    silent.silent = True
    setting = await opened(fleet, time, version("one", replicas=1), two=silent)
    await setting.apply(version("two", replicas=1))
    assert await time.until(lambda: state(setting) == "rolled_back") < 40
    assert await setting.text(NAME, "who", "shared")


@pytest.mark.parametrize("strategy", [Strategy.CANARY, Strategy.BLUE_GREEN])
async def test_a_version_whose_calls_fail_is_taken_back_at_once(
    fleet: Open, time: LoopTime, strategy: Strategy
) -> None:
    old, bad = (version(each, strategy, rollout={"watch": 60.0}) for each in ("one", "two"))
    setting = await opened(fleet, time, old)
    callers = Callers(setting, bad={bad.digest()})
    await setting.apply(bad)
    assert await time.until(lambda: state(setting) == "rolled_back") < 30
    before = callers.answers[bad.digest()]
    await time.advance(1)
    await callers.end()
    assert callers.answers[bad.digest()] == before
    assert "calls failed" in standing(setting)["reason"]
    assert len(setting.world.running) == 3


async def test_a_version_that_is_sick_is_taken_back_before_there_are_calls_enough_to_judge_it(
    fleet: Open, time: LoopTime
) -> None:
    how = {"watch": 60.0, "calls": 10_000}
    old, bad = (version(each, Strategy.CANARY, rollout=how) for each in ("one", "two"))
    setting = await opened(fleet, time, old)
    callers = Callers(setting, bad={bad.digest()})
    await setting.apply(bad)
    assert await time.until(lambda: state(setting) == "rolled_back") < 30
    await callers.end()
    assert "3 failures in a row" in standing(setting)["reason"]
    assert callers.answers[bad.digest()] <= 4


async def test_a_version_that_is_slow_is_taken_back_after_it_was_watched(fleet: Open, time: LoopTime) -> None:
    old, slow = (version(each, Strategy.CANARY, rollout={"share": 0.5}) for each in ("one", "two"))
    setting = await opened(fleet, time, old)
    callers = Callers(setting, slow={slow.digest(): 0.3, old.digest(): 0.05})
    await time.advance(10, 0.05)
    await setting.apply(slow)
    await time.until(lambda: state(setting) == "rolled_back")
    await callers.end()
    assert "p95" in standing(setting)["reason"]


async def test_what_was_taken_back_is_tried_again_only_when_asked_for_or_changed(
    fleet: Open, time: LoopTime
) -> None:
    old, bad = version("one"), version("two")
    broken = MemoryServer()
    broken.exits = 1
    setting = await opened(fleet, time, old, two=broken)
    await setting.apply(bad)
    await time.until(lambda: state(setting) == "rolled_back")
    runs = broken.runs
    pool = setting.fleet.pools[NAME]
    setting.fleet.rollouts.begin(pool, bad, setting.launcher(bad))
    await time.advance(5)
    assert broken.runs == runs
    broken.exits = None
    await setting.fleet.rollouts.promote(NAME)
    await time.until(lambda: state(setting) == "done")
    assert pool.spec == bad
    await setting.apply(version("three"))
    await time.until(lambda: pool.spec.launch == version("three").launch and state(setting) == "done")


async def test_a_newer_change_supersedes_the_one_under_way(fleet: Open, time: LoopTime) -> None:
    how = {"watch": 60.0}
    old, middle, new = (version(each, Strategy.CANARY, rollout=how) for each in ("one", "two", "three"))
    setting = await opened(fleet, time, old)
    callers = Callers(setting)
    await setting.apply(middle)
    await time.until(lambda: standing(setting)["step"] == "watching")
    await setting.apply(new)
    pool = setting.fleet.pools[NAME]
    await time.until(lambda: pool.spec == new and state(setting) == "done")
    await callers.end()
    assert callers.failed == []
    assert callers.fewest >= 3
    assert [track.digest for track in pool.tracks] == [new.digest()]
    assert "superseded" in steps(setting)
    assert "rolled_back" not in steps(setting)


async def test_a_newer_change_replaces_a_version_that_has_all_calls_without_going_back(
    fleet: Open, time: LoopTime
) -> None:
    how = {"watch": 600.0}
    old, middle, new = (version(each, Strategy.BLUE_GREEN, rollout=how) for each in ("one", "two", "three"))
    new = version("three", Strategy.ROLLING)
    setting = await opened(fleet, time, old)
    callers = Callers(setting)
    await setting.apply(middle)
    pool = setting.fleet.pools[NAME]
    await time.until(lambda: pool.spec == middle)
    callers.answers.clear()
    await setting.apply(new)
    await time.until(lambda: pool.spec == new and state(setting) == "done")
    await callers.end()
    assert callers.failed == []
    assert callers.answers[old.digest()] <= 2  # those under way
    await time.until(lambda: len(setting.world.running) == 3)


async def test_a_change_back_to_what_runs_takes_back_what_is_under_way(fleet: Open, time: LoopTime) -> None:
    how = {"watch": 60.0}
    old, new = (version(each, Strategy.CANARY, rollout=how) for each in ("one", "two"))
    setting = await opened(fleet, time, old)
    await setting.apply(new)
    await time.until(lambda: standing(setting)["step"] == "watching")
    await setting.apply(old)
    await time.until(lambda: state(setting) == "superseded")
    assert setting.fleet.pools[NAME].spec == old
    await time.until(lambda: len(setting.world.running) == 3)


async def test_a_paused_rollout_stays_and_goes_on_when_promoted(fleet: Open, time: LoopTime) -> None:
    setting = await opened(fleet, time, version("one", Strategy.CANARY))
    rollouts = setting.fleet.rollouts
    await setting.apply(version("two", Strategy.CANARY))
    await time.until(lambda: standing(setting)["step"] == "watching")
    await rollouts.pause(NAME)
    await time.advance(120)
    assert (state(setting), standing(setting)["paused"]) == ("under_way", True)
    assert rollouts.brief(NAME) == "paused (canary, watching)"
    assert ready(setting.fleet.pools[NAME]) == 4
    await rollouts.promote(NAME)
    await time.until(lambda: state(setting) == "done")
    assert {"paused", "resumed"} <= set(steps(setting))
    assert rollouts.brief(NAME) is None


async def test_an_undo_takes_back_what_is_under_way(fleet: Open, time: LoopTime) -> None:
    old = version("one", Strategy.CANARY)
    setting = await opened(fleet, time, old)
    await setting.apply(version("two", Strategy.CANARY))
    await time.until(lambda: standing(setting)["step"] == "watching")
    await setting.fleet.rollouts.undo(NAME)
    await time.until(lambda: state(setting) == "rolled_back")
    assert standing(setting)["reason"] == "undone by hand"
    assert setting.fleet.rollouts.brief(NAME) == "rolled back: undone by hand"
    assert setting.fleet.pools[NAME].spec == old


async def test_an_undo_after_the_end_brings_the_version_before_in_again_without_a_failed_call(
    fleet: Open, time: LoopTime
) -> None:
    old, new = version("one"), version("two")
    setting = await opened(fleet, time, old)
    callers = Callers(setting)
    await setting.apply(new)
    await time.until(lambda: state(setting) == "done")
    await setting.fleet.rollouts.undo(NAME)
    await time.until(lambda: state(setting) == "rolled_back")
    await callers.end()
    pool = setting.fleet.pools[NAME]
    assert pool.spec == old
    assert callers.failed == []
    with pytest.raises(TidegateError):
        await setting.fleet.rollouts.undo(NAME)
    await setting.fleet.rollouts.promote(NAME)
    await time.until(lambda: pool.spec == new and state(setting) == "done")


async def test_what_is_not_under_way_cannot_be_steered(fleet: Open, time: LoopTime) -> None:
    setting = await opened(fleet, time, version("one"))
    rollouts = setting.fleet.rollouts
    assert rollouts.status() == []
    for steer in (rollouts.pause, rollouts.promote, rollouts.undo):
        with pytest.raises(TidegateError, match="no rollout of server one"):
            await steer(NAME)
        with pytest.raises(TidegateError, match="no rollout of server other"):
            await steer("other")


async def test_a_version_that_falls_into_quarantine_is_taken_back(fleet: Open, time: LoopTime) -> None:
    broken = MemoryServer()
    broken.exits = 1
    setting = await opened(fleet, time, version("one"), two=broken)
    await setting.apply(version("two", health=Health(restarts=1)))
    await time.until(lambda: state(setting) == "rolled_back")
    assert "quarantine" in standing(setting)["reason"]
    assert setting.state_of(NAME) == "ready"


async def test_a_version_whose_workloads_end_again_and_again_is_taken_back(
    fleet: Open, time: LoopTime
) -> None:
    old = version("one", Strategy.CANARY, rollout={"watch": 600.0})
    bad = version("two", Strategy.CANARY, rollout={"watch": 600.0})
    setting = await opened(fleet, time, old)
    await setting.apply(bad)
    pool = setting.fleet.pools[NAME]
    for _ in range(3):
        await time.until(lambda: ready(pool) == 4)
        (new,) = [w for w in pool.workloads.values() if w.spec == bad]
        setting.world.kill(new.identity.id)
        await time.settle()
    await time.until(lambda: state(setting) == "rolled_back")
    assert "failed 3 times" in standing(setting)["reason"]
    assert len(setting.world.running) == 3


async def test_where_there_is_no_room_for_one_more_it_is_said_and_the_old_version_stays(
    fleet: Open, time: LoopTime
) -> None:
    old = version("one")
    programs = {"one": MemoryServer(), "two": MemoryServer()}
    setting = await fleet(old, servers=programs, caps=Caps(workloads=3))
    await time.until(lambda: ready(setting.fleet.pools[NAME]) == 3)
    await setting.apply(version("two"))
    await time.until(lambda: state(setting) == "rolled_back")
    assert standing(setting)["reason"].endswith(
        "3 workloads run on this gateway, which is the limit; try again later"
    )
    assert ready(setting.fleet.pools[NAME]) == 3


async def test_a_bad_version_that_took_the_old_ones_data_is_ended_before_the_old_one_comes_back(
    fleet: Open, time: LoopTime
) -> None:
    database = {"companions": (Companion("db", "x", volumes=(Volume("kept", "/kept"),)),)}
    setting = await opened(fleet, time, version("one", replicas=1, **database))
    for server in ("one", "two"):
        setting.servers[server].exits = 1
    for each in setting.world.running:
        setting.world.kill(each)
    await setting.apply(version("two", replicas=1, **database))
    assert await time.until(lambda: state(setting) == "rolled_back") < 10
    setting.servers["one"].exits = None
    await time.until(lambda: ready(setting.fleet.pools[NAME]) == 1)
    assert len(setting.world.running) == 1


async def test_a_server_that_nobody_calls_and_that_has_gone_to_none_changes_too(
    fleet: Open, time: LoopTime
) -> None:
    old, new = (version(each, replicas=1, timeouts=Timeouts(start=5.0, idle=10.0)) for each in ("one", "two"))
    old, new = (replace(each, replicas=Replicas(0, 2)) for each in (old, new))
    setting = await fleet(old, servers={"one": MemoryServer(), "two": MemoryServer()})
    await time.until(lambda: not setting.world.running)
    await setting.apply(new)
    await time.until(lambda: state(setting) == "done")
    with await setting.lease(NAME, "shared") as lease:
        assert lease.workload.spec == new


async def test_a_server_that_goes_away_in_the_midst_of_its_rollout_leaves_nothing(
    fleet: Open, time: LoopTime
) -> None:
    setting = await opened(fleet, time, version("one", Strategy.CANARY))
    await setting.apply(version("two", Strategy.CANARY))
    await time.until(lambda: standing(setting)["step"] == "watching")
    await setting.apply()
    await time.until(lambda: not setting.world.running)
    assert setting.fleet.rollouts.status() == []
    assert await setting.state.scan("rollout/") == []


async def test_what_cannot_be_recorded_or_kept_does_not_stop_a_rollout(fleet: Open, time: LoopTime) -> None:
    setting = await opened(fleet, time, version("one"))
    setting.records.failing = True
    await setting.apply(version("two"))
    await time.until(lambda: state(setting) == "done")


@pytest.mark.parametrize("strategy", ALL)
async def test_clients_that_offer_something_are_not_left_without_a_workload_that_was_offered_it(
    fleet: Open, time: LoopTime, strategy: Strategy
) -> None:
    old, new = version("one", strategy, replicas=2), version("two", strategy, replicas=2)
    setting = await opened(fleet, time, old)
    callers = [Callers(setting), Callers(setting, offer=Offer.FORM)]
    await time.advance(2)
    starts = setting.servers["two"].runs
    await setting.apply(new)
    await time.until(lambda: state(setting) == "done")
    await time.advance(1)
    for each in callers:
        await each.end()
        assert each.failed == []
        assert each.answers[new.digest()] > 0
    assert setting.servers["two"].runs - starts <= 5
    offered = {w.offer for w in setting.fleet.pools[NAME].workloads.values()}
    assert offered == {"none", "form"}


async def test_while_nothing_of_the_old_version_runs_either_the_new_one_is_not_to_blame(
    fleet: Open, time: LoopTime
) -> None:
    setting = await opened(fleet, time, version("one", Strategy.CANARY, replicas=1))
    await setting.apply(version("two", Strategy.CANARY, replicas=1))
    await time.until(lambda: standing(setting)["step"] == "watching")
    setting.runtime.unavailable = "the engine does not answer"
    for each in setting.world.running:
        setting.world.kill(each)
    await time.advance(30)
    assert state(setting) == "under_way"
    setting.runtime.unavailable = None
    await time.until(lambda: ready(setting.fleet.pools[NAME]) == 2)
    await time.until(lambda: state(setting) == "done")


async def test_replicas_that_are_only_starting_are_followed_by_as_many(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(version("one"), servers={"one": MemoryServer(), "two": MemoryServer()}, starts=1)
    pool = setting.fleet.pools[NAME]
    setting.runtime.hold = asyncio.Event()
    for each in list(setting.world.running)[1:]:
        setting.world.kill(each)
    await time.settle()
    await setting.apply(version("two", Strategy.BLUE_GREEN))
    await time.advance(2)
    setting.runtime.hold.set()
    await time.until(lambda: pool.current.digest == version("two").digest())
    assert standing(setting)["versions"][1]["ready"] == 3
    await time.until(lambda: state(setting) == "done")
