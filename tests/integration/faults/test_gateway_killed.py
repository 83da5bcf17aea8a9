"""A gateway that is killed in the middle of a line, and the one that comes after it on the same state."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from tests.integration.faults.contained import SERVERS, contained, containers, the_workload
from tests.integration.gateway.gateway import Gateway, Wire, server, until
from tests.integration.real.images import docker
from tests.trials.parts.watch import remembered

pytestmark = pytest.mark.timeout(240)
Make = Callable[..., Gateway]


async def broken_off(call: Any) -> None:
    """See that a call ended with its gateway, not with an answer."""
    with pytest.raises(httpx2.TransportError):
        await call


async def outstanding(made: Gateway, wire: Wire, name: str) -> list[asyncio.Task[Any]]:
    """Have a slow call and one with a long line under way, and the line not yet taken."""
    slow = asyncio.create_task(wire.call(f"{name}__slow", {"seconds": 6}))
    await until(lambda: made.server(name)["workloads"][0]["in_flight"] == 1, "the slow call to be under way")
    long = asyncio.create_task(wire.call(f"{name}__echo", {"text": "L" * 1_000_000}))
    await until(lambda: made.server(name)["workloads"][0]["in_flight"] == 2, "the long line to be under way")
    return [slow, long]


async def echoes(wire: Wire, name: str, who: str, count: int) -> None:
    """Call with texts that nobody else sends; each must come back to its own call."""
    for number in range(count):
        text = f"{who}-{number}"
        assert await wire.text(f"{name}__echo", {"text": text}) == text


@pytest.mark.docker
@pytest.mark.parametrize("modern", [False, True])
async def test_no_answer_of_before_reaches_a_call_of_after(gateway: Make, modern: bool) -> None:
    made = gateway(servers={"slow": contained("slow_reader", sharing="shared")}).until_servers(slow="ready")
    wire = Wire(made.url(), modern=modern)
    if not modern:
        await wire.open()
    assert await wire.text("slow__counter") == "1"
    before = the_workload(made, "slow")
    under_way = await outstanding(made, wire, "slow")
    made.kill()
    for call in under_way:
        await broken_off(call)
    assert containers(made) == [before]
    made.start().until_servers(slow="ready")
    assert the_workload(made, "slow") == before, "the container was to be attached to again"
    one, other = Wire(made.url(), modern=True), await Wire(made.url()).open()
    await asyncio.gather(echoes(one, "slow", "one", 40), echoes(other, "slow", "other", 40))
    assert await one.text("slow__counter") == "2"
    await until(lambda: "unreadable line" in made.command("logs", "slow").stdout, "the half line to be seen")
    outcomes = [each["outcome"] for each in made.records() if each["kind"] == "call.outcome"]
    assert outcomes.count("unknown") == 2
    made.check_end()
    assert containers(made) == []


@pytest.mark.docker
async def test_a_session_of_before_goes_on_where_the_workload_does(gateway: Make) -> None:
    made = gateway(servers={"old": contained("legacy_stdio")}).until_servers(old="ready")
    wire = await Wire(made.url()).open()
    assert await wire.text("old__counter") == "1"
    await until(lambda: remembered(made) == 1, "it to be kept that somebody has it")
    made.kill()
    made.start().until_servers(old="ready")
    wire.url = made.url()
    assert await wire.text("old__counter") == "2"
    made.check_end()


@pytest.mark.docker
async def test_a_container_that_died_while_no_gateway_ran_is_replaced_and_its_loss_said_once(
    gateway: Make,
) -> None:
    made = gateway(servers={"old": contained("legacy_stdio")}).until_servers(old="ready")
    wire = await Wire(made.url()).open()
    assert await wire.text("old__counter") == "1"
    await until(lambda: remembered(made) == 1, "it to be kept that somebody has it")
    made.kill()
    docker("kill", *containers(made))
    made.start().until_servers(old="ready")
    wire.url = made.url()
    lost = await wire.call("old__counter")
    assert lost["error"]["code"] == -31005, lost
    assert await wire.text("old__counter") == "1"
    made.check_end()
    assert containers(made) == []


@pytest.mark.docker
async def test_clean_removes_what_a_killed_gateway_left(gateway: Make) -> None:
    made = gateway(servers={"old": contained("legacy_stdio"), "two": contained("legacy_stdio")})
    made.until_servers(old="ready", two="ready")
    made.kill()
    assert len(containers(made)) == 2
    done = made.command("clean")
    assert done.returncode == 0, done.stderr
    assert containers(made) == []


def sandboxed(name: str) -> dict[str, object]:
    """Declare a test server as a process that sees nothing but its script."""
    mounts = [{"source": str(SERVERS), "target": "/servers"}]
    return {"command": [sys.executable, f"/servers/{name}.py"], "mounts": mounts}


@pytest.mark.parametrize(
    "declare", [server, pytest.param(sandboxed, marks=pytest.mark.sandbox)], ids=["bare", "sandboxed"]
)
async def test_processes_of_a_killed_gateway_are_replaced_and_none_is_left(
    gateway: Make, declare: Callable[[str], dict[str, object]]
) -> None:
    made = gateway(servers={"old": declare("legacy_stdio")}).until_servers(old="ready")
    wire = await Wire(made.url()).open()
    assert await wire.text("old__counter") == "1"
    slow = asyncio.create_task(wire.call("old__slow", {"seconds": 30}))
    await until(lambda: made.server("old")["workloads"][0]["in_flight"], "the call to be under way")
    before = made.pids()
    made.kill()
    await broken_off(slow)
    made.start().until_servers(old="ready")
    wire.url = made.url()
    lost = await wire.call("old__counter")
    assert lost["error"]["code"] == -31005, lost
    assert await wire.text("old__counter") == "1"
    await until(lambda: not before & made.pids(), "the processes of before to be gone")
    outcomes = [each["outcome"] for each in made.records() if each["kind"] == "call.outcome"]
    assert outcomes.count("unknown") == 1
    made.check_end()


@pytest.mark.docker
@pytest.mark.root
async def test_a_container_that_hangs_when_the_gateway_comes_back_is_replaced_soon(gateway: Make) -> None:
    made = gateway(servers={"old": contained("legacy_stdio", stateless=True)}).until_servers(old="ready")
    wire = Wire(made.url(), modern=True)
    assert await wire.text("old__echo", {"text": "x"}) == "x"
    made.kill()
    (hanging,) = containers(made)
    for pid in docker("top", hanging, "-eo", "pid").split()[1:]:
        os.kill(int(pid), signal.SIGSTOP)  # a container that is paused would be resumed
    made.start()
    await until(lambda: hanging not in containers(made), "the one that hangs to be removed")
    made.until_servers(old="ready")
    wire.url = made.url()
    assert await wire.text("old__echo", {"text": "y"}) == "y"
    made.check_end()
    assert containers(made) == []
