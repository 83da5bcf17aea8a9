"""Listeners that are closed when the test is over."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.edge.setting import EdgeSetting
from tests.unit.gateway.conftest import gateway as gateway  # the fixture, for those below
from tests.unit.gateway.setting import OPEN

Listen = Callable[..., Awaitable[EdgeSetting]]


@pytest.fixture
async def listen(gateway: OPEN, tmp_path: Path) -> AsyncIterator[Listen]:
    """Open a listening gateway: `await listen(spec("one"), body=…, tls=…)`."""
    opened: list[EdgeSetting] = []

    async def opening(*specs: Any, body: int = 1 << 20, tls: Any = None, **more: Any) -> EdgeSetting:
        made = EdgeSetting(await gateway(*specs, **more), tmp_path)
        opened.append(made)
        return await made.open(body=body, tls=tls)

    yield opening
    for each in opened:
        await each.close()
