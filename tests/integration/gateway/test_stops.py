"""Emergency stops at two gateways that share their state: in force at both within a second, whatever is under way."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.integration.gateway.gateway import Gateway, Json, Wire, marked, server, until
from tests.integration.sessions.client import legacy
from tidegate.access.stop_store import PREFIX
from tidegate.extensions.state.sqlite import FILE, SqliteState


@dataclass
class Pair:
    """Two gateways, and keys that hold at both."""

    one: Gateway
    two: Gateway
    keys: dict[str, str] = field(default_factory=dict[str, str])

    def wire(self, gateway: Gateway, who: str = "ann", **offer: Json) -> Wire:
        return Wire(gateway.url(), modern=True, key=self.keys[who], offer=offer)

    async def stop(self, *arguments: str) -> str:
        """Stop something at the first; give the stop's id."""
        done = await asyncio.to_thread(self.one.command, "stop", *arguments, "--json")
        assert done.returncode == 0, done.stderr
        ident: str = json.loads(done.stdout)["stop"]["id"]
        return ident

    async def halt(self, **body: str) -> str:
        """Stop something at the first as the command line does, in less time; give the stop's id."""
        asked = asyncio.to_thread(self.one.ask, "/v1/stops", "POST", json.dumps(body))
        ident: str = (await asked)["stop"]["id"]
        return ident

    async def go_on(self, ident: str) -> None:
        """Resume, likewise at the second; wait until it is so at both."""
        await asyncio.to_thread(self.two.ask, f"/v1/stops/{ident}/resume", "POST", "{}")
        await self.resumed()

    async def resume(self, *arguments: str, at: Gateway | None = None) -> None:
        """Resume, at either; wait until it is so at both."""
        done = await asyncio.to_thread((at or self.two).command, "resume", *(arguments or ("--all",)))
        assert done.returncode == 0, done.stderr
        await self.resumed()

    async def resumed(self) -> None:
        """Wait until nothing is stopped at either."""
        for each in (self.one, self.two):
            await until(lambda each=each: not each.ask("/v1/stops")["stops"], "it to be resumed")

    def kept(self, kind: str) -> list[Json]:
        return [
            each for gateway in (self.one, self.two) for each in gateway.records() if each["kind"] == kind
        ]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """The pair that all tests here share."""
    place = tmp_path_factory.mktemp("stops")
    gateways = [_gateway(place / name) for name in ("one", "two")]
    made = Pair(*gateways)
    for who in ("ann", "bob"):
        done = made.one.command("key", "create", "--name", who)
        made.keys[who] = done.stdout.strip()
    for each in gateways:
        each.start()
    for each in gateways:  # those without a key see no list here
        each.until(lambda each=each: each.server("desk")["tools"], "the server to be listed")
    yield made
    for each in gateways:
        each.check_end()


def _gateway(place: Path) -> Gateway:
    place.mkdir()
    settings = {
        "shared": "../shared",
        "auth": {"type": "keys"},
        "servers": {"desk": server("features_stdio", "legacy", sharing="shared")},
    }
    return Gateway(place, marked(settings, place))


def metrics(gateway: Gateway) -> str:
    with urllib.request.urlopen(f"{gateway.base}/metrics", timeout=5) as got:
        text: bytes = got.read()
    return text.decode()


def check_stopped(message: Json, ident: str) -> None:
    error = message["error"]
    assert (error["code"], error["data"]["reason"], error["data"]["stop"]) == (-31014, "stopped", ident)


@asynccontextmanager
async def load(pair: Pair) -> AsyncGenerator[list[tuple[str, float, bool]]]:
    """Have calls go on at both: which gateway, when each began, whether it went well."""
    found: list[tuple[str, float, bool]] = []
    enough = asyncio.Event()

    async def call(name: str, wire: Wire) -> None:
        while not enough.is_set():
            began = time.monotonic()
            message = await wire.call("desk__echo", {"text": "x"})
            found.append((name, began, "result" in message))

    async with asyncio.TaskGroup() as group:
        for name, gateway in (("one", pair.one), ("two", pair.two)):
            for who in ("ann", "bob"):
                group.create_task(call(name, pair.wire(gateway, who)))
        try:
            yield found
        finally:
            enough.set()


async def test_a_stop_holds_under_load_at_both_within_a_second_and_is_undone(both: Pair) -> None:
    async with load(both) as calls:
        await until(lambda: {name for name, _, well in calls if well} == {"one", "two"}, "calls to go on")
        ident = await both.stop("--tool", "desk__ec*", "--reason", "answers with data of others")
        since = time.monotonic()
        await until(lambda: len([1 for name, began, _ in calls if began > since + 1.5]) > 8, "further calls")
        late = {
            (name, well) for name, began, well in calls if began > since + (0.0 if name == "one" else 1.0)
        }
        assert late == {("one", False), ("two", False)}
        assert "tidegate_stops 1.0" in await asyncio.to_thread(metrics, both.two)
        await both.resume(ident)
        back = time.monotonic()
        await until(
            lambda: {name for name, began, well in calls if began > back and well} == {"one", "two"},
            "calls to go on again",
        )
    refused = [each for each in both.kept("refused") if each["reason"] == "stopped"]
    assert {each["data"]["stop"] for each in refused} == {ident}
    assert {each["subject"] for each in refused} == {"ann", "bob"}
    changes = [(each["data"]["event"], each["data"]["via"]) for each in both.kept("admin")]
    assert changes == [("stop", "control"), ("resume", "control")]
    lived = [(each["data"]["event"], each["data"]["id"]) for each in both.kept("stop")]
    assert sorted(lived) == [("in_force", ident)] * 2 + [("lifted", ident)] * 2


async def test_what_is_under_way_ends_for_who_is_stopped_and_goes_on_for_others(both: Pair) -> None:
    async with (
        legacy(both.two.url(), both.keys["ann"]) as ann,
        legacy(both.two.url(), both.keys["bob"]) as bob,
    ):
        streams = [await each.listen() for each in (ann, bob)]
        calls = [await each.call(7, "desk__wait", mark=mark) for each, mark in ((ann, "a"), (bob, "b"))]
        for each in calls:
            await each.method("notifications/progress")
        asked = both.wire(both.two, elicitation={"form": {}})
        parked = (await asked.ask("tools/call", {"name": "desk__ask_form", "arguments": {}})).message
        assert "inputRequests" in parked.get("result", {}), parked
        ident = await both.halt(scope="principal", name="ann", reason="her laptop was stolen")
        check_stopped(await calls[0].answer(7), ident)
        await until(lambda: streams[0].over, "her stream to end")
        answers = {key: {"action": "decline"} for key in parked["result"]["inputRequests"]}
        params: dict[str, Any] = {
            "name": "desk__ask_form", "arguments": {},
            "inputResponses": answers, "requestState": parked["result"]["requestState"],
        }  # fmt: skip
        check_stopped((await asked.ask("tools/call", params)).message, ident)
        assert (await ann.listen()).status == 503
        assert await ann.ping() == 200
        assert await bob.wire.text("desk__waited", {"mark": "a"}) == "cancelled"
        assert await bob.wire.text("desk__waited", {"mark": "b"}) == "waiting"
        assert not streams[1].over
        await both.go_on(ident)
        again = (await asked.ask("tools/call", params)).message
        assert again["error"]["data"]["reason"] == "state_invalid"
        stop = await both.halt(scope="server", name="desk", reason="leaks")
        check_stopped(await calls[1].answer(7), stop)
        assert not streams[1].over
        await both.go_on(stop)
        assert await bob.wire.text("desk__waited", {"mark": "b"}) == "cancelled"
    records = both.two.records()
    waits = {each["call"] for each in records if each["kind"] == "call.intent" and each["name"] == "wait"}
    outcomes = [each for each in records if each["kind"] == "call.outcome" and each["call"] in waits]
    assert [each["outcome"] for each in outcomes] == ["cancelled", "cancelled"]
    assert both.two.status()["in_flight"] == 0


async def test_a_stop_survives_a_restart_and_can_be_made_while_no_gateway_runs(both: Pair) -> None:
    ident = await both.stop("--all", "--yes", "--reason", "nobody knows yet")
    for each in (both.one, both.two):
        assert each.stop() == 0
    written = await both.stop("--server", "desk", "--reason", "made offline")
    state = SqliteState(both.one.place.parent / "shared" / FILE)
    await state.open()
    await state.put(f"{PREFIX}odd", b"{")  # nobody knows what it stops
    await state.close()
    both.one.start()
    assert not both.one.ask("/v1/status")["ready"]
    unknown = await both.wire(both.one).ask("tools/call", {"name": "desk__echo", "arguments": {}})
    assert (unknown.status, unknown.message["error"]["data"]["reason"]) == (503, "state_unavailable")
    assert both.one.command("resume", "odd").returncode == 0
    check_stopped(await both.wire(both.one).call("desk__echo", {"text": "x"}), ident)
    assert both.one.ask("/v1/status")["ready"]
    listed = json.loads(both.one.command("stops", "--json").stdout)["stops"]
    assert [each["id"] for each in listed] == [ident, written]
    assert listed[1]["by"].endswith(" (command)")
    both.one.until(lambda: both.one.server("desk")["tools"], "the server to be listed")
    assert both.one.command("resume", ident).returncode == 0
    check_stopped(await both.wire(both.one).call("desk__echo", {"text": "x"}), written)
    both.two.start()
    check_stopped(await both.wire(both.two).call("desk__echo", {"text": "x"}), written)
    await both.resume()
    assert await both.wire(both.one).text("desk__echo", {"text": "x"})
    admin = [
        (each["data"]["event"], each["data"]["via"]) for each in both.one.records() if each["kind"] == "admin"
    ]
    assert ("stop", "command") in admin
