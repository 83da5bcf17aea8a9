"""A Docker runtime for each test, and the image that its programs run in."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.docker.base import docker_bench
from tidegate.testing.runtime_contract import Bench


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with docker_bench(tmp_path / "state", secrets.token_hex(8)) as bench:
        yield bench
