"""A server of which each call has a workload of its own: as many are kept warm as are needed."""

from __future__ import annotations

import asyncio

from tests.unit.fleet.conftest import Open
from tests.unit.fleet.setting import Setting, spec
from tidegate.domain.server import Replicas, Sharing
from tidegate.fleet.balance import base
from tidegate.testing.loop_time import LoopTime

A = "a" * 32


def warm(setting: Setting) -> int:
    return sum(
        base(w.sharing) == "unclaimed" and w.channel is not None
        for w in setting.fleet.pools["each"].workloads.values()
    )


async def burst(setting: Setting, time: LoopTime, calls: int, name: str) -> int:
    """Make calls at once; give how many of them waited for a start."""
    tasks = [asyncio.create_task(setting.text("each", "who", f"{A}.{name}{n}")) for n in range(calls)]
    before = setting.fleet.pools["each"].replicas.warm
    size = before.count(setting.fleet.pools["each"].spec)
    found = await asyncio.gather(*tasks)
    assert len(set(found)) == calls
    await time.advance(1)
    return before.count(setting.fleet.pools["each"].spec) - size


async def test_calls_that_come_together_find_as_many_warm_as_came_before(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(spec("each", sharing=Sharing.CALL))
    assert warm(setting) == 1
    assert await burst(setting, time, 3, "a") > 0
    await time.until(lambda: warm(setting) >= 3)
    setting.runtime.hold = asyncio.Event()  # from here on nothing that is started comes up
    found = [await setting.lease("each", f"{A}.b{n}") for n in range(3)]
    assert len({lease.workload for lease in found}) == 3
    setting.runtime.hold.set()
    for lease in found:
        lease.release()


async def test_there_are_no_more_than_may_be(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(spec("each", sharing=Sharing.CALL), spec("more", sharing=Sharing.CALL))
    await burst(setting, time, 12, "a")
    await time.advance(5)
    assert warm(setting) == 4


async def test_replicas_say_how_many_are_kept_warm(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(spec("each", sharing=Sharing.CALL, replicas=Replicas(2, 6)))
    assert warm(setting) == 2
    await burst(setting, time, 12, "a")
    await time.advance(5)
    assert warm(setting) == 6


async def test_those_that_are_to_spare_go_and_a_used_one_is_never_used_again(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(spec("each", sharing=Sharing.CALL))
    await burst(setting, time, 6, "a")
    await time.until(lambda: warm(setting) == 1, 600)
    await time.advance(5)
    assert len(setting.world.running) == 1
    seen = [await setting.text("each", "count", f"{A}.c{n}") for n in range(4)]
    assert seen == ["1"] * 4
