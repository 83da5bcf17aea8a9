"""Calls that wait for a place: how many, how long, in which order, and what a refused one is told."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.fleet.conftest import Open
from tests.unit.fleet.setting import Setting, spec
from tidegate.domain.errors import Overloaded
from tidegate.domain.server import Queue, Replicas, ServerSpec, Sharing
from tidegate.domain.workload import SHARED
from tidegate.fleet.lease import Lease
from tidegate.testing.loop_time import LoopTime


def busy(in_flight: int | None = 1, *, length: int = 256, wait: float = 5.0, most: int = 1) -> ServerSpec:
    return spec(
        "all",
        sharing=Sharing.SHARED,
        stateless=True,
        replicas=Replicas(1, most),
        queue=Queue(length, wait, in_flight),
    )


async def held(setting: Setting) -> Lease:
    """Get a place as a client's call does: one of the gateway's own is not counted."""
    return await setting.fleet.lease("all", SHARED, None, 60.0, "h")


def waiting(setting: Setting, count: int) -> list[asyncio.Task[Lease]]:
    return [
        asyncio.create_task(setting.fleet.lease("all", SHARED, None, 60.0, f"h{n}")) for n in range(count)
    ]


async def test_a_workload_has_no_more_calls_under_way_than_it_may_and_who_came_first_goes_first(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(busy(2))
    pool = setting.fleet.pools["all"]
    calls = waiting(setting, 5)
    await time.settle()
    done = [call.done() for call in calls]
    assert done == [True, True, False, False, False]
    assert pool.waiting == 3
    order: list[int] = []
    for free in range(3):
        (await calls[free]).release()
        assert pool.lease_now(SHARED, None, "late") is None  # others were here before
        await time.settle()
        order += [n for n, call in enumerate(calls) if call.done() and n not in order]
    assert order == [0, 1, 2, 3, 4]
    for call in calls[3:]:
        (await call).release()
    assert pool.waiting == 0


async def test_one_that_waits_too_long_is_refused_with_when_to_come_again(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(busy(1, wait=5.0))
    with await held(setting):
        (call,) = waiting(setting, 1)
        await time.advance(4.5)
        assert not call.done()
        await time.advance(1)
        with pytest.raises(Overloaded, match="server all is busy: no place was free for 5 s") as refused:
            await call
    assert refused.value.data is not None
    assert 1 <= int(str(refused.value.data["retryAfter"])) <= 60
    assert setting.fleet.pools["all"].waiting == 0


async def test_one_more_than_may_wait_is_refused_at_once(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(busy(1, length=2))
    with await held(setting):
        calls = waiting(setting, 2)
        await time.settle()
        with pytest.raises(Overloaded, match="2 calls wait for it, which is the limit") as refused:
            await held(setting)
        assert refused.value.data is not None
        assert "retryAfter" in refused.value.data
    for call in calls:
        (await call).release()


async def test_the_bound_holds_for_those_that_wait_for_a_start_too(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(busy(None, length=3), begin=False)
    setting.runtime.hold = asyncio.Event()
    await setting.begin()
    calls = waiting(setting, 3)
    await time.settle()
    with pytest.raises(Overloaded):
        await held(setting)
    setting.runtime.hold.set()
    for call in calls:
        (await call).release()


async def test_a_cancelled_one_leaves_its_place_to_the_next(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(busy(1))
    lease = await held(setting)
    first, second = waiting(setting, 2)
    await time.settle()
    lease.release()
    first.cancel()  # woken and cancelled in the same turn of the loop
    await time.settle()
    assert second.done()
    (await second).release()
    (await held(setting)).release()


async def test_another_replica_takes_those_that_wait(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(busy(1, most=4))
    pool = setting.fleet.pools["all"]
    with await held(setting):
        (call,) = waiting(setting, 1)
        await time.settle()
        pool.want(2, "a test")
        await time.until(call.done)
        (await call).release()


async def test_how_long_calls_wait_is_told_among_those_that_did_not(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(busy(1))
    pool = setting.fleet.pools["all"]
    lease = await held(setting)
    (call,) = waiting(setting, 1)
    await time.advance(2)
    lease.done(True, 2.0)
    lease.release()
    with await call as other:
        other.done(True, 2.0)
    assert 1.5 < pool.demand().wait < 3
    for _ in range(60):
        with await held(setting) as quick:
            quick.done(True, 0.01)
    assert pool.demand().wait == 0
    assert pool.demand().latency_p50 == 0.01
