"""What stands in the way of one more workload, what is ended for it, and what a refused caller is told."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.fleet.conftest import Open
from tests.unit.fleet.setting import Setting, spec
from tidegate.domain.errors import Overloaded, ServerUnavailable
from tidegate.domain.server import Health, Limits, Sharing, Timeouts
from tidegate.domain.workload import SHARED
from tidegate.fleet.fleet import Caps
from tidegate.fleet.host import RETRY_AFTER, Memory
from tidegate.ports.runtime import Usage
from tidegate.testing.loop_time import LoopTime

ANN, BOB = "a" * 32, "b" * 32
MIB = 1024 * 1024
CALM: dict[str, Any] = {"health": Health(every=0), "limits": Limits(memory=256 * MIB)}


def running(setting: Setting) -> dict[str, list[str]]:
    """Give the keys of workloads, by server."""
    return {name: sorted(pool.workloads) for name, pool in setting.fleet.pools.items()}


async def full(setting: Setting, server: str, sharing: str) -> None:
    """See that a call is refused, and told when to come again."""
    with pytest.raises(Overloaded) as refused:
        await setting.lease(server, sharing)
    assert (refused.value.data or {})["retryAfter"] == RETRY_AFTER


async def test_each_cap_says_when_to_come_again(fleet: Open) -> None:
    each = [spec(name, sharing=Sharing.SESSION) for name in ("one", "two")]
    setting = await fleet(*each, caps=Caps(workloads=4, per_server=3, per_principal=2))
    for session in ("s1", "s2"):
        await setting.text("one", "who", f"{ANN}.{session}")
    await full(setting, "one", f"{ANN}.s3")  # of the principal
    await setting.text("one", "who", f"{BOB}.s1")
    await full(setting, "one", f"{BOB}.s2")  # of the server
    await setting.text("two", "who", f"{BOB}.s1")
    await full(setting, "two", f"{'c' * 32}.s1")  # of the gateway


async def test_what_is_idle_and_remembers_nothing_ends_for_a_call_the_one_first_that_is_so_longest(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(
        spec("one", sharing=Sharing.SHARED, stateless=True, **CALM),
        spec("two", sharing=Sharing.SHARED, stateless=True, **CALM),
        spec("three", **CALM),
        caps=Caps(workloads=3),
    )
    await setting.text("one", "who", SHARED)
    await setting.text("three", "who", ANN)
    await time.advance(5)
    await setting.text("two", "who", SHARED)
    await full(setting, "three", BOB)  # what belongs together comes faster
    await time.advance(8)
    await setting.text("three", "who", BOB)
    assert running(setting) == {"one": [], "two": [SHARED], "three": [ANN, BOB]}
    assert "ended while idle, to make room for server three" in str(
        [each.reason for each in setting.fleet.pools["one"].history]
    )
    await time.advance(2)
    assert running(setting)["one"] == []  # it is not brought back while there is no room: nobody calls it
    await time.advance(8)
    assert await setting.text("one", "echo", SHARED, text="x") == "x"  # instead of the second
    assert running(setting) == {"one": [SHARED], "two": [], "three": [ANN, BOB]}


async def test_what_remembers_stays_until_it_was_idle_for_as_long_as_it_is_kept(
    fleet: Open, time: LoopTime
) -> None:
    declared = spec("one", sharing=Sharing.SHARED, timeouts=Timeouts(idle=60.0), **CALM)
    setting = await fleet(declared, spec("two", **CALM), caps=Caps(workloads=2))
    await setting.text("one", "count", SHARED)
    await setting.text("two", "count", ANN)
    await time.advance(50)
    await setting.text("two", "count", ANN)
    await full(setting, "two", BOB)
    await time.advance(15)
    await setting.text("two", "count", BOB)
    assert running(setting) == {"one": [], "two": [ANN, BOB]}


async def test_a_paused_one_ends_at_once_and_one_that_is_used_or_listened_to_never(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(
        *(spec(name, sharing=Sharing.SHARED, stateless=True, **CALM) for name in ("one", "two", "three")),
        spec("four", **CALM),
        caps=Caps(workloads=4),
    )
    await setting.text("four", "who", ANN)
    setting.fleet.wanted = lambda server, sharing: server == "two"
    with await setting.lease("one", SHARED):
        await time.advance(60)
        await setting.text("three", "who", SHARED)
        await full(setting, "four", BOB)
        (third,) = setting.fleet.pools["three"].workloads.values()
        assert await third.pause()
        await setting.text("four", "who", BOB)
    assert running(setting) == {"one": [SHARED], "two": [SHARED], "three": [], "four": [ANN, BOB]}


async def test_nothing_ends_where_that_would_not_be_enough(fleet: Open, time: LoopTime) -> None:
    specs = [spec(f"s{n}", sharing=Sharing.SHARED, stateless=True, **CALM) for n in range(3)]
    setting = await fleet(*specs, spec("last", **CALM))
    await setting.text("last", "who", BOB)
    await time.advance(60)
    memory(setting, free=100)
    setting.runtime.uses = Usage(0.0, 50 * MIB)
    await setting.fleet.usages.look()
    await full(setting, "last", ANN)  # three times 50 MiB are less than the 356 that are missing
    assert len(setting.world.running) == 4


async def test_idle_ones_give_the_memory_that_a_call_needs(fleet: Open, time: LoopTime) -> None:
    specs = [spec(f"s{n}", sharing=Sharing.SHARED, stateless=True, **CALM) for n in range(3)]
    setting = await fleet(*specs, spec("last", sharing=Sharing.SESSION, **CALM))
    await setting.text("last", "who", f"{ANN}.s1")
    setting.runtime.uses = Usage(0.0, 150 * MIB)
    await setting.fleet.usages.look()
    await time.advance(60)
    memory(setting, free=200)
    await setting.text("last", "who", f"{BOB}.s1")
    assert running(setting) == {"s0": [], "s1": [], "s2": [SHARED], "last": [f"{ANN}.s1", f"{BOB}.s1"]}


def memory(setting: Setting, free: int) -> None:
    """Have so many MiB be free, of which 200 stay so."""
    told = Memory(8192 * MIB, free * MIB)
    setting.fleet.host.reserve = 200 * MIB
    setting.fleet.host.read = (lambda: told, lambda: told)


async def test_one_that_ended_is_not_started_again_until_there_is_memory_for_it(
    fleet: Open, time: LoopTime
) -> None:
    health = Health(every=0, restarts=2)
    setting = await fleet(spec("one", sharing=Sharing.SHARED, health=health, limits=Limits(memory=256 * MIB)))
    memory(setting, free=400)
    (workload,) = setting.world.running
    setting.world.kill(workload)
    await time.until(lambda: setting.state_of("one") == "failed")
    assert "too little memory to start server one" in setting.reason_of("one")
    with pytest.raises(ServerUnavailable, match="too little memory"):
        await setting.lease("one", SHARED)
    await time.advance(120)
    assert setting.runtime.started == ["one"]
    assert setting.state_of("one") == "failed"  # not in quarantine: it is not its own fault
    memory(setting, free=500)
    await time.until(lambda: setting.state_of("one") == "ready")


async def test_of_several_that_ended_at_once_those_start_again_for_which_there_is_memory(
    fleet: Open, time: LoopTime
) -> None:
    names = [f"s{n}" for n in range(4)]
    setting = await fleet(*(spec(name, sharing=Sharing.SHARED, **CALM) for name in names))
    memory(setting, free=200 + 2 * 256)
    for each in list(setting.world.running):
        setting.world.kill(each)
    await time.advance(0.5)
    states = sorted(setting.state_of(name) for name in names)
    assert states[:2] == ["failed", "failed"]
    await time.advance(60)  # as what the first took is not seen, they all fit one after the other
    assert {setting.state_of(name) for name in names} == {"ready"}
