"""Rules: deny overrides, none means deny, a failure denies."""

import pytest

from tidegate.access.authorize import FAILED, LONGEST_NAME, NO_RULE, Authorizer
from tidegate.access.classes import MAX_CLASSES, MAX_TARGETS
from tidegate.domain.endpoint import Effect, EndpointSpec, Rule
from tidegate.domain.principal import Principal
from tidegate.domain.target import Decision, Kind, Target

ALLOW, DENY = Effect.ALLOW, Effect.DENY
USER = Principal("default", "key", "u", frozenset({"user"}))
ADMIN = Principal("default", "key", "a", frozenset({"admin"}))
NOBODY = Principal("default", "key", "n")
READ, WRITE = Target("db", Kind.TOOL, "read_table"), Target("db", Kind.TOOL, "write_table")


def rules(*given: Rule) -> Authorizer:
    return Authorizer(EndpointSpec("/mcp", ("db", "time"), rules=given))


def test_by_default_users_and_admins_may_everything_and_others_nothing() -> None:
    access = Authorizer(EndpointSpec("/mcp", ("db",)))
    assert access.decide(USER, WRITE) == Decision(True, "/mcp rules[0]")
    assert access.decide(ADMIN, WRITE).allowed
    assert access.decide(NOBODY, WRITE) == NO_RULE


def test_no_rule_means_deny() -> None:
    assert rules().decide(ADMIN, READ) == NO_RULE


def test_deny_overrides_wherever_it_stands() -> None:
    deny, allow = Rule(DENY, tools=("write_*",)), Rule(ALLOW)
    for order in ((deny, allow), (allow, deny)):
        access = rules(*order)
        decision = access.decide(ADMIN, WRITE)
        assert decision == Decision(False, f"/mcp rules[{order.index(deny)}]")
        assert access.decide(ADMIN, READ) == Decision(True, f"/mcp rules[{order.index(allow)}]")


def test_the_first_rule_that_allows_is_named() -> None:
    access = rules(Rule(ALLOW, roles=frozenset({"admin"})), Rule(ALLOW), Rule(ALLOW))
    assert access.decide(USER, READ).rule == "/mcp rules[1]"
    assert access.decide(ADMIN, READ).rule == "/mcp rules[0]"


def test_all_conditions_of_a_rule_must_hold() -> None:
    access = rules(Rule(ALLOW, frozenset({"user"}), ("db",), ("read_*",)))
    assert access.decide(USER, READ).allowed
    assert not access.decide(ADMIN, READ).allowed
    assert not access.decide(USER, Target("time", Kind.TOOL, "read_table")).allowed
    assert not access.decide(USER, WRITE).allowed


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("read_*", "read_", True),
        ("read_?", "read_12", False),
        ("read", "read_table", False),
        ("Read*", "read_table", False),
        ("*", "any\nthing", True),
        ("a.b", "axb", False),
        ("a|b", "a", False),
        ("(", "(", True),
    ],
)
def test_patterns_match_the_whole_name_as_a_shell_would(pattern: str, name: str, matches: bool) -> None:
    access = rules(Rule(ALLOW, tools=("nothing-else", pattern)))
    assert access.decide(USER, Target("db", Kind.TOOL, name)).allowed is matches


def test_a_rule_for_tools_says_nothing_of_prompts_and_resources() -> None:
    access = rules(Rule(ALLOW, tools=("*",)))
    assert not access.decide(USER, Target("db", Kind.PROMPT, "read_table")).allowed
    access = rules(Rule(ALLOW), Rule(DENY, tools=("*",)))
    assert access.decide(USER, Target("db", Kind.RESOURCE, "file:///x")).allowed


@pytest.mark.parametrize(
    ("rule", "allowed"),
    [
        (Rule(ALLOW), {Kind.TOOL, Kind.PROMPT, Kind.RESOURCE, Kind.TEMPLATE, Kind.EXTENSION}),
        (Rule(ALLOW, tools=("*",)), {Kind.TOOL}),
        (Rule(ALLOW, prompts=("*",)), {Kind.PROMPT}),
        (Rule(ALLOW, resources=("*",)), {Kind.RESOURCE, Kind.TEMPLATE}),
        (Rule(ALLOW, tools=("x:*",), prompts=("no",)), {Kind.TOOL}),
    ],
)
def test_a_rule_is_about_the_kinds_it_has_patterns_for_or_about_all(rule: Rule, allowed: set[Kind]) -> None:
    access = rules(rule)
    assert {kind for kind in Kind if access.decide(USER, Target("db", kind, "x://a")).allowed} == allowed
    denied = rules(
        Rule(ALLOW), Rule(DENY, rule.roles, rule.servers, rule.tools, rule.prompts, rule.resources)
    )
    no = {kind for kind in Kind if not denied.decide(USER, Target("db", kind, "x://a")).allowed}
    assert no == allowed | {Kind.EXTENSION}  # which may come to any of them by a method of its own


def reads(access: Authorizer, uri: str) -> bool:
    return access.decide(USER, Target("db", Kind.RESOURCE, uri)).allowed


ODD = [
    "file:///pub/../secret/key", "file:///pub/%2e%2e/secret/key", "file:///pub/..%2fsecret/key",
    "file:///pub/%73ecret", "FILE:///pub/x", "file:///pub\\..\\secret", "file:///pub//x", "file:///pub/x\n",
]  # fmt: skip


def test_a_resource_is_judged_by_the_very_uri_that_is_read() -> None:
    access = rules(Rule(ALLOW, resources=("file:///pub/*",)))
    assert reads(access, "file:///pub/a/b.txt")
    assert not reads(access, "file:///publ/a")
    assert not reads(access, "file://db__/pub/a")
    assert not access.decide(USER, Target("db", Kind.TEMPLATE, "file:///{+path}")).allowed
    assert access.decide(USER, Target("db", Kind.TEMPLATE, "file:///pub/{name}")).allowed


@pytest.mark.parametrize("uri", ODD)
def test_a_uri_that_may_be_another_fits_no_permission_and_every_denial(uri: str) -> None:
    assert not reads(rules(Rule(ALLOW, resources=("file:///pub/*",))), uri)
    assert not reads(rules(Rule(ALLOW), Rule(DENY, resources=("file:///secret/*",))), uri)
    assert reads(rules(Rule(ALLOW)), uri)
    assert reads(rules(Rule(ALLOW), Rule(DENY, servers=("time",), resources=("file:///secret/*",))), uri)


def test_whether_something_can_be_reached_is_told_by_kind() -> None:
    access = rules(
        Rule(ALLOW, tools=("read_*",)), Rule(DENY, resources=("*",)), Rule(DENY, servers=("time",))
    )
    assert access.may_reach(USER, "db")
    assert access.may_reach(USER, "db", Kind.TOOL)
    assert not access.may_reach(USER, "db", Kind.PROMPT)
    assert not access.may_reach(USER, "db", Kind.RESOURCE)
    assert not access.may_reach(USER, "time")


def test_rules_are_the_same_for_all_where_no_role_is_left_out() -> None:
    both = frozenset({"user", "admin"})
    assert rules(Rule(ALLOW, both), Rule(DENY, tools=("x",))).same_for_all
    assert not rules(Rule(ALLOW, both), Rule(DENY, frozenset({"user"}))).same_for_all


def test_the_same_question_gets_the_same_decision_object() -> None:
    access = rules(Rule(ALLOW))
    twin = Principal("other", "key", "twin", frozenset({"user"}))
    assert access.decide(USER, READ) is access.decide(twin, Target("db", Kind.TOOL, "read_table"))


def test_an_exception_denies_and_is_not_kept() -> None:

    access = rules(Rule(ALLOW, servers=("db",)))
    target = Target(7, Kind.TOOL, "x")  # type: ignore[arg-type] - what no type checker lets through
    assert access.decide(USER, target) == FAILED
    assert access.decide(USER, READ).allowed


def test_decisions_kept_are_bounded() -> None:
    access = rules(
        Rule(ALLOW, tools=("1*",)), Rule(DENY, frozenset(str(number) for number in range(MAX_CLASSES + 500)))
    )
    for number in range(40_000):
        decision = access.decide(USER, Target("db", Kind.TOOL, str(number)))
        assert decision.allowed is str(number).startswith("1")
    for number in range(MAX_CLASSES + 500):
        access.decide(Principal("t", "i", "s", frozenset({str(number)})), READ)
    kept = access._classes  # pyright: ignore[reportPrivateUsage]
    assert len(kept) <= MAX_CLASSES
    assert kept.count <= MAX_TARGETS + MAX_CLASSES
    assert not access.decide(Principal("t", "i", "s", frozenset({"1"})), READ).allowed, (
        "its class went, and came again"
    )
    assert all(len(each.decisions) <= MAX_TARGETS for each in kept.of.values())


def test_principals_whose_roles_make_no_difference_are_one_class() -> None:
    access = rules(Rule(ALLOW, frozenset({"user"})))
    for number in range(100):
        roles = frozenset({"user", f"team-{number}"})
        assert access.decide(Principal("t", "i", f"s{number}", roles), READ).allowed
    assert len(access._classes) == 1  # pyright: ignore[reportPrivateUsage]


def test_what_clients_make_up_at_length_is_decided_and_not_kept() -> None:
    access = rules(Rule(ALLOW))
    long = Target("db", Kind.RESOURCE, "x://" + "a" * LONGEST_NAME)
    assert access.decide(USER, long).allowed
    assert access.decide(USER, READ).allowed
    (kept,) = (each.decisions for each in access._classes.of.values())  # pyright: ignore[reportPrivateUsage]
    assert kept.keys() == {READ}
