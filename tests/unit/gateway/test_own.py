"""What a principal's or session's own workload comes to list is shown to those alone whose calls go there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.unit.gateway.offering import Cataloged, Offering
from tidegate.domain.endpoint import EndpointSpec, Names
from tidegate.domain.errors import InvalidParams
from tidegate.domain.principal import Principal
from tidegate.domain.server import Sharing
from tidegate.domain.target import Kind
from tidegate.fleet.workload import Workload
from tidegate.gateway.own import LOOK, OwnLists
from tidegate.protocol.capabilities import Offer
from tidegate.testing.loop_time import LoopTime
from tidegate.testing.scripted import until

OPEN = Callable[..., Awaitable[Cataloged]]
NONE, FORM = Offer.NONE, Offer.FORM
ANN, BOB, CAROL = (Principal("t", "key", name, frozenset({"user"})) for name in ("ann", "bob", "carol"))
COMMON = ["one__plain", "one__other"]
CHANGED = "notifications/tools/list_changed"


@pytest.fixture
async def catalog() -> AsyncIterator[OPEN]:
    """Open catalogs over a server `one`, or over two servers with their own names."""
    opened: list[Cataloged] = []
    time = LoopTime()

    async def opening(server: Offering, two: Offering | None = None, **more: Any) -> Cataloged:
        if two is None:
            made = Cataloged({"one": server}, time, **more)
        else:
            plain = EndpointSpec("/mcp", ("one", "two"), names=Names.PLAIN)
            made = Cataloged({"one": server, "two": two}, time, endpoints=[plain], **more)
        opened.append(made)
        await made.begin()
        await made.listed(Kind.TOOL, *(["one__plain"] if two is None else ["plain", "second"]))
        return made

    yield opening
    for each in opened:
        await each.close()


def offering(**more: Any) -> Offering:
    return Offering({"tools": {"listChanged": True}}, tools=["plain", "other"], **more)


async def workload(made: Cataloged, sharing: str, offer: Offer = NONE) -> Workload:
    """Have a workload of a key run, as after a call."""
    with await made.fleet.fleet.lease("one", sharing + offer.suffix, None, 10.0, offer=offer) as lease:
        return lease.workload


async def change(made: Cataloged, server: Offering, told: Workload, *tools: str) -> None:
    """Have a workload come to list these tools, say so, and be read."""
    before, name = len(made.own_changes), told.identity.id
    server.own[name] = tools
    server.notify(CHANGED, name)
    await until(lambda: len(made.own_changes) > before)
    await made.time.advance(1)


def resolves(made: Cataloged, who: Principal, shown: str, **more: Any) -> bool:
    """Tell whether a principal can call a tool."""
    try:
        made.endpoint.resolve(who, Kind.TOOL, shown, **more)
    except InvalidParams:
        return False
    return True


async def test_two_principals_are_each_shown_their_own_and_a_third_what_all_are(catalog: OPEN) -> None:
    server = offering()
    made = await catalog(server)
    await change(made, server, await workload(made, ANN.key), "plain", "other", "anns")
    await change(made, server, await workload(made, BOB.key), "bobs", "plain")
    assert made.offered(NONE, ANN) == [*COMMON, "one__anns"]
    assert made.offered(NONE, BOB) == ["one__plain", "one__bobs"]
    assert made.offered(NONE, CAROL) == made.offered(FORM, CAROL) == COMMON
    able = [
        (who.subject, shown)
        for who in (ANN, BOB, CAROL)
        for shown in ("one__anns", "one__bobs")
        for session in ("", "s", ANN.key, BOB.key)
        for offer in (NONE, FORM)
        if resolves(made, who, shown, session=session, offer=offer)
    ]
    assert set(able) == {("ann", "one__anns"), ("bob", "one__bobs")}
    assert made.own_changes == [("/mcp", Kind.TOOL, ANN.key, ""), ("/mcp", Kind.TOOL, BOB.key, "")]
    assert "anns" not in str(made.catalog.definitions)


async def test_a_sessions_own_list_is_not_its_principals_other_sessions(catalog: OPEN) -> None:
    server = offering()
    made = await catalog(server, sharing=Sharing.SESSION)
    await change(made, server, await workload(made, f"{ANN.key}.s1"), "plain", "mine")
    assert made.offered(NONE, ANN, "s1") == ["one__plain", "one__mine"]
    assert made.offered(NONE, ANN, "s2") == made.offered(NONE, ANN) == made.offered(NONE, BOB, "s1") == COMMON
    assert not resolves(made, BOB, "one__mine", session="s1")
    assert made.own_changes == [("/mcp", Kind.TOOL, ANN.key, "s1")]


async def test_a_list_for_an_offer_is_shown_to_sessions_that_offer_it(catalog: OPEN) -> None:
    server = offering()
    made = await catalog(server)
    await change(made, server, await workload(made, ANN.key, FORM), "plain", "asks")
    assert made.offered(FORM, ANN) == ["one__plain", "one__asks"]
    assert made.offered(NONE, ANN) == made.offered(FORM, BOB) == COMMON
    assert resolves(made, ANN, "one__asks", offer=FORM)
    assert not resolves(made, BOB, "one__asks", offer=FORM)


@pytest.mark.parametrize("how", ["ended", "replaced"])
async def test_with_its_workload_the_list_goes_and_its_owner_is_told(catalog: OPEN, how: str) -> None:
    server = offering()
    made = await catalog(server)
    mine = await workload(made, ANN.key)
    await change(made, server, mine, "plain", "mine")
    pool = made.fleet.fleet.pools["one"]
    if how == "ended":
        pool.discard(mine)
        assert made.offered(NONE, ANN) == COMMON
    else:
        mine.replace("it is of no use")
        await until(lambda: mine.channel is not None and mine.identity.id not in server.own)
    await made.time.advance(2 * LOOK)
    assert made.offered(NONE, ANN) == COMMON
    assert not resolves(made, ANN, "one__mine")
    assert made.own_changes == [("/mcp", Kind.TOOL, ANN.key, "")] * 2
    assert not made.endpoint.has_own


async def test_what_all_are_shown_anew_is_shown_to_those_with_a_list_of_their_own_too(catalog: OPEN) -> None:
    server = offering()
    made = await catalog(server)
    await change(made, server, await workload(made, ANN.key), "plain", "other", "mine")
    made.fleet.fleet.pools["one"].ensure_warm()
    await workload(made, "unclaimed")
    server.lists["tools"] = ["plain", "other", "fresh"]
    server.notify(CHANGED, made.fleet.fleet.pools["one"].workloads["unclaimed"].identity.id)
    await made.listed(Kind.TOOL, "one__fresh")
    assert made.offered(NONE, ANN) == [*COMMON, "one__fresh", "one__mine"]
    assert made.offered(NONE, BOB) == [*COMMON, "one__fresh"]


async def test_a_workload_that_lists_what_all_do_again_has_no_list_of_its_own(catalog: OPEN) -> None:
    server = offering()
    made = await catalog(server)
    mine = await workload(made, ANN.key)
    await change(made, server, mine, "plain", "mine")
    await change(made, server, mine, "plain", "other")
    assert made.offered(NONE, ANN) == COMMON
    assert len(made.own_changes) == 2
    assert not made.endpoint.has_own


async def test_what_is_read_of_a_workload_while_somebody_claims_it_is_theirs_alone(catalog: OPEN) -> None:
    server = offering()
    made = await catalog(server)
    warm = made.fleet.fleet.pools["one"].workloads["unclaimed"]
    server.held = []
    server.notify(CHANGED)
    await made.time.advance(2)
    assert server.held
    assert await workload(made, ANN.key) is warm
    server.own[warm.identity.id] = ["plain", "mine"]
    server.release()
    await until(lambda: bool(made.own_changes))
    assert made.offered(NONE, ANN) == ["one__plain", "one__mine"]
    assert made.offered(NONE, BOB) == COMMON


async def test_a_change_of_a_warm_workload_that_is_claimed_before_it_is_read_is_its_owners(
    catalog: OPEN,
) -> None:
    server = offering()
    made = await catalog(server)
    warm = made.fleet.fleet.pools["one"].workloads["unclaimed"]
    server.own[warm.identity.id] = ["plain", "mine"]
    made.catalog.server_notified("one", warm, CHANGED, {})
    assert await workload(made, ANN.key) is warm
    await made.time.advance(3)
    await until(lambda: bool(made.own_changes))
    assert made.offered(NONE, ANN) == ["one__plain", "one__mine"]
    assert made.offered(NONE, BOB) == COMMON


async def test_where_all_are_one_principal_its_workloads_say_what_all_are_shown(catalog: OPEN) -> None:
    server = offering()
    made = await catalog(server, one_principal=True)
    plain, forms = await workload(made, ANN.key), await workload(made, ANN.key, FORM)
    server.own[plain.identity.id] = ["plain", "mine"]
    server.notify(CHANGED, plain.identity.id)
    await made.listed(Kind.TOOL, "one__mine")
    server.own[forms.identity.id] = ["plain", "asks"]
    server.notify(CHANGED, forms.identity.id)
    await until(lambda: made.offered(FORM) == ["one__plain", "one__asks"])
    assert made.offered(NONE) == ["one__plain", "one__mine"]
    assert (made.own_changes, made.endpoint.has_own) == ([], False)


async def test_that_an_offer_makes_no_difference_any_more_is_told(catalog: OPEN) -> None:
    server = offering()
    made = await catalog(server, one_principal=True)
    forms = await workload(made, ANN.key, FORM)
    for tools in (["plain", "asks"], ["plain", "other"]):
        made.changes.clear()
        server.own[forms.identity.id] = tools
        server.notify(CHANGED, forms.identity.id)
        await until(lambda: ("/mcp", Kind.TOOL) in made.changes)
        assert made.offered(FORM) == [f"one__{name}" for name in tools]
        await made.time.advance(2)


async def test_a_workload_for_one_call_is_not_read_for_what_it_says(catalog: OPEN) -> None:
    server = offering()
    made = await catalog(server, sharing=Sharing.CALL)
    lease = await made.fleet.fleet.lease("one", f"{ANN.key}.call-1", None, 10.0)
    await made.time.advance(3)  # another one is brought up in its place, and read
    before = server.count("tools/list")
    server.notify(CHANGED, lease.workload.identity.id)
    await made.time.advance(3)
    assert server.count("tools/list") == before
    lease.release()


async def test_a_list_of_ones_own_is_for_no_shared_cache(catalog: OPEN) -> None:
    server = offering(modern=True, hints={"ttlMs": 60_000, "cacheScope": "public", "resultType": "complete"})
    made = await catalog(server)
    await change(made, server, await workload(made, ANN.key), "plain", "mine")
    scopes = {who.subject: made.result(Kind.TOOL, who)["cacheScope"] for who in (ANN, BOB)}
    assert scopes == {"ann": "private", "bob": "public"}
    assert made.offered(FORM, ANN) == ["one__plain", "one__mine"], (
        "modern servers list the same for any offer"
    )


async def test_a_list_that_was_read_unasked_does_not_hold_for_ever(catalog: OPEN) -> None:
    server = Offering({"tools": {}}, tools=["plain", "other"])
    made = await catalog(server)
    mine = await workload(made, ANN.key)
    server.own[mine.identity.id] = ["plain", "mine"]
    await made.catalog.reread("one", Kind.TOOL, 5.0, mine)
    assert made.offered(NONE, ANN) == ["one__plain", "one__mine"]
    assert made.offered(NONE, BOB) == COMMON
    await made.time.advance(70)
    assert made.offered(NONE, ANN) == COMMON


async def test_what_is_kept_is_bounded_and_the_oldest_goes(catalog: OPEN) -> None:
    server = offering()
    made = await catalog(server)
    own = OwnLists(made.fleet.fleet, made.catalog.definitions.get, most=2)
    for who in (ANN, BOB, CAROL):
        mine = await workload(made, who.key)
        server.own[mine.identity.id] = ["plain", who.subject]
        await own.reread(mine, {Kind.TOOL})
        own.of(["one"], ANN.key, "", "none")  # ann goes on asking
    assert {each.principal for each in own.kept.values()} == {ANN.key, CAROL.key}
    await own.close()


async def test_on_a_plain_endpoint_the_first_server_keeps_a_name_for_its_owner_too(catalog: OPEN) -> None:
    one = offering()
    made = await catalog(one, Offering({"tools": {}}, tools=["mine", "second"]))
    await change(made, one, await workload(made, ANN.key), "plain", "mine")

    def server_of(who: Principal) -> str:
        return made.endpoint.resolve(who, Kind.TOOL, "mine")[0].target.server

    assert made.offered(NONE, ANN) == ["plain", "mine", "second"]
    assert (server_of(ANN), server_of(BOB)) == ("one", "two")


async def test_a_workload_that_cannot_be_read_keeps_what_was_shown_before(catalog: OPEN) -> None:
    server = offering()
    made = await catalog(server)
    mine = await workload(made, ANN.key)
    await change(made, server, mine, "plain", "mine")
    server.errors = {"tools/list": -32603}
    server.own[mine.identity.id] = ["plain", "later"]
    server.notify(CHANGED, mine.identity.id)
    await made.time.advance(2)
    assert made.offered(NONE, ANN) == ["one__plain", "one__mine"]
    server.errors = {}
    await change(made, server, mine, "plain", "later")
    assert made.offered(NONE, ANN) == ["one__plain", "one__later"]


async def test_a_template_of_ones_own_leads_nobody_else_to_its_server(catalog: OPEN) -> None:
    one = Offering({"tools": {}, "resources": {"listChanged": True}}, tools=["plain"], resourceTemplates=[])
    made = await catalog(one, Offering(tools=["second"]))
    await until(lambda: Kind.TEMPLATE in made.catalog.definitions["one"].lists)
    mine = await workload(made, ANN.key)
    one.lists["resourceTemplates"] = ["note://{name}"]
    one.notify("notifications/resources/list_changed", mine.identity.id)
    await until(lambda: ("/mcp", Kind.TEMPLATE, ANN.key, "") in made.own_changes)
    for _ in range(2):
        found = made.endpoint.resolve(ANN, Kind.RESOURCE, "note://a")[0]
        assert (found.target.server, found.target.name) == ("one", "note://a")
        with pytest.raises(InvalidParams):
            made.endpoint.resolve(BOB, Kind.RESOURCE, "note://a")
    assert made.result(Kind.TEMPLATE, BOB)["resourceTemplates"] == []
