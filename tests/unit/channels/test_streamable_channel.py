"""Calls to a Streamable HTTP server of exact bytes, in both eras."""

from __future__ import annotations

import json

import pytest
from msgspec import Raw

from tests.unit.channels.streamable_setting import (
    McpServer,
    channel_to,
    note,
    result_of,
)
from tidegate.channels.channel import Outbound
from tidegate.domain.errors import (
    ChannelClosed,
    ChannelFailure,
    SessionForgotten,
    UpstreamProtocolError,
    UpstreamRefused,
)
from tidegate.domain.server import Secret
from tidegate.testing.scripted import until

# Calls


async def test_a_modern_call_is_mirrored_in_its_headers():
    async def serve(peer, request):
        await peer.result(request, {"resultType": "complete"})

    mirrored = {"Mcp-Param-Region": "eu west", "Mcp-Param-Name": "zeit\nfür"}
    async with channel_to(McpServer(serve, modern=True), headers={"Authorization": Secret("Bearer x")}) as it:
        for _ in range(2):
            await it.call(name="t")
        await it.call(name="zeit", mirrored=mirrored)
        await it.channel.ask(Outbound("tools/list"))
    calls = it.server.heard("tools/call")
    assert [each.headers["mcp-name"] for each in calls] == ["t", "t", "zeit"]
    assert all(each.headers["mcp-method"] == "tools/call" for each in calls)
    assert calls[2].headers["mcp-param-region"] == "eu west"
    assert calls[2].headers["mcp-param-name"] == "=?base64?emVpdApmw7xy?="
    assert all(each.headers["authorization"] == "Bearer x" for each in it.server.got)
    assert "mcp-name" not in it.server.heard("tools/list")[0].headers
    assert len({each.json["id"] for each in calls}) == 3


async def test_a_legacy_call_has_its_session_and_no_mirrors():
    async def serve(peer, request):
        await peer.result(request, {"n": 1})

    async with channel_to(McpServer(serve)) as it:
        assert result_of(await it.call(meta={"progressToken": Raw(b"1")}, notify=lambda *_: None)) == {"n": 1}
    (call,) = it.server.heard("tools/call")
    assert call.headers["mcp-session-id"] == "s-1"
    assert not {"mcp-method", "mcp-name"} & call.headers.keys()
    assert list(call.json["params"]["_meta"]) == ["progressToken"]


async def test_a_result_in_several_lines_comes_as_one():
    async def serve(peer, request):
        body = json.dumps({"jsonrpc": "2.0", "id": request.json["id"], "result": {"a": [1]}}, indent=1)
        await peer.answer(body.replace("\n", "\r\n").encode())

    async with channel_to(McpServer(serve)) as it:
        reply = await it.call()
    assert b"\n" not in bytes(reply.result)
    assert b"\r" not in bytes(reply.result)
    assert result_of(reply) == {"a": [1]}


async def test_an_answer_as_events_brings_progress_and_log_messages_to_its_call():
    async def serve(peer, request):
        token = request.json["params"]["_meta"]["progressToken"]
        await peer.stream()
        await peer.event(note("notifications/progress", progressToken=token, progress=1))
        await peer.event(note("notifications/progress", progressToken="other", progress=2))
        await peer.event(note("notifications/message", level="info", data="x"))
        await peer.event(note("notifications/tools/list_changed"))
        await peer.event({"jsonrpc": "2.0", "id": request.json["id"], "result": {"ok": True}})
        await peer.reader.read()

    heard = []
    async with channel_to(McpServer(serve)) as it:
        call = it.call(
            meta={"progressToken": Raw(b'"mine"')},
            notify=lambda method, params: heard.append((method, {k: bytes(v) for k, v in params.items()})),
        )
        assert result_of(await call) == {"ok": True}
        assert it.events.notified == [("notifications/tools/list_changed", {})]
        assert it.channel.dropped.progress == 1
    assert heard == [
        ("notifications/progress", {"progressToken": b'"mine"', "progress": b"1"}),
        ("notifications/message", {"level": b'"info"', "data": b'"x"'}),
    ]


@pytest.mark.parametrize("ident", ['"e0-999"', "1", "null", '"other"'])
@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_with_another_id_is_refused(ident: str, streamed: bool):
    async def serve(peer, request):
        body = b'{"jsonrpc":"2.0","id":%b,"result":{"of":"another"}}' % ident.encode()
        if streamed:
            await peer.stream()
            await peer.send(b"data: " + body + b"\n\n")
            await peer.reader.read()
        else:
            await peer.answer(body)

    async with channel_to(McpServer(serve)) as it:
        with pytest.raises(UpstreamProtocolError, match="another request's id"):
            await it.call()


@pytest.mark.parametrize(
    ("status", "kind", "body", "error"),
    [
        ("200 OK", "text/html", b"<html>", UpstreamProtocolError),
        ("200 OK", "application/json", b"nonsense", UpstreamProtocolError),
        ("200 OK", "application/json", b'{"jsonrpc":"2.0","method":"x"}', UpstreamProtocolError),
        ("202 Accepted", "application/json", b"", UpstreamProtocolError),
        ("204 No Content", "application/json", b"", UpstreamProtocolError),
        ("307 Temporary Redirect", "text/plain", b"", UpstreamRefused),
        ("401 Unauthorized", "application/json", b'{"id":1,"error":{"code":1}}', UpstreamRefused),
        ("500 Oops", "text/plain", b"traceback", UpstreamRefused),
        ("404 Not Found", "text/plain", b"", SessionForgotten),
    ],
)
async def test_what_is_no_answer_fails_the_call(status: str, kind: str, body: bytes, error: type):
    async def serve(peer, request):
        await peer.answer(body, status, f"Content-Type: {kind}")

    async with channel_to(McpServer(serve)) as it:
        with pytest.raises(ChannelFailure) as failure:
            await it.call()
        assert type(failure.value) is error
        assert "traceback" not in str(failure.value)


@pytest.mark.parametrize("ident", ["its own", None])
async def test_a_jsonrpc_error_with_an_http_error_is_a_reply(ident):
    async def serve(peer, request):
        error = {"code": -32020, "message": "header mismatch"}
        body = {"jsonrpc": "2.0", "id": ident and request.json["id"], "error": error}
        await peer.answer(json.dumps(body).encode(), "400 Bad Request")

    async with channel_to(McpServer(serve, modern=True)) as it:
        reply = await it.call()
    assert json.loads(bytes(reply.error))["code"] == -32020


async def test_a_forgotten_session_fails_the_call_and_the_channel_once():
    async def serve(peer, request):
        await peer.answer(b'{"jsonrpc":"2.0","id":"x","error":{"code":-32600}}', "404 Not Found")

    async with channel_to(McpServer(serve)) as it:
        first, second = it.call(), it.call()
        for call in (first, second):
            with pytest.raises(SessionForgotten):
                await call
        assert len(it.events.closed) == 1
        with pytest.raises(ChannelClosed):
            await it.call()
    assert not [each for each in it.server.got if each.method == "DELETE"]


@pytest.mark.parametrize("ping", ["400 Bad Request", "404 Not Found", "200 OK"])
async def test_a_400_that_a_ping_gets_too_means_a_forgotten_session_and_else_is_a_reply(ping: str):
    async def serve(peer, request):
        error = {"jsonrpc": "2.0", "id": request.json["id"], "error": {"code": -32000, "message": "?"}}
        await peer.answer(json.dumps(error).encode(), "400 Bad Request")

    class Forgetful(McpServer):
        async def answer(self, peer, request):
            if request.body and request.json["method"] == "ping":
                answer = {"jsonrpc": "2.0", "id": request.json["id"], "result": {}}
                await peer.answer(json.dumps(answer).encode(), ping)
            else:
                await super().answer(peer, request)

    async with channel_to(Forgetful(serve)) as it:
        if ping == "200 OK":
            assert json.loads(bytes((await it.call()).error))["code"] == -32000
        else:
            with pytest.raises(SessionForgotten):
                await it.call()
        assert len(it.events.closed) == (ping != "200 OK")


async def test_a_404_without_a_session_is_only_a_refusal():
    async def serve(peer, request):
        await peer.answer(b"", "404 Not Found")

    async with channel_to(McpServer(serve, session=None)) as it:
        with pytest.raises(UpstreamRefused):
            await it.call()
        assert it.events.closed == []


async def test_a_server_that_goes_away_fails_the_call_and_may_come_back():
    async def serve(peer, request):
        if len(it.server.heard("tools/call")) == 1:
            peer.writer.close()
        else:
            await peer.result(request, {})

    async with channel_to(McpServer(serve), listening=False) as it:
        with pytest.raises(ChannelClosed):
            await it.call()
        await it.call()
        assert it.events.closed == []
    assert len(it.server.heard("tools/call")) == 2


async def test_closing_fails_what_waits():
    async def serve(peer, request):
        await peer.reader.read()

    async with channel_to(McpServer(serve)) as it:
        call = it.call()
        await until(lambda: bool(it.server.heard("tools/call")))
        assert it.channel.in_flight == 1
    with pytest.raises(ChannelClosed):
        await call
    assert it.events.closed == []


async def test_the_gateways_own_questions_are_never_tool_calls():
    async with channel_to(McpServer()) as it:
        with pytest.raises(ValueError, match="intent"):
            await it.channel.ask(Outbound("tools/call"))
