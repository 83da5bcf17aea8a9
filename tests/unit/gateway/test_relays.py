"""A stream taken up again at another gateway than the one that has it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.unit.gateway.stream_setting import PATH, Connection, Site, settled
from tidegate.domain.errors import StreamsFull
from tidegate.extensions.state.memory import MemoryState
from tidegate.gateway.mail import ALIVE
from tidegate.gateway.relays import LENT, LENT_EACH
from tidegate.gateway.stream import Stream
from tidegate.gateway.streams import QUIET
from tidegate.protocol.codec import encode_result
from tidegate.testing.loop_time import LoopTime

Two = tuple[Site, Site]


@pytest.fixture
async def time() -> LoopTime:
    return LoopTime()


@pytest.fixture
async def sites(time: LoopTime) -> AsyncIterator[Two]:
    state = MemoryState(clock=time)
    made = Site("aaaa", state, shared=True).run(), Site("bbbb", state, shared=True).run()
    await time.settle()
    yield made
    for each in made:
        await each.close()


async def lost(site: Site, session: str, number: int = 7, who: str = "ann") -> tuple[Stream, Connection]:
    """Have a client lose the stream of a call that is under way."""
    call, connection = await site.post(session, number, who)
    stream = site.streams.post(call)
    stream.attach(connection)
    stream.add(b'{"method":"first"}')
    await stream.flow(connection, pause=True)
    connection.gone = True
    site.streams.left(stream, connection)
    return stream, connection


async def test_a_calls_stream_goes_on_at_another_gateway_until_the_answer(sites: Two) -> None:
    one, two = sites
    session = one.initialize()
    stream, connection = await lost(one, session)
    stream.add(b'{"method":"second"}')
    again = await two.get(session, connection.ids[-1])
    await settled(lambda: again.methods == ["second"])
    stream.add(b'{"method":"third","params":{"p":"%b"}}' % (b"p" * 200_000))
    await settled(lambda: again.methods == ["second", "third"])
    stream.finish(encode_result(b"7", b'{"r":"%b"}' % (b"r" * 1_000_000)))
    await settled(lambda: again.ended)
    assert len(again.messages[-1]["result"]["r"]) == 1_000_000
    assert again.ids[-1] == again.ids[0][:-1] + "4"
    assert one.streams.listening == two.streams.listening == 0


async def test_a_get_stream_goes_on_at_another_gateway_and_then_at_its_own_again(sites: Two) -> None:
    one, two = sites
    session = one.initialize()
    key = (await one.session(session)).key
    first = await one.get(session)
    await settled(lambda: first.ids)
    await first.lose()
    again = await two.get(session, first.ids[-1])
    assert one.streams.notify(key, "notifications/a", {})
    await settled(lambda: again.methods)
    await again.lose()
    one.streams.notify(key, "notifications/b", {})
    back = await one.get(session, again.ids[-1])
    await settled(lambda: back.methods)
    assert (again.methods, back.methods) == (["notifications/a"], ["notifications/b"])


async def test_a_client_that_left_the_other_gateway_is_noticed_and_loses_nothing(
    sites: Two, time: LoopTime
) -> None:
    one, two = sites
    session = one.initialize()
    stream, connection = await lost(one, session)
    again = await two.get(session, connection.ids[-1])
    await settled(lambda: one.streams.listening == 1)
    await again.lose()
    stream.add(b'{"method":"second"}')
    await settled(lambda: one.streams.listening == 0)
    back = await two.get(session, connection.ids[-1])
    await settled(lambda: back.methods == ["second"])


async def test_a_revoked_key_reads_nothing_through_another_gateway(sites: Two, time: LoopTime) -> None:
    one, two = sites
    session = one.initialize()
    stream, connection = await lost(one, session)
    again = await two.get(session, connection.ids[-1])
    two.identity.revoke("ann")
    await time.advance(1.5)
    stream.add(b'{"method":"second"}')
    await settled(lambda: again.ended)
    assert again.methods == []


async def test_a_quiet_stream_is_kept_alive_through_another_gateway(sites: Two, time: LoopTime) -> None:
    one, two = sites
    session = one.initialize()
    _, connection = await lost(one, session)
    again = await two.get(session, connection.ids[-1])
    await time.advance(QUIET + 3)
    assert again.blocks == [b": keep-alive"]


async def test_where_the_gateway_of_the_stream_dies_the_client_comes_back_and_is_told(
    sites: Two, time: LoopTime
) -> None:
    one, two = sites
    session = one.initialize()
    _, connection = await lost(one, session)
    again = await two.get(session, connection.ids[-1])
    await one.close()
    await time.until(lambda: again.ended, 60 + ALIVE)
    told = await two.get(session, connection.ids[-1])
    await settled(lambda: told.ended)
    assert told.messages[0]["error"]["code"] == -31002


async def test_one_principal_leaves_others_streams_to_be_taken_up_and_too_many_are_not_none(
    sites: Two,
) -> None:
    one, two = sites
    session, his = one.initialize(), one.initialize("bob")
    losses = [await lost(one, session, number) for number in range(LENT_EACH + 1)]
    for _, connection in losses[:-1]:
        await two.get(session, connection.ids[-1])
    stream, connection = losses[-1]
    with pytest.raises(StreamsFull, match="try again later"):
        await two.get(session, connection.ids[-1])
    _, bobs = await lost(one, his, who="bob")
    assert not (await two.get(his, bobs.ids[-1], who="bob")).ended
    losses[0][0].finish(encode_result(b"0", b"{}"))
    await settled(lambda: two.connections[0].ended)
    again = await two.get(session, connection.ids[-1])
    stream.finish(encode_result(b"7", b"{}"))
    await settled(lambda: again.ended)
    assert "result" in again.messages[0]


@pytest.mark.parametrize("bound", ["lent", "passed on"])
async def test_what_one_gateway_lends_or_passes_on_is_bounded_and_said_to_be(sites: Two, bound: str) -> None:
    one, two = sites
    three = Site("cccc", one.state, shared=True).run()
    assert three.mail is not None
    await three.mail.announce()
    for number in range(LENT):
        who = f"n{number // LENT_EACH}"
        session = one.initialize(who)
        _, connection = await lost(one, session, number, who)
        at = three if bound == "lent" and number % 2 else two
        await at.get(session, connection.ids[-1], who=who)
    its = one if bound == "lent" else three
    session = its.initialize()
    _, connection = await lost(its, session)
    with pytest.raises(StreamsFull, match="lends" if bound == "lent" else "passed on"):
        await two.get(session, connection.ids[-1])
    await three.close()


async def test_a_stream_that_its_gateway_no_longer_has_is_answered_with_unknown_outcome(sites: Two) -> None:
    one, two = sites
    session = one.initialize()
    _, connection = await lost(one, session)
    one.streams.end_session((await one.session(session)).key)
    told = await two.get(session, connection.ids[-1])
    await settled(lambda: told.ended)
    assert told.messages[0]["error"]["code"] == -31002


async def test_the_end_of_a_session_is_known_everywhere_before_it_is_answered(sites: Two) -> None:
    one, two = sites
    session = one.initialize()
    ann = (await two.call(session)).principal
    assert two.sessions.cached(session, ann, PATH)
    listening = await two.get(session)
    await one.sessions.end(session, await one.session(session))
    assert two.sessions.cached(session, ann, PATH) is None
    await settled(lambda: listening.ended)
