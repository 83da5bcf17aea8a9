"""Every kind of work counts what is right and names what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bench.__main__ import SHAPES
from bench.load import closed_loop, open_callers
from bench.process import http_upstream
from bench.shapes import SHAPES as ALL
from bench.upstream_http import PROGRESS
from bench.wire import Era, Requests, Target
from bench.work import Echo, ListAll, SessionCall, Stream

REQUESTS = Requests(Target("http://127.0.0.1:1/mcp"), Era.LEGACY, 0)
MODERN = Requests(Target("http://127.0.0.1:1/mcp", "bench__echo"), Era.MODERN, 0)


def body_of(request: bytes) -> dict[str, Any]:
    head, _, body = request.partition(b"\r\n\r\n")
    assert int(head.lower().rpartition(b"content-length: ")[2]) == len(body)
    return json.loads(body)


def answered(number: int, words: str) -> bytes:
    result = {"content": [{"type": "text", "text": words}]}
    return json.dumps({"jsonrpc": "2.0", "id": number, "result": result}).encode()


def events(*messages: object) -> bytes:
    return b"".join(b"event: message\ndata: %b\n\n" % json.dumps(each).encode() for each in messages)


def progress(token: object, done: int) -> dict[str, Any]:
    return {
        "jsonrpc": "2.0",
        "method": "notifications/progress",
        "params": {"progressToken": token, "progress": done},
    }


@pytest.mark.parametrize("shape", ALL, ids=lambda shape: shape.name)
async def test_every_shape_is_answered_right_by_the_upstream(tmp_path: Path, shape: Any) -> None:
    async with http_upstream(tmp_path, shape.tools) as url:
        for era in shape.eras:
            callers = await open_callers(Target(url), era, 2, shape.work)
            came = await closed_loop(callers, 0.1)
            for caller in callers:
                caller.close()
            assert came.failures.total() == 0
            assert len(came.latencies) >= 2
    assert shape.name in SHAPES


@pytest.mark.parametrize("size", [1_000, 20_000, 1_000_000])
def test_a_payload_has_its_size_and_no_two_are_alike(size: int) -> None:
    work = Echo(REQUESTS, size)
    texts = [body_of(work.begin(number))["params"]["arguments"]["text"] for number in (1, 2)]
    assert [len(text) for text in texts] == [size, size]
    assert texts[0] != texts[1]
    assert work.take(200, answered(2, texts[1])) is None
    assert work.take(200, answered(2, texts[0])) is not None


def test_a_streamed_call_asks_for_progress_under_its_own_number() -> None:
    sent = MODERN.stream(7, "words")
    message = body_of(sent)
    assert message["params"]["name"] == "bench__stream"
    assert message["params"]["_meta"]["progressToken"] == 7
    assert "io.modelcontextprotocol/protocolVersion" in message["params"]["_meta"]
    assert b"Mcp-Name: bench__stream" in sent


@pytest.mark.parametrize(
    ("told", "right"),
    [
        ([(7, done) for done in range(1, PROGRESS + 1)], True),
        ([(7, done) for done in range(1, PROGRESS)], False),
        ([(7, done) for done in range(PROGRESS, 0, -1)], False),
        ([(8, done) for done in range(1, PROGRESS + 1)], False),
        ([], False),
    ],
)
def test_a_stream_is_right_with_all_its_progress_in_order(told: list[tuple[int, int]], right: bool) -> None:
    work = Stream(REQUESTS)
    words = body_of(work.begin(7))["params"]["arguments"]["text"]
    body = events(*(progress(*each) for each in told), json.loads(answered(7, words)))
    assert (work.take(200, body) is None) is right
    assert work.take(200, events(*(progress(*each) for each in told))) is not None


def test_a_list_is_right_when_every_page_was_read_and_every_tool_counted() -> None:
    work = ListAll(REQUESTS, 3)
    tools = [{"name": "a", "inputSchema": {}}, {"name": "b", "inputSchema": {}}]
    page = json.dumps(
        {"jsonrpc": "2.0", "id": 1, "result": {"tools": tools, "nextCursor": "t2"}}, separators=(",", ":")
    ).encode()
    last = json.dumps(
        {"jsonrpc": "2.0", "id": 1, "result": {"tools": tools[:1]}}, separators=(",", ":")
    ).encode()
    assert body_of(work.begin(1))["params"] == {}
    following = work.take(200, page)
    assert isinstance(following, bytes)
    assert body_of(following)["params"] == {"cursor": "t2"}
    assert work.take(200, last) is None
    work.begin(2)
    assert work.take(200, last) == "1 tools instead of 3"
    assert "status 404" in str(work.take(404, b"{}"))


def test_a_session_a_call_goes_through_all_its_steps_and_stops_at_what_is_wrong() -> None:
    headers = {"mcp-session-id": "s"}
    work = SessionCall(REQUESTS, headers)
    first = work.begin(5)
    assert b"Mcp-Session-Id" not in first
    noted = work.take(200, b"{}")
    assert isinstance(noted, bytes)
    assert b"Mcp-Session-Id: s\r\n" in noted
    call = work.take(202, b"")
    assert isinstance(call, bytes)
    words = body_of(call)["params"]["arguments"]["text"]
    end = work.take(200, answered(5, words))
    assert isinstance(end, bytes)
    assert end.startswith(b"DELETE /mcp HTTP/1.1\r\n")
    assert b"Mcp-Session-Id: s" in end
    assert work.take(200, b"") is None
    headers.clear()
    work.begin(6)
    assert "initialize answered 200" in str(work.take(200, b"{}"))
