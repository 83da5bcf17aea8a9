"""What is sick gets no calls, is replaced, or stays down with a reason; what is idle is probed, or paused."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.fleet.conftest import Open
from tests.unit.fleet.setting import Setting, spec
from tidegate.domain.errors import ServerUnavailable
from tidegate.domain.server import Health, Replicas, ServerSpec, Sharing
from tidegate.domain.workload import SHARED
from tidegate.fleet.pool import Pool
from tidegate.fleet.workload import Workload
from tidegate.testing.loop_time import LoopTime
from tidegate.testing.memory_server import MemoryServer

A, B = "a" * 32, "b" * 32
QUICK = Health(every=0, failures=3, eject=10.0)


def many(least: int = 2, health: Health = QUICK, **more: Any) -> ServerSpec:
    return spec(
        "all", sharing=Sharing.SHARED, stateless=True, replicas=Replicas(least, 4), health=health, **more
    )


def pool_of(setting: Setting, name: str = "all") -> Pool:
    return setting.fleet.pools[name]


async def fail(setting: Setting, workload: Workload, times: int = 3, name: str = "all") -> None:
    """Have calls on one workload fail."""
    pool = pool_of(setting, name)
    for _ in range(times):
        key = pool.where(workload.sharing, workload.identity.id)
        with await setting.lease(name, key) as lease:
            assert lease.workload is workload
            lease.done(False, 0.1, reason="it broke")


async def test_a_replica_that_fails_three_times_in_a_row_gets_no_calls_for_a_while(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(many())
    first, second = pool_of(setting).workloads.values()
    await fail(setting, first)
    assert (first.health, first.health_reason) == ("ejected", "3 failures in a row, the last: it broke")
    for _ in range(10):
        with await setting.lease("all", SHARED) as lease:
            assert lease.workload is second
            lease.done(True, 0.1)
    assert (second.health, pool_of(setting).demand().ready) == ("healthy", 1)
    await time.advance(10)
    with await setting.lease("all", SHARED) as trial:
        assert trial.workload is first
        with await setting.lease("all", SHARED) as other:
            assert other.workload is second
        trial.done(True, 0.1)
    assert first.health == "healthy"
    assert "ejected" in setting.records.of("all")


async def test_where_all_are_ejected_calls_are_refused_at_once_and_one_at_a_time_is_tried_later(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(spec("one", health=QUICK))
    with await setting.lease("one", A) as lease:
        workload = lease.workload
    await fail(setting, workload, name="one")
    with pytest.raises(ServerUnavailable, match="it broke; nothing was called; try again in 10 s") as refused:
        await setting.lease("one", A)
    assert refused.value.data == {"retryAfter": 10}
    await time.advance(10)
    with await setting.lease("one", A) as trial:
        with pytest.raises(ServerUnavailable, match="try again in 1 s"):
            await setting.lease("one", A)
        trial.done(False, 0.1, reason="it broke again")
    with pytest.raises(ServerUnavailable, match="it broke again; nothing was called; try again in 20 s"):
        await setting.lease("one", A)
    await time.advance(20)
    with await setting.lease("one", A):
        pass  # cancelled by its client: it showed nothing
    with await setting.lease("one", A) as trial:
        trial.done(True, 0.1)
    assert workload.health == "healthy"
    assert pool_of(setting, "one").groups == {}  # and a place is a matter of looking it up again


async def test_an_answer_that_is_an_error_is_an_answer(fleet: Open) -> None:
    setting = await fleet(spec("one", health=QUICK))
    for _ in range(5):
        with await setting.lease("one", A) as lease:
            lease.done(True, 0.1, error=True)
    assert [w.health for w in pool_of(setting, "one").workloads.values()] == ["healthy"]
    demand = pool_of(setting, "one").demand()
    assert (demand.calls, demand.errors, demand.failures) == (5, 5, 0)


async def test_a_workload_that_nobody_calls_is_probed(fleet: Open, time: LoopTime) -> None:
    server = MemoryServer()
    setting = await fleet(spec("one", health=Health(every=30)), servers={"one": server})
    await time.advance(95)
    assert [each["method"] for each in server.heard].count("ping") == 3
    (workload,) = pool_of(setting, "one").workloads.values()
    assert workload.health == "healthy"


async def test_one_that_answers_no_probe_is_replaced(fleet: Open, time: LoopTime) -> None:
    server = MemoryServer()
    setting = await fleet(
        spec("one", health=Health(every=30, timeout=5, failures=3)), servers={"one": server}
    )
    (before,) = setting.world.running
    server.mute = {"ping"}
    (workload,) = pool_of(setting, "one").workloads.values()
    await time.until(lambda: workload.health == "suspect")
    await time.until(lambda: before not in setting.world.running)
    server.mute = set()
    await time.until(lambda: setting.state_of("one") == "ready")
    assert "broke" in setting.records.of("one")
    assert any("3 pings" in (each.reason or "") for each in pool_of(setting, "one").history)


async def test_a_server_that_refuses_a_probe_answers_it(fleet: Open, time: LoopTime) -> None:
    server = MemoryServer()
    server.refused = {"ping"}
    setting = await fleet(spec("one", health=Health(every=10)), servers={"one": server})
    before = set(setting.world.running)
    await time.advance(60)
    assert setting.world.running == before


async def test_a_server_that_is_restarted_too_often_stays_down_until_it_is_released(
    fleet: Open, time: LoopTime
) -> None:
    server = MemoryServer()
    server.exits = 3
    declared = spec("bad", health=Health(restarts=3, window=600))
    setting = await fleet(declared, spec("good"), servers={"bad": server})
    await time.until(lambda: setting.state_of("bad") == "quarantined")
    runs = server.runs
    assert runs == 4  # once, and three restarts
    assert "3 restarts within 600 s" in setting.reason_of("bad")
    assert "exited with status 3" in setting.reason_of("bad")
    await time.advance(1000)
    assert server.runs == runs
    with pytest.raises(ServerUnavailable, match="server bad is quarantined: 3 restarts"):
        await setting.lease("bad")
    assert await setting.text("good", "echo", text="x") == "x"
    server.exits = None
    pool_of(setting, "bad").release()
    await time.until(lambda: setting.state_of("bad") == "ready")
    assert await setting.text("bad", "echo", text="x") == "x"


async def test_restarts_that_are_long_ago_do_not_count(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(spec("one", health=Health(every=0, restarts=2, window=60)))
    for _ in range(6):
        for workload in setting.world.running:
            setting.world.kill(workload)
        await time.until(lambda: setting.state_of("one") == "ready")
        await time.advance(70)
    assert setting.state_of("one") == "ready"


async def test_what_is_not_the_workloads_own_does_not_put_it_in_quarantine(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(spec("one", health=Health(restarts=1)), begin=False)
    setting.runtime.prepare_fails = "no image one: not found"
    await setting.begin()
    await time.advance(200)
    assert setting.state_of("one") == "failed"
    setting.runtime.prepare_fails = None
    setting.runtime.unavailable = "engine is away"
    await time.advance(200)
    setting.runtime.unavailable = None
    await time.until(lambda: setting.state_of("one") == "ready")


async def test_one_of_several_that_fails_too_often_stays_down_alone(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(many(2, Health(every=0, restarts=2)))
    first, second = pool_of(setting).workloads.values()
    while first.state != "quarantined":
        if first.channel is not None:
            setting.world.kill(first.identity.id)
        await time.advance(0.5)
    assert setting.state_of("all") == "ready"
    for _ in range(5):
        assert await setting.text("all", "who", SHARED) == second.identity.id
    await time.advance(60)
    assert len(setting.world.running) == 1


async def test_a_server_is_put_in_quarantine_and_released_by_hand(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(many())
    pool = pool_of(setting)
    pool.quarantine("it sold the wrong tides")
    await time.until(lambda: not setting.world.running)
    assert pool.state() == ("quarantined", "it sold the wrong tides")
    with pytest.raises(ServerUnavailable, match="quarantined: it sold the wrong tides"):
        await setting.lease("all", SHARED)
    await time.advance(60)
    assert not setting.world.running
    pool.release()
    await time.until(lambda: len(setting.world.running) == 2)
    assert await setting.text("all", "echo", SHARED, text="x") == "x"
    assert [each.state for each in pool.history if not each.workload] == ["quarantined", "released"]


async def test_a_paused_workload_goes_on_at_the_next_call_with_what_it_remembers(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(spec("one", health=Health(every=10)))
    assert await setting.text("one", "count", A) == "1"
    (workload,) = pool_of(setting, "one").workloads.values()
    assert await workload.pause()
    assert setting.state_of("one") == "paused"
    await time.advance(60)  # no probe reaches it, and none finds it sick
    assert await setting.text("one", "count", A) == "2"
    assert (workload.state, workload.restarts) == ("ready", 0)
    assert setting.records.of("one") == ["started"]


async def test_a_workload_with_a_call_on_it_is_not_paused_and_one_that_dies_paused_is_replaced(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(spec("one", stateless=True))
    with await setting.lease("one", A) as lease:
        assert not await lease.workload.pause()
    assert await lease.workload.pause()
    setting.world.kill(lease.workload.identity.id)
    await time.settle()
    assert await setting.text("one", "echo", A, text="x") == "x"


async def test_calls_that_come_while_it_is_being_paused_wake_it_all_the_same(fleet: Open) -> None:
    setting = await fleet(spec("one"))
    with await setting.lease("one", A) as lease:
        workload = lease.workload
    pausing = asyncio.create_task(workload.pause())
    await asyncio.sleep(0)
    calls = [asyncio.create_task(setting.text("one", "echo", A, text=str(n))) for n in range(3)]
    assert await asyncio.gather(*calls) == ["0", "1", "2"]
    await pausing
