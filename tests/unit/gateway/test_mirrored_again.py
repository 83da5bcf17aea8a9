"""A modern server that wants other headers than its list said is listed again, and called again, once."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.unit.fleet.setting import spec
from tests.unit.gateway.setting import OPEN
from tidegate.testing.fake_runtime import Pipes

Json = dict[str, Any]


class Fickle:
    """A modern server that refuses its first call of `tool` with -32020; its list has changed by then."""

    def __init__(self) -> None:
        self.lists = 0
        self.calls = 0

    async def __call__(self, pipes: Pipes) -> int:
        """Run one workload."""
        closing = asyncio.create_task(pipes.closing.wait())
        while True:
            line = asyncio.create_task(pipes.line())
            await asyncio.wait([line, closing], return_when=asyncio.FIRST_COMPLETED)
            if closing.done():
                line.cancel()
                return 0
            message: Json = json.loads(line.result())
            if "id" in message:
                answer = {"jsonrpc": "2.0", "id": message["id"], **self.answer(message["method"])}
                pipes.out(json.dumps(answer).encode() + b"\n")

    def answer(self, method: str) -> Json:
        """Answer a request."""
        stamp: Json = {"resultType": "complete", "ttlMs": 600_000, "cacheScope": "private"}
        if method == "server/discover":
            return {"result": {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, **stamp}}
        if method == "tools/list":
            self.lists += 1
            header = "Old" if self.lists == 1 else "New"
            schema = {"type": "object", "properties": {"a": {"type": "string", "x-mcp-header": header}}}
            return {"result": {"tools": [{"name": "tool", "inputSchema": schema}], **stamp}}
        self.calls += 1
        if self.calls == 1:
            return {"error": {"code": -32020, "message": "header Mcp-Param-New is missing"}}
        return {"result": {"content": [{"type": "text", "text": "done"}], "resultType": "complete"}}


async def test_a_call_whose_headers_are_no_longer_right_is_made_again_as_the_new_list_says(
    gateway: OPEN,
) -> None:
    server = Fickle()
    made = await gateway(spec("one"), servers={"one": server}, wait=["one__tool"])
    client = await made.client()
    told = await client.tool("one__tool", a="x")
    assert told.text == "done"
    assert (server.lists, server.calls) == (2, 2)
    assert made.outcomes() == ["ok"]


async def test_a_server_that_refuses_still_is_not_asked_for_ever(gateway: OPEN) -> None:
    server = Fickle()
    made = await gateway(spec("one"), servers={"one": server}, wait=["one__tool"])
    server.lists = 1  # what it lists is new from now on, and stays so
    client = await made.client()
    await client.tool("one__tool", a="x")
    server.calls = 0
    error = (await client.tool("one__tool", 2, a="x")).error
    assert error["code"] == -32020
    assert server.calls == 1
