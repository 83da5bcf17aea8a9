"""A real database as a companion: probed by its own program, its data kept on a volume."""

from __future__ import annotations

import io
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.docker.base import docker_bench, python_base, python_spec
from tests.integration.docker.data import left, start
from tests.integration.docker.redis import redis_image
from tidegate.domain.server import Companion, Limits, ServerSpec, Sharing, Volume
from tidegate.ports.runtime import KeepsVolumes
from tidegate.testing.runtime_contract import Bench

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

CLIENT = """
import socket, sys
for line in sys.stdin:
    with socket.create_connection(("redis", 6379), 3) as there:
        there.sendall(line.strip().encode() + b"\\r\\n")
        print(there.recv(1000).decode().replace("\\r\\n", " "), flush=True)
"""


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    instance = secrets.token_hex(8)
    async with docker_bench(tmp_path / "state", instance) as bench:
        yield bench
        await bench.clean()
        runtime = bench.runtime
        assert isinstance(runtime, KeepsVolumes)
        await runtime.remove_volume("tested/data")
    assert await left(instance) == []


async def with_redis() -> ServerSpec:
    redis = Companion(
        "redis",
        await redis_image(),
        (
            "redis-server",
            "--appendonly",
            "yes",
            "--dir",
            "/data",
            "--bind",
            "0.0.0.0",
            "--protected-mode",
            "no",
        ),
        volumes=(Volume("data", "/data", 64 << 20),),
        limits=Limits(memory=64 << 20, pids=32),
        user="999:999",
        probe=("redis-cli", "ping"),
    )
    return python_spec(await python_base(), CLIENT, companions=(redis,), sharing=Sharing.SHARED)


async def test_a_database_is_there_when_its_server_is_and_keeps_what_it_was_told(bench: Bench) -> None:
    spec = await with_redis()
    talk = await start(bench, spec)
    assert await talk.ask("SET word kept") == "+OK"
    runtime, saved = bench.runtime, io.BytesIO()
    assert isinstance(runtime, KeepsVolumes)
    await runtime.backup("tested/data", saved)
    assert await talk.ask("SET word changed") == "+OK"
    await runtime.stop(talk.identity, 0)
    again = await start(bench, spec)
    assert await again.ask("GET word") == "$7 changed"
    await runtime.stop(again.identity, 0)
    await runtime.restore("tested/data", saved)
    assert await (await start(bench, spec)).ask("GET word") == "$4 kept"
