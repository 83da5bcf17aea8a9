"""Streams of a Streamable HTTP server: cancelled, resumed, and its own."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.channels.streamable_setting import (
    CLIENT,
    McpServer,
    channel_to,
    note,
    result_of,
)
from tidegate.channels.channel import Outbound
from tidegate.domain.errors import (
    ChannelClosed,
    ChannelTimeout,
    UpstreamRefused,
)
from tidegate.testing.scripted import until

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
            await peer.event(note("notifications/message", level="info"), "s1-1")
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
        await peer.event(note("notifications/message", level="info"), ident)
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
        await peer.event(note("notifications/tools/list_changed"), f"g-{len(opened)}")
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
        assert it.channel.dropped.unsent == 0
