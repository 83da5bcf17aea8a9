"""Parked calls that are gone on with from another gateway: many at a time leave other mail its room."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator

import pytest
from msgspec import Raw

from tests.unit.gateway.setting import OPEN
from tests.unit.gateway.stream_setting import Site
from tidegate.access.limits import CallLimits
from tidegate.channels.channel import Asked, Reply
from tidegate.domain.errors import ChannelFailure, Overloaded, StateInvalid
from tidegate.extensions.state.memory import MemoryState
from tidegate.gateway.elsewhere import AT_ONE_TIME, Elsewhere
from tidegate.gateway.parked import EACH, Asking, ParkedCalls, Patience
from tidegate.protocol.capabilities import Offer
from tidegate.testing.scripted import until

Two = tuple[Site, Site]


@pytest.fixture
async def sites() -> AsyncIterator[Two]:
    state = MemoryState()
    made = Site("here", state, shared=True).run(), Site("there", state, shared=True).run()
    for each in made:
        assert each.mail is not None
        await each.mail.announce()
    yield made
    for each in made:
        await each.close()


async def test_calls_that_are_gone_on_with_for_long_leave_other_letters_their_room(
    gateway: OPEN, sites: Two
) -> None:
    here, there = sites
    made, limits = await gateway(), CallLimits(in_all=2000, each=100)
    parked = ParkedCalls(limits, made.built.inquiries, (f"there-{n}" for n in itertools.count()).__next__)
    released, names = asyncio.Event(), list[str]()

    async def work(asked: Asked) -> Reply:
        assert asked("roots/list", {}, lambda reply: None)
        await released.wait()
        return Reply(Raw(b'{"done":true}'), None)

    def seal(name: str) -> str:
        names.append(name)
        return name

    for number in range(AT_ONE_TIME + 1):
        call = await there.call(None, f"n{number // EACH}")
        call.offered = Offer.ROOTS
        held = parked.hold(call, await made.fleet.lease("one"))
        assert isinstance(await parked.begin(held, work, Patience(seal, 600.0)), Asking)
    assert here.mail is not None
    assert there.mail is not None
    Elsewhere(parked, there.mail)
    coming = Elsewhere(ParkedCalls(limits, made.built.inquiries, str), here.mail)

    async def resume(number: int) -> Reply | Asking:
        call = await here.call(None, f"n{number // EACH}")
        return await coming.resume(call, names[number], {"roots-1": Raw(b'{"roots":[]}')}, 60.0)

    going = [asyncio.create_task(resume(number)) for number in range(AT_ONE_TIME)]
    await until(lambda: sum(held.busy for held in parked._held.values()) == AT_ONE_TIME)  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(Overloaded, match="send it again"):
        await resume(AT_ONE_TIME)
    with pytest.raises(StateInvalid):  # said at once, whatever else is going on
        await coming.resume(await here.call(None, "n0"), "there-none.1", {}, 60.0)
    released.set()
    replies = await asyncio.gather(*going)
    assert {bytes(each.result or b"") for each in replies} == {b'{"done":true}'}
    assert isinstance(await resume(AT_ONE_TIME), Reply)
    assert len(parked) == 0


async def test_where_the_client_goes_away_the_call_at_the_other_gateway_ends(
    gateway: OPEN, sites: Two
) -> None:
    here, there = sites
    made, limits = await gateway(), CallLimits(in_all=2000, each=100)
    parked = ParkedCalls(limits, made.built.inquiries, (f"there-{n}" for n in itertools.count()).__next__)
    ended = list[str]()

    async def work(asked: Asked) -> Reply:
        assert asked("roots/list", {}, lambda reply: None)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("")
        raise AssertionError

    names = list[str]()

    def seal(name: str) -> str:
        names.append(name)
        return name

    for _ in range(2):
        call = await there.call(None)
        call.offered = Offer.ROOTS
        held = parked.hold(call, await made.fleet.lease("one"))
        await parked.begin(held, work, Patience(seal, 600.0))
    assert here.mail is not None
    assert there.mail is not None
    Elsewhere(parked, there.mail)
    coming = Elsewhere(ParkedCalls(limits, made.built.inquiries, str), here.mail)
    answers = {"roots-1": Raw(b'{"roots":[]}')}
    going = [asyncio.create_task(coming.resume(await here.call(None), name, answers, 60.0)) for name in names]
    await until(lambda: sum(held.busy for held in parked._held.values()) == 2)  # pyright: ignore[reportPrivateUsage]
    going[0].cancel()
    await until(lambda: len(parked) == len(ended) == 1)
    assert not going[1].done()
    await parked.close()  # what its gateway does when it stops
    with pytest.raises(ChannelFailure, match="was ended"):
        await going[1]
