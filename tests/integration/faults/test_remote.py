"""Remote servers that restart, or forget their sessions, while calls are under way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx2
import pytest

from tests.conftest import unused_port
from tests.integration.gateway.gateway import Gateway, Wire, until
from tests.integration.real.standing import everything_listening
from tests.servers.launch import listening

pytestmark = pytest.mark.timeout(240)
Make = Callable[..., Gateway]
ANSWERS = pytest.mark.parametrize("answers", ["json", "sse"])


async def forget(url: str) -> None:
    """Have a server forget every session."""
    async with httpx2.AsyncClient() as http:
        assert (await http.post(url.replace("/mcp", "/control/forget"))).status_code == 200


@ANSWERS
async def test_a_forgotten_session_of_a_server_with_memory_is_one_error_and_then_goes_on(
    gateway: Make, start_server: Any, answers: str
) -> None:
    remote = await start_server("legacy_http", "--answers", answers)
    made = gateway(servers={"far": {"url": remote.url}}).until_servers(far="ready")
    wire = await Wire(made.url()).open()
    assert await wire.text("far__counter") == "1"
    await forget(remote.url)
    first = await wire.call("far__counter")
    second = await wire.call("far__counter")
    assert first["error"]["code"] == -31005, first
    assert "result" in second, second
    made.check_end()


@ANSWERS
async def test_a_forgotten_session_of_a_stateless_server_is_noticed_by_nobody(
    gateway: Make, start_server: Any, answers: str
) -> None:
    remote = await start_server("legacy_http", "--answers", answers)
    far = {"url": remote.url, "stateless": True, "sharing": "shared"}
    made = gateway(servers={"far": far}).until_servers(far="ready")
    wire = await Wire(made.url()).open()
    for number in range(3):
        await forget(remote.url)
        results = await asyncio.gather(*(wire.text("far__echo", {"text": f"{number}-{n}"}) for n in range(8)))
        assert results == [f"{number}-{n}" for n in range(8)]
    made.check_end()


@ANSWERS
@pytest.mark.parametrize("stateless", [True, False])
async def test_a_server_that_restarts_during_a_call_fails_that_call_and_is_gone_on_with(
    gateway: Make, answers: str, stateless: bool
) -> None:
    port = str(unused_port())
    async with AsyncExitStack() as first:
        remote = await first.enter_async_context(
            listening("legacy_http", "--port", port, "--answers", answers)
        )
        far = {"url": remote.url, "stateless": stateless, "timeouts": {"call": 20, "start": 20}}
        made = gateway(servers={"far": far}).until_servers(far="ready")
        wire = await Wire(made.url()).open()
        assert await wire.text("far__counter") == "1"
        slow = asyncio.create_task(wire.call("far__slow", {"seconds": 30}))
        await until(lambda: made.server("far")["workloads"][0]["in_flight"], "the call to be under way")
        remote.process.kill()
        async with asyncio.timeout(10):
            broken = await slow
        assert broken["error"]["code"] == -31002, broken
    away = await wire.call("far__echo", {"text": "x"})
    assert away["error"]["code"] in (-31001, -31005), away
    async with listening("legacy_http", "--port", port, "--answers", answers):
        await until(lambda: made.server("far")["state"] == "ready", "it to be back")
        answers_after = [await wire.call("far__counter") for _ in range(2)]
        codes = [each.get("error", {}).get("code", "ok") for each in answers_after]
        lost = [code for code in [away["error"]["code"], *codes] if code == -31005]
        assert codes[1] == "ok", answers_after
        assert len(lost) == (0 if stateless else 1), (away, answers_after)
        made.check_end()


async def test_an_sse_server_that_restarts_is_gone_on_with(gateway: Make) -> None:
    port = str(unused_port())
    async with listening("legacy_sse", "--port", port) as remote:
        far = {"url": remote.url, "transport": "sse", "stateless": True}
        made = gateway(servers={"far": far}).until_servers(far="ready")
        wire = await Wire(made.url()).open()
        assert await wire.text("far__echo", {"text": "x"}) == "x"
        slow = asyncio.create_task(wire.call("far__slow", {"seconds": 30}))
        await until(lambda: made.server("far")["workloads"][0]["in_flight"], "the call to be under way")
        remote.process.kill()
        async with asyncio.timeout(10):
            assert (await slow)["error"]["code"] == -31002
    async with listening("legacy_sse", "--port", port):
        await until(lambda: made.server("far")["state"] == "ready", "it to be back")
        assert await wire.text("far__echo", {"text": "y"}) == "y"
        made.check_end()


@pytest.mark.node
@pytest.mark.network
@pytest.mark.parametrize("transport", ["streamableHttp", "sse"])
async def test_a_published_server_that_restarts_is_gone_on_with(gateway: Make, transport: str) -> None:
    """It says 400, not 404, for a session that it does not know."""
    port = unused_port()
    with everything_listening(transport, port) as url:
        far = {"url": url, "transport": "sse" if transport == "sse" else "http", "stateless": True}
        made = gateway(servers={"far": far}).until_servers(far="ready")
        wire = await Wire(made.url()).open()
        assert await wire.text("far__echo", {"message": "x"}) == "Echo: x"
    with everything_listening(transport, port):
        await until(lambda: made.server("far")["state"] == "ready", "it to be back")
        assert await wire.text("far__echo", {"message": "y"}) == "Echo: y"
        made.check_end()
