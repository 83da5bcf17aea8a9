"""Conversations with a stdio workload, in memory. A rule is a test."""

from __future__ import annotations

import asyncio
import json

import pytest
from msgspec import Raw

from tests.unit.channels.stdio_setting import LEGACY, MODERN, Setting
from tidegate.channels.channel import Outbound
from tidegate.channels.stdio import StdioBounds
from tidegate.domain.errors import (
    ChannelClosed,
    ChannelFailure,
    ChannelTimeout,
    UpstreamProtocolError,
)
from tidegate.protocol.codec import decode_value
from tidegate.testing.stream import FreeIntent

# Calls


async def test_answers_find_their_calls_in_any_order():
    it = await Setting().open()
    first, second = it.call(), it.call()
    one, two = await it.stream.hear(), await it.stream.hear()
    it.stream.answer(two, {"n": 2})
    it.stream.answer(one, {"n": 1})
    assert bytes((await first).result or b"") == b'{"n":1}'
    assert bytes((await second).result or b"") == b'{"n":2}'
    assert it.channel.in_flight == 0


async def test_ids_carry_the_epoch_and_differ():
    it = await Setting().open()
    calls = [it.call(), it.call()]
    ids = [(await it.stream.hear())["id"] for _ in calls]
    assert len(set(ids)) == 2
    assert all(str(each).startswith("e0-") for each in ids)
    await it.channel.close()
    await asyncio.gather(*calls, return_exceptions=True)


async def test_an_error_of_the_server_is_a_reply_as_it_came():
    it = await Setting().open()
    call = it.call()
    it.stream.refuse(await it.stream.hear(), -32602, {"odd": [1]})
    reply = await call
    assert reply.result is None
    assert decode_value(reply.error or b"") == {"code": -32602, "message": "refused", "data": {"odd": [1]}}


async def test_an_answer_with_neither_a_result_nor_an_error_fails_its_call():
    it = await Setting().open()
    for answer in ({}, {"result": 5}, {"result": {}, "error": {"code": 1, "message": ""}}, {"error": "no"}):
        call = it.call()
        it.stream.say({"jsonrpc": "2.0", "id": (await it.stream.hear())["id"], **answer})
        with pytest.raises(UpstreamProtocolError):
            await call


async def test_an_answer_with_a_null_error_beside_its_result_is_taken():
    it = await Setting().open()
    call = it.call()
    request = await it.stream.hear()
    it.stream.say({"jsonrpc": "2.0", "id": request["id"], "result": {"ok": 1}, "error": None})
    assert bytes((await call).result or b"") == b'{"ok":1}'


async def test_a_batch_of_answers_is_taken():
    it = await Setting().open()
    first, second = it.call(), it.call()
    ids = [(await it.stream.hear())["id"], (await it.stream.hear())["id"]]
    batch = [{"jsonrpc": "2.0", "id": each, "result": {"id": each}} for each in ids]
    it.channel.stdout(json.dumps(batch).encode() + b"\n")
    assert [decode_value((await call).result or b"") for call in (first, second)] == [
        {"id": each} for each in ids
    ]


async def test_unknown_twice_given_and_late_answers_are_dropped_and_counted():
    it = await Setting().open()
    call = it.call()
    request = await it.stream.hear()
    it.stream.answer(request, {})
    it.stream.answer(request, {})
    it.stream.say({"jsonrpc": "2.0", "id": "e0-9999", "result": {}})
    it.stream.say({"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "?"}})
    await call
    assert it.channel.dropped.late == 1
    assert it.channel.dropped.unknown == 2
    assert it.events.closed == []


async def test_what_is_sent_never_holds_a_line_end():
    it = await Setting().open()
    arguments = Raw(b'{\n "a":\r\n 1}')
    call = asyncio.ensure_future(
        it.channel.call(FreeIntent(), Outbound("tools/call", {"arguments": arguments}))
    )
    request = await it.stream.hear()
    assert request["params"] == {"arguments": {"a": 1}}
    assert it.stream.written[-1].count(b"\n") == 1
    assert b"\r" not in it.stream.written[-1]
    it.stream.answer(request, {})
    await call


async def test_a_modern_request_carries_the_era_and_a_legacy_one_does_not():
    meta = {"traceparent": Raw(b'"00-ab"'), "io.modelcontextprotocol/logLevel": Raw(b'"debug"')}
    for upstream, expected in ((LEGACY, {"traceparent"}), (MODERN, None)):
        it = await Setting().open(upstream)
        call = it.call(meta=dict(meta))
        request = await it.stream.hear()
        keys = set(request["params"]["_meta"])
        assert keys == (
            expected
            or {
                "traceparent",
                "io.modelcontextprotocol/protocolVersion",
                "io.modelcontextprotocol/clientInfo",
                "io.modelcontextprotocol/clientCapabilities",
            }
        )
        it.stream.answer(request, {})
        await call


async def test_the_gateways_own_questions_are_never_tool_calls():
    it = await Setting().open()
    with pytest.raises(ValueError, match="intent"):
        await it.channel.ask(Outbound("tools/call"))
    asking = asyncio.ensure_future(it.channel.ask(Outbound("tools/list")))
    request = await it.stream.hear()
    assert request["method"] == "tools/list"
    it.stream.answer(request, {"tools": []})
    await asking


# Progress and notifications


async def test_progress_reaches_only_its_own_call_under_the_clients_token():
    it = await Setting().open()
    heard: dict[str, list[object]] = {"a": [], "b": []}

    def listener(key: str):
        return lambda method, params: heard[key].append((method, {k: bytes(v) for k, v in params.items()}))

    same = {"progressToken": Raw(b'"client-token"')}
    calls = [it.call(meta=dict(same), notify=listener("a")), it.call(meta=dict(same), notify=listener("b"))]
    one, two = await it.stream.hear(), await it.stream.hear()
    tokens = [each["params"]["_meta"]["progressToken"] for each in (one, two)]
    assert tokens[0] != tokens[1]
    assert "client-token" not in tokens
    it.stream.say(_progress(tokens[1], 7))
    it.stream.answer(one, {})
    it.stream.answer(two, {})
    await asyncio.gather(*calls)
    assert heard["a"] == []
    assert heard["b"] == [("notifications/progress", {"progressToken": b'"client-token"', "progress": b"7"})]


async def test_progress_after_the_answer_or_for_nobody_is_dropped_and_counted():
    it = await Setting().open()
    heard: list[object] = []
    call = it.call(notify=lambda *what: heard.append(what))
    request = await it.stream.hear()
    assert "_meta" not in request["params"]
    it.stream.say(_progress(request["id"], 1))  # nobody asked for progress
    it.stream.answer(request, {})
    await call
    it.stream.say(_progress(request["id"], 2), _progress("other", 3))
    assert heard == []
    assert it.channel.dropped.progress == 3
    assert it.events.notified == []


async def test_progress_of_a_request_that_became_a_task_goes_on_after_its_answer():
    it = await Setting().open()
    heard: list[object] = []
    asked = {"task": Raw(b'{"ttl": 1000}')}
    outbound = Outbound(
        "tools/call", asked, {"progressToken": Raw(b'"mine"')}, notify=lambda *what: heard.append(what)
    )
    call = asyncio.ensure_future(it.channel.call(FreeIntent(), outbound))
    request = await it.stream.hear()
    token = request["params"]["_meta"]["progressToken"]
    it.stream.answer(request, {"task": {"taskId": "1", "status": "working"}})
    await call
    it.stream.say(_progress(token, 2))
    assert [(method, bytes(params["progressToken"])) for method, params in heard] == [  # type: ignore[misc]
        ("notifications/progress", b'"mine"')
    ]
    assert it.channel.dropped.progress == 0


async def test_a_token_that_nobody_listens_to_is_not_sent():
    it = await Setting().open()
    call = it.call(meta={"progressToken": Raw(b"1")})
    request = await it.stream.hear()
    assert "_meta" not in request["params"]
    it.stream.answer(request, {})
    await call


async def test_notifications_that_belong_to_no_call_reach_the_events():
    it = await Setting().open()
    it.stream.say({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
    it.stream.say({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info"}})
    assert it.events.notified == [
        ("notifications/tools/list_changed", {}),
        ("notifications/message", {"level": "info"}),
    ]


def _progress(token: object, progress: int) -> dict[str, object]:
    params = {"progressToken": token, "progress": progress}
    return {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}


# What the server asks


async def test_a_ping_of_the_server_is_answered_with_its_own_id():
    it = await Setting().open()
    it.stream.say({"jsonrpc": "2.0", "id": 17, "method": "ping"})
    assert await it.stream.hear() == {"jsonrpc": "2.0", "id": 17, "result": {}}


@pytest.mark.parametrize("method", ["elicitation/create", "sampling/createMessage", "roots/list"])
async def test_what_was_not_offered_is_refused(method: str):
    it = await Setting().open()
    it.stream.say({"jsonrpc": "2.0", "id": "s1", "method": method, "params": {}})
    answer = await it.stream.hear()
    assert answer["id"] == "s1"
    assert answer["error"]["code"] == -32601
    assert it.channel.dropped.requests == 1


async def test_answers_to_a_server_that_asks_and_does_not_read_are_not_piled_up():
    it = await Setting(bounds=StdioBounds(backlog=10)).open()
    it.stream.backlog = 11
    for number in range(3):
        it.stream.say({"jsonrpc": "2.0", "id": number, "method": "ping"})
    assert it.stream.unheard == 0
    assert it.channel.dropped.unsent == 3


# Deadlines and cancellation


async def test_a_call_without_an_answer_times_out_and_is_cancelled_at_the_server():
    it = await Setting().open()
    call = it.call(timeout=0.02)
    request = await it.stream.hear()
    with pytest.raises(ChannelTimeout, match="tools/call") as failure:
        await call
    assert failure.value.sent
    notice = await it.stream.hear()
    assert notice["method"] == "notifications/cancelled"
    assert notice["params"]["requestId"] == request["id"]
    it.stream.answer(request, {"late": True})
    assert it.channel.dropped.late == 1
    assert it.channel.in_flight == 0


async def test_progress_does_not_extend_a_deadline():
    it = await Setting().open()
    call = it.call(timeout=0.03, meta={"progressToken": Raw(b"1")}, notify=lambda *_: None)
    request = await it.stream.hear()
    it.stream.say(_progress(request["params"]["_meta"]["progressToken"], 1))
    with pytest.raises(ChannelTimeout):
        await call


async def test_a_cancelled_task_cancels_at_the_server_and_its_late_answer_is_dropped():
    it = await Setting().open()
    call = it.call()
    request = await it.stream.hear()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    notice = await it.stream.hear()
    assert notice["params"]["requestId"] == request["id"]
    it.stream.answer(request, {})
    assert it.channel.dropped.late == 1


async def test_a_call_that_was_answered_before_its_task_is_cancelled_is_not_cancelled_at_the_server():
    it = await Setting().open()
    call = it.call()
    it.stream.answer(await it.stream.hear(), {})
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert it.stream.unheard == 0


async def test_a_short_deadline_behind_long_ones_is_kept():
    it = await Setting().open()
    long = [it.call(timeout=60) for _ in range(3)]
    with pytest.raises(ChannelTimeout):
        await it.call(timeout=0.02)
    assert not any(call.done() for call in long)
    await it.channel.close()
    await asyncio.gather(*long, return_exceptions=True)


# Bounds


async def test_a_message_over_the_bound_fails_the_calls_closes_the_stream_and_is_told():
    it = await Setting(bounds=StdioBounds(message=400)).open()
    call = it.call()
    await it.stream.hear()
    it.channel.stdout(b"x" * 401)
    with pytest.raises(UpstreamProtocolError, match="larger than 400 bytes"):
        await call
    assert it.events.closed == ["message larger than 400 bytes"]
    await it.channel.close()
    assert it.stream.is_closed
    it.channel.stdout(b"more\n" * 100)
    it.channel.closed("stream was closed")
    assert len(it.events.closed) == 1


async def test_lines_that_are_no_messages_are_logged_and_tolerated_up_to_a_bound():
    it = await Setting(bounds=StdioBounds(junk=3, log_line=20)).open()
    it.channel.stdout(b"starting up\n\n  \r\n" + b"y" * 100 + b"\n[1]\n")
    assert it.events.logged == [b"stdout: starting up", b"stdout: " + b"y" * 12, b"stdout: [1]"]
    it.stream.say({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
    it.channel.stdout(b"again\nagain\nagain\n")
    assert it.events.closed == []
    it.channel.stdout(b"once too often\n")
    assert it.events.closed == ["more than 3 lines that are no messages"]
    assert it.channel.dropped.junk == 9
    with pytest.raises(ChannelClosed):
        await it.call()


async def test_bytes_that_are_not_utf8_are_no_message():
    it = await Setting().open()
    call = it.call(timeout=0.02)
    request = await it.stream.hear()
    it.channel.stdout(b'{"jsonrpc":"2.0","id":"%s","result":{"a":"\xff"}}\n' % str(request["id"]).encode())
    with pytest.raises(ChannelTimeout):
        await call
    assert it.channel.dropped.junk == 1


async def test_a_call_to_a_workload_that_does_not_read_is_refused_before_it_is_sent():
    it = await Setting(bounds=StdioBounds(backlog=1000)).open()
    it.stream.backlog = 1001
    with pytest.raises(ChannelFailure, match="does not read") as failure:
        await it.call()
    assert not failure.value.sent
    assert it.stream.unheard == 0
    assert it.channel.in_flight == 0


async def test_standard_error_is_split_into_bounded_lines():
    it = Setting(bounds=StdioBounds(log_line=8))
    it.channel.stderr(b"one\r\ntw")
    it.channel.stderr(b"o\n\nfar too long a line")
    it.channel.stderr(b" indeed\nrest")
    it.channel.closed("exited")
    assert it.events.logged == [b"one", b"two", b"far too ", b"rest"]


# Ends


async def test_a_stream_that_ends_fails_the_calls_and_is_told_once():
    it = await Setting().open()
    calls = [it.call(), it.call()]
    await it.stream.hear()
    it.channel.closed("killed: out of memory")
    for call in calls:
        with pytest.raises(ChannelClosed, match="out of memory") as failure:
            await call
        assert failure.value.sent
    assert it.events.closed == ["killed: out of memory"]
    with pytest.raises(ChannelClosed, match="out of memory") as failure:
        await it.call()
    assert not failure.value.sent


async def test_closing_fails_what_waits_and_tells_nobody():
    it = await Setting().open()
    call = it.call()
    await it.stream.hear()
    await it.channel.close()
    await it.channel.close()
    with pytest.raises(ChannelClosed):
        await call
    assert it.stream.is_closed
    assert it.events.closed == []


async def test_a_stream_that_has_ended_unnoticed_refuses_a_call_as_not_sent():
    it = await Setting().open()
    it.stream.is_closed = True
    with pytest.raises(ChannelClosed) as failure:
        await it.call()
    assert not failure.value.sent
    assert it.channel.in_flight == 0


async def test_a_channel_that_is_not_open_takes_no_calls():
    it = Setting()
    with pytest.raises(ChannelClosed):
        await it.call()
    with pytest.raises(ChannelClosed):
        _ = it.channel.upstream
