"""What the command line asks of a running gateway, and what probes and Prometheus do."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.unit.edge.conftest import Listen
from tests.unit.edge.setting import EdgeSetting, Got, raw_post, tool
from tests.unit.fleet.setting import spec
from tidegate.domain.server import Command, Image, Package, Remote, Scaling, ServerSpec, Sharing
from tidegate.edge.admin.door import Actor
from tidegate.extensions.identity.local import local_principal
from tidegate.testing.memory_server import MemoryServer


async def test_the_status_says_what_there_is_to_say_of_every_server(listen: Listen) -> None:
    bad = MemoryServer()
    bad.exits = 4
    edge = await listen(spec("good"), spec("bad"), servers={"bad": bad}, wait=["good__echo"])
    await edge.gateway.tool("good__echo")
    wire = await edge.control()
    got = await wire.get("/v1/status")
    assert got.json["version"] == "test"
    (endpoint,) = got.json["endpoints"]
    shown = {"path": "/mcp", "servers": ["good", "bad"], "names": "prefixed", "tools": 7}
    assert shown.items() <= endpoint.items()
    good, broken = got.json["servers"]
    assert (good["name"], good["state"], good["tools"], good["reason"]) == ("good", "ready", 7, None)
    (workload,) = good["workloads"]
    assert (workload["calls"], workload["in_flight"], workload["era"]) == (1, 0, "legacy")
    assert workload["facts"]["sandbox"]
    assert (broken["state"], broken["tools"]) == ("failed", 0)
    assert "status 4" in broken["reason"]
    assert broken["retry_in"] > 0
    await wire.close()


async def test_logs_are_given_in_part_whole_and_as_they_come(listen: Listen) -> None:
    edge = await listen()
    log = edge.gateway.fleet.fleet.pools["one"].log
    for number in range(300):
        log.add("w", b"line %d" % number)
    wire = await edge.control()
    assert (await wire.get("/v1/logs/one?lines=2")).body == b"w line 298\nw line 299\n"
    assert (await wire.get("/v1/logs/one")).body.count(b"\n") == 200
    assert (await wire.get("/v1/logs/one?lines=x")).body.count(b"\n") == 200
    await wire.send(b"GET /v1/logs/one?lines=1&follow=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await wire.head()
    assert await wire.chunk() == b"w line 299\n"
    await edge.time.settle()
    log.add("w", b"fresh")
    assert await wire.chunk() == b"w fresh\n"
    await wire.close()


async def test_logs_of_an_unknown_server_name_the_known_ones(listen: Listen) -> None:
    edge = await listen()
    wire = await edge.control()
    got = await wire.get("/v1/logs/nothing")
    assert got.status == 404
    assert got.json == {"error": "no server 'nothing' (known: one)"}
    await wire.close()


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/stop"), ("POST", "/v1/status"), ("GET", "/v1/x")])
async def test_what_the_control_socket_does_not_have_is_404(listen: Listen, method: str, path: str) -> None:
    edge = await listen()
    wire = await edge.control()
    got = await wire.get(path, method)
    assert (got.status, got.json["error"]) == (404, f"no {method} {path} here")
    assert edge.stopped == 0
    await wire.close()


async def posted(edge: EdgeSetting, path: str, body: object) -> Got:
    """Post to the control socket on a connection of its own."""
    wire = await edge.control()
    try:
        await wire.send(raw_post(body, {"Host": "localhost"}, path))
        return await wire.read()
    finally:
        await wire.close()


async def signals(edge: EdgeSetting) -> list[Any]:
    """Give the signals that are told."""
    wire = await edge.control()
    try:
        return (await wire.get("/v1/signals")).json["signals"]
    finally:
        await wire.close()


async def test_signals_are_told_with_their_servers_and_turned_on_and_off_by_name(listen: Listen) -> None:
    stormy: dict[str, Any] = {
        "sharing": Sharing.SHARED,
        "stateless": True,
        "scaling": Scaling(signals={"storm": 2, "sale": 3}),
    }
    edge = await listen(spec("one", **stormy), spec("two", **stormy), wait=["one__echo"])
    off = {"signal": "storm", "on": False, "until": None, "servers": ["one", "two"]}
    assert [each["signal"] for each in await signals(edge)] == ["sale", "storm"]
    on = await posted(edge, "/v1/signals/storm", {"on": True, "seconds": 60, "reason": "gale"})
    assert on.status == 200, on.body
    assert {**on.json, "until": 0} == {**off, "on": True, "until": 0}
    assert on.json["until"] == pytest.approx(edge.gateway.fleet.now() + 60, abs=1)
    assert (await signals(edge))[1] == on.json
    assert (await posted(edge, "/v1/signals/storm", {"on": False})).json == off
    assert (await signals(edge))[1] == off
    unknown = await posted(edge, "/v1/signals/strom", {"on": True})
    assert (unknown.status, unknown.json["error"]) == (
        404,
        "no server is told by a signal 'strom' (known: sale, storm)",
    )
    changes = edge.gateway.records("admin")
    assert [(each["data"]["signal"], each["data"]["on"]) for each in changes] == [
        ("storm", True),
        ("storm", False),
    ]
    assert (changes[0]["data"]["reason"], changes[0]["data"]["seconds"]) == ("gale", 60.0)


async def test_a_signal_whose_servers_are_gone_is_still_told_and_can_be_turned_off(listen: Listen) -> None:
    stormy = spec("one", sharing=Sharing.SHARED, stateless=True, scaling=Scaling(signals={"storm": 2}))
    edge = await listen(stormy, wait=["one__echo"])
    await posted(edge, "/v1/signals/storm", {"on": True})
    await edge.gateway.fleet.apply(spec("two"))
    assert await signals(edge) == [{"signal": "storm", "on": True, "until": None, "servers": []}]
    assert (await posted(edge, "/v1/signals/storm", {"on": True})).status == 404
    gone = await posted(edge, "/v1/signals/storm", {"on": False})
    assert gone.json == {"signal": "storm", "on": False, "until": None, "servers": []}
    assert await signals(edge) == []


async def test_what_commands_change_by_themselves_is_recorded_with_the_user_at_the_socket(
    listen: Listen,
) -> None:
    edge = await listen()
    told = await posted(edge, "/v1/changes", {"event": "secret_set", "name": "app/token"})
    assert (told.status, told.json) == (200, {"recorded": True})
    (record,) = edge.gateway.records("admin")
    assert (record["issuer"], record["subject"]) == ("local", local_principal().subject)
    assert record["data"] == {
        "event": "secret_set", "name": "app/token", "via": "control", "credential": "", "peer": f"uid:{os.getuid()}",
    }  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        {"event": "restart", "name": "one"},
        {"event": "secret_set", "name": "a", "value": "s3cret"},
        {"event": "secret_set", "name": "a" * 201},
        {},
    ],
)
async def test_nothing_else_gets_into_the_journal_as_a_commands_change(listen: Listen, body: object) -> None:
    edge = await listen()
    refused = await posted(edge, "/v1/changes", body)
    assert refused.status == 422
    assert b"s3cret" not in refused.body
    assert edge.gateway.records("admin") == []


def test_who_asks_on_a_socket_is_the_user_that_the_kernel_names() -> None:
    actor = Actor(local_principal(), "control")
    assert actor.met({"client": (f"uid:{os.getuid()}", 0)}).principal == actor.principal
    other = actor.met({"client": ("uid:4294967294", 0)})
    assert (other.principal.subject, other.peer) == ("uid-4294967294", "uid:4294967294")
    assert other.principal.roles == actor.principal.roles
    assert actor.met({"client": ("127.0.0.1", 0)}) == actor
    assert actor.met({}) == actor


async def test_a_stop_is_passed_on(listen: Listen) -> None:
    edge = await listen()
    wire = await edge.control()
    await wire.send(raw_post(b"", {"Host": "localhost"}, "/v1/stop"))
    assert (await wire.read()).status == 202
    assert edge.stopped == 1
    await wire.close()


async def test_the_control_paths_are_not_on_the_public_port(listen: Listen) -> None:
    edge = await listen()
    wire = await edge.connect()
    for path in ("/v1/status", "/v1/logs/one", "/v1/stop"):
        assert (await wire.get(path)).status == 404
    await wire.close()


async def test_probes_say_who_is_not_there_and_stay_ready(listen: Listen) -> None:
    bad = MemoryServer()
    bad.exits = 4
    edge = await listen(spec("good"), spec("bad"), servers={"bad": bad}, wait=["good__echo"])
    wire = await edge.connect()
    assert (await wire.get("/healthz")).json == {"status": "ok"}
    ready = await wire.get("/readyz")
    assert ready.status == 200
    assert ready.json["status"] == "ready"
    assert ready.json["servers"]["good"] == {"state": "ready"}
    assert "status 4" in ready.json["servers"]["bad"]["reason"]
    edge.refusing = "the journal cannot be written"
    refusing = await wire.get("/readyz")
    assert (refusing.status, refusing.json["reason"]) == (503, "the journal cannot be written")
    await wire.close()


async def test_metrics_count_calls_refusals_and_workloads(listen: Listen) -> None:
    edge = await listen()
    for name in ("one__echo", "one__fails", "one__nothing"):
        headers, body = tool(name)
        await edge.post(body, **{key.replace("-", "_"): value for key, value in headers.items()})
    wire = await edge.connect()
    got = await wire.get("/metrics")
    assert got.headers["content-type"].startswith("text/plain")
    text = got.body.decode()
    assert 'tidegate_calls_total{endpoint="/mcp",outcome="ok",server="one"} 1.0' in text
    assert 'tidegate_calls_total{endpoint="/mcp",outcome="tool_error",server="one"} 1.0' in text
    assert 'tidegate_refusals_total{reason="invalid_params"} 1.0' in text
    assert 'tidegate_workloads{server="one",state="ready"} 1.0' in text
    assert 'tidegate_replicas_ready{server="one"} 1.0' in text
    assert 'tidegate_server_calls_in_flight{server="one"} 0.0' in text
    assert 'tidegate_server_quarantined{server="one"} 0.0' in text
    assert 'tidegate_call_seconds_count{server="one"} 2.0' in text
    assert 'tidegate_call_seconds_bucket{le="+Inf",server="one"} 2.0' in text
    await wire.close()


def test_what_a_server_is_made_of_is_one_line_without_secrets() -> None:
    launches = {
        "image x/y@sha256:0": Image("x/y@sha256:0"),
        "package pypi:mcp-server-time 1.0": Package("pypi", "mcp-server-time", "1.0"),
        "command /bin/x": Command(("/bin/x", "--token", "secret")),
        "url https://h/mcp": Remote("https://h/mcp?token=secret"),
    }
    for line, launch in launches.items():
        assert ServerSpec("one", launch, "x").describe() == line
