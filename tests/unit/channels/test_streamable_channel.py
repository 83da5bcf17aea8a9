"""Conversations with a Streamable HTTP server of exact bytes, in both eras."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from msgspec import Raw

from tidegate.channels.channel import Outbound
from tidegate.channels.handshake import Patience
from tidegate.channels.place import HttpPlace
from tidegate.channels.streamable import StreamableHttpChannel
from tidegate.domain.errors import (
    ChannelClosed,
    ChannelFailure,
    ChannelTimeout,
    SessionForgotten,
    UpstreamProtocolError,
    UpstreamRefused,
)
from tidegate.domain.server import Secret
from tidegate.domain.workload import Upstream
from tidegate.protocol.client import introduce
from tidegate.testing.scripted import Got, Peer, serving, until
from tidegate.testing.stream import FreeIntent, HeardEvents

CLIENT = introduce("1.2.3")
DISCOVERED = {"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}
INITIALIZED = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "old"}}


class McpServer:
    """Shakes hands, and leaves what comes after to the test."""

    def __init__(self, serve=None, *, modern=False, session="s-1", stream=None, refusal="400 Bad Request"):
        self.serve = serve
        self.modern = modern
        self.session = session
        self.stream = stream
        self.refusal = refusal
        self.got: list[Got] = []

    async def __call__(self, peer: Peer) -> None:
        while True:
            request = await peer.request()
            self.got.append(request)
            await self.answer(peer, request)

    async def answer(self, peer: Peer, request: Got) -> None:
        method = request.json.get("method") if request.body else None
        if request.method == "GET" and self.stream is not None:
            await self.stream(peer, request)
        elif request.method != "POST":
            await peer.answer(b"", "405 Method Not Allowed")
        elif method == "server/discover":
            if self.modern:
                await peer.result(request, DISCOVERED)
            else:
                await peer.answer(b'{"error":"no session"}', self.refusal)
        elif method == "initialize":
            session = [f"Mcp-Session-Id: {self.session}"] if self.session else []
            await peer.result(request, INITIALIZED, *session)
        elif method == "notifications/initialized":
            await peer.answer(b"", "202 Accepted")
        elif self.serve is None or method in ("notifications/cancelled", "ping"):
            if method == "ping":
                await peer.result(request, {})
            else:
                await peer.answer(b"", "202 Accepted")
        else:
            await self.serve(peer, request)

    def heard(self, method: str) -> list[Got]:
        """Give the requests of a JSON-RPC method."""
        return [each for each in self.got if each.body and each.json.get("method") == method]


class Setting:
    def __init__(self, channel: StreamableHttpChannel, events: HeardEvents, server: McpServer):
        self.channel = channel
        self.events = events
        self.server = server

    def call(self, **parts) -> asyncio.Task:
        outbound = Outbound("tools/call", {"name": Raw(b'"t"')}, **{"name": "t", "timeout": 5, **parts})
        return asyncio.ensure_future(self.channel.call(FreeIntent(), outbound))


@asynccontextmanager
async def channel_to(server: McpServer, *, opened=True, known=None, headers=None, listening=True):
    async with serving(server) as listener:
        place = HttpPlace(f"{listener.url}/mcp?x=1", headers or {})
        events = HeardEvents()
        channel = StreamableHttpChannel(events, place, epoch="e0", listening=listening)
        try:
            if opened:
                await channel.open(known, CLIENT)
            yield Setting(channel, events, server)
        finally:
            await channel.close()


def result_of(reply) -> object:
    return json.loads(bytes(reply.result))


# Handshake


async def test_a_server_that_is_discovered_is_modern():
    async with channel_to(McpServer(modern=True)) as it:
        assert (it.channel.upstream.era, it.channel.upstream.session) == ("modern", None)
        assert it.channel.upstream.capabilities == b'{"tools": {}}'
    (probe,) = it.server.got
    assert probe.target == "/mcp?x=1"
    assert probe.headers["mcp-protocol-version"] == "2026-07-28"
    assert probe.headers["mcp-method"] == "server/discover"
    assert "mcp-name" not in probe.headers
    assert probe.headers["accept"] == "application/json, text/event-stream"
    assert probe.headers["content-type"] == "application/json"
    assert probe.json["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"


@pytest.mark.parametrize(
    "refusal", ["400 Bad Request", "404 Not Found", "405 No", "200 OK", "500 No", "406 No"]
)
async def test_a_server_that_refuses_the_probe_without_a_modern_error_is_initialised(refusal: str):
    async with channel_to(McpServer(refusal=refusal)) as it:
        upstream = it.channel.upstream
        assert (upstream.era, upstream.revision, upstream.session) == ("legacy", "2025-11-25", "s-1")
    initialize, initialized = it.server.heard("initialize") + it.server.heard("notifications/initialized")
    assert "mcp-protocol-version" not in initialize.headers
    assert "mcp-method" not in initialize.headers
    assert initialized.headers["mcp-protocol-version"] == "2025-11-25"
    assert initialized.headers["mcp-session-id"] == "s-1"


@pytest.mark.parametrize("status", ["400 Bad Request", "404 Not Found", "200 OK"])
async def test_a_modern_error_keeps_the_probe_modern_whatever_the_status(status: str):
    class Refusing(McpServer):
        async def answer(self, peer, request):
            error = {"code": -32022, "message": "no", "data": {"supported": ["2030-01-01"]}}
            body = {"jsonrpc": "2.0", "id": request.json["id"], "error": error}
            await peer.answer(json.dumps(body).encode(), status)

    async with channel_to(Refusing(), opened=False) as it:
        with pytest.raises(UpstreamProtocolError, match="2030-01-01"):
            await it.channel.open(None, CLIENT)
        assert it.server.heard("initialize") == []


@pytest.mark.parametrize("status", [401, 403, 503])
async def test_a_refusal_that_says_nothing_of_the_era_ends_the_handshake(status: int):
    async with channel_to(McpServer(refusal=f"{status} No"), opened=False) as it:
        with pytest.raises(UpstreamRefused) as failure:
            await it.channel.open(None, CLIENT)
        assert failure.value.status == status
        assert it.server.heard("initialize") == []


async def test_a_server_that_is_silent_to_the_probe_is_initialised():
    class Silent(McpServer):
        async def answer(self, peer, request):
            if request.body and request.json["method"] == "server/discover":
                await peer.reader.read()
            else:
                await super().answer(peer, request)

    async with channel_to(Silent(), opened=False) as it:
        assert (await it.channel.open(None, CLIENT, Patience(5, probe=0.05))).era == "legacy"


async def test_a_handshake_that_takes_too_long_fails():
    async def silent(peer):
        await peer.reader.read()

    async with channel_to(silent, opened=False) as it:
        with pytest.raises(ChannelTimeout):
            await it.channel.open(None, CLIENT, Patience(0.05, probe=0.02))


async def test_a_server_that_is_not_there_fails_the_handshake_as_not_sent():
    async with serving(McpServer()) as listener:
        pass
    channel = StreamableHttpChannel(HeardEvents(), HttpPlace(listener.url), epoch="e")
    with pytest.raises(ChannelClosed) as failure:
        await channel.open(None, CLIENT)
    assert not failure.value.sent
    await channel.close()


@pytest.mark.parametrize("session", ["has space", "x" * 2000, "t\xe4st"])
async def test_a_session_id_that_cannot_be_one_is_refused(session: str):
    async with channel_to(McpServer(session=session), opened=False) as it:
        with pytest.raises(UpstreamProtocolError, match="session id"):
            await it.channel.open(None, CLIENT)


async def test_a_session_is_ended_when_the_channel_closes_and_no_other_is():
    async with channel_to(McpServer(), listening=False) as it:
        pass
    assert [(each.method, each.headers["mcp-session-id"]) for each in it.server.got[-1:]] == [
        ("DELETE", "s-1")
    ]
    async with channel_to(McpServer(session=None), listening=False) as it:
        pass
    assert [each.method for each in it.server.got] == ["POST"] * 3


async def test_a_known_session_is_used_again_and_not_initialised():
    known = Upstream("legacy", "2025-06-18", b"{}", b"{}", session="s-9")
    async with channel_to(McpServer(), known=known, listening=False) as it:
        assert it.channel.upstream is known
    (ping,) = it.server.heard("ping")
    assert (ping.headers["mcp-session-id"], ping.headers["mcp-protocol-version"]) == ("s-9", "2025-06-18")
    assert it.server.heard("initialize") == []


async def test_a_known_session_that_the_server_forgot_says_so():
    async def forgetful(peer):
        await peer.request()
        await peer.answer(b"", "404 Not Found")

    known = Upstream("legacy", "2025-06-18", b"{}", b"{}", session="s-9")
    async with channel_to(forgetful, opened=False) as it:
        with pytest.raises(SessionForgotten):
            await it.channel.open(known, CLIENT)
        assert it.events.closed == []


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
        await peer.event(_note("notifications/progress", progressToken=token, progress=1))
        await peer.event(_note("notifications/progress", progressToken="other", progress=2))
        await peer.event(_note("notifications/message", level="info", data="x"))
        await peer.event(_note("notifications/tools/list_changed"))
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


def _note(method: str, **params) -> dict:
    return {"jsonrpc": "2.0", "method": method, "params": params}


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


# Cancellation


@pytest.mark.parametrize("how", ["cancelled", "timeout"])
@pytest.mark.parametrize("modern", [True, False])
async def test_cancelling_closes_the_stream_and_tells_a_legacy_server_besides(modern: bool, how: str):
    gone = asyncio.Event()

    async def serve(peer, request):
        await peer.reader.read()
        gone.set()

    async with channel_to(McpServer(serve, modern=modern), listening=False) as it:
        call = it.call(timeout=5 if how == "cancelled" else 0.05)
        await until(lambda: bool(it.server.heard("tools/call")))
        if how == "cancelled":
            call.cancel()
        with pytest.raises(asyncio.CancelledError if how == "cancelled" else ChannelTimeout):
            await call
        await asyncio.wait_for(gone.wait(), 5)
        if not modern:
            await until(lambda: bool(it.server.heard("notifications/cancelled")))
    notices = it.server.heard("notifications/cancelled")
    ids = [each.json["id"] for each in it.server.heard("tools/call")]
    assert [each.json["params"]["requestId"] for each in notices] == ([] if modern else ids)


# Resumption


async def test_a_dropped_stream_with_event_ids_is_resumed_where_it_stood():
    async def serve(peer, request):
        peer.got = request
        serve.ident = request.json["id"]
        await peer.stream("Connection: close")
        await peer.send(b"id: s1-0\nretry: 10\ndata:\n\n")
        peer.writer.close()

    async def stream(peer, request):
        if "last-event-id" not in request.headers:
            await peer.answer(b"", "405 No")
            return
        await peer.stream("Connection: close")
        if request.headers["last-event-id"] == "s1-0":
            await peer.event(_note("notifications/message", level="info"), "s1-1")
            peer.writer.close()
        else:
            await peer.event({"jsonrpc": "2.0", "id": serve.ident, "result": {"ok": 1}}, "s1-2")

    async with channel_to(McpServer(serve, stream=stream)) as it:
        assert result_of(await it.call()) == {"ok": 1}
    resumed = [each for each in it.server.got if "last-event-id" in each.headers]
    assert [each.headers["last-event-id"] for each in resumed] == ["s1-0", "s1-1"]
    assert all(each.headers["mcp-session-id"] == "s-1" for each in resumed)
    assert len(it.server.heard("tools/call")) == 1


async def _ids_then_gone(peer, request):
    await peer.stream("Connection: close")
    await peer.send(b"id: s1-0\nretry: 1\ndata:\n\n")
    peer.writer.close()


async def test_resuming_what_brings_nothing_is_given_up():
    async def stream(peer, request):
        await peer.stream("Connection: close")
        peer.writer.close()

    async with channel_to(McpServer(_ids_then_gone, stream=stream), listening=False) as it:
        with pytest.raises(ChannelClosed) as failure:
            await it.call()
        assert failure.value.sent


async def test_resuming_where_the_server_does_not_fails_the_call():
    async with channel_to(McpServer(_ids_then_gone), listening=False) as it:
        with pytest.raises(UpstreamRefused, match="resume"):
            await it.call()


async def test_resuming_ends_with_the_calls_deadline():
    async def serve(peer, request):
        await peer.stream("Connection: close")
        await peer.send(b"id: s1-0\nretry: 60000\ndata:\n\n")
        peer.writer.close()

    async with channel_to(McpServer(serve), listening=False) as it:
        with pytest.raises(ChannelTimeout):
            await it.call(timeout=0.1)


@pytest.mark.parametrize("modern", [True, False])
async def test_a_dropped_stream_that_cannot_be_resumed_fails_the_call_as_sent(modern: bool):
    async def serve(peer, request):
        await peer.stream("Connection: close")
        ident = "x1" if modern else None  # a modern stream is not resumed, ids or not
        await peer.event(_note("notifications/message", level="info"), ident)
        peer.writer.close()

    async with channel_to(McpServer(serve, modern=modern), listening=False) as it:
        with pytest.raises(ChannelClosed, match="before the answer") as failure:
            await it.call()
        assert failure.value.sent


# What the server says of its own accord


async def test_a_legacy_servers_own_stream_is_read_and_opened_again():
    opened = []

    async def stream(peer, request):
        opened.append(request.headers.get("last-event-id"))
        await peer.stream("Connection: close")
        await peer.send(b"retry: 5\n\n")
        await peer.event(_note("notifications/tools/list_changed"), f"g-{len(opened)}")
        if len(opened) > 1:
            await peer.event({"jsonrpc": "2.0", "id": "e0-1", "result": {}})
            await peer.reader.read()
        peer.writer.close()

    async with channel_to(McpServer(stream=stream)) as it:
        await until(lambda: it.channel.dropped.unknown == 1)
        assert [method for method, _ in it.events.notified] == ["notifications/tools/list_changed"] * 2
    assert opened == [None, "g-1"]


async def test_a_modern_server_is_not_asked_for_a_stream():
    async with channel_to(McpServer(modern=True)) as it:
        await it.channel.ask(Outbound("ping"))
    assert {each.method for each in it.server.got} == {"POST"}


async def test_a_session_forgotten_on_the_servers_own_stream_is_told():
    async def stream(peer, request):
        if len([each for each in it.server.got if each.method == "GET"]) > 1:
            await peer.answer(b"", "404 Not Found")
            return
        await peer.stream("Connection: close")
        await peer.send(b"retry: 5\n\n")
        peer.writer.close()

    server = McpServer(stream=stream)
    async with channel_to(server, opened=False) as it:
        await it.channel.open(None, CLIENT)
        await until(lambda: len(it.events.closed) == 1)


async def test_a_404_for_a_stream_that_never_was_says_nothing_of_the_session():
    async def stream(peer, request):
        await peer.answer(b"", "404 Not Found")

    async with channel_to(McpServer(stream=stream)) as it:
        await until(lambda: any(each.method == "GET" for each in it.server.got))
        await it.channel.ask(Outbound("ping"))
        assert it.events.closed == []


async def test_what_a_server_asks_on_a_stream_is_answered_by_a_post():
    async def stream(peer, request):
        await peer.stream()
        await peer.event({"jsonrpc": "2.0", "id": 7, "method": "ping"})
        await peer.event({"jsonrpc": "2.0", "id": 8, "method": "roots/list"})
        await peer.reader.read()

    async with channel_to(McpServer(stream=stream)) as it:
        answered = lambda: {each.json.get("id"): each for each in it.server.got if each.body}  # noqa: E731
        await until(lambda: {7, 8} <= answered().keys())
        assert answered()[7].json["result"] == {}
        assert answered()[8].json["error"]["code"] == -32601
        assert answered()[8].headers["mcp-session-id"] == "s-1"


async def test_what_a_modern_server_asks_is_not_answered():
    async def serve(peer, request):
        await peer.stream()
        await peer.event({"jsonrpc": "2.0", "id": 8, "method": "roots/list"})
        await peer.event({"jsonrpc": "2.0", "id": request.json["id"], "result": {}})

    async with channel_to(McpServer(serve, modern=True)) as it:
        await it.call()
        assert it.channel.dropped.requests == 1
        assert it.channel.dropped.unsent == 1
