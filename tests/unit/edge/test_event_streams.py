"""Legacy clients' event streams over HTTP: GET, what a POST's answer has before it, and coming back."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.unit.edge.conftest import Listen
from tests.unit.edge.setting import EdgeSetting, Wire, event, raw_post
from tests.unit.edge.test_mcp_edge import SLOW, session
from tests.unit.fleet.setting import spec


def call(request_id: object = 9, name: str = "one__waits", **meta: object) -> dict[str, object]:
    """A legacy tools/call."""
    params: dict[str, object] = {"name": name, "arguments": {"text": "x"}}
    if meta:
        params["_meta"] = meta
    return {"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": params}


async def begun(edge: EdgeSetting, mine: str, request_id: object = 9) -> tuple[Wire, list[str]]:
    """Begin a call that reports progress and then waits; give the ids of the events that came."""
    wire = await edge.connect()
    await wire.send(raw_post(call(request_id, progressToken=1), {"Mcp-Session-Id": mine}))
    assert (await wire.head()).headers["content-type"] == "text/event-stream"
    found = list[str]()
    while len(found) < 2:
        found += [event(block)[0] for block in (await wire.chunk()).split(b"\n\n") if block]
    return wire, found


# -- GET ----------------------------------------------------------------------------------------


async def test_a_legacy_client_listens_until_its_session_ends(listen: Listen) -> None:
    edge = await listen()
    mine = await session(edge)
    wire = await edge.connect()
    head = await wire.listen(mine)
    assert (head.status, head.headers["content-type"]) == (200, "text/event-stream")
    assert head.headers["cache-control"] == "no-store"
    assert (await wire.chunk()).endswith(b"\nretry: 1000\ndata: \n\n")
    streams = edge.gateway.built.streams
    (key,) = streams.sessions("/mcp")
    streams.notify(key, "notifications/tools/list_changed", {})
    assert event(await wire.chunk())[1] == {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
    other = await edge.connect()
    await other.send(raw_post(b"", {"Mcp-Session-Id": mine}).replace(b"POST", b"DELETE"))
    assert (await other.read()).status == 200
    assert await wire.chunk() == b""
    await wire.send(raw_post({"jsonrpc": "2.0", "id": 1, "method": "ping"}, {"Mcp-Session-Id": mine}))
    assert (await wire.read()).status == 404  # on the same connection: the stream was ended in order
    for each in (wire, other):
        await each.close()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Accept": "application/json"}, 406),
        ({"Accept": "-"}, 406),
        ({"Mcp-Session-Id": "-"}, 400),
        ({"Mcp-Session-Id": "-", "MCP-Protocol-Version": "-"}, 405),
        ({"Mcp-Session-Id": "nonsense"}, 404),
        ({"MCP-Protocol-Version": "2026-07-28"}, 405),
        ({"MCP-Protocol-Version": "2026-07-28", "Mcp-Session-Id": "-"}, 405),
        ({"MCP-Protocol-Version": "1999-01-01"}, 400),
        ({"Authorization": "bad"}, 401),
        ({"Authorization": "bob"}, 404),
        ({"Origin": "http://attacker.example"}, 403),
        ({"Last-Event-ID": "nonsense"}, 400),
    ],
)
async def test_a_get_that_cannot_be_is_refused_with_its_status(
    listen: Listen, headers: dict[str, str], status: int
) -> None:
    edge = await listen()
    wire = await edge.connect()
    mine = await session(edge)
    last = headers.pop("Last-Event-ID", None)
    assert (await wire.listen(headers.pop("Mcp-Session-Id", mine), last, **headers)).status == status
    assert edge.gateway.built.streams.kept == 0
    await wire.close()


async def test_a_client_without_chunks_has_no_stream(listen: Listen) -> None:
    edge = await listen()
    mine = await session(edge)
    wire = await edge.connect()
    raw = f"GET /mcp HTTP/1.0\r\nHost: localhost\r\nAuthorization: ann\r\nAccept: text/event-stream\r\nMcp-Session-Id: {mine}"
    await wire.send(f"{raw}\r\n\r\n".encode())
    assert (await wire.head()).status == 400
    await wire.close()


async def test_a_modern_delete_is_not_allowed(listen: Listen) -> None:
    edge = await listen()
    wire = await edge.connect()
    raw = raw_post(b"", {"MCP-Protocol-Version": "2026-07-28"})
    await wire.send(raw.replace(b"POST", b"DELETE"))
    assert (await wire.read()).status == 405
    await wire.close()


async def test_a_client_that_goes_leaves_a_stream_it_may_come_back_to_and_nothing_else(
    listen: Listen,
) -> None:
    edge = await listen()
    mine = await session(edge)
    streams = edge.gateway.built.streams
    for _ in range(3):
        wire = await edge.connect()
        await wire.listen(mine)
        await wire.chunk()
        await wire.close()
        await edge.time.until(lambda: streams.listening == 0)
    assert edge.listener.connections == 0
    assert streams.kept == 3


async def test_a_drain_ends_streams_and_no_call(listen: Listen) -> None:
    edge = await listen()
    mine = await session(edge)
    listening = await edge.connect()
    await listening.listen(mine)
    await listening.chunk()
    wire, _ = await begun(edge, mine)
    edge.gateway.built.drain()
    assert await listening.chunk() == b""
    edge.gateway.fleet.servers["one"].release.set()
    assert event(await wire.chunk())[1]["id"] == 9
    for each in (wire, listening):
        await each.close()


# -- POST ---------------------------------------------------------------------------------------


async def test_a_legacy_answer_after_progress_has_ids_and_begins_with_one_to_come_back_by(
    listen: Listen,
) -> None:
    edge = await listen()
    mine = await session(edge)
    got = await edge.post(call(name="one__echo", progressToken=5), Mcp_Session_Id=mine)
    primed, progress, answer = (event(block) for block in got.events)
    assert primed[1] is None
    assert b"retry: 1000" in got.events[0]
    assert progress[1]["method"] == "notifications/progress"
    assert (answer[1]["id"], answer[1]["result"]["content"][0]["text"]) == (9, "x")
    assert len({primed[0], progress[0], answer[0]}) == 3


async def test_a_legacy_answer_with_nothing_before_it_is_json(listen: Listen) -> None:
    edge = await listen()
    mine = await session(edge)
    got = await edge.post(call(name="one__echo"), Mcp_Session_Id=mine)
    assert got.headers["content-type"] == "application/json"
    assert edge.gateway.built.streams.kept == 0


async def test_a_call_that_takes_long_is_given_an_id_to_come_back_by(listen: Listen) -> None:
    edge = await listen(spec("one", timeouts=SLOW))
    server = edge.gateway.fleet.servers["one"]
    mine = await session(edge)
    wire = await edge.connect()
    await wire.send(raw_post(call(), {"Mcp-Session-Id": mine}))
    await edge.time.until(lambda: server.calls)
    await edge.time.advance(4)
    assert (await wire.head()).headers["content-type"] == "text/event-stream"
    assert (await wire.chunk()).endswith(b"data: \n\n")
    await edge.time.advance(17)
    assert await wire.chunk() == b": keep-alive\n\n"
    server.release.set()
    assert event(await wire.chunk())[1]["result"]
    await wire.close()


async def test_a_client_that_lost_its_connection_comes_back_for_the_answer(listen: Listen) -> None:
    edge = await listen()
    server = edge.gateway.fleet.servers["one"]
    mine = await session(edge)
    wire, ids = await begun(edge, mine)
    await wire.close()
    await edge.time.until(lambda: edge.listener.connections == 0)
    again = await edge.connect()
    await again.listen(mine, ids[-1])
    server.release.set()
    found, answer = event(await again.chunk())
    assert (answer["id"], server.cancelled) == (9, [])
    assert found not in ids
    assert await again.chunk() == b""
    await again.listen(mine, ids[0])
    replayed = await again.chunk()
    assert [event(block)[1].get("method") for block in replayed.split(b"\n\n") if block] == [
        "notifications/progress", None,
    ]  # fmt: skip
    await again.close()
    assert edge.gateway.outcomes() == ["ok"]


async def test_an_answer_that_came_while_nobody_was_there_is_kept(listen: Listen) -> None:
    edge = await listen()
    mine = await session(edge)
    wire, ids = await begun(edge, mine)
    await wire.close()
    await edge.time.until(lambda: edge.listener.connections == 0)
    edge.gateway.fleet.servers["one"].release.set()
    await edge.time.until(lambda: edge.gateway.outcomes())
    again = await edge.connect()
    await again.listen(mine, ids[-1])
    assert event(await again.chunk())[1]["id"] == 9
    await again.close()


async def test_a_call_that_was_cancelled_ends_the_stream_it_is_waited_for_on(listen: Listen) -> None:
    edge = await listen()
    mine = await session(edge)
    wire, ids = await begun(edge, mine)
    await wire.close()
    await edge.time.until(lambda: edge.listener.connections == 0)
    again = await edge.connect()
    await again.listen(mine, ids[-1])
    cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 9}}
    assert (await edge.post(cancel, Mcp_Session_Id=mine)).status == 202
    assert event(await again.chunk())[1]["error"]["code"] == -31008
    assert await again.chunk() == b""
    await again.close()


async def test_two_calls_at_once_have_a_stream_each(listen: Listen) -> None:
    edge = await listen()
    mine = await session(edge)
    first, one = await begun(edge, mine, "a")
    second, two = await begun(edge, mine, "b")
    assert not set(one) & set(two)
    edge.gateway.fleet.servers["one"].release.set()
    for wire, name in ((first, "a"), (second, "b")):
        assert event(await wire.chunk())[1]["id"] == name
        await wire.close()


async def test_a_client_that_reads_nothing_holds_up_no_call(listen: Listen) -> None:
    edge = await listen()
    streams = edge.gateway.built.streams
    mine = await session(edge)
    wire = await edge.connect()
    await wire.listen(mine)
    (key,) = streams.sessions("/mcp")
    padding = {"p": json.dumps("p" * 10_000).encode()}
    for _ in range(2000):
        streams.notify(key, "notifications/x", padding)  # type: ignore[arg-type]
        await asyncio.sleep(0)
    assert streams.held.size < 3 * 2**20
    assert (await edge.post(call(name="one__echo"), Mcp_Session_Id=mine)).status == 200
    await wire.close()
