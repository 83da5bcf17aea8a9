"""Containers that nobody calls rest, end, and come back: with the first call, or because they are told to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest

from tests.integration.faults.contained import contained, containers, inspect, the_workload
from tests.integration.gateway.gateway import Gateway, Json, Wire, until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(240)]
Make = Callable[..., Gateway]
MIB = 1024 * 1024


def boxed(**more: object) -> Json:
    scaling = {"pause_after": 1, "up_after": 0.5, "down_after": 2, "signals": {"storm": 2}}
    replicas = {"min": 0, "max": 2}
    return contained(
        "legacy_stdio",
        sharing="shared",
        stateless=True,
        replicas=replicas,
        scaling=scaling,
        timeouts={"idle": 4},
        **more,
    )


def signal(made: Gateway, name: str, *, on: bool) -> Json:
    body = json.dumps({"on": on, "seconds": 60})
    told: Json = made.ask(f"/v1/signals/{name}", "POST", body, {"Content-Type": "application/json"})
    return told


async def test_a_container_that_nobody_calls_is_paused_then_gone_and_back_with_the_next_call(
    gateway: Make,
) -> None:
    made = gateway(servers={"box": boxed()}).until_servers(box="ready")
    wire = await Wire(made.url()).open()
    assert await wire.text("box__counter") == "1"
    name = the_workload(made, "box")
    await until(lambda: inspect(name)["State"]["Paused"], "the container to be paused")
    assert made.server("box")["workloads"][0]["state"] == "paused"
    await until(lambda: made.missing("/mcp") == {}, "the list to say nothing of it: it can be called")
    assert await wire.text("box__counter") == "2"  # the very same, which remembers
    assert the_workload(made, "box") == name
    await until(lambda: containers(made) == [], "the container to be gone")
    assert made.server("box")["workloads"] == []
    await until(lambda: made.missing("/mcp") == {}, "the list to say nothing of it either")
    assert await wire.text("box__counter") == "1"
    assert the_workload(made, "box") != name
    told = await asyncio.to_thread(signal, made, "storm", on=True)
    assert (told["on"], told["servers"]) == (True, ["box"])
    await until(lambda: len(containers(made)) == 2, "the storm's replicas")
    await asyncio.to_thread(signal, made, "storm", on=False)
    await until(lambda: len(containers(made)) < 2, "the storm's replicas to go")
    unknown = await asyncio.to_thread(signal, made, "tide", on=True)
    assert "storm" in unknown["error"]
    scaled = [json.loads(line) for line in made.said().splitlines() if '"server.scaled"' in line]
    assert {each["reason"].partition(" for ")[0] for each in scaled} >= {"idle", "signal storm"}
    made.check_end()
    assert containers(made) == []


async def test_a_paused_container_is_taken_up_by_the_next_gateway(gateway: Make) -> None:
    made = gateway(servers={"box": boxed() | {"timeouts": {"idle": 600}}}).until_servers(box="ready")
    wire = await Wire(made.url()).open()
    assert await wire.text("box__counter") == "1"
    name = the_workload(made, "box")
    await until(lambda: inspect(name)["State"]["Paused"], "the container to be paused")
    await asyncio.to_thread(made.kill)
    await asyncio.to_thread(made.start)
    await asyncio.to_thread(made.until_servers, box="ready")
    again = await Wire(made.url()).open()
    assert await again.text("box__counter") == "2"
    assert the_workload(made, "box") == name
    made.check_end()
    assert containers(made) == []
