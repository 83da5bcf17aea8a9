"""The fleet as an administrator sees and operates it: a real gateway, real servers, the command line and the API."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator

import httpx2
import pytest

from tests.integration.gateway.gateway import Gateway, Wire, marked, server
from tests.integration.gateway.test_access import make_key


class Admin:
    """A gateway with two replicas of a server, and the keys to it."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        _, self.key = make_key(gateway, "ops", "--role", "admin")
        _, self.user = make_key(gateway, "ann")

    def client(self, key: str | None = None) -> httpx2.AsyncClient:
        """Give a client of the API."""
        headers = {"Authorization": f"Bearer {key or self.key}"}
        return httpx2.AsyncClient(base_url=f"{self.gateway.base}/api/v1", headers=headers, timeout=40)

    def until_ready(self, name: str, count: int) -> None:
        """Wait until a server has so many replicas that take calls."""
        self.gateway.until(
            lambda: self.gateway.server(name)["replicas"]["ready"] == count, f"{count} replicas of {name}"
        )


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Admin]:
    """One gateway for all: every test leaves it as it found it."""
    place = tmp_path_factory.mktemp("admin")
    two = server("legacy_stdio", sharing="shared", stateless=True, replicas={"min": 2, "max": 2})
    declared = {"auth": {"type": "keys"}, "servers": {"two": two, "mine": server("legacy_stdio")}}
    made = Admin(Gateway(place, marked(declared, place)).start())
    made.until_ready("two", 2)
    yield made
    made.gateway.check_end()


async def test_a_restart_under_load_fails_no_call(admin: Admin) -> None:
    before = {each["id"] for each in admin.gateway.server("two")["workloads"]}
    stop = asyncio.Event()

    async def load() -> int:
        wire = await Wire(admin.gateway.url(), key=admin.user).open()
        done = 0
        while not stop.is_set():
            assert await wire.text("two__add", {"a": done, "b": 1}) == str(done + 1)
            done += 1
        return done

    callers = [asyncio.create_task(load()) for _ in range(4)]
    try:
        async with admin.client() as client:
            got = await client.post("/servers/two/restart", json={"reason": "drill", "wait": 30})
    finally:
        stop.set()
    counts = await asyncio.gather(*callers)
    assert (got.status_code, got.json()["done"]) == (202, True), got.text
    assert min(counts) > 0
    admin.until_ready("two", 2)
    after = {each["id"] for each in admin.gateway.server("two")["workloads"] if each["state"] == "ready"}
    assert not before & after


def test_the_command_line_shows_the_fleet_and_operates_it(admin: Admin) -> None:
    command = admin.gateway.command
    shown = command("servers")
    (row,) = (line for line in shown.stdout.splitlines() if line.startswith("two "))
    assert re.split(r" {2,}", row.strip())[:3] == ["two", "ready", "2/2"]
    assert command("server", "quarantine", "two", "--reason", "leaks").stdout == "two is in quarantine\n"
    told = command("server", "show", "two", "--json")
    assert (json.loads(told.stdout)["state"], json.loads(told.stdout)["reason"]) == ("quarantined", "leaks")
    assert command("server", "release", "two").stdout == "two is out of quarantine\n"
    admin.until_ready("two", 2)
    events = command("events", "--no-follow", "--server", "two", "--json").stdout.splitlines()
    kinds = [(each["event"], each.get("what") or each.get("state")) for each in map(json.loads, events)]
    assert ("admin", "quarantine") in kinds
    assert ("admin", "release") in kinds
    assert ("workload", "ready") in kinds
    refused = command("server", "scale", "mine", "2")
    assert (refused.returncode, refused.stderr) == (
        1,
        "tidegate: server mine is not shared: it has as many as are called for\n",
    )


async def test_a_quarantined_server_says_why_and_serves_again_once_released(admin: Admin) -> None:
    wire = await Wire(admin.gateway.url(), key=admin.user).open()
    async with admin.client() as client:
        await client.post("/servers/two/quarantine", json={"reason": "wrong answers"})
        message = await wire.call("two__add", {"a": 1, "b": 1})
        assert "wrong answers" in message["error"]["message"]
        assert message["error"]["data"]["reason"] == "server_unavailable"
        await client.post("/servers/two/release", json={})
    admin.until_ready("two", 2)
    assert await wire.text("two__add", {"a": 1, "b": 1}) == "2"
    changes = [each for each in admin.gateway.records() if each["kind"] == "admin"]
    assert {(each["subject"], each["data"]["via"]) for each in changes} >= {("ops", "api")}


async def test_events_are_a_stream_that_is_taken_up_where_it_was_left(admin: Admin) -> None:
    async with admin.client() as client:
        async with client.stream("GET", "/events?server=two") as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            lines = stream.aiter_lines()
            assert await anext(lines) == "retry: 2000"
            await client.post("/servers/two/restart", json={"wait": 30})
            last = ""
            async for line in lines:
                last = line.removeprefix("id: ") if line.startswith("id: ") else last
                if line.startswith("data: ") and '"event":"restart"' in line:
                    break
        headers = {"Last-Event-ID": last}
        async with client.stream("GET", "/events?server=two", headers=headers) as stream:
            async for line in stream.aiter_lines():
                if line.startswith("data: ") and '"state":"ready"' in line:
                    break
    admin.until_ready("two", 2)


async def test_only_administrators_are_told_anything(admin: Admin) -> None:
    async with admin.client(admin.user) as client:
        for path in ("/servers", "/openapi.json", "/events", "/nothing"):
            assert (await client.get(path)).status_code == 403
        assert (await client.post("/servers/two/quarantine", json={"reason": "r"})).status_code == 403
    async with httpx2.AsyncClient() as stranger:
        got = await stranger.get(f"{admin.gateway.base}/api/v1/servers")
        assert (got.status_code, got.headers["www-authenticate"]) == (401, 'Bearer realm="tidegate"')
    assert admin.gateway.server("two")["state"] == "ready"
