"""Packages become images that are built without a network and answer as MCP servers."""

from __future__ import annotations

import json

import pytest

from tests.integration.docker.base import engine
from tidegate.domain.server import Package, ServerSpec
from tidegate.ports.runtime import Progress
from tidegate.testing.runtime_contract import Bench, Heard, nothing_said

pytestmark = [pytest.mark.docker, pytest.mark.network, pytest.mark.timeout(600)]

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "tests", "version": "1"},
    },
}
TIME = Package("pypi", "mcp-server-time", "2026.10.19", args=("--local-timezone", "UTC"))
MEMORY = Package("npm", "@modelcontextprotocol/server-memory", "2026.8.31")


async def initialized(bench: Bench, spec: ServerSpec) -> dict[str, object]:
    heard = Heard()
    running = await bench.runtime.start(spec, bench.identity(spec), heard)
    running.stream.write(json.dumps(INITIALIZE).encode() + b"\n")
    await heard.until(lambda h: h.out.endswith(b"\n"), 60)
    return json.loads(heard.out)["result"]


async def test_a_python_package_answers_from_an_image_that_is_made_once(bench: Bench) -> None:
    spec = ServerSpec("time", TIME, "docker")
    await bench.runtime.prepare(spec, nothing_said)
    told: list[Progress] = []
    await bench.runtime.prepare(spec, told.append)
    assert told == []
    result = await initialized(bench, spec)
    assert result["serverInfo"] == {"name": "mcp-time", "version": "2026.10.19"}


async def test_a_package_image_runs_as_nobody_and_says_what_it_was_made_of(bench: Bench) -> None:
    spec = ServerSpec("time", TIME, "docker")
    await bench.runtime.prepare(spec, nothing_said)
    running = await bench.runtime.start(spec, bench.identity(spec), Heard())
    async with engine() as opened:
        image = await opened.image(running.facts["image"])
        assert image is not None
        config = image["Config"]
        assert config["User"] == "65532:65532"
        assert config["Labels"]["dev.tidegate.package"] == "pypi:mcp-server-time==2026.10.19"
        assert config["Labels"]["dev.tidegate.lock"].startswith("sha256:")
        left = await opened._docker.images.list(  # type: ignore[reportPrivateUsage]
            filters={"dangling": ["true"], "label": ["dev.tidegate.stage"]}
        )
    assert left == []


@pytest.mark.node
async def test_an_npm_package_answers_from_an_image(bench: Bench) -> None:
    spec = ServerSpec("memory", MEMORY, "docker", env={"MEMORY_FILE_PATH": "/tmp/memory.json"})
    await bench.runtime.prepare(spec, nothing_said)
    result = await initialized(bench, spec)
    assert json.loads(json.dumps(result["serverInfo"]))["name"] == "memory-server"
