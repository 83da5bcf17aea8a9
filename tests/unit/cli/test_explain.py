"""`tidegate explain` where no gateway runs; beside one that does, tests/integration has it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from msgspec import Raw

from tests.unit.cli.conftest import Ran, run
from tidegate.audit.journal import Journal
from tidegate.domain.principal import Principal
from tidegate.domain.target import Kind
from tidegate.extensions import table
from tidegate.extensions.identity.keys import KeyStore
from tidegate.extensions.state.sqlite import SQLITE, SqliteSettings
from tidegate.gateway.definitions import Definition, Definitions, DefinitionStore, Listed
from tidegate.ports.extension import Surroundings
from tidegate.settings import load
from tidegate.state_directory import StateDirectory

SETTINGS = """
servers: {claims: {package: 'pypi:claims==1', runtime: process}}
policies: [{type: cedar, files: [p.cedar], attributes: {limit: number, teams: list}}]
roles:
  adjuster: {allow: [{tools: [get_*]}]}
endpoints:
  /mcp: {servers: [claims], scopes: {"claims:pay": {tools: [pay]}}}
"""
CEDAR = """@id("pay") permit(principal in Role::"adjuster", action == Action::"claims__pay", resource)
when { principal has limit && context.arguments.amount <= principal.limit };
"""
SCHEMA = b'{"type":"object","properties":{"amount":{"type":"integer"},"card":{"type":"string"}},"required":["amount"]}'


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "p.cedar").write_text(CEDAR)
    (tmp_path / "tidegate.yaml").write_text(SETTINGS)
    return tmp_path


def explain(place: Path, *arguments: str, given: str | None = None) -> Ran:
    return run("explain", *arguments, "--config", str(place / "tidegate.yaml"), given=given)


def pays(place: Path, amount: str, *arguments: str) -> Ran:
    said = ("--as", "alice", "--role", "adjuster", "--attribute", "limit=5000", "--tool", "claims__pay")
    return explain(place, *said, amount, *arguments)


async def listed(place: Path) -> None:
    """Have the state directory know what the server lists."""
    (spec,) = load(place / "tidegate.yaml", table).servers
    tools = (
        Definition("pay", {"name": Raw(b'"pay"'), "inputSchema": Raw(SCHEMA)}),
        Definition("get_claim", {"name": Raw(b'"get_claim"'), "inputSchema": Raw(b'{"type":"object"}')}),
    )
    with StateDirectory.open(place / ".tidegate") as directory:
        async with SQLITE.open(SqliteSettings(), Surroundings(directory.path, directory.instance)) as state:
            await DefinitionStore(state).save(spec, Definitions({Kind.TOOL: Listed(tools)}))
            await KeyStore(state).create(name="carol", roles=["adjuster"])


def admin(place: Path) -> list[dict[str, object]]:
    lines = [
        line
        for each in (place / ".tidegate" / "journal").glob("*.jsonl")
        for line in each.read_bytes().splitlines()
    ]
    return [json.loads(line)["data"] for line in lines if json.loads(line)["kind"] == "admin"]


async def test_without_a_gateway_it_is_told_by_the_settings_and_what_one_last_saw(place: Path) -> None:
    await listed(place)
    ran = await asyncio.to_thread(pays, place, '{"amount": 6000, "card": "4711 0815"}')
    assert ran.status == 0, ran.err
    assert "DENIED: nothing allows it (arguments); the error is `denied`, it is listed" in ran.out
    assert "  context.arguments.amount = 6000\n" in ran.out
    assert "  principal.limit = 5000\n" in ran.out
    assert (
        "p.cedar#pay (line 1) would allow it where context.arguments.amount (now 6000) is at most "
        "principal.limit (now 5000)\n"
    ) in ran.out
    assert "no gateway runs here: this is told by" in ran.err
    assert "4711" not in ran.out + ran.err
    told = (await asyncio.to_thread(pays, place, '{"amount": 5000}', "--json")).json()
    assert (told["allowed"], told["rule"]) == (True, "p.cedar#pay")
    scoped = (await asyncio.to_thread(pays, place, '{"amount": 5000}', "--json", "--scope", "")).json()
    assert (scoped["allowed"], scoped["answer"]) == (False, "insufficient_scope")
    asked = admin(place)
    assert [(each["event"], each["subject"], each["via"]) for each in asked] == [
        ("explain", "alice", "command")
    ] * 3
    assert "6000" not in json.dumps(asked)


async def test_whoever_has_a_key_has_its_roles(place: Path) -> None:
    await listed(place)
    told = (
        await asyncio.to_thread(explain, place, "--as", "carol", "--tool", "claims__get_claim", "--json")
    ).json()
    assert (told["allowed"], told["rule"], told["who"]["roles"]) == (
        True,
        "roles.adjuster allow[0]",
        ["adjuster"],
    )
    other = await asyncio.to_thread(explain, place, "--as", "dave", "--tool", "claims__get_claim")
    assert "the role adjuster (roles.adjuster allow[0])" in other.out
    assert "nothing is known here of who that is" in other.out


async def test_a_stop_that_waits_for_the_next_gateway_is_told(place: Path) -> None:
    await listed(place)
    stop = ("stop", "--tool", "claims__get*", "--reason", "r", "--config", str(place / "tidegate.yaml"))
    assert (await asyncio.to_thread(run, *stop)).status == 0
    ran = await asyncio.to_thread(explain, place, "--as", "carol", "--tool", "claims__get_claim")
    assert "DENIED by stop " in ran.out
    assert "  tidegate resume " in ran.out


def test_of_a_server_that_was_never_seen_it_is_told_what_would_hold(place: Path) -> None:
    ran = explain(place, "--as", "a", "--role", "adjuster", "--server", "claims", "--tool", "get_claim")
    assert ran.status == 0, ran.err
    assert "ALLOWED by roles.adjuster allow[0]" in ran.out
    assert "its server has not told yet what it has" in ran.out
    assert not (place / ".tidegate").exists()


def test_the_id_of_a_call_is_explained_and_no_terminal_is_commanded(place: Path) -> None:
    with StateDirectory.open(place / ".tidegate") as directory:
        made = Journal.open(
            directory.journal,
            key=directory.key("journal"),
            writer=directory.instance,
            clock=lambda: 1_795_000_000,
        )
        fields = {
            "call": "boot-1", "method": "tools/call", "name": "claims__pay", "endpoint": "/mcp", "peer": "127.0.0.1",
            "message": "this is not allowed with these arguments", "rule": "p.cedar#gone",
            "target": {"server": "claims", "kind": "tool", "name": "pay"},
            "reads": {"context.arguments.amount": "60", "principal.limit": "100"}, "because": "less \x1b[2J\nnow: ALLOWED",
        }  # fmt: skip
        made.refused(
            "denied", Principal("default", "key", "al\x1b[31mice\nnow: x", frozenset({"adjuster"})), fields
        )
        made.close()
    ran = explain(place, "boot-1")
    assert ran.status == 0, ran.err
    assert "REFUSED as `denied` by p.cedar#gone: this is not allowed with these arguments" in ran.out
    assert "now it would be otherwise: ALLOWED by p.cedar#pay\n" in ran.out
    assert "\x1b" not in ran.out
    assert "\nnow: " not in ran.out
    told = explain(place, "boot-1", "--json").json()
    assert (told["id"], told["differs"], told["time"]) == ("boot-1", True, 1_795_000_000)
    missing = explain(place, "boot-2")
    assert missing.status == 1
    assert "the journal has no call boot-2" in missing.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "say what: one of --tool"),
        (("--as", "a"), "say what: one of --tool"),
        (("id-1", "--as", "a"), "say what: one of --tool"),
        (("--tool", "x"), "say who asks: --as or --key"),
        (("--as", "a", "--tool", "x", "[]"), "should be a JSON object"),
        (("--as", "a", "--tool", "x", "{"), "the arguments are not JSON"),
        (("--as", "a", "--tool", "x", "--attribute", "y"), "--attribute: should be key=value"),
    ],
)
def test_what_cannot_be_meant_is_told(place: Path, arguments: tuple[str, ...], said: str) -> None:
    ran = explain(place, *arguments)
    assert (ran.status, ran.out) == (2, "")
    assert said in ran.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--as", "a", "--tool", "x", "--prompt", "y"), "should have one of tool, prompt"),
        (("--as", "a", "--key", "b", "--tool", "x"), "should have one of subject and key"),
        (("--as", "a", "--tool", "x", "--endpoint", "/none"), "no endpoint '/none' (known: /mcp)"),
        (("--key", "aaaaaaaaaaaa", "--tool", "x"), "there is no such API key"),
    ],
)
def test_what_is_not_there_is_told(place: Path, arguments: tuple[str, ...], said: str) -> None:
    ran = explain(place, *arguments)
    assert (ran.status, ran.out) == (1, "")
    assert said in ran.err


def test_attributes_are_texts_unless_they_are_json(place: Path) -> None:
    given = ("region=eu", 'zone="5"', "limit=5000", "on=true", 'teams=["a"]', "of=a", "of=b", "x={}", "y=1.5")
    attributes = [word for each in given for word in ("--attribute", each)]
    told = explain(place, "--as", "a", *attributes, "--tool", "claims__pay", "--json").json()
    assert told["who"]["attributes"] == ["limit", "of", "on", "region", "teams", "x", "y", "zone"]
