"""Several workloads of one key: who gets a call, what fails with one of them, how many there are, which survive."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.fleet.conftest import Open
from tests.unit.fleet.setting import QUICK, Setting, said, spec
from tidegate.domain.errors import ChannelClosed, MemoryLost
from tidegate.domain.server import Replicas, ServerSpec, Sharing
from tidegate.domain.workload import SHARED
from tidegate.fleet.fleet import Caps
from tidegate.fleet.lease import Lease
from tidegate.fleet.pool import Pool
from tidegate.protocol.capabilities import Offer
from tidegate.testing.loop_time import LoopTime


def many(least: int = 3, most: int = 4, name: str = "all", **more: Any) -> ServerSpec:
    """Declare a server with replicas."""
    return spec(name, sharing=Sharing.SHARED, stateless=True, replicas=Replicas(least, most), **more)


def pool_of(setting: Setting) -> Pool:
    return setting.fleet.pools["all"]


def formed(setting: Setting) -> list[str]:
    return [key for key in pool_of(setting).workloads if key.endswith("+form")]


async def leases(setting: Setting, count: int) -> list[Lease]:
    return [await setting.lease("all", SHARED) for _ in range(count)]


async def test_as_many_are_brought_up_as_there_are_to_be_at_least(fleet: Open) -> None:
    setting = await fleet(many())
    assert list(pool_of(setting).workloads) == [SHARED, "shared~2", "shared~3"]
    assert len(setting.world.running) == 3


async def test_a_call_goes_to_the_replica_with_the_fewest_and_of_equal_ones_to_the_one_unused_longest(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(many())
    held = await leases(setting, 3)
    assert len({lease.workload for lease in held}) == 3
    more = await leases(setting, 3)
    assert sorted(lease.workload.in_flight for lease in more) == [2, 2, 2]
    held[1].release()
    await time.advance(1)
    (next_one,) = await leases(setting, 1)
    assert next_one.workload is held[1].workload
    for lease in (held[0], held[2], *more, next_one):
        await time.advance(1)
        lease.release()
    unused = sorted(pool_of(setting).workloads.values(), key=lambda w: w.last_used)
    assert [lease.workload for lease in await leases(setting, 3)] == unused


async def test_when_a_replica_dies_only_the_calls_on_it_fail_and_nobody_is_told_of_a_loss(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(many(2))
    held = await leases(setting, 6)
    calls = [asyncio.create_task(said(lease, "waits")) for lease in held]
    await time.settle()
    victim = held[0].workload
    setting.world.kill(victim.identity.id)
    await time.settle()
    began = asyncio.create_task(setting.text("all", "echo", SHARED, text="at once"))
    await time.settle()
    assert began.done()
    assert await began == "at once"
    setting.servers["all"].release.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    for lease, result in zip(held, results, strict=True):
        assert isinstance(result, ChannelClosed) == (lease.workload is victim)
        lease.release()
    await time.until(lambda: len(setting.world.running) == 2)
    assert await setting.text("all", "echo", SHARED, setting.asker("s"), text="x") == "x"


async def test_replicas_are_adopted_by_the_next_gateway_each_with_its_number(
    fleet: Open, time: LoopTime
) -> None:
    declared = many()
    setting = await fleet(declared)
    before = {key: w.identity.id for key, w in pool_of(setting).workloads.items()}
    assert len(before) == 3
    world, running = setting.world, set(setting.world.running)
    # The one before is not closed: a crash does not either.
    again = await fleet(declared, state=setting.state, world=world, servers=setting.servers)
    assert {key: w.identity.id for key, w in pool_of(again).workloads.items()} == before
    assert world.running == running
    assert setting.servers["all"].initialized == 3


async def test_more_are_made_and_the_emptiest_go_when_fewer_are_wanted(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(many(1))
    pool = pool_of(setting)
    pool.want(9, "a test")
    await time.until(lambda: pool.demand().ready == 4)  # the most there may be
    held = await leases(setting, 8)
    for lease in held[:4]:
        lease.release()
    for lease in held[5:]:
        lease.release()
    pool.want(2, "a test")
    await time.until(lambda: len(pool.workloads) == 2)
    assert held[4].workload in pool.workloads.values()
    assert SHARED in pool.workloads
    held[4].release()
    assert [each.state for each in pool.history if not each.workload] == ["wanted", "wanted"]


async def test_one_that_is_let_go_ends_with_its_last_call(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(many(1))
    pool = pool_of(setting)
    pool.want(2, "a test")
    await time.until(lambda: pool.demand().ready == 2)
    held = await leases(setting, 2)
    slow = {lease.workload.identity.id: asyncio.create_task(said(lease, "waits")) for lease in held}
    pool.want(1, "a test")
    await time.settle()
    (leaving,) = [w for w in pool.workloads.values() if w.state == "draining"]
    assert [await setting.text("all", "who", SHARED) != leaving.identity.id for _ in range(4)] == [True] * 4
    assert leaving.identity.id in setting.world.running
    setting.servers["all"].release.set()
    assert await asyncio.gather(*slow.values()) == ["", ""]
    for lease in held:
        lease.release()
    await time.until(lambda: leaving.identity.id not in setting.world.running)
    assert list(pool.workloads) == [SHARED]


async def test_the_bare_key_always_leads_to_one_that_goes_on(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(many(2))
    pool = pool_of(setting)
    first, second = pool.workloads[SHARED], pool.workloads["shared~2"]
    setting.heard.workloads.clear()
    pool.renewal.leave(first, "a test")
    await time.settle()
    assert pool.workloads[SHARED] is second
    assert setting.heard.workloads[:1] == [second.identity.id]  # so that what it is to tell is asked of it
    with await setting.lease("all", pool.where("shared~2", second.identity.id)) as lease:
        assert lease.workload is second


async def test_a_task_finds_its_replica_and_no_other(fleet: Open) -> None:
    setting = await fleet(many())
    pool = pool_of(setting)
    for key, workload in list(pool.workloads.items()):
        for _ in range(3):
            with await setting.lease("all", pool.where(key, workload.identity.id)) as lease:
                assert lease.workload is workload


async def test_caps_hold_for_replicas_too(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(many(1, 8), caps=Caps(per_server=3))
    pool_of(setting).want(8, "a test")
    await time.advance(3)
    assert len(setting.world.running) == 3


async def test_a_server_that_may_have_none_has_none_when_nobody_calls_and_one_for_the_next_call(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(many(0, 2, timeouts=QUICK))
    await setting.text("all", "echo", SHARED)
    pool_of(setting).want(0, "nobody calls")
    await time.until(lambda: not setting.world.running)
    assert setting.state_of("all") == "stopped"
    assert await setting.text("all", "echo", SHARED, text="x") == "x"


async def test_a_kind_of_client_that_nobody_uses_keeps_no_replicas(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(many(2, timeouts=QUICK))
    with await setting.fleet.lease("all", "shared+form", None, 10.0, offer=Offer.FORM):
        await time.until(lambda: len(formed(setting)) == 2)
    await time.until(lambda: not formed(setting))
    assert len(pool_of(setting).workloads) == 2


async def test_a_server_that_remembers_is_told_of_when_it_is_restarted_by_hand(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(spec("all", sharing=Sharing.SHARED))
    session = setting.asker("s")
    await time.advance(1)
    await setting.text("all", "count", SHARED, session)
    before = pool_of(setting).workloads[SHARED].identity.id
    with await setting.lease("all", SHARED, session) as lease:
        slow = asyncio.create_task(said(lease, "waits"))
        await pool_of(setting).restart("by hand")
        setting.servers["all"].release.set()
        assert await slow == ""
    with pytest.raises(MemoryLost):
        await setting.lease("all", SHARED, session)
    assert await setting.text("all", "who", SHARED, session) != before
    await time.until(lambda: len(setting.world.running) == 1)


async def test_a_restart_replaces_each_and_loses_no_call(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(many())
    before = set(setting.world.running)
    restart = asyncio.create_task(pool_of(setting).restart("by hand"))
    while not restart.done():
        assert await setting.text("all", "echo", SHARED, text="x") == "x"
        assert pool_of(setting).demand().ready >= 3
        await time.advance(0.25)
    await time.until(lambda: len(setting.world.running) == 3)
    assert not before & setting.world.running
    assert SHARED in pool_of(setting).workloads
