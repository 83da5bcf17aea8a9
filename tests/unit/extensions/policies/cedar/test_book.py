"""What is asked of Cedar, and what is made of its answers."""

from __future__ import annotations

import pytest

from tests.unit.extensions.policies.cedar.parts import PAY, book, decide, judge, plan, principal, tool
from tidegate.domain.principal import Principal
from tidegate.domain.target import Kind, Target, reaching
from tidegate.extensions.policies.cedar.book import Question
from tidegate.extensions.policies.cedar.values import Unsayable
from tidegate.ports.facts import Facts

READ = Target("claims", Kind.TOOL, "get_claim")
POLICIES = """
@id("read")
permit(principal in Role::"adjuster", action in Action::"call", resource in Server::"claims")
  when { resource.readOnly };
@id("pay")
permit(principal in Role::"adjuster", action == Action::"claims__pay", resource)
  when { context.arguments.amount <= 50000 && principal has region && principal.region == "eu" };
@id("pay-limit") @because("over 5000 a lead has to pay")
forbid(principal, action == Action::"claims__pay", resource)
  when { context.arguments.amount > 5000 } unless { principal in Role::"lead" };
"""
KNOWN = {PAY: tool({"amount": {"type": "integer"}}, "amount"), READ: Facts(read_only=True)}


def test_what_no_policy_is_about_is_not_allowed_and_who_would_be_is_said():
    verdict = decide(book(POLICIES, KNOWN), principal("alice", "user"), READ)
    assert verdict.allowed is None
    assert verdict.because == (
        "test.cedar#read (line 2) would allow it where whoever asks has the role adjuster "
        "and resource.readOnly is true"
    )


def test_a_permission_names_its_policy_and_what_that_read():
    verdict = decide(book(POLICIES, KNOWN), principal("alice", "adjuster", "other"), READ)
    assert (verdict.allowed, verdict.rule, verdict.arguments) == (True, "test.cedar#read", False)
    assert verdict.reads == {"principal.roles": '["adjuster"]', "resource.readOnly": "true"}


def test_a_tool_is_shown_where_some_arguments_may_be_allowed():
    verdict = decide(book(POLICIES, KNOWN), principal("alice", "adjuster", region="eu"))
    assert (verdict.allowed, verdict.arguments) == (True, True)


def test_a_tool_is_not_shown_where_no_arguments_could_be_allowed():
    verdict = decide(book(POLICIES, KNOWN), principal("alice", "adjuster", region="us"))
    assert verdict.allowed is None
    # A denial may still stand against what others than Cedar allow.
    assert verdict.arguments


def test_a_denial_by_arguments_says_which_and_in_its_authors_words():
    verdict = judge(book(POLICIES, KNOWN), principal("alice", "adjuster", region="eu"), {"amount": 60000})
    assert (verdict.allowed, verdict.rule) == (False, "test.cedar#pay-limit")
    assert verdict.because == (
        "test.cedar#pay-limit (line 8) denies it: over 5000 a lead has to pay. It would not where "
        "context.arguments.amount (now 60000) is at most 5000 or where whoever asks has the role lead"
    )
    assert verdict.reads["context.arguments.amount"] == "60000"


def test_what_did_not_hold_is_said_where_nothing_allows():
    verdict = judge(
        book(POLICIES, KNOWN), principal("alice", "adjuster", "lead", region="eu"), {"amount": 60000}
    )
    assert verdict.allowed is None
    assert verdict.because == (
        "test.cedar#pay (line 5) would allow it where context.arguments.amount (now 60000) is at most 50000"
    )


def test_what_cannot_be_said_in_plain_words_is_quoted_with_its_values():
    made = book(
        """@id("sum") permit(principal, action == Action::"claims__pay", resource)
           when { context.arguments.amount * 2 < 100 } unless { context.arguments.amount + 1 > 50 };""",
        KNOWN,
    )
    verdict = judge(made, principal("alice", "adjuster"), {"amount": 60})
    assert verdict.because == (
        "test.cedar#sum (line 1) would allow it where "
        "this holds: (context.arguments.amount * 2) < 100 (context.arguments.amount is now 60) and "
        "this does not hold: (context.arguments.amount + 1) > 50 (context.arguments.amount is now 60)"
    )


def test_a_denial_without_conditions_says_that_nothing_would_help():
    made = book('@id("never") @because("it is sold") forbid(principal, action, resource);')
    assert decide(made, principal()).because == (
        "test.cedar#never (line 1) denies it in any case: it is sold"
    )


def test_a_denial_that_cannot_be_evaluated_denies():
    made = book(
        "permit(principal, action, resource); forbid(principal, action, resource) when { principal.vip };"
    )
    verdict = decide(made, principal())
    assert verdict.allowed is False
    assert "could not be evaluated" in verdict.because
    assert decide(made, principal(vip=False)).allowed is True


def test_a_permission_that_cannot_be_evaluated_allows_nothing_and_says_so():
    made = book('@id("v") permit(principal, action, resource) when { principal.vip };')
    verdict = decide(made, principal())
    assert verdict.allowed is None
    assert verdict.because == (
        "test.cedar#v (line 1) could not be evaluated: the principal does not have the attribute `vip`"
    )
    other = book(
        "permit(principal, action, resource); permit(principal, action, resource) when { principal.vip };"
    )
    assert decide(other, principal()).allowed is True


def test_a_denial_is_asked_as_far_as_it_could_go_wrong_with_arguments():
    made = book(
        """permit(principal, action, resource);
        forbid(principal, action, resource) when { context.arguments.missing && principal in Role::"lead" };"""
    )
    # The second condition does not hold, but the first is evaluated before it, and is wrong.
    assert judge(made, principal(), {}).allowed is False
    assert judge(made, principal(), {"missing": True}).allowed is True


def test_targets_whose_names_nobody_reads_are_asked_about_together_and_not_mixed_up():
    made = book("permit(principal, action, resource) when { resource.readOnly };", KNOWN)
    who = made.subject(principal())
    questions = [made.question(who, "/mcp", target) for target in (PAY, READ)]
    asked = [each for each in questions if isinstance(each, Question)]
    assert [each.verdict.allowed for each in made.ask(asked)] == [None, True]


def test_ten_thousand_who_are_alike_are_one_to_cedar():
    made = book(POLICIES, KNOWN)
    every = {
        made.subject(principal(f"user-{number}", "adjuster", "x", region="eu")) for number in range(10_000)
    }
    assert len(every) == 1


def test_a_user_that_a_policy_names_is_not_like_the_others():
    made = book('permit(principal == User::"default|key|alice", action, resource);')
    assert decide(made, principal("alice")).allowed is True
    assert decide(made, principal("bob")).allowed is None


@pytest.mark.parametrize(
    ("tenant", "issuer", "subject"), [("default", "other", "alice"), ("other", "key", "alice")]
)
def test_a_namesake_of_another_issuer_or_tenant_is_somebody_else(tenant, issuer, subject):
    made = book('permit(principal == User::"default|key|alice", action, resource);')
    assert decide(made, Principal(tenant, issuer, subject)).allowed is None


def test_no_subject_can_be_written_so_that_it_is_another_issuers():
    made = book('permit(principal == User::"default|key|alice", action, resource);')
    assert decide(made, Principal("default|key", "alice", "")).allowed is None
    assert decide(made, Principal("default", "", "key|alice")).allowed is None


@pytest.mark.parametrize(
    "attributes",
    [{"limit": "5"}, {"limit": True}, {"limit": 2**63}, {"limit": ("5",)}, {"limit": -(2**63) - 1}],
)
def test_an_attribute_that_is_not_what_settings_say_cannot_be_judged(attributes):
    made = book("permit(principal, action, resource) unless { principal has limit && principal.limit > 1 };")
    with pytest.raises(Unsayable, match=r"principal\.limit"):
        made.subject(principal(**attributes))


def test_an_attribute_that_no_policy_reads_may_be_anything():
    made = book("permit(principal, action, resource);")
    assert decide(made, principal(limit="5")).allowed is True


def test_a_name_that_is_no_unicode_denies():
    made = book('permit(principal, action, resource) when { resource.name like "*" };')
    assert decide(made, principal(), Target("claims", Kind.RESOURCE, "file:///\ud800")).allowed is False


def test_what_a_server_does_not_say_of_a_tool_is_taken_to_be_the_worse():
    made = book(
        "permit(principal, action, resource) unless { resource.destructive || !resource.readOnly };", KNOWN
    )
    assert decide(made, principal(), Target("claims", Kind.TOOL, "unheard_of")).allowed is None
    assert decide(made, principal(), READ).allowed is True


REACH = """
permit(principal in Role::"adjuster", action in Action::"call", resource in Server::"claims") when { resource.readOnly };
permit(principal, action, resource == Tool::"files__get") when { principal has vip && principal.vip };
forbid(principal, action, resource in Server::"claims") when { principal in Group::"outside" };
forbid(principal, action, resource is Tool in Server::"files");
"""


@pytest.mark.parametrize(
    ("who", "server", "may"),
    [
        (principal("a", "adjuster"), "claims", True),
        (principal("a", "user"), "claims", None),
        (principal("a", "adjuster", groups=("outside",)), "claims", False),
        (principal("a", vip=True), "files", True),
        (principal("a", vip=False), "files", None),
        (principal("a", "adjuster"), "other", None),
    ],
)
def test_a_server_of_which_nothing_is_known_is_there_for_those_who_may_have_something_of_it(who, server, may):
    assert decide(book(REACH), who, reaching(server)).allowed is may


def test_only_the_policies_that_can_matter_are_judged():
    others = "".join(
        f'permit(principal in Role::"r{number}", action in Action::"call", resource) '
        f"when {{ context.arguments.amount > {number} }};"
        for number in range(50)
    )
    found = plan(book(POLICIES + others, KNOWN), principal("alice", "adjuster", region="eu"), PAY, "/mcp")
    assert len(found.judged) == 2


def test_everything_about_a_principal_is_told_to_a_policy_that_takes_it_whole():
    made = book("permit(principal, action, resource) when { principal == resource || {p: principal}.p.vip };")
    assert decide(made, principal(vip=True)).arguments
    assert judge(made, principal(vip=True), {}).allowed is True
    assert judge(made, principal(vip=False), {}).allowed is None
