"""Servers that run elsewhere: streamable HTTP of both eras and HTTP+SSE, through a real gateway."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest
from mcp.shared.exceptions import MCPError

from tests.integration.gateway.gateway import MODES, Gateway, Wire, sdk, until
from tests.servers.launch import Listening
from tidegate.testing.scripted import Peer, serving

Make = Callable[..., Gateway]
Start = Callable[..., Awaitable[Listening]]

KINDS: dict[str, tuple[str, ...]] = {
    "modern": ("dual_era", "--http"),
    "modern-json": ("dual_era", "--http", "--json", "--stateless"),
    "legacy-json": ("legacy_http", "--answers", "json"),
    "legacy-sse": ("legacy_http", "--answers", "sse"),
    "sessionless": ("legacy_http", "--no-sessions"),
    "old-sse": ("legacy_sse",),
}


async def behind(gateway: Make, start: Start, *kinds: str) -> tuple[Gateway, dict[str, Listening]]:
    """Put a gateway before remote servers of these kinds."""
    servers, running = dict[str, Any](), dict[str, Listening]()
    for kind in kinds:
        running[kind] = await start(*KINDS[kind])
        transport = "sse" if kind == "old-sse" else "http"
        servers[kind] = {"url": running[kind].url, "transport": transport}
    made = gateway(servers=servers)
    await asyncio.to_thread(made.until_servers, **dict.fromkeys(kinds, "ready"))
    return made, running


async def test_servers_of_every_kind_are_listed_and_called_by_clients_of_both_eras(
    gateway: Make, start_server: Start
) -> None:
    made, _ = await behind(gateway, start_server, *KINDS)
    for mode in MODES:
        async with sdk(made.url(), mode) as client:
            names = {tool.name for tool in (await client.list_tools()).tools}
            for kind in KINDS:
                assert f"{kind}__echo" in names
                result = await client.call_tool(f"{kind}__echo", {"text": f"Grüße 🦀 {kind}"})
                assert result.content[0].text == f"Grüße 🦀 {kind}"
                if not kind.startswith("modern"):
                    with pytest.raises(MCPError) as caught:
                        await client.call_tool(f"{kind}__protocol_error", {})
                    assert caught.value.error.data == {"extra": [1, 2]}
    await asyncio.to_thread(made.check_end)


@pytest.mark.parametrize("kind", ["modern", "legacy-sse", "old-sse"])
async def test_progress_of_a_remote_server_reaches_clients_of_both_eras(
    gateway: Make, start_server: Start, kind: str
) -> None:
    made, _ = await behind(gateway, start_server, kind)
    for mode in MODES:
        heard: list[float] = []

        async def hear(
            done: float, total: float | None, message: str | None, heard: list[float] = heard
        ) -> None:
            heard.append(done)

        async with sdk(made.url(), mode) as client:
            arguments = {"seconds": 0.2, "steps": 3}
            await client.call_tool(f"{kind}__slow", arguments, progress_callback=hear)
        assert heard == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", ["legacy-json", "legacy-sse", "old-sse"])
async def test_a_cancelled_call_is_cancelled_at_a_remote_server(
    gateway: Make, start_server: Start, kind: str
) -> None:
    made, _ = await behind(gateway, start_server, kind)
    async with sdk(made.url(), "2026-07-28") as client:
        call = asyncio.create_task(client.call_tool(f"{kind}__slow", {"seconds": 20}))
        await until(lambda: made.status()["in_flight"], "the call to be under way")
        call.cancel()
        await asyncio.wait([call])
        await until(lambda: not made.status()["in_flight"], "the call to end")

        async def seen() -> str:
            return str((await client.call_tool(f"{kind}__cancelled", {})).content[0].text)

        async with asyncio.timeout(10):
            while await seen() == "[]":
                await asyncio.sleep(0.02)


async def test_a_modern_server_is_told_its_own_names_in_headers_and_body(
    gateway: Make, start_server: Start
) -> None:
    """The SDK's server refuses a request whose Mcp-Name differs from its body: so a call shows both."""
    made, _ = await behind(gateway, start_server, "modern")
    wire = await Wire(made.url()).open()
    assert await wire.text("modern__echo", {"text": "x"}) == "x"


async def region_server(peer: Peer) -> None:
    """Be a modern server that wants one argument in a header too."""
    schema = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
    while True:
        got = await peer.request()
        method = got.json["method"]
        listing = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
        if method == "server/discover":
            known = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}
            await peer.result(got, {**listing, **known})
        elif method == "tools/list":
            await peer.result(got, {**listing, "tools": [{"name": "look", "inputSchema": schema}]})
        else:
            content = [{"type": "text", "text": got.headers.get("mcp-param-region", "missing")}]
            await peer.result(got, {"resultType": "complete", "content": content})


async def test_arguments_that_a_tool_wants_in_headers_are_repeated_there(gateway: Make) -> None:
    async with serving(region_server) as far:
        made = gateway(servers={"far": {"url": f"{far.url}/mcp"}})
        await asyncio.to_thread(made.until_servers, far="ready")
        for modern in (False, True):
            wire = Wire(made.url(), modern=modern)
            if not modern:
                await wire.open()
            for region, header in (("eu-1", "eu-1"), ("Zürich", "=?base64?WsO8cmljaA==?=")):
                if modern:  # a client of that era has to do the same
                    answer = await wire.call("far__look", {"region": region})
                    assert answer["error"]["code"] == -32020
                    wire.more["Mcp-Param-Region"] = header
                assert await wire.text("far__look", {"region": region}) == header
            wire.more.clear()
            assert await wire.text("far__look", {}) == "missing"
        async with sdk(made.url(), "2026-07-28") as client:
            await client.list_tools()
            assert (await client.call_tool("far__look", {"region": "eu-2"})).content[0].text == "eu-2"
        await asyncio.to_thread(made.stop)


async def test_declared_headers_are_sent_and_their_secrets_shown_nowhere(
    gateway: Make, start_server: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REMOTE_TOKEN", "token-nobody-may-see")
    server = await start_server("legacy_http")
    headers = {"Authorization": "Bearer ${env:REMOTE_TOKEN}", "X-Team": "red"}
    made = gateway(servers={"far": {"url": server.url, "headers": headers}})
    await asyncio.to_thread(made.until_servers, far="ready")
    wire = await Wire(made.url(), key="the-clients-own").open()
    await wire.text("far__echo", {"text": "x"})
    async with httpx2.AsyncClient() as http:
        seen = (await http.get(server.url.rpartition("/")[0] + "/control/seen")).json()
    sent = [{name.lower(): value for name, value in each["headers"].items()} for each in seen]
    assert {each["authorization"] for each in sent} == {"Bearer token-nobody-may-see"}
    assert {each["x-team"] for each in sent} == {"red"}
    assert "the-clients-own" not in json.dumps(seen)
    shown = made.command("servers", "--json").stdout + made.said() + json.dumps(made.status())
    assert "token-nobody-may-see" not in shown
    await asyncio.to_thread(made.check_end)


async def test_a_remote_server_that_is_away_is_said_and_found_when_it_comes(
    gateway: Make, start_server: Start, free_port: int
) -> None:
    made = gateway(servers={"far": {"url": f"http://127.0.0.1:{free_port}/mcp"}})
    await asyncio.to_thread(made.until_servers, far="failed")
    assert str(free_port) in made.server("far")["reason"]
    await start_server("legacy_http", "--port", str(free_port))
    await asyncio.to_thread(made.until_servers, far="ready")
    assert await (await Wire(made.url()).open()).text("far__echo", {"text": "x"}) == "x"


async def test_a_url_with_something_else_behind_it_is_said_and_holds_nobody_up(
    gateway: Make, start_server: Start
) -> None:
    good = await start_server("legacy_http")

    async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = b"<html>Sign in first</html>"
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        writer.close()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with (
        await asyncio.start_server(page, "127.0.0.1", 0) as html,
        await asyncio.start_server(hang, "127.0.0.1", 0) as mute,
    ):
        ports = [each.sockets[0].getsockname()[1] for each in (html, mute)]
        servers: dict[str, Any] = {
            name: {"url": f"http://127.0.0.1:{port}/mcp", "timeouts": {"start": 3}}
            for name, port in zip(("page", "mute"), ports, strict=True)
        }
        made = gateway(servers={**servers, "good": {"url": good.url}})
        began = time.monotonic()
        await asyncio.to_thread(made.until_servers, good="ready")
        assert await (await Wire(made.url()).open()).text("good__echo", {"text": "x"}) == "x"
        assert time.monotonic() - began < 5
        await asyncio.to_thread(made.until_servers, page="failed", mute="failed")
        assert made.server("page")["reason"]
        assert "3 s" in made.server("mute")["reason"]
        await asyncio.to_thread(made.check_end)
