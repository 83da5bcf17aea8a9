"""Changes of servers under steady load, by each strategy: no call fails, and the journal and the clients agree."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.gateway.gateway import Gateway, Wire
from tests.integration.gateway.rolling import Load, change, recorded, replicated, rolled

Make = Callable[..., Gateway]
Json = dict[str, Any]
STRATEGIES = {"rolling": "rolling", "bluegreen": "blue-green", "canary": "canary"}
"""By server."""
SERVERS = str(Path(__file__).parents[2] / "servers")
pytestmark = pytest.mark.sandbox


def declared(strategy: str, *arguments: str, **more: Any) -> Json:
    """Declare a sandboxed server in two replicas."""
    how = {"strategy": strategy, "watch": "1s", "calls": 20, "share": 0.25, "drain": "5s"}
    return {
        "command": [sys.executable, "/servers/versions.py", *arguments],
        "mounts": [{"source": SERVERS, "target": "/servers"}],
        "sharing": "shared", "stateless": True, "replicas": {"min": 2, "max": 2},
        "timeouts": {"start": 20}, "rollout": {**how, **more},
    }  # fmt: skip


def everything(*arguments: str, **more: Any) -> Json:
    """Declare one server for each strategy."""
    return {name: declared(strategy, *arguments, **more) for name, strategy in STRATEGIES.items()}


def versions(made: Gateway, server: str) -> list[int]:
    """Give how many calls each version of a server got, in the order in which they came up."""
    by_workload: dict[str, str] = {}
    calls: Counter[str] = Counter()
    for each in made.records():
        if each["kind"] == "workload" and each["data"].get("server") == server and "spec" in each["data"]:
            by_workload[each["data"]["workload"]] = each["data"]["spec"]
            calls[each["data"]["spec"]] += 0
        elif each["kind"] == "call.intent" and each["server"] == server:
            calls[by_workload[each["workload"]]] += 1
    return list(calls.values())


async def test_changes_come_in_by_each_strategy_without_a_failed_call_and_bad_ones_are_taken_back(
    gateway: Make,
) -> None:
    made = gateway(servers=everything())
    names = dict.fromkeys(STRATEGIES, "ready")
    made.until_servers(**names)
    await replicated(made, *STRATEGIES)
    load = Load(made, list(STRATEGIES))
    change(made, everything("--version", "2"))
    await rolled(made, **dict.fromkeys(STRATEGIES, "done"))
    wire = Wire(made.url(), modern=True)
    assert [await wire.text(f"{name}__version") for name in STRATEGIES] == ["2", "2", "2"]
    made.ask("/v1/rollouts/rolling/undo", "POST")
    await rolled(made, rolling="rolled_back")
    assert await wire.text("rolling__version") == "1"
    made.ask("/v1/rollouts/rolling/promote", "POST")
    await rolled(made, rolling="done")
    bad = everything("--bad", "exits")
    bad["canary"] = declared("canary", "--bad", "fails")
    change(made, bad)
    found = await rolled(made, **dict.fromkeys(STRATEGIES, "rolled_back"))
    assert "failed" in found["canary"]["reason"]
    await load.end()
    assert [await wire.text(f"{name}__version") for name in STRATEGIES] == ["2", "2", "2"]
    # The clients: none failed but of the canary, and of it no more than its share of what it was judged by.
    assert {server for server, _ in load.failed} <= {"canary"}, load.failed[:3]
    assert len(load.failed) <= 25
    # The journal says the same: every intent has an outcome, and they are what the clients got.
    told = recorded(made)
    for name in STRATEGIES:
        failed = sum(server == name for server, _ in load.failed)
        asked = 3 if name == "rolling" else 2
        want = Counter(intents=load.ok[name] + failed + asked, ok=load.ok[name] + asked, tool_error=failed)
        assert told[name] == +want, name
        assert load.ok[name] > 50
    assert all(count > 0 for count in versions(made, "canary"))
    shown = made.command("rollout", "status")
    assert all(name in shown.stdout for name in STRATEGIES), shown.stdout + shown.stderr
    made.check_end()
