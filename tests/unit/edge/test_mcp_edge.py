"""MCP over HTTP, byte by byte: what is taken, what is refused, and that no fault of ours is ever shown."""

from __future__ import annotations

import asyncio
import gc
import json

import pytest

from tests.unit.edge.conftest import Listen
from tests.unit.edge.setting import EdgeSetting, Got, modern, raw_post, tool
from tests.unit.fleet.setting import spec
from tidegate.domain.server import Timeouts

PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
SLOW = Timeouts(call=600)


async def ask(edge: EdgeSetting, request: tuple[dict[str, str], object], **more: str) -> Got:
    """Send a modern request."""
    headers, body = request
    return await edge.post(body, **{name.replace("-", "_"): value for name, value in headers.items()}, **more)


async def session(edge: EdgeSetting) -> str:
    """Initialise a legacy client."""
    params = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "c", "version": "1"},
    }
    got = await edge.post({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})
    assert got.status == 200
    return got.headers["mcp-session-id"]


async def test_a_call_is_answered_as_json_where_there_is_nothing_more_to_say(listen: Listen) -> None:
    edge = await listen()
    got = await ask(edge, tool("one__echo", text="hello"))
    assert (got.status, got.headers["content-type"]) == (200, "application/json")
    assert got.json["result"]["content"][0]["text"] == "hello"
    assert "server" not in got.headers


async def test_progress_makes_the_answer_an_event_stream(listen: Listen) -> None:
    edge = await listen()
    request = modern(
        "tools/call", "id-of-mine", name="one__echo", arguments={"text": "x"}, meta={"progressToken": 5}
    )
    got = await ask(edge, request)
    assert got.headers["content-type"] == "text/event-stream"
    assert got.headers["x-accel-buffering"] == "no"
    first, last = (json.loads(event.removeprefix(b"data: ")) for event in got.events)
    assert (first["method"], first["params"]["progressToken"]) == ("notifications/progress", 5)
    assert (last["id"], last["result"]["content"][0]["text"]) == ("id-of-mine", "x")


async def test_a_client_that_takes_no_event_stream_gets_the_answer_alone(listen: Listen) -> None:
    edge = await listen()
    request = modern("tools/call", name="one__echo", arguments={"text": "x"}, meta={"progressToken": 5})
    got = await ask(edge, request, Accept="application/json")
    assert got.headers["content-type"] == "application/json"
    assert got.json["result"]["content"][0]["text"] == "x"


async def test_an_answer_that_is_long_in_coming_is_preceded_by_keep_alives(listen: Listen) -> None:
    edge = await listen(spec("one", timeouts=SLOW))
    server = edge.gateway.fleet.servers["one"]
    wire = await edge.connect()
    headers, body = tool("one__waits", text="at last")
    await wire.send(raw_post(body, headers))
    await edge.time.until(lambda: server.calls)
    await edge.time.advance(17)
    head = await wire.head()
    assert head.headers["content-type"] == "text/event-stream"
    assert await wire.chunk() == b": keep-alive\n\n"
    await edge.time.advance(17)
    assert await wire.chunk() == b": keep-alive\n\n"
    server.release.set()
    assert b"at last" in await wire.chunk()
    assert await wire.chunk() == b""
    await wire.close()


# -- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "attacker.example"}, 403),
        ({"Host": "-"}, 403),
        ({"Origin": "http://attacker.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Content-Type": "-"}, 415),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/jsonp"}, 415),
        ({"Accept": "text/html"}, 406),
        ({"Accept": "text/event-stream"}, 406),
        ({"Authorization": "-"}, 401),
        ({"Authorization": "bad"}, 401),
        ({"MCP-Protocol-Version": "-"}, 400),
        ({"MCP-Protocol-Version": "2099-01-01"}, 400),
        ({"Mcp-Method": "-"}, 400),
        ({"Mcp-Name": "other"}, 400),
    ],
)
async def test_odd_headers_are_refused_with_their_status_and_reach_no_server(
    listen: Listen, headers: dict[str, str], status: int
) -> None:
    edge = await listen()
    right, body = tool("one__echo")
    wire = await edge.connect()
    await wire.send(raw_post(body, {**right, **headers}))
    got = await wire.read()
    assert got.status == status
    assert got.json["error"]["data"]["reason"]
    assert "\n" not in got.json["error"]["message"]
    assert edge.gateway.fleet.servers["one"].calls == []
    assert edge.gateway.refusals()
    await wire.close()


@pytest.mark.parametrize(
    "kind", ["application/json; charset=utf-8", "Application/JSON", "application/json;charset=UTF-8"]
)
async def test_json_is_json_however_it_is_written(listen: Listen, kind: str) -> None:
    edge = await listen()
    assert (await ask(edge, tool("one__echo"), Content_Type=kind)).status == 200


@pytest.mark.parametrize("accept", ["-", "*/*", "application/*", "Application/JSON, text/event-stream"])
async def test_every_way_of_accepting_json_is_taken(listen: Listen, accept: str) -> None:
    edge = await listen()
    assert (await ask(edge, tool("one__echo"), Accept=accept)).status == 200


@pytest.mark.parametrize(
    "name",
    ["Host", "Origin", "Authorization", "Mcp-Session-Id", "MCP-Protocol-Version", "Mcp-Method", "Mcp-Name"],
)
async def test_a_header_that_must_stand_once_and_stands_twice_is_refused(listen: Listen, name: str) -> None:
    edge = await listen()
    headers, body = tool("one__echo")
    raw = raw_post(body, {"Origin": "http://localhost", "Mcp-Session-Id": "x", **headers})
    wire = await edge.connect()
    await wire.send(raw.replace(b"\r\n\r\n", f"\r\n{name.lower()}: other\r\n\r\n".encode(), 1))
    got = await wire.read()
    assert got.status == 400
    assert "stands twice" in got.json["error"]["message"]
    assert edge.gateway.fleet.servers["one"].calls == []
    await wire.close()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", -32700),
        (b"{", -32700),
        (b"\xff", -32700),
        (b"[" * 50_000, -32700),
        (b'{"a":' * 50_000, -32700),
        (b"[]", -32600),
        (b"null", -32600),
        (b'{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}', -32700),
        (b'{"jsonrpc":"2.0","id":{},"method":"ping"}', -32600),
    ],
)
async def test_a_body_that_is_no_message_is_400_with_its_code(listen: Listen, body: bytes, code: int) -> None:
    edge = await listen()
    got = await edge.post(body)
    assert (got.status, got.json["error"]["code"], got.json["id"]) == (400, code, None)


async def test_the_id_of_a_refused_request_comes_back(listen: Listen) -> None:
    edge = await listen()
    assert (await edge.post({**PING, "id": "mine"})).json["id"] == "mine"


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_the_bound_is_413_and_not_waited_for(listen: Listen, chunked: bool) -> None:
    edge = await listen(body=1000)
    wire = await edge.connect()
    headers, body = tool("one__echo", text="x" * 2000)
    raw = raw_post(body, headers)
    if chunked:
        data = json.dumps(body).encode()
        head = raw_post(body, {**headers, "Content-Length": "-", "Transfer-Encoding": "chunked"})
        head = head[: head.index(b"\r\n\r\n") + 4]
        raw = head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data)
    await wire.send(raw)
    got = await wire.read()
    assert (got.status, got.json["error"]["data"]["reason"]) == (413, "too_large")
    assert edge.gateway.fleet.servers["one"].calls == []
    await wire.close()


async def test_a_body_said_to_be_huge_is_refused_before_it_comes(listen: Listen) -> None:
    edge = await listen()
    wire = await edge.connect()
    await wire.send(raw_post(b"", {"Content-Length": "99999999999"}))
    assert (await wire.read()).status == 413
    await wire.close()


async def test_a_body_in_many_pieces_is_one(listen: Listen) -> None:
    edge = await listen()
    headers, body = tool("one__echo", text="in pieces")
    raw = raw_post(body, headers)
    wire = await edge.connect()
    for at in range(0, len(raw), 7):
        await wire.send(raw[at : at + 7])
        await asyncio.sleep(0)
    assert (await wire.read()).json["result"]["content"][0]["text"] == "in pieces"
    await wire.close()


async def test_a_chunked_body_is_taken(listen: Listen) -> None:
    edge = await listen()
    headers, body = tool("one__echo", text="x" * 3000)
    data = json.dumps(body).encode()
    head = raw_post(b"", {**headers, "Content-Length": "-", "Transfer-Encoding": "chunked"})
    pieces = [data[at : at + 500] for at in range(0, len(data), 500)]
    wire = await edge.connect()
    await wire.send(head)
    for piece in pieces:
        await wire.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        await asyncio.sleep(0)
    await wire.send(b"0\r\n\r\n")
    assert (await wire.read()).status == 200
    await wire.close()


async def test_a_connection_that_ends_in_the_body_leaves_nothing(listen: Listen) -> None:
    edge = await listen()
    headers, body = tool("one__echo")
    wire = await edge.connect()
    await wire.send(raw_post(body, {**headers, "Content-Length": "5000"}))
    await wire.close()
    await edge.time.until(lambda: edge.gateway.refusals() or edge.listener.connections == 0)
    assert edge.gateway.fleet.servers["one"].calls == []


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "HEAD", "OPTIONS"])
async def test_other_methods_are_405_and_say_which_are_allowed(listen: Listen, method: str) -> None:
    edge = await listen()
    wire = await edge.connect()
    await wire.send(f"{method} /mcp HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    head = await wire.head()
    allowed = "POST, DELETE" if method == "GET" else "GET, POST, DELETE"  # without a session GET is none
    assert (head.status, head.headers["allow"]) == (405, allowed)
    await wire.close()


@pytest.mark.parametrize("path", ["/", "/mcp/", "/mcp/x", "/other", "/%6dcp/..", "/v1/status", "//mcp"])
async def test_other_paths_are_404(listen: Listen, path: str) -> None:
    edge = await listen()
    wire = await edge.connect()
    got = await wire.get(path)
    assert (got.status, got.json) == (404, {"error": "no such path"})
    await wire.close()


# -- sessions -----------------------------------------------------------------------------------


async def test_a_legacy_client_lives_from_initialize_to_delete(listen: Listen) -> None:
    edge = await listen()
    mine = await session(edge)
    note = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    got = await edge.post(note, Mcp_Session_Id=mine)
    assert (got.status, got.body) == (202, b"")
    call = {"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": {"name": "one__echo", "arguments": {"text": "x"}}}  # fmt: skip
    assert (await edge.post(call, Mcp_Session_Id=mine)).json["result"]["content"][0]["text"] == "x"
    delete = raw_post(b"", {"Mcp-Session-Id": mine}).replace(b"POST", b"DELETE")
    wire = await edge.connect()
    await wire.send(delete)
    assert (await wire.read()).status == 200
    assert (await edge.post(call, Mcp_Session_Id=mine)).status == 404
    await wire.send(delete)
    assert (await wire.read()).status == 404
    await wire.close()


@pytest.mark.parametrize(
    ("headers", "status"), [({}, 400), ({"Mcp_Session_Id": "nonsense"}, 404), ({"Mcp_Session_Id": ""}, 404)]
)
async def test_a_request_without_a_session_that_is_known_is_refused(
    listen: Listen, headers: dict[str, str], status: int
) -> None:
    edge = await listen()
    assert (await edge.post(PING, **headers)).status == status


async def test_delete_without_a_session_is_refused(listen: Listen) -> None:
    edge = await listen()
    wire = await edge.connect()
    await wire.send(raw_post(b"").replace(b"POST", b"DELETE"))
    assert (await wire.read()).status == 400
    await wire.close()


# -- clients that go ----------------------------------------------------------------------------


async def test_a_modern_client_that_goes_has_cancelled(listen: Listen) -> None:
    edge = await listen()
    server = edge.gateway.fleet.servers["one"]
    wire = await edge.connect()
    headers, body = tool("one__waits")
    await wire.send(raw_post(body, headers))
    await edge.time.until(lambda: server.calls)
    await wire.close()
    await edge.time.until(lambda: server.cancelled)
    assert server.cancelled == [server.calls[0]["id"]]
    assert edge.gateway.outcomes() == ["cancelled"]
    assert edge.gateway.limits.in_flight == 0


async def test_a_modern_client_that_goes_in_the_middle_of_a_stream_has_cancelled(listen: Listen) -> None:
    edge = await listen()
    server = edge.gateway.fleet.servers["one"]
    wire = await edge.connect()
    headers, body = modern("tools/call", name="one__waits", meta={"progressToken": 1})
    await wire.send(raw_post(body, headers))
    assert b"notifications/progress" in (await wire.head(), await wire.chunk())[1]
    await wire.close()
    await edge.time.until(lambda: server.cancelled)


async def test_a_modern_client_that_goes_while_its_server_starts_is_recorded_and_calls_nothing(
    listen: Listen,
) -> None:
    from tidegate.domain.server import Sharing

    edge = await listen(spec("one", sharing=Sharing.CALL))
    runtime = edge.gateway.fleet.runtime
    assert (await ask(edge, tool("one__echo"))).status == 200
    runtime.hold = asyncio.Event()
    first, second = await edge.connect(), await edge.connect()
    headers, body = tool("one__echo")
    for wire in (first, second):
        await wire.send(raw_post(body, headers))
    await edge.time.until(lambda: edge.gateway.limits.in_flight >= 1 and runtime.starting >= 1)
    await first.close()
    await second.close()
    await edge.time.until(lambda: edge.gateway.limits.in_flight == 0)
    runtime.hold.set()
    await edge.time.settle()
    assert "cancelled" in edge.gateway.refusals()


async def test_a_legacy_client_that_goes_has_not_cancelled(listen: Listen) -> None:
    edge = await listen()
    server = edge.gateway.fleet.servers["one"]
    mine = await session(edge)
    wire = await edge.connect()
    call = {"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": {"name": "one__waits"}}
    await wire.send(raw_post(call, {"Mcp-Session-Id": mine}))
    await edge.time.until(lambda: server.calls)
    await wire.close()
    await edge.time.until(lambda: edge.listener.connections == 0)
    assert server.cancelled == []
    server.release.set()
    await edge.time.until(lambda: edge.gateway.outcomes())
    assert edge.gateway.outcomes() == ["ok"]


async def test_a_legacy_client_cancels_by_saying_so_and_the_exchange_ends(listen: Listen) -> None:
    edge = await listen()
    server = edge.gateway.fleet.servers["one"]
    mine = await session(edge)
    wire = await edge.connect()
    call = {"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": {"name": "one__waits"}}
    await wire.send(raw_post(call, {"Mcp-Session-Id": mine}))
    await edge.time.until(lambda: server.calls)
    cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 9}}
    assert (await edge.post(cancel, Mcp_Session_Id=mine)).status == 202
    assert (await wire.read()).json["error"]["code"] == -31008
    assert (await wire.post({**PING, "id": 10}, Mcp_Session_Id=mine)).json == {"jsonrpc": "2.0", "id": 10, "result": {}}  # fmt: skip
    await wire.close()


# -- faults of ours -----------------------------------------------------------------------------


async def test_a_fault_of_ours_is_one_line_and_no_traceback(
    listen: Listen, capfd: pytest.CaptureFixture[str]
) -> None:
    edge = await listen()
    pools = edge.gateway.fleet.fleet.pools
    pool, pools["one"] = pools["one"], None  # what cannot be
    got = await ask(edge, tool("one__echo"))
    assert got.json["error"]["message"] == "internal error"
    assert got.json["error"]["code"] == -32603
    assert b"Traceback" not in got.body
    assert b"AttributeError" not in got.body
    assert "AttributeError" in capfd.readouterr().out
    pools["one"] = pool
    assert edge.gateway.limits.in_flight == 0


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_call_leaves_nothing_behind_that_only_a_collector_would_find(
    listen: Listen, era: str
) -> None:
    edge = await listen()
    own = await session(edge)
    headers, body = tool("one__echo", text="x")
    if era == "legacy":
        headers, body = {"Mcp-Session-Id": own}, {**body, "params": {"name": "one__echo", "arguments": {}}}
    wire = await edge.connect()

    async def ask(times: int) -> None:
        for _ in range(times):
            assert (
                await wire.post(body, **{name.replace("-", "_"): value for name, value in headers.items()})
            ).status == 200

    await ask(5)  # what is made once is made
    gc.collect()
    gc.disable()
    try:
        await ask(40)
        found = gc.collect()
    finally:
        gc.enable()
        await wire.close()
    assert found < 40
