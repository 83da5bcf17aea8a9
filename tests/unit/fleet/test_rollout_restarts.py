"""A rollout survives the gateway: the next one adopts both versions and goes on; what was taken back stays so."""

from __future__ import annotations

import msgspec

from tests.unit.fleet.conftest import Open
from tests.unit.fleet.rolling import NAME, ready, standing, version
from tests.unit.fleet.setting import Setting
from tidegate.domain.server import Secret, ServerSpec, Sharing, Strategy
from tidegate.fleet.books import Kept
from tidegate.testing.loop_time import LoopTime
from tidegate.testing.memory_server import MemoryServer

HOW = {"watch": 6.0}


async def opened(fleet: Open, time: LoopTime, old: ServerSpec) -> Setting:
    programs = {"one": MemoryServer(), "two": MemoryServer(), "three": MemoryServer()}
    setting = await fleet(old, servers=programs)
    await time.until(lambda: ready(setting.fleet.pools[NAME]) == old.replicas.min)
    return setting


async def again(fleet: Open, before: Setting, spec: ServerSpec) -> Setting:
    """End the gateway as a kill does, and start the next one with these settings."""
    await before.abandon()
    return await fleet(spec, servers=before.servers, world=before.world, state=before.state)


async def test_a_canary_goes_on_with_the_workloads_of_both_versions(fleet: Open, time: LoopTime) -> None:
    secret = {"TOKEN": Secret("hunter2")}
    old = version("one", Strategy.CANARY, rollout=HOW, env=secret)
    new = version("two", Strategy.CANARY, rollout=HOW, env=secret)
    setting = await opened(fleet, time, old)
    await setting.apply(new)
    await time.until(lambda: standing(setting)["step"] == "watching")
    await time.settle()
    before = set(setting.world.running)
    assert len(before) == 4
    assert all(b"hunter2" not in value for _, value in await setting.state.scan(""))
    following = await again(fleet, setting, new)
    pool = following.fleet.pools[NAME]
    await time.until(lambda: ready(pool) == 4)
    assert following.world.running == before
    assert pool.spec == old
    await time.until(lambda: standing(following)["state"] == "done", 900)
    assert pool.spec == new
    assert len(following.world.running) == 3


async def test_a_version_that_was_taken_back_is_not_tried_by_the_next_gateway(
    fleet: Open, time: LoopTime
) -> None:
    old, bad = version("one"), version("two")
    setting = await opened(fleet, time, old)
    setting.servers["two"].exits = 1
    await setting.apply(bad)
    await time.until(lambda: standing(setting)["state"] == "rolled_back")
    await time.settle()
    before, runs = set(setting.world.running), setting.servers["two"].runs
    following = await again(fleet, setting, bad)
    pool = following.fleet.pools[NAME]
    await time.until(lambda: ready(pool) == 3)
    await time.advance(10)
    assert following.world.running == before
    assert (pool.spec, setting.servers["two"].runs) == (old, runs)
    assert standing(following)["state"] == "rolled_back"
    following.servers["two"].exits = None
    await following.fleet.rollouts.promote(NAME)
    await time.until(lambda: standing(following)["state"] == "done")
    assert pool.spec == bad


async def test_a_third_version_in_the_settings_by_then_is_what_is_brought_in(
    fleet: Open, time: LoopTime
) -> None:
    old, middle, new = (version(each, Strategy.CANARY, rollout=HOW) for each in ("one", "two", "three"))
    setting = await opened(fleet, time, old)
    await setting.apply(middle)
    await time.until(lambda: standing(setting)["step"] == "watching")
    await time.settle()
    following = await again(fleet, setting, new)
    pool = following.fleet.pools[NAME]
    await time.until(lambda: pool.spec == old)
    await time.until(lambda: ready(pool) >= 3)
    await time.until(lambda: pool.spec == new and standing(following)["state"] == "done", 900)
    assert len(following.world.running) == 3


async def test_the_old_version_in_the_settings_by_then_simply_runs_on(fleet: Open, time: LoopTime) -> None:
    old, new = (version(each, Strategy.CANARY, rollout=HOW) for each in ("one", "two"))
    setting = await opened(fleet, time, old)
    await setting.apply(new)
    await time.until(lambda: standing(setting)["step"] == "watching")
    await time.settle()
    following = await again(fleet, setting, old)
    await time.until(lambda: ready(following.fleet.pools[NAME]) == 3)
    assert following.fleet.rollouts.status() == []
    assert len(following.world.running) == 3


async def test_an_undo_can_be_asked_of_the_next_gateway(fleet: Open, time: LoopTime) -> None:
    old, new = version("one"), version("two")
    setting = await opened(fleet, time, old)
    await setting.apply(new)
    await time.until(lambda: standing(setting)["state"] == "done")
    await time.settle()
    following = await again(fleet, setting, new)
    await time.until(lambda: ready(following.fleet.pools[NAME]) == 3)
    await following.fleet.rollouts.undo(NAME)
    await time.until(lambda: standing(following)["state"] == "rolled_back")
    assert following.fleet.pools[NAME].spec == old


async def test_what_was_paused_stays_so_and_what_was_replaced_is_not_begun_again(
    fleet: Open, time: LoopTime
) -> None:
    old, new = version("one"), version("two")
    setting = await opened(fleet, time, old)
    pool = setting.fleet.pools[NAME]
    await setting.apply(new)
    await time.until(
        lambda: sum(w.spec == new and w.channel is not None for w in pool.workloads.values()) == 2
    )
    await setting.fleet.rollouts.pause(NAME)
    await time.advance(2)
    before, runs = set(setting.world.running), setting.servers["two"].runs
    following = await again(fleet, setting, new)
    pool = following.fleet.pools[NAME]
    await time.advance(10)
    assert (standing(following)["state"], standing(following)["paused"]) == ("under_way", True)
    assert following.world.running == before
    assert ready(pool) >= 3
    assert following.servers["two"].runs == runs
    await following.fleet.rollouts.promote(NAME)
    await time.until(lambda: standing(following)["state"] == "done")
    assert len(following.world.running) == 3


async def test_what_was_drained_by_then_is_gone_and_the_rollout_done(fleet: Open, time: LoopTime) -> None:
    keyed = {"sharing": Sharing.PRINCIPAL, "stateless": False, "replicas": 1}
    old, new = (version(each, rollout={"drain": 30.0}, **keyed) for each in ("one", "two"))
    setting = await opened(fleet, time, old)
    held = await setting.lease(NAME, "a" * 32)
    await setting.apply(new)
    await time.until(lambda: standing(setting)["state"] == "draining")
    await time.settle()
    following = await again(fleet, setting, new)
    held.release()
    await time.until(lambda: standing(following)["state"] == "done")
    assert all(w.spec == new for w in following.fleet.pools[NAME].workloads.values())


async def test_what_is_kept_by_another_key_is_left_alone_and_the_settings_count(
    fleet: Open, time: LoopTime
) -> None:
    old, new = (version(each, Strategy.CANARY, rollout=HOW) for each in ("one", "two"))
    setting = await opened(fleet, time, old)
    await setting.apply(new)
    await time.until(lambda: standing(setting)["step"] == "watching")
    await time.settle()
    row = msgspec.json.decode(await setting.state.get(f"rollout/{NAME}") or b"", type=Kept)
    await setting.state.put(f"rollout/{NAME}", msgspec.json.encode(msgspec.structs.replace(row, spec=b"x")))
    await setting.state.put("rollout/gone", b"{")
    following = await again(fleet, setting, new)
    await time.until(lambda: ready(following.fleet.pools[NAME]) == 3)
    assert following.fleet.pools[NAME].spec == new
    assert following.fleet.rollouts.status() == []
