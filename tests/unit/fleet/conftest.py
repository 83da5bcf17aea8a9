"""Fleets that are closed when the test is over."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.unit.fleet.setting import Setting
from tidegate.domain.server import ServerSpec
from tidegate.testing.loop_time import LoopTime
from tidegate.testing.memory_server import MemoryServer

Open = Callable[..., Awaitable[Setting]]


@pytest.fixture
async def time() -> LoopTime:
    """The loop's time, to be turned."""
    return LoopTime()


@pytest.fixture
async def fleet(time: LoopTime) -> AsyncIterator[Open]:
    """Open fleets: `await fleet(spec("a"), …)`, each with a memory server for every program that has none."""
    opened: list[Setting] = []

    async def opening(*specs: ServerSpec, **more: Any) -> Setting:
        servers = {each.launch.argv[0]: MemoryServer() for each in specs}  # type: ignore[union-attr]
        servers |= more.pop("servers", {})
        begin = more.pop("begin", True)
        setting = Setting(specs, servers, time, **more)
        opened.append(setting)
        return await setting.begin() if begin else setting

    yield opening
    for each in reversed(opened):  # one that was abandoned shares its world with those after it
        each.runtime.unavailable, each.runtime.stops_to_fail = None, 0
        if each.runtime.hold is not None:
            each.runtime.hold.set()
        await each.fleet.close()
        assert each.world.running == set()
