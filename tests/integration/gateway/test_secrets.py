"""A gateway whose servers are given secrets: they get them, they get new ones, and nothing else ever shows one."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.gateway.gateway import PATIENCE, TIDEGATE, Gateway, Json, Wire, marked

pytestmark = pytest.mark.sandbox

SERVER = """
import json, os, sys
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    answer = {"jsonrpc": "2.0", "id": asked["id"]}
    if asked["method"] == "initialize":
        answer["result"] = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}}
    elif asked["method"] == "tools/list":
        answer["result"] = {"tools": [{"name": "length", "inputSchema": {"type": "object"}}]}
    elif asked["method"] == "tools/call":
        found = [open("/run/secrets/token").read(), os.environ["TOKEN"]]
        answer["result"] = {"content": [{"type": "text", "text": " ".join(str(len(each)) for each in found)}]}
    elif asked["method"] == "ping":
        answer["result"] = {}
    else:
        answer["error"] = {"code": -32601, "message": "no such method"}
    print(json.dumps(answer), flush=True)
"""
FIRST, SECOND, THIRD = (f"canary-{number}-" + "x" * number for number in (11, 22, 33))


def keep(place: Path, name: str, value: str) -> None:
    """Put a secret into the store, as a person does."""
    config = str(place / "tidegate.yaml")
    done = subprocess.run(
        [TIDEGATE, "secret", "set", name, "--config", config],
        input=value + "\n", capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert value not in done.stdout + done.stderr


def declared() -> Json:
    return {
        "secrets": {"refresh": "1s"},
        "servers": {
            "safe": {
                "command": [sys.executable, "-I", "-S", "-c", SERVER],
                "secrets": {"token": "${secret:app/token}"},
                "env": {"TOKEN": "${file:token}"},
                "sharing": "shared",
                "stateless": True,
                "rollout": {"watch": "200ms"},
            }
        },
    }


def canaries_in(text: str) -> list[str]:
    return [each for each in (FIRST, SECOND, THIRD) if each in text]


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Gateway]:
    """A gateway that has not been started."""
    gateway = Gateway(tmp_path, marked(declared(), tmp_path))
    (tmp_path / "token").write_text(FIRST + "\n")
    yield gateway
    gateway.stop()


async def test_servers_get_secrets_and_their_changes_and_nothing_else_shows_one(made: Gateway) -> None:
    keep(made.place, "app/token", FIRST)
    assert made.command("check", "--secrets").returncode == 0
    made.start()
    made.until_servers(safe="ready")
    wire = Wire(made.url(), modern=True)
    failed: list[Json] = []

    async def lengths() -> str:
        message = await wire.call("safe__length", {})
        if "result" not in message:
            failed.append(message)
        return str(message.get("result", {}).get("content", [{}])[0].get("text"))

    async def are(first: str, second: str) -> bool:
        return await lengths() == f"{len(first)} {len(second)}"

    assert await are(FIRST, FIRST)
    shown = [made.command("servers", "--json").stdout, command_lines()]
    keep(made.place, "app/token", SECOND)
    await until_so(lambda: are(SECOND, FIRST))
    (made.place / "token").write_text(THIRD)
    await until_so(lambda: are(SECOND, THIRD))
    assert failed == []
    started = [each["data"] for each in made.records() if each.get("data", {}).get("event") == "started"]
    given = [each["secrets"] for each in started if each.get("server") == "safe"]
    assert len(given) >= 3
    assert set(map(tuple, given)) == {("file:token", "secret:app/token")}
    changes = [each["data"] for each in made.records() if each["kind"] == "admin"]
    assert [(each["event"], each["name"], each["via"]) for each in changes] == [
        ("secret_set", "app/token", "command"),
        ("secret_set", "app/token", "control"),
    ]
    assert {each["peer"] for each in changes} == {f"uid:{os.getuid()}"}
    shown += [made.said(), command_lines(), made.command("secret", "list").stdout]
    shown += [path.read_text(errors="replace") for path in made.state.rglob("*") if path.is_file()]
    assert canaries_in("\n".join(shown)) == []
    assert '"secret.changed"' in made.said()


async def test_a_secret_that_is_not_there_keeps_a_gateway_from_starting_and_says_which(made: Gateway) -> None:
    assert made.command("check").returncode == 0
    for arguments in (("check", "--secrets"), ("serve", "--port", "0")):
        done = made.command(*arguments)
        assert done.returncode == 2
        assert "servers.safe.secrets.token: there is no secret app/token" in done.stderr


async def until_so(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for a condition to hold."""
    async with asyncio.timeout(PATIENCE):
        while not await condition():
            await asyncio.sleep(0.05)


def command_lines() -> str:
    """Give the arguments of every process that can be looked at."""
    found: list[str] = []
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                found.append((place / "cmdline").read_text(errors="replace"))
            except OSError:
                continue
    return "\n".join(found)
