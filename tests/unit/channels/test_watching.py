"""Changed lists and resources, and the level of log messages: asked for in either era's way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.channels.stdio_setting import Setting
from tests.unit.channels.streamable_setting import McpServer, channel_to
from tidegate.domain.errors import ChannelFailure, ChannelTimeout
from tidegate.domain.workload import Upstream
from tidegate.testing.loop_time import LoopTime
from tidegate.testing.scripted import Got, Peer, until

Json = dict[str, Any]
LISTS = b'{"tools":{"listChanged":true},"prompts":{},"resources":{"listChanged":true,"subscribe":true}}'
LEGACY = Upstream("legacy", "2025-11-25", b"{}", b'{"resources":{"subscribe":true},"logging":{}}')
MODERN = Upstream("modern", "2026-07-28", b"{}", LISTS)
BARE = Upstream("modern", "2026-07-28", b"{}", b'{"tools":{}}')
A, B, C = "file:///a", "file:///b", "file:///c"
ID = "io.modelcontextprotocol/subscriptionId"
NONE = frozenset[str]()


def watching(it: Setting, *uris: str, tasks: frozenset[str] = NONE) -> asyncio.Task[None]:
    return asyncio.ensure_future(it.channel.watch(frozenset(uris), tasks))


# Legacy servers


async def test_a_legacy_server_is_subscribed_to_what_is_new_and_from_what_is_not_wanted_any_more():
    it = await Setting().open(LEGACY)
    asked: list[tuple[object, object]] = []
    for uris in ([A, B], [B, C], [B, C]):
        task = watching(it, *uris)
        while not task.done():
            await asyncio.sleep(0)
            if it.stream.unheard:
                request: Json = await it.stream.hear()
                asked.append((request["method"], request["params"]["uri"]))
                it.stream.answer(request, {})
        await task
    assert asked == [
        ("resources/subscribe", A), ("resources/subscribe", B),
        ("resources/unsubscribe", A), ("resources/subscribe", C),
    ]  # fmt: skip
    it.stream.say(notice("notifications/resources/updated", uri=B))
    assert it.events.notified == [("notifications/resources/updated", {"uri": B})]


async def test_a_legacy_server_that_refuses_one_keeps_the_others_and_is_asked_again():
    it = await Setting().open(LEGACY)
    task = watching(it, A, B)
    it.stream.refuse(await it.stream.hear(), -32602)
    it.stream.answer(await it.stream.hear(), {})
    with pytest.raises(ChannelFailure, match="refuses 1 of 2"):
        await task
    task = watching(it, A, B)
    request: Json = await it.stream.hear()
    assert request["params"] == {"uri": A}
    it.stream.answer(request, {})
    await task


async def test_a_server_that_declares_no_subscriptions_is_not_asked():
    for upstream in (Upstream("legacy", "2025-11-25", b"{}", b"{}"), BARE):
        it = await Setting().open(upstream)
        with pytest.raises(ChannelFailure) as failure:
            await it.channel.watch(frozenset({A}), NONE)
        assert not failure.value.sent
        assert it.stream.unheard == 0
        await it.channel.watch(NONE, NONE)


async def test_log_messages_are_asked_for_where_fewer_come_now_and_only_then():
    it = await Setting().open(LEGACY)
    levels: list[str] = []
    for level in ("warning", "error", "warning", "debug", "info", "nonsense"):
        task = asyncio.ensure_future(it.channel.want_logs(level))
        await asyncio.sleep(0)
        if it.stream.unheard:
            request: Json = await it.stream.hear()
            levels.append(request["params"]["level"])
            it.stream.answer(request, {})
        await task
    assert levels == ["warning", "debug"]


async def test_a_server_that_refuses_its_log_is_left_alone_and_one_without_is_not_asked():
    it = await Setting().open(LEGACY)
    task = asyncio.ensure_future(it.channel.want_logs("info"))
    it.stream.refuse(await it.stream.hear(), -32601)
    await task
    await it.channel.want_logs("info")
    assert it.stream.unheard == 0
    it = await Setting().open(Upstream("legacy", "2025-11-25", b"{}", b"{}"))
    await it.channel.want_logs("debug")
    assert it.stream.unheard == 0


# Modern servers


def notice(method: str, of: object = None, **params: object) -> Json:
    meta = {} if of is None else {"_meta": {ID: of}}
    return {"jsonrpc": "2.0", "method": method, "params": {**params, **meta}}


def acknowledge(it: Setting, request: Json, **honoured: object) -> None:
    method = "notifications/subscriptions/acknowledged"
    it.stream.say(notice(method, request["id"], notifications=honoured or request["params"]["notifications"]))


async def listened(it: Setting) -> Json:
    request: Json = await it.stream.hear()
    assert request["method"] == "subscriptions/listen"
    return request


async def test_a_modern_server_that_says_so_is_listened_to_for_changed_lists():
    it = await Setting().open(MODERN)
    request = await listened(it)
    assert request["params"]["notifications"] == {"toolsListChanged": True, "resourcesListChanged": True}
    assert request["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] == {}
    acknowledge(it, request)
    it.stream.say(notice("notifications/tools/list_changed", request["id"]))
    assert it.events.notified == [("notifications/tools/list_changed", {})]
    await it.channel.close()
    it = await Setting().open(BARE)
    await asyncio.sleep(0)
    assert it.stream.unheard == 0


async def test_what_is_wanted_besides_replaces_the_stream_once_the_new_one_is_there():
    it = await Setting().open(MODERN)
    first = await listened(it)
    acknowledge(it, first)
    task = watching(it, B, A, tasks=frozenset({"t"}))
    second = await listened(it)
    assert second["params"]["notifications"] == {
        "toolsListChanged": True, "resourcesListChanged": True, "resourceSubscriptions": [A, B], "taskIds": ["t"],
    }  # fmt: skip
    extensions = second["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"]["extensions"]
    assert extensions == {"io.modelcontextprotocol/tasks": {}}
    it.stream.say(notice("notifications/tools/list_changed", first["id"]))
    acknowledge(it, second)
    await task
    gone: Json = await it.stream.hear()
    assert (gone["method"], gone["params"]["requestId"]) == ("notifications/cancelled", first["id"])
    it.stream.say(notice("notifications/resources/updated", second["id"], uri=A))
    it.stream.say(notice("notifications/tasks", second["id"], taskId="t"))
    it.stream.say(notice("notifications/resources/updated", first["id"], uri=B))
    assert it.events.notified == [
        ("notifications/tools/list_changed", {}),
        ("notifications/resources/updated", {"uri": A}),
        ("notifications/tasks", {"taskId": "t"}),
    ]
    assert it.channel.dropped.unknown == 1
    await watching(it, A, B, tasks=frozenset({"t"}))
    assert it.stream.unheard == 0
    await it.channel.close()


async def test_what_a_server_does_not_honour_is_said_and_the_rest_goes_on():
    it = await Setting().open(MODERN)
    acknowledge(it, await listened(it))
    task = watching(it, A, B)
    second = await listened(it)
    acknowledge(it, second, resourceSubscriptions=[A, "file:///lie"], toolsListChanged="yes")
    with pytest.raises(ChannelFailure, match="1 of 2"):
        await task
    it.stream.say(notice("notifications/resources/updated", second["id"], uri=A))
    assert it.events.notified == [("notifications/resources/updated", {"uri": A})]
    await it.channel.close()


@pytest.mark.parametrize("how", ["error", "result", "silence", "nonsense"])
async def test_a_stream_that_is_not_acknowledged_is_given_up_and_the_one_before_goes_on(how: str):
    time = LoopTime()
    it = await Setting().open(MODERN)
    first = await listened(it)
    acknowledge(it, first)
    task = watching(it, A)
    second = await listened(it)
    if how == "error":
        it.stream.refuse(second, -32601)
    elif how == "result":
        it.stream.answer(second, {"resultType": "complete"})
    elif how == "nonsense":
        it.stream.say(
            notice("notifications/subscriptions/acknowledged", "e0-99"),
            notice("notifications/subscriptions/acknowledged", {"a": 1}, notifications=7),
            notice("notifications/resources/updated", second["id"], uri=A),
        )
    await time.until(task.done)
    with pytest.raises(ChannelTimeout if how in ("silence", "nonsense") else ChannelFailure):
        await task
    assert it.events.notified == []
    it.stream.say(notice("notifications/tools/list_changed", first["id"]))
    assert it.events.notified == [("notifications/tools/list_changed", {})]
    await it.channel.close()


async def test_a_stream_that_ends_is_opened_again_and_what_may_have_been_missed_is_told():
    time = LoopTime()
    it = await Setting().open(MODERN)
    acknowledge(it, await listened(it))
    task = watching(it, A)
    second = await listened(it)
    acknowledge(it, second)
    await task
    await it.stream.hear()  # the first one's cancellation
    it.stream.answer(second, {"resultType": "complete", "_meta": {ID: second["id"]}})
    await time.advance(1.5)
    third = await listened(it)
    assert third["params"]["notifications"] == second["params"]["notifications"]
    acknowledge(it, third)
    await time.settle()
    assert it.events.notified == [
        ("notifications/tools/list_changed", {}),
        ("notifications/resources/list_changed", {}),
        ("notifications/resources/updated", {"uri": A}),
    ]
    await it.channel.close()


async def test_a_server_that_never_takes_it_is_asked_ever_less_often():
    time = LoopTime()
    it = await Setting().open(MODERN)
    asked = 0
    for _ in range(600):
        await time.advance(0.5, 0.5)
        while it.stream.unheard:
            request = await listened(it)
            it.stream.refuse(request, -32603)
            asked += 1
    assert 6 <= asked <= 12
    await it.channel.close()


async def test_what_comes_under_no_subscription_of_ours_is_dropped():
    it = await Setting().open(MODERN)
    request = await listened(it)
    acknowledge(it, request)
    call = it.call(notify=lambda *_: None)
    sent: Json = await it.stream.hear()
    it.stream.say(
        notice("notifications/tools/list_changed", "e0-77"),
        notice("notifications/tools/list_changed", 1),
        notice("notifications/tools/list_changed", sent["id"]),  # a call of ours, but no subscription
        notice("notifications/shutdown", request["id"]),  # nothing that was asked for
    )
    assert it.events.notified == []
    assert it.channel.dropped.unknown == 3
    it.stream.answer(sent, {})
    await call
    await it.channel.close()


async def test_over_http_a_subscription_is_a_stream_that_is_closed_when_it_is_replaced():
    opened: list[tuple[Peer, Got]] = []
    closed: list[object] = []

    async def serve(peer: Peer, request: Got) -> None:
        await peer.stream()
        opened.append((peer, request))
        ident = request.json["id"]
        wanted = request.json["params"]["notifications"]
        await peer.event(notice("notifications/subscriptions/acknowledged", ident, notifications=wanted))
        await peer.reader.read()
        closed.append(ident)

    server = McpServer(serve, modern=True)
    server.capabilities = {"tools": {"listChanged": True}, "resources": {"subscribe": True}}
    async with channel_to(server) as it:
        await until(lambda: len(opened) == 1)
        await it.channel.watch(frozenset({A}), NONE)
        peer, request = opened[1]
        first = opened[0][1].json["id"]
        await until(lambda: closed == [first])
        assert request.headers["mcp-method"] == "subscriptions/listen"
        await peer.event(notice("notifications/resources/updated", first, uri=A))  # another stream's
        await peer.event(notice("notifications/resources/updated", request.json["id"], uri=A))
        await until(lambda: it.events.notified)
        assert it.events.notified == [("notifications/resources/updated", {"uri": A})]
        assert it.channel.dropped.unknown == 1
