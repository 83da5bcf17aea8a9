"""Gateways without an edge, closed when the test is over."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.fleet.setting import Setting, spec
from tests.unit.gateway.setting import OPEN, GatewaySetting
from tidegate.domain.endpoint import EndpointSpec
from tidegate.domain.server import ServerSpec
from tidegate.testing.loop_time import LoopTime
from tidegate.testing.memory_server import MemoryServer


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[OPEN]:
    """Open gateways: `await gateway(spec("a"), endpoints=[…])`; one server `one` and `/mcp` where nothing is said."""
    opened: list[GatewaySetting] = []
    time = LoopTime()

    async def opening(*specs: ServerSpec, **more: Any) -> GatewaySetting:
        specs = specs or (spec("one"),)
        servers = {each.launch.argv[0]: MemoryServer() for each in specs}  # type: ignore[union-attr]
        servers |= more.pop("servers", {})
        names = tuple(each.name for each in specs)
        endpoints = more.pop("endpoints", None) or [EndpointSpec("/mcp", names)]
        begin, wait = more.pop("begin", True), more.pop("wait", ())
        durability, grants = more.pop("durability", "write"), more.pop("grants", None)
        place = tmp_path / f"journal{len(opened)}"
        made = GatewaySetting(Setting(specs, servers, time, **more), endpoints, place, durability, grants)
        opened.append(made)
        if begin:
            await made.begin()
            await made.listed("/mcp", *(wait or [f"{name}__echo" for name in names]))
        return made

    yield opening
    for each in opened:
        each.fleet.runtime.unavailable = None
        if each.fleet.runtime.hold is not None:
            each.fleet.runtime.hold.set()
        await each.close()
        each.check_journal()
