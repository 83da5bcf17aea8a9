"""What is declared against what there is: told apart by name, made good, from wherever it starts."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.unit.fleet.conftest import Open
from tests.unit.fleet.setting import Setting, said, spec
from tidegate.domain.errors import ServerUnavailable, SettingsError
from tidegate.domain.server import Replicas, Rollout, ServerSpec, Sharing, Timeouts
from tidegate.fleet.adoption import LOOK
from tidegate.fleet.launcher import Launcher
from tidegate.fleet.reconcile import Diff, compare
from tidegate.testing.loop_time import LoopTime
from tidegate.testing.memory_server import MemoryServer

ONE = spec("one", sharing=Sharing.SHARED, stateless=True, rollout=Rollout(watch=1.0, drain=20.0))
TWO, THREE = spec("two"), spec("three")
OTHER = replace(ONE, env={"NEW": "1"})


def one_workload(setting: Setting, server: str) -> str:
    """Give the id of the only workload of a server."""
    (workload,) = setting.fleet.pools[server].workloads.values()
    return workload.identity.id


@pytest.mark.parametrize(
    ("before", "after", "diff"),
    [
        ([ONE, TWO], [ONE, TWO], Diff()),
        ([TWO, ONE], [ONE, TWO], Diff()),
        ([], [ONE, TWO], Diff(added=("one", "two"))),
        ([ONE, TWO], [], Diff(removed=("one", "two"))),
        ([ONE], [OTHER], Diff(changed=("one",))),
        ([ONE], [replace(ONE, timeouts=Timeouts(call=1.0))], Diff(adjusted=("one",))),
        ([ONE], [replace(ONE, replicas=Replicas(2, 3))], Diff(adjusted=("one",))),
        ([ONE], [replace(OTHER, replicas=Replicas(2, 3))], Diff(changed=("one",))),
        ([ONE, TWO], [OTHER, THREE], Diff(("three",), ("two",), ("one",))),
    ],
)
def test_a_difference_names_each_server_once(
    before: list[ServerSpec], after: list[ServerSpec], diff: Diff
) -> None:
    assert compare(before, after) == diff
    assert bool(diff) is (diff != Diff())


async def test_servers_come_and_go_and_those_that_stay_notice_nothing(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(ONE, TWO, servers={"three": MemoryServer()})
    stays = one_workload(setting, "one")
    await setting.apply(THREE, ONE)
    await time.until(lambda: setting.state_of("three") == "ready")
    assert list(setting.fleet.pools) == ["three", "one"]
    assert one_workload(setting, "one") == stays
    await time.until(lambda: len(setting.world.running) == 2)
    with pytest.raises(ServerUnavailable, match="not declared"):
        await setting.lease("two")


async def test_the_same_declaration_again_does_nothing(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(ONE, TWO)
    before = set(setting.world.running)
    for _ in range(3):
        assert not await setting.fleet.apply([ONE, TWO], setting.launcher)
    await time.advance(10.0)
    assert set(setting.world.running) == before


async def test_calls_under_way_on_a_server_that_is_removed_end_there_before_it_does(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(ONE, TWO)
    lease = await setting.lease("one", "shared")
    ran = lease.workload.identity.id
    await setting.apply(TWO)
    await time.advance(5.0)
    assert ran in setting.world.running
    assert await said(lease, "echo", text="late") == "late"
    lease.release()
    await time.until(lambda: ran not in setting.world.running)


async def test_a_removed_server_whose_call_does_not_end_goes_when_its_time_is_over(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(ONE, TWO)
    lease = await setting.lease("one", "shared")
    await setting.apply(TWO)
    waited = await time.until(lambda: lease.workload.identity.id not in setting.world.running, 60.0)
    assert waited >= ONE.rollout.drain - 1.0


async def test_a_server_that_comes_back_while_it_is_let_go_of_is_a_new_one(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(ONE, TWO)
    lease = await setting.lease("one", "shared")
    await setting.apply(TWO)
    await setting.apply(TWO, ONE)
    await time.until(lambda: setting.state_of("one") == "ready")
    assert one_workload(setting, "one") != lease.workload.identity.id
    lease.release()
    await time.until(lambda: len(setting.world.running) == 2)
    assert setting.state_of("one") == "ready"


async def test_only_the_gateways_part_is_swapped_where_nothing_else_differs(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(ONE)
    ran = one_workload(setting, "one")
    quick = replace(ONE, timeouts=Timeouts(call=3.0))
    await setting.apply(quick)
    await time.advance(3.0)
    assert one_workload(setting, "one") == ran
    (workload,) = setting.fleet.pools["one"].workloads.values()
    assert setting.fleet.pools["one"].spec is workload.spec is quick


async def test_what_workloads_are_made_of_is_rolled_out(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(ONE)
    ran = one_workload(setting, "one")
    await setting.apply(OTHER)
    await time.until(lambda: set(setting.world.running).isdisjoint({ran}))
    (workload,) = setting.fleet.pools["one"].workloads.values()
    assert workload.spec is OTHER
    assert not await setting.fleet.apply([OTHER], setting.launcher)


async def test_nothing_changes_where_one_server_cannot_be_launched(fleet: Open) -> None:
    setting = await fleet(ONE, TWO)

    def refusing(declared: ServerSpec) -> Launcher:
        if declared.name == "three":
            raise SettingsError("no such thing")
        return setting.launcher(declared)

    with pytest.raises(SettingsError):
        await setting.fleet.apply([OTHER, THREE], refusing)
    assert list(setting.fleet.pools) == ["one", "two"]
    assert await setting.text("one", "echo", "shared", text="as before") == "as before"
    assert not await setting.fleet.apply([ONE, TWO], setting.launcher)


async def test_nothing_changes_where_the_step_fails(fleet: Open) -> None:
    setting = await fleet(ONE, TWO)
    pools = dict(setting.fleet.pools)

    def fail() -> None:
        raise SettingsError("it cannot be")

    with pytest.raises(SettingsError):
        await setting.fleet.apply([ONE, THREE], setting.launcher, fail)
    assert dict(setting.fleet.pools) == pools


async def test_a_container_that_somebody_removed_is_noticed_and_brought_up_again(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(ONE)
    ran = one_workload(setting, "one")
    del setting.world.processes[ran]  # and nobody told the stream
    await time.until(lambda: one_workload(setting, "one") != ran, 3 * LOOK)
    await time.until(lambda: setting.state_of("one") == "ready")
    assert await setting.text("one", "echo", "shared", text="back") == "back"


async def test_a_workload_that_nobody_knows_is_removed_at_the_second_look(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(ONE, TWO)
    await setting.apply(ONE)
    await time.until(lambda: len(setting.world.running) == 1)
    strange = await setting.leave_running(TWO, "a" * 32)
    await time.advance(LOOK)
    assert strange in setting.world.running
    await time.until(lambda: strange not in setting.world.running, 2 * LOOK)
    assert "removed" in setting.records.of("two")


async def test_many_servers_are_declared_in_many_short_turns_of_the_loop(fleet: Open) -> None:
    setting = await fleet(ONE)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.create_task(count())
    many = [replace(TWO, name=f"many{number}") for number in range(60)]
    await setting.fleet.apply([ONE, *many], setting.launcher)
    counting.cancel()
    assert turns >= 60
