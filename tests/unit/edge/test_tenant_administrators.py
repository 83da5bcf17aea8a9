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
from tidegate.edge.admin.explaining import OPERATORS, veiled
from tidegate.edge.admin.problem import Problem
from tidegate.edge.admin.sight import Sight
from tidegate.extensions.identity.keys import KeyStore
from tidegate.gateway.explain import Part, Says, Step

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
        ("/config/rollback", {"to": 1}),
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


# -- explaining -------------------------------------------------------------------------------


async def test_rights_are_explained_of_the_tenants_own_principals(edge: EdgeSetting) -> None:
    got = await marine(edge, "/explain", {"subject": "ann", "roles": ["user"], "tool": "one__echo"})
    assert (got.status, got.json["who"]["tenant"], got.json["allowed"]) == (200, "marine", True), got.body
    for tenant in ("default", "motor"):
        body = {"subject": "bob", "tenant": tenant, "tool": "one__echo"}
        assert problem(await marine(edge, "/explain", body)) == (403, "forbidden")
    store = KeyStore(edge.gateway.fleet.state)
    theirs, _ = await store.create(name="bob", tenant="motor", roles=frozenset({"user"}), expires=None)
    for key in (theirs.id, "nosuchkey"):
        got = await marine(edge, "/explain", {"key": key, "tool": "one__echo"})
        assert problem(got) == (404, "unknown_key")


async def test_what_is_another_tenants_is_explained_as_what_is_not_there(edge: EdgeSetting) -> None:
    who = {"subject": "ann", "roles": ["user"]}
    for asked in ({"tool": "{}__echo"}, {"tool": "{}__ech"}, {"tool": "echo", "server": "{}"}):
        told = [
            await marine(
                edge, "/explain", {**who, **{key: value.format(name) for key, value in asked.items()}}
            )
            for name in ("two", "xxx")
        ]
        assert told[0].status == 200
        assert (told[0].json["part"], told[0].json["server"]) == ("name", "")
        assert told[0].body.replace(b"two", b"xxx") == told[1].body
    near = await marine(edge, "/explain", {**who, "tool": "tw__echo"})
    assert b"two__echo" not in near.body


async def test_how_much_others_use_of_a_common_quota_is_not_told(edge: EdgeSetting) -> None:
    body = {"subject": "ann", "roles": ["user"], "tenant": "marine", "tool": "one__echo"}
    for who, told in (("marine", "9/day (UTC)"), ("default", "0 used of 9/day (UTC)")):
        steps = (await ask(edge, "/explain", body, who)).json["steps"]
        assert [each["why"] for each in steps if each["rule"] == "all-day"] == [told]
        assert [each["why"] for each in steps if each["rule"] == "marine.few"] == ["0 used of 3 at once"]


def test_what_a_policy_for_all_says_is_told_as_far_as_it_names_no_other() -> None:
    sight = Sight("marine", ("one",), frozenset({"motor", "cars", "m.o"}))
    steps = [
        Step(Part.NAME, Says.ALLOW, why="the server cars was asked for"),
        Step(Part.POLICY, Says.DENY, "a.cedar#motor", "cars__pay is dear", help=("m.o is free", "ask")),
        Step(Part.ARGUMENTS, Says.DENY, "a.cedar#x", "of motor", help=("motor!",)),
        Step(Part.RULES, Says.ALLOW, "roles.motorist allow[0]", "cardinal"),
    ]
    assert [(each.rule, each.why, each.help) for each in veiled(steps, sight)] == [
        ("", "the server cars was asked for", ()),
        (OPERATORS, f"{OPERATORS} says so, which is not told", ("ask",)),
        ("a.cedar#x", f"{OPERATORS} says so, which is not told", ("the operator knows",)),
        ("roles.motorist allow[0]", "cardinal", ()),
    ]


async def test_calls_are_recalled_that_the_tenants_principals_made_and_no_others(edge: EdgeSetting) -> None:
    journal = edge.gateway.journal
    ann, bob = Principal("marine", "key", "ann"), Principal("motor", "key", "bob")
    hidden = {"server": "two", "kind": "tool", "name": "echo"}
    asked = {"endpoint": "/mcp", "method": "tools/call", "name": "two__echo", "message": "unknown tool"}
    journal.refused(
        "invalid_params", ann, {"call": "a-1", **asked, "target": hidden, "rule": "tenants.motor"}
    )
    journal.refused("invalid_params", bob, {"call": "b-1", **asked})
    told = await ask(edge, "/explain/a-1", who="marine")
    assert (told.status, told.json["server"], told.json["rule"]) == (200, "", "")
    assert told.json["now"]["server"] == ""
    assert b"motor" not in told.body
    assert (await ask(edge, "/explain/a-1", who="default")).json["rule"] == "tenants.motor"
    others = [await marine(edge, f"/explain/{call}") for call in ("b-1", "c-1")]
    assert problem(others[0]) == (404, "unknown_call")
    assert others[0].body.replace(b"b-1", b"c-1") == others[1].body


# -- the journal ------------------------------------------------------------------------------


async def test_a_tenant_looks_up_its_own_records_and_that_is_recorded(edge: EdgeSetting) -> None:
    journal = edge.gateway.journal
    for tenant, name in (("marine", "ann"), ("motor", "bob"), ("default", "olga")):
        who = Principal(tenant, "key", name)
        journal.refused("denied", who, {"call": f"c-{name}", "name": "one__echo"})
    journal.refused("denied", Principal("marine", "key", "ann"), {"call": "c-2", "target": {"server": "two"},
                                                                  "rule": "tenants.motor"})  # fmt: skip
    page = (await marine(edge, "/audit?decision=refused")).json
    assert [each["data"]["call"] for each in page["records"]] == ["c-2", "c-ann"]
    assert page["records"][0]["data"] == {"call": "c-2"}
    assert page["next"] is None
    for query in ("principal=bob", "id=c-bob", "tool=two__*", "server=two", "tool=*two*"):
        assert (await marine(edge, f"/audit?{query}&decision=refused")).json["records"] == []
    first = (await ask(edge, "/audit?decision=refused&limit=2", who="default")).json
    rest = (await ask(edge, f"/audit?decision=refused&after={first['next']}", who="default")).json
    calls = [each["data"]["call"] for each in (*first["records"], *rest["records"])]
    assert calls == ["c-2", "c-olga", "c-bob", "c-ann"]
    looks = [each for each in edge.gateway.records("admin") if each["data"]["event"] == "audit"]
    assert looks[0]["tenant"] == "marine"
    assert looks[0]["data"]["wanted_decision"] == "refused"
    assert len(looks) == 7, "the second page belongs to the look of the first"


async def test_a_page_that_follows_is_of_the_question_that_was_recorded_and_of_nobody_elses(
    edge: EdgeSetting,
) -> None:
    for name in ("ann", "bob", "ann", "bob"):
        edge.gateway.journal.refused("denied", Principal("marine", "key", name), {"call": f"c-{name}"})
    first = (await marine(edge, "/audit?principal=ann&limit=1")).json
    after = first["next"]
    for query in (f"principal=bob&after={after}", f"after={after}", f"principal=ann&until=9&after={after}"):
        assert problem(await marine(edge, f"/audit?{query}")) == (422, "invalid_params"), query
    asked = f"/audit?principal=ann&after={after}"
    assert problem(await ask(edge, asked, who="default")) == (422, "invalid_params")
    files = [each.stem.split("-")[1:] for each in edge.gateway.place.glob("journal-*.jsonl")]
    for writer, number in files:  # as it stands in the journal, which others can find out
        made_up = f"/audit?principal=bob&after={writer}.{int(number)}.9999999999999999"
        assert problem(await marine(edge, made_up)) == (422, "invalid_params")
    assert len((await marine(edge, asked)).json["records"]) == 1
    looks = [each["data"] for each in edge.gateway.records("admin") if each["data"]["event"] == "audit"]
    assert [each["wanted_principal"] for each in looks] == ["ann"]
    await edge.time.advance(3601)
    assert problem(await marine(edge, asked)) == (422, "invalid_params"), (
        "what is looked at later is recorded"
    )


async def test_what_is_asked_of_the_journal_has_to_make_sense(edge: EdgeSetting) -> None:
    for query in (
        "limit=0",
        "limit=501",
        "decision=perhaps",
        "after=x",
        "after=w.1.99",
        "nothing=1",
        "since=-1",
    ):
        assert problem(await marine(edge, f"/audit?{query}")) == (422, "invalid_params"), query
