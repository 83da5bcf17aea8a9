"""Policies beside rules: asked once for all who are alike, kept until they change; what goes wrong denies."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.access.engine import NOTHING, Engine
from tidegate.access.authorize import CHANGING, NO_RULE, Authorizer, Undecided
from tidegate.domain.endpoint import Effect, EndpointSpec, Rule, Scope, Selection
from tidegate.domain.principal import Attribute, Principal
from tidegate.domain.role import Grant, Role
from tidegate.domain.target import Decision, Kind, Target, reaching
from tidegate.ports.policy import Policy, Verdict

ALLOW, DENY = Effect.ALLOW, Effect.DENY
GET, PAY = Target("claims", Kind.TOOL, "get"), Target("claims", Kind.TOOL, "pay")
YES, NO = Verdict(True, "p#yes"), Verdict(False, "p#no", because="somebody else")
MAYBE = Verdict(True, "p#limit", arguments=True)


def who(name: str = "ann", *roles: str, **attributes: Attribute) -> Principal:
    return Principal("t", "i", name, frozenset(roles), attributes=attributes)


def access(*policies: Policy, rules: tuple[Rule, ...] = (), **more: object) -> Authorizer:
    return Authorizer(EndpointSpec("/mcp", ("claims",), rules=rules), policies=policies, **more)  # type: ignore[arg-type]


async def know(made: Authorizer, principal: Principal, target: Target) -> Decision:
    (decision,) = await made.know(principal, (target,))
    return decision


def only(name: str, verdict: Verdict) -> Engine:
    return Engine(lambda _, target: verdict if target.name == name else NOTHING)


async def test_what_no_engine_was_asked_about_is_undecided_and_then_known_without_asking() -> None:
    engine = only("get", YES)
    made = access(engine)
    with pytest.raises(Undecided) as undecided:
        made.decide(who(), GET)
    assert undecided.value.targets == (GET,)
    await undecided.value.settled()
    assert made.decide(who(), GET) == Decision(True, "p#yes")
    assert made.decide(who(), GET) is made.decide(who("bob"), GET), "they are alike in all that is read"
    assert engine.asked == [GET]


@pytest.mark.parametrize(
    ("ruled", "said", "other", "rule"),
    [
        (ALLOW, NOTHING, NOTHING, "/mcp rules[0]"),
        (None, YES, NOTHING, "p#yes"),
        (None, NOTHING, YES, "p#yes"),
        (ALLOW, YES, YES, "/mcp rules[0]"),
    ],
)
async def test_one_that_allows_is_enough(
    ruled: Effect | None, said: Verdict, other: Verdict, rule: str
) -> None:
    made = access(only("get", said), only("get", other), rules=() if ruled is None else (Rule(ruled),))
    assert await know(made, who(), GET) == Decision(True, rule)


@pytest.mark.parametrize(
    ("ruled", "said", "other", "rule"),
    [
        (ALLOW, NO, YES, "p#no"),
        (ALLOW, YES, NO, "p#no"),
        (DENY, YES, YES, "/mcp rules[0]"),
        (None, NOTHING, NOTHING, "no rule"),
    ],
)
async def test_a_denial_overrides_wherever_it_comes_from_and_nothing_means_deny(
    ruled: Effect | None, said: Verdict, other: Verdict, rule: str
) -> None:
    made = access(only("get", said), only("get", other), rules=() if ruled is None else (Rule(ruled),))
    assert await know(made, who(), GET) == Decision(False, rule)


async def test_what_a_rule_denies_no_engine_is_asked_about() -> None:
    engine = only("get", YES)
    made = access(engine, rules=(Rule(DENY, tools=("get",)),))
    assert not made.decide(who(), GET).allowed
    assert not (await know(made, who(), GET)).allowed
    assert engine.asked == []


async def test_an_engine_that_fails_denies_for_a_second_and_says_which_it_was() -> None:
    time = [0.0]
    engine = Engine(lambda *_: YES, name="opa")
    engine.failing = RuntimeError("no")
    made = access(engine, rules=(Rule(ALLOW),), clock=lambda: time[0])
    denied = await know(made, who(), GET)
    assert denied == Decision(False, "opa could not decide")
    assert denied.because == "RuntimeError"
    seen = made.sees(who())
    engine.failing = None
    time[0] = 0.9
    assert not made.decide(who(), GET).allowed
    assert made.sees(who()) is seen
    time[0] = 1.1
    with pytest.raises(Undecided):
        made.decide(who(), GET)
    assert made.sees(who()) is not seen, "what was made of it is let go of too"
    assert (await know(made, who(), GET)).allowed


async def test_an_engine_is_asked_again_every_few_seconds_until_it_decides_and_that_is_told_once() -> None:
    time, engine = [0.0], Engine(lambda *_: YES)
    engine.failing = RuntimeError("no")
    made = access(engine, clock=lambda: time[0])
    assert not await made.recovered()
    await know(made, who(), GET)
    asked = list[float]()
    for time[0] in (0.5, 1.0, 1.5, 3.0, 5.0, 7.0, 11.9, 12.0):
        before = len(engine.asked)
        assert not await made.recovered()
        asked += [time[0]] * (len(engine.asked) - before)
    assert asked == [1.0, 3.0, 7.0, 12.0]
    engine.failing, time[0] = None, 17.0
    assert await made.recovered()
    assert not await made.recovered()


async def test_an_engine_that_fails_again_soon_is_told_of_ever_more_seldom() -> None:
    time, engine, told = [0.0], Engine(lambda *_: YES), list[float]()
    made = access(engine, clock=lambda: time[0])
    for tenth in range(300):
        time[0] = tenth / 10
        engine.failing = RuntimeError("no")
        await know(made, who(), Target("claims", Kind.TOOL, str(tenth)))
        engine.failing = None
        if await made.recovered():
            told.append(time[0])
    assert told[0] == 1.0
    assert len(told) < 10


async def test_a_resource_that_could_not_be_judged_is_judged_again() -> None:
    time, file = [0.0], Target("claims", Kind.RESOURCE, "file:///a")
    engine = Engine(lambda *_: MAYBE, lambda *_: YES)
    made = access(engine, clock=lambda: time[0])

    class Gone(Engine):
        async def judge(self, *_: object) -> Verdict:
            raise RuntimeError("gone")

    engine.judge = Gone().judge  # type: ignore[method-assign]
    assert (await know(made, who(), file)).rule == "engine could not decide"
    del engine.judge
    time[0] = 1.1
    assert (await know(made, who(), file)).allowed


async def test_an_engine_that_gives_too_few_verdicts_denies() -> None:
    class Short(Engine):
        async def decide(self, principal: Principal, endpoint: str, targets: object) -> list[Verdict]:
            return []

    assert not (await know(access(Short(), rules=(Rule(ALLOW),)), who(), GET)).allowed


async def test_a_change_of_policies_lets_go_of_all_that_was_decided() -> None:
    engine = only("get", YES)
    made = access(engine)
    assert (await know(made, who(), GET)).allowed
    version, seen = made.version, made.sees(who())
    assert made.version == version
    engine.change(lambda *_: NO)
    assert made.version != version
    assert made.sees(who()) is not seen
    with pytest.raises(Undecided):
        made.decide(who(), GET)
    assert not (await know(made, who(), GET)).allowed


async def test_what_was_decided_while_policies_changed_is_decided_again() -> None:
    engine = only("get", YES)
    made = access(engine)
    engine.open.clear()
    asking = asyncio.create_task(know(made, who(), GET))
    while not engine.asked:
        await asyncio.sleep(0)
    engine.change(lambda *_: NO)
    engine.open.set()
    assert not (await asking).allowed


async def test_policies_that_keep_changing_allow_nothing() -> None:
    class Restless(Engine):
        @property
        def version(self) -> int:  # type: ignore[override]
            self.count = getattr(self, "count", 0) + 1
            return self.count

        @version.setter
        def version(self, value: int) -> None: ...

    assert await know(access(Restless(lambda *_: YES)), who(), GET) == CHANGING


# -- who is alike -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reads", "other", "alike"),
    [
        (frozenset({"roles"}), who("bob", "user"), True),
        (frozenset({"roles"}), who("ann", "other"), False),
        (frozenset({"subject"}), who("bob", "user"), False),
        (frozenset({"region"}), who("bob", "user", region="eu"), False),
        (frozenset({"region"}), who("bob", "other", unread=1), True),
        (frozenset({"groups"}), Principal("t", "i", "ann", frozenset({"user"}), frozenset({"g"})), False),
        (frozenset({"client"}), Principal("t", "i", "ann", frozenset({"user"}), client="c"), False),
        (frozenset({"issuer"}), Principal("t", "j", "ann", frozenset({"user"})), False),
        (frozenset({"roles"}), Principal("u", "i", "ann", frozenset({"user"})), False),
        (frozenset[str](), who("bob", "other"), True),
        (None, who("bob", "user"), False),
    ],
)
async def test_principals_are_decided_once_where_all_that_is_read_is_alike(
    reads: frozenset[str] | None, other: Principal, alike: bool
) -> None:
    engine = Engine(lambda *_: YES, reads=reads)
    made = access(engine)
    await know(made, who("ann", "user"), GET)
    await know(made, other, GET)
    assert len(engine.asked) == (1 if alike else 2)


async def test_true_and_one_are_not_alike() -> None:
    engine = Engine(lambda one, _: YES if one.attributes["limit"] is True else NO, reads=frozenset({"limit"}))
    made = access(engine)
    assert (await know(made, who(limit=True), GET)).allowed
    assert not (await know(made, who(limit=1), GET)).allowed
    assert not (await know(made, who(limit="True"), GET)).allowed


async def test_an_engine_is_told_the_roles_that_a_role_includes() -> None:
    engine = Engine(lambda one, _: YES if "user" in one.roles else NO)
    roles = (Role("adjuster", ("clerk",)), Role("clerk", ("user",)))
    made = Authorizer(EndpointSpec("/mcp", ("claims",), rules=()), roles, (engine,))
    assert (await know(made, who("ann", "adjuster"), GET)).allowed


async def test_ten_thousand_targets_are_asked_about_once_for_all_who_wait() -> None:
    engine = Engine(lambda _, target: YES if int(target.name) % 2 else NO)
    made = access(engine)
    targets = [Target("claims", Kind.TOOL, str(number)) for number in range(10_000)]
    first, second = await asyncio.gather(made.know(who("ann"), targets), made.know(who("bob"), targets))
    assert first == second
    assert [decision.allowed for decision in first] == [bool(number % 2) for number in range(10_000)]
    assert len(engine.asked) == 10_000
    assert made.decide(who("carl"), targets[1]).allowed


# -- arguments --------------------------------------------------------------------------------


def limited(reads: str) -> Engine:
    def judge(principal: Principal, target: Target, arguments: object) -> Verdict:
        assert isinstance(arguments, dict)
        amount = arguments.get("amount")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        good = isinstance(amount, int) and amount <= 100
        return Verdict(good, "p#limit", reads={reads: str(amount)}, because="" if good else "at most 100")

    return Engine(lambda _, target: MAYBE if target == PAY else YES, judge)


async def test_only_what_depends_on_arguments_is_judged_call_by_call() -> None:
    engine = limited("context.arguments.amount")
    made = access(engine)
    assert (await know(made, who(), PAY)).arguments
    assert not (await know(made, who(), GET)).arguments
    assert (await made.judge(who(), PAY, {"amount": 100})).allowed
    denied = await made.judge(who(), PAY, {"amount": 101})
    assert denied == Decision(False, "p#limit", arguments=True) or denied == Decision(False, "p#limit")
    assert denied.reads == {"context.arguments.amount": "101"}
    assert denied.because == "at most 100"
    assert (await made.judge(who(), GET, {"amount": 101})).allowed
    assert engine.judged == [{"amount": 100}, {"amount": 101}]
    assert engine.asked == [PAY, GET]


async def test_only_engines_that_read_arguments_judge_and_a_failure_denies() -> None:
    reader, other = limited("amount"), Engine(lambda *_: YES)
    made = access(reader, other)
    assert (await made.judge(who(), PAY, {"amount": 1})).allowed
    assert other.judged == []
    reader.failing = RuntimeError("no")
    assert await made.judge(who(), PAY, {"amount": 1}) == Decision(False, "engine could not decide")
    reader.failing = None
    assert (await made.judge(who(), PAY, {"amount": 1})).allowed, "of a judgement nothing is kept"


async def test_a_denial_by_arguments_needs_no_rule_that_allows_by_them() -> None:
    forbids = Engine(
        lambda *_: Verdict(None, "-", arguments=True),
        lambda _, __, arguments: NO if arguments == {"x": 1} else NOTHING,
    )
    made = access(forbids, rules=(Rule(ALLOW),))
    assert not (await made.judge(who(), PAY, {"x": 1})).allowed
    assert await made.judge(who(), PAY, {"x": 2}) == Decision(True, "/mcp rules[0]", arguments=True)
    alone = access(forbids)
    assert not (await made.judge(who(), PAY, {"x": 1})).allowed
    assert not (await alone.judge(who(), PAY, {"x": 2})).allowed, "nobody allows it"


async def test_reading_a_resource_is_judged_at_once_since_it_has_no_arguments() -> None:
    engine = Engine(lambda *_: MAYBE, lambda *_: NO)
    made = access(engine)
    uri = Target("claims", Kind.RESOURCE, "claims://1")
    assert await know(made, who(), uri) == Decision(False, "p#no")
    assert engine.judged == [{}]


async def test_what_was_read_is_kept_with_the_decision_and_bounded() -> None:
    many = {f"principal.{number}": "x" * 1000 for number in range(100)}
    engine = Engine(lambda *_: Verdict(True, "p#yes", reads={"principal.region": '"eu"', **many}))
    decision = await know(access(engine), who(), GET)
    assert decision.reads["principal.region"] == '"eu"'
    assert len(decision.reads) == 16
    assert max(map(len, decision.reads.values())) == 200


# -- servers and URIs -------------------------------------------------------------------------


async def test_a_server_of_which_nothing_is_known_can_be_reached_where_rules_or_policies_say_so() -> None:
    yes = Engine(lambda _, target: YES if target == reaching("claims") else NOTHING)
    no = Engine(lambda _, target: NO if target == reaching("claims") else YES)
    silent = Engine()
    tools = (Rule(ALLOW, tools=("get",)),)
    for engine, rules, reached in (
        (yes, (), True), (silent, (), False), (silent, tools, True), (no, tools, False),
        (yes, (Rule(DENY, servers=("claims",)),), False),
    ):  # fmt: skip
        made = access(engine, rules=rules)
        await made.know(who(), (reaching("claims"),))
        assert made.may_reach(who(), "claims") is reached
    made = access(silent, rules=tools)
    with pytest.raises(Undecided):
        made.may_reach(who(), "claims")
    await made.know(who(), (reaching("claims"),))
    assert not made.may_reach(who(), "claims", Kind.PROMPT)


async def test_a_uri_that_may_be_another_is_allowed_by_no_policy() -> None:
    engine = Engine(lambda *_: YES)
    made = access(engine, rules=(Rule(ALLOW),))
    for kind in (Kind.RESOURCE, Kind.TEMPLATE):
        assert not made.decide(who(), Target("claims", kind, "file:///pub/../secret")).allowed
    assert (await know(made, who(), Target("claims", Kind.RESOURCE, "file:///pub/a"))).allowed
    long = Target("claims", Kind.RESOURCE, "file:///" + "a" * 1000)
    await know(made, who(), long)
    assert made.decide(who(), long).allowed, "what is long is known for as long as a call needs it"


# -- roles ------------------------------------------------------------------------------------


def grant(
    effect: Effect, number: int = 0, endpoints: tuple[str, ...] = (), **selection: tuple[str, ...]
) -> Grant:
    return Grant(effect, number, endpoints, Selection(**selection))


def test_a_role_has_its_grants_where_they_are_for_the_endpoint() -> None:
    roles = (
        Role("clerk", ("user",), (grant(ALLOW, 0, tools=("get*",)), grant(ALLOW, 1, ("/other*",)))),
        Role(
            "adjuster", ("clerk",), (grant(ALLOW, 0, tools=("pay",)), grant(DENY, 0, tools=("get_secret",)))
        ),
    )
    made = Authorizer(
        EndpointSpec("/mcp", ("claims",), rules=(Rule(ALLOW, frozenset({"user"}), prompts=("p",)),)), roles
    )
    clerk, adjuster = who("a", "clerk"), who("b", "adjuster")
    assert made.decide(clerk, GET) == Decision(True, "roles.clerk allow[0]")
    assert made.decide(clerk, PAY) == NO_RULE
    assert made.decide(adjuster, PAY) == Decision(True, "roles.adjuster allow[0]")
    assert made.decide(adjuster, GET) == Decision(True, "roles.clerk allow[0]")
    secret = Target("claims", Kind.TOOL, "get_secret")
    assert made.decide(clerk, secret).allowed
    assert made.decide(adjuster, secret) == Decision(False, "roles.adjuster deny[0]")
    for one in (clerk, adjuster):
        assert made.decide(one, Target("claims", Kind.PROMPT, "p")).rule == "/mcp rules[0]"
    assert made.decide(who("c", "unknown"), GET) == NO_RULE
    other = Authorizer(EndpointSpec("/others", ("claims",), rules=()), roles)
    assert other.decide(clerk, PAY) == Decision(True, "roles.clerk allow[1]")
    assert not made.same_for_all


def scoped(*scopes: Scope) -> Authorizer:
    return Authorizer(EndpointSpec("/mcp", ("claims", "other"), scopes=scopes))


READ = Scope("claims:read", Selection(("claims",), ("get*",), resources=("claims://*",)))
ALL = Scope("claims:all", Selection(("claims",)))
TOLD = frozenset({"x"})


@pytest.mark.parametrize(
    ("target", "held", "missing"),
    [
        (GET, TOLD, {"claims:read"}),
        (GET, TOLD | {"claims:read"}, set()),
        (GET, {"claims:all"}, set()),
        (PAY, {"claims:read"}, {"claims:all"}),
        (Target("other", Kind.TOOL, "get"), TOLD, set()),
        (Target("claims", Kind.RESOURCE, "claims://1"), TOLD, {"claims:read"}),
        (Target("claims", Kind.RESOURCE, "claims://1/../2"), {"claims:read"}, {"claims:all"}),
        (Target("claims", Kind.RESOURCE, "claims://1/../2"), {"claims:read", "claims:all"}, set()),
        (Target("claims", Kind.EXTENSION, "x/y"), {"claims:all"}, {"claims:read"}),
        (Target("claims", Kind.PROMPT, "p"), {"claims:read"}, {"claims:all"}),
    ],
)
def test_a_token_needs_one_of_the_scopes_that_cover_what_it_is_for(
    target: Target, held: set[str], missing: set[str]
) -> None:
    assert scoped(READ, ALL).missing_scopes(target, frozenset(held)) == missing
    assert scoped().missing_scopes(target, frozenset(held)) == frozenset()
