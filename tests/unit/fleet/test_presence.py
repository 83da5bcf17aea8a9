"""What ends with the engine is put down to no server and to nobody's calls; what ends by itself is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.fleet.conftest import Open
from tests.unit.fleet.setting import Setting, spec
from tidegate.domain.server import Health, Replicas, ServerSpec, Sharing
from tidegate.domain.workload import SHARED
from tidegate.fleet.lease import Lease
from tidegate.fleet.presence import AFTER, Presence
from tidegate.testing.loop_time import LoopTime

ANN = "a" * 32
STRICT = Health(every=0, failures=3, restarts=4, window=600.0)


def shared(**more: Any) -> ServerSpec:
    return spec("all", sharing=Sharing.SHARED, stateless=True, replicas=Replicas(2, 2), health=STRICT, **more)


async def place(setting: Setting) -> Lease:
    now = setting.fleet.lease_now("all", SHARED, None, "h")
    return now or await setting.fleet.lease("all", SHARED, None, 60.0, "h", principal=ANN)


async def with_a_call(setting: Setting) -> Lease:
    """Have every workload end, one of them during a call, which fails."""
    lease = await place(setting)
    for each in list(setting.world.running):
        setting.world.kill(each)
    lease.done(False, 0.1, reason="exited", principal=ANN)
    lease.release()
    return lease


def ready(setting: Setting) -> bool:
    return len(setting.world.running) == 2 and setting.fleet.pools["all"].demand().ready == 2


async def outage(setting: Setting, time: LoopTime, seconds: float) -> None:
    """Have the engine go with all that it runs, and come back."""
    setting.runtime.unavailable = "the engine is away"
    await with_a_call(setting)
    await time.advance(seconds)
    setting.runtime.unavailable = None
    await time.until(lambda: ready(setting), seconds=6)


async def test_an_engine_that_goes_again_and_again_costs_no_server_and_no_principal_anything(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(shared())
    for _ in range(12):
        await outage(setting, time, 3)
        (await place(setting)).release()
    assert setting.state_of("all") == "ready"
    assert not setting.fleet.pools["all"].blame.refused


async def test_what_ended_shortly_before_the_engine_was_found_to_be_away_ended_with_it(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(shared())
    for _ in range(12):
        await with_a_call(setting)  # it ends its containers first, and still answers
        await time.settle()
        await outage(setting, time, 2)
    assert setting.state_of("all") == "ready"
    assert not setting.fleet.pools["all"].blame.refused


async def test_a_server_that_ends_by_itself_is_put_in_quarantine_after_an_outage_too(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(shared())
    await outage(setting, time, 3)
    await time.advance(AFTER + 1)
    for _ in range(5):
        await time.until(lambda: ready(setting) or setting.state_of("all") == "quarantined")
        for each in list(setting.world.running):
            setting.world.kill(each)
        await time.settle()
    await time.until(lambda: setting.state_of("all") == "quarantined")


async def test_while_the_engine_is_away_one_of_all_looks_at_a_time_and_less_often_the_longer_it_lasts(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(*(spec(f"s{number}", health=STRICT) for number in range(6)))
    setting.runtime.unavailable = "the engine is away"
    failed = setting.records.of("s0")
    assert "failed" not in failed
    for each in list(setting.world.running):
        setting.world.kill(each)
    await time.advance(120)
    attempts = [what for number in range(6) for what in setting.records.of(f"s{number}") if what == "failed"]
    assert 12 < len(attempts) < 70  # each finds out for itself, and then every 5 s one of them
    setting.runtime.unavailable = None
    await time.until(lambda: all(setting.state_of(f"s{n}") == "ready" for n in range(6)), seconds=6)


async def test_where_all_are_one_principal_nobody_is_refused_for_the_others(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(shared(), alone=True)
    for _ in range(4):
        await time.until(lambda: ready(setting))
        await with_a_call(setting)
        await time.settle()
    assert not setting.fleet.pools["all"].blame.refused
    await time.until(lambda: ready(setting))


async def test_who_waits_goes_on_as_soon_as_anybody_finds_the_engine_there(time: LoopTime) -> None:
    presence = Presence(asyncio.get_running_loop().time)
    presence.missed()
    await time.advance(30)
    first = asyncio.create_task(presence.until_worth_trying())
    await time.advance(1)
    assert first.done()  # it is to look
    second = asyncio.create_task(presence.until_worth_trying())
    await time.advance(1)
    assert not second.done()
    presence.met()
    await time.settle()
    assert second.done()
    assert not presence.away
    assert presence.lately_away
    await time.advance(AFTER + 1)
    assert not presence.lately_away


@pytest.mark.parametrize("times", [1, 3])
async def test_an_engine_that_was_not_missed_is_there(time: LoopTime, times: int) -> None:
    presence = Presence(asyncio.get_running_loop().time)
    for _ in range(times):
        presence.met()
    assert not presence.away
    assert not presence.lately_away
