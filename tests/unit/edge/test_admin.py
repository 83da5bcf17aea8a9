"""The admin API as administrators, and those who are none, meet it: on a real listener, with exact bytes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.edge.conftest import Listen
from tests.unit.edge.setting import EdgeSetting, Got, Wire
from tests.unit.fleet.setting import spec
from tidegate.domain.server import Rollout, Sharing, Strategy
from tidegate.edge.admin.door import BURST, MAX_BODY
from tidegate.edge.admin.feed import BEHIND, FOLLOWERS
from tidegate.ports.runtime import Usage
from tidegate.testing.scripted import until

ADMIN = "ops:admin"
SHARED = {"sharing": Sharing.SHARED, "stateless": True}


@pytest.fixture
async def edge(listen: Listen) -> EdgeSetting:
    """A gateway with a shared server `one` and `two`, of principals."""
    return await listen(spec("one", **SHARED), spec("two"), wait=["one__echo"])


async def ask(
    edge: EdgeSetting, path: str, body: object = None, who: str | None = ADMIN, method: str = "", **more: str
) -> Got:
    """Ask the API on a connection of its own."""
    wire = await edge.connect()
    try:
        await wire.send(request(path, body, who, method, **more))
        return await wire.read()
    finally:
        await wire.close()


def request(path: str, body: object = None, who: str | None = ADMIN, method: str = "", **more: str) -> bytes:
    """Encode a request to the API."""
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Host": "127.0.0.1", "Content-Length": str(len(data))}
    if who is not None:
        headers["Authorization"] = who
    if body is not None:
        headers["Content-Type"] = "application/json"
    headers |= {name.replace("_", "-"): value for name, value in more.items()}
    method = method or ("GET" if body is None else "POST")
    lines = [f"{name}: {value}" for name, value in headers.items() if value != "-"]
    return "\r\n".join([f"{method} /api/v1{path} HTTP/1.1", *lines, "", ""]).encode() + data


async def test_servers_are_listed_as_the_control_socket_shows_them(edge: EdgeSetting) -> None:
    got = await ask(edge, "/servers")
    assert got.status == 200, got.body
    one, two = got.json["servers"]
    assert (one["name"], one["state"], one["tools"]) == ("one", "ready", 7)
    assert one["replicas"] == {"ready": 1, "wanted": 1, "min": 1, "max": 1}
    assert two["replicas"]["max"] == 0
    control = await edge.control()
    shown = (await control.get("/v1/status")).json
    assert [each["name"] for each in shown["servers"]] == ["one", "two"]
    assert {**shown["servers"][0], "since": 0, "workloads": 0} == {**one, "since": 0, "workloads": 0}
    await control.close()


async def test_one_server_is_told_whole_with_health_history_demand_versions_and_use(
    edge: EdgeSetting,
) -> None:
    await edge.gateway.tool("one__echo")
    (workload,) = edge.gateway.fleet.fleet.pools["one"].workloads.values()
    edge.usages = {workload.identity.id: Usage(1.5, 1000, pids=3)}
    told = (await ask(edge, "/servers/one")).json
    assert [each["state"] for each in told["history"]][-1] in ("ready", "healthy")
    assert (told["calls"], told["demand"]["calls"], told["memory"]) == (1, 1, 1000)
    assert [(each["current"], each["share"]) for each in told["versions"]] == [(True, 1.0)]
    (shown,) = told["workloads"]
    assert (shown["of"], shown["usage"]["pids"], shown["era"]) == ("shared", 3, "legacy")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/servers", None), ("/servers/one", None), ("/events", None), ("/openapi.json", None), ("/gateway", None),
        ("/nothing", None), ("/servers/one/restart", {}), ("/servers/one/quarantine", {"reason": "r"}),
    ],
)  # fmt: skip
async def test_without_an_administrators_key_nothing_is_told_or_done(
    edge: EdgeSetting, path: str, body: object
) -> None:
    stranger = await ask(edge, path, body, who=None)
    assert (stranger.status, stranger.json["reason"]) == (401, "unauthenticated")
    assert stranger.headers["www-authenticate"] == 'Bearer realm="tidegate"'
    assert stranger.headers["content-type"] == "application/problem+json"
    wrong = await ask(edge, path, body, who="bad")
    assert wrong.status == 401
    user = await ask(edge, path, body, who="ann:user")
    assert (user.status, user.json["detail"]) == (403, "this needs the role admin")
    assert edge.gateway.fleet.fleet.pools["one"].quarantined is None
    assert edge.door.opened is False
    refused = [each for each in edge.gateway.records() if each["kind"] == "refused"]
    assert [each["reason"] for each in refused] == ["unauthenticated", "unauthenticated", "forbidden"]
    assert refused[2]["subject"] == "ann"


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Origin": "https://evil.example"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
async def test_what_another_sites_page_has_a_browser_send_is_refused(
    edge: EdgeSetting, headers: dict[str, str]
) -> None:
    for path, body in (("/servers", None), ("/servers/one/quarantine", {"reason": "r"})):
        got = await ask(edge, path, body, **headers)
        assert (got.status, got.json["reason"]) == (403, "forbidden")
    assert edge.gateway.fleet.fleet.pools["one"].quarantined is None


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "-"])
async def test_a_body_that_a_form_could_send_changes_nothing(edge: EdgeSetting, kind: str) -> None:
    got = await ask(edge, "/servers/one/quarantine", {"reason": "r"}, Content_Type=kind)
    assert (got.status, got.json["reason"]) == (415, "wrong_media_type")
    assert edge.gateway.fleet.fleet.pools["one"].quarantined is None


async def test_a_quarantine_is_recorded_with_who_did_it_and_ends_with_the_release(edge: EdgeSetting) -> None:
    got = await ask(edge, "/servers/one/quarantine", {"reason": "leaks memory"})
    assert got.status == 200, got.body
    assert (got.json["server"]["state"], got.json["server"]["reason"]) == ("quarantined", "leaks memory")
    refused = await edge.gateway.tool("one__echo")
    assert "leaks memory" in refused.error["message"]
    assert (await ask(edge, "/servers/one/release", {"reason": "mended"})).status == 200
    await edge.gateway.fleet.time.settle()
    assert (await edge.gateway.tool("one__echo", text="hi")).text == "hi"
    changes = [each for each in edge.gateway.records() if each["kind"] == "admin"]
    assert [(each["subject"], each["data"]["event"], each["data"]["via"]) for each in changes] == [
        ("ops", "quarantine", "api"),
        ("ops", "release", "api"),
    ]
    assert changes[0]["data"]["credential"] == "k-ops"


async def test_a_restart_replaces_the_workload_and_says_when_it_is_done(edge: EdgeSetting) -> None:
    (before,) = edge.gateway.fleet.fleet.pools["one"].workloads.values()
    got = await ask(edge, "/servers/one/restart", {"wait": 30})
    assert (got.status, got.json["done"]) == (202, True), got.body
    (after,) = [w for w in edge.gateway.fleet.fleet.pools["one"].workloads.values() if w.channel is not None]
    assert after.identity.id != before.identity.id


async def test_scaling_brings_up_replicas_within_the_bounds_it_was_given(edge: EdgeSetting) -> None:
    got = await ask(edge, "/servers/one/scale", {"min": 2, "max": 3})
    assert got.json["server"]["replicas"] == {"ready": 1, "wanted": 2, "min": 2, "max": 3}, got.body
    pool = edge.gateway.fleet.fleet.pools["one"]
    await edge.time.until(lambda: sum(w.channel is not None for w in pool.workloads.values()) == 2)
    not_shared = await ask(edge, "/servers/two/scale", {"min": 2})
    assert (not_shared.status, not_shared.json["reason"]) == (409, "not_shared")


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/servers/one/scale", {}, "body.min: Field required"),
        ("/servers/one/scale", {"min": 3, "max": 2}, "max should not be below min"),
        ("/servers/one/scale", {"min": "1"}, "body.min"),
        ("/servers/one/scale", {"min": 1, "secret-thing": "s3cret"}, "Extra inputs are not permitted"),
        ("/servers/one/quarantine", {"reason": ""}, "body.reason"),
        ("/servers/one/restart", {"wait": 1e9}, "body.wait"),
        ("/servers/one/restart", b"{", "JSON"),
        ("/events?recent=many", None, "query.recent"),
    ],
)
async def test_what_is_not_as_it_should_be_is_said_and_never_repeated(
    edge: EdgeSetting, path: str, body: object, said: str
) -> None:
    got = await ask(edge, path, body)
    assert (got.status, got.json["reason"]) == (422, "invalid_params")
    assert said in got.json["detail"]
    assert "Value error" not in got.json["detail"]
    assert b"s3cret" not in got.body
    assert got.headers["content-type"] == "application/problem+json"


async def test_what_is_not_there_is_a_problem_with_a_stable_word(edge: EdgeSetting) -> None:
    for path, body, status, reason in (
        ("/servers/nine", None, 404, "unknown_server"),
        ("/servers/nine/restart", {}, 404, "unknown_server"),
        ("/nothing", None, 404, "no_such_path"),
        ("/servers/one/restart", None, 405, "method_not_allowed"),
    ):
        got = await ask(edge, path, body)
        assert (got.status, got.json["status"], got.json["reason"]) == (status, status, reason)


async def test_more_than_there_is_to_say_is_refused_unread(edge: EdgeSetting) -> None:
    got = await ask(edge, "/servers/one/restart", b" " * (MAX_BODY + 1))
    assert (got.status, got.json["reason"]) == (413, "too_large")


async def test_who_asks_too_often_is_told_to_wait_and_others_are_not(edge: EdgeSetting) -> None:
    wire = await edge.connect()
    statuses: list[int] = []
    for _ in range(int(BURST) + 40):
        await wire.send(request("/nothing"))
        statuses.append((await wire.read()).status)
    assert statuses[: int(BURST)] == [404] * int(BURST)
    assert 429 in statuses
    assert (await ask(edge, "/nothing", who="other:admin")).status == 404
    await wire.close()


async def test_the_openapi_document_names_every_path_and_its_problems(edge: EdgeSetting) -> None:
    document = (await ask(edge, "/openapi.json")).json
    assert document["openapi"].startswith("3.1")
    for path, methods in document["paths"].items():
        assert path.startswith("/api/v1/")
        for method in methods.values():
            assert method["summary"]
            assert "4XX" in method["responses"]


async def test_the_document_that_is_published_is_the_one_that_is_served(edge: EdgeSetting) -> None:
    published = Path(__file__).parents[3] / "docs" / "openapi.json"
    assert json.loads(published.read_text("utf-8")) == (await ask(edge, "/openapi.json")).json


async def test_no_answer_holds_what_is_secret_of_a_server(listen: Listen) -> None:
    from tidegate.domain.server import Secret

    edge = await listen(spec("one", env={"TOKEN": Secret("s3cret")}), wait=["one__echo"])
    for path in ("/servers", "/servers/one", "/gateway", "/openapi.json"):
        got = await ask(edge, path)
        assert got.status == 200
        assert b"s3cret" not in got.body


class Following:
    """A client that follows the events."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire

    async def next(self) -> tuple[str, str, Any]:
        """Give the next event: its kind, id and data."""
        block = (await self.wire.chunk()).decode()
        fields = dict(line.split(": ", 1) for line in block.split("\n\n")[0].split("\n"))
        return fields["event"], fields.get("id", ""), json.loads(fields["data"])


@asynccontextmanager
async def follow(edge: EdgeSetting, query: str = "", last: str | None = None) -> AsyncIterator[Following]:
    feed, wire = edge.parts.feed, await edge.connect()
    before = feed.followers
    try:
        await wire.send(request(f"/events{query}", **({} if last is None else {"Last_Event_ID": last})))
        got = await wire.head()
        assert (got.status, got.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert await wire.chunk() == b"retry: 2000\n\n"
        yield Following(wire)
    finally:
        await wire.close()
    await until(lambda: feed.followers == before)


async def test_events_tell_what_happens_and_go_on_after_the_last_one_seen(edge: EdgeSetting) -> None:
    feed = edge.parts.feed
    async with follow(edge) as followed:
        feed.tell("server", {"state": "a"}, "one")
        kind, last, data = await followed.next()
        assert (kind, data["server"], data["state"]) == ("server", "one", "a")
    feed.tell("server", {"state": "b"}, "two")
    feed.tell("server", {"state": "c"}, "one")
    async with follow(edge, "?server=one", last) as again:
        assert (await again.next())[2]["state"] == "c"
    async with follow(edge, last="another-1") as lost:
        assert (await lost.next())[0] == "lost"


async def test_a_change_by_an_administrator_is_an_event_and_so_is_what_comes_of_it(edge: EdgeSetting) -> None:
    async with follow(edge, "?server=one") as followed:
        assert (await ask(edge, "/servers/one/quarantine", {"reason": "r"})).status == 200
        assert (await followed.next())[2] | {"time": 0} == {
            "time": 0, "server": "one", "event": "quarantine", "reason": "r",
            "subject": "ops", "issuer": "test", "via": "api",
        }  # fmt: skip
    recent = edge.parts.feed.follow(recent=20, server="one").so_far()
    assert b'"state":"quarantined","reason":"r"' in recent


async def test_who_is_no_administrator_any_more_follows_no_further(edge: EdgeSetting) -> None:
    feed = edge.parts.feed
    async with follow(edge) as followed:
        feed.tell("server", {"state": "a"}, "one")
        assert (await followed.next())[2]["state"] == "a"
        edge.gateway.identity.revoke("ops")
        await edge.time.advance(2)
        feed.tell("server", {"state": "b"}, "one")
        assert await followed.wire.chunk() == b""
        await until(lambda: feed.followers == 0)


async def test_a_server_that_is_not_stateless_is_not_made_several(listen: Listen) -> None:
    edge = await listen(spec("one", sharing=Sharing.SHARED), wait=["one__echo"])
    got = await ask(edge, "/servers/one/scale", {"min": 1, "max": 3})
    assert (got.status, got.json["reason"]) == (409, "not_stateless")
    assert (await ask(edge, "/servers/one/scale", {"min": 0, "max": 1})).status == 200
    assert edge.gateway.fleet.fleet.pools["one"].spec.replicas.max == 1


async def test_as_many_follow_as_may_and_the_next_is_told(edge: EdgeSetting) -> None:
    followers = [edge.parts.feed.follow() for _ in range(FOLLOWERS)]
    got = await ask(edge, "/events")
    assert (got.status, got.json["reason"]) == (503, "streams_full")
    for each in followers:
        each.leave()


async def test_who_reads_too_slowly_is_told_and_let_go(edge: EdgeSetting) -> None:
    feed = edge.parts.feed
    slow = feed.follow()
    for number in range(BEHIND + 1):
        feed.tell("server", {"n": number})
    pieces = [piece async for piece in slow.pieces()]
    assert len(pieces) == 2
    assert pieces[1].startswith(b"event: dropped\n")
    assert feed.followers == 0


async def test_a_reload_is_asked_for_by_name_and_recorded_and_its_mistakes_are_told(
    edge: EdgeSetting,
) -> None:
    got = await ask(edge, "/reload", {})
    assert (got.status, got.json["changes"]) == (200, {"added": ["three"]}), got.body
    assert (await ask(edge, "/config/rollback", {"to": 4})).status == 200
    assert edge.reloads.asked == ["ops (api)", "ops (api) to 4"]
    assert [each["data"]["event"] for each in edge.gateway.records("admin")] == ["reload", "rollback"]
    edge.reloads.problems = ["f:1: listen: should be host:port"]
    got = await ask(edge, "/reload", {})
    assert (got.status, got.json["reason"]) == (422, "settings_refused")
    assert got.json["detail"] == "f:1: listen: should be host:port"
    assert (await ask(edge, "/config")).json["version"] == 1
    assert (await ask(edge, "/config/versions")).json["versions"][0]["settings"] == "feed"


async def test_rollouts_are_told_and_one_that_is_not_there_cannot_be_steered(edge: EdgeSetting) -> None:
    assert (await ask(edge, "/rollouts")).json == {"rollouts": []}
    got = await ask(edge, "/rollouts/one/undo", {})
    assert (got.status, got.json["reason"]) == (409, "no_rollout")
    assert (await ask(edge, "/rollouts/one/explode", {})).status == 422
    assert (await ask(edge, "/rollouts?server=nine")).status == 404


async def test_advice_is_told_and_not_taken_where_there_is_none(edge: EdgeSetting) -> None:
    told = (await ask(edge, "/advice")).json["advice"]
    assert [(each["server"], each["changes"]) for each in told] == [("one", False), ("two", False)]
    got = await ask(edge, "/advice/one", {})
    assert (got.status, got.json["reason"]) == (409, "nothing_advised")
    assert edge.gateway.records("admin") == []


async def test_a_rollout_is_seen_and_can_be_taken_back(listen: Listen) -> None:
    slow = Rollout(Strategy.CANARY, share=0.25, watch=1000.0)
    edge = await listen(spec("one", rollout=slow, **SHARED), wait=["one__echo"])
    fleet = edge.gateway.fleet.fleet
    pool = fleet.pools["one"]
    fleet.rollouts.begin(pool, replace(pool.spec, user="1000:1000"), pool.launcher)
    await edge.time.until(lambda: pool.tracks[-1].share == 0.25)
    shown = (await ask(edge, "/servers/one")).json
    assert "canary" in shown["rollout"]
    assert shown["p50"] is None
    assert [each["share"] for each in shown["versions"]] == [0.75, 0.25]
    undone = await ask(edge, "/rollouts/one/undo", {})
    assert undone.status == 200, undone.body
    await edge.time.until(lambda: fleet.rollouts.status("one")[0]["state"] == "rolled_back")
    assert (await ask(edge, "/rollouts")).json["rollouts"][0]["reason"] == "undone by hand"
    assert [each["data"]["action"] for each in edge.gateway.records("admin")] == ["undo"]


async def test_the_control_socket_does_the_same_without_the_api(edge: EdgeSetting) -> None:
    wire = await edge.control()
    body = b'{"reason": "by hand"}'
    head = b"POST /v1/servers/one/quarantine HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
    await wire.send(head % len(body) + body)
    assert (await wire.read()).json["server"]["state"] == "quarantined"
    told = (await wire.get("/v1/servers/one")).json
    assert told["state"] == "quarantined"
    events = (await wire.get("/v1/events?recent=9&follow=0")).body
    assert b'"via":"control"' in events
    assert (await wire.get("/v1/servers/nine")).json == {"error": "no server 'nine' (known: one, two)"}
    wrong = await wire.get("/v1/servers/one/scale", "POST")
    assert (wrong.status, wrong.json["error"]) == (422, "min: Field required")
    assert edge.door.opened is False
    await wire.close()


async def test_the_api_is_on_the_control_socket_too_for_whoever_can_open_it(edge: EdgeSetting) -> None:
    wire = await edge.control()
    assert [each["name"] for each in (await wire.get("/api/v1/servers")).json["servers"]] == ["one", "two"]
    await wire.send(request("/servers/one/quarantine", {"reason": "r"}, who=None))
    assert (await wire.read()).status == 200
    (record,) = edge.gateway.records("admin")
    assert (record["issuer"], record["data"]["via"]) == ("local", "control")
    await wire.close()
