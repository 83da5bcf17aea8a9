"""Administrators of a tenant at the admin API: they see and do what is their tenant's, and no more than that is there."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.edge.conftest import Listen
from tests.unit.edge.setting import EdgeSetting, Got
from tests.unit.edge.test_admin import ask
from tests.unit.fleet.setting import spec
from tidegate.access.authorize import Grants
from tidegate.access.stops import Stops
from tidegate.domain.principal import Principal
from tidegate.domain.quota import Per, Quota
from tidegate.domain.server import Scaling, Sharing
from tidegate.domain.stop import Stop, StopScope
from tidegate.domain.tenant import Tenant, Tenants
from tidegate.edge.admin.api import document
from tidegate.edge.admin.problem import Problem
from tidegate.edge.admin.sight import Sight

TENANTS = Tenants((Tenant("marine", ("one",)), Tenant("motor", ("two",))))


def administrator(tenant: str) -> Principal:
    return Principal(tenant, "test", f"olga-{tenant}", frozenset({"admin"}))


@pytest.fixture
async def edge(listen: Listen) -> EdgeSetting:
    """A gateway with a server of `marine`, one of `motor`, and a common one; each tenant's administrator has its name."""
    specs = [
        spec(name, scaling=Scaling(signals=signals), sharing=Sharing.SHARED, stateless=True)
        for name, signals in (
            ("one", {"storm": 1}),
            ("two", {"fair": 1}),
            ("tides", {"storm": 1, "moon": 1}),
        )
    ]
    made = await listen(*specs, wait=["one__echo"], grants=Grants(tenants=TENANTS))
    made.gateway.identity.principals = {
        name: administrator(name) for name in ("marine", "motor", "default", "elsewhere")
    }
    made.gateway.quotas.change(
        [
            Quota("all-day", (), 9, "day"),
            Quota("marine.few", (Per.PRINCIPAL,), at_once=3, tenants=("marine",)),
            Quota("motor.few", (Per.PRINCIPAL,), at_once=4, tenants=("motor",)),
        ]
    )
    return made


async def marine(edge: EdgeSetting, path: str, body: object = None, method: str = "") -> Got:
    """Ask as the administrator of `marine`, who is told nothing of the others, whatever it asks for."""
    got = await ask(edge, path, body, "marine", method)
    for name in (b"two", b"tides", b"motor", b"fair", b"moon"):
        assert name not in got.body or name.decode() in path + json.dumps(body), got.body
    return got


def problem(got: Got) -> tuple[int, str]:
    return got.status, got.json["reason"]


async def test_lists_have_what_is_the_tenants(edge: EdgeSetting) -> None:
    for tenant, server, quota in (("marine", "one", "marine.few"), ("motor", "two", "motor.few")):
        told = {
            path: (await ask(edge, f"/{path}", who=tenant)).json[path]
            for path in ("servers", "advice", "rollouts", "quotas", "stops", "signals")
        }
        assert [each["name"] for each in told["servers"]] == [server]
        assert {each["server"] for each in told["advice"]} <= {server}
        assert [each["name"] for each in told["quotas"]] == [quota]
        assert told["stops"] == []
    assert told["signals"][0]["signal"] == "fair"
    assert (await marine(edge, "/signals")).json["signals"] == [], "what is others' too is not this tenant's"
    everything = (await ask(edge, "/servers", who="default")).json["servers"]
    assert [each["name"] for each in everything] == ["one", "two", "tides"]


async def test_what_is_not_the_tenants_looks_unknown_word_for_word(edge: EdgeSetting) -> None:
    for path, body in (
        ("/servers/{}", None), ("/servers/{}/restart", {}), ("/servers/{}/scale", {"min": 1}),
        ("/servers/{}/quarantine", {"reason": "x"}), ("/servers/{}/release", {}), ("/advice/{}", {}),
        ("/rollouts/{}/undo", {}), ("/rollouts?server={}", None), ("/events?server={}", None),
        ("/signals/{}", {"on": True}),
    ):  # fmt: skip
        for hidden in ("two", "tides", "fair", "moon"):
            told = [await marine(edge, path.format(name), body) for name in (hidden, "x" * len(hidden))]
            assert told[0].status == 404, (path, hidden, told[0].body)
            assert told[0].body.replace(hidden.encode(), b"x" * len(hidden)) == told[1].body
    assert edge.gateway.fleet.fleet.pools["two"].state()[0] == "ready"


async def test_what_is_the_tenants_is_operated_and_recorded_as_its(edge: EdgeSetting) -> None:
    assert (await marine(edge, "/servers/one")).json["name"] == "one"
    assert (await marine(edge, "/servers/one/scale", {"min": 1, "max": 2})).status == 200
    assert (await marine(edge, "/servers/one/quarantine", {"reason": "leaks"})).status == 200
    assert (await marine(edge, "/servers/one/release", {})).status == 200
    records = edge.gateway.records("admin")
    assert [(each["tenant"], each["data"]["event"]) for each in records] == [
        ("marine", "scale"), ("marine", "quarantine"), ("marine", "release"),
    ]  # fmt: skip


async def test_what_concerns_the_whole_gateway_is_the_operators(edge: EdgeSetting) -> None:
    for path, body in (
        ("/gateway", None), ("/config", None), ("/config/versions", None), ("/reload", {}),
        ("/config/rollback", {"to": 1}), ("/explain/x", None),
        ("/explain", {"tool": "one__echo"}),
    ):  # fmt: skip
        got = await marine(edge, path, body)
        assert problem(got) == (403, "forbidden"), (path, got.body)
        assert "administrators of the gateway" in got.json["detail"]
    assert (await ask(edge, "/gateway", who="default")).status == 200


def test_every_operation_is_the_operators_unless_it_is_named() -> None:
    sight = Sight("marine", ("one",))
    refused = set[str]()
    for path, operations in document()["paths"].items():
        for method in operations:
            name = operations[method]["operationId"].partition("_api_v1")[0]
            try:
                sight.enter(name, ())
            except Problem:
                refused.add(f"{method} {path.removeprefix('/api/v1')}")
    assert refused == {
        "get /gateway", "post /reload", "get /config", "get /config/versions", "post /config/rollback",
        "post /explain", "get /explain/{id}",
    }  # fmt: skip


async def test_a_tenant_stops_what_is_its_own(edge: EdgeSetting) -> None:
    for body in ({"scope": "all"}, {"scope": "tenant", "name": "motor"}):
        assert problem(await marine(edge, "/stops", {**body, "reason": "r"})) == (403, "forbidden")
    for body in ({"scope": "server", "name": "two"}, {"scope": "tool", "name": "tides__echo"}):
        assert problem(await marine(edge, "/stops", {**body, "reason": "r"})) == (404, "unknown_server")
    made = [
        (await marine(edge, "/stops", {**body, "reason": "r"})).json["stop"]
        for body in (
            {"scope": "tenant", "name": "marine"},
            {"scope": "server", "name": "one"},
            {"scope": "tool", "name": "one__echo"},
            {"scope": "principal", "name": "ann"},
            {"scope": "client", "name": "agent"},
        )
    ]  # fmt: skip
    assert {each["tenant"] for each in made} == {"marine"}
    assert {each["id"] for each in (await marine(edge, "/stops")).json["stops"]} == {
        each["id"] for each in made
    }
    assert (await ask(edge, "/stops", who="motor")).json["stops"] == []
    assert problem(await ask(edge, f"/stops/{made[0]['id']}", who="motor", method="DELETE")) == (
        404,
        "unknown_stop",
    )
    assert (await marine(edge, f"/stops/{made[0]['id']}", method="DELETE")).status == 200


async def test_a_stop_by_the_operator_is_seen_and_not_taken_back(edge: EdgeSetting) -> None:
    told: dict[str, Any] = {}
    for body in (
        {"scope": "tenant", "name": "marine"}, {"scope": "server", "name": "one"}, {"scope": "principal", "name": "ann"},
        {"scope": "server", "name": "two"}, {"scope": "tenant", "name": "motor"},
    ):  # fmt: skip
        stop = (await ask(edge, "/stops", {**body, "reason": "r"}, "default")).json["stop"]
        told[f"{body['scope']} {body['name']}"] = stop["id"]
    seen = [each["id"] for each in (await marine(edge, "/stops")).json["stops"]]
    assert sorted(seen) == sorted([told["tenant marine"], told["server one"]])
    for what, stop_id in told.items():
        expected = (403, "forbidden") if stop_id in seen else (404, "unknown_stop")
        assert problem(await ask(edge, f"/stops/{stop_id}", who="marine", method="DELETE")) == expected, what


def test_a_tenants_stop_of_a_name_is_about_nobody_of_another_tenant() -> None:
    stops = Stops()
    stops.turn(
        [
            Stop("s1", StopScope.PRINCIPAL, "ann", "r", "olga", 1.0, tenant="marine"),
            Stop("s2", StopScope.CLIENT, "agent", "r", "olga", 1.0, tenant="marine"),
        ]
    )
    for tenant, stopped in (("marine", True), ("motor", False), ("default", False)):
        assert (stops.check(Principal(tenant, "i", "ann")) is not None) is stopped
        assert (stops.check(Principal(tenant, "i", "bob", client="agent")) is not None) is stopped
    assert stops.in_force[0].words == "principal ann of the tenant marine"


async def test_events_are_of_its_servers_and_by_its_administrators(edge: EdgeSetting) -> None:
    sight = Sight("marine", ("one",))
    follower = edge.parts.feed.follow(hears=sight.hears)
    feed = edge.parts.feed
    feed.tell("server", {"state": "a"}, "one")
    feed.tell("server", {"state": "b"}, "two")
    feed.tell("gateway", {"event": "reloaded"})
    feed.tell("key", {"name": "bob"}, tenant="motor")
    feed.tell("key", {"name": "ann"}, tenant="marine")
    await marine(edge, "/stops", {"scope": "client", "name": "agent", "reason": "r"})
    await ask(edge, "/servers/two/quarantine", {"reason": "r"}, "motor")
    told = follower.so_far()
    assert told.count(b"event: ") >= 3
    assert b'"state":"a"' in told
    assert b'"name":"ann"' in told
    assert b'"name":"agent"' in told
    for hidden in (b"two", b"reloaded", b"bob", b"motor"):
        assert hidden not in told
    again = feed.follow(recent=100, hears=sight.hears).so_far()
    assert b"two" not in again
    assert b"ann" in again


async def test_only_the_operator_sees_metrics_and_one_of_no_declared_tenant_sees_nothing(
    edge: EdgeSetting,
) -> None:
    got = await ask(edge, "/servers", who="elsewhere")
    assert got.json["servers"] == []
    principal = await edge.gateway.pipeline.administrator(_credentials("marine"))
    assert principal is not None
    assert not TENANTS.operates(principal.tenant)
    assert TENANTS.operates("default")
    assert Tenants().operates("marine"), "where there are no tenants, every administrator is the operator's"


def _credentials(who: str) -> Any:
    from tidegate.ports.identity import Credentials

    return Credentials(who.encode(), "127.0.0.1")
