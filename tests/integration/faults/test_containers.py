"""A container that is killed, hangs or runs out of memory during a call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.integration.faults.contained import contained, containers, inspect, the_workload
from tests.integration.gateway.gateway import Gateway, Wire, until
from tests.integration.real.images import docker

pytestmark = [pytest.mark.docker, pytest.mark.timeout(240)]
Make = Callable[..., Gateway]


async def test_a_container_killed_during_a_call_fails_that_call_and_is_replaced(gateway: Make) -> None:
    made = gateway(servers={"old": contained("legacy_stdio"), "good": contained("legacy_stdio")})
    made.until_servers(old="ready", good="ready")
    wire, other = await Wire(made.url()).open(), await Wire(made.url()).open()
    assert await wire.text("old__counter") == "1"
    assert await other.text("good__counter") == "1"
    slow = asyncio.create_task(wire.call("old__slow", {"seconds": 30}))
    await until(lambda: made.server("old")["workloads"][0]["in_flight"], "the call to be under way")
    killed = the_workload(made, "old")
    await asyncio.to_thread(docker, "kill", killed)
    broken = await slow
    assert broken["error"]["code"] == -31002
    assert "killed by signal 9" in broken["error"]["message"]
    lost = await wire.call("old__counter")
    assert lost["error"]["code"] == -31005
    assert await wire.text("old__counter") == "1"
    assert await other.text("good__counter") == "2"
    assert killed not in containers(made)
    made.check_end()
    assert containers(made) == []


async def test_a_container_that_hangs_fails_its_call_in_time_and_is_replaced(gateway: Make) -> None:
    made = gateway(servers={"old": contained("legacy_stdio", timeouts={"call": 2})}).until_servers(
        old="ready"
    )
    wire = await Wire(made.url()).open()
    assert await wire.text("old__counter") == "1"
    paused = the_workload(made, "old")
    await asyncio.to_thread(docker, "pause", paused)
    async with asyncio.timeout(10):
        late = await wire.call("old__counter")
    assert late["error"]["code"] == -31004
    await until(lambda: paused not in containers(made), "the paused container to be gone")
    assert (await wire.call("old__counter"))["error"]["code"] == -31005
    assert await wire.text("old__counter") == "1"
    made.check_end()
    assert containers(made) == []


async def test_a_container_that_is_slow_with_one_call_and_answers_the_probe_is_kept(gateway: Make) -> None:
    made = gateway(servers={"old": contained("legacy_stdio", timeouts={"call": 1})}).until_servers(
        old="ready"
    )
    wire = await Wire(made.url()).open()
    assert await wire.text("old__counter") == "1"
    kept = the_workload(made, "old")
    assert (await wire.call("old__slow", {"seconds": 5}))["error"]["code"] == -31004
    assert await wire.text("old__counter") == "2"
    assert the_workload(made, "old") == kept


async def test_a_container_over_its_memory_is_said_to_be(gateway: Make) -> None:
    bad = contained(
        "broken", "eats-memory", "--after", "3", limits={"memory": "48MiB"}, timeouts={"call": 30}
    )
    made = gateway(servers={"bad": bad}).until_servers(bad="ready")
    wire = await Wire(made.url()).open()
    broken = await wire.call("bad__echo", {"text": "x"})
    assert broken["error"]["code"] == -31002
    assert "out of memory (limit 48 MiB)" in broken["error"]["message"]
    made.check_end()


async def test_a_container_removed_from_outside_is_started_again(gateway: Make) -> None:
    made = gateway(servers={"old": contained("legacy_stdio", stateless=True)}).until_servers(old="ready")
    wire = await Wire(made.url()).open()
    assert await wire.text("old__echo", {"text": "x"}) == "x"
    removed = the_workload(made, "old")
    await asyncio.to_thread(docker, "rm", "--force", removed)
    await until(lambda: the_workload(made, "old") != removed, "another container")
    assert await wire.text("old__echo", {"text": "y"}) == "y"
    assert inspect(the_workload(made, "old"))["State"]["Running"]
    made.check_end()
    assert containers(made) == []
