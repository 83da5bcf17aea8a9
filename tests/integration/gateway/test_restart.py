"""A gateway that is killed and comes again, and one that is told to stop."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable

import httpx2
import pytest

from tests.integration.gateway.gateway import Gateway, Wire, running, sdk, server, until

Make = Callable[..., Gateway]


async def test_a_killed_gateway_comes_back_to_its_sessions_and_closes_what_was_open(gateway: Make) -> None:
    made = gateway(servers={"old": server("legacy_stdio"), "free": server("legacy_stdio", stateless=True)})
    made.until_servers(old="ready", free="ready")
    wire = await Wire(made.url()).open()
    assert await wire.text("old__counter") == "1"
    left = made.pids()
    slow = asyncio.create_task(wire.call("old__slow", {"seconds": 30}))
    await until(lambda: made.status()["in_flight"], "the call to be under way")
    made.kill()
    with pytest.raises(httpx2.HTTPError):
        await slow
    made.start().until_servers(old="ready", free="ready")
    again = Wire(made.url(), session=wire.session)
    lost = await again.call("old__counter")
    assert lost["error"]["code"] == -31005
    assert await again.text("old__counter") == "1"
    assert await again.text("free__echo", {"text": "x"}) == "x"
    await until(lambda: not any(running(pid) for pid in left), "what the killed gateway left to be gone")
    outcomes = [each["outcome"] for each in made.records() if each["kind"] == "call.outcome"]
    assert outcomes.count("unknown") == 1
    made.check_end()


async def test_a_gateway_killed_again_and_again_leaves_nothing_and_a_sound_journal(gateway: Make) -> None:
    made = gateway(servers={"old": server("legacy_stdio", stateless=True)})
    for _ in range(3):
        made.until_servers(old="ready")
        wire = Wire(made.url(), modern=True)
        calls = [asyncio.create_task(wire.call("old__slow", {"seconds": 20})) for _ in range(3)]
        await until(lambda: made.status()["in_flight"] == 3, "three calls to be under way")
        made.kill()
        await asyncio.wait(calls)
        assert all(isinstance(call.exception(), httpx2.HTTPError) for call in calls)
        made.start()
    made.until_servers(old="ready")
    outcomes = [each["outcome"] for each in made.records() if each["kind"] == "call.outcome"]
    assert outcomes == ["unknown"] * 9
    assert len(made.pids()) == 1
    made.check_end()


async def test_sigterm_lets_calls_in_flight_end_and_takes_no_new_ones(gateway: Make) -> None:
    made = gateway(servers={"old": server("legacy_stdio")}).until_servers(old="ready")
    wire = await Wire(made.url()).open()
    slow = asyncio.create_task(wire.call("old__slow", {"seconds": 3}))
    await until(lambda: made.status()["in_flight"], "the call to be under way")
    assert made.process is not None
    made.process.send_signal(signal.SIGTERM)
    await until(lambda: "gateway.draining" in made.said(), "the drain to begin")
    with pytest.raises(httpx2.HTTPError):
        await wire.call("old__echo", {"text": "x"})
    answered = await slow
    assert answered["result"]["content"][0]["text"] == "slept"
    await asyncio.to_thread(made.check_end)


async def test_a_stop_does_not_wait_for_ever_for_a_call(gateway: Make) -> None:
    made = gateway(servers={"old": server("legacy_stdio")}).until_servers(old="ready")
    wire = await Wire(made.url()).open()
    slow = asyncio.create_task(wire.call("old__slow", {"seconds": 55}))
    await until(lambda: made.status()["in_flight"], "the call to be under way")
    await asyncio.to_thread(made.check_end)
    answered = await slow
    assert answered["error"]["code"] == -31009
    outcomes = [each["outcome"] for each in made.records() if each["kind"] == "call.outcome"]
    assert outcomes == ["cancelled"]


def test_a_stop_during_the_start_leaves_nothing(gateway: Make) -> None:
    servers = {f"s{n}": server("legacy_stdio", "--start-delay", "5") for n in range(4)}
    made = gateway(servers=servers)
    made.check_end()


def test_a_stubborn_server_is_ended_too(gateway: Make) -> None:
    made = gateway(servers={"bad": server("broken", "stubborn"), "child": server("broken", "orphans")})
    made.until_servers(bad="ready", child="ready")
    made.check_end()


def test_the_command_line_stops_it_and_only_one_uses_a_state_directory(gateway: Make) -> None:
    made = gateway(servers={"old": server("legacy_stdio")}).until_servers(old="ready")
    second = made.command("serve", "--port", "0")
    assert second.returncode != 0
    assert "another gateway" in second.stderr
    assert "Traceback" not in second.stderr
    assert made.ask("/v1/stop", "POST") == {"stopping": True}
    assert made.process is not None
    assert made.process.wait(20) == 0
    made.check_end()


async def test_the_official_client_goes_on_after_a_restart_of_the_gateway(gateway: Make) -> None:
    made = gateway(servers={"old": server("legacy_stdio", stateless=True)}).until_servers(old="ready")
    port = int(made.base.rpartition(":")[2])
    async with sdk(made.url(), "legacy") as client:
        assert (await client.call_tool("old__echo", {"text": "a"})).content[0].text == "a"
        made.kill()
        made.start(port=port).until_servers(old="ready")
        assert (await client.call_tool("old__echo", {"text": "b"})).content[0].text == "b"
        listed = {tool.name for tool in (await client.list_tools()).tools}
        assert "old__echo" in listed


async def test_the_pid_in_the_status_is_the_gateways(gateway: Make) -> None:
    made = gateway(servers={})
    assert made.process is not None
    assert made.status()["pid"] == made.process.pid
    os.kill(made.status()["pid"], signal.SIGINT)
    assert made.process.wait(20) == 0


def test_what_a_server_writes_is_shown_by_the_command_line(gateway: Make) -> None:
    made = gateway(servers={"old": server("legacy_stdio")}).until_servers(old="ready")
    shown = made.command("logs", "old")
    assert "legacy_stdio is up" in shown.stdout
    unknown = made.command("logs", "nothing")
    assert unknown.returncode != 0
    assert "old" in unknown.stderr
    listed = json.loads(made.command("servers", "--json").stdout)
    assert listed["servers"][0]["state"] == "ready"
