"""Legacy clients' streams: what goes where, who may come back to what, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator

import pytest

from tests.unit.gateway.stream_setting import PATH, Connection, Site, settled
from tidegate.domain.errors import Draining, InvalidRequest, SessionMissing, StreamsFull
from tidegate.gateway.resting import BROKEN, DONE, OF_ONE
from tidegate.gateway.stream import Stream, Weight
from tidegate.gateway.streams import MOST_KEPT, OPEN, OPEN_EACH, OPEN_SESSION, QUIET
from tidegate.protocol.codec import encode_result
from tidegate.testing.loop_time import LoopTime


@pytest.fixture
async def time() -> LoopTime:
    return LoopTime()


@pytest.fixture
async def site(time: LoopTime) -> AsyncIterator[Site]:
    made = Site("aaaa").run()
    yield made
    await made.close()


async def begun(site: Site, session: str, request_id: object = 7) -> tuple[Stream, Connection]:
    """Begin a call's stream, and have its client read what there is."""
    call, connection = await site.post(session, request_id)
    stream = site.streams.post(call)
    stream.attach(connection)
    stream.add(b'{"method":"progress"}')
    await stream.flow(connection, pause=True)
    return stream, connection


# -- GET streams --------------------------------------------------------------------------------


async def test_a_notification_goes_on_exactly_one_of_a_sessions_streams(site: Site) -> None:
    session = site.initialize()
    first, second = await site.get(session), await site.get(session)
    other = await site.get(site.initialize())
    assert site.streams.notify((await site.session(session)).key, "notifications/x", {})
    await settled(lambda: second.methods)
    assert (first.methods, second.methods, other.methods) == ([], ["notifications/x"], [])
    await second.lose()
    assert site.streams.notify((await site.session(session)).key, "notifications/y", {})
    await settled(lambda: first.methods)
    assert site.streams.listening == 2


async def test_a_session_without_a_stream_is_told_nothing(site: Site) -> None:
    session = await site.session(site.initialize())
    assert not site.streams.notify(session.key, "notifications/x", {})
    assert not site.streams.ask(session.key, b"{}")
    assert list(site.streams.sessions(PATH)) == []


async def test_sessions_with_a_stream_are_known_by_endpoint_and_principal(site: Site) -> None:
    session = site.initialize()
    await site.get(session)
    opened = await site.session(session)
    assert list(site.streams.sessions(PATH)) == [opened.key]
    assert list(site.streams.sessions(PATH, opened.principal)) == [opened.key]
    assert list(site.streams.sessions(PATH, "another")) == []
    assert list(site.streams.sessions("/other")) == []


@pytest.mark.parametrize(
    ("revision", "primed"), [("2025-11-25", True), ("2025-06-18", False), ("2024-11-05", False)]
)
async def test_only_clients_that_take_an_event_without_data_get_one(
    site: Site, revision: str, primed: bool
) -> None:
    session = site.initialize(revision=revision)
    listening = await site.get(session)
    site.streams.notify((await site.session(session)).key, "notifications/x", {})
    await settled(lambda: listening.methods)
    assert [block.endswith(b"data: ") for block in listening.blocks] == [True, False][not primed :]
    assert len(set(listening.ids)) == len(listening.blocks)


async def test_a_quiet_stream_is_kept_alive(site: Site, time: LoopTime) -> None:
    listening = await site.get(site.initialize(revision="2025-03-26"))
    await time.advance(3 * QUIET + 3)
    assert listening.blocks == [b": keep-alive"] * 3


async def test_a_stream_needs_a_session(site: Site) -> None:
    with pytest.raises(SessionMissing):
        await site.get(None)


# -- resumption ---------------------------------------------------------------------------------


async def test_a_client_that_lost_its_stream_gets_what_came_meanwhile(site: Site, time: LoopTime) -> None:
    session = site.initialize()
    key = (await site.session(session)).key
    first = await site.get(session)
    site.streams.notify(key, "notifications/a", {})
    await settled(lambda: first.methods)
    await first.lose()
    site.streams.notify(key, "notifications/b", {})
    site.streams.ask(key, b'{"id":1,"method":"question"}')
    await time.advance(BROKEN - 2, 1)
    again = await site.get(session, first.ids[-1])
    site.streams.notify(key, "notifications/c", {})
    await settled(lambda: len(again.methods) == 3)
    assert again.methods == ["notifications/b", "question", "notifications/c"]
    assert not set(again.ids) & set(first.ids)


async def test_a_stream_is_taken_from_a_connection_that_was_lost_unnoticed(site: Site) -> None:
    session = site.initialize()
    first = await site.get(session)
    await settled(lambda: first.ids)
    again = await site.get(session, first.ids[-1])
    await settled(lambda: first.ended)
    site.streams.notify((await site.session(session)).key, "notifications/x", {})
    await settled(lambda: again.methods)
    assert (first.methods, site.streams.listening) == ([], 1)


async def test_a_get_stream_that_is_gone_begins_anew_with_what_may_have_been_missed(site: Site) -> None:
    session = site.initialize()
    site.streams.missed = lambda call: [("notifications/tools/list_changed", {})]
    other = Site("gone", site.state)
    first = await other.get(session)
    await settled(lambda: first.ids)
    await other.close()
    again = await site.get(session, first.ids[-1])
    await settled(lambda: again.methods)
    assert again.methods == ["notifications/tools/list_changed"]
    fresh = await site.get(session)
    await settled(lambda: fresh.ids)
    assert fresh.methods == []


async def test_a_call_goes_on_without_its_client_who_comes_back_for_the_answer(site: Site) -> None:
    session = site.initialize()
    stream, connection = await begun(site, session)
    connection.gone = True
    site.streams.left(stream, connection)
    assert stream.add(b'{"method":"more"}')
    again = await site.get(session, connection.ids[-1])
    await settled(lambda: again.methods == ["more"])
    assert site.streams.listening == 1
    stream.finish(encode_result(b"7", b"{}"))
    await settled(lambda: again.ended)
    assert again.messages[-1] == {"jsonrpc": "2.0", "id": 7, "result": {}}
    await settled(lambda: site.streams.listening == 0)


async def test_an_answer_that_may_not_have_come_is_kept_for_a_moment(site: Site, time: LoopTime) -> None:
    session = site.initialize()
    stream, connection = await begun(site, session)
    stream.finish(encode_result(b"7", b"{}"))
    await stream.flow(connection)
    site.streams.left(stream, connection)
    again = await site.get(session, connection.ids[1])
    await settled(lambda: again.ended)
    assert again.messages == [{"jsonrpc": "2.0", "id": 7, "result": {}}]
    await time.advance(DONE + 2)
    late = await site.get(session, connection.ids[1])
    await settled(lambda: late.ended)
    assert late.messages[0]["error"]["code"] == -31002


@pytest.mark.parametrize("request_id", [7, "seven", "ü"])
async def test_a_call_of_a_gateway_that_is_gone_is_answered_with_unknown_outcome(
    site: Site, request_id: object
) -> None:
    session = site.initialize()
    other = Site("gone", site.state)
    _, connection = await begun(other, session, request_id)
    await other.close()
    again = await site.get(session, connection.ids[0])
    await settled(lambda: again.ended)
    (answer,) = again.messages
    assert (answer["id"], answer["error"]["code"]) == (request_id, -31002)
    assert "outcome is unknown" in answer["error"]["message"]


async def test_anothers_event_id_is_as_good_as_nonsense(site: Site) -> None:
    mine, other = site.initialize(), site.initialize("bob")
    listening = await site.get(mine)
    _, connection = await begun(site, mine)
    await settled(lambda: listening.ids)
    words = set[str]()
    for event, session, who in (
        (listening.ids[0], other, "bob"),
        (connection.ids[-1], other, "bob"),
        (listening.ids[0], site.initialize(), "ann"),
        ("nonsense", mine, "ann"),
        (connection.ids[-1][1:], mine, "ann"),
    ):
        with pytest.raises(InvalidRequest) as caught:
            await site.get(session, event, who)
        words.add(str(caught.value))
    assert len(words) == 1


async def test_a_call_with_an_id_too_long_to_come_back_by_is_streamed_all_the_same(site: Site) -> None:
    stream, connection = await begun(site, site.initialize(), "x" * 200)
    assert (connection.ids, connection.methods, site.streams.kept) == ([], ["progress"], 0)
    site.streams.left(stream, connection)


# -- ends ---------------------------------------------------------------------------------------


async def test_the_end_of_a_session_ends_its_streams_and_no_others(site: Site) -> None:
    mine, other = site.initialize(), site.initialize()
    first, second, kept = await site.get(mine), await site.get(mine), await site.get(other)
    await site.sessions.end(mine, await site.session(mine))
    await settled(lambda: first.ended and second.ended)
    assert not kept.ended
    with pytest.raises(Exception, match="unknown session"):
        await site.get(mine)


async def test_what_a_call_still_answers_goes_out_after_its_sessions_end(site: Site) -> None:
    mine = site.initialize()
    stream, connection = await begun(site, mine)
    await site.sessions.end(mine, await site.session(mine))
    stream.finish(encode_result(b"7", b"{}"))
    await stream.flow(connection)
    site.streams.left(stream, connection)
    assert connection.messages[-1]["result"] == {}
    assert (site.streams.kept, site.streams.held.size) == (0, 0)


async def test_a_session_ended_at_another_gateway_ends_its_streams_here(site: Site) -> None:
    mine = site.initialize()
    listening = await site.get(mine)
    other = Site("bbbb", site.state)
    await other.sessions.end(mine, await other.session(mine))
    await settled(lambda: listening.ended)


async def test_a_revoked_key_gets_no_event_more(site: Site, time: LoopTime) -> None:
    session = site.initialize()
    key = (await site.session(session)).key
    listening = await site.get(session)
    site.identity.revoke("ann")
    await time.advance(1.5)
    site.streams.notify(key, "notifications/x", {})
    await settled(lambda: listening.ended)
    assert listening.methods == []
    assert site.streams.kept == 0


async def test_a_quiet_stream_of_a_revoked_key_ends_at_the_next_keep_alive(
    site: Site, time: LoopTime
) -> None:
    listening = await site.get(site.initialize())
    site.identity.revoke("ann")
    await time.advance(QUIET + 2)
    assert listening.ended


async def test_a_drain_ends_streams_in_order_and_opens_none(site: Site) -> None:
    session = site.initialize()
    listening = await site.get(session)
    stream, connection = await begun(site, session)
    site.streams.drain()
    await settled(lambda: listening.ended)
    with pytest.raises(Draining):
        await site.get(session)
    stream.finish(encode_result(b"7", b"{}"))
    await stream.flow(connection)
    assert connection.ended


# -- bounds -------------------------------------------------------------------------------------


async def test_a_further_stream_of_a_session_ends_its_oldest(site: Site) -> None:
    session = site.initialize()
    opened = [await site.get(session) for _ in range(OPEN_SESSION + 1)]
    await settled(lambda: opened[0].ended)
    assert not any(each.ended for each in opened[1:])


async def test_streams_are_bounded_for_each_principal_and_in_all(site: Site) -> None:
    for who in ("ann", "bob", "cat", "dan"):
        for _ in range(OPEN_EACH):
            await site.get(site.initialize(who), who=who)
        with pytest.raises(StreamsFull, match="of your event streams" if who != "dan" else "try again later"):
            await site.get(site.initialize(who), who=who)
    assert site.streams.listening == OPEN
    with pytest.raises(StreamsFull, match="try again later"):
        await site.get(site.initialize("eve"), who="eve")
    await site.connections[0].lose()
    assert await site.get(site.initialize("eve"), who="eve")


async def test_what_all_streams_hold_is_bounded_and_the_unread_goes_first(site: Site) -> None:
    sessions = [site.initialize() for _ in range(280)]
    connections = list[Connection]()
    for each in sessions:
        stream, connection = await begun(site, each)
        site.streams.left(stream, connection)
        stream.add(b'{"padding":"%b"}' % (b"p" * 250_000), Weight.NOTE)
        connections.append(connection)
    site.streams.left(*await begun(site, site.initialize()))
    assert site.streams.held.size <= MOST_KEPT
    late = await site.get(sessions[-1], connections[-1].ids[-1])
    await settled(lambda: late.messages)
    assert len(late.messages[0]["padding"]) == 250_000
    early = await site.get(sessions[0], connections[0].ids[-1])
    await settled(lambda: early.ended)
    assert early.messages[0]["error"]["code"] == -31002


async def test_slow_clients_hold_no_more_than_all_may_and_lose_no_question(
    site: Site, time: LoopTime
) -> None:
    calls = list[tuple[Stream, Connection]]()
    for number in range(80):
        call, connection = await site.post(site.initialize(), number)
        stream = site.streams.post(call)
        stream.attach(connection)
        stream.add(b'{"id":1,"method":"question"}', Weight.QUESTION)
        for _ in range(4):
            stream.add(b'{"padding":"%b"}' % (b"p" * 250_000))
        calls.append((stream, connection))
    assert site.streams.held.size > MOST_KEPT
    await time.advance(2)
    assert site.streams.held.size <= MOST_KEPT
    for stream, connection in calls:
        await stream.flow(connection, pause=True)
        assert connection.methods[0] == "question"


async def test_one_session_cannot_push_out_what_others_may_come_back_to(site: Site) -> None:
    other = site.initialize()
    stream, connection = await begun(site, other)
    site.streams.left(stream, connection)
    mine = site.initialize()
    for number in range(200):
        site.streams.left(*await begun(site, mine, number))
    assert site.streams.kept <= 66
    stream.finish(encode_result(b"7", b"{}"))
    again = await site.get(other, connection.ids[-1])
    await settled(lambda: again.ended)
    assert "result" in again.messages[0]


async def test_one_principal_cannot_push_out_what_others_may_come_back_to(site: Site) -> None:
    his = site.initialize("bob")
    call, connection = await site.post(his, who="bob")
    stream = site.streams.post(call)
    site.streams.left(stream, connection)
    sessions = [site.initialize() for _ in range(OF_ONE // 60 + 2)]
    first = (await site.session(sessions[0])).key
    for number in range(OF_ONE + 40):
        site.streams.left(*await begun(site, sessions[number // 60], number))
    assert site.streams.kept == OF_ONE + 1
    assert len(site.streams._of[first]) == 20  # pyright: ignore[reportPrivateUsage]
    for _ in range(270):
        large, its = await begun(site, site.initialize())
        site.streams.left(large, its)
        large.add(b'{"padding":"%b"}' % (b"p" * 250_000))
    site.streams.sweep()
    assert site.streams.held.size <= MOST_KEPT
    assert stream.prefix  # it can be found still


async def test_slow_clients_of_one_principal_cost_another_nothing(site: Site) -> None:
    his = site.initialize("bob")
    call, connection = await site.post(his, who="bob")
    stream = site.streams.post(call)
    stream.add(b'{"padding":"%b"}' % (b"p" * 250_000))
    stream.attach(connection)
    site.streams.left(stream, connection)
    slow = list[Stream]()
    for number in range(80):
        call, other = await site.post(site.initialize(), number)
        slow.append(site.streams.post(call))
        slow[-1].attach(other)
        for _ in range(4):
            slow[-1].add(b'{"padding":"%b"}' % (b"p" * 250_000))
    assert site.streams.held.size > MOST_KEPT
    site.streams.sweep()
    assert site.streams.held.size <= MOST_KEPT
    assert stream.prefix
    assert stream.size > 250_000


async def test_a_closed_stream_leaves_nothing_behind(site: Site, time: LoopTime) -> None:
    for _ in range(20):
        session = site.initialize()
        key = (await site.session(session)).key
        listening = await site.get(session)
        site.streams.notify(key, "notifications/x", {})
        stream, connection = await begun(site, session)
        if len(site.connections) % 2:
            stream.finish(encode_result(b"7", b"{}"))
            await stream.flow(connection)
        site.streams.left(stream, connection)
        await settled(lambda each=listening: each.methods)
        await listening.lose()
    del stream, connection, listening
    site.connections.clear()
    assert site.streams.held.size
    await time.advance(BROKEN + 2, 2)
    assert (site.streams.kept, site.streams.listening, site.streams.held.size) == (0, 0, 0)
    assert list(site.streams.sessions(PATH)) == []
    await asyncio.sleep(0)
    gc.collect()
    assert not [each for each in gc.get_objects() if isinstance(each, Stream)]
