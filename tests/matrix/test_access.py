"""Every principal, target, kind and era through the real path of a call: decisions that are wrong are counted, and are none."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.matrix.access import (
    ENDPOINT,
    MAY,
    PRINCIPALS,
    PROMPTS,
    RESOURCES,
    SERVERS,
    TEMPLATES,
    TOOLS,
    UNLISTED,
    May,
    engine,
    grants,
)
from tests.unit.access.engine import Engine
from tests.unit.fleet.setting import Setting, spec
from tests.unit.gateway.offering import UNPROBED, Offering
from tests.unit.gateway.setting import Client, GatewaySetting, Told
from tidegate.domain.server import Sharing
from tidegate.domain.target import Kind
from tidegate.ports.policy import Verdict
from tidegate.protocol import revisions
from tidegate.protocol.renaming import Renaming
from tidegate.protocol.tasks import EXTENSION as TASKS
from tidegate.testing.fake_runtime import Pipes
from tidegate.testing.loop_time import LoopTime
from tidegate.testing.scripted import until

Json = dict[str, Any]
ERAS = ("legacy", "modern")
OWN = "x.example/own"
ID = "io.modelcontextprotocol/subscriptionId"


class Everything(Offering):
    """A server that has something of every kind, answers whatever it is asked, and keeps what that was."""

    def __init__(self, name: str, *, modern: bool) -> None:
        capabilities: Json = {
            "tools": {}, "prompts": {}, "resources": {"subscribe": True}, "completions": {},
            "tasks": {"requests": {"tools": {"call": {}}}},
            "extensions": {TASKS: {}, **({OWN: {}} if name == "docs" else {})},
        }  # fmt: skip
        super().__init__(
            capabilities, modern=modern, tools=TOOLS[name], prompts=PROMPTS[name], resources=RESOURCES[name],
            resourceTemplates=TEMPLATES[name],
        )  # fmt: skip
        self.reached: list[tuple[str, str]] = []
        self._made = 0

    def _answer(self, pipes: Pipes, message: Json) -> None:
        if self.modern and message["method"] == "subscriptions/listen":
            told = {"_meta": {ID: message["id"]}, "notifications": message["params"]["notifications"]}
            told_of: Json = {
                "jsonrpc": "2.0",
                "method": "notifications/subscriptions/acknowledged",
                "params": told,
            }
            pipes.out(json.dumps(told_of).encode() + b"\n")
            return
        super()._answer(pipes, message)

    def _result(self, method: str, params: Json, workload: str) -> Json | None:
        if method.endswith("/list") or method in ("initialize", "server/discover", "ping"):
            return super()._result(method, params, workload)
        name = params.get("name") or params.get("uri") or params.get("ref", {}).get("name") or ""
        name = name or params.get("ref", {}).get("uri") or params.get("taskId") or ""
        self.reached.append((method, name))
        if method == "tools/call" and name == "job":
            self._made += 1
            told = {
                "taskId": f"job-{self._made}",
                "status": "working",
                "createdAt": "2026-01-01T00:00:00Z",
                "ttl": None,
            }
            if self.modern:
                return {"resultType": "task", **told}
            if "task" in params:
                return {"task": told}
        whole: Json = {"tools/call": {"content": []}, "prompts/get": {"messages": []}}.get(method, {})
        if method == "resources/read":
            whole = {"contents": [{"uri": name, "text": "read"}]}
        if method == "completion/complete":
            whole = {"completion": {"values": ["x"]}}
        if method == "tasks/get":
            whole = {"taskId": name, "status": "working", "createdAt": "2026-01-01T00:00:00Z", "ttl": None}
        return {"resultType": "complete", **whole} if self.modern else whole


@dataclass
class Count:
    """How many decisions were looked at, and which were wrong."""

    right: int = 0
    wrong: list[str] = field(default_factory=list[str])

    def see(self, is_right: bool, *what: object) -> None:
        """Look at one."""
        if is_right:
            self.right += 1
        else:
            self.wrong.append(" ".join(map(str, what)))


class Asker:
    """A client of one principal in one era."""

    def __init__(self, made: GatewaySetting, who: str, era: str, client: Client | None) -> None:
        self.made, self.who, self.era, self._client = made, who, era, client

    async def ask(self, method: str, **params: Any) -> Told:
        """Send a request."""
        if self._client is not None:
            return await self._client.ask(method, **params)
        capabilities = {"extensions": {TASKS: {}, OWN: {}}}
        return await self.made.modern(
            method, self.who, meta={revisions.META_CAPABILITIES: capabilities}, **params
        )

    async def listed(self, method: str, key: str, name: str) -> set[str]:
        """Give the names in a list."""
        return {each[name] for each in (await self.ask(method)).result[key]}


class Setup:
    """The gateway, its servers, and the policy that decides there."""

    def __init__(self, made: GatewaySetting, servers: dict[str, Everything], policy: Engine) -> None:
        self.made, self.servers, self.policy = made, servers, policy

    async def asker(self, who: str, era: str) -> Asker:
        """Have a client."""
        client = None
        if era == "legacy":
            client = await self.made.client(who, capabilities={"extensions": {OWN: {}}})
        return Asker(self.made, who, era, client)

    async def askers(self) -> AsyncIterator[tuple[Asker, May]]:
        """Have a client of each principal in each era."""
        for who, may in MAY.items():
            for era in ERAS:
                yield await self.asker(who, era), may

    def reached(self) -> int:
        """How many requests servers were sent."""
        return sum(len(each.reached) for each in self.servers.values())


@pytest.fixture(params=["legacy servers", "modern servers"])
async def setup(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Setup]:
    servers = {name: Everything(name, modern=request.param == "modern servers") for name in SERVERS}
    specs = [spec(name, sharing=Sharing.SHARED, health=UNPROBED) for name in SERVERS]
    policy = engine()
    fleet = Setting(specs, servers, LoopTime())  # type: ignore[arg-type]
    made = GatewaySetting(fleet, [ENDPOINT], tmp_path / "journal", "write", grants(policy))
    made.identity.principals = PRINCIPALS
    await made.begin()
    await until(lambda: all(made.endpoints["/mcp"].view.of(kind) for kind in (Kind.TOOL, Kind.TEMPLATE)))
    yield Setup(made, servers, policy)
    await made.close()
    made.check_journal()


def shown(name: str, server: str) -> str:
    """Give the name that clients know a tool or prompt by."""
    return f"{server}__{name}"


def uri(name: str, server: str) -> str:
    """Give the URI that clients know a resource by."""
    return Renaming(server, prefixed=True).uri_out(name)


def every(table: dict[str, tuple[str, ...]]) -> Iterator[tuple[str, str]]:
    """Give each server with each of its names."""
    for server, names in table.items():
        for name in names:
            yield server, name


def is_unknown(told: Told, error: Told) -> bool:
    """Tell whether a refusal says just what it says of a name that nothing has."""
    ours, theirs = told.message["error"], error.message["error"]
    return (
        ours["code"] == theirs["code"]
        and ours["data"].keys() == theirs["data"].keys()
        and told.answer.status == error.answer.status
    )


async def test_lists_show_each_principal_exactly_what_it_may_use(setup: Setup) -> None:
    count = Count()
    async for asker, may in setup.askers():
        for method, key, name, table, allowed, out in (
            ("tools/list", "tools", "name", TOOLS, may.tools, shown),
            ("prompts/list", "prompts", "name", PROMPTS, may.prompts, shown),
            ("resources/list", "resources", "uri", RESOURCES, may.resources, uri),
            ("resources/templates/list", "resourceTemplates", "uriTemplate", TEMPLATES, may.templates, uri),
        ):
            found = await asker.listed(method, key, name)
            for server, each in every(table):
                is_there = out(each, server) in found
                count.see(
                    is_there is (f"{server} {each}" in allowed), asker.who, asker.era, method, server, each
                )
            count.see(found <= {out(each, server) for server, each in every(table)}, asker.who, method, found)
    assert count.wrong == []
    assert count.right == 2 * len(MAY) * (8 + 3 + 4 + 2 + 4)


async def tried(
    setup: Setup, asker: Asker, count: Count, allowed: bool, unknown: Told, method: str, **params: Any
) -> None:
    """Try one request: it reaches its server, or looks as if there were no such thing."""
    before = setup.reached()
    told = await asker.ask(method, **params)
    if allowed:  # a client that takes no tasks learns that its call became one
        good = setup.reached() == before + 1 and told.answer.status in (200, 400)
    else:
        good = "error" in told.message and setup.reached() == before and is_unknown(told, unknown)
    count.see(good, asker.who, asker.era, method, params, told.message)


async def test_whatever_is_asked_for_reaches_its_server_where_it_may_and_looks_unknown_where_not(
    setup: Setup,
) -> None:
    count = Count()
    async for asker, may in setup.askers():
        nothing = await asker.ask("tools/call", name="claims__none", arguments={})
        for server, name in every(TOOLS):
            allowed = f"{server} {name}" in may.tools
            await tried(
                setup, asker, count, allowed, nothing, "tools/call",
                name=shown(name, server), arguments={"amount": 1} if name == "pay" else {},
            )  # fmt: skip
        nothing = await asker.ask("prompts/get", name="claims__none")
        unfinished = await asker.ask("completion/complete", **completion("ref/prompt", name="claims__none"))
        for server, name in every(PROMPTS):
            allowed = f"{server} {name}" in may.prompts
            named = shown(name, server)
            await tried(
                setup, asker, count, allowed, nothing, "prompts/get", name=named, arguments={"to": "me"}
            )
            ref = completion("ref/prompt", name=named)
            await tried(setup, asker, count, allowed, unfinished, "completion/complete", **ref)
        nothing = await asker.ask("resources/read", uri="none://none")
        for table, allowing in ((RESOURCES, may.resources), (UNLISTED, may.unlisted)):
            for server, name in every(table):
                allowed = f"{server} {name}" in allowing
                await tried(setup, asker, count, allowed, nothing, "resources/read", uri=uri(name, server))
        unfinished = await asker.ask("completion/complete", **completion("ref/resource", uri="none://{none}"))
        for server, name in every(TEMPLATES):
            allowed = f"{server} {name}" in may.templates
            ref = completion("ref/resource", uri=uri(name, server))
            await tried(setup, asker, count, allowed, unfinished, "completion/complete", **ref)
        nothing = await asker.ask("y.example/none")
        await tried(setup, asker, count, "docs" in may.extensions, nothing, "own/do", deep={"x": 1})
    assert count.wrong == []
    assert count.right == 2 * len(MAY) * (8 + 3 * 2 + 4 + 3 + 2 + 1)


def completion(kind: str, **ref: str) -> Json:
    """Give the parameters of a completion."""
    return {"ref": {"type": kind, **ref}, "argument": {"name": "to", "value": "m"}}


async def test_what_depends_on_arguments_is_decided_call_by_call(setup: Setup) -> None:
    count = Count()
    async for asker, may in setup.askers():
        for amount in (1, 100, 101, 1000, 1001):
            if "claims pay" not in may.tools:
                continue
            before = setup.reached()
            told = await asker.ask("tools/call", name="claims__pay", arguments={"amount": amount})
            reached = setup.reached() - before
            good = reached == 1 if amount <= may.pay else reached == 0 and told.error["code"] == -31003
            count.see(good, asker.who, asker.era, amount, told.message)
        if "claims letter" in may.prompts:
            for method, params in (
                ("prompts/get", {"name": "claims__letter", "arguments": {"to": "press"}}),
                ("completion/complete", {
                    "ref": {"type": "ref/prompt", "name": "claims__letter"}, "argument": {"name": "to", "value": "press"},
                }),
            ):  # fmt: skip
                before = setup.reached()
                told = await asker.ask(method, **params)
                count.see((setup.reached() > before) is may.press, asker.who, asker.era, method, told.message)
    assert count.wrong == []
    assert count.right == 2 * (4 * 5 + 3 * 2)


async def test_subscriptions_are_for_what_may_be_read(setup: Setup) -> None:
    count = Count()
    async for asker, may in setup.askers():
        honoured = await subscribed(setup, asker)
        for server, name in every(RESOURCES):
            allowed = f"{server} {name}" in may.resources
            count.see((uri(name, server) in honoured) is allowed, asker.who, asker.era, name, honoured)
    assert count.wrong == []
    assert count.right == 2 * len(MAY) * 4


async def subscribed(setup: Setup, asker: Asker) -> set[str]:
    """Ask for all resources, and give those that are told of."""
    wanted = [uri(name, server) for server, name in every(RESOURCES)]
    if asker.era == "legacy":
        return {
            each for each in wanted if "result" in (await asker.ask("resources/subscribe", uri=each)).message
        }
    heard: list[Json] = []
    params = {"notifications": {"resourceSubscriptions": wanted}}
    call = setup.made.call(
        {b"mcp-protocol-version": revisions.MODERN.encode(), b"mcp-method": b"subscriptions/listen"},
        {"jsonrpc": "2.0", "id": "listen", "method": "subscriptions/listen", "params": {
            **params, "_meta": {revisions.META_VERSION: revisions.MODERN, revisions.META_CAPABILITIES: {}},
        }},
        asker.who,
    )  # fmt: skip
    call.say = lambda message: heard.append(json.loads(message)) is None
    listening = asyncio.create_task(setup.made.pipeline.handle(call))
    await until(lambda: heard or listening.done())
    listening.cancel()
    await asyncio.wait([listening])
    return set(heard[0]["params"]["notifications"].get("resourceSubscriptions", ()))


async def test_a_task_is_for_whoever_made_it_and_while_its_tool_is(setup: Setup) -> None:
    count = Count()
    era = "modern" if setup.servers["claims"].modern else "legacy"
    task = {"task": {}} if era == "legacy" else {}
    owner = await setup.asker("adjuster", era)
    made = (await owner.ask("tools/call", name="claims__job", arguments={}, **task)).result
    handle = made["task"]["taskId"] if era == "legacy" else made["taskId"]
    nothing = await owner.ask("tasks/get", taskId="none")
    async for asker, _ in setup.askers():
        if asker.era == era:
            mine = asker.who == "adjuster"
            await tried(setup, asker, count, mine, nothing, "tasks/get", taskId=handle)
    setup.policy.change(lambda *_: Verdict(False, "test#closed"))
    await tried(setup, owner, count, False, nothing, "tasks/get", taskId=handle)
    assert count.wrong == []
    assert count.right == len(MAY) + 1


async def test_a_change_of_policy_is_in_force_with_the_next_call_and_list(setup: Setup) -> None:
    count = Count()
    askers = [asker async for asker, _ in setup.askers()]
    for asker in askers:
        await asker.ask("tools/list")
    setup.policy.change(lambda _, target: Verdict(target.name == "get", "test#only-get"))
    for asker in askers:
        found = await asker.listed("tools/list", "tools", "name")
        wanted = set[str]() if asker.who == "barred" else {"claims__get", "docs__get"}
        count.see(found == wanted, asker.who, asker.era, found)
        told = await asker.ask("tools/call", name="docs__search", arguments={})
        count.see(told.error["code"] == -32602, asker.who, asker.era, told.message)
    assert count.wrong == []


async def test_a_denial_is_explained_to_the_journal_alone(setup: Setup) -> None:
    asker = await setup.asker("abroad", "modern")
    hidden = await asker.ask("tools/call", name="claims__list", arguments={})
    judged = await asker.ask("tools/call", name="claims__pay", arguments={"amount": 101})
    for told, rule, name in ((hidden, "test#no", "list"), (judged, "test#no", "pay")):
        assert "test#" not in told.answer.body.decode()
        (record,) = [
            each for each in setup.made.records("refused") if each["data"]["call"] == told.error["data"]["id"]
        ]
        assert record["data"]["target"] == {"server": "claims", "kind": "tool", "name": name}
        assert record["data"]["rule"] == rule
        assert record["data"]["reads"] == {"principal.region": '"us"'}
    paid = await asker.ask("tools/call", name="claims__pay", arguments={"amount": 100})
    assert "result" in paid.message
    assert setup.made.records("call.intent")[-1]["reads"] == {"principal.region": '"eu"'}
