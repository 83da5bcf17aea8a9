"""Two tenants on a real gateway: as the documented example has them, and as their administrators see it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from tests.integration.gateway.gateway import Gateway, Json, Wire, marked, server, until
from tests.integration.gateway.test_access import make_key
from tests.integration.gateway.test_authorization import tools, write

ROOT = Path(__file__).resolve().parents[3]
HIDDEN = {"marine": ("cars", "motor", "bob"), "motor": ("claims", "tides", "marine", "ann", "olga")}


def documented() -> Json:
    """Give the settings of the page, with servers that run here; and see that its keys are those made below."""
    page = (ROOT / "docs" / "tenants.md").read_text("utf-8")
    found = re.search(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert found is not None
    for words in ("--name ann --tenant marine --role adjuster", "--name olga --tenant marine --role admin",
                  "--name bob --tenant motor --role adjuster"):  # fmt: skip
        assert words in page
    settings: Json = yaml.safe_load(found[1])
    for name, given in settings["servers"].items():
        kept = {key: value for key, value in given.items() if key != "package"}
        settings["servers"][name] = server("legacy_stdio", **kept)
    return settings


class Two:
    """The gateway, and a key for everybody."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.keys = {
            name: make_key(gateway, name, "--tenant", tenant, "--role", role)[1]
            for name, tenant, role in (
                ("ann", "marine", "adjuster"), ("olga", "marine", "admin"), ("bob", "motor", "adjuster"),
                ("max", "motor", "admin"), ("ops", "default", "admin"),
            )
        }  # fmt: skip

    def api(self, who: str) -> httpx2.AsyncClient:
        """Give a client of the admin API."""
        headers = {"Authorization": f"Bearer {self.keys[who]}"}
        return httpx2.AsyncClient(base_url=f"{self.gateway.base}/api/v1", headers=headers, timeout=40)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    place = tmp_path_factory.mktemp("tenants")
    settings = marked(documented(), place)
    made = Gateway(place, settings).start()
    made.until(lambda: all(each["tools"] for each in made.status()["servers"]), "all servers to be listed")
    yield Two(made)
    made.check_end()


def hides(text: str, tenant: str) -> None:
    """See that nothing in a text is of others."""
    for word in HIDDEN[tenant]:
        assert word not in text, (tenant, word, text[:2000])


async def test_each_tenant_has_its_own_and_what_is_common(two: Two) -> None:
    for who, tenant, own, other in (("ann", "marine", "claims", "cars"), ("bob", "motor", "cars", "claims")):
        for modern in (False, True):
            client = Wire(two.gateway.url(), modern=modern, key=two.keys[who])
            client = client if modern else await client.open()
            found = await tools(client)
            assert f"{own}__echo" in found
            assert {each.partition("__")[0] for each in found} <= {own, "holidays"}
            hides(json.dumps(sorted(found)), tenant)
            assert await client.text(f"{own}__add", {"a": 1, "b": 2}) == "3"
            told = [
                (await client.ask("tools/call", {"name": name, "arguments": {}})).message["error"]
                for name in (f"{other}__add", f"{'x' * len(other)}__add")
            ]
            assert told[0]["message"].replace(other, "x" * len(other)) == told[1]["message"]
            assert told[0]["code"] == told[1]["code"] == -32602
            refused = [each for each in two.gateway.records() if each["kind"] == "refused"]
            (record,) = [each for each in refused if each["data"].get("call") == told[0]["data"]["id"]]
            other_tenant = "motor" if tenant == "marine" else "marine"
            assert (record["tenant"], record["data"]["rule"]) == (tenant, f"tenants.{other_tenant}")


async def test_an_administrator_of_a_tenant_has_that_tenant_only(two: Two) -> None:
    async with two.api("olga") as olga, two.api("max") as max_, two.api("ops") as ops:
        shown = await olga.get("/servers")
        assert [each["name"] for each in shown.json()["servers"]] == ["claims", "marine-tides"]
        hides(shown.text, "marine")
        assert [each["name"] for each in (await max_.get("/servers")).json()["servers"]] == ["cars"]
        assert len((await ops.get("/servers")).json()["servers"]) == 4
        for name in ("cars", "holidays", "nothing"):
            got = await olga.post(f"/servers/{name}/restart", json={})
            assert (got.status_code, got.json()["reason"]) == (404, "unknown_server")
        restarted = await olga.post("/servers/marine-tides/restart", json={"reason": "drill", "wait": 30})
        assert (restarted.status_code, restarted.json()["done"]) == (202, True), restarted.text
        for path in ("/reload", "/config/rollback"):
            got = await olga.post(path, json={"to": 1} if "rollback" in path else {})
            assert (got.status_code, got.json()["reason"]) == (403, "forbidden"), got.text
        assert (await olga.get("/config/versions")).status_code == 403
        assert (await ops.get("/config/versions")).status_code == 200
        quotas = (await olga.get("/quotas")).json()["quotas"]
        assert [each["name"] for each in quotas] == ["marine.principal-min"]
    done = two.gateway.command("audit", "records", "--tenant", "marine")
    assert done.returncode == 0, done.stderr
    assert '"event":"restart"' in done.stdout
    for word in ('"cars"', '"bob"', '"max"', "motor"):
        assert word not in done.stdout


async def test_a_tenant_explains_its_calls_and_looks_up_its_records_from_elsewhere(two: Two) -> None:
    ann = Wire(two.gateway.url(), modern=True, key=two.keys["ann"])
    refused = (await ann.ask("tools/call", {"name": "cars__add", "arguments": {}})).message["error"]
    call = refused["data"]["id"]
    for who, tenant, sees in (("olga", "marine", True), ("max", "motor", False)):
        key = two.gateway.place / f"{who}.key"
        key.write_text(two.keys[who])
        there = ("--url", two.gateway.base, "--key-file", str(key))

        def ask(*words: str, there: tuple[str, ...] = there) -> Any:
            return two.gateway.command(*words, *there)

        asked = ("explain", "--as", "ann", "--role", "adjuster", "--json", "--tool")
        for name, allowed in (("claims__add", sees), ("cars__add", not sees)):
            told = await asyncio.to_thread(ask, *asked, name)
            assert told.returncode == 0, told.stderr
            assert json.loads(told.stdout)["allowed"] is allowed
            hides(
                told.stdout.replace(name, "").replace(name.partition("__")[0], "").replace("ann", ""), tenant
            )
        recalled = await asyncio.to_thread(ask, "explain", call)
        assert (recalled.returncode == 0) is sees, recalled.stderr
        found = await asyncio.to_thread(ask, "audit", "find", "--decision", "refused", "--json")
        assert found.returncode == 0, found.stderr
        assert (f'"call":"{call}"' in found.stdout) is sees
        words = ("cars__add", "claims__add")  # what its own people asked for
        hides(found.stdout.replace(words[0], "").replace(words[1], ""), tenant)
        alike = {len(json.loads(line)) for line in found.stdout.splitlines() if "unknown tool" in line}
        assert len(alike) == 1, "what is another's cannot be told from what is not there"
    nobody = await asyncio.to_thread(two.gateway.command, "audit", "find", "--url", two.gateway.base)
    assert "administrator's key" in nobody.stderr


async def test_metrics_and_what_is_ready_are_told_to_the_operator_alone(two: Two) -> None:
    for path in ("/metrics", "/readyz"):
        for who in (None, "ann", "olga", "ops"):
            headers = {} if who is None else {"Authorization": f"Bearer {two.keys[who]}"}
            async with httpx2.AsyncClient(base_url=two.gateway.base, headers=headers, timeout=40) as client:
                got = await client.get(path)
            assert ("cars" in got.text) is (who == "ops"), (path, who, got.text[:300])


async def test_a_tenant_stops_its_own_calls_and_no_others(two: Two) -> None:
    ann, bob = (Wire(two.gateway.url(), modern=True, key=two.keys[who]) for who in ("ann", "bob"))
    async with two.api("olga") as olga, two.api("max") as max_:
        assert (await olga.post("/stops", json={"scope": "all", "reason": "r"})).status_code == 403
        for body in ({"scope": "tenant", "name": "marine"}, {"scope": "principal", "name": "ann"}):
            made = await olga.post("/stops", json={**body, "reason": "drill"})
            assert made.status_code == 201, made.text
            stop = made.json()["stop"]["id"]
            stopped = await ann.ask("tools/call", {"name": "claims__add", "arguments": {"a": 1, "b": 1}})
            assert stopped.message["error"]["code"] == -31014
            assert await bob.text("cars__add", {"a": 1, "b": 1}) == "2"
            assert (await max_.get("/stops")).json()["stops"] == []
            assert (await max_.delete(f"/stops/{stop}")).status_code == 404
            assert (await olga.delete(f"/stops/{stop}")).status_code == 200
        theirs = await max_.post("/stops", json={"scope": "principal", "name": "ann", "reason": "of marine"})
        assert await ann.text("claims__add", {"a": 1, "b": 1}) == "2", (
            "one of that name elsewhere is not meant"
        )
        assert (await max_.delete(f"/stops/{theirs.json()['stop']['id']}")).status_code == 200


async def test_events_are_of_the_tenants_servers(two: Two) -> None:
    heard: list[str] = []
    async with two.api("olga") as olga, two.api("ops") as ops:

        async def follow() -> None:
            async with olga.stream("GET", "/events") as got:
                async for line in got.aiter_lines():
                    heard.append(line)

        following = asyncio.create_task(follow())
        await until(lambda: any("retry" in line for line in heard), "the events to begin")
        for name in ("cars", "claims"):
            await ops.post(f"/servers/{name}/quarantine", json={"reason": f"drill at {name}"})
            await ops.post(f"/servers/{name}/release", json={})
        await until(lambda: any("drill at claims" in line for line in heard), "what is the tenant's own")
        following.cancel()
        await asyncio.wait([following])
    hides("\n".join(heard), "marine")


async def test_a_tenant_that_is_declared_no_more_is_let_in_nowhere_and_its_streams_end(two: Two) -> None:
    """Last, since the settings change."""
    bob = await Wire(two.gateway.url(), key=two.keys["bob"]).open()
    settings: Any = documented()
    del settings["tenants"]["motor"]
    settings["tenants"]["other"] = {"servers": ["cars"]}
    write(two.gateway, settings)
    await until(lambda: two.gateway.status()["settings"]["version"] == 2, "the reload")
    told = await bob.ask("tools/list")
    assert told.status == 401
    async with two.api("max") as max_:
        got = await max_.get("/servers")
        assert got.status_code == 401
        assert "tenant that is not declared" in got.text
    ann = Wire(two.gateway.url(), modern=True, key=two.keys["ann"])
    assert "claims__echo" in await tools(ann)
    refused = two.gateway.command("key", "create", "--name", "bob", "--tenant", "motor")
    assert "the settings declare no tenant motor" in refused.stderr
