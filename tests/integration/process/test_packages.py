"""Published servers run as sandboxed processes, without a network: fetched, installed, asked."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.integration.process.bench import INSTANCE, Benched, benched
from tidegate.domain.server import Limits, Mount, Package, ServerSpec
from tidegate.domain.workload import WorkloadIdentity, WorkloadKey
from tidegate.ports.runtime import Progress
from tidegate.testing.runtime_contract import Heard

TIME = Package("pypi", "mcp-server-time", "2026.10.19", args=("--local-timezone", "UTC"))
SQLITE = Package("pypi", "mcp-server-sqlite", "2025.4.25", ("mcp<2",))
MEMORY = Package("npm", "@modelcontextprotocol/server-memory", "2026.8.31")


class Client:
    """Speaks MCP of 2025-06-18 with a workload, one request at a time."""

    def __init__(self, bench: Benched, spec: ServerSpec) -> None:
        self.bench = bench
        self.spec = spec
        self.heard = Heard()
        self.said: list[Progress] = []
        self.count = 0
        key = WorkloadKey(spec.name, spec.digest(), "shared")
        self.identity = WorkloadIdentity(f"tg-{spec.name}-{secrets.token_hex(4)}", INSTANCE, key)

    async def __aenter__(self) -> Client:
        await self.bench.runtime.prepare(self.spec, self.said.append)
        self.running = await self.bench.runtime.start(self.spec, self.identity, self.heard)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.bench.runtime.stop(self.identity, 2)

    async def ask(self, method: str, **params: object) -> dict[str, Any]:
        self.count += 1
        asked = {"jsonrpc": "2.0", "id": self.count, "method": method, "params": params}
        self.running.stream.write(json.dumps(asked).encode() + b"\n")
        await self.heard.until(lambda h: self._answer() is not None, seconds=60)
        answer = self._answer()
        assert answer is not None
        return answer

    async def hello(self) -> dict[str, Any]:
        info = {"name": "test", "version": "1"}
        answer = await self.ask("initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo=info)
        self.running.stream.write(b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n')
        return answer

    def _answer(self) -> dict[str, Any] | None:
        for line in self.heard.out.split(b"\n")[:-1]:
            told: dict[str, Any] = json.loads(line)
            if told.get("id") == self.count:
                return told
        return None


@pytest.mark.network
@pytest.mark.timeout(300)
async def test_a_python_server_answers_and_is_fetched_once(tmp_path: Path) -> None:
    async with benched(tmp_path / "state", "bubblewrap") as bench:
        spec = ServerSpec("time", TIME, "process")
        async with Client(bench, spec) as client:
            assert (await client.hello())["result"]["serverInfo"]["name"] == "mcp-time"
            called = await client.ask(
                "tools/call", name="get_current_time", arguments={"timezone": "Asia/Tokyo"}
            )
            assert "Asia/Tokyo" in called["result"]["content"][0]["text"]
            assert client.running.facts["package"] == "pypi:mcp-server-time==2026.10.19"
            assert any(one.what.startswith("installing") for one in client.said)
        async with Client(bench, replace(spec, name="again")) as client:
            assert "result" in await client.hello()
            assert client.said == []


@pytest.mark.network
@pytest.mark.timeout(300)
async def test_a_server_of_an_older_protocol_works_on_a_database_that_is_mounted(tmp_path: Path) -> None:
    async with benched(tmp_path / "state", "namespaces") as bench:
        data = bench.writable(tmp_path / "data")
        package = replace(SQLITE, args=("--db-path", "/data/test.db"))
        spec = ServerSpec("sqlite", package, "process", mounts=(Mount(str(data), "/data", writable=True),))
        async with Client(bench, spec) as client:
            assert "result" in await client.hello()
            for query in ("CREATE TABLE vessels (name TEXT)", "INSERT INTO vessels VALUES ('Ragnhild')"):
                tool = "create_table" if query.startswith("CREATE") else "write_query"
                await client.ask("tools/call", name=tool, arguments={"query": query})
            told = await client.ask(
                "tools/call", name="read_query", arguments={"query": "SELECT * FROM vessels"}
            )
            assert "Ragnhild" in told["result"]["content"][0]["text"]
        assert (data / "test.db").stat().st_size > 0


@pytest.mark.network
@pytest.mark.node
@pytest.mark.timeout(300)
async def test_a_node_server_answers(tmp_path: Path) -> None:
    async with benched(tmp_path / "state", "bubblewrap") as bench:
        spec = ServerSpec(
            "memory", MEMORY, "process", env={"MEMORY_FILE_PATH": "/tmp/memory.json"}, limits=Limits(pids=64)
        )
        async with Client(bench, spec) as client:
            assert (await client.hello())["result"]["serverInfo"]["name"] == "memory-server"
            entity = {"name": "Ragnhild", "entityType": "vessel", "observations": ["built 1987"]}
            await client.ask("tools/call", name="create_entities", arguments={"entities": [entity]})
            graph = await client.ask("tools/call", name="read_graph", arguments={})
            assert "built 1987" in graph["result"]["content"][0]["text"]


@pytest.mark.network
@pytest.mark.timeout(300)
async def test_several_who_prepare_one_package_at_once_get_one_environment(tmp_path: Path) -> None:
    async with benched(tmp_path / "state", "bubblewrap") as bench:
        specs = [ServerSpec(f"time{number}", TIME, "process") for number in range(3)]
        await asyncio.gather(*(bench.runtime.prepare(spec, lambda _: None) for spec in specs))
        made = [
            path.name for path in (tmp_path / "state" / "packages").iterdir() if path.name.startswith("env-")
        ]
        assert len(made) == 1
        half_done = [
            n for n in os.listdir(tmp_path / "state" / "packages") if n.startswith(".") and ".lock" not in n
        ]
        assert half_done == []
