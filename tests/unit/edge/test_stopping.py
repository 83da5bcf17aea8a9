"""What administrators stop and resume, by the API and on the control socket, and what is recorded of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.edge.conftest import Listen
from tests.unit.edge.setting import EdgeSetting
from tests.unit.edge.test_admin import ADMIN, ask
from tests.unit.fleet.setting import spec
from tidegate.access.stop_store import PREFIX
from tidegate.testing.scripted import until

REASON = "leaks customer data"


@pytest.fixture
async def edge(listen: Listen) -> EdgeSetting:
    return await listen(spec("one"), spec("two"))


def changes(edge: EdgeSetting) -> list[tuple[Any, ...]]:
    found = edge.gateway.records("admin")
    return [(each["subject"], each["data"]["event"], each["data"]["via"]) for each in found]


async def test_a_stop_is_in_force_when_it_is_answered_recorded_listed_and_undone(edge: EdgeSetting) -> None:
    made = await ask(edge, "/stops", {"scope": "tool", "name": "one__e*", "reason": REASON, "seconds": 60})
    assert made.status == 201, made.body
    stop = made.json["stop"]
    assert (stop["id"], stop["scope"], stop["name"], stop["by"]) == ("stop1", "tool", "one__e*", "ops (api)")
    assert stop["until"] == pytest.approx(stop["since"] + 60)
    assert made.json["tools"] == ["echo"]
    refused = await edge.gateway.tool("one__echo")
    assert (refused.error["code"], refused.error["data"]["stop"]) == (-31014, "stop1")
    assert (await edge.gateway.tool("one__count")).text == "1"
    listed = await ask(edge, "/stops")
    assert listed.json == {"stops": [stop], "unknown": None, "damaged": []}
    lifted = await ask(edge, "/stops/stop1?reason=mended", method="DELETE")
    assert (lifted.status, lifted.json) == (200, {"id": "stop1", "stop": stop})
    assert (await edge.gateway.tool("one__echo", text="x")).text == "x"
    assert changes(edge) == [("ops", "stop", "api"), ("ops", "resume", "api")]
    first, second = (each["data"] for each in edge.gateway.records("admin"))
    assert (first["scope"], first["name"], first["reason"]) == ("tool", "one__e*", REASON)
    assert (second["id"], second["name"], second["reason"]) == ("stop1", "one__e*", "mended")


async def test_an_administrator_who_is_stopped_can_still_resume(edge: EdgeSetting) -> None:
    await ask(edge, "/stops", {"scope": "all", "reason": REASON})
    assert (await edge.gateway.tool("one__echo", ADMIN)).error["code"] == -31014
    assert (await ask(edge, "/stops/stop1", method="DELETE")).status == 200
    assert (await edge.gateway.tool("one__echo", ADMIN, text="x")).text == "x"


@pytest.mark.parametrize(
    "body",
    [
        {"scope": "server", "name": "one"},
        {"scope": "server", "name": "one", "reason": ""},
        {"scope": "server", "name": "one", "reason": "a\nb"},
        {"scope": "server", "reason": "r"},
        {"scope": "planet", "name": "one", "reason": "r"},
        {"scope": "all", "name": "one", "reason": "r"},
        {"scope": "tool", "name": "one", "reason": "r"},
        {"scope": "server", "name": "one", "reason": "r", "seconds": 0},
        {"scope": "server", "name": "one", "reason": "r", "seconds": 1e12},
        {"scope": "server", "name": "one", "reason": "r", "issuer": "key"},
        {"scope": "server", "name": "one", "reason": "r", "more": 1},
        [],
    ],
)
async def test_what_cannot_be_meant_stops_nothing(edge: EdgeSetting, body: object) -> None:
    assert (await ask(edge, "/stops", body)).status == 422
    assert not edge.gateway.stops.any
    assert changes(edge) == []


async def test_a_server_that_is_not_there_is_not_stopped_and_a_tool_that_is_not_known_is_said(
    edge: EdgeSetting,
) -> None:
    for scope, name in (("server", "onne"), ("tool", "onne__echo")):
        got = await ask(edge, "/stops", {"scope": scope, "name": name, "reason": "r"})
        assert (got.status, got.json["reason"]) == (404, "unknown_server")
    made = await ask(edge, "/stops", {"scope": "tool", "name": "one__ecco", "reason": "r"})
    assert (made.status, made.json["tools"]) == (201, [])
    got = await ask(edge, "/stops/nothing", method="DELETE")
    assert (got.status, got.json["reason"]) == (404, "unknown_stop")


async def test_only_administrators_stop_and_resume(edge: EdgeSetting) -> None:
    await ask(edge, "/stops", {"scope": "server", "name": "one", "reason": "r"})
    for who, status in (("ann:user", 403), (None, 401)):
        assert (await ask(edge, "/stops", {"scope": "all", "reason": "r"}, who)).status == status
        assert (await ask(edge, "/stops/stop1", who=who, method="DELETE")).status == status
        assert (await ask(edge, "/stops", who=who)).status == status
    assert [stop.id for stop in edge.gateway.stops.in_force] == ["stop1"]


async def test_what_cannot_be_recorded_is_stopped_all_the_same_and_not_resumed(edge: EdgeSetting) -> None:
    edge.gateway.journal.close()
    assert (await ask(edge, "/stops", {"scope": "server", "name": "one", "reason": "r"})).status == 201
    got = await ask(edge, "/stops/stop1", method="DELETE")
    assert (got.status, got.json["reason"]) == (503, "journal_unavailable")
    assert edge.gateway.stops.any


async def test_a_stop_that_cannot_be_read_is_listed_and_can_be_resumed(edge: EdgeSetting) -> None:
    await edge.gateway.fleet.state.put(f"{PREFIX}odd", b"{")
    await ask(edge, "/stops", {"scope": "server", "name": "one", "reason": "r"})
    edge.gateway.stops.lose("the stop odd cannot be read")
    listed = (await ask(edge, "/stops")).json
    assert "odd" in listed["damaged"]
    assert listed["unknown"] == "the stop odd cannot be read"
    lifted = await ask(edge, "/stops/odd", method="DELETE")
    assert (lifted.status, lifted.json) == (200, {"id": "odd", "stop": None})
    assert [stop.name for stop in edge.gateway.stops.in_force] == ["one"]
    assert edge.gateway.stops.unknown is None


async def test_the_control_socket_does_the_same_for_whoever_may_open_it(edge: EdgeSetting) -> None:
    control = await edge.control()

    async def post(path: str, body: object) -> Any:
        data = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n"
        await control.send(head.encode() + data)
        return await control.read()

    made = await post("/v1/stops", {"scope": "server", "name": "one", "reason": REASON})
    assert (made.status, made.json["stop"]["id"]) == (200, "stop1")
    assert (await control.get("/v1/stops")).json["stops"] == [made.json["stop"]]
    await until(lambda: edge.gateway.stops.any)
    assert (await post("/v1/stops", {"scope": "server"})).status == 422
    assert (await post("/v1/stops/none/resume", {})).status == 404
    assert (await post("/v1/stops/stop1/resume", {"reason": "mended"})).json["id"] == "stop1"
    assert not edge.gateway.stops.any
    assert [each[1:] for each in changes(edge)] == [("stop", "control"), ("resume", "control")]
    await control.close()
