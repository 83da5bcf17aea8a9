"""Where other gateways were seen to break, shown not to break here. Each test is named after the break."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.gateway.gateway import MODERN, Gateway, Wire, sdk, server, until

Make = Callable[..., Gateway]


# -- Docker MCP Gateway -------------------------------------------------------------------------


async def test_one_silent_backend_does_not_block_startup_for_everyone(gateway: Make) -> None:
    made = gateway(servers={"bad": server("broken", "silent"), "good": server("legacy_stdio")})
    made.until_servers(good="ready")
    async with asyncio.timeout(5):
        wire = await Wire(made.url()).open()
        assert await wire.text("good__echo", {"text": "x"}) == "x"
    assert made.server("bad")["state"] != "ready"


async def test_a_backend_down_at_startup_is_said_and_tried_again_until_it_is_up(
    gateway: Make, tmp_path: Path
) -> None:
    script = tmp_path / "late.py"
    script.write_text("raise SystemExit('not yet')\n")
    made = gateway(
        servers={
            "late": {**server("legacy_stdio"), "command": [server("legacy_stdio")["command"][0], str(script)]}
        }
    )
    await until(lambda: "status 1" in made.missing("/mcp")["late"]["reason"], "the reason to be said")
    wire = await Wire(made.url()).open()
    assert (await wire.tools())["tools"] == []
    here = Path(__file__).parents[2] / "servers"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(here)!r})\nimport legacy_stdio\nlegacy_stdio.main()\n"
    )
    made.until_servers(late="ready")
    assert await wire.text("late__echo", {"text": "up"}) == "up"


def restarts(made: Gateway) -> tuple[int, str]:
    """Tell how often the only workload came again, and how it is."""
    workloads = made.server("old")["workloads"]
    return (workloads[0]["restarts"], workloads[0]["state"]) if workloads else (0, "")


async def test_an_upstream_restart_does_not_break_a_clients_session_for_good(gateway: Make) -> None:
    made = gateway(servers={"old": server("legacy_stdio", stateless=True)}).until_servers(old="ready")
    async with sdk(made.url(), "legacy") as client:
        for number in range(1, 4):
            pid = json.loads((await client.call_tool("old__look", {})).content[0].text)["pid"]
            os.kill(pid, signal.SIGKILL)
            await until(lambda number=number: restarts(made) == (number, "ready"), "it to be back")
            result = await client.call_tool("old__echo", {"text": "again"})
            assert result.content[0].text == "again"


async def test_sessions_leave_nothing_behind_however_many_are_opened(gateway: Make) -> None:
    made = gateway(servers={"old": server("legacy_stdio")}).until_servers(old="ready")
    assert made.process is not None
    rss = Path(f"/proc/{made.process.pid}/statm")

    def megabytes() -> float:
        return int(rss.read_text().split()[1]) * 4096 / 1e6

    async def open_some(count: int) -> None:
        for _ in range(count // 20):
            wires = await asyncio.gather(*(Wire(made.url()).open() for _ in range(20)))
            await asyncio.gather(*(wire.ask("tools/list") for wire in wires))

    await open_some(60)
    before = megabytes()
    await open_some(300)
    assert megabytes() - before < 8
    assert len(made.server("old")["workloads"]) == 1


async def test_a_tool_allow_list_has_no_way_around_it(gateway: Make) -> None:
    made = gateway(
        servers={"old": server("legacy_stdio")},
        endpoints={"/mcp": {"tools": ["old__echo"]}, "/plain": {"tools": ["old__echo"], "names": "plain"}},
    ).until_servers(old="ready")
    for path, prefix in (("/mcp", "old__"), ("/plain", "")):
        for modern in (False, True):
            wire = Wire(made.url(path), modern=modern)
            if not modern:
                await wire.open()
            assert await wire.text(f"{prefix}echo", {"text": "x"}) == "x"
            for name in ("counter", "old__counter", "old____counter", "OLD__counter", "old__echo."):
                assert (await wire.call(name))["error"]["code"] == -32602, name
    intents = [each["name"] for each in made.records() if each["kind"] == "call.intent"]
    assert set(intents) == {"echo"}


async def test_two_servers_that_share_a_name_do_not_end_the_process(gateway: Make) -> None:
    made = gateway(
        servers={"one": server("legacy_stdio"), "two": server("dual_era")},
        endpoints={"/mcp": {"names": "plain"}},
    ).until_servers(one="ready", two="ready")
    wire = await Wire(made.url()).open()
    await until(lambda: "server.degraded" in made.said(), "the clash to be said")
    names = [tool["name"] for tool in (await wire.tools())["tools"]]
    assert len(names) == len(set(names))
    assert "two: tool 'echo' is left out: one has the name 'echo'" in made.said()


async def test_every_page_of_a_list_is_read_and_not_the_first_only(gateway: Make) -> None:
    made = gateway(servers={"old": server("legacy_stdio", "--tools", "30", "--page", "5")})
    made.until_servers(old="ready")
    assert made.server("old")["tools"] == 44
    assert len((await (await Wire(made.url()).open()).tools())["tools"]) == 44


async def test_streaming_calls_work_with_everything_switched_on(gateway: Make) -> None:
    made = gateway(
        servers={"old": server("legacy_stdio")},
        journal={"durability": "fsync"},
        endpoints={
            "/mcp": {"rules": [{"deny": {"tools": ["write"]}}, {"allow": {"roles": ["user", "admin"]}}]}
        },
    ).until_servers(old="ready")
    for mode in ("legacy", MODERN):
        heard: list[float] = []

        async def hear(
            done: float, total: float | None, message: str | None, heard: list[float] = heard
        ) -> None:
            heard.append(done)

        async with sdk(made.url(), mode) as client:
            result = await client.call_tool("old__slow", {"seconds": 0.1, "steps": 2}, progress_callback=hear)
            assert result.content[0].text == "slept"
        assert heard == [0, 1, 2]


# -- FastMCP ------------------------------------------------------------------------------------


async def test_a_modern_client_sees_the_tools_of_a_legacy_server(gateway: Make) -> None:
    made = gateway(servers={"old": server("legacy_stdio", "--revision", "2024-11-05")}).until_servers(
        old="ready"
    )
    async with sdk(made.url(), MODERN) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert "old__echo" in names
        assert (await client.call_tool("old__echo", {"text": "x"})).content[0].text == "x"


@pytest.mark.parametrize("name", ["old", "both"])
async def test_a_legacy_client_sees_the_tools_of_servers_of_both_eras(gateway: Make, name: str) -> None:
    made = gateway(servers={"old": server("legacy_stdio"), "both": server("dual_era")})
    made.until_servers(old="ready", both="ready")
    async with sdk(made.url(), "legacy") as client:
        assert f"{name}__echo" in {tool.name for tool in (await client.list_tools()).tools}


# -- ContextForge, agentgateway -----------------------------------------------------------------


async def test_audit_is_on_without_being_asked_for(gateway: Make) -> None:
    made = gateway(servers={"old": server("legacy_stdio")}).until_servers(old="ready")
    await (await Wire(made.url()).open()).text("old__echo", {"text": "x"})
    kinds = [each["kind"] for each in made.records()]
    assert kinds.index("call.intent") < kinds.index("call.outcome")
    made.verify()


async def test_no_new_upstream_session_is_made_for_a_call(gateway: Make) -> None:
    made = gateway(servers={"old": server("legacy_stdio")}).until_servers(old="ready")
    wire = Wire(made.url(), modern=True)
    assert [await wire.text("old__counter") for _ in range(20)] == [str(n) for n in range(1, 21)]


async def test_no_rules_at_all_means_deny(gateway: Make) -> None:
    made = gateway(servers={"old": server("legacy_stdio")}, endpoints={"/mcp": {"rules": []}})
    made.until_servers(old="ready")
    wire = await Wire(made.url()).open()
    assert (await wire.tools())["tools"] == []
    assert (await wire.call("old__echo", {"text": "x"}))["error"]["code"] == -32602


async def test_a_dead_upstream_does_not_half_kill_a_session(gateway: Make) -> None:
    made = gateway(servers={"dead": server("legacy_stdio"), "good": server("legacy_stdio")})
    made.until_servers(dead="ready", good="ready")
    wire = await Wire(made.url()).open()
    pid = json.loads(await wire.text("dead__look"))["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        hanging = asyncio.create_task(wire.call("dead__echo", {"text": "x"}))
        async with asyncio.timeout(5):
            for number in range(20):
                assert await wire.text("good__echo", {"text": str(number)}) == str(number)
            assert len((await wire.tools())["tools"]) == 28
    finally:
        os.kill(pid, signal.SIGCONT)
    assert (await hanging)["result"]["content"][0]["text"] == "x"


async def test_processes_do_not_pile_up_with_calls_and_clients(gateway: Make) -> None:
    made = gateway(servers={"old": server("legacy_stdio"), "each": server("legacy_stdio", sharing="call")})
    made.until_servers(old="ready", each="ready")
    for _ in range(12):
        wire = await Wire(made.url()).open()
        await wire.text("old__echo", {"text": "x"})
        assert await wire.text("each__counter") == "1"
    # One of the first, and of the second as many as are kept ready for the next calls.
    await until(lambda: len(made.pids()) <= 1 + 4, "the processes of ended calls to be gone")
    made.check_end()
