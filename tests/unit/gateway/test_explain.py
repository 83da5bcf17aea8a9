"""What is explained of a call is what becomes of it, and says which part decides and what would have allowed it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.access.engine import NOTHING, Engine
from tests.unit.fleet.setting import spec
from tests.unit.gateway.setting import OPEN, GatewaySetting
from tidegate.access.authorize import Grants
from tidegate.domain.endpoint import Effect, EndpointSpec, Names, Rule, Scope, Selection
from tidegate.domain.principal import Principal
from tidegate.domain.quota import Per, Quota
from tidegate.domain.role import Grant, Role
from tidegate.domain.stop import Stop, StopScope
from tidegate.domain.target import Kind, Target
from tidegate.domain.tenant import Tenant, Tenants
from tidegate.gateway.explain import Explainer, Explanation, Part, Question, Says
from tidegate.gateway.named import Named
from tidegate.ports.policy import Verdict

ANN = Principal("t", "test", "ann", frozenset({"user"}))
ECHO = Named("/mcp", Kind.TOOL, "one__echo")
LIMIT = Verdict(True, "p#limit", arguments=True)
READ = {"context.arguments.text": '"much"'}


async def explain(
    made: GatewaySetting, named: Named = ECHO, who: Principal = ANN, **more: Any
) -> Explanation:
    explainer = Explainer(made.endpoints, made.stops, made.quotas)
    return await explainer.explain(Question(who, named, **more))


async def agrees(made: GatewaySetting, told: Explanation, **arguments: Any) -> None:
    """See that a call comes to what was explained, and is recorded with the same rule."""
    got = (await made.tool("one__echo", "ann:user", **arguments)).message
    assert ("result" in got) == told.allowed, (got, told)
    if not told.allowed:
        assert got["error"]["data"]["reason"] == told.answer
        data = made.records("refused")[-1]["data"]
        if "rule" in data:
            assert data["rule"] == told.rule
            assert data["reads"] == {k: v for k, v in told.reads.items() if k in data["reads"]}


def at(*rules: Rule, scopes: tuple[Scope, ...] = ()) -> list[EndpointSpec]:
    return [EndpointSpec("/mcp", ("one",), rules=rules, scopes=scopes)]


def pays(engine: Engine | None = None) -> Engine:
    def says(_: Principal, target: Target) -> Verdict:
        return LIMIT if target.name == "echo" else NOTHING

    def judges(_who: Principal, _target: Target, arguments: object) -> Verdict:
        if arguments == {"text": "much"}:
            return Verdict(False, "p#large", reads=READ, because="not so much")
        return Verdict(True, "p#limit", reads={"context.arguments.text": '"x"'})

    return Engine(says, judges)


async def test_what_a_rule_allows_is_allowed_and_every_part_is_told_in_order(gateway: OPEN) -> None:
    made = await gateway()
    told = await explain(made, arguments={"text": "x"})
    assert (told.allowed, told.visible, told.rule, told.part) == (True, True, "/mcp rules[0]", Part.RULES)
    assert (told.answer, told.help, told.target) == ("", (), Target("one", Kind.TOOL, "echo"))
    assert [each.part for each in told.steps] == [Part.NAME, Part.RULES, Part.STOP, Part.SCOPE, Part.QUOTA]
    assert told.reads == {"principal.roles": '["user"]'}
    await agrees(made, told, text="x")


async def test_a_rule_that_denies_is_named_with_whom_it_is_about(gateway: OPEN) -> None:
    rules = (Rule(Effect.ALLOW), Rule(Effect.DENY, frozenset({"user"}), tools=("echo",)))
    made = await gateway(endpoints=at(*rules), wait=["one__count"])
    told = await explain(made)
    assert (told.allowed, told.visible, told.rule, told.part) == (False, False, "/mcp rules[1]", Part.RULES)
    assert told.help == ("not having the role user",)
    assert "whoever has the role user" in told.steps[1].why
    await agrees(made, told)


async def test_where_nothing_allows_it_the_roles_that_would_are_told_and_no_others(gateway: OPEN) -> None:
    echo = Selection(tools=("echo",))
    roles = (
        Role("adjuster", grants=(Grant(Effect.ALLOW, 0, (), echo),)),
        Role("lead", ("adjuster",), (Grant(Effect.ALLOW, 0, ("/mcp",), echo), Grant(Effect.DENY, 0))),
        Role("elsewhere", grants=(Grant(Effect.ALLOW, 0, ("/other",), echo),)),
        Role("counter", grants=(Grant(Effect.ALLOW, 0, (), Selection(tools=("count",))),)),
    )
    made = await gateway(endpoints=at(), grants=Grants(roles))
    told = await explain(made)
    assert (told.allowed, told.visible, told.rule) == (False, False, "no rule")
    assert told.help == ("the role adjuster (roles.adjuster allow[0])",), "a lead is denied everything"
    await agrees(made, told)
    allowed = await explain(made, who=replace(ANN, roles=frozenset({"adjuster"})))
    assert (allowed.allowed, allowed.rule) == (True, "roles.adjuster allow[0]")
    counter = await explain(made, Named("/mcp", Kind.TOOL, "one__count"))
    assert counter.help == ("the role counter (roles.counter allow[0])",)


async def test_what_is_another_tenants_is_told_so_and_what_a_tenant_grants_its_own_is_tried(
    gateway: OPEN,
) -> None:
    payer = Role("payer", grants=(Grant(Effect.ALLOW, 0, (), Selection(tools=("echo",))),))
    tenants = Tenants((Tenant("t", roles=(payer,)), Tenant("other", ("one",))))
    made = await gateway(endpoints=at(), grants=Grants(tenants=tenants))
    told = await explain(made)
    assert (told.allowed, told.visible, told.rule) == (False, False, "tenants.other")
    assert told.help == ("whoever asks would have to be of the tenant other",)
    await agrees(made, told)
    (spec,), endpoint = at(), made.endpoints["/mcp"]
    endpoint.become(spec, Grants(tenants=Tenants((Tenant("t", roles=(payer,)),))).at(spec), endpoint.view)
    told = await explain(made)
    assert told.help == ("the role payer (tenants.t.roles.payer allow[0])",)
    stranger = await explain(made, who=replace(ANN, tenant="else"))
    assert (stranger.rule, stranger.allowed) == ("tenants", False)


async def test_what_depends_on_arguments_is_said_so_without_and_judged_with_them(gateway: OPEN) -> None:
    made = await gateway(endpoints=at(), grants=Grants(policies=(pays(),)))
    open_ = await explain(made)
    assert (open_.allowed, open_.depends, open_.visible, open_.rule) == (False, True, True, "p#limit")
    assert open_.steps[-2].says is Says.DEPENDS
    denied = await explain(made, arguments={"text": "much"})
    assert (denied.allowed, denied.visible, denied.part) == (False, True, Part.ARGUMENTS)
    assert (denied.rule, denied.answer, denied.help) == ("p#large", "denied", ("not so much",))
    assert denied.reads["context.arguments.text"] == '"much"'
    await agrees(made, denied, text="much")
    allowed = await explain(made, arguments={"text": "x"})
    assert (allowed.allowed, allowed.rule) == (True, "p#limit")
    await agrees(made, allowed, text="x")


async def test_an_argument_that_could_be_read_as_another_is_explained_as_it_is_refused(gateway: OPEN) -> None:
    made = await gateway(endpoints=at(Rule(Effect.ALLOW)), grants=Grants(policies=(pays(),)))
    told = await explain(made, arguments={"text": "x", "TEXT": "much"})
    assert (told.allowed, told.part, told.answer) == (False, Part.ARGUMENTS, "invalid_params")
    assert "only by case" in told.steps[-2].why
    await agrees(made, told, text="x", TEXT="much")
    assert (await explain(made, arguments={"text": "x"})).allowed


async def test_what_no_policy_allows_with_these_arguments_says_what_would(gateway: OPEN) -> None:
    engine = Engine(lambda *_: LIMIT, lambda *_: Verdict(None, "no policy", because="p#limit: less than 5"))
    roles = (Role("payer", grants=(Grant(Effect.ALLOW, 0),)),)
    made = await gateway(endpoints=at(), grants=Grants(roles, (engine,)))
    told = await explain(made, arguments={})
    assert (told.part, told.rule) == (Part.ARGUMENTS, "no rule")
    assert told.help == ("the role payer (roles.payer allow[0])", "p#limit: less than 5")
    await agrees(made, told)


async def test_a_role_that_allows_only_with_other_arguments_is_told_so(gateway: OPEN) -> None:
    roles = (Role("adjuster", grants=(Grant(Effect.ALLOW, 0),)),)

    def says(who: Principal, _: Target) -> Verdict:
        return Verdict(None, "none", arguments="adjuster" in who.roles)

    engine = Engine(says, lambda *_: Verdict(False, "p#large", because="not so much"))
    made = await gateway(endpoints=at(), grants=Grants(roles, (engine,)))
    told = await explain(made, arguments={"text": "much"})
    assert told.help == ("the role adjuster (roles.adjuster allow[0]), with other arguments",)


async def test_an_engine_that_fails_denies_and_is_named(gateway: OPEN) -> None:
    engine = Engine(lambda *_: Verdict(True, "p#yes"))
    made = await gateway(grants=Grants(policies=(engine,)))
    engine.failing = OSError("gone")
    engine.change()
    told = await explain(made)
    assert (told.allowed, told.part, told.rule) == (False, Part.POLICY, "engine could not decide")
    assert "policy.failed" in told.help[0]
    await agrees(made, told)


async def test_a_stop_is_named_with_how_to_take_it_back(gateway: OPEN) -> None:
    made = await gateway()
    made.stops.turn([Stop("s1", StopScope.TOOL, "one__echo", "pays twice", "ops", 1.0)])
    told = await explain(made)
    assert (told.allowed, told.visible, told.part) == (False, True, Part.STOP)
    assert (told.rule, told.answer, told.help) == ("stop s1", "stopped", ("tidegate resume s1",))
    await agrees(made, told)
    made.stops.lose("the store is gone")
    assert (await explain(made)).answer == "state_unavailable"


async def test_who_stopped_it_is_told_within_a_tenant_only_where_that_was_its_own_administrator(
    gateway: OPEN,
) -> None:
    made = await gateway()
    explainer = Explainer(made.endpoints, made.stops, made.quotas)
    for tenant, within, told in (
        ("", True, False),
        ("t", True, True),
        ("", False, True),
        ("other", True, False),
    ):
        made.stops.turn([Stop("s1", StopScope.SERVER, "one", "leaks", "olga (api)", 1.0, tenant=tenant)])
        found = await explainer.explain(Question(ANN, ECHO), within=within)
        (step,) = (each for each in found.steps if each.part is Part.STOP)
        assert ("olga" in step.why, "leaks" in step.why) == (told, True)


async def test_a_scope_that_is_missing_is_named_and_who_has_no_token_is_not_held_to_it(gateway: OPEN) -> None:
    scopes = (Scope("claims:pay", Selection(tools=("echo",))),)
    made = await gateway(endpoints=at(Rule(Effect.ALLOW), scopes=scopes))
    told = await explain(made, scopes=frozenset({"claims:read"}))
    assert (told.allowed, told.visible, told.part) == (False, True, Part.SCOPE)
    assert (told.answer, told.help) == ("insufficient_scope", ("a token with the scope claims:pay",))
    made.identity.scopes = frozenset({"claims:read"})
    await agrees(made, told)
    assert (await explain(made, scopes=frozenset({"claims:pay"}))).allowed
    assert (await explain(made)).allowed


async def test_a_quota_that_is_used_says_when_to_come_again_and_explaining_uses_none(gateway: OPEN) -> None:
    made = await gateway()
    made.quotas.change([Quota("calls", (Per.PRINCIPAL,), calls=1, period="min", burst=1)])
    for _ in range(3):
        told = await explain(made)
        assert told.allowed
        assert told.steps[-1].rule == "calls"
    await agrees(made, told, text="x")
    used = await explain(made)
    assert (used.allowed, used.part, used.rule, used.answer) == (False, Part.QUOTA, "calls", "limit_exceeded")
    assert used.help == ("waiting 60 s",)


@pytest.mark.parametrize(
    ("named", "why"),
    [
        (Named("/mcp", Kind.TOOL, "one__ecco"), "the server one lists no such tool; did you mean echo?"),
        (Named("/mcp", Kind.TOOL, "two__echo"), "the endpoint /mcp does not have the server two"),
        (Named("/mcp", Kind.TOOL, "echoes"), "the endpoint /mcp has no such tool"),
        (Named("/mcp", Kind.TOOL, "ecco", "one"), "the server one lists no such tool; did you mean echo?"),
        (Named("/few", Kind.TOOL, "one__echo"), "the endpoint's `tools` leave it out"),
        (Named("/plain", Kind.TOOL, "one__echo"), "lists no such tool"),
    ],
)
async def test_a_name_that_is_none_says_why(gateway: OPEN, named: Named, why: str) -> None:
    few = EndpointSpec("/few", ("one",), tools=("one__count",))
    plain = replace(EndpointSpec("/plain", ("one",)), names=Names.PLAIN)
    made = await gateway(endpoints=[EndpointSpec("/mcp", ("one",)), few, plain])
    await made.listed("/few", "one__count")
    await made.listed("/plain", "echo")
    told = await explain(made, named)
    assert (told.allowed, told.visible, told.target, told.answer) == (False, False, None, "invalid_params")
    assert why in told.help[0]


async def test_a_name_of_another_endpoint_is_told(gateway: OPEN) -> None:
    ends = [EndpointSpec("/mcp", ("one", "two")), EndpointSpec("/few", ("one",))]
    made = await gateway(spec("one"), spec("two"), endpoints=ends)
    await made.listed("/few", "one__echo")
    told = await explain(made, Named("/few", Kind.TOOL, "two__echo"))
    assert told.help == ("the endpoint /few does not have the server two; /mcp has it",)


async def test_what_a_server_has_is_assumed_where_it_has_not_told_yet(gateway: OPEN) -> None:
    made = await gateway(begin=False, wait=["none"])
    told = await explain(made)
    assert told.allowed
    assert (told.steps[0].says, told.target) == (Says.NOTHING, Target("one", Kind.TOOL, "echo"))
    assert "not told yet" in told.steps[0].why


async def test_by_its_servers_own_name_the_same_is_told(gateway: OPEN) -> None:
    made = await gateway()
    told = await explain(made, Named("/mcp", Kind.TOOL, "echo", "one"))
    assert (told.allowed, told.shown, told.target) == (True, "one__echo", Target("one", Kind.TOOL, "echo"))


async def test_explaining_keeps_nothing_of_what_was_decided(gateway: OPEN) -> None:
    engine = Engine(lambda *_: Verdict(True, "p#yes"), reads=None)
    made = await gateway(grants=Grants(policies=(engine,)))
    engine.asked.clear()
    before = made.records()
    for number in range(5):
        await explain(made, who=replace(ANN, subject=f"s{number}"))
    assert len(engine.asked) == 5
    assert made.records() == before


async def test_what_is_read_is_judged_without_arguments_and_hidden_where_that_denies(gateway: OPEN) -> None:
    engine = Engine(lambda *_: LIMIT, lambda *_: Verdict(False, "p#eu", because="of one's own region"))
    made = await gateway(endpoints=at(), grants=Grants(policies=(engine,)), begin=False, wait=["none"])
    told = await explain(made, Named("/mcp", Kind.RESOURCE, "text://one", "one"))
    assert (told.allowed, told.visible, told.part) == (False, False, Part.POLICY)
    assert (told.rule, told.answer, told.help) == ("p#eu", "invalid_params", ("of one's own region",))
