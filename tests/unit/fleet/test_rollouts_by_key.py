"""Servers whose workloads are each somebody's change key by key, and who remembers is told once."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.fleet.conftest import Open
from tests.unit.fleet.rolling import NAME, Callers, opened, state, version
from tidegate.domain.errors import MemoryLost
from tidegate.domain.server import Sharing, Strategy
from tidegate.testing.loop_time import LoopTime
from tidegate.testing.memory_server import MemoryServer

ALL = list(Strategy)
A, B, C = "a" * 32, "b" * 32, "c" * 32


@pytest.mark.parametrize("strategy", ALL)
async def test_who_is_new_gets_the_new_version_and_who_remembers_is_told_once_that_it_is_gone(
    fleet: Open, time: LoopTime, strategy: Strategy
) -> None:
    keyed: dict[str, Any] = {"sharing": Sharing.PRINCIPAL, "stateless": False, "replicas": 1}
    old, new = version("one", strategy, **keyed), version("two", strategy, **keyed)
    setting = await opened(fleet, time, old)
    session = setting.asker("s")
    assert await setting.text(NAME, "count", A, session) == "1"
    await time.advance(1)
    await setting.apply(new)
    pool = setting.fleet.pools[NAME]
    await time.until(lambda: pool.spec == new)
    with await setting.lease(NAME, B) as lease:
        assert lease.workload.spec == new
    await time.until(lambda: state(setting) == "done")
    with pytest.raises(MemoryLost):
        await setting.text(NAME, "count", A, session)
    assert await setting.text(NAME, "count", A, session) == "1"
    assert [track.digest for track in pool.tracks] == [new.digest()]


@pytest.mark.parametrize("strategy", [Strategy.ROLLING, Strategy.BLUE_GREEN])
async def test_keyed_servers_that_remember_nothing_change_without_anybody_noticing(
    fleet: Open, time: LoopTime, strategy: Strategy
) -> None:
    keyed: dict[str, Any] = {"sharing": Sharing.PRINCIPAL, "replicas": 1}
    old, new = version("one", strategy, **keyed), version("two", strategy, **keyed)
    setting = await opened(fleet, time, old)
    callers = Callers(setting, sharings=(A, B, C))
    await time.advance(1)
    await setting.apply(new)
    await time.until(lambda: state(setting) == "done")
    await time.advance(1)
    await callers.end()
    assert callers.failed == []
    assert callers.lost == 0
    assert callers.answers[new.digest()] > 0


async def test_a_keyed_version_that_does_not_start_leaves_everybody_where_they_were(
    fleet: Open, time: LoopTime
) -> None:
    keyed: dict[str, Any] = {"sharing": Sharing.PRINCIPAL, "stateless": False, "replicas": 1}
    old, bad = version("one", **keyed), version("two", **keyed)
    broken = MemoryServer()
    broken.exits = 1
    setting = await opened(fleet, time, old, two=broken)
    session = setting.asker("s")
    assert await setting.text(NAME, "count", A, session) == "1"
    await setting.apply(bad)
    await time.until(lambda: state(setting) == "rolled_back")
    assert await setting.text(NAME, "count", A, session) == "2"
    assert await setting.text(NAME, "count", B) == "1"
    assert setting.fleet.pools[NAME].spec == old


async def test_each_call_of_a_server_with_a_workload_for_each_goes_on_through_a_change(
    fleet: Open, time: LoopTime
) -> None:
    keyed: dict[str, Any] = {"sharing": Sharing.CALL, "replicas": 1}
    old, new = version("one", **keyed), version("two", **keyed)
    setting = await opened(fleet, time, old)
    await setting.apply(new)
    for number in range(5):
        await setting.text(NAME, "who", f"call{number}".ljust(32, "0"))
        await time.advance(0.5)
    await time.until(lambda: state(setting) == "done")
    with await setting.lease(NAME, "last".ljust(32, "0")) as lease:
        assert lease.workload.spec == new


async def test_a_server_that_is_shared_otherwise_from_now_on_changes_without_a_failed_call(
    fleet: Open, time: LoopTime
) -> None:
    own = version("one", sharing=Sharing.PRINCIPAL, replicas=1)
    everybodys = version("two", replicas=1)
    setting = await opened(fleet, time, own)
    callers = Callers(setting, sharings=(A, B), follows=True)
    await time.advance(1)
    for changed in (everybodys, own):
        callers.answers.clear()
        await setting.apply(changed)
        await time.until(lambda: state(setting) == "done")
        await time.advance(1)
        assert callers.answers[changed.digest()] > 0
    await callers.end()
    assert callers.failed == []
    assert {w.track.digest for w in setting.fleet.pools[NAME].workloads.values()} == {own.digest()}
