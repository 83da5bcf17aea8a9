"""Policies are taken whole or not at all, and what is wrong is told with file and line."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.extensions.policies.cedar.parts import DECLARED, PAY, tool
from tidegate.domain.errors import SettingsError
from tidegate.domain.target import Kind, Target
from tidegate.extensions.policies.cedar.check import check
from tidegate.extensions.policies.cedar.known import Known
from tidegate.extensions.policies.cedar.text import cut
from tidegate.ports.facts import Facts

KNOWN = Known(
    {
        PAY: tool({"amount": {"type": "integer"}, "price": {"type": "number"}, "any": {}}, "amount"),
        Target("claims", Kind.TOOL, "odd"): Facts(schema=b'{"anyOf": []}'),
        Target("claims", Kind.PROMPT, "letter"): Facts(
            schema=b'{"type": "object", "properties": {"tone": {"type": "string"}}}'
        ),
    }
)


_WORDS = (
    "permit", "forbid", "(", ")", "{", "}", ";", ",", "principal", "action", "resource", "context", "when", "unless",
    "in", "==", "is", "has", "like", ".", "arguments", "&&", "||", "!", "if", "then", "else", "true", "5", '"a"',
    'Role::"a"', 'Action::"call"', '@id("a")', "[", "]", "//", "::", "\n", "x", '"', "\\",
)  # fmt: skip


def mistakes(text: str, known: Known = KNOWN) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        check({"p.cedar": text}, DECLARED, known)
    return list(caught.value.problems)


MISTAKES = [
    ("permit(principal, action, resource)\n\nwhen { 1 + };", "p.cedar:3: unexpected token `}`"),
    ("permit(principal, action,\nresource", "p.cedar:2: unexpected end of input"),
    ("// a\n\npermit(principal, action, resource);\npermit(principal, action) ;", "p.cedar:4: "),
    ('permit(principal, action, resource) when { "a\n; };', "p.cedar:1: "),
    ("permit(principal == ?principal, action, resource);", "p.cedar:1: templates"),
    ('@id("a b")\npermit(principal, action, resource);', "p.cedar:1: its @id should be"),
    (
        '@id("a") permit(principal, action, resource);\n@id("a") permit(principal, action, resource);',
        "p.cedar:2: the @id of this policy is also that of p.cedar:1",
    ),
    ('permit(principal, action == Action::"call", resource);', 'write `action in Action::"call"`'),
    (
        'permit(principal, action, resource) when { action == Action::"call" };',
        'write `action in Action::"call"`',
    ),
    ('permit(principal == User::"alice", action, resource);', "tenant|issuer|subject"),
    ('permit(principal in Team::"a", action, resource);', "unrecognized entity type `Team`"),
    ('permit(principal, action, resource) when { principal.regoin == "eu" };', "`regoin`"),
    ('permit(principal, action, resource) when { principal.region == "eu" };', "`region`"),
    ("permit(principal, action, resource) when { principal has limit && principal.limit };", "Bool"),
    ("permit(principal, action, resource) when { resource.readOnly };", "`readOnly`"),
    (
        'permit(principal, action == Action::"claims__pay", resource) when { context.arguments.amuont > 5 };',
        "`arguments.amuont`",
    ),
    (
        'permit(principal, action == Action::"claims__pay", resource) when { context.arguments.any > 5 };',
        "`arguments.any`",
    ),
    (
        'permit(principal, action == Action::"claims__pay", resource) when { context.arguments.price > 5 };',
        "decimal",
    ),
    (
        'permit(principal, action == Action::"get", resource) when { context.arguments.tone == "x" };',
        "`arguments.tone`",
    ),
    (
        'permit(principal, action in Action::"read", resource) when { context.arguments.x == "x" };',
        "`arguments.x`",
    ),
]


@pytest.mark.parametrize(("text", "told"), MISTAKES)
def test_a_mistake_is_told_with_its_line(text, told):
    found = mistakes(text)
    assert all(each.startswith("p.cedar:") for each in found)
    assert any(told in each for each in found), found


def test_all_mistakes_are_told_at_once():
    text = "permit(principal, action);\npermit(principal, action, resource) when { 1 + };"
    assert [each.split()[0] for each in mistakes(text)] == ["p.cedar:1:", "p.cedar:2:"]


RIGHT = [
    'permit(principal in Role::"adjuster", action in Action::"call", resource in Server::"claims");',
    'permit(principal, action in Action::"call", resource) when { resource.readOnly && !resource.destructive };',
    'permit(principal, action == Action::"claims__pay", resource) when { context.arguments.amount < 5 };',
    'permit(principal, action == Action::"claims__pay", resource) when { context.arguments has price && '
    'context.arguments.price.lessThan(decimal("9.99")) };',
    'permit(principal, action == Action::"get", resource) when { context.arguments has tone && context.arguments.tone == "x" };',
    "forbid(principal, action, resource) when { context.arguments has amount && context.arguments.amount > 5 };",
    'permit(principal, action == Action::"read", resource is Resource) when { resource.name like "file:///*" };',
    'permit(principal, action == Action::"use", resource);',
    'permit(principal, action, resource) when { principal has teams && principal.teams.contains("a") };',
    'permit(principal, action, resource) when { principal.issuer == "key" && context.endpoint == "/mcp" };',
    'permit(principal == User::"default|key|alice", action, resource);',
]


@pytest.mark.parametrize("text", RIGHT)
def test_what_is_right_is_taken(text):
    assert len(check({"p.cedar": text}, DECLARED, KNOWN).written) == 1


def test_what_reads_arguments_of_tools_that_nobody_knows_is_taken_with_a_note_and_the_rest_is_checked():
    text = 'permit(principal, action == Action::"new__tool", resource) when { context.arguments.x > 5 };'
    checked = check({"p.cedar": text}, DECLARED, KNOWN)
    assert any("is not checked" in each for each in checked.notes)
    with pytest.raises(SettingsError, match="regoin"):
        check({"p.cedar": text.replace("when {", "when { principal.regoin && ")}, DECLARED, KNOWN)


def test_a_tool_whose_schema_cedar_has_no_types_for_is_noted():
    text = 'forbid(principal, action in Action::"call", resource in Server::"claims") when { context.arguments has a };'
    notes = check({"p.cedar": text}, DECLARED, KNOWN).notes
    assert any("not checked with claims__odd" in each for each in notes)


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ('permit(principal, action == Action::"claims__pya", resource);', "claims lists no pya"),
        ('permit(principal, action, resource == Tool::"claims__pya");', "claims lists no pya"),
        ('permit(principal, action, resource in Server::"cliams");', "nothing is known of a server cliams"),
    ],
)
def test_names_that_nothing_has_are_noted(text, note):
    assert [each for each in check({"p.cedar": text}, DECLARED, KNOWN).notes if note in each]


def test_a_policy_is_known_by_its_file_and_id_or_line():
    text = 'permit(principal, action, resource);\n@id("x") permit(principal, action, resource); permit(principal, action, resource);'
    found = check(
        {"a.cedar": text, "b.cedar": '@id("x") permit(principal, action, resource);'}, {}, Known({})
    )
    assert [each.name for each in found.written] == ["a.cedar#1", "a.cedar#x", "a.cedar#2", "b.cedar#x"]


def test_files_are_cut_where_policies_end():
    text = '@a("x;y") permit(principal, action, resource); // ; no\n\nforbid(principal,\naction, resource) when { "\\"; //" == "" };\n// end'
    found = cut(text)
    assert [(each.line, each.text[:6]) for each in found] == [(1, '@a("x;'), (3, "forbid")]
    assert found[1].tokens[-1].line == 4


@pytest.mark.parametrize("times", [100, 20_000])
@pytest.mark.parametrize(
    ("before", "inner", "after"),
    [
        ("(", "true", ")"),
        ("!(", "true", ")"),
        ("true && (", "true", ")"),
        ("[", "", "]"),
        ("{a: ", "1", "}"),
        ("if true then (", "true", ") else false"),
        ("context.arguments", "", ".a"),
        ("context has a", "", ".b"),
        ("context", "", '["a"]'),
    ],
)
def test_what_is_nested_beyond_reason_is_refused_unparsed(before: str, inner: str, after: str, times: int):
    opened = before * times if before[-1] in "([{ " else before
    found = mistakes(f"permit(principal, action, resource) when {{ {opened}{inner}{after * times} }};")
    assert found == ["p.cedar:1: is nested deeper than 64 brackets or 32 attributes"]


def test_a_long_policy_is_taken_and_a_far_too_long_one_is_not():
    names = [f'resource.name == "t{number}"' for number in range(1000)]
    policy = "permit(principal, action, resource) when {{ {} }};".format
    assert len(check({"p.cedar": policy(" || ".join(names[:300]))}, {}, Known({})).written) == 1
    assert "operators" in mistakes(policy(" || ".join(names)))[0]
    assert "operators" in mistakes(policy("1" + " + 1" * 100_000 + " > 0"))[0]
    roles = ", ".join(f'Role::"r{number}"' for number in range(5000))
    assert len(check({"p.cedar": policy(f"principal in [{roles}]")}, {}, Known({})).written) == 1


@settings(max_examples=80, deadline=None)
@given(st.lists(st.sampled_from(_WORDS), max_size=40).map(" ".join) | st.text(max_size=60))
def test_no_text_is_anything_but_policies_or_mistakes(text: str):
    told: list[str] = []
    try:
        check({"p.cedar": text}, DECLARED, KNOWN)
    except SettingsError as error:
        told = list(error.problems)
    assert all(each.startswith("p.cedar:") for each in told)


def test_too_many_policies_are_refused():
    text = "permit(principal, action, resource);\n" * 5001
    assert "more than" in mistakes(text)[0]
