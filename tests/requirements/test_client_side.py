"""What a client owes its servers: looked at on channels with a scripted server at the other end."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import Any

import pytest

from tests.unit.channels.stdio_setting import INITIALIZED, Setting
from tests.unit.channels.streamable_setting import McpServer, channel_to
from tests.unit.fleet.setting import spec
from tests.unit.gateway.setting import OPEN
from tests.unit.gateway.test_view import part, shown, tool
from tidegate.domain.errors import ChannelFailure
from tidegate.testing.memory_server import MemoryServer

Json = dict[str, Any]


@pytest.mark.parametrize("modern", [True, False])
async def test_every_post_takes_both_json_and_an_event_stream(modern: bool) -> None:
    async def serve(peer: Any, request: Any) -> None:
        await peer.result(request, {"ok": 1})

    async with channel_to(McpServer(serve, modern=modern), listening=False) as it:
        await it.call()
        posts = [each for each in it.server.got if each.method == "POST"]
    assert len(posts) >= 2
    for each in posts:
        taken = {part.partition(";")[0].strip() for part in each.headers["accept"].split(",")}
        assert {"application/json", "text/event-stream"} <= taken


@pytest.mark.parametrize("modern", [True, False])
async def test_every_request_after_the_handshake_says_the_version(modern: bool) -> None:
    async def serve(peer: Any, request: Any) -> None:
        await peer.result(request, {"ok": 1})

    async with channel_to(McpServer(serve, modern=modern), listening=False) as it:
        await it.call()
        (call,) = it.server.heard("tools/call")
    assert call.headers["mcp-protocol-version"] == ("2026-07-28" if modern else "2025-11-25")
    if modern:
        told = call.json["params"]["_meta"]
        assert told["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"
        assert "io.modelcontextprotocol/clientCapabilities" in told


async def test_initialize_is_not_cancelled_when_it_takes_too_long() -> None:
    it = Setting()
    opening = it.opening(probe=0.01, total=0.05)
    with pytest.raises(ChannelFailure):
        await opening
    methods = [json.loads(line)["method"] for line in it.stream.lines if line.strip()]
    assert methods == ["server/discover", "initialize"]


async def test_initialize_comes_first_and_is_followed_by_initialized() -> None:
    it = Setting()
    opening = it.opening()
    it.stream.refuse(await it.stream.hear(), -32601)
    it.stream.answer(await it.stream.hear(), INITIALIZED)
    await opening
    call = it.call()
    assert [(await it.stream.hear())["method"] for _ in range(2)] == [
        "notifications/initialized",
        "tools/call",
    ]
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_a_session_id_of_a_server_stands_in_no_error_and_no_log() -> None:
    async def serve(peer: Any, request: Any) -> None:
        await peer.answer(b"no", "500 No")

    async with channel_to(McpServer(serve, session="very-secret"), listening=False) as it:
        with pytest.raises(ChannelFailure) as caught:
            await it.call()
        assert it.server.heard("tools/call")[0].headers["mcp-session-id"] == "very-secret"
    assert "very-secret" not in f"{caught.value!r}{caught.value}{it.events!r}"


def test_a_tool_with_an_annotation_that_breaks_the_rules_is_not_listed_from_a_modern_http_server() -> None:
    good = tool("good", inputSchema={"properties": {"a": {"type": "string", "x-mcp-header": "Region"}}})
    bad = tool("bad", inputSchema={"properties": {"a": {"type": "number", "x-mcp-header": "Region"}}})
    view = shown(dataclasses.replace(part("one", good, bad), mirrored=True))
    assert list(view.by_name) == ["one__good"]
    assert len(view.dropped) == 1
    assert "'bad' is left out" in view.dropped[0]


class OddCursors(MemoryServer):
    """Gives its tools on three pages, with cursors that look like an end and like a number."""

    def _list(self, params: Json) -> Json:
        cursor = params.get("cursor")
        pages: dict[object, Json] = {
            None: {"tools": [{"name": "echo", "inputSchema": {}}], "nextCursor": ""},
            "": {"tools": [{"name": "second", "inputSchema": {}}], "nextCursor": "0"},
            "0": {"tools": [{"name": "third", "inputSchema": {}}]},
        }
        return pages[cursor]


async def test_a_cursor_is_given_back_as_it_came_and_an_empty_one_is_no_end(gateway: OPEN) -> None:
    made = await gateway(
        spec("one"), servers={"one": OddCursors()}, wait=["one__echo", "one__second", "one__third"]
    )
    listed = [each["name"] for each in (await made.modern("tools/list")).result["tools"]]
    assert listed == ["one__echo", "one__second", "one__third"]
