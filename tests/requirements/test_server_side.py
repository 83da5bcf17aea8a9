"""What a server owes its clients: looked at on the wire, before a whole gateway."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.edge.conftest import Listen
from tests.unit.edge.setting import EdgeSetting, modern, raw_post, tool
from tests.unit.gateway.setting import OPEN
from tidegate.protocol import revisions

Json = dict[str, Any]


async def ask(edge: EdgeSetting, method: str, **params: Any) -> Json:
    """Ask as a modern client."""
    headers, body = modern(method, **params)
    got = await edge.post(body, **headers)
    assert got.status == 200
    whole: Json = got.json
    return whole


async def test_discovery_says_versions_capabilities_and_how_long_that_holds(listen: Listen) -> None:
    found = (await ask(await listen(), "server/discover"))["result"]
    assert revisions.MODERN in found["supportedVersions"]
    assert "tools" in found["capabilities"]
    assert found["ttlMs"] >= 0
    assert found["cacheScope"] in ("public", "private")


async def test_every_result_says_its_type(listen: Listen) -> None:
    edge = await listen()
    for method, params in (
        ("server/discover", {}),
        ("tools/list", {}),
        ("tools/call", {"name": "one__echo", "arguments": {"text": "hi"}}),
    ):
        answered = await ask(edge, method, **params)
        assert answered["result"]["resultType"] == "complete", method
        assert answered["id"] == 1


async def test_a_list_says_for_how_long_and_for_whom_it_holds_on_every_page(gateway: OPEN) -> None:
    made = await gateway()
    found = (await made.modern("tools/list")).result
    assert found["ttlMs"] >= 0
    assert found["cacheScope"] == "private"


async def test_what_one_request_declared_counts_for_no_other_on_its_connection(listen: Listen) -> None:
    wire = await (await listen()).connect()
    headers, body = tool("one__echo", text="hi")
    assert (await wire.post(body, **headers)).status == 200
    del body["params"]["_meta"][revisions.META_CAPABILITIES]
    got = await wire.post(body, **headers)
    assert (got.status, got.json["error"]["code"]) == (400, -32602)
    await wire.close()


async def test_a_modern_notification_is_taken_with_202_and_no_body(listen: Listen) -> None:
    headers, body = modern("notifications/x")
    del body["id"]
    got = await (await listen()).post(body, **headers)
    assert (got.status, got.body) == (202, b"")


@pytest.mark.parametrize("turn", [str.lower, str.upper, str.swapcase])
async def test_the_names_of_headers_are_read_in_any_case(listen: Listen, turn: Any) -> None:
    edge = await listen()
    headers, body = tool("one__echo", text="hi")
    wire = await edge.connect()
    await wire.send(raw_post(body, {turn(name): value for name, value in headers.items()}))
    got = await wire.read()
    assert (got.status, got.json["result"]["content"][0]["text"]) == (200, "hi")
    await wire.close()


@pytest.mark.parametrize("name", ["access_token", "token", "authorization"])
async def test_a_credential_in_the_query_is_none(listen: Listen, name: str) -> None:
    edge = await listen()
    headers, body = tool("one__echo", text="hi")
    wire = await edge.connect()
    await wire.send(raw_post(body, {**headers, "Authorization": "-"}, f"/mcp?{name}=ann"))
    assert (await wire.read()).status == (400 if name == "access_token" else 401)
    await wire.close()


async def test_a_session_id_holds_nothing_but_visible_ascii(gateway: OPEN) -> None:
    made = await gateway()
    for who in ("ann", "bö\x7f"):
        session = (await made.client(who)).session
        assert session
        assert all(0x21 <= ord(each) <= 0x7E for each in session)


async def test_a_legacy_answer_is_one_json_object_or_a_stream(listen: Listen) -> None:
    got = await (await listen()).post(
        {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "initialize",
            "params": {
                "protocolVersion": "2025-11-25",
                "capabilities": {},
                "clientInfo": {"name": "c", "version": "1"},
            },
        }
    )
    assert got.headers["content-type"].partition(";")[0] in ("application/json", "text/event-stream")
    assert isinstance(json.loads(got.body), dict)


async def test_one_path_takes_post_and_get(listen: Listen) -> None:
    edge = await listen()
    session = (await edge.gateway.client()).session
    for accepted, status, content in (
        ("text/event-stream", 200, "text/event-stream"),
        ("application/json", 406, "application/json"),
    ):
        wire = await edge.connect()
        lines = [
            "GET /mcp HTTP/1.1",
            "Host: 127.0.0.1",
            "Authorization: ann",
            f"Accept: {accepted}",
            f"Mcp-Session-Id: {session}",
            "MCP-Protocol-Version: 2025-11-25",
        ]
        await wire.send("\r\n".join([*lines, "", ""]).encode())
        got = await wire.head()
        assert (got.status, got.headers["content-type"].partition(";")[0]) == (status, content)
        await wire.close()


async def test_a_legacy_ping_is_answered_with_an_empty_result(gateway: OPEN) -> None:
    client = await (await gateway()).client()
    assert (await client.ask("ping")).result == {}


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ("2025-11-25", "2025-11-25"),
        ("2025-06-18", "2025-06-18"),
        ("2025-03-26", "2025-03-26"),
        ("2024-11-05", "2024-11-05"),
        ("2026-07-28", "2025-11-25"),
        ("1999-01-01", "2025-11-25"),
    ],
)
async def test_a_version_that_is_spoken_is_agreed_to_and_any_other_answered_with_ours(
    gateway: OPEN, asked: str, given: str
) -> None:
    made = await gateway()
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {"protocolVersion": asked, "capabilities": {}},
    }
    assert (await made.send(made.call({}, body, "ann"))).result["protocolVersion"] == given
