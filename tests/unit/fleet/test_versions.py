"""Several versions of one server in one pool: shares of calls, growing, draining, and what each key gets."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from tests.unit.fleet.conftest import Open
from tests.unit.fleet.setting import Setting, said, spec
from tidegate.domain.errors import MemoryLost
from tidegate.domain.server import Replicas, ServerSpec, Sharing
from tidegate.domain.workload import SHARED
from tidegate.fleet.pool import Pool
from tidegate.fleet.track import Track
from tidegate.testing.loop_time import LoopTime

A, B = "a" * 32, "b" * 32


def server(version: str, sharing: Sharing = Sharing.SHARED, **more: Any) -> ServerSpec:
    replicas = Replicas(2, 4) if sharing is Sharing.SHARED else Replicas()
    stateless = bool(more.pop("stateless", sharing is Sharing.SHARED))
    return spec(
        "all", sharing=sharing, stateless=stateless, replicas=replicas, env={"VERSION": version}, **more
    )


def add(setting: Setting, declared: ServerSpec) -> tuple[Pool, Track]:
    pool = setting.fleet.pools["all"]
    return pool, pool.add_track(declared, setting.launcher(declared))


async def counted(setting: Setting, calls: int) -> Counter[str]:
    found: Counter[str] = Counter()
    for _ in range(calls):
        with await setting.lease("all", SHARED) as lease:
            found[str(lease.workload.spec.env["VERSION"])] += 1
            lease.done(True, 0.01)
    return found


def of(pool: Pool, track: Track) -> int:
    return sum(w.track is track and w.channel is not None and not w.draining for w in pool.workloads.values())


async def test_a_new_version_gets_exactly_the_share_it_is_given(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(server("1"))
    pool, new = add(setting, server("2"))
    pool.grow(new, 1)
    await time.until(lambda: of(pool, new) == 1)
    assert await counted(setting, 20) == {"1": 20}
    pool.set_share(new, 0.1)
    assert await counted(setting, 200) == {"1": 180, "2": 20}
    pool.set_share(new, 0.75)
    assert await counted(setting, 40) == {"1": 10, "2": 30}
    assert new.demand().calls == 50
    assert pool.current is not new


async def test_a_version_without_a_ready_workload_leaves_its_share_to_the_others(fleet: Open) -> None:
    setting = await fleet(server("1"))
    pool, new = add(setting, server("2"))
    pool.set_share(new, 1.0)
    assert await counted(setting, 10) == {"1": 10}


async def test_one_that_is_promoted_takes_over_and_the_old_is_drained_without_a_lost_call(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(server("1"))
    pool, new = add(setting, server("2"))
    old = pool.current
    with await setting.lease("all", SHARED) as lease:
        slow = asyncio.create_task(said(lease, "waits"))
        pool.grow(new, 2)
        await time.until(lambda: of(pool, new) == 2)
        pool.promote(new)
        drain = asyncio.create_task(pool.drain(old, 60))
        await time.settle()
        assert await counted(setting, 10) == {"2": 10}
        assert not drain.done()
        setting.servers["all"].release.set()
        assert await slow == ""
    await time.until(drain.done)
    pool.drop_track(old)
    assert pool.tracks == [new]
    assert pool.workloads[SHARED].track is new
    await time.until(lambda: len(setting.world.running) == 2)
    assert {w.identity.key.spec for w in pool.workloads.values()} == {new.digest}


async def test_a_drain_brings_up_what_follows_where_nothing_does(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(server("1"))
    pool, new = add(setting, server("2"))
    old = pool.current
    pool.promote(new)
    drain = asyncio.create_task(pool.drain(old, 60))
    while not drain.done():
        assert await setting.text("all", "echo", SHARED, text="x") == "x"
        await time.advance(0.1, 0.1)
    pool.drop_track(old)
    await time.until(lambda: of(pool, new) == 2)
    assert len(setting.world.running) == 2


async def test_a_call_that_does_not_end_holds_a_drain_up_for_no_longer_than_is_said(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(server("1"))
    pool, new = add(setting, server("2"))
    old = pool.current
    with await setting.lease("all", SHARED):
        pool.grow(new, 2)
        await time.until(lambda: of(pool, new) == 2)
        pool.promote(new)
        drain = asyncio.create_task(pool.drain(old, 20))
        assert 18 < await time.until(drain.done) < 30


async def test_a_version_that_is_taken_back_leaves_nothing(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(server("1"))
    before = set(setting.world.running)
    pool, new = add(setting, server("2"))
    pool.grow(new, 2)
    pool.set_share(new, 0.5)
    await time.until(lambda: of(pool, new) == 2)
    await counted(setting, 10)
    await pool.drain(new, 10)
    pool.drop_track(new)
    assert await counted(setting, 10) == {"1": 10}
    await time.until(lambda: setting.world.running == before)
    assert pool.current.share == 1.0


async def test_a_key_that_remembers_goes_on_with_its_version_until_it_is_idle_and_is_told_then(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(server("1", Sharing.PRINCIPAL))
    session = setting.asker("s")
    await time.advance(1)
    assert await setting.text("all", "count", A, session) == "1"
    pool, new = add(setting, server("2", Sharing.PRINCIPAL))
    old = pool.current
    pool.grow(new, 1)
    await time.until(lambda: of(pool, new) == 1)
    pool.promote(new)
    drain = asyncio.create_task(pool.drain(old, 300))
    for count in ("2", "3", "4"):
        await time.advance(2)
        assert await setting.text("all", "count", A, session) == count
    with await setting.lease("all", B) as lease:
        assert lease.workload.track is new
    await time.until(drain.done)
    pool.drop_track(old)
    with pytest.raises(MemoryLost):
        await setting.lease("all", A, session)
    with await setting.lease("all", A, session) as lease:
        assert lease.workload.track is new


async def test_a_key_without_memory_goes_over_at_once_and_waits_for_no_start(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(server("1", Sharing.PRINCIPAL, stateless=True))
    await setting.text("all", "count", A)
    pool, new = add(setting, server("2", Sharing.PRINCIPAL, stateless=True))
    old = pool.current
    pool.promote(new)
    drain = asyncio.create_task(pool.drain(old, 60))
    while not drain.done():
        lease = pool.lease_now(A, None, "h")
        assert lease is not None
        lease.release()
        await time.advance(0.1, 0.1)
    with await setting.lease("all", A) as after:
        assert after.workload.track is new
    assert list(pool.workloads) == [A]


async def test_what_is_the_gateways_part_is_taken_over_by_what_runs(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(server("1"))
    before = set(setting.world.running)
    pool = setting.fleet.pools["all"]
    declared = spec(
        "all", sharing=Sharing.SHARED, stateless=True, replicas=Replicas(3, 4), env={"VERSION": "1"}
    )
    pool.revise(declared, setting.launcher(declared))
    await time.until(lambda: len(setting.world.running) == 3)
    assert before < setting.world.running
