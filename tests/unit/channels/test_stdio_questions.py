"""What a server asks and logs over a pipe: whom it reaches, when it is refused, and what waits for the answer."""

from __future__ import annotations

import asyncio
import json

import pytest
from msgspec import Raw

from tests.unit.channels.asked_client import ASK, YES, Client
from tests.unit.channels.stdio_setting import LEGACY, MODERN, Setting
from tidegate.channels.channel import Outbound, Party, Reply
from tidegate.domain.errors import ChannelTimeout
from tidegate.testing.loop_time import LoopTime


async def fresh() -> Setting:
    """Open a channel by a whole handshake: an adopted one remembers that somebody was there before."""
    it = Setting()
    opening = it.opening(probe=0)
    it.stream.answer(
        await it.stream.hear(),
        {"protocolVersion": "2025-11-25", "capabilities": {"logging": {}}, "serverInfo": {"name": "s"}},
    )
    await opening
    assert (await it.stream.hear())["method"] == "notifications/initialized"
    return it


def by(it: Setting, holder: str, client: Client, **parts: object) -> asyncio.Task[Reply]:
    return it.call(holder=holder, asked=client.ask, notify=client.tell, **parts)


def question(ident: object = 1, method: str = ASK, **params: object) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": ident, "method": method, "params": params}


async def refused(it: Setting, code: int) -> dict[str, object]:
    answer = await it.stream.hear()
    assert answer["error"]["code"] == code  # type: ignore[index]
    return answer


async def end(it: Setting, *calls: asyncio.Task[Reply]) -> None:
    it.stream.is_closed = True
    it.channel.closed("over")
    await asyncio.gather(*calls, return_exceptions=True)
    await it.channel.close()


async def test_a_question_reaches_the_only_one_who_has_a_call_and_its_first_answer_goes_back():
    it, client = await fresh(), Client()
    call = by(it, "a", client)
    request = await it.stream.hear()
    it.stream.say(question(7, message="who?"))
    ((method, params, answer),) = client.asked
    assert (method, params) == (ASK, {"message": b'"who?"'})
    answer(YES)
    answer(Reply(None, Raw(b"{}")))
    assert await it.stream.hear() == {"jsonrpc": "2.0", "id": 7, "result": {"action": "accept"}}
    assert it.stream.unheard == 0
    it.stream.answer(request, {})
    await call


async def test_with_two_holders_a_question_is_refused_told_and_counted_and_reaches_neither():
    it, one, two = await fresh(), Client(), Client()
    calls = [by(it, "a", one), by(it, "b", two)]
    await it.stream.hear()
    it.stream.say(question())
    await it.stream.hear()
    answer = await refused(it, -32603)
    assert "more than one client" in str(answer["error"])
    assert one.asked == two.asked == []
    assert it.events.contended == 1
    assert (it.channel.dropped.requests, it.channel.dropped.contended) == (1, 1)
    await end(it, *calls)


async def test_two_calls_of_one_session_are_one_holder():
    it, client = await fresh(), Client()
    calls = [by(it, "a", client), by(it, "a", client)]
    it.stream.say(question())
    await asyncio.sleep(0)
    it.stream.say(question(2))
    assert client.asked
    assert it.events.contended == 0
    await end(it, *calls)


async def test_whoever_waits_for_the_workload_is_asked_before_its_call_is_there():
    it, client = Setting(), Client()
    it.events.callers.append(Party("a", client.ask))
    opening = it.opening(probe=0)
    first = await it.stream.hear()
    it.stream.say(question("early", "roots/list"))  # before it may ask
    it.stream.answer(
        first, {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "s"}}
    )
    await opening
    heard = [await it.stream.hear(), await it.stream.hear()]
    assert [each.get("id", each.get("method")) for each in heard] == ["early", "notifications/initialized"]
    it.stream.say(question("first", "roots/list"))
    ((method, _, answer),) = client.asked
    assert method == "roots/list"
    answer(Reply(Raw(b'{"roots":[]}'), None))
    assert await it.stream.hear() == {"jsonrpc": "2.0", "id": "first", "result": {"roots": []}}


async def test_a_late_question_goes_to_the_last_one_who_was_there_and_only_if_alone():
    it, one, two = await fresh(), Client(), Client()
    for holder, client in (("a", one), ("b", two)):
        call = by(it, holder, client)
        it.stream.answer(await it.stream.hear(), {})
        await call
        it.stream.say(question(holder))
    assert len(one.asked) == 1
    assert two.asked == []
    assert (await it.stream.hear())["error"]["code"] == -32601  # type: ignore[index]


async def test_whoever_gave_up_may_still_be_meant_until_the_answer_comes():
    it, one, two = await fresh(), Client(), Client()
    gone = by(it, "a", one)
    request = await it.stream.hear()
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    await it.stream.hear()  # notifications/cancelled
    call = by(it, "b", two)
    second = await it.stream.hear()
    it.stream.say(question(1))
    await refused(it, -32603)
    it.stream.answer(request, {})
    it.stream.say(question(2))
    assert len(two.asked) == 1
    assert one.asked == []
    it.stream.answer(second, {})
    await call


async def test_what_was_asked_of_a_gateway_before_this_one_may_still_be_meant_for_a_while():
    it, client = await Setting().open(LEGACY), Client()
    call = by(it, "a", client)
    request = await it.stream.hear()
    it.stream.say(question())
    await refused(it, -32603)
    assert it.events.contended == 0
    assert client.asked == []
    it.stream.answer(request, {})
    await call


async def test_a_question_that_nobody_takes_is_refused():
    it, client = await fresh(), Client(takes=False)
    call = by(it, "a", client)
    request = await it.stream.hear()
    it.stream.say(question())
    await refused(it, -32601)
    it.stream.answer(request, {})
    await call


async def test_only_what_a_client_can_be_asked_is_put_to_it():
    it, client = await fresh(), Client()
    call = by(it, "a", client)
    request = await it.stream.hear()
    it.stream.say(question(1, "tools/call", name="t"))
    await refused(it, -32601)
    assert client.asked == []
    it.stream.answer(request, {})
    await call


async def test_a_modern_server_that_asks_over_a_pipe_gets_no_response() -> None:
    it, client = await Setting().open(MODERN), Client()
    call = by(it, "a", client)
    request = await it.stream.hear()
    it.stream.say(question())
    it.stream.say({"jsonrpc": "2.0", "id": "p", "method": "ping"})
    it.stream.answer(request, {"resultType": "complete"})
    await call
    assert client.asked == []
    assert [line for line in it.stream.lines if "method" not in json.loads(line)] == []


async def test_a_server_may_give_its_question_up_and_the_one_asked_is_told():
    it, client = await fresh(), Client()
    call = by(it, "a", client)
    request = await it.stream.hear()
    it.stream.say(question(5))
    it.stream.say({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}})
    it.stream.say({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}})
    (first, second) = client.asked
    assert second[0] == "notifications/cancelled"
    assert second[2] is first[2]
    first[2](YES)
    it.stream.answer(request, {})
    await call
    assert it.stream.unheard == 0
    assert it.channel.dropped.unknown == 1


async def test_when_the_server_is_gone_its_open_questions_are_given_up():
    it, client = await fresh(), Client()
    call = by(it, "a", client)
    await it.stream.hear()
    it.stream.say(question(5))
    await end(it, call)
    assert [method for method, _, _ in client.asked] == [ASK, "notifications/cancelled"]
    client.asked[0][2](YES)


async def test_questions_are_bounded_and_an_id_is_never_open_twice():
    it, client = await fresh(), Client()
    call = by(it, "a", client)
    request = await it.stream.hear()
    it.stream.say(*(question(n) for n in range(70)), question(3))
    assert len(client.asked) == 64
    for _ in range(6):
        await refused(it, -32603)
    assert it.channel.dropped.junk == 1
    for _, _, answer in client.asked:
        answer(YES)
    it.stream.say(question(99))
    assert len(client.asked) == 65
    it.stream.answer(request, {})
    await call


async def test_questions_together_are_no_larger_than_their_bound():
    it, client = await fresh(), Client()
    call = by(it, "a", client)
    request = await it.stream.hear()
    big = "x" * 3_000_000
    it.stream.say(*(question(n, message=big) for n in range(3)))
    assert len(client.asked) == 2
    await refused(it, -32603)
    it.stream.answer(request, {})
    await call


# Time


async def test_a_call_does_not_time_out_while_its_client_is_asked():
    time = LoopTime()
    it, client = await fresh(), Client()
    call = by(it, "a", client, timeout=10.0)
    request = await it.stream.hear()
    await time.advance(4)
    it.stream.say(question())
    await time.advance(100)
    assert not call.done()
    client.asked[0][2](YES)
    await time.advance(4)
    assert not call.done()
    it.stream.answer(request, {})
    await call


async def test_after_the_answer_the_rest_of_the_time_is_left_and_no_more():
    time = LoopTime()
    it, client = await fresh(), Client()
    call = by(it, "a", client, timeout=10.0)
    await it.stream.hear()
    it.stream.say(question())
    await time.advance(50)
    client.asked[0][2](YES)
    assert await time.until(call.done) < 12
    with pytest.raises(ChannelTimeout):
        await call


async def test_asking_puts_no_deadline_off_for_ever_and_nobody_elses_at_all():
    time = LoopTime()
    it, client, other = await fresh(), Client(), Client()
    call = by(it, "a", client, timeout=10.0)
    await it.stream.hear()
    it.stream.say(question())
    assert client.asked
    second = by(it, "b", other, timeout=10.0)
    assert await time.until(second.done) < 12
    await time.advance(880)
    assert not call.done()
    await time.advance(60)
    for each in (call, second):
        with pytest.raises(ChannelTimeout):
            await each


# Log messages


def logged(text: str = "x") -> dict[str, object]:
    return {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": text}}


async def test_a_log_message_reaches_the_only_one_it_can_be_for_and_else_no_client():
    it, one, two = await fresh(), Client(), Client()
    first = by(it, "a", one)
    a = await it.stream.hear()
    it.stream.say(logged("alone"))
    assert one.told == [("notifications/message", {"level": b'"info"', "data": b'"alone"'})]
    second = by(it, "b", two)
    b = await it.stream.hear()
    it.stream.say(logged("whose?"))
    assert it.events.notified == [("notifications/message", {"level": "info", "data": "whose?"})]
    assert it.events.contended == 0
    it.stream.answer(a, {})
    it.stream.say(logged("b's"))
    it.stream.answer(b, {})
    await asyncio.gather(first, second)
    assert [each[1]["data"] for each in two.told] == [b'"b\'s"']
    assert len(one.told) == 1


async def test_a_client_that_offers_nothing_has_its_log_messages_too():
    it, client = await fresh(), Client()
    call = it.call(holder="a", notify=client.tell)
    request = await it.stream.hear()
    it.stream.say(logged())
    it.stream.answer(request, {})
    await call
    assert len(client.told) == 1


async def test_a_modern_servers_log_messages_reach_the_call_that_asked_for_them():
    it, one, two = await Setting().open(MODERN), Client(), Client()
    calls = [by(it, "a", one), by(it, "b", two, log_level="info")]
    requests = [await it.stream.hear(), await it.stream.hear()]
    levels = [each["params"]["_meta"].get("io.modelcontextprotocol/logLevel") for each in requests]  # type: ignore[index]
    assert levels == [None, "info"]
    it.stream.say(logged())
    assert one.told == []
    assert len(two.told) == 1
    for request in requests:
        it.stream.answer(request, {})
    await asyncio.gather(*calls)


async def test_the_end_of_an_elicitation_by_url_is_for_whoever_was_asked():
    it, client = await fresh(), Client()
    call = by(it, "a", client)
    request = await it.stream.hear()
    it.stream.say(
        {"jsonrpc": "2.0", "method": "notifications/elicitation/complete", "params": {"elicitationId": "e"}}
    )
    assert client.told == [("notifications/elicitation/complete", {"elicitationId": b'"e"'})]
    it.stream.answer(request, {})
    await call


async def test_a_clients_notification_is_passed_on_and_what_is_asked_then_is_its_matter():
    it, one, two = await fresh(), Client(), Client()
    assert it.channel.tell(Outbound("notifications/roots/list_changed", holder="a", asked=one.ask))
    assert await it.stream.hear() == {"jsonrpc": "2.0", "method": "notifications/roots/list_changed"}
    it.stream.say(question(1, "roots/list"))
    assert len(one.asked) == 1
    call = by(it, "b", two)
    request = await it.stream.hear()
    it.stream.say(question(2, "roots/list"))
    await refused(it, -32603)
    it.stream.answer(request, {})
    await call


async def test_a_modern_server_is_told_what_this_calls_client_can_do():
    it = await Setting().open(MODERN)
    call = it.call(capabilities=Raw(b'{"roots":{}}'))
    request = await it.stream.hear()
    capabilities = "io.modelcontextprotocol/clientCapabilities"
    assert request["params"]["_meta"][capabilities] == {"roots": {}}  # type: ignore[index]
    it.stream.answer(request, {})
    await call


async def test_a_flood_of_questions_and_messages_harms_no_call():
    it, client = await fresh(), Client()
    call = by(it, "a", client)
    request = await it.stream.hear()
    for start in range(0, 20_000, 1000):
        it.stream.say(*(question(n) for n in range(start, start + 1000)), *(logged() for _ in range(1000)))
        it.stream.say(*({"jsonrpc": "2.0", "id": f"e0-{n}", "result": {}} for n in range(500, 1500)))
    assert len(client.asked) == 64
    it.stream.answer(request, {"fine": True})
    assert bytes((await call).result or b"") == b'{"fine":true}'
    assert it.events.closed == []
