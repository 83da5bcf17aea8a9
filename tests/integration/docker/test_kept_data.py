"""Data under a real gateway: a companion that ends, a gateway that is killed, backup and restore from the command line."""

from __future__ import annotations

import asyncio
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.docker.base import eventually, python_base
from tests.integration.docker.data import DATABASE, left
from tests.integration.gateway.gateway import Gateway, Wire
from tests.unit.cli.conftest import Ran, run

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

SERVER = """
import json, socket, sys
def ask(word):
    with socket.create_connection(("db", 5000), 3) as there:
        there.sendall(word.encode())
        return there.recv(100).decode() or "nothing"
tool = {"name": "ask", "inputSchema": {"type": "object", "properties": {"word": {"type": "string"}}}}
for line in sys.stdin:
    asked = json.loads(line) if line.strip() else {}
    if "id" not in asked:
        continue
    method, params = asked["method"], asked.get("params", {})
    answer = {"jsonrpc": "2.0", "id": asked["id"]}
    if method == "initialize":
        answer["result"] = {
            "protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"},
        }
    elif method == "tools/list":
        answer["result"] = {"tools": [tool]}
    elif method == "tools/call":
        answer["result"] = {"content": [{"type": "text", "text": ask(params["arguments"]["word"])}]}
    elif method == "ping":
        answer["result"] = {}
    else:
        answer["error"] = {"code": -32601, "message": "unknown"}
    print(json.dumps(answer), flush=True)
"""


def declared(image: str) -> dict[str, Any]:
    run = {"image": image, "entrypoint": ["python3"]}
    kept = {"data": {"target": "/kept", "size": "64MiB"}}
    database = {
        **run,
        "args": ["-u", "-c", DATABASE],
        "env": {"WORD": "quiet"},
        "port": 5000,
        "volumes": kept,
    }
    notes = {**run, "args": ["-u", "-c", SERVER], "sharing": "shared", "companions": {"db": database}}
    return {"servers": {"notes": notes}}


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    gateway = Gateway(tmp_path, declared(await python_base()))
    try:
        await asyncio.to_thread(gateway.start)
        yield gateway
    finally:
        gateway.kill()
        await asyncio.to_thread(command, gateway, "clean")
        await asyncio.to_thread(command, gateway, "volume", "rm", "notes/data")


def command(gateway: Gateway, *arguments: str) -> Ran:
    return run(*arguments, "--config", str(gateway.config))


async def ask(gateway: Gateway, word: str) -> str:
    client = await Wire(gateway.url()).open()
    answered = await client.ask("tools/call", {"name": "notes__ask", "arguments": {"word": word}})
    return str(answered.message.get("result", {}).get("content", [{}])[0].get("text"))


async def said(gateway: Gateway, what: str) -> bool:
    return what in gateway.said()


async def until_asked(gateway: Gateway, said: str) -> None:
    async def answered() -> bool:
        return await ask(gateway, "count") == said

    await eventually(answered, 30)


async def test_data_outlives_whatever_ends_and_is_carried_out_and_in(
    gateway: Gateway, tmp_path: Path
) -> None:
    saved, again = tmp_path / "saved.tar", tmp_path / "again.tar"

    async def told(*arguments: str) -> str:
        ran = await asyncio.to_thread(command, gateway, "volume", *arguments)
        return ran.out + ran.err

    await asyncio.to_thread(gateway.until_servers, notes="ready")
    assert await ask(gateway, "count") == "1 quiet 65532"
    assert await ask(gateway, "end") == "nothing"
    await eventually(lambda: said(gateway, "companion db exited with status 3"), 30)
    await until_asked(gateway, "2 quiet 65532")
    assert "of notes/data to" in await told("backup", "notes/data", str(saved))
    assert saved.stat().st_mode & 0o077 == 0
    before = gateway.server("notes")["workloads"][0]["id"]

    gateway.kill()
    await asyncio.to_thread(gateway.start)
    await asyncio.to_thread(gateway.until_servers, notes="ready")
    assert gateway.server("notes")["workloads"][0]["id"] == before
    assert await ask(gateway, "count") == "3 quiet 65532"
    assert "volume notes/data is used by" in await told("restore", "notes/data", str(saved))

    await asyncio.to_thread(gateway.check_end)
    assert await left((gateway.state / "instance").read_text().strip()) == []
    listed = await told("list")
    assert "notes/data" in listed
    assert "64 MiB" in listed
    assert "restored notes/data" in await told("restore", "notes/data", str(saved))
    changes = [each["data"] for each in gateway.records() if each["kind"] == "admin"]
    assert [(each["event"], each["name"], each["via"]) for each in changes] == [
        ("volume_restore", "notes/data", "control"),
        ("volume_restore", "notes/data", "command"),
    ]
    (tmp_path / "again.tar.part").write_text("somebody's, who waits for what is written to it")
    (tmp_path / "again.tar.part").chmod(0o666)
    assert "of notes/data to" in await told("backup", "notes/data", str(again))
    assert again.stat().st_mode & 0o077 == 0
    assert {path.name for path in tmp_path.iterdir() if ".tar" in path.name} == {
        "saved.tar", "again.tar", "again.tar.part",
    }  # fmt: skip
    with tarfile.open(again) as tar:
        count = tar.extractfile("volume/count")
        assert count is not None
        assert count.read() == b"2"
