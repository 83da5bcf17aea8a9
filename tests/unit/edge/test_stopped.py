"""What clients see over HTTP when something is stopped under them: the reason, and streams that end."""

from __future__ import annotations

import pytest

from tests.unit.edge.conftest import Listen
from tests.unit.edge.setting import EdgeSetting, raw_post, tool
from tests.unit.edge.test_event_streams import call
from tests.unit.edge.test_mcp_edge import PING, session
from tidegate.domain.stop import Stop, StopScope

MINE = Stop("s1", StopScope.PRINCIPAL, "ann", "laptop was stolen", "ops", 1.0)
TOLD = (-31014, "stopped", "s1")


def told(message: dict[str, dict[str, object]]) -> tuple[object, ...]:
    error = message["error"]
    data = error["data"]
    assert isinstance(data, dict)
    assert "laptop was stolen" in str(error["message"])
    return error["code"], data["reason"], data["stop"]


async def begin(edge: EdgeSetting, revision: str = "2025-11-25", **headers: str) -> str:
    """Initialise a client of a revision."""
    params = {
        "protocolVersion": revision,
        "capabilities": {},
        "clientInfo": {"name": "c", "version": "1"},
    }
    got = await edge.post({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}, **headers)
    return got.headers["mcp-session-id"]


@pytest.mark.parametrize("modern", [False, True])
async def test_a_call_in_flight_is_answered_with_what_stopped_it_and_the_connection_goes_on(
    listen: Listen, modern: bool
) -> None:
    edge = await listen()
    server = edge.gateway.fleet.servers["one"]
    mine = await session(edge)
    wire = await edge.connect()
    headers, body = tool("one__waits") if modern else ({"Mcp-Session-Id": mine}, call())
    await wire.send(raw_post(body, headers))
    await edge.time.until(lambda: server.calls)
    edge.gateway.stops.turn([MINE])
    assert told((await wire.read()).json) == TOLD
    assert (await wire.post({**PING, "id": 10}, Mcp_Session_Id=mine)).json["result"] == {}
    assert server.cancelled == [server.calls[0]["id"]]
    assert edge.gateway.outcomes() == ["cancelled"]
    (record,) = edge.gateway.records("refused")
    assert (record["reason"], record["data"]["stop"]) == ("stopped", "s1")
    await wire.close()


async def test_each_message_of_a_batch_is_stopped_for_itself(listen: Listen) -> None:
    edge = await listen()
    server = edge.gateway.fleet.servers["one"]
    mine = await begin(edge, "2025-03-26")
    wire = await edge.connect()
    await wire.send(raw_post([call(1), {**PING, "id": 2}], {"Mcp-Session-Id": mine}))
    await edge.time.until(lambda: server.calls)
    edge.gateway.stops.turn([Stop("s1", StopScope.TOOL, "one__waits", "laptop was stolen", "ops", 1.0)])
    first, second = (await wire.read()).json
    assert told(first) == TOLD
    assert second["result"] == {}
    await wire.close()


async def test_an_open_stream_of_who_is_stopped_ends_and_none_is_opened_until_it_is_resumed(
    listen: Listen,
) -> None:
    edge = await listen()
    mine, bobs = await session(edge), await begin(edge, Authorization="bob")
    wire, other = await edge.connect(), await edge.connect()
    assert (await wire.listen(mine)).status == 200
    assert (await other.listen(bobs, Authorization="bob")).status == 200
    await wire.chunk()
    await other.chunk()
    edge.gateway.stops.turn([MINE])
    assert await wire.chunk() == b""
    again = await edge.connect()
    refused = await again.listen(mine)
    assert refused.status == 503
    edge.gateway.stops.turn([])
    back = await edge.connect()
    assert (await back.listen(mine)).status == 200
    assert edge.gateway.built.streams.listening == 2
    for each in (wire, other, again, back):
        await each.close()
