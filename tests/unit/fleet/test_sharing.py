"""Whose calls meet in a workload, how many there may be, who starts first, and what is ended when idle."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.fleet.conftest import Open
from tests.unit.fleet.setting import QUICK, spec
from tidegate.domain.errors import MemoryLost, Overloaded, ServerUnavailable
from tidegate.domain.server import Sharing, Volume
from tidegate.domain.workload import SHARED, UNCLAIMED
from tidegate.fleet.fleet import Caps
from tidegate.testing.loop_time import LoopTime

A, B = "a" * 32, "b" * 32


async def test_the_first_caller_gets_the_warm_workload_and_starts_nothing(fleet: Open) -> None:
    setting = await fleet(spec("one"))
    (warm,) = setting.world.running
    assert await setting.text("one", "who", A) == warm
    assert setting.servers["one"].runs == 1
    assert list(setting.fleet.pools["one"].workloads) == [A]


async def test_two_principals_never_meet_in_a_workload(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(spec("one"))
    first, second = await setting.text("one", "who", A), await setting.text("one", "who", B)
    assert first != second
    assert [await setting.text("one", "count", key) for key in (A, B, A)] == ["2", "2", "3"]
    for workload in (first, second):
        setting.world.kill(workload)
    await time.settle()
    for key in (A, B):
        with pytest.raises(MemoryLost):
            await setting.lease("one", key)
    assert await setting.text("one", "who", A) != await setting.text("one", "who", B)


async def test_a_warm_workload_that_was_claimed_is_never_given_again(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(spec("one"))
    claims = [asyncio.create_task(setting.text("one", "who", key * 32)) for key in "abcd"]
    assert len(set(await asyncio.gather(*claims))) == 4


async def test_a_warm_workload_is_never_given_to_whom_another_would_hold_data_of(fleet: Open) -> None:
    setting = await fleet(spec("one", volumes=(Volume("data", "/data", each=True),)))
    (warm,) = setting.world.running
    assert await setting.text("one", "who", A) != warm
    assert sorted(setting.fleet.pools["one"].workloads) == [A, UNCLAIMED]


async def test_what_is_shared_is_one_workload_for_all(fleet: Open) -> None:
    setting = await fleet(spec("all", sharing=Sharing.SHARED))
    assert [await setting.text("all", "count", SHARED) for _ in range(3)] == ["1", "2", "3"]
    assert setting.servers["all"].runs == 1


async def test_a_workload_for_a_call_serves_one_call_and_ends(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(spec("each", sharing=Sharing.CALL))
    seen = [await setting.text("each", "who", f"{A}.{n}") for n in range(3)]
    assert len(set(seen)) == 3
    assert [await setting.text("each", "count", f"{A}.{n}") for n in range(3, 6)] == ["1", "1", "1"]
    await time.advance(400)  # until as few are kept warm as are needed then
    assert setting.world.running == {w.identity.id for w in setting.fleet.pools["each"].workloads.values()}
    assert list(setting.fleet.pools["each"].workloads) == [UNCLAIMED]


async def test_many_calls_at_once_on_a_server_for_each_call_meet_nowhere(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(spec("each", sharing=Sharing.CALL))
    calls = [asyncio.create_task(setting.text("each", "who", f"{A}.{n}")) for n in range(10)]
    assert len(set(await asyncio.gather(*calls))) == 10
    await time.advance(400)
    assert len(setting.world.running) == 1


async def test_an_idle_workload_is_ended_and_its_user_told_when_it_comes_back(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(spec("one", timeouts=QUICK))
    session = setting.asker("s")
    await setting.text("one", "count", A, session)
    await time.advance(50)
    await setting.text("one", "count", A, session)
    await time.advance(50)
    assert setting.world.running
    await time.advance(30)
    assert setting.world.running == set()
    assert setting.state_of("one") == "stopped"
    with pytest.raises(MemoryLost):
        await setting.lease("one", A, session)
    assert await setting.text("one", "count", A, session) == "1"


async def test_a_workload_with_a_call_on_it_is_not_idle(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(spec("one", timeouts=QUICK))
    with await setting.lease("one", A) as lease:
        await time.advance(500)
        assert lease.workload.channel is not None
    assert len(setting.world.running) == 1


async def test_warm_and_shared_workloads_are_kept_though_idle(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(spec("one", timeouts=QUICK), spec("all", sharing=Sharing.SHARED, timeouts=QUICK))
    await setting.text("all", "echo", SHARED)
    await time.advance(500)
    assert len(setting.world.running) == 2


async def test_caps_on_workloads_are_held_and_said(fleet: Open, time: LoopTime) -> None:
    caps = Caps(workloads=4, per_server=3, per_principal=2)
    setting = await fleet(spec("one"), spec("two"), spec("three"), caps=caps)
    await setting.text("one", "who", A)
    await setting.text("two", "who", A)
    await setting.text("one", "who", B)
    with pytest.raises(Overloaded, match="4 workloads run on this gateway"):
        await setting.lease("two", B)
    assert len(setting.world.running) == 4


async def test_caps_hold_for_a_server_and_for_a_principal_with_all_its_sessions(
    fleet: Open, time: LoopTime
) -> None:
    caps = Caps(workloads=50, per_server=3, per_principal=2)
    setting = await fleet(
        spec("one", sharing=Sharing.SESSION), spec("two", sharing=Sharing.SESSION), caps=caps
    )
    await setting.text("one", "who", f"{A}.s1")
    await setting.text("one", "who", f"{A}.s2")
    with pytest.raises(Overloaded, match="for this principal"):
        await setting.lease("one", f"{A}.s3")
    await setting.text("one", "who", f"{B}.s1")
    with pytest.raises(Overloaded, match="of server one"):
        await setting.lease("one", f"{B}.s2")


async def test_sessions_that_were_left_do_not_lock_their_principal_out(fleet: Open, time: LoopTime) -> None:
    caps = Caps(workloads=50, per_server=50, per_principal=2)
    setting = await fleet(spec("one", sharing=Sharing.SESSION), caps=caps)
    await setting.text("one", "who", f"{A}.s1")
    await time.advance(30)
    await setting.text("one", "who", f"{A}.s2")
    await time.advance(40)
    await setting.text("one", "who", f"{A}.s3")
    assert set(setting.fleet.pools["one"].workloads) == {f"{A}.s2", f"{A}.s3"}
    with pytest.raises(Overloaded, match="for this principal"):
        await setting.lease("one", f"{A}.s4")
    await time.settle()
    assert len(setting.world.running) == 2


async def test_more_servers_than_workloads_may_be_leaves_the_gateway_running(fleet: Open) -> None:
    setting = await fleet(spec("one"), spec("two"), spec("three"), caps=Caps(workloads=2))
    assert [setting.state_of(name) for name in ("one", "two", "three")] == ["ready", "ready", "stopped"]
    with pytest.raises(Overloaded):
        await setting.lease("three")


async def test_starts_are_throttled_and_those_that_are_waited_for_go_first(
    fleet: Open, time: LoopTime
) -> None:
    names = [f"s{n}" for n in range(6)]
    setting = await fleet(*(spec(name) for name in names), starts=2, begin=False)
    setting.runtime.hold = asyncio.Event()
    await setting.begin()
    assert setting.runtime.started == ["s0", "s1"]
    waiting = asyncio.create_task(setting.text("s5", "who"))
    await time.settle()
    setting.runtime.hold.set()
    await time.settle()
    await waiting
    assert setting.runtime.most_starting == 2
    assert setting.runtime.started[2] == "s5"  # it was the last in the queue when its caller came
    assert sorted(setting.runtime.started) == names


async def test_a_start_for_a_waiting_call_overtakes_the_others(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(*(spec(name) for name in ("s0", "s1", "s2")), starts=1, begin=False)
    setting.runtime.hold = asyncio.Event()
    await setting.begin()
    await setting.fleet.pools["s1"].close()
    await setting.fleet.pools["s2"].close()
    gate = setting.fleet.pools["s0"].gate
    order: list[str] = []

    async def enter(name: str, urgent: bool) -> None:
        async with gate.place(lambda: urgent):
            order.append(name)

    late = [asyncio.create_task(enter(f"lazy{n}", False)) for n in range(2)]
    await time.settle()
    late.append(asyncio.create_task(enter("urgent", True)))
    await time.settle()
    setting.runtime.hold.set()
    await asyncio.wait(late)
    assert order == ["urgent", "lazy0", "lazy1"]


async def test_a_place_at_the_gate_is_given_back_by_whoever_is_cancelled(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(spec("one"), starts=1)
    gate = setting.fleet.pools["one"].gate

    async def hold(until: asyncio.Event) -> None:
        async with gate.place(lambda: False):
            await until.wait()

    never = asyncio.Event()
    tasks = [asyncio.create_task(hold(never)) for _ in range(4)]
    await time.settle()
    for task in tasks:
        task.cancel()
        await time.settle()
    async with asyncio.timeout(1), gate.place(lambda: False):
        pass
    tasks = [asyncio.create_task(hold(never)) for _ in range(3)]
    await time.settle()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    async with asyncio.timeout(1), gate.place(lambda: False):
        pass


async def test_a_wait_for_a_start_is_bounded_and_says_what_is_going_on(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(spec("one"), begin=False)
    setting.runtime.hold = asyncio.Event()
    await setting.begin()
    waiting = asyncio.create_task(setting.lease("one"))
    await time.advance(31)
    with pytest.raises(ServerUnavailable, match="server one is still starting"):
        await waiting


async def test_nobody_gets_a_place_from_a_fleet_that_closes(fleet: Open) -> None:
    setting = await fleet(spec("one"))
    await setting.fleet.close()
    with pytest.raises(ServerUnavailable, match="stopping"):
        await setting.lease("one")
    with pytest.raises(ServerUnavailable, match="not declared"):
        await setting.lease("none")


async def test_a_servers_own_notifications_reach_the_catalog_under_its_name(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(spec("one"))
    setting.servers["one"].notify("notifications/tools/list_changed")
    assert setting.heard.notified == [("one", "notifications/tools/list_changed")]
