"""A server is asked to tell of what is wanted once for all who want it at one time, and for what it refuses alone."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from tests.unit.fleet.setting import spec
from tests.unit.gateway.hearing import FakeFleet, WatchChannel
from tidegate.domain.errors import ChannelClosed
from tidegate.domain.server import Sharing
from tidegate.gateway.interests import Hearer, Interests
from tidegate.gateway.watches import LONGEST_REST, REST, Watches
from tidegate.testing.loop_time import LoopTime

PLACE = ("one", "shared")
ANN = cast("Hearer", "ann")


class Setting:
    """One workload, and what is wanted of it."""

    def __init__(self) -> None:
        self.time = LoopTime()
        fleet = FakeFleet([spec("one", sharing=Sharing.SHARED)])
        self.channel = cast("WatchChannel", fleet.start(*PLACE).channel)
        self.interests = Interests()
        self.watches = Watches(cast("Any", fleet), self.interests, self.time)

    def want(self, *uris: str) -> asyncio.Task[frozenset[tuple[bool, str]]]:
        """Want resources, and have the server asked."""
        for uri in uris:
            self.interests.add_uri(ANN, PLACE, uri, uri)
        return asyncio.create_task(self.watches.settle(PLACE))


@pytest.fixture
async def it() -> Setting:
    return Setting()


async def test_the_first_is_asked_for_at_once_and_all_who_come_meanwhile_with_one_question(
    it: Setting,
) -> None:
    it.channel.silent.clear()
    tasks = [it.want("a:0")]
    await it.time.settle()
    assert len(it.channel.asked) == 1
    for number in range(1, 200):
        tasks.append(it.want(f"a:{number}"))
        await asyncio.sleep(0)
    it.channel.silent.set()
    assert set(await asyncio.gather(*tasks)) == {frozenset()}
    assert len(it.channel.asked) == 2
    assert len(it.channel.watched) == 200


async def test_of_many_the_one_that_is_refused_is_found_with_few_questions(it: Setting) -> None:
    uris = [f"a:{number}" for number in range(1000)]
    it.channel.refuses = {"a:123"}
    assert await it.want(*uris) == {(False, "a:123")}
    assert it.channel.watched == {*uris} - {"a:123"}
    assert len(it.channel.asked) < 30


async def test_a_server_that_refuses_all_is_asked_for_nothing_in_the_end(it: Setting) -> None:
    uris = [f"a:{number}" for number in range(9)]
    it.channel.refuses = set(uris)
    assert await it.want(*uris) == {(False, uri) for uri in uris}
    assert it.channel.asked[-1] == (set(), set())
    asked = len(it.channel.asked)
    assert asked < 3 * len(uris)
    assert len(await it.want("a:0")) == len(uris)
    assert len(it.channel.asked) == asked


async def test_who_leaves_while_the_server_is_asked_takes_nothing_from_the_others(it: Setting) -> None:
    it.channel.silent.clear()
    first, second = it.want("a:1"), it.want("a:2")
    await it.time.settle()
    third = it.want("a:3")
    await it.time.settle()
    first.cancel()
    await it.time.settle()
    it.channel.silent.set()
    assert await asyncio.gather(second, third) == [frozenset(), frozenset()]
    assert it.channel.watched == {"a:1", "a:2", "a:3"}


async def test_a_failure_is_told_to_all_who_waited_for_it_and_the_next_asks_anew(it: Setting) -> None:
    it.channel.silent.clear()
    first = it.want("a:0")
    await it.time.settle()
    tasks = [it.want("a:1"), it.want("a:2")]
    await it.time.settle()
    it.channel.failing = ChannelClosed("it is gone")
    it.channel.silent.set()
    for task in (first, *tasks):
        with pytest.raises(ChannelClosed):
            await task
    assert len(it.channel.asked) == 2
    it.channel.failing = None
    assert await it.want() == frozenset()
    assert it.channel.watched == {"a:0", "a:1", "a:2"}


async def test_the_more_is_wanted_the_longer_what_comes_next_is_gathered(it: Setting) -> None:
    many = int(LONGEST_REST / REST) + 1
    await it.want(*(f"a:{number}" for number in range(many)))
    asked = len(it.channel.asked)
    tasks = [it.want("b:1")]
    await it.time.settle()
    tasks.append(it.want("b:2"))
    await it.time.settle()
    assert len(it.channel.asked) == asked
    await it.time.advance(LONGEST_REST, LONGEST_REST)
    await asyncio.gather(*tasks)
    assert len(it.channel.asked) == asked + 1
    assert len(it.channel.watched) == many + 2
