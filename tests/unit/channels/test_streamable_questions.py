"""What a legacy server asks over Streamable HTTP: on a call's own stream, and on its own."""

from __future__ import annotations

import asyncio
import json

from msgspec import Raw

from tests.unit.channels.asked_client import ASK, YES, Client
from tests.unit.channels.streamable_setting import CLIENT, McpServer, Setting, channel_to, note, result_of
from tidegate.channels.channel import Outbound, Party
from tidegate.testing.loop_time import LoopTime
from tidegate.testing.scripted import Got, Peer, until
from tidegate.testing.stream import FreeIntent


class Asking:
    """A server that keeps every call's stream open, and its own."""

    def __init__(self) -> None:
        self.calls: dict[str, tuple[Peer, Got]] = {}
        self.own: Peer | None = None
        self.server = McpServer(self.serve, stream=self.listen)

    async def serve(self, peer: Peer, request: Got) -> None:
        await peer.stream()
        self.calls[request.json["params"]["name"]] = (peer, request)
        await peer.reader.read()

    async def listen(self, peer: Peer, request: Got) -> None:
        await peer.stream()
        self.own = peer
        await peer.reader.read()

    async def ask(self, name: str, ident: int, method: str = ASK) -> None:
        await self.calls[name][0].event({"jsonrpc": "2.0", "id": ident, "method": method})

    async def ask_all(self, ident: int) -> None:
        await until(lambda: self.own is not None)
        assert self.own is not None
        await self.own.event({"jsonrpc": "2.0", "id": ident, "method": ASK})

    async def finish(self, name: str) -> None:
        peer, request = self.calls[name]
        await peer.event({"jsonrpc": "2.0", "id": request.json["id"], "result": {"of": name}})

    def answer_to(self, ident: int) -> dict | None:
        found = [each.json for each in self.server.got if each.body and each.json.get("id") == ident]
        return found[0] if found else None


async def call_of(it: Setting, asking: Asking, name: str, client: Client, **parts) -> asyncio.Task:
    named = Raw(json.dumps(name).encode())
    sent = Outbound("tools/call", {"name": named}, holder=name, asked=client.ask, notify=client.tell, **parts)
    task = asyncio.ensure_future(it.channel.call(FreeIntent(), sent))
    await until(lambda: name in asking.calls)
    return task


async def test_a_question_on_a_calls_own_stream_is_that_calls_whoever_else_calls():
    asking, one, two = Asking(), Client(), Client()
    async with channel_to(asking.server) as it:
        calls = [await call_of(it, asking, "a", one), await call_of(it, asking, "b", two)]
        await asking.ask("b", 11)
        await until(lambda: two.asked)
        two.asked[0][2](YES)
        await until(lambda: asking.answer_to(11))
        assert asking.answer_to(11) == {"jsonrpc": "2.0", "id": 11, "result": {"action": "accept"}}
        assert one.asked == []
        assert it.events.contended == 0
        await asking.finish("a")
        await asking.finish("b")
        assert [result_of(each) for each in await asyncio.gather(*calls)] == [{"of": "a"}, {"of": "b"}]


async def test_on_the_servers_own_stream_a_question_is_put_only_where_it_can_be_for_one():
    asking, one, two = Asking(), Client(), Client()
    async with channel_to(asking.server) as it:
        first = await call_of(it, asking, "a", one)
        await asking.ask_all(21)
        await until(lambda: one.asked)
        second = await call_of(it, asking, "b", two)
        await asking.ask_all(22)
        await until(lambda: asking.answer_to(22))
        assert asking.answer_to(22)["error"]["code"] == -32603  # type: ignore[index]
        assert it.events.contended == 1
        assert (len(one.asked), two.asked) == (1, [])
        one.asked[0][2](YES)
        await until(lambda: asking.answer_to(21))
        await asking.finish("a")
        await asking.finish("b")
        await asyncio.gather(first, second)


async def test_whoever_waits_for_the_server_is_asked_by_its_own_stream():
    asking, client = Asking(), Client()
    async with channel_to(asking.server, opened=False) as it:
        it.events.callers.append(Party("a", client.ask))
        await it.channel.open(None, CLIENT)
        await asking.ask_all(31)
        await until(lambda: client.asked)


async def test_a_question_is_given_up_with_the_call_on_whose_stream_it_came():
    asking, client = Asking(), Client()
    async with channel_to(asking.server) as it:
        call = await call_of(it, asking, "a", client)
        await asking.ask("a", 41)
        await until(lambda: client.asked)
        await asking.finish("a")
        await call
        assert [method for method, _, _ in client.asked] == [ASK, "notifications/cancelled"]
        assert client.asked[0][2] is client.asked[1][2]
        client.asked[0][2](YES)
        await it.channel.ask(Outbound("ping"))
        assert asking.answer_to(41) is None


async def test_a_server_gives_up_its_question():
    asking, client = Asking(), Client()
    async with channel_to(asking.server) as it:
        call = await call_of(it, asking, "a", client)
        await asking.ask("a", 51)
        await asking.calls["a"][0].event(note("notifications/cancelled", requestId=51))
        await until(lambda: len(client.asked) == 2)
        assert client.asked[1][0] == "notifications/cancelled"
        await asking.finish("a")
        await call


async def test_a_call_does_not_time_out_while_its_client_is_asked_and_does_after():
    time = LoopTime()
    asking, client = Asking(), Client()
    async with channel_to(asking.server, listening=False) as it:
        call = await call_of(it, asking, "a", client, timeout=10.0)
        await asking.ask("a", 61)
        await time.until(lambda: client.asked)
        await time.advance(120)
        assert not call.done()
        client.asked[0][2](YES)
        assert await time.until(call.done) < 12
        assert type(call.exception()).__name__ == "ChannelTimeout"


async def test_a_stream_that_breaks_off_while_a_client_is_asked_is_resumed_whatever_time_that_takes():
    time = LoopTime()
    client = Client()

    async def serve(peer: Peer, request: Got) -> None:
        serve.ident = request.json["id"]  # type: ignore[attr-defined]
        await peer.stream("Connection: close")
        await peer.event({"jsonrpc": "2.0", "id": 71, "method": ASK}, "s1-0")
        peer.writer.close()

    async def stream(peer: Peer, request: Got) -> None:
        await peer.stream("Connection: close")
        while not any(each.body and each.json.get("id") == 71 for each in server.got):
            await asyncio.sleep(0.5)
        await peer.event({"jsonrpc": "2.0", "id": serve.ident, "result": {"ok": 1}}, "s1-1")  # type: ignore[attr-defined]

    server = McpServer(serve, stream=stream)
    async with channel_to(server, listening=False) as it:
        call = it.call(holder="a", asked=client.ask, timeout=10.0)
        await time.until(lambda: client.asked)
        await time.advance(100)
        assert not call.done()
        client.asked[0][2](YES)
        await time.until(call.done)
        assert result_of(await call) == {"ok": 1}


async def test_log_messages_on_the_servers_own_stream_reach_the_only_one_they_can_be_for():
    asking, one, two = Asking(), Client(), Client()
    async with channel_to(asking.server) as it:
        first = await call_of(it, asking, "a", one)
        await until(lambda: asking.own is not None)
        assert asking.own is not None
        await asking.own.event(note("notifications/message", level="info", data="mine"))
        await until(lambda: one.told)
        second = await call_of(it, asking, "b", two)
        await asking.own.event(note("notifications/message", level="info", data="whose"))
        await until(lambda: it.events.notified)
        assert (len(one.told), two.told) == (1, [])
        await asking.finish("a")
        await asking.finish("b")
        await asyncio.gather(first, second)


async def test_a_flood_on_the_servers_own_stream_is_bounded_and_harms_no_call():
    asking, client = Asking(), Client()
    async with channel_to(asking.server) as it:
        call = await call_of(it, asking, "a", client)
        await until(lambda: asking.own is not None)
        assert asking.own is not None
        for n in range(1000):
            await asking.own.event({"jsonrpc": "2.0", "id": f"q{n}", "method": ASK})
            await asking.own.event({"jsonrpc": "2.0", "id": f"e0-{n}", "result": {}})
        await until(lambda: it.channel.dropped.unknown == 1000)
        assert len(client.asked) == 64
        assert it.channel.dropped.requests == 1000 - 64
        await asking.finish("a")
        assert result_of(await call) == {"of": "a"}
        assert it.events.closed == []


async def test_a_clients_notification_is_posted_to_a_legacy_server_and_to_no_modern_one():
    changed = "notifications/roots/list_changed"
    for modern in (False, True):
        server = McpServer(modern=modern)
        async with channel_to(server, listening=False) as it:
            assert it.channel.tell(Outbound(changed, holder="a")) is not modern
            if not modern:
                await until(lambda server=server: bool(server.heard(changed)))
        assert len(server.heard(changed)) == (0 if modern else 1)
