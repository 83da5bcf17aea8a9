"""Endpoints and servers that become others: prepared beside what is shown, taken in one step."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tests.unit.fleet.setting import spec
from tests.unit.gateway.offering import UNPROBED, Cataloged, Offering
from tidegate.access.authorize import Grants
from tidegate.domain.endpoint import Effect, EndpointSpec, Names, Rule, Selection
from tidegate.domain.errors import InvalidParams
from tidegate.domain.principal import Principal
from tidegate.domain.role import Grant, Role
from tidegate.domain.server import ServerSpec
from tidegate.domain.target import LISTED, Kind
from tidegate.gateway.endpoint import Endpoint
from tidegate.testing.loop_time import LoopTime
from tidegate.testing.scripted import until

ANN = Principal("t", "key", "ann", frozenset({"user"}))
BOTH = EndpointSpec("/mcp", ("one", "two"))
DENIED = Rule(Effect.DENY, tools=("other",))


def offering(*tools: str) -> Offering:
    return Offering({"tools": {"listChanged": True}}, tools=list(tools))


def server(name: str) -> ServerSpec:
    """Declare a server as the setting does."""
    return spec(name, health=UNPROBED)


@pytest.fixture
async def made() -> AsyncIterator[Cataloged]:
    """A catalog whose endpoint shows `one` and `two`; a program `three` is there for another server."""
    found = Cataloged({"one": offering("plain", "other"), "two": offering("second")}, LoopTime())
    found.fleet.servers["three"] = offering("third")  # type: ignore[assignment]
    await found.begin()
    await found.listed(Kind.TOOL, "one__plain", "two__second")
    found.changes.clear()
    yield found
    await found.close()


async def take(made: Cataloged, servers: list[ServerSpec], *endpoints: EndpointSpec) -> list[Endpoint]:
    """Take other servers and endpoints as a reload does."""
    renewal = await made.catalog.prepare(servers, endpoints)
    gone: list[Endpoint] = []
    await made.fleet.fleet.apply(
        servers, made.fleet.launcher, lambda: gone.extend(made.catalog.adopt(renewal))
    )
    return gone


async def test_a_new_rule_holds_at_once_on_the_endpoint_that_sessions_hold(made: Cataloged) -> None:
    held = made.endpoint
    held.resolve(ANN, Kind.TOOL, "one__other")
    ruled = replace(BOTH, rules=(*BOTH.rules, DENIED))
    assert await take(made, list(made.fleet.specs), ruled) == []
    with pytest.raises(InvalidParams):
        held.resolve(ANN, Kind.TOOL, "one__other")
    assert made.catalog.endpoints["/mcp"] is held
    assert made.shown(Kind.TOOL) == {"one__plain", "one__other", "two__second"}
    assert [each["name"] for each in made.result(Kind.TOOL, ANN)["tools"]] == ["one__plain", "two__second"]
    assert {kind for path, kind in made.changes if path == "/mcp"} == set(LISTED)


async def test_other_roles_hold_at_once_on_an_endpoint_that_is_declared_as_before(made: Cataloged) -> None:
    held, view = made.endpoint, made.endpoint.view
    grants = Grants((Role("user", (), (Grant(Effect.DENY, 0, (), Selection(tools=("other",))),)),))
    renewal = await made.catalog.prepare(made.fleet.specs, [BOTH], grants)
    held.resolve(ANN, Kind.TOOL, "one__other")
    made.catalog.adopt(renewal)
    with pytest.raises(InvalidParams):
        held.resolve(ANN, Kind.TOOL, "one__other")
    assert held.view is view
    assert {kind for path, kind in made.changes if path == "/mcp"} == set(LISTED)
    made.changes.clear()
    made.catalog.adopt(await made.catalog.prepare(made.fleet.specs, [BOTH], grants))
    assert made.changes == []


async def test_an_endpoint_that_is_declared_as_before_is_told_of_nothing(made: Cataloged) -> None:
    view = made.endpoint.view
    await take(made, list(made.fleet.specs), BOTH)
    assert made.endpoint.view is view
    assert made.changes == []


async def test_other_names_are_shown_from_the_step_on_and_not_before(made: Cataloged) -> None:
    plain = replace(BOTH, names=Names.PLAIN)
    renewal = await made.catalog.prepare(made.fleet.specs, [plain])
    assert made.shown(Kind.TOOL) == {"one__plain", "one__other", "two__second"}
    made.catalog.adopt(renewal)
    assert made.shown(Kind.TOOL) == {"plain", "other", "second"}


async def test_a_server_that_goes_is_listed_no_more_and_one_that_comes_is(made: Cataloged) -> None:
    await take(made, [server("one"), server("three")], replace(BOTH, servers=("one", "three")))
    assert made.shown(Kind.TOOL) == {"one__plain", "one__other"}
    assert set(made.catalog.definitions) <= {"one", "three"}
    await made.listed(Kind.TOOL, "three__third")
    with pytest.raises(InvalidParams):
        made.endpoint.resolve(ANN, Kind.TOOL, "two__second")


async def test_what_is_under_way_on_a_server_that_goes_still_has_its_names(made: Cataloged) -> None:
    await take(made, [server("one")], replace(BOTH, servers=("one",)))
    assert made.endpoint.renaming("two").uri_out("file:///a") == "file://two__/a"


async def test_a_server_that_was_taken_out_of_an_endpoint_is_not_reached_by_a_uri(made: Cataloged) -> None:
    await take(made, list(made.fleet.specs), replace(BOTH, servers=("one",)))
    with pytest.raises(InvalidParams):
        made.endpoint.resolve(ANN, Kind.RESOURCE, "file://two__/a")


async def test_endpoints_come_and_go(made: Cataloged) -> None:
    other = EndpointSpec("/other", ("two",))
    (gone,) = await take(made, list(made.fleet.specs), other)
    assert gone is made.endpoint
    assert gone.gone
    assert list(made.catalog.endpoints) == ["/other"]
    assert set(made.catalog.endpoints["/other"].view.of(Kind.TOOL)) == {"two__second"}


async def test_a_build_that_was_under_way_does_not_bring_back_what_was_shown_before(made: Cataloged) -> None:
    made.catalog.server_changed("one")  # a build of the old endpoint follows
    await made.time.advance(0.06)
    await take(made, list(made.fleet.specs), replace(BOTH, servers=("two",)))
    made.catalog.server_changed("two")
    await made.time.advance(1.0)
    assert made.shown(Kind.TOOL) == {"two__second"}


async def test_another_version_of_a_server_is_read_anew_once_it_is_current(made: Cataloged) -> None:
    made.fleet.servers["one"].lists["tools"] = ["newer"]  # type: ignore[attr-defined]
    changed = replace(server("one"), env={"NEW": "1"}, stateless=True)
    await take(made, [changed, server("two")], BOTH)
    await until(lambda: made.shown(Kind.TOOL) == {"one__newer", "two__second"})
