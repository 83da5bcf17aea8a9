"""Conversations with a server of the older HTTP+SSE transport."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from msgspec import Raw

from tidegate.channels.channel import Outbound
from tidegate.channels.handshake import Patience
from tidegate.channels.place import HttpPlace
from tidegate.channels.sse import SseChannel
from tidegate.domain.errors import (
    ChannelClosed,
    ChannelTimeout,
    UpstreamProtocolError,
    UpstreamRefused,
)
from tidegate.domain.server import Secret
from tidegate.protocol.client import introduce
from tidegate.testing.scripted import Got, Peer, serving, until
from tidegate.testing.stream import FreeIntent, HeardEvents

CLIENT = introduce("1.2.3")
INITIALIZED = {"protocolVersion": "2024-11-05", "capabilities": {}, "serverInfo": {"name": "older"}}


class OlderServer:
    """One stream and an endpoint; answers the handshake and hands everything else to the test."""

    def __init__(self, endpoint="/messages?session=1", accept="202 Accepted"):
        self.endpoint = endpoint
        self.accept = accept
        self.got: list[Got] = []
        self.stream: Peer | None = None
        self.streams = 0

    async def __call__(self, peer: Peer) -> None:
        while True:
            request = await peer.request()
            self.got.append(request)
            if request.method == "GET":
                self.streams += 1
                self.stream = peer
                await peer.stream()
                await peer.send(f"event: endpoint\r\ndata: {self.endpoint}\r\n\r\n".encode())
                await peer.reader.read()
                return
            method = request.json.get("method")
            assert self.stream is not None
            if method == "initialize":
                await self.say({"jsonrpc": "2.0", "id": request.json["id"], "result": INITIALIZED})
            await peer.answer(b"Accepted", self.accept, "Content-Type: text/plain")

    async def say(self, message: object) -> None:
        assert self.stream is not None
        await self.stream.send(b"event: message\n")
        await self.stream.event(message)

    def heard(self, method: str) -> list[Got]:
        return [each for each in self.got if each.body and each.json.get("method") == method]


class Setting:
    def __init__(self, channel, events, server):
        self.channel: SseChannel = channel
        self.events: HeardEvents = events
        self.server: OlderServer = server

    def call(self, **parts) -> asyncio.Task:
        outbound = Outbound("tools/call", {"name": Raw(b'"t"')}, **{"timeout": 5, **parts})
        return asyncio.ensure_future(self.channel.call(FreeIntent(), outbound))

    async def called(self, number: int = 1) -> object:
        await until(lambda: len(self.server.heard("tools/call")) == number)
        return self.server.heard("tools/call")[-1].json["id"]


@asynccontextmanager
async def channel_to(server, *, opened=True):
    async with serving(server) as listener:
        events = HeardEvents()
        place = HttpPlace(f"{listener.url}/sse", {"X-Key": Secret("k")})
        channel = SseChannel(events, place, epoch="e0")
        try:
            if opened:
                await channel.open(None, CLIENT)
            yield Setting(channel, events, server)
        finally:
            await channel.close()


async def test_a_server_is_initialised_over_its_stream_and_the_endpoint_it_names():
    async with channel_to(OlderServer()) as it:
        assert it.channel.upstream.revision == "2024-11-05"
        await until(lambda: bool(it.server.heard("notifications/initialized")))
    (opening, *posts) = it.server.got
    assert (opening.method, opening.target, opening.headers["accept"]) == ("GET", "/sse", "text/event-stream")
    assert {each.target for each in posts} == {"/messages?session=1"}
    assert {each.headers["x-key"] for each in it.server.got} == {"k"}


async def test_answers_come_on_the_stream_in_any_order():
    async with channel_to(OlderServer()) as it:
        first = it.call()
        one = await it.called(1)
        second = it.call()
        two = await it.called(2)
        await it.server.say({"jsonrpc": "2.0", "id": two, "result": {"n": 2}})
        await it.server.say({"jsonrpc": "2.0", "id": one, "result": {"n": 1}})
        assert json.loads(bytes((await first).result)) == {"n": 1}
        assert json.loads(bytes((await second).result)) == {"n": 2}


@pytest.mark.parametrize(
    "endpoint", ["http://example.org/messages", "//example.org/x", "https://127.0.0.1/x", "ftp://127.0.0.1/"]
)
async def test_an_endpoint_of_another_origin_is_refused(endpoint: str):
    async with channel_to(OlderServer(endpoint), opened=False) as it:
        with pytest.raises(UpstreamProtocolError, match="endpoint"):
            await it.channel.open(None, CLIENT)
    assert [each.method for each in it.server.got] == ["GET"]


async def test_an_endpoint_relative_to_the_stream_is_taken():
    async with channel_to(OlderServer("message")) as it:
        assert it.server.heard("initialize")[0].target == "/message"


async def test_a_server_that_opens_no_stream_fails_the_handshake():
    async def refusing(peer):
        await peer.request()
        await peer.answer(b"", "404 Not Found")

    async with channel_to(refusing, opened=False) as it:
        with pytest.raises(UpstreamRefused, match="404"):
            await it.channel.open(None, CLIENT)


async def test_a_server_that_names_no_endpoint_fails_the_handshake_in_time():
    async def silent(peer):
        await peer.request()
        await peer.stream()
        await peer.reader.read()

    async with channel_to(silent, opened=False) as it:
        with pytest.raises(ChannelTimeout, match="endpoint"):
            await it.channel.open(None, CLIENT, Patience(0.05))


async def test_a_handshake_that_does_not_get_there_fails():
    async with channel_to(OlderServer(accept="403 Forbidden"), opened=False) as it:
        it.server.say = _nothing
        with pytest.raises(ChannelClosed, match="403"):
            await it.channel.open(None, CLIENT)


async def _nothing(message: object) -> None:
    pass


async def test_a_stream_that_is_lost_fails_the_calls_and_is_told():
    async with channel_to(OlderServer()) as it:
        call = it.call()
        await it.called()
        assert it.server.stream is not None
        it.server.stream.writer.close()
        with pytest.raises(ChannelClosed, match="ended its stream"):
            await call
        assert len(it.events.closed) == 1
        with pytest.raises(ChannelClosed):
            await it.call()
    assert it.server.streams == 1


async def test_a_message_that_is_refused_fails_its_call_only():
    async with channel_to(OlderServer()) as it:
        it.server.accept = "500 No"
        with pytest.raises(UpstreamRefused, match="500"):
            await it.call()
        assert it.channel.in_flight == 0
        assert it.events.closed == []


@pytest.mark.parametrize("how", ["cancelled", "timeout"])
async def test_cancelling_tells_the_server(how: str):
    async with channel_to(OlderServer()) as it:
        call = it.call(timeout=5 if how == "cancelled" else 0.1)
        ident = await it.called()
        if how == "cancelled":
            call.cancel()
        with pytest.raises(asyncio.CancelledError if how == "cancelled" else ChannelTimeout):
            await call
        await until(lambda: bool(it.server.heard("notifications/cancelled")))
        assert it.server.heard("notifications/cancelled")[0].json["params"]["requestId"] == ident
        await it.server.say({"jsonrpc": "2.0", "id": ident, "result": {}})
        await until(lambda: it.channel.dropped.late == 1)


async def test_progress_and_notifications_come_on_the_stream():
    heard = []
    async with channel_to(OlderServer()) as it:
        call = it.call(meta={"progressToken": Raw(b"9")}, notify=lambda _, params: heard.append(dict(params)))
        ident = await it.called()
        note = {"jsonrpc": "2.0", "method": "notifications/progress"}
        await it.server.say({**note, "params": {"progressToken": ident, "progress": 1}})
        await it.server.say({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
        await it.server.say({"jsonrpc": "2.0", "id": ident, "result": {}})
        await call
    assert heard == [{"progressToken": Raw(b"9"), "progress": Raw(b"1")}]
    assert it.events.notified == [("notifications/tools/list_changed", {})]


async def test_what_the_server_asks_is_answered_by_a_post():
    async with channel_to(OlderServer()) as it:
        await it.server.say({"jsonrpc": "2.0", "id": 3, "method": "ping"})
        await until(lambda: any(each.body and each.json.get("id") == 3 for each in it.server.got))
        assert it.server.got[-1].json["result"] == {}


async def test_closing_fails_what_waits_and_tells_nobody():
    async with channel_to(OlderServer()) as it:
        call = it.call()
        await it.called()
    with pytest.raises(ChannelClosed):
        await call
    assert it.events.closed == []


async def test_the_gateways_own_questions_are_never_tool_calls():
    async with channel_to(OlderServer()) as it:
        with pytest.raises(ValueError, match="intent"):
            await it.channel.ask(Outbound("tools/call"))
