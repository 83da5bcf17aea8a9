"""Batches: each message is a call of its own, and only clients of 2025-03-26 have them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.edge.conftest import Listen
from tests.unit.edge.setting import EdgeSetting

Json = dict[str, Any]
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
TOLD = {"jsonrpc": "2.0", "method": "notifications/initialized"}


def call(request_id: int, name: str = "one__echo", **arguments: str) -> Json:
    """Give a call of a tool."""
    params = {"name": name, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": params}


async def session(edge: EdgeSetting, revision: str) -> str:
    """Initialise a client."""
    params = {"protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}
    got = await edge.post({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})
    return got.headers["mcp-session-id"]


async def test_every_request_of_a_batch_is_answered_and_recorded_as_a_call_of_its_own(listen: Listen) -> None:
    edge = await listen()
    own = await session(edge, "2025-03-26")
    got = await edge.post(
        [call(1, text="a"), TOLD, call(2, text="b"), call(3, "no such")], Mcp_Session_Id=own
    )
    assert (got.status, got.headers["content-type"]) == (200, "application/json")
    answers = {each["id"]: each for each in got.json}
    assert [answers[n]["result"]["content"][0]["text"] for n in (1, 2)] == ["a", "b"]
    assert answers[3]["error"]["code"] == -32602
    assert edge.gateway.outcomes() == ["ok", "ok"]


async def test_a_batch_of_notifications_is_taken_without_a_word(listen: Listen) -> None:
    edge = await listen()
    own = await session(edge, "2025-03-26")
    got = await edge.post([TOLD, TOLD], Mcp_Session_Id=own)
    assert (got.status, got.body) == (202, b"")


@pytest.mark.parametrize("revision", ["2024-11-05", "2025-06-18", "2025-11-25"])
async def test_clients_of_other_revisions_have_no_batches(listen: Listen, revision: str) -> None:
    edge = await listen()
    own = await session(edge, revision)
    got = await edge.post([PING], Mcp_Session_Id=own)
    assert (got.status, got.json["error"]["code"]) == (400, -32600)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ([], -32600),
        ([PING] * 65, -32600),
        ([PING, 1], -32600),
        ([PING, [PING]], -32600),
        ([PING, {**PING, "method": "initialize"}], -32600),
        (b'[{"jsonrpc": "2.0", "id": 1, "id": 2, "method": "ping"}]', -32700),
        (b"[1,", -32700),
    ],
)
async def test_a_batch_that_is_not_as_it_must_be_does_nothing(
    listen: Listen, body: object, code: int
) -> None:
    edge = await listen()
    own = await session(edge, "2025-03-26")
    got = await edge.post(body, Mcp_Session_Id=own)
    assert (got.status, got.json["error"]["code"]) == (400, code)


async def test_a_batch_without_a_session_or_in_anothers_is_refused(listen: Listen) -> None:
    edge = await listen()
    assert (await edge.post([PING])).status == 400
    assert (await edge.post([PING], Mcp_Session_Id="none of ours")).status == 404
    own = await session(edge, "2025-03-26")
    assert (await edge.post([PING], Mcp_Session_Id=own, Authorization="bob")).status == 404
    assert (await edge.post([PING], Mcp_Session_Id=own, Authorization="bad")).status == 401
