"""A change that takes rights away and fails leaves its server in quarantine; only somebody's word brings the old one back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.fleet.conftest import Open
from tests.unit.fleet.rolling import NAME, Callers, opened, ready, standing, state, steps, version
from tests.unit.fleet.setting import Setting
from tidegate.domain.errors import MemoryLost, ServerUnavailable
from tidegate.domain.server import Health, Mount, Network, Queue, Secret, ServerSpec, Sharing, Strategy
from tidegate.testing.loop_time import LoopTime
from tidegate.testing.memory_server import MemoryServer

ALL = list(Strategy)
Given = dict[str, Any]
RIGHTS: Given = {
    "network": Network.OPEN,
    "mounts": (Mount("/srv", "/data"),),
    "env": {"KEY": Secret("hunter2")},
}
NAMED = "the version before it had the open network, the mount /data, the secret KEY"


def both(strategy: Strategy = Strategy.ROLLING, **more: Any) -> tuple[ServerSpec, ServerSpec]:
    """Give a version with rights, and one without them."""
    return version("one", strategy, **{**RIGHTS, **more}), version("two", strategy, **more)


def broken() -> MemoryServer:
    """Give a program that ends at once."""
    server = MemoryServer()
    server.exits = 1
    return server


async def quarantined(
    fleet: Open, time: LoopTime, strategy: Strategy = Strategy.ROLLING, **more: Any
) -> tuple[Setting, ServerSpec, ServerSpec]:
    """Open a fleet in which a change that takes rights away has failed."""
    old, new = both(strategy, **more)
    setting = await opened(fleet, time, old, two=broken())
    await setting.apply(new)
    await time.until(lambda: state(setting) == "quarantined")
    await time.until(lambda: not setting.world.running)
    return setting, old, new


async def again(fleet: Open, before: Setting, spec: ServerSpec) -> Setting:
    """End the gateway as a kill does, and start the next one with these settings."""
    await before.abandon()
    return await fleet(spec, servers=before.servers, world=before.world, state=before.state)


def events(setting: Setting) -> list[dict[str, Any]]:
    """Give the steps that say that a rollout ended in quarantine."""
    told = [dict(fields) for kind, fields in setting.records.events if kind == "rollout"]
    return [fields for fields in told if fields["event"] == "quarantined"]


@pytest.mark.parametrize("strategy", ALL)
async def test_a_server_that_does_not_start_with_less_gets_nothing_back(
    fleet: Open, time: LoopTime, strategy: Strategy
) -> None:
    old, new = both(strategy)
    setting = await opened(fleet, time, old, two=broken())
    callers = Callers(setting)
    await setting.apply(new)
    await time.until(lambda: state(setting) == "quarantined")
    await time.until(lambda: not setting.world.running)
    runs = setting.servers["one"].runs
    await time.advance(60)
    await callers.end()
    reason = standing(setting)["reason"]
    assert "failed 3 times" in reason
    assert reason.endswith(f"it is not taken back, as {NAMED}")
    assert (setting.state_of(NAME), setting.reason_of(NAME)) == ("quarantined", reason)
    assert setting.fleet.rollouts.brief(NAME) == f"quarantined: {reason}"
    with pytest.raises(ServerUnavailable, match=r"server one is quarantined: .* it had the open network"):
        await setting.lease(NAME, "shared")
    assert setting.servers["one"].runs == runs
    assert setting.world.running == set()
    assert [track.digest for track in setting.fleet.pools[NAME].tracks] == [new.digest()]
    (told,) = events(setting)
    assert told["rights"] == ["the open network", "the mount /data", "the secret KEY"]
    assert (told["from"], told["to"], told["reason"]) == (old.digest(), new.digest(), reason)
    assert "rolled_back" not in steps(setting)
    assert setting.metrics.rollouts[NAME, "quarantined"] == 1
    assert "hunter2" not in str(setting.records.events)


@pytest.mark.parametrize("strategy", ALL)
async def test_those_whose_workloads_are_their_own_get_nothing_back_either(
    fleet: Open, time: LoopTime, strategy: Strategy
) -> None:
    old, new = both(strategy, sharing=Sharing.PRINCIPAL, stateless=False, replicas=1)
    setting = await opened(fleet, time, old, two=broken())
    held = await setting.lease(NAME, "a" * 32)
    await setting.apply(new)
    await time.until(lambda: state(setting) == "quarantined")
    await time.until(lambda: not setting.world.running)
    held.release()
    with pytest.raises(MemoryLost):  # said once to whoever relied on it
        await setting.lease(NAME, "a" * 32)
    with pytest.raises(ServerUnavailable, match="quarantined"):
        await setting.lease(NAME, "a" * 32)
    assert setting.world.running == set()


async def _silent(setting: Setting, time: LoopTime, new: ServerSpec) -> str:
    setting.servers["two"].silent = True
    await setting.apply(new)
    return "not answer the handshake"


async def _ends_again_and_again(setting: Setting, time: LoopTime, new: ServerSpec) -> str:
    await setting.apply(new)
    pool = setting.fleet.pools[NAME]
    for _ in range(3):
        await time.until(
            lambda: any(w.spec == new and w.channel is not None for w in pool.workloads.values())
        )
        found = next(w for w in pool.workloads.values() if w.spec == new)
        setting.world.kill(found.identity.id)
        await time.settle()
    return "failed 3 times"


async def _in_quarantine(setting: Setting, time: LoopTime, new: ServerSpec) -> str:
    setting.servers["two"].exits = 1
    await setting.apply(new)
    return "is in quarantine"


WAYS: list[tuple[Callable[..., Any], Given]] = [
    (_silent, {}),
    (_ends_again_and_again, {}),
    (_in_quarantine, {"health": Health(restarts=1)}),
]


@pytest.mark.parametrize(("way", "more"), WAYS)
async def test_each_way_to_fail_without_a_call_ends_in_quarantine(
    fleet: Open, time: LoopTime, way: Callable[..., Any], more: Given
) -> None:
    old, new = both(Strategy.CANARY, rollout={"watch": 600.0}, **more)
    setting = await opened(fleet, time, old)
    why = await way(setting, time, new)
    await time.until(lambda: state(setting) == "quarantined")
    assert why in standing(setting)["reason"]
    await time.until(lambda: not setting.world.running)


FAILING: list[tuple[Strategy, Given, str]] = [
    (Strategy.CANARY, {"watch": 60.0}, "calls failed"),
    (Strategy.BLUE_GREEN, {"watch": 60.0}, "calls failed"),
    (Strategy.CANARY, {"watch": 60.0, "calls": 10_000}, "are sick"),
]


@pytest.mark.parametrize(("strategy", "how", "why"), FAILING)
async def test_failing_calls_with_less_end_in_quarantine(
    fleet: Open, time: LoopTime, strategy: Strategy, how: Given, why: str
) -> None:
    old, new = both(strategy, rollout=how)
    setting = await opened(fleet, time, old)
    callers = Callers(setting, bad={new.digest()})
    await setting.apply(new)
    await time.until(lambda: state(setting) == "quarantined")
    await callers.end()
    assert why in standing(setting)["reason"]
    await time.until(lambda: not setting.world.running)


async def test_slow_calls_with_less_end_in_quarantine(fleet: Open, time: LoopTime) -> None:
    old, new = both(Strategy.CANARY, rollout={"share": 0.5})
    setting = await opened(fleet, time, old)
    callers = Callers(setting, slow={new.digest(): 0.3, old.digest(): 0.05})
    await time.advance(10, 0.05)
    await setting.apply(new)
    await time.until(lambda: state(setting) == "quarantined")
    await callers.end()
    assert "p95" in standing(setting)["reason"]


async def test_a_change_that_takes_nothing_away_is_taken_back_as_ever(fleet: Open, time: LoopTime) -> None:
    old, new = version("one", **RIGHTS), version("two", **RIGHTS)
    setting = await opened(fleet, time, old, two=broken())
    await setting.apply(new)
    await time.until(lambda: state(setting) == "rolled_back")
    assert setting.fleet.pools[NAME].spec == old
    assert ready(setting.fleet.pools[NAME]) == 3


async def test_a_change_that_takes_rights_away_and_is_good_comes_in_without_a_failed_call(
    fleet: Open, time: LoopTime
) -> None:
    old, new = both(Strategy.CANARY)
    setting = await opened(fleet, time, old)
    callers = Callers(setting)
    await setting.apply(new)
    await time.until(lambda: state(setting) == "done")
    await callers.end()
    assert callers.failed == []
    assert setting.fleet.pools[NAME].spec == new


async def test_an_undo_while_it_is_under_way_takes_it_back(fleet: Open, time: LoopTime) -> None:
    old, new = both(Strategy.CANARY)
    setting = await opened(fleet, time, old)
    await setting.apply(new)
    await time.until(lambda: standing(setting)["step"] == "watching")
    await setting.fleet.rollouts.undo(NAME)
    await time.until(lambda: state(setting) == "rolled_back")
    assert setting.fleet.pools[NAME].spec == old


async def test_an_undo_of_what_is_in_quarantine_brings_the_version_before_back(
    fleet: Open, time: LoopTime
) -> None:
    setting, old, new = await quarantined(fleet, time)
    pool = setting.fleet.pools[NAME]
    assert standing(setting)["undo"] is True
    await setting.fleet.rollouts.undo(NAME)
    await time.until(lambda: ready(pool) == 3)
    assert (pool.spec, state(setting), standing(setting)["reason"]) == (old, "rolled_back", "undone by hand")
    assert await setting.text(NAME, "who", "shared")
    setting.servers["two"].exits = None
    await setting.fleet.rollouts.promote(NAME)
    await time.until(lambda: state(setting) == "done")
    assert pool.spec == new


async def test_what_is_in_quarantine_is_tried_again_when_promoted(fleet: Open, time: LoopTime) -> None:
    setting, old, new = await quarantined(fleet, time)
    pool, runs = setting.fleet.pools[NAME], setting.servers["one"].runs
    setting.servers["two"].exits = None
    await setting.fleet.rollouts.promote(NAME)
    await time.until(lambda: ready(pool) == 3)
    assert (pool.spec, state(setting), standing(setting)["reason"]) == (new, "done", None)
    assert setting.servers["one"].runs == runs
    assert steps(setting)[-1] == "resumed"
    await setting.fleet.rollouts.undo(NAME)
    await time.until(lambda: state(setting) == "rolled_back")
    assert pool.spec == old


async def test_one_that_fails_again_when_promoted_still_gets_nothing_back(
    fleet: Open, time: LoopTime
) -> None:
    setting, _, new = await quarantined(fleet, time)
    runs = setting.servers["one"].runs
    await setting.fleet.rollouts.promote(NAME)
    await time.advance(120)
    assert setting.fleet.pools[NAME].spec == new
    assert setting.servers["one"].runs == runs


async def test_a_release_by_hand_starts_the_new_version(fleet: Open, time: LoopTime) -> None:
    setting, _, new = await quarantined(fleet, time)
    setting.servers["two"].exits = None
    pool = setting.fleet.pools[NAME]
    pool.release()
    await time.until(lambda: ready(pool) == 3)
    assert pool.spec == new
    assert (state(setting), standing(setting)["reason"]) == ("done", "released from quarantine")
    following = await again(fleet, setting, new)
    await time.until(lambda: ready(following.fleet.pools[NAME]) == 3)


async def test_the_next_change_of_the_settings_is_started_in_its_place(fleet: Open, time: LoopTime) -> None:
    setting, old, _ = await quarantined(fleet, time)
    pool, runs = setting.fleet.pools[NAME], setting.servers["one"].runs
    third = version("three")
    await setting.apply(third)
    await time.until(lambda: ready(pool) == 3)
    assert (pool.spec, state(setting), standing(setting)["new"]) == (third, "done", third.digest())
    assert setting.servers["one"].runs == runs
    await setting.apply(old)
    await time.until(lambda: pool.spec == old and state(setting) == "done")


async def test_what_somebody_put_into_quarantine_is_not_released_by_a_change(
    fleet: Open, time: LoopTime
) -> None:
    setting, _, _ = await quarantined(fleet, time)
    pool = setting.fleet.pools[NAME]
    pool.quarantine("being restored")
    third = version("three")
    await setting.apply(third)
    await time.advance(10)
    assert (pool.spec, setting.reason_of(NAME)) == (third, "being restored")
    assert setting.world.running == set()
    pool.release()
    await time.until(lambda: ready(pool) == 3)


async def test_a_change_that_fails_since_somebody_put_the_server_into_quarantine_leaves_it_there(
    fleet: Open, time: LoopTime
) -> None:
    old, new = both()
    setting = await opened(fleet, time, old)
    pool = setting.fleet.pools[NAME]
    pool.quarantine("being restored")
    await setting.apply(new)
    await time.until(lambda: state(setting) == "quarantined")
    assert setting.reason_of(NAME) == "being restored"
    await setting.fleet.rollouts.promote(NAME)
    await time.until(lambda: ready(pool) == 3)
    assert pool.spec == new


async def test_settings_that_give_the_rights_again_bring_the_version_before_back(
    fleet: Open, time: LoopTime
) -> None:
    setting, old, _ = await quarantined(fleet, time)
    pool = setting.fleet.pools[NAME]
    await setting.apply(old)
    await time.until(lambda: ready(pool) == 3)
    assert pool.spec == old
    assert setting.fleet.rollouts.status() == []


async def test_a_newer_change_is_measured_by_what_still_runs(fleet: Open, time: LoopTime) -> None:
    old, middle = both(Strategy.CANARY, rollout={"watch": 600.0})
    setting = await opened(fleet, time, old, three=broken())
    await setting.apply(middle)
    await time.until(lambda: standing(setting)["step"] == "watching")
    await setting.apply(version("three", Strategy.CANARY))
    await time.until(lambda: state(setting) == "quarantined")
    assert NAMED in standing(setting)["reason"]
    assert "superseded" in steps(setting)


async def test_an_undo_that_takes_rights_away_and_fails_ends_in_quarantine_too(
    fleet: Open, time: LoopTime
) -> None:
    old, new = version("one"), version("two", **RIGHTS)
    setting = await opened(fleet, time, old)
    await setting.apply(new)
    await time.until(lambda: state(setting) == "done")
    setting.servers["one"].exits = 1
    await setting.fleet.rollouts.undo(NAME)
    await time.until(lambda: state(setting) == "quarantined")
    await time.until(lambda: not setting.world.running)
    await time.advance(60)
    assert setting.world.running == set()


async def test_a_call_that_waits_for_a_place_is_refused_and_starts_nothing(
    fleet: Open, time: LoopTime
) -> None:
    old, new = both(replicas=1, queue=Queue(in_flight=1, wait=600.0))
    setting = await opened(fleet, time, old, two=broken())
    held = await setting.fleet.lease(NAME, "shared", None, 600.0, "one")
    waiting = asyncio.create_task(setting.fleet.lease(NAME, "shared", None, 600.0, "another"))
    await setting.apply(new)
    await time.until(lambda: state(setting) == "quarantined")
    with pytest.raises(ServerUnavailable, match="quarantined"):
        await waiting
    held.release()
    await time.until(lambda: not setting.fleet.pools[NAME].workloads)
    runs = setting.servers["two"].runs
    await time.advance(20)
    assert setting.servers["two"].runs == runs
    assert setting.fleet.pools[NAME].workloads == {}


# -- over a restart ---------------------------------------------------------------------------


async def test_the_next_gateway_leaves_it_in_quarantine_until_somebody_decides(
    fleet: Open, time: LoopTime
) -> None:
    setting, old, new = await quarantined(fleet, time)
    reason, runs = standing(setting)["reason"], setting.servers["one"].runs
    following = await again(fleet, setting, new)
    pool = following.fleet.pools[NAME]
    await time.advance(60)
    assert following.world.running == set()
    assert (state(following), standing(following)["reason"]) == ("quarantined", reason)
    assert (following.state_of(NAME), following.reason_of(NAME)) == ("quarantined", reason)
    assert NAME in following.heard.changed
    assert following.servers["one"].runs == runs
    with pytest.raises(ServerUnavailable, match="quarantined"):
        await following.lease(NAME, "shared")
    await following.fleet.rollouts.undo(NAME)
    await time.until(lambda: ready(pool) == 3)
    assert pool.spec == old
    last = await again(fleet, following, new)
    await time.until(lambda: ready(last.fleet.pools[NAME]) == 3)
    assert last.fleet.pools[NAME].spec == old


async def test_what_the_gateway_before_had_not_ended_yet_is_ended_by_the_next_one(
    fleet: Open, time: LoopTime
) -> None:
    old, new = both(Strategy.CANARY, rollout={"watch": 600.0})
    setting = await opened(fleet, time, old)
    await setting.apply(new)
    await time.until(lambda: standing(setting)["step"] == "watching")
    for turn in range(3):
        if turn == 2:
            setting.runtime.unavailable = "the engine does not answer"  # so that nothing can be ended
        pool = setting.fleet.pools[NAME]
        for each in [w for w in pool.workloads.values() if w.spec == new]:
            each.replace("broken by the test")
        await time.advance(5)
    await time.until(lambda: state(setting) == "quarantined")
    assert setting.world.running
    following = await again(fleet, setting, new)
    await time.until(lambda: not following.world.running)
    await time.advance(60)
    assert following.world.running == set()
    assert following.state_of(NAME) == "quarantined"


async def test_a_third_version_in_the_settings_by_then_simply_runs(fleet: Open, time: LoopTime) -> None:
    setting, _, _ = await quarantined(fleet, time)
    third = version("three")
    following = await again(fleet, setting, third)
    await time.until(lambda: ready(following.fleet.pools[NAME]) == 3)
    assert following.fleet.pools[NAME].spec == third
    assert following.fleet.rollouts.status() == []


async def test_a_version_before_that_cannot_be_had_any_more_leaves_it_in_quarantine(
    fleet: Open, time: LoopTime
) -> None:
    setting, _, new = await quarantined(fleet, time)
    await setting.abandon()
    following = await fleet(
        new, servers=setting.servers, world=setting.world, state=setting.state, begin=False
    )
    following.fleet.rollouts.launcher_for = None
    await following.begin()
    await time.advance(10)
    assert following.state_of(NAME) == "quarantined"
    assert standing(following)["undo"] is False
    following.servers["two"].exits = None
    await following.fleet.rollouts.promote(NAME)
    await time.until(lambda: ready(following.fleet.pools[NAME]) == 3)
