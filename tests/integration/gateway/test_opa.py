"""A gateway that has a real OPA decide: lists, calls and the journal agree, it changes at once, and its trouble denies."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import unused_port
from tests.integration.gateway.gateway import Gateway, Wire, marked, server
from tests.servers.real_opa import MISSING, PROGRAM, RealOpa

pytestmark = pytest.mark.skipif(not PROGRAM.exists(), reason=MISSING)

AUTHZ = """
package authz

allow if {
	"user" in input.principal.roles
	not input.target.name in {"echo", "write"}
}

shown if input.target.name == "echo"

reads contains "text" if shown

allow if {
	shown
	not contains(input.arguments.text, "long")
}

deny contains "long texts are not echoed" if contains(input.arguments.text, "long")
deny contains "closed" if data.closed[_] == input.target.name
"""
MANY = "package many\n\ndecisions := [d | some t in input.targets; d := data.authz with input.target as t]\n"
SLOW = 10.0
"""Seconds within which what takes a second does, on a machine that is busy."""


@pytest.fixture(scope="module")
def opa(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealOpa]:
    place = tmp_path_factory.mktemp("opa")
    (place / "authz.rego").write_text(AUTHZ)
    (place / "many.rego").write_text(MANY)
    made = RealOpa(place, unused_port(), "--set", "decision_logs.console=true").start(
        "authz.rego", "many.rego"
    )
    yield made
    made.kill()


@pytest.fixture(scope="module")
def made(opa: RealOpa, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    place = tmp_path_factory.mktemp("gateway")
    entry = {
        "type": "opa", "url": opa.address, "path": "authz", "batch": "many/decisions", "servers": ["a"], "timeout": "1s",
    }  # fmt: skip
    settings: dict[str, Any] = {
        "servers": {"a": server("legacy_stdio"), "b": server("legacy_stdio")},
        "policies": [entry],
        "roles": {"user": {"allow": [{"servers": ["b"]}]}},
    }
    gateway = Gateway(place, marked(settings, place)).start().until_servers(a="ready", b="ready")
    yield gateway
    gateway.stop()


async def shown(client: Wire) -> set[str]:
    return {each["name"] for each in (await client.tools())["tools"]}


async def soon(condition: Callable[[], Awaitable[bool]]) -> float:
    """Wait for a condition, and give how long it took."""
    began = time.monotonic()
    while not await condition():
        assert time.monotonic() - began < SLOW
        await asyncio.sleep(0.02)
    return time.monotonic() - began


def refusal(made: Gateway, message: dict[str, Any]) -> dict[str, Any]:
    call = message["error"]["data"]["id"]
    (found,) = [
        each["data"]
        for each in made.records()
        if each["kind"] == "refused" and each["data"].get("call") == call
    ]
    return found


async def test_what_it_denies_is_neither_listed_nor_called_in_either_era(made: Gateway, opa: RealOpa) -> None:
    for client in (Wire(made.url(), modern=True), await Wire(made.url()).open()):
        names = await shown(client)
        assert "a__echo" in names
        assert "a__write" not in names
        hidden, unknown = await client.call("a__write", {"path": "/x"}), await client.call("a__nothing")
        assert hidden["error"]["code"] == unknown["error"]["code"]
        assert hidden["error"]["message"].replace("write", "nothing") == unknown["error"]["message"]
        assert await client.text("a__echo", {"text": "hello"}) == "hello"
        told = await client.call("a__echo", {"text": "a long text"})
        assert told["error"]["code"] == -31003
        record = refusal(made, told)
        assert (record["rule"], record["because"]) == ("authz#deny", "long texts are not echoed")
        assert json.loads(record["reads"]["context.arguments.text"]) == "a long text"
        assert json.loads(record["reads"]["opa.decision"]) in (opa.place / "opa.log").read_text()


async def test_it_is_explained_by_what_it_said_and_the_id_of_its_decision(made: Gateway) -> None:
    told = await Wire(made.url(), modern=True).call("a__echo", {"text": "a long text"})
    done = made.command("explain", told["error"]["data"]["id"], "--json")
    assert done.returncode == 0, done.stderr
    explained = json.loads(done.stdout)
    assert (explained["reason"], explained["rule"]) == ("denied", "authz#deny")
    assert "long texts are not echoed" in done.stdout
    assert "opa.decision" in explained["reads"]
    assert "principal.attributes" in str(explained["notes"]), "it was told, and is not kept"


async def test_a_change_is_in_force_within_moments_in_lists_and_calls(made: Gateway, opa: RealOpa) -> None:
    client = Wire(made.url(), modern=True)
    assert "a__echo" in await shown(client)

    async def gone() -> bool:
        return "a__echo" not in await shown(client)

    async def back() -> bool:
        return "a__echo" in await shown(client)

    await asyncio.to_thread(opa.put_data, "closed", ["echo"])
    took = [await soon(gone)]
    assert "error" in await client.call("a__echo", {"text": "hello"})
    await asyncio.to_thread(opa.put_data, "closed", [])
    took.append(await soon(back))
    await asyncio.to_thread(opa.put_policy, "authz.rego", AUTHZ + '\ndeny contains "shut"\n')
    took.append(await soon(gone))
    await asyncio.to_thread(opa.put_policy, "authz.rego", AUTHZ + "\n# another text\n")
    took.append(await soon(back))
    assert min(took) < 1.5, took

    async def recorded() -> bool:
        events = [each["data"] for each in made.records() if each["kind"] == "gateway"]
        changes = [each for each in events if each["event"] == "policy_changed"]
        assert all(each["policy"] == "opa" for each in changes)
        return {"data.closed", "authz.rego"} <= {name for each in changes[1:] for name in each["files"]}

    await soon(recorded)


async def test_while_it_does_not_answer_its_server_is_denied_in_time_and_others_are_not(
    made: Gateway, opa: RealOpa
) -> None:
    client = Wire(made.url(), modern=True)
    assert await client.text("a__echo", {"text": "hello"}) == "hello"
    opa.hold()
    try:

        async def denied() -> bool:
            return "error" in await client.call("a__echo", {"text": "hello"})

        await soon(denied)
        began = time.monotonic()
        assert "error" in await client.call("a__echo", {"text": "hello"})
        assert time.monotonic() - began < SLOW
        assert await client.text("b__echo", {"text": "a long text"}) == "a long text"
        assert {each.partition("__")[0] for each in await shown(client)} == {"b"}
    finally:
        opa.go_on()

    async def allowed() -> bool:
        return "result" in await client.call("a__echo", {"text": "hello"})

    await soon(allowed)


async def test_killed_it_denies_and_back_it_allows(made: Gateway, opa: RealOpa) -> None:
    client = Wire(made.url(), modern=True)

    async def allowed() -> bool:
        return "result" in await client.call("a__echo", {"text": "hello"})

    async def denied() -> bool:
        return not await allowed()

    await soon(allowed)
    opa.kill()
    await soon(denied)
    told = await client.call("a__echo", {"text": "hello"})
    record = refusal(made, told)
    assert record["rule"] == "opa could not decide"
    assert record["because"]
    assert await client.text("b__echo", {"text": "hello"}) == "hello"
    assert "cannot be reached" in made.said()
    await asyncio.to_thread(opa.start, "authz.rego", "many.rego")
    await soon(allowed)
    assert "Traceback" not in made.said()


def test_it_ends_in_order(made: Gateway, opa: RealOpa, tmp_path: Path) -> None:
    made.check_end()
