"""Several real workloads of one server behind a real gateway: one is killed under load, and who notices."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.integration.gateway.gateway import Gateway, Wire, server, until

Make = Callable[..., Gateway]
CLIENTS = 8
NOTICED = 0.25
"""Seconds within which the gateway sees that a process is gone: what was sent to it till then is lost too."""


@dataclass
class Made:
    """One call of the load."""

    began: float
    message: dict[str, Any]

    @property
    def failed(self) -> bool:
        return "error" in self.message


async def load(url: str, calls: list[Made], stop: asyncio.Event, seconds: float) -> None:
    """Call a tool that takes a while, again and again."""
    wire = Wire(url, modern=True)
    while not stop.is_set():
        began = time.monotonic()
        calls.append(Made(began, await wire.call("all__slow", {"seconds": seconds})))


def ready(made: Gateway) -> list[dict[str, Any]]:
    """Give the workloads that take calls."""
    return [each for each in made.server("all")["workloads"] if each["state"] == "ready"]


def busy(made: Gateway, workload: str) -> bool:
    """Tell whether a replica has several calls under way, so that one is when it is killed."""
    return any(each["id"] == workload and each["in_flight"] > 2 for each in ready(made))


def called(made: Gateway) -> set[str]:
    """Give the workloads that calls went to, while the journal is being written."""
    found: set[str] = set()
    for file in (made.state / "journal").glob("*.jsonl"):
        whole = file.read_bytes().rpartition(b"\n")[0]
        records = [json.loads(line) for line in whole.splitlines()]
        found |= {each["workload"] for each in records if each["kind"] == "call.intent"}
    return found


def both_called(made: Gateway, gone: str) -> bool:
    """Tell whether two replicas take calls, and have, after one is gone."""
    there = {each["id"] for each in ready(made)}
    return len(there) == 2 and gone not in there and there <= called(made)


async def pid_of(made: Gateway, workload: str) -> int:
    """Find the process of a replica by asking until that one answers."""
    wire = Wire(made.url(), modern=True)
    while True:
        pid = int(json.loads(await wire.text("all__look"))["pid"])
        last = next(each for each in reversed(made.records()) if each["kind"] == "call.intent")
        if last["workload"] == workload:
            return pid


async def test_a_replica_that_is_killed_under_load_takes_only_the_calls_on_it_with_it(gateway: Make) -> None:
    declared = server("legacy_stdio", sharing="shared", stateless=True, replicas={"min": 2, "max": 2})
    made = gateway(servers={"all": declared})
    made.until_servers(all="ready")
    await until(lambda: len(ready(made)) == 2, "two replicas")
    first, second = ready(made)
    pid = await pid_of(made, second["id"])

    calls, stop = list[Made](), asyncio.Event()
    clients = [asyncio.create_task(load(made.url(), calls, stop, 0.2 + n / 40)) for n in range(CLIENTS)]
    await until(lambda: len(calls) > 3 * CLIENTS and busy(made, second["id"]), "the load to be under way")
    os.kill(pid, signal.SIGKILL)
    killed = time.monotonic()
    await until(lambda: both_called(made, second["id"]), "the replica to be there again, and called")
    stop.set()
    await asyncio.gather(*clients)

    failed = [each for each in calls if each.failed]
    assert failed, "nothing was under way on it"
    assert len(failed) <= CLIENTS
    assert {each.message["error"]["code"] for each in failed} == {-31002}
    assert all(each.began < killed + NOTICED for each in failed)

    records = made.records()
    on = {each["call"]: each["workload"] for each in records if each["kind"] == "call.intent"}
    outcomes = {each["call"]: each["outcome"] for each in records if each["kind"] == "call.outcome"}
    lost = {call for call, outcome in outcomes.items() if outcome == "failed"}
    assert lost == {each.message["error"]["data"]["id"] for each in failed}
    assert {on[call] for call in lost} == {second["id"]}
    assert first["id"] in {each["id"] for each in ready(made)}
    assert len(set(on.values())) == 3  # and the one that followed it has calls too
    made.check_end()
