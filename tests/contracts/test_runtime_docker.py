"""The Docker runtime keeps the contract of runtimes."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.docker.base import docker_bench, engine
from tidegate.testing.live_contract import LiveContract
from tidegate.testing.runtime_contract import Bench, RuntimeContract


@pytest.mark.docker
@pytest.mark.timeout(600)  # the first test may have to make the image
class TestDocker(LiveContract, RuntimeContract):
    @pytest.fixture
    async def bench(self, tmp_path: Path) -> AsyncIterator[Bench]:
        async with docker_bench(tmp_path, secrets.token_hex(8)) as bench:
            yield bench

    async def memory_limit(self, bench: Bench, name: str) -> int | None:
        async with engine() as opened:
            return int((await opened.inspect(name))["HostConfig"]["Memory"])
