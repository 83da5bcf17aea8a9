"""One principal does not take a shared server from all: not by its waiting calls, its failing ones, nor its crashes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.fleet.conftest import Open
from tests.unit.fleet.setting import Setting, said, spec
from tidegate.domain.errors import Overloaded, ServerUnavailable
from tidegate.domain.server import Health, Queue, Replicas, ServerSpec, Sharing
from tidegate.domain.workload import SHARED
from tidegate.fleet.lease import Lease
from tidegate.fleet.pool import Pool
from tidegate.fleet.workload import Workload
from tidegate.testing.loop_time import LoopTime

ANN, BOB, CY = "a" * 32, "b" * 32, "c" * 32
QUICK = Health(every=0, failures=3, eject=10.0)


def shared(*, least: int = 1, queue: Queue | None = None, health: Health = QUICK, **more: Any) -> ServerSpec:
    return spec(
        "all", sharing=Sharing.SHARED, stateless=True, replicas=Replicas(least, 4),
        queue=queue or Queue(), health=health, **more,
    )  # fmt: skip


def pool_of(setting: Setting) -> Pool:
    return setting.fleet.pools["all"]


async def place(setting: Setting, principal: str) -> Lease:
    """Get a place as a call of that principal does."""
    now = setting.fleet.lease_now("all", SHARED, None, "h")
    return now or await setting.fleet.lease("all", SHARED, None, 60.0, "h", principal=principal)


def waiting(setting: Setting, principal: str, count: int) -> list[asyncio.Task[Lease]]:
    return [asyncio.create_task(place(setting, principal)) for _ in range(count)]


async def fail(setting: Setting, principal: str, times: int = 1) -> Workload:
    workload: Workload | None = None
    for _ in range(times):
        with await place(setting, principal) as lease:
            lease.done(False, 0.1, reason="it broke", principal=principal)
            workload = lease.workload
    assert workload is not None
    return workload


async def crash(setting: Setting, principal: str, *others: str) -> None:
    """Have the workload end during a call of a principal, while others have calls on it."""
    leases = [(who, await place(setting, who)) for who in (principal, *others)]
    setting.world.kill(leases[0][1].workload.identity.id)
    for who, lease in leases:
        lease.done(False, 0.1, reason="exited", principal=who)
        lease.release()


# -- waiting ----------------------------------------------------------------------------------------


async def order(calls: dict[str, list[asyncio.Task[Lease]]], first: Lease, time: LoopTime) -> list[str]:
    """Give back one place after the other, and say whose calls got them."""
    got: list[str] = []
    lease = first
    left = [(who, call) for who, many in calls.items() for call in many]
    while left:
        lease.release()
        await time.settle()
        ((who, call),) = [each for each in left if each[1].done()]
        left.remove((who, call))
        got.append(who)
        lease = call.result()
    lease.release()
    return got


async def test_principals_take_turns_however_many_calls_of_one_wait(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(shared(queue=Queue(256, 60.0, 1)))
    first = await place(setting, ANN)
    calls = {ANN: waiting(setting, ANN, 6)}
    await time.settle()
    calls[BOB] = waiting(setting, BOB, 2)
    await time.settle()
    calls[CY] = waiting(setting, CY, 1)
    await time.settle()
    assert await order(calls, first, time) == [ANN, BOB, CY, ANN, BOB, ANN, ANN, ANN, ANN]
    assert pool_of(setting).waiting == 0


async def test_one_with_many_waiting_calls_is_not_kept_from_its_turn_by_one_that_comes_again_and_again(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(shared(queue=Queue(256, 60.0, 1)))
    lease = await place(setting, BOB)
    left = waiting(setting, ANN, 3)
    await time.settle()
    got: list[str] = []
    while left:
        (again,) = waiting(setting, BOB, 1)
        await time.settle()
        for _ in range(2):
            lease.release()
            await time.settle()
            done = [each for each in left if each.done()]
            got.append(ANN if done else BOB)
            lease = (done[0] if done else again).result()
            left = [each for each in left if each not in done]
    lease.release()
    assert got == [ANN, BOB] * 3


async def test_where_as_many_wait_as_may_the_last_of_whoever_has_most_gives_way(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(shared(queue=Queue(4, 60.0, 1)))
    first = await place(setting, ANN)
    greedy = waiting(setting, ANN, 4)
    await time.settle()
    with pytest.raises(Overloaded, match="4 calls wait for it, which is the limit"):
        await place(setting, ANN)
    others = waiting(setting, BOB, 3)
    await time.settle()
    assert [call.done() for call in greedy] == [False, False, True, True]
    with pytest.raises(Overloaded, match="more of your calls wait for it than of anybody's") as refused:
        await greedy[3]
    assert int(str((refused.value.data or {})["retryAfter"])) >= 1
    assert not greedy[2].cancelled()
    with pytest.raises(Overloaded, match="4 calls wait for it, which is the limit"):
        await others[2]  # it would have more than half
    calls = {ANN: greedy[:2], BOB: others[:2]}
    assert await order(calls, first, time) == [ANN, BOB, ANN, BOB]
    with pytest.raises(Overloaded):
        await greedy[2]


async def test_calls_that_wait_for_a_start_give_way_too(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(shared(queue=Queue(3)), begin=False)
    setting.runtime.hold = asyncio.Event()
    await setting.begin()
    greedy = waiting(setting, ANN, 3)
    await time.settle()
    (other,) = waiting(setting, BOB, 1)
    await time.settle()
    with pytest.raises(Overloaded):
        await greedy[2]
    setting.runtime.hold.set()
    for call in (*greedy[:2], other):
        (await call).release()
    assert pool_of(setting).waiting == 0


async def test_one_that_is_cancelled_by_its_client_while_it_gives_way_stays_cancelled(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(shared(queue=Queue(2, 60.0, 1)))
    with await place(setting, ANN):
        greedy = waiting(setting, ANN, 2)
        await time.settle()
        greedy[1].cancel()
        (other,) = waiting(setting, BOB, 1)
        await time.settle()
        assert greedy[1].cancelled()
        greedy[0].cancel()
        other.cancel()
        await time.settle()
    assert pool_of(setting).waiting == 0


# -- failing ----------------------------------------------------------------------------------------


async def test_a_principal_whose_calls_alone_fail_is_refused_while_the_server_goes_on(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(shared())
    workload = await fail(setting, ANN, 3)
    await time.settle()
    assert workload.health == "suspect"
    with pytest.raises(
        ServerUnavailable, match="takes no calls of yours for now: 3 in a row failed"
    ) as refused:
        await place(setting, ANN)
    assert refused.value.data == {"retryAfter": 10}
    with await place(setting, BOB) as lease:
        lease.done(True, 0.1, principal=BOB)
    assert workload.health == "healthy"
    assert "principal refused" in setting.records.of("all")
    await time.advance(11)
    with await place(setting, ANN) as lease:
        lease.done(True, 0.1, principal=ANN)
    assert pool_of(setting).groups == {}  # and a place is a matter of looking it up again


async def test_where_calls_of_two_fail_in_a_row_it_is_ejected(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(shared())
    await fail(setting, ANN, 2)
    workload = await fail(setting, BOB)
    assert workload.health == "ejected"
    with pytest.raises(ServerUnavailable, match="3 failures in a row"):
        await place(setting, CY)


async def test_one_principal_takes_out_one_of_several_replicas_at_most(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(shared(least=2))
    for _ in range(12):
        try:
            await fail(setting, ANN)
        except ServerUnavailable:
            break
        await time.settle()
    healths = sorted(w.health for w in pool_of(setting).workloads.values())
    assert healths == ["ejected", "suspect"]
    (await place(setting, BOB)).release()


async def test_a_principals_own_workload_is_ejected_as_ever(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(spec("one", health=QUICK))
    for _ in range(3):
        with await setting.fleet.lease("one", ANN, None, 30.0, "h", principal=ANN) as lease:
            lease.done(False, 0.1, reason="it broke", principal=ANN)
    assert [w.health for w in setting.fleet.pools["one"].workloads.values()] == ["ejected"]


# -- crashing ---------------------------------------------------------------------------------------


async def crash_all(setting: Setting, time: LoopTime, principal: str, rounds: int) -> int:
    """Have a principal end the server as often as it can; say how often that was."""
    ended = 0
    for _ in range(rounds):
        await time.until(lambda: setting.state_of("all") in ("ready", "quarantined"))
        try:
            await crash(setting, principal)
        except ServerUnavailable:
            break
        ended += 1
        await time.settle()
    return ended


async def test_who_ends_the_server_again_and_again_is_refused_and_the_others_go_on(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(shared(health=Health(every=0, failures=3, eject=10.0, restarts=4)))
    assert await crash_all(setting, time, ANN, 20) == 3
    await time.until(lambda: setting.state_of("all") == "ready")
    with pytest.raises(ServerUnavailable, match="it ended during each of the last ones; nothing was called"):
        await place(setting, ANN)
    with await place(setting, BOB) as lease:
        assert await said(lease, "echo", text="still here") == "still here"
    for _ in range(4):  # it comes back, and ends it once each time
        await time.until(lambda: not pool_of(setting).blame.refused)
        assert await crash_all(setting, time, ANN, 20) == 1
    await time.until(lambda: setting.state_of("all") == "ready")
    assert pool_of(setting).quarantined is None


async def test_of_those_whose_calls_were_there_only_who_always_was_is_refused(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(shared())
    for others in ((BOB,), (CY,), (BOB, CY)):
        await time.until(lambda: setting.state_of("all") == "ready")
        await crash(setting, ANN, *others)
        await time.settle()
    assert set(pool_of(setting).blame.refused) == {ANN}


async def test_a_server_that_ends_whoever_calls_it_is_put_in_quarantine(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(shared(health=Health(every=0, failures=3, restarts=4)))
    for who in (ANN, BOB, CY, ANN, BOB):
        await time.until(lambda: setting.state_of("all") == "ready")
        await crash(setting, who)
        await time.settle()
    assert setting.state_of("all") == "quarantined"


async def test_calls_that_wait_are_refused_with_their_principal(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(shared(queue=Queue(256, 60.0, 1)))
    lease = await place(setting, BOB)
    calls = waiting(setting, ANN, 2)
    await time.settle()
    pool_of(setting).blame.refuse(ANN, QUICK, "its calls fail")
    await time.settle()
    for call in calls:
        with pytest.raises(ServerUnavailable, match="takes no calls of yours"):
            await call
    lease.release()
