"""A runtime on every rung that can be had here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from tests.integration.process.bench import Benched, Sandbox, benched


@pytest.fixture(params=["bubblewrap", "namespaces", "landlock"])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Benched]:
    """The runtime on one rung, with the limits that can be had."""
    async with benched(tmp_path / "state", cast("Sandbox", request.param)) as opened:
        yield opened
