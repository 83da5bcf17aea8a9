"""What administrators have explained, by the API and on the control socket, and what is recorded of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.access.engine import Engine
from tests.unit.edge.conftest import Listen
from tests.unit.edge.setting import EdgeSetting
from tests.unit.edge.test_admin import ask
from tidegate.access.authorize import Grants
from tidegate.domain.endpoint import Effect, EndpointSpec, Rule, Scope, Selection
from tidegate.domain.principal import Principal
from tidegate.domain.quota import Per, Quota
from tidegate.domain.role import Grant, Role
from tidegate.domain.stop import Stop, StopScope
from tidegate.domain.target import Target
from tidegate.extensions.identity.keys import KeyStore
from tidegate.ports.policy import Verdict

ANN = {"subject": "ann", "tenant": "t", "issuer": "test", "roles": ["user"]}
ECHO = {**ANN, "tool": "one__echo"}
LIMIT = Verdict(True, "p#limit", arguments=True)


class Limited(Engine):
    """A policy on an argument and an attribute; `most` may be changed."""

    def __init__(self) -> None:
        self.most = 10
        super().__init__(lambda *_: LIMIT, self.judging, reads=None)

    def judging(self, who: Principal, _: Target, arguments: object) -> Verdict:
        given = arguments.get("amount") if isinstance(arguments, dict) else None
        region = who.attributes.get("region")
        reads = {"context.arguments.amount": json.dumps(given), "principal.region": json.dumps(region)}
        if isinstance(given, int) and given <= self.most and region == "eu":
            return Verdict(True, "p#limit", reads=reads)
        return Verdict(False, "p#large", reads=reads, because=f"at most {self.most}")


@pytest.fixture
async def edge(listen: Listen) -> EdgeSetting:
    return await listen()


async def limited(listen: Listen) -> tuple[EdgeSetting, Limited]:
    engine = Limited()
    spec = EndpointSpec("/mcp", ("one",), rules=())
    edge = await listen(endpoints=[spec], grants=Grants(policies=(engine,)))
    ann = Principal("t", "test", "ann", frozenset({"user"}), attributes={"region": "eu", "salary": 5})
    edge.gateway.identity.principals = {"ann": ann}
    return edge, engine


def explains(edge: EdgeSetting) -> list[dict[str, Any]]:
    return [each["data"] for each in edge.gateway.records("admin") if each["data"]["event"] == "explain"]


async def test_a_call_is_explained_and_recorded_as_asked_for_but_not_as_a_call(edge: EdgeSetting) -> None:
    got = await ask(edge, "/explain", {**ECHO, "arguments": {"text": "a secret"}})
    assert got.status == 200, got.body
    assert (got.json["allowed"], got.json["rule"], got.json["answer"]) == (True, "/mcp rules[0]", "")
    assert (got.json["server"], got.json["own"], got.json["visible"]) == ("one", "echo", True)
    assert [each["part"] for each in got.json["steps"]] == ["name", "rules", "stop", "scope", "quota"]
    (told,) = explains(edge)
    assert (told["subject"], told["name"], told["endpoint"], told["via"]) == (
        "ann",
        "one__echo",
        "/mcp",
        "api",
    )
    assert not edge.gateway.records("call.intent")
    assert "a secret" not in json.dumps(edge.gateway.records())
    assert b"a secret" not in got.body


async def test_on_the_control_socket_the_same_is_told(edge: EdgeSetting) -> None:
    wire = await edge.control()
    body = json.dumps(ECHO).encode()
    head = b"POST /v1/explain HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
    await wire.send(head + body)
    assert (await wire.read()).json == (await ask(edge, "/explain", ECHO)).json
    assert [each["via"] for each in explains(edge)] == ["control", "api"]
    got = await wire.get("/v1/explain/nothing")
    assert got.status == 404
    assert "the journal has no call nothing" in got.json["error"]
    await wire.close()


async def test_whoever_has_api_keys_has_their_roles_unless_others_are_said(edge: EdgeSetting) -> None:
    keys = KeyStore(edge.gateway.fleet.state)
    record, _ = await keys.create(name="alice", roles=["user"])
    got = (await ask(edge, "/explain", {"subject": "alice", "tool": "one__echo"})).json
    assert (got["allowed"], got["who"]["roles"], got["who"]["issuer"]) == (True, ["user"], "key")
    assert got["notes"] == [f"roles are those of key {record.id}"]
    said = (await ask(edge, "/explain", {"subject": "alice", "roles": ["x"], "tool": "one__echo"})).json
    assert (said["allowed"], said["who"]["roles"]) == (False, ["x"])
    nobody = (await ask(edge, "/explain", {"subject": "bob", "tool": "one__echo"})).json
    assert not nobody["allowed"]
    assert "nothing is known here" in nobody["notes"][0]
    other, _ = await keys.create(name="alice", roles=["auditor"])
    got = await ask(edge, "/explain", {"subject": "alice", "tool": "one__echo"})
    assert (got.status, got.json["reason"]) == (409, "ambiguous_principal")
    by_key = (await ask(edge, "/explain", {"key": other.id, "tool": "one__echo"})).json
    assert (by_key["allowed"], by_key["who"]["subject"]) == (False, "alice")
    await keys.revoke(record.id)
    gone = (await ask(edge, "/explain", {"key": record.id, "tool": "one__echo"})).json
    assert "was revoked or has expired" in gone["notes"][1]


async def test_whoever_asked_a_moment_ago_is_explained_with_what_was_vouched_for(listen: Listen) -> None:
    edge, _ = await limited(listen)
    asked = {"subject": "ann", "tenant": "t", "tool": "one__echo", "arguments": {"amount": 5}}
    assert not (await ask(edge, "/explain", asked)).json["allowed"], "nobody has asked yet"
    await edge.gateway.tool("one__echo", amount=5)
    got = (await ask(edge, "/explain", asked)).json
    assert (got["allowed"], got["rule"], got["who"]["issuer"]) == (True, "p#limit", "test")
    assert got["who"]["attributes"] == ["region", "salary"]
    assert "salary" not in json.dumps(got["reads"])
    assert got["notes"] == ["roles are those of the credentials that test vouched for last"]
    edge.gateway.identity.revoke("ann")
    assert not (await ask(edge, "/explain", asked)).json["allowed"], "what it was vouched for holds no more"


async def test_the_scopes_of_its_token_are_those_that_it_was_seen_with(listen: Listen) -> None:
    scope = Scope("claims:pay", Selection(tools=("echo",)))
    spec = EndpointSpec("/mcp", ("one",), rules=(Rule(Effect.ALLOW),), scopes=(scope,))
    edge = await listen(endpoints=[spec])
    edge.gateway.identity.scopes = frozenset({"claims:read"})
    await edge.gateway.tool("one__echo", "bob:user")
    asked = {"subject": "bob", "tenant": "t", "tool": "one__echo"}
    assert (await ask(edge, "/explain", asked)).json["answer"] == "insufficient_scope"
    assert (await ask(edge, "/explain", {**asked, "scopes": ["claims:pay"]})).json["allowed"]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({**ECHO, "endpoint": "/none"}, 404, "no endpoint '/none' (known: /mcp)"),
        ({"key": "aaaaaaaaaaaa", "tool": "x"}, 404, "there is no such API key"),
        ({"tool": "x"}, 422, "should have one of subject and key"),
        ({"subject": "a"}, 422, "should have one of tool, prompt, resource and template"),
        ({"subject": "a", "tool": "x", "prompt": "y"}, 422, "should have one of tool"),
        ({"key": "a", "roles": ["x"], "tool": "y"}, 422, "a key says itself who asks"),
        ({"subject": "a", "tool": "x", "attributes": {"a": 1.5}}, 422, "attributes"),
        ({"subject": "a", "tool": "x", "arguments": []}, 422, "arguments"),
        ({"subject": "a", "tool": "x", "more": 1}, 422, "more"),
    ],
)
async def test_what_cannot_be_meant_is_refused(
    edge: EdgeSetting, body: object, status: int, said: str
) -> None:
    got = await ask(edge, "/explain", body)
    assert got.status == status
    assert said in got.json["detail"]
    assert not explains(edge)


async def test_only_administrators_have_things_explained(edge: EdgeSetting) -> None:
    for who, status in (("ann:user", 403), (None, 401)):
        assert (await ask(edge, "/explain", ECHO, who)).status == status
        assert (await ask(edge, "/explain/call-1", who=who)).status == status
    assert not explains(edge)


async def test_what_cannot_be_recorded_is_not_explained(edge: EdgeSetting) -> None:
    edge.gateway.journal.close()
    assert (await ask(edge, "/explain", ECHO)).status == 503
    assert (await ask(edge, "/explain/call-1")).status == 503


async def test_a_denied_call_is_explained_by_the_id_of_its_error_with_what_was_read_and_today(
    listen: Listen,
) -> None:
    edge, engine = await limited(listen)
    denied = await edge.gateway.tool("one__echo", amount=60, text="private")
    call = denied.error["data"]["id"]
    got = await ask(edge, f"/explain/{call}")
    assert got.status == 200, got.body
    told = got.json
    assert (told["allowed"], told["reason"], told["rule"]) == (False, "denied", "p#large")
    assert told["reads"] == {"context.arguments.amount": "60", "principal.region": '"eu"'}
    assert (told["because"], told["method"], told["name"]) == ("at most 10", "tools/call", "one__echo")
    assert (told["who"]["subject"], told["who"]["attributes"]) == ("ann", ["region"])
    assert (told["differs"], told["notes"]) == (False, [])
    assert (told["now"]["rule"], told["now"]["help"]) == ("p#large", ["at most 10"])
    assert b"private" not in got.body
    engine.most = 100
    engine.change()
    later = (await ask(edge, f"/explain/{call}")).json
    assert (later["allowed"], later["now"]["allowed"], later["differs"]) == (False, True, True)
    assert [each["id"] for each in explains(edge)] == [call, call]


async def test_a_call_that_was_allowed_is_explained_with_what_came_of_it_and_today(listen: Listen) -> None:
    edge, engine = await limited(listen)
    assert (await edge.gateway.tool("one__echo", amount=6, text="x")).text == "x"
    call = edge.gateway.records("call.intent")[-1]["call"]
    told = (await ask(edge, f"/explain/{call}")).json
    assert (told["allowed"], told["rule"], told["outcome"], told["reason"]) == (True, "p#limit", "ok", "")
    assert (told["now"]["allowed"], told["differs"]) == (True, False)
    engine.most = 5
    engine.change()
    told = (await ask(edge, f"/explain/{call}")).json
    assert (told["now"]["allowed"], told["differs"], told["now"]["help"]) == (False, True, ["at most 5"])


async def test_what_was_not_read_then_is_said_to_be_missing_today(listen: Listen) -> None:
    spec = EndpointSpec("/mcp", ("one",), rules=(Rule(Effect.ALLOW),))
    engine = Engine()
    edge = await listen(endpoints=[spec], grants=Grants(policies=(engine,)))
    await edge.gateway.tool("one__echo", text="x")
    call = edge.gateway.records("call.intent")[-1]["call"]
    reads = {"principal.region": "null"}
    engine.change(lambda *_: Verdict(False, "p#eu", reads=reads, because="in the eu"))
    told = (await ask(edge, f"/explain/{call}")).json
    assert told["differs"]
    assert "what was not kept then" in told["notes"][0]
    assert told["notes"][0].endswith(": principal.region")
    engine.change(lambda *_: LIMIT)
    told = (await ask(edge, f"/explain/{call}")).json
    assert (told["now"]["depends"], told["differs"]) == (True, False)
    assert "the arguments were not read then" in told["notes"][0]


async def test_what_was_hidden_is_explained_though_the_client_was_told_that_it_is_unknown(
    listen: Listen,
) -> None:
    roles = (Role("adjuster", grants=(Grant(Effect.ALLOW, 0, (), Selection(tools=("echo",))),)),)
    spec = EndpointSpec("/mcp", ("one",), rules=())
    edge = await listen(endpoints=[spec], grants=Grants(roles))
    hidden = (await edge.gateway.tool("one__echo")).error
    assert hidden["data"]["reason"] == "invalid_params"
    told = (await ask(edge, f"/explain/{hidden['data']['id']}")).json
    assert (told["rule"], told["server"], told["own"], told["kind"]) == ("no rule", "one", "echo", "tool")
    assert (told["now"]["visible"], told["differs"]) == (False, False)
    assert told["now"]["help"] == ["the role adjuster (roles.adjuster allow[0])"]
    unknown = (await edge.gateway.tool("one__ecco")).error
    told = (await ask(edge, f"/explain/{unknown['data']['id']}")).json
    assert (told["server"], told["now"]["part"]) == ("", "name")
    assert "did you mean echo?" in told["now"]["help"][0]


async def test_stops_scopes_and_quotas_are_recalled_too(listen: Listen) -> None:
    scope = Scope("claims:pay", Selection(tools=("echo",)))
    spec = EndpointSpec("/mcp", ("one",), rules=(Rule(Effect.ALLOW),), scopes=(scope,))
    edge = await listen(endpoints=[spec])
    made = edge.gateway
    made.stops.turn([Stop("s1", StopScope.TOOL, "one__echo", "pays twice", "ops", 1.0)])
    stopped = (await made.tool("one__echo")).error["data"]["id"]
    made.stops.turn([])
    made.identity.scopes = frozenset({"claims:read"})
    scoped = (await made.tool("one__echo", "bob:user")).error["data"]["id"]
    made.identity.scopes = None
    made.quotas.change([Quota("calls", (Per.PRINCIPAL,), calls=1, period="min", burst=1)])
    await made.tool("one__echo", "cy:user", text="x")
    used = (await made.tool("one__echo", "cy:user", text="x")).error["data"]["id"]
    told = (await ask(edge, f"/explain/{stopped}")).json
    assert (told["rule"], told["reason"], told["differs"]) == ("stop s1", "stopped", True)
    told = (await ask(edge, f"/explain/{scoped}")).json
    assert (told["reason"], told["now"]["part"], told["differs"]) == ("insufficient_scope", "scope", False)
    assert "which scopes the token had is not kept" in told["notes"][0]
    told = (await ask(edge, f"/explain/{used}")).json
    assert (told["rule"], told["reason"], told["now"]["part"]) == ("calls", "limit_exceeded", "quota")


async def test_what_was_refused_for_another_reason_is_told_so(edge: EdgeSetting) -> None:
    edge.gateway.pipeline.draining = True
    call = (await edge.gateway.tool("one__echo")).error["data"]["id"]
    edge.gateway.pipeline.draining = False
    told = (await ask(edge, f"/explain/{call}")).json
    assert (told["reason"], told["differs"]) == ("draining", False)
    assert told["notes"] == ["it was not refused for want of a right, but as draining"]


async def test_a_stranger_and_what_names_nothing_are_recalled_without_a_question(edge: EdgeSetting) -> None:
    stranger = (await edge.gateway.tool("one__echo", None)).error["data"]["id"]
    told = (await ask(edge, f"/explain/{stranger}")).json
    assert (told["who"], told["now"], told["reason"]) == (None, None, "unauthenticated")
    assert told["peer"] == "192.0.2.1"
    assert "too little is kept" in told["notes"][0]
    listed = await edge.gateway.modern("tools/list")
    call = edge.gateway.records("request")[-1]["data"]["call"]
    assert listed.result
    told = (await ask(edge, f"/explain/{call}")).json
    assert (told["allowed"], told["method"], told["now"]) == (True, "tools/list", None)


@pytest.mark.parametrize("call", ["none-1", "..%2Fx", "a%0Ab"])
async def test_an_id_that_is_none_is_told(edge: EdgeSetting, call: str) -> None:
    got = await ask(edge, f"/explain/{call}")
    assert got.status == 404
