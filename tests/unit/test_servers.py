"""The test servers do what their names promise, so that a test built on one means what it says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from tests.servers.launch import Listening, argv, stop

DEADLINE = 20.0
INITIALIZE: dict[str, Any] = {
    "jsonrpc": "2.0", "id": 0, "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}  # fmt: skip


def call(number: int, tool: str, **arguments: Any) -> dict[str, Any]:
    params = {"name": tool, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}


class Lines:
    """A conversation over lines with a server's process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    def say(self, *messages: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"".join(json.dumps(message).encode() + b"\n" for message in messages))

    async def hear(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(await asyncio.wait_for(self.process.stdout.readline(), DEADLINE))


@pytest.fixture
async def over_lines():
    started: list[asyncio.subprocess.Process] = []

    async def start(name: str, *arguments: str) -> Lines:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *argv(name, *arguments),
            stdin=pipe,
            stdout=pipe,
            stderr=asyncio.subprocess.DEVNULL,
            limit=64 << 20,
        )
        started.append(process)
        return Lines(process)

    yield start
    for process in started:
        if process.stdin is not None:
            process.stdin.close()
        if process.returncode is None:
            process.kill()
        await stop(process)


async def test_the_scripted_server_negotiates_pages_and_calls(over_lines) -> None:
    lines = await over_lines("legacy_stdio", "--page", "4", "--revision", "2025-03-26")
    lines.say(INITIALIZE, {"jsonrpc": "2.0", "method": "notifications/initialized"})
    assert (await lines.hear())["result"]["protocolVersion"] == "2025-03-26"
    lines.say({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"cursor": "4"}})
    page = (await lines.hear())["result"]
    assert len(page["tools"]) == 4
    assert page["nextCursor"] == "8"
    lines.say(call(2, "echo", text="hällo"))
    assert (await lines.hear())["result"]["content"] == [{"type": "text", "text": "hällo"}]
    lines.say({"jsonrpc": "2.0", "id": 3, "method": "server/discover"})
    assert (await lines.hear())["error"]["code"] == -32601


async def test_a_cancelled_slow_call_gets_no_answer_and_its_progress_came_before(over_lines) -> None:
    lines = await over_lines("legacy_stdio")
    slow = call(7, "slow", seconds=60, steps=2)
    slow["params"]["_meta"] = {"progressToken": "p"}
    lines.say(slow)
    assert (await lines.hear())["params"]["progressToken"] == "p"
    lines.say({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}})
    lines.say(call(8, "cancelled"))
    heard = await lines.hear()
    assert heard["id"] == 8
    assert json.loads(heard["result"]["content"][0]["text"]) == [7]


@pytest.mark.parametrize("answers", ["json", "sse"])
async def test_the_http_server_keeps_sessions_until_it_is_told_to_forget(
    start_server: Callable[..., Awaitable[Listening]], answers: str
) -> None:
    server = await start_server("legacy_http", "--answers", answers)
    async with aiohttp.ClientSession() as http:
        async with http.post(server.url, json=INITIALIZE) as response:
            session = {"mcp-session-id": response.headers["mcp-session-id"]}
        async with http.post(server.url, json=call(1, "add", a=2, b=3), headers=session) as response:
            assert response.status == 200
            assert '"5"' in await response.text()
        async with http.post(server.url.replace("/mcp", "/control/forget")) as response:
            assert response.status == 200
        async with http.post(server.url, json=call(2, "add", a=2, b=3), headers=session) as response:
            assert response.status == 404
        async with http.post(server.url, json=call(3, "add", a=2, b=3)) as response:
            assert response.status == 400


async def test_the_sse_server_names_its_endpoint_and_answers_on_the_stream(
    start_server: Callable[..., Awaitable[Listening]],
) -> None:
    server = await start_server("legacy_sse")
    async with aiohttp.ClientSession() as http, http.get(server.url) as stream:
        assert (await stream.content.readuntil(b"\r\n")).strip() == b"event: endpoint"
        path = (await stream.content.readuntil(b"\r\n")).decode().removeprefix("data: ").strip()
        async with http.post(server.url.replace("/sse", path), json=call(1, "counter")) as accepted:
            assert accepted.status == 202
        while not (line := await asyncio.wait_for(stream.content.readuntil(b"\r\n"), DEADLINE)).startswith(
            b"data:"
        ):
            pass
        assert json.loads(line.removeprefix(b"data:"))["result"]["content"][0]["text"] == "1"


@pytest.mark.parametrize("revision", ["2025-11-25", "2026-07-28"])
async def test_the_dual_era_server_speaks_both_eras_over_lines(over_lines, revision: str) -> None:
    lines = await over_lines("dual_era")
    meta = {
        "io.modelcontextprotocol/protocolVersion": revision,
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
    }
    request = call(1, "add", a=2, b=3)
    if revision == "2026-07-28":
        request["params"]["_meta"] = meta
    else:
        lines.say(INITIALIZE)
        assert (await lines.hear())["result"]["serverInfo"]["name"] == "dual-era"
        lines.say({"jsonrpc": "2.0", "method": "notifications/initialized"})
    lines.say(request)
    assert (await lines.hear())["result"]["structuredContent"] == {"result": 5.0}


async def test_each_way_of_misbehaving_is_told_apart_by_what_it_sends(over_lines) -> None:
    lines = await over_lines("broken", "duplicates", "--after", "1")
    lines.say(INITIALIZE, call(1, "counter"))
    assert (await lines.hear())["result"]["serverInfo"]
    assert [(await lines.hear())["id"] for _ in range(3)] == [1, 1, 1]

    lines = await over_lines("broken", "wrong-ids")
    lines.say(call(1, "counter"))
    assert 1 not in [
        identity for identity in [(await lines.hear())["id"] for _ in range(6)] if identity is not True
    ]

    lines = await over_lines("broken", "exits", "--amount", "7")
    assert await asyncio.wait_for(lines.process.wait(), DEADLINE) == 7

    lines = await over_lines("broken", "huge-line", "--amount", "5000000")
    lines.say(call(1, "counter"))
    assert len((await lines.hear())["result"]["content"][0]["text"]) == 5_000_000


async def test_a_flood_without_newlines_has_the_size_it_was_given(over_lines) -> None:
    lines = await over_lines("broken", "floods-bytes", "--amount", "100000")
    assert await asyncio.wait_for(lines.process.stdout.readexactly(100_000), DEADLINE) == b"x" * 100_000


async def test_ten_thousand_tools_can_be_listed(over_lines) -> None:
    lines = await over_lines("legacy_stdio", "--tools", "10000")
    lines.say({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
    assert len((await lines.hear())["result"]["tools"]) > 10_000
