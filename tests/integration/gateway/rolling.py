"""Steady load, changes of the settings under it, and what the journal says of both."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2
import yaml

from tests.integration.gateway.gateway import Gateway, Wire, read_answer, until

Json = dict[str, Any]


@dataclass
class Load:
    """Clients that call without pause, and count what came by server."""

    gateway: Gateway
    servers: Sequence[str]
    ok: Counter[str] = field(default_factory=Counter[str])
    failed: list[tuple[str, Any]] = field(default_factory=list[tuple[str, Any]])

    def __post_init__(self) -> None:
        self._going = True
        self._tasks = [asyncio.create_task(self._run(server)) for server in self.servers for _ in range(2)]

    async def end(self) -> None:
        """Have each client make its last call."""
        self._going = False
        await asyncio.gather(*self._tasks)

    async def _run(self, server: str) -> None:
        wire, number = Wire(self.gateway.url(), modern=True), 0
        async with httpx2.AsyncClient(timeout=30) as http:
            while self._going:
                number += 1
                text = f"{id(http)}-{number}"
                params = {"name": f"{server}__echo", "arguments": {"text": text}}
                headers, body = wire.request("tools/call", params, number)
                got = await http.post(wire.url, json=body, headers=headers)
                self._count(server, text, read_answer(got))
                await asyncio.sleep(0.005)

    def _count(self, server: str, text: str, message: Json) -> None:
        answer = message.get("result", {})
        if answer.get("isError", True) or answer["content"][0]["text"] != text:
            self.failed.append((server, message))
        else:
            self.ok[server] += 1


def change(made: Gateway, servers: Json) -> None:
    """Have the gateway read other servers from its settings."""
    settings = yaml.safe_load(made.config.read_text())
    for each in servers.values():
        each.setdefault("env", {})["TIDEGATE_TEST"] = str(made.state)
    made.config.write_text(yaml.safe_dump({**settings, "servers": servers}, sort_keys=False))
    done = made.ask("/v1/reload", "POST")
    assert "error" not in done, done


async def rolled(made: Gateway, **states: str) -> dict[str, Json]:
    """Wait until the rollouts of servers ended, in these states."""

    def ended() -> dict[str, Json] | None:
        found = {each["server"]: each for each in made.ask("/v1/rollouts")["rollouts"]}
        there = states.keys() <= found.keys()
        return found if there and all(found[name]["state"] == states[name] for name in states) else None

    found: dict[str, Json] = await until(ended, f"rollouts to be {states}")
    return found


def recorded(made: Gateway) -> dict[str, Counter[str]]:
    """Give what became of the calls of each server, by the journal: intents, and outcomes by word."""
    found: dict[str, Counter[str]] = {}
    servers: dict[int, str] = {}
    for each in made.records():
        if each["kind"] == "call.intent":
            servers[each["seq"]] = each["server"]
            found.setdefault(each["server"], Counter())["intents"] += 1
        elif each["kind"] == "call.outcome":
            found[servers[each["intent"]]][each["outcome"]] += 1
    return found


async def replicated(made: Gateway, *servers: str) -> None:
    """Wait until both replicas of servers are ready."""

    def there() -> bool:
        states = [[each["state"] for each in made.server(name)["workloads"]] for name in servers]
        return all(each == ["ready", "ready"] for each in states)

    await until(there, "replicas")
