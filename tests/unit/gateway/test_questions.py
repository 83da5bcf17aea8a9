"""Questions to legacy clients: where they go, who may answer, and how long is waited."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest
from msgspec import Raw

from tests.unit.gateway.stream_setting import Connection, Site, settled
from tidegate.channels.channel import Reply
from tidegate.domain.errors import ClientUnreachable, Overloaded
from tidegate.extensions.state.memory import MemoryState
from tidegate.gateway.call import Call
from tidegate.gateway.questions import EACH
from tidegate.testing.loop_time import LoopTime

PARAMS = {"message": Raw(b'"why?"')}


@pytest.fixture
async def time() -> LoopTime:
    return LoopTime()


@pytest.fixture
async def site(time: LoopTime) -> AsyncIterator[Site]:
    made = Site("aaaa").run()
    yield made
    await made.close()


def asking(site: Site, call: Call, timeout: float = 60) -> asyncio.Task[Reply]:
    work: Coroutine[Any, Any, Reply] = site.questions.ask(call, "elicitation/create", PARAMS, timeout)
    return asyncio.create_task(work)


async def answer(site: Site, session: str, request_id: object, who: str = "ann", **body: object) -> None:
    """POST a response."""
    site.questions.answered(await site.call(session, who, {"jsonrpc": "2.0", "id": request_id, **body}))


async def test_the_calls_own_stream_is_asked_first(site: Site) -> None:
    session, said = site.initialize(), list[bytes]()
    listening = await site.get(session)
    call = await site.call(session)
    call.say = lambda data: not said.append(data)
    asked = asking(site, call)
    await settled(lambda: said)
    (question,) = map(json.loads, said)
    assert (question["method"], question["params"]) == ("elicitation/create", {"message": "why?"})
    await answer(site, session, question["id"], result={"action": "accept"})
    assert await asked == Reply(Raw(b'{"action": "accept"}'), None)
    assert listening.methods == []
    assert site.questions.waiting == 0


async def test_a_client_whose_call_takes_no_stream_is_asked_on_its_sessions(site: Site) -> None:
    session = site.initialize()
    listening = await site.get(session)
    call = await site.call(session)
    call.say = lambda data: False
    asked = asking(site, call)
    await settled(lambda: listening.methods)
    await answer(site, session, listening.messages[0]["id"], error={"code": -1, "message": "no"})
    assert (await asked) == Reply(None, Raw(b'{"code": -1, "message": "no"}'))


async def test_a_client_without_a_stream_or_session_cannot_be_asked(site: Site) -> None:
    for session in (site.initialize(), None):
        with pytest.raises(ClientUnreachable):
            await site.questions.ask(await site.call(session), "roots/list", {}, 60)
    assert site.questions.waiting == 0


async def test_a_question_that_is_too_large_is_not_asked(site: Site) -> None:
    session = site.initialize()
    listening = await site.get(session)
    with pytest.raises(ClientUnreachable, match="bytes"):
        await site.questions.ask(await site.call(session), "x", {"a": Raw(b'"%b"' % (b"x" * 2**20))}, 60)
    assert listening.methods == []


async def test_who_does_not_answer_in_time_is_told_that_it_is_wanted_no_more(
    site: Site, time: LoopTime
) -> None:
    session = site.initialize()
    listening = await site.get(session)
    asked = asking(site, await site.call(session), 30)
    await time.advance(31)
    assert isinstance(asked.exception(), ClientUnreachable)
    question, cancelled = listening.messages
    assert cancelled["method"] == "notifications/cancelled"
    assert cancelled["params"]["requestId"] == question["id"]
    await answer(site, session, question["id"], result={})
    assert site.metrics.refusals["unknown_response"] == 1


async def test_a_call_that_ends_takes_its_question_back(site: Site) -> None:
    session = site.initialize()
    listening = await site.get(session)
    asked = asking(site, await site.call(session))
    await settled(lambda: listening.methods)
    asked.cancel()
    await settled(lambda: len(listening.methods) == 2)
    assert listening.methods[1] == "notifications/cancelled"
    assert site.questions.waiting == 0


async def test_only_the_session_that_was_asked_can_answer_and_only_once(site: Site) -> None:
    session, same, bobs = site.initialize(), site.initialize(), site.initialize("bob")
    listening = await site.get(session)
    asked = asking(site, await site.call(session))
    await settled(lambda: listening.methods)
    request_id = listening.messages[0]["id"]
    await answer(site, same, request_id, result={"n": 1})
    await answer(site, bobs, request_id, "bob", result={"n": 2})
    await answer(site, session, request_id + "0", result={"n": 3})
    await answer(site, session, 7, result={"n": 4})
    await answer(site, session, "tg-", result={"n": 5})
    assert not asked.done()
    await answer(site, session, request_id, result={"n": 6})
    await answer(site, session, request_id, result={"n": 7})
    assert await asked == Reply(Raw(b'{"n": 6}'), None)
    assert site.metrics.refusals["unknown_response"] == 6


async def test_questions_of_a_session_are_bounded(site: Site) -> None:
    session, other = site.initialize(), site.initialize()
    for each in (session, other):
        await site.get(each)
    call = await site.call(session)
    asked = [asking(site, call) for _ in range(EACH)]
    await settled(lambda: site.questions.waiting == EACH)
    with pytest.raises(Overloaded):
        await site.questions.ask(call, "roots/list", {}, 60)
    more = asking(site, await site.call(other))
    await settled(lambda: site.questions.waiting == EACH + 1)
    for each in (*asked, more):
        each.cancel()
    await asyncio.wait([*asked, more])


async def test_the_end_of_the_session_is_the_end_of_its_questions(site: Site) -> None:
    session = site.initialize()
    listening = await site.get(session)
    asked = asking(site, await site.call(session))
    await settled(lambda: listening.methods)
    await site.sessions.end(session, await site.session(session))
    with pytest.raises(ClientUnreachable, match="ended its session"):
        await asked


# -- between gateways ---------------------------------------------------------------------------


@pytest.fixture
async def sites(time: LoopTime) -> AsyncIterator[tuple[Site, Site]]:
    state = MemoryState(clock=time)
    made = Site("aaaa", state, shared=True).run(), Site("bbbb", state, shared=True).run()
    await time.settle()
    yield made
    for each in made:
        await each.close()


async def asked_at(one: Site) -> tuple[str, asyncio.Task[Reply], Connection]:
    session = one.initialize()
    listening = await one.get(session)
    asked = asking(one, await one.call(session))
    await settled(lambda: listening.methods)
    return session, asked, listening


async def test_an_answer_that_comes_to_another_gateway_finds_its_way(sites: tuple[Site, Site]) -> None:
    one, two = sites
    session, asked, listening = await asked_at(one)
    await answer(two, session, listening.messages[0]["id"], result={"action": "accept"})
    async with asyncio.timeout(5):
        assert await asked == Reply(Raw(b'{"action": "accept"}'), None)


async def test_anothers_answer_that_comes_to_another_gateway_counts_no_more_there(
    sites: tuple[Site, Site],
) -> None:
    one, two = sites
    _, asked, listening = await asked_at(one)
    await answer(two, two.initialize("bob"), listening.messages[0]["id"], "bob", result={})
    await settled(lambda: one.metrics.refusals["unknown_response"])
    assert not asked.done()
    asked.cancel()
    await asyncio.wait([asked])


async def test_an_answer_that_cannot_be_passed_on_is_not_taken_so_that_the_client_sends_it_again(
    sites: tuple[Site, Site],
) -> None:
    one, two = sites
    session, asked, listening = await asked_at(one)
    call = await two.call(
        session, body={"jsonrpc": "2.0", "id": listening.messages[0]["id"], "result": {"action": "accept"}}
    )
    assert two.mail is not None
    while two.mail.post("aaaa", "nothing", b""):
        pass
    with pytest.raises(Overloaded, match="send it again"):
        two.questions.answered(call)
    while not asked.done():
        try:
            two.questions.answered(call)
        except Overloaded:
            await asyncio.sleep(0)
        else:
            break
    async with asyncio.timeout(5):
        assert (await asked).result is not None


async def test_an_answer_too_large_for_the_way_is_an_error_to_who_asked(sites: tuple[Site, Site]) -> None:
    one, two = sites
    session, asked, listening = await asked_at(one)
    await answer(two, session, listening.messages[0]["id"], result={"a": "x" * 2**20})
    async with asyncio.timeout(5):
        reply = await asked
    assert reply.error is not None
    assert "too large for another gateway" in json.loads(bytes(reply.error))["message"]
