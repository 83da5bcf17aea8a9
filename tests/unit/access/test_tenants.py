"""Tenants: what is another's is denied before anything else is looked at, and own roles count within only."""

from __future__ import annotations

from tests.unit.access.engine import Engine
from tidegate.access.authorize import Authorizer, Grants
from tidegate.domain.endpoint import Effect, EndpointSpec, Rule, Selection
from tidegate.domain.principal import Principal
from tidegate.domain.role import Grant, Role
from tidegate.domain.target import Kind, Target
from tidegate.domain.tenant import Tenant, Tenants
from tidegate.ports.policy import Verdict

ALL = ("claims", "cars", "tides")
TENANTS = Tenants(
    (
        Tenant("marine", ("claims",), roles=(Role("captain", ("user",), (
            Grant(Effect.ALLOW, 0, (), Selection(servers=("*",), tools=("pay",))),
        )),)),
        Tenant("motor", ("cars",), ("/motor",)),
    )
)  # fmt: skip
ANYTHING = (Rule(Effect.ALLOW),)


def who(tenant: str, *roles: str) -> Principal:
    return Principal(tenant, "test", "alice", frozenset(roles))


def tool(server: str, name: str = "get") -> Target:
    return Target(server, Kind.TOOL, name)


def at(path: str = "/mcp", rules: tuple[Rule, ...] = ANYTHING, tenants: Tenants = TENANTS) -> Authorizer:
    return Grants(tenants=tenants).at(EndpointSpec(path, ALL, rules=rules))


def test_what_is_another_tenants_is_denied_whatever_allows_it() -> None:
    made = at()
    for tenant, own, others in (("marine", "claims", "cars"), ("motor", "cars", "claims")):
        alice = who(tenant, "admin")
        assert made.decide(alice, tool(own)).allowed
        assert made.decide(alice, tool("tides")).allowed, "what is nobody's is everybody's"
        denied = made.decide(alice, tool(others))
        assert (denied.allowed, denied.rule) == (False, f"tenants.{TENANTS.of_server(others)}")
        assert not made.may_reach(alice, others)
        assert not made.decide(alice, Target(others, Kind.EXTENSION, "x/y")).allowed
        assert made.hidden(alice) == {others}


def test_the_home_tenant_sees_what_is_nobodys_or_its_own() -> None:
    made = at()
    assert [made.decide(who("default"), tool(each)).allowed for each in ALL] == [False, False, True]
    owning = at(tenants=Tenants((*TENANTS, Tenant("default", ("tides",)))))
    assert owning.decide(who("default"), tool("tides")).allowed
    assert owning.decide(who("marine"), tool("tides")).rule == "tenants.default"


def test_a_tenant_that_is_not_declared_has_nothing() -> None:
    made = at()
    denied = made.decide(who("elsewhere", "user", "admin"), tool("tides"))
    assert (denied.allowed, denied.rule) == (False, "tenants")
    assert not made.may_reach(who("elsewhere"), "tides")
    assert made.hidden(who("elsewhere")) == set(ALL)


def test_where_no_tenant_is_declared_any_will_do() -> None:
    made = at(tenants=Tenants())
    assert made.decide(who("elsewhere"), tool("cars")).allowed
    assert made.hidden(who("elsewhere")) == frozenset()
    assert made.same_for_all
    assert not at().same_for_all


def test_an_endpoint_of_a_tenants_own_is_empty_to_others() -> None:
    made = at("/motor")
    assert made.decide(who("motor"), tool("tides")).allowed
    assert made.decide(who("marine"), tool("tides")).rule == "tenants.motor"
    assert made.hidden(who("marine")) == set(ALL)
    assert not made.may_reach(who("marine"), "tides")


def test_own_roles_count_within_their_tenant_only() -> None:
    made = at(rules=())
    granted = made.decide(who("marine", "captain"), tool("claims", "pay"))
    assert (granted.allowed, granted.rule) == (True, "tenants.marine.roles.captain allow[0]")
    assert made.decide(who("marine", "captain"), tool("tides", "pay")).allowed
    assert made.decide(who("marine", "captain"), tool("cars", "pay")).rule == "tenants.motor"
    assert not made.decide(who("motor", "captain"), tool("tides", "pay")).allowed
    assert not made.decide(who("default", "captain"), tool("tides", "pay")).allowed
    assert made.rules.roles_of(who("marine", "captain")) == {"captain", "user"}
    assert made.rules.roles_of(who("motor", "captain")) == {"captain"}
    assert made.rules.grants_on(tool("tides", "pay"), "motor") == ()
    assert dict(made.rules.grants_on(tool("tides", "pay"), "marine")).keys() == {"captain"}
    assert made.rules.roles_in(granted) == {"captain"}


async def test_engines_are_not_asked_about_what_is_anothers_and_cannot_allow_it() -> None:
    engine = Engine(lambda _, __: Verdict(True, "test#all"))
    made = Authorizer(EndpointSpec("/mcp", ALL, rules=()), policies=(engine,), tenants=TENANTS)
    alice, bob = who("marine"), who("motor")
    assert [each.allowed for each in await made.know(alice, list(map(tool, ALL)))] == [True, False, True]
    assert [each.allowed for each in await made.know(bob, list(map(tool, ALL)))] == [False, True, True]
    weighed = await made.weigh(alice, tool("cars"))
    assert (weighed.final.allowed, weighed.final.rule) == (False, "tenants.motor")
    assert weighed.final.because == "whoever asks would have to be of the tenant motor"
