"""Streams that only concern what is stopped end; others go quiet about it, and hear again when it is resumed."""

from __future__ import annotations

import pytest

from tests.unit.gateway.hearing import Ears, principal, updated
from tests.unit.gateway.test_listeners import listen
from tests.unit.gateway.test_subscriptions import OWN, SHOWN, subscribe, workload
from tests.unit.gateway.test_task_list import ids, make
from tidegate.domain.errors import Stopped
from tidegate.domain.stop import Stop, StopScope
from tidegate.protocol.subscriptions import UPDATED

ANN, BOB = principal("ann"), principal("bob")
SERVER = Stop("s1", StopScope.SERVER, "one", "leaks", "ops", 1.0)
MINE = Stop("s2", StopScope.PRINCIPAL, "ann", "leaks", "ops", 1.0)


@pytest.fixture
async def ears() -> Ears:
    return Ears()


def tell(ears: Ears) -> None:
    ears.subscriptions.notified("one", workload(ears), UPDATED, updated(OWN))


async def test_a_session_hears_nothing_of_a_stopped_server_until_it_is_resumed(ears: Ears) -> None:
    session = await ears.session(ANN)
    got = ears.streams.open(session.key)
    await subscribe(ears, session)
    ears.stops.turn([SERVER])
    tell(ears)
    await ears.time.advance(2)
    assert got == []
    ears.stops.turn([])
    tell(ears)
    await ears.time.advance(2)
    assert got == [(UPDATED, {"uri": SHOWN})]


async def test_nothing_more_is_subscribed_to(ears: Ears) -> None:
    session = await ears.session(ANN)
    for stop in (SERVER, MINE):
        ears.stops.turn([stop])
        with pytest.raises(Stopped, match=stop.id):
            await subscribe(ears, session)
    assert ears.fleet.leases == []
    ears.stops.turn([SERVER])
    stream = await listen(ears, toolsListChanged=True, resourceSubscriptions=[SHOWN])
    assert stream.honoured == {"toolsListChanged": True}
    stream.task.cancel()


async def test_a_stream_of_who_is_stopped_ends_in_order_and_others_only_go_quiet(ears: Ears) -> None:
    mine = await listen(ears, ANN, resourceSubscriptions=[SHOWN])
    bobs = await listen(ears, BOB, resourceSubscriptions=[SHOWN])
    ears.stops.turn([MINE])
    ears.subscriptions.end(ears.stops.check)
    await ears.time.settle()
    assert mine.task.done()
    assert mine.got[-1]["method"] == "notifications/cancelled"
    assert not bobs.task.done()
    ears.stops.turn([SERVER])
    ears.subscriptions.end(ears.stops.check)
    tell(ears)
    await ears.time.advance(2)
    assert bobs.told == []
    ears.stops.turn([])
    tell(ears)
    await ears.time.advance(2)
    assert bobs.told == [(UPDATED, {"uri": SHOWN})]
    bobs.task.cancel()


async def test_the_server_of_a_stopped_tools_task_is_not_asked_how_it_is(ears: Ears) -> None:
    ears.fleet.start("one", "shared")
    handle = await make(ears, "t1")
    ears.stops.turn([Stop("s1", StopScope.TOOL, "one__slow", "leaks", "ops", 1.0)])
    assert await ids(ears) == []
    ears.stops.turn([])
    assert await ids(ears) == [handle]
