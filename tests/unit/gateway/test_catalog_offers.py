"""Servers that offer more to clients that offer them something: each client is shown what there is for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.unit.gateway.offering import USER, Cataloged, Offering
from tidegate.domain.server import Sharing
from tidegate.domain.target import Kind, Target
from tidegate.gateway.definitions import DefinitionStore
from tidegate.gateway.offers import AGAIN, MOST
from tidegate.protocol.capabilities import Offer
from tidegate.testing.loop_time import LoopTime
from tidegate.testing.scripted import until

OPEN = Callable[..., Awaitable[Cataloged]]
NONE, FORM, URL = Offer.NONE, Offer.FORM, Offer.URL


@pytest.fixture
async def catalog() -> AsyncIterator[OPEN]:
    """Open catalogs over a server `one`."""
    opened: list[Cataloged] = []
    time = LoopTime()

    async def opening(server: Offering, *, begin: bool = True, **more: Any) -> Cataloged:
        made = Cataloged({"one": server}, time, **more)
        opened.append(made)
        if begin:
            await made.begin()
            await made.listed(Kind.TOOL, "one__plain")
        return made

    yield opening
    for each in opened:
        await each.close()


def asking(modern: bool = False) -> Offering:
    """Give a server with one tool more, one less and one otherwise for clients that show forms."""
    server = Offering({"tools": {"listChanged": True}}, modern=modern, tools=["plain", "formless", "varies"])
    server.for_forms = ["plain", {"name": "varies", "description": "asks"}, "asks"]
    return server


async def learned(made: Cataloged, offer: Offer = FORM) -> None:
    """Wait until what clients of an offer are shown is known."""
    await made.endpoint.settled(offer, 30.0)
    assert offer.label in made.catalog.definitions["one"].offers


async def test_a_client_is_shown_what_there_is_for_what_it_offers_and_no_other_is(catalog: OPEN) -> None:
    server = asking()
    made = await catalog(server)
    common = ["one__plain", "one__formless", "one__varies"]
    assert made.offered(NONE) == made.offered(FORM) == common
    await learned(made)
    assert made.offered(FORM) == ["one__plain", "one__varies", "one__asks"]
    assert made.offered(NONE) == made.offered(URL) == common
    listed = json.loads(made.endpoint.list(Kind.TOOL, USER, None, modern=True, offer=FORM))
    assert listed["tools"][1] == {"name": "one__varies", "description": "asks"}
    assert ("/mcp", Kind.TOOL) in made.changes
    assert made.endpoint.resolve(USER, Kind.TOOL, "one__asks")[0].target == Target("one", Kind.TOOL, "asks")
    assert made.endpoint.resolve(USER, Kind.TOOL, "one__formless")[0].target.name == "formless"


async def test_nobodys_call_goes_to_the_workload_that_was_asked_and_it_is_ended(catalog: OPEN) -> None:
    server = asking()
    made = await catalog(server)
    assert server.told == [{}]
    await learned(made)
    assert server.told == [{}, {"elicitation": {"form": {}}}]
    await until(lambda: list(made.fleet.fleet.pools["one"].workloads) == ["unclaimed"])


async def test_until_it_is_known_a_list_holds_not_at_all(catalog: OPEN) -> None:
    made = await catalog(asking())

    def holds(offer: Offer) -> int:
        found: int = json.loads(made.endpoint.list(Kind.TOOL, USER, None, modern=True, offer=offer))["ttlMs"]
        return found

    assert (holds(NONE), holds(FORM)) == (30_000, 0)
    await learned(made)
    assert holds(FORM) == 30_000


async def test_a_server_that_offers_all_the_same_is_asked_once(catalog: OPEN) -> None:
    server = asking()
    server.for_forms = None
    made = await catalog(server)
    await learned(made)
    for _ in range(5):
        assert made.offered(FORM) == made.offered(NONE)
        await made.time.advance(AGAIN)
    assert len(server.told) == 2
    assert list(made.endpoint.views) == ["none"]


async def test_a_modern_server_is_told_with_each_request_and_never_asked_for_this(catalog: OPEN) -> None:
    server = asking(modern=True)
    made = await catalog(server)
    made.offered(FORM)
    await made.time.advance(2 * AGAIN)
    assert server.count("server/discover") == 1
    assert made.catalog.definitions["one"].offers == {}


async def test_what_cannot_be_learned_is_tried_again_after_a_while_and_hides_nothing(catalog: OPEN) -> None:
    server = asking()
    made = await catalog(server)
    server.errors = {"tools/list": -32603}
    made.offered(FORM)
    await until(lambda: len(server.told) == 2)
    await made.time.advance(AGAIN / 2)
    assert made.offered(FORM) == made.offered(NONE)
    assert len(server.told) == 2
    server.errors = {}
    await made.time.advance(AGAIN)
    await learned(made)
    assert "one__asks" in made.offered(FORM)


async def test_a_change_that_all_are_shown_is_shown_to_those_who_offer_something_too(catalog: OPEN) -> None:
    server = asking()
    made = await catalog(server)
    await learned(made)
    server.lists["tools"] = ["fresh", "formless", "varies"]
    server.notify("notifications/tools/list_changed")
    await made.listed(Kind.TOOL, "one__fresh")
    assert made.offered(FORM) == ["one__fresh", "one__varies", "one__asks"]
    assert made.offered(NONE) == ["one__fresh", "one__formless", "one__varies"]


async def test_a_shared_workload_that_tells_of_a_change_is_asked_itself(catalog: OPEN) -> None:
    server = asking()
    made = await catalog(server, sharing=Sharing.SHARED)
    await learned(made)
    assert set(made.fleet.fleet.pools["one"].workloads) == {"shared", "shared+form"}
    server.for_forms = ["plain", "other"]
    server.notify("notifications/tools/list_changed")
    await made.time.advance(3)
    await until(lambda: made.offered(FORM) == ["one__plain", "one__other"])
    assert len(server.told) == 2


async def test_it_is_known_to_the_next_gateway(catalog: OPEN) -> None:
    first = await catalog(asking())
    await learned(first)
    store, spec = DefinitionStore(first.fleet.state), first.fleet.specs[0]
    async with asyncio.timeout(5):
        while await store.load(spec) != first.catalog.definitions["one"]:
            await asyncio.sleep(0.002)
    await first.close()
    second = await catalog(asking(), begin=False, state=first.fleet.state)
    second.fleet.runtime.unavailable = "the engine does not answer"
    await second.begin()
    assert second.offered(FORM) == ["one__plain", "one__varies", "one__asks"]
    second.fleet.runtime.unavailable = None


async def test_clients_that_offer_all_sorts_of_things_cost_a_bounded_number_of_starts(catalog: OPEN) -> None:
    server = asking()
    made = await catalog(server)
    for number in range(1, 64):
        made.offered(Offer(number))
    await made.time.advance(120)
    assert len(made.catalog.definitions["one"].offers) == MOST
    made.offered(Offer(63))
    await made.time.advance(AGAIN)
    assert len(server.told) == MOST + 1
    assert len({id(view) for view in made.endpoint.views.values()}) == 2


async def test_a_first_client_can_wait_until_what_there_is_for_it_is_known(catalog: OPEN) -> None:
    made = await catalog(asking(), begin=False)
    assert made.offered(FORM) == []
    await made.begin()
    await made.endpoint.settled(FORM, 10.0)
    assert made.offered(FORM) == ["one__plain", "one__varies", "one__asks"]
    before = made.time()
    await made.endpoint.settled(FORM, 1000.0)
    assert made.time() - before < 1


@pytest.mark.parametrize("how", ["mute", "gone", "refused"])
async def test_nobody_waits_longer_than_said_for_what_does_not_come(catalog: OPEN, how: str) -> None:
    server = asking()
    made = await catalog(server, begin=False)
    if how == "mute":
        server.mute = {"tools/list"}
    elif how == "gone":
        made.fleet.runtime.unavailable = "the engine does not answer"
    else:
        server.errors = {"tools/list": -32603}
    await made.begin()
    await made.time.settle()
    waiting = asyncio.create_task(made.endpoint.settled(FORM, 5.0))
    await made.time.advance(5.5)
    await waiting
    assert made.offered(FORM) == []
    made.fleet.runtime.unavailable = None


async def test_nobody_waits_for_a_server_that_offers_nothing_else_or_cannot_be_learned_of(
    catalog: OPEN,
) -> None:
    server = asking()
    made = await catalog(server)
    server.errors = {"tools/list": -32603}
    waiting = asyncio.create_task(made.endpoint.settled(FORM, 1000.0))
    await made.time.advance(5)
    await until(waiting.done)  # views are built in threads, which take real time
    server.errors, server.for_forms = {}, None
    waiting = asyncio.create_task(made.endpoint.settled(URL, 1000.0))
    await made.time.advance(5)
    await until(waiting.done)  # views are built in threads, which take real time
