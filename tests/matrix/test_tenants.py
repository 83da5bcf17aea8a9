"""Every tenant, kind and era through the real path of a call: wrong decisions are counted, and are none, and no byte of one
tenant's servers is in anything that another is sent.

What is whose is a table that is written by hand. Every word that is a server's own holds its `MARK`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.matrix.test_access import OWN, Asker, Count, Everything, completion, is_unknown, shown, uri
from tests.unit.access.engine import Engine
from tests.unit.fleet.setting import Setting, spec
from tests.unit.gateway.offering import UNPROBED, Offering
from tests.unit.gateway.setting import Client, GatewaySetting, Told
from tidegate.access.authorize import Grants
from tidegate.domain.endpoint import Effect, EndpointSpec, Rule, Selection
from tidegate.domain.principal import Principal
from tidegate.domain.role import Grant, Role
from tidegate.domain.server import Sharing
from tidegate.domain.target import Kind
from tidegate.domain.tenant import Tenant, Tenants
from tidegate.ports.policy import Verdict
from tidegate.protocol.tasks import EXTENSION as TASKS
from tidegate.testing.loop_time import LoopTime
from tidegate.testing.scripted import until

Json = dict[str, Any]
SERVERS = ("seaclaims", "motorcars", "tidetables")
MARK = {"seaclaims": "qa7marine77", "motorcars": "zb8motor88", "tidetables": "wc9common99"}
TENANTS = Tenants(
    (
        Tenant("marine", ("seaclaims",), roles=(Role("mate", ("user",)),)),
        Tenant(
            "motor",
            ("motorcars",),
            ("/motor",),
            (Role("mate", (), (Grant(Effect.ALLOW, 0, (), Selection()),)),),
        ),
    )
)
SEES: Mapping[str, frozenset[str]] = {
    "marine user": frozenset({"seaclaims", "tidetables"}),
    "marine admin": frozenset({"seaclaims", "tidetables"}),
    "marine mate": frozenset({"seaclaims", "tidetables"}),
    "motor user": frozenset({"motorcars", "tidetables"}),
    "motor mate": frozenset({"motorcars", "tidetables"}),
    "default user": frozenset({"tidetables"}),
    "default admin": frozenset({"tidetables"}),
    "default mate": frozenset(),
    "elsewhere admin": frozenset(),
}
"""The servers that each principal may have everything of, at `/mcp`; of the others it may have nothing."""
SEES_THERE = {
    who: frozenset({"motorcars", "tidetables"}) if who.startswith("motor") else frozenset[str]()
    for who in SEES
}
"""The same at `/motor`, which is motor's own."""
PATHS = {"/mcp": SEES, "/motor": SEES_THERE}
ALIKE = "https://example.com/alike"
"""What every server has, and shows as it is."""
ERAS = ("legacy", "modern")


class Marked(Everything):
    """A server whose every word is marked as its own."""

    def __init__(self, name: str, *, modern: bool) -> None:
        mark = MARK[name]
        capabilities: Json = {
            "tools": {}, "prompts": {}, "resources": {"subscribe": True}, "completions": {},
            "tasks": {"requests": {"tools": {"call": {}}}}, "extensions": {TASKS: {}, OWN: {}, f"x.example/{mark}": {}},
        }  # fmt: skip
        Offering.__init__(
            self, capabilities, modern=modern, tools=(f"get-{mark}", "job"), prompts=(f"summary-{mark}",),
            resources=(f"doc://{mark}/open", ALIKE), resourceTemplates=(f"doc://{mark}/by/{{number}}", "any://{rest}"),
        )  # fmt: skip
        self.reached = []
        self._made = 0

    def _result(self, method: str, params: Json, workload: str) -> Json | None:
        found = super()._result(method, params, workload)
        if found is not None and method in ("initialize", "server/discover"):
            found["instructions"] = f"use {self.lists['tools'][0]}"
        return found


class Setup:
    """The gateway and its servers. What each principal is sent is kept."""

    def __init__(self, made: GatewaySetting, servers: dict[str, Marked]) -> None:
        self.made, self.servers = made, servers
        self.count = Count()

    def reached(self) -> dict[str, int]:
        """How many requests each server was sent."""
        return {name: len(each.reached) for name, each in self.servers.items()}

    async def askers(self) -> AsyncIterator[tuple[Watched, frozenset[str]]]:
        """Have a client of each principal in each era at each endpoint, with what it may see there."""
        for path, table in PATHS.items():
            for who, sees in table.items():
                for era in ERAS:
                    yield await Watched.opened(self, who, era, path, sees), sees


class Watched(Asker):
    """A client at whose every answer it is looked whether anything of others is in it."""

    def __init__(self, setup: Setup, who: str, era: str, path: str, hidden: list[str]) -> None:
        super().__init__(setup.made, who, era, None)
        self.setup, self.path, self.hidden = setup, path, hidden
        self.legacy: Client | None = None

    @classmethod
    async def opened(cls, setup: Setup, who: str, era: str, path: str, sees: frozenset[str]) -> Watched:
        """Open one; in a legacy era it begins a session."""
        hidden = [word for name in SERVERS if name not in sees for word in (name, MARK[name])]
        made = cls(setup, who, era, path, hidden)
        if era == "legacy":
            client = Client(setup.made, who, path, "")
            told = made.look(
                await client.ask(
                    "initialize", protocolVersion="2025-11-25", capabilities={"extensions": {OWN: {}}}
                ),
                "initialize",
            )
            (session,) = [value.decode() for name, value in told.answer.headers if name == b"mcp-session-id"]
            made.legacy = Client(setup.made, who, path, session)
        return made

    async def ask(self, method: str, **params: Any) -> Told:
        """Send a request, and look at all that comes of it."""
        if self.legacy is not None:
            return self.look(await self.legacy.ask(method, **params), method, params)
        meta: Json = {"io.modelcontextprotocol/clientCapabilities": {"extensions": {TASKS: {}, OWN: {}}}}
        return self.look(
            await self.made.modern(method, self.who, self.path, meta=meta, **params), method, params
        )

    def look(self, told: Told, *what: Any) -> Told:
        """See that nothing of others is in what was sent, beside what was asked for in so many words."""
        sent = told.answer.body + repr((told.answer.headers, told.notified)).encode()
        given = json.dumps(what)
        found = [word for word in self.hidden if word not in given and word.encode() in sent]
        self.setup.count.see(not found, self.who, self.era, self.path, what, found)
        return told


@pytest.fixture(params=["rules", "a policy that allows everything, and modern servers"])
async def setup(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Setup]:
    rules = request.param == "rules"
    servers = {name: Marked(name, modern=not rules) for name in SERVERS}
    specs = [spec(name, sharing=Sharing.SHARED, health=UNPROBED) for name in SERVERS]
    allowing = (Rule(Effect.ALLOW, frozenset({"user", "admin"})),)
    everything = Engine(lambda who, _: Verdict(who.roles != frozenset({"mate"}) or None, "test#all"))
    endpoints = [
        EndpointSpec("/mcp", SERVERS, rules=allowing if rules else ()),
        EndpointSpec("/motor", SERVERS, rules=allowing if rules else ()),
    ]
    grants = Grants((), () if rules else (everything,), TENANTS)
    fleet = Setting(specs, servers, LoopTime())  # type: ignore[arg-type]
    made = GatewaySetting(fleet, endpoints, tmp_path / "journal", "write", grants)
    made.identity.principals = {
        who: Principal(who.split()[0], "test", who, frozenset({who.split()[1]})) for who in SEES
    }
    await made.begin()
    for endpoint in made.endpoints.values():
        await until(lambda endpoint=endpoint: len(endpoint.view.of(Kind.TEMPLATE)) >= len(SERVERS))
    setup = Setup(made, servers)
    yield setup
    await made.close()
    made.check_journal()
    assert setup.count.wrong == []


def of(sees: frozenset[str], *names: str) -> set[str]:
    """Give the names that are shown of the servers that somebody sees, each with its mark."""
    return {shown(name.replace("MARK", MARK[server]), server) for server in sees for name in names}


async def test_lists_capabilities_and_instructions_are_of_what_is_ones_own_or_everybodys(
    setup: Setup,
) -> None:
    async for asker, sees in setup.askers():
        for method, key, wanted in (
            ("tools/list", "tools", of(sees, "get-MARK", "job")),
            ("prompts/list", "prompts", of(sees, "summary-MARK")),
        ):
            found = await asker.listed(method, key, "name")
            setup.count.see(found == wanted, asker.who, asker.era, asker.path, method, found)
        found = await asker.listed("resources/list", "resources", "uri") - {ALIKE}
        setup.count.see(found == {uri(f"doc://{MARK[each]}/open", each) for each in sees}, asker.who, found)
        found = await asker.listed("resources/templates/list", "resourceTemplates", "uriTemplate")
        wanted = {uri(f"doc://{MARK[each]}/by/{{number}}", each) for each in sees}
        setup.count.see(wanted == {each for each in found if each.startswith("doc")}, asker.who, found)
        if asker.legacy is None:
            told = (await asker.ask("server/discover")).result
            setup.count.see(bool(told.get("instructions")) is bool(sees), asker.who, told)
            setup.count.see(("tools" in told["capabilities"]) is bool(sees), asker.who, told)
    assert setup.count.right > 2 * 2 * len(SEES) * 8


def asked(server: str) -> Iterator[tuple[str, Json, str, Json]]:
    """Give what can be asked of a server, each with what names nothing that there is."""
    mark = MARK[server]
    get, summary = shown(f"get-{mark}", server), shown(f"summary-{mark}", server)
    none = shown("none", server)
    yield "tools/call", {"name": get, "arguments": {}}, "tools/call", {"name": none, "arguments": {}}
    yield "prompts/get", {"name": summary}, "prompts/get", {"name": none}
    for resource in (f"doc://{mark}/open", f"doc://{mark}/by/1", f"doc://{mark}/unheard-of"):
        yield "resources/read", {"uri": uri(resource, server)}, "resources/read", {"uri": "none://none"}
    yield (
        "completion/complete", completion("ref/prompt", name=summary),
        "completion/complete", completion("ref/prompt", name=none),
    )  # fmt: skip
    template = uri(f"doc://{mark}/by/{{number}}", server)
    yield (
        "completion/complete", completion("ref/resource", uri=template),
        "completion/complete", completion("ref/resource", uri="none://{none}"),
    )  # fmt: skip


async def test_what_is_another_tenants_is_answered_as_what_nobody_has(setup: Setup) -> None:
    async for asker, sees in setup.askers():
        for server in SERVERS:
            for method, params, other, nothing in asked(server):
                before = setup.reached()
                told = await asker.ask(method, **params)
                reached = {name for name, count in setup.reached().items() if count > before[name]}
                if server in sees:
                    good = reached == {server} and "result" in told.message
                else:
                    before = setup.reached()
                    unknown = await asker.ask(other, **nothing)
                    there = {name for name, count in setup.reached().items() if count > before[name]}
                    # Where one server only is seen, it is the one to ask for whatever URI nobody knows.
                    by_uri = "uri" in params or "uri" in params.get("ref", {})
                    good = reached == there <= sees and len(there) == (len(sees) == 1 and by_uri)
                    good = good and (("result" in told.message) if there else is_unknown(told, unknown))
                setup.count.see(good, asker.who, asker.era, asker.path, method, params, told.message)
    looked_at = 2 * 2 * len(SEES) * len(SERVERS) * 7
    assert setup.count.right > looked_at


async def test_a_uri_or_a_method_that_several_have_is_of_the_one_that_the_tenant_sees(setup: Setup) -> None:
    async for asker, sees in setup.askers():
        for resource in ("any://whatever", ALIKE):
            before = setup.reached()
            told = await asker.ask("resources/read", uri=resource)
            reached = {name for name, count in setup.reached().items() if count > before[name]}
            good = len(reached) == 1 and reached <= sees if sees else "error" in told.message and not reached
            setup.count.see(good, asker.who, asker.era, asker.path, resource, reached, told.message)
        before = setup.reached()
        told = await asker.ask("own/do", deep=1)
        reached = {name for name, count in setup.reached().items() if count > before[name]}
        good = reached == set(sees) if len(sees) == 1 else not reached and "error" in told.message
        setup.count.see(good, asker.who, asker.era, asker.path, "own/do", reached, told.message)
    assert setup.count.right >= 2 * 2 * len(SEES) * 3 * 2


async def test_subscriptions_and_tasks_are_for_those_who_see_the_server(setup: Setup) -> None:
    modern = setup.servers["motorcars"].modern
    era = "modern" if modern else "legacy"
    owner = await Watched.opened(setup, "motor user", era, "/mcp", SEES["motor user"])
    more: Json = {} if modern else {"task": {}}
    told = (await owner.ask("tools/call", name="motorcars__job", arguments={}, **more)).result
    handle = told["taskId"] if modern else told["task"]["taskId"]
    nothing = await owner.ask("tasks/get", taskId="none")
    async for asker, sees in setup.askers():
        if asker.era == "legacy":
            for server in SERVERS:
                got = await asker.ask("resources/subscribe", uri=uri(f"doc://{MARK[server]}/open", server))
                known = server in sees or len(sees) == 1  # whose only server is asked for every URI
                setup.count.see(("result" in got.message) is known, asker.who, server, got.message)
        if asker.era == era:
            got = await asker.ask("tasks/get", taskId=handle)
            mine = asker.who == "motor user" and asker.path == "/mcp"
            good = "result" in got.message if mine else is_unknown(got, nothing)
            setup.count.see(good, asker.who, asker.path, got.message)


async def test_the_journal_knows_whose_every_record_is_and_by_what_it_was_denied(setup: Setup) -> None:
    ann = await Watched.opened(setup, "marine user", "modern", "/mcp", SEES["marine user"])
    await ann.ask("tools/call", name="seaclaims__get-qa7marine77", arguments={})
    denied = await ann.ask("tools/call", name="motorcars__get-zb8motor88", arguments={})
    (record,) = setup.made.records("refused")
    assert record["data"]["call"] == denied.error["data"]["id"]
    assert (record["tenant"], record["data"]["rule"]) == ("marine", "tenants.motor")
    assert record["data"]["because"] == "whoever asks would have to be of the tenant motor"
    told = {each["kind"]: each["tenant"] for each in setup.made.records() if each["kind"] != "segment"}
    of_calls = {
        kind: tenant for kind, tenant in told.items() if kind in ("call.intent", "call.outcome", "refused")
    }
    assert set(of_calls.values()) == {"marine"}
    assert len(of_calls) == 3
