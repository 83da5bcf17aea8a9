"""A fleet follows its load: more, fewer, at rest, none, and back; floors, short memory, and what was seen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.fleet.conftest import Open
from tests.unit.fleet.setting import EPOCH, Setting, said, spec
from tidegate.domain.errors import Overloaded
from tidegate.domain.server import Limits, Replicas, Scaling, Schedule, ServerSpec, Sharing, Timeouts
from tidegate.domain.workload import SHARED
from tidegate.fleet.host import RETRY_AFTER, Host, Memory
from tidegate.fleet.pool import Lease
from tidegate.fleet.usage import EVERY
from tidegate.ports.runtime import Runtime, Usage
from tidegate.testing.fake_runtime import FakeRuntime
from tidegate.testing.loop_time import LoopTime

MIB = 1024 * 1024
NAME = "s"
QUICK = Scaling(in_flight=2, up_after=2.0, down_after=10.0)


def shared(
    least: int = 1, most: int = 4, scaling: Scaling = QUICK, idle: float = 60.0, **more: Any
) -> ServerSpec:
    return spec(
        NAME,
        sharing=Sharing.SHARED,
        stateless=True,
        replicas=Replicas(least, most),
        scaling=scaling,
        timeouts=Timeouts(start=10.0, call=5.0, idle=idle),
        **more,
    )


@asynccontextmanager
async def under_way(setting: Setting, count: int) -> AsyncGenerator[list[Lease]]:
    """Have so many calls under way."""
    async with AsyncExitStack() as stack:
        yield [
            stack.enter_context(await setting.fleet.lease(NAME, SHARED, None, 30.0, f"holder {number}"))
            for number in range(count)
        ]


def states(setting: Setting) -> list[str]:
    return sorted(w.state.value for w in setting.fleet.pools[NAME].workloads.values())


def ready(setting: Setting) -> int:
    return states(setting).count("ready")


async def test_replicas_come_with_the_load_and_go_slowly_when_it_ends(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(shared())
    async with under_way(setting, 7):
        came = await time.until(lambda: ready(setting) == 4, 10)
        assert came >= QUICK.up_after
        await time.advance(30)
        assert ready(setting) == 4
    await time.advance(QUICK.down_after - 2)
    assert ready(setting) == 4
    await time.until(lambda: len(states(setting)) == 2, 20)
    await time.until(lambda: len(states(setting)) == 1, 20)
    await time.advance(600)
    assert states(setting) == ["ready"]
    verdict = setting.fleet.scaling.verdict(NAME)
    assert verdict is not None
    assert "no more than 1 needed" in verdict.reason
    assert setting.metrics.scalings == {(NAME, "up"): 1, (NAME, "down"): 2}


async def test_what_nobody_calls_is_paused_and_goes_on_with_the_next_call(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(shared(scaling=replace(QUICK, pause_after=5.0)))
    await setting.text(NAME, "count", SHARED)
    await time.advance(4)
    assert states(setting) == ["ready"]
    await time.until(lambda: states(setting) == ["paused"], 5)
    began = time()
    assert await setting.text(NAME, "count", SHARED) == "2"
    assert time() - began < 1
    assert len(setting.runtime.started) == 1


async def test_somebody_who_listens_keeps_it_from_being_paused(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(shared(scaling=replace(QUICK, pause_after=5.0)))
    setting.fleet.wanted = lambda server, sharing: server == NAME
    await time.advance(30)
    assert states(setting) == ["ready"]


async def test_a_principals_own_is_paused_too_and_ends_when_it_idles_on(fleet: Open, time: LoopTime) -> None:
    own = spec(NAME, scaling=Scaling(pause_after=5.0), timeouts=Timeouts(start=10.0, call=5.0, idle=60.0))
    setting = await fleet(own)
    assert await setting.text(NAME, "count") == "1"
    await time.until(lambda: states(setting) == ["paused"], 10)
    assert await setting.text(NAME, "count") == "2"
    await time.until(lambda: "paused" in states(setting), 10)
    await time.until(lambda: "a" * 32 not in setting.fleet.pools[NAME].workloads, 90)


async def test_a_server_goes_to_none_when_idle_and_comes_back_for_a_call(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(shared(0, scaling=replace(QUICK, pause_after=5.0)))
    assert await setting.text(NAME, "count", SHARED) == "1"
    await time.until(lambda: states(setting) == ["paused"], 10)
    assert await setting.text(NAME, "count", SHARED) == "2"
    await time.until(lambda: states(setting) == [], 90)
    assert setting.world.running == set()
    await time.advance(120)
    assert await setting.text(NAME, "count", SHARED) == "1"
    await time.advance(20)
    assert states(setting) in (["ready"], ["paused"])


async def test_what_came_up_to_be_looked_at_alone_goes_soon(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(shared(0, idle=900.0))
    assert states(setting) == ["ready"]
    await time.advance(20)
    assert states(setting) == ["ready"]
    await time.until(lambda: states(setting) == [], 30)


async def test_what_a_gateway_before_ran_stays_until_it_is_idle(fleet: Open, time: LoopTime) -> None:
    declared = shared(0, scaling=replace(QUICK, pause_after=5.0))
    setting = await fleet(declared)
    assert await setting.text(NAME, "count", SHARED) == "1"
    await time.until(lambda: states(setting) == ["paused"], 10)
    await setting.abandon()
    again = await fleet(declared, world=setting.world, state=setting.state, servers=setting.servers)
    await time.advance(3)
    assert states(again) == ["ready"]
    assert await again.text(NAME, "count", SHARED) == "2"
    await time.until(lambda: states(again) == [], 90)


async def test_a_signal_raises_the_floor_until_it_ends_and_over_a_restart(
    fleet: Open, time: LoopTime
) -> None:
    storm = shared(0, scaling=replace(QUICK, signals={"storm": 3}))
    setting = await fleet(storm)
    await time.until(lambda: states(setting) == [], 60)
    assert await setting.fleet.scaling.signal("tide", on=True, seconds=600) == ()
    assert await setting.fleet.scaling.signal("storm", on=True, seconds=600) == [NAME]
    await time.until(lambda: ready(setting) == 3, 5)
    await time.advance(300)
    assert ready(setting) == 3
    await setting.abandon()
    again = await fleet(storm, world=setting.world, state=setting.state, servers=setting.servers)
    await time.until(lambda: ready(again) == 3, 5)
    assert [each.name for each in again.fleet.scaling.signals()] == ["storm"]
    await time.advance(500, 2.0)
    assert states(again) == []
    assert again.fleet.scaling.signals() == []


async def test_a_signal_that_is_turned_off_is_off(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(shared(scaling=replace(QUICK, signals={"storm": 3})))
    await setting.fleet.scaling.signal("storm", on=True)
    await time.until(lambda: ready(setting) == 3, 5)
    assert setting.fleet.scaling.signals()[0].until is None
    await setting.fleet.scaling.signal("storm", on=False)
    await time.until(lambda: ready(setting) == 1, 60)
    assert await setting.state.scan("signal/") == []


async def test_a_known_peak_finds_its_replicas(fleet: Open, time: LoopTime) -> None:
    begin = int((EPOCH + time()) % 86400 // 60) + 4
    every = frozenset(range(7))
    peak = Schedule("rush", every, begin % 1440, (begin + 2) % 1440, "UTC", 3)
    setting = await fleet(shared(scaling=replace(QUICK, schedules=(peak,))))
    await time.advance(150, 1.0)
    assert ready(setting) == 1
    await time.advance(100, 1.0)
    assert ready(setting) == 3
    verdict = setting.fleet.scaling.verdict(NAME)
    assert verdict is not None
    assert verdict.reason == "schedule rush"
    await time.advance(180, 1.0)
    assert ready(setting) == 1


async def test_while_memory_is_short_nothing_is_started_and_whoever_calls_is_told(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(shared(0, limits=Limits(memory=256 * MIB)), begin=False)
    free = 400 * MIB
    host = setting.fleet.host
    host.reserve = 200 * MIB
    host.read = (lambda: Memory(8192 * MIB, free), lambda: Memory(8192 * MIB, free))
    await setting.begin()
    with pytest.raises(Overloaded, match="too little memory") as refused:
        await setting.lease(NAME, SHARED)
    assert refused.value.data == {"retryAfter": RETRY_AFTER}
    assert setting.runtime.started == []
    assert setting.metrics.starts_refused[NAME] >= 1
    free = 500 * MIB
    await time.advance(1)
    assert await setting.text(NAME, "count", SHARED) == "1"


async def test_those_that_are_starting_count_with_what_they_may_need(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(shared(4, limits=Limits(memory=256 * MIB)), begin=False)
    host = setting.fleet.host
    host.reserve = 200 * MIB
    told = Memory(8192 * MIB, 800 * MIB)
    host.read = (lambda: told, lambda: told)
    setting.runtime.hold = asyncio.Event()
    await setting.begin()
    await time.advance(5)
    assert len(setting.runtime.started) == 2


async def test_of_a_machine_elsewhere_counts_what_it_has_less_what_our_workloads_use(fleet: Open) -> None:
    class Elsewhere(FakeRuntime):
        async def memory(self) -> int | None:
            return 1000 * MIB

    setting = await fleet(shared(2, limits=Limits(memory=300 * MIB)))
    runtimes: dict[str, Runtime] = {"fake": Elsewhere("i", {})}
    host = Host(setting.fleet.pools, runtimes, setting.fleet.usages, setting.metrics, 200 * MIB)
    await host.look()
    assert host.free("fake") == 400 * MIB  # nothing was seen of them: they count with their limits
    setting.runtime.uses = Usage(0.0, 100 * MIB)
    await setting.fleet.usages.look()
    assert host.free("fake") == 800 * MIB
    host.admit(setting.fleet.pools[NAME])
    host.reserve = 600 * MIB
    with pytest.raises(Overloaded):
        host.admit(setting.fleet.pools[NAME])


async def test_memory_that_cannot_be_told_holds_nothing_back(fleet: Open) -> None:
    def unknown() -> Memory:
        raise OSError("no /proc here")

    setting = await fleet(shared(0))
    host = setting.fleet.host
    host.reserve, host.read = 200 * MIB, (unknown, unknown)
    assert await setting.text(NAME, "count", SHARED) == "1"


async def test_what_workloads_use_is_seen_and_advice_follows_and_is_applied_live(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(shared(2, limits=Limits(memory=256 * MIB, cpus=1.0)))
    setting.runtime.uses = Usage(cpu_seconds=3.0, memory=40 * MIB, pids=2)
    adviser = setting.fleet.adviser
    assert adviser.of(NAME).memory_advised is None
    await time.advance(EVERY * 15)
    (name, *others) = setting.fleet.usages.now()
    assert len(others) == 1
    look = setting.fleet.usages.of(name)
    assert look is not None
    assert look.cpus == pytest.approx(0.2, abs=0.05)
    told = adviser.of(NAME)
    assert told.memory_advised == 64 * MIB
    assert told.cpus_advised is not None
    assert told.cpus_advised < 0.5
    applied = await adviser.apply(told)
    assert [each.live for each in applied] == [True, True]
    assert {limits.memory for limits in setting.runtime.limits.values()} == {64 * MIB}
    assert len(setting.runtime.started) == 2


async def test_what_is_gone_is_no_longer_kept(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(shared(0))
    with await setting.lease(NAME, SHARED) as lease:
        assert await said(lease, "echo", text="x") == "x"
        await time.advance(EVERY + 1)
        assert len(setting.fleet.usages.now()) == 1
    await time.until(lambda: states(setting) == [], 120)
    await time.advance(EVERY + 1)
    assert setting.fleet.usages.now() == {}
