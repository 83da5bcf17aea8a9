"""Whatever the policies are: what is decided in parts is what Cedar says of the whole."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.extensions.policies.cedar.parts import book, decide, judge, plainly, principal
from tidegate.domain.target import Kind, Target
from tidegate.extensions.policies.cedar.values import Sayer, Unsayable, branches
from tidegate.ports.facts import UNKNOWN, Facts

_TARGETS = [
    Target("claims", Kind.TOOL, "pay"),
    Target("claims", Kind.TOOL, "get_claim"),
    Target("files", Kind.TOOL, "pay"),
    Target("claims", Kind.PROMPT, "pay"),
    Target("files", Kind.RESOURCE, "file:///a"),
    Target("files", Kind.TEMPLATE, "file:///{x}"),
    Target("files", Kind.EXTENSION, "x/y"),
]
_FACTS = {_TARGETS[1]: Facts(read_only=True), _TARGETS[0]: Facts(idempotent=True)}
_PRINCIPALS = [
    "principal",
    'principal in Role::"adjuster"',
    'principal in Group::"emea"',
    'principal == User::"default|key|alice"',
    'principal is User in Role::"lead"',
    "principal is User",
]
_ACTIONS = [
    "action",
    'action in Action::"call"',
    'action == Action::"claims__pay"',
    'action in [Action::"read", Action::"claims__pay"]',
    'action == Action::"read"',
    "action in []",
]
_RESOURCES = [
    "resource",
    'resource in Server::"claims"',
    'resource == Tool::"claims__pay"',
    "resource is Tool",
    'resource is Resource in Server::"files"',
    'resource in Tool::"files__pay"',
]
_ATOMS = [
    'principal.region == "eu"',
    "principal has limit",
    "principal.limit > 10",
    "principal.vip",
    'principal.teams.contains("a")',
    'principal in Role::"lead"',
    'principal in [Group::"emea", Role::"adjuster"]',
    'principal == User::"default|key|bob"',
    'User::"default|key|bob" == principal',
    "principal in resource",
    "resource.readOnly",
    "resource has readOnly",
    'resource.name like "get_*"',
    'resource.server == "claims"',
    "resource is Tool",
    'resource == Tool::"files__pay"',
    'resource in Server::"files"',
    'action in Action::"call"',
    'action == Action::"claims__pay"',
    '[principal, resource].contains(User::"default|key|alice")',
    '{"a": principal.limit}.a < 3',
    'context.endpoint == "/mcp"',
    "context has endpoint",
    "context has arguments",
    "context.arguments.amount > 5",
    "context.arguments.amount <= principal.limit",
    "context.arguments has amount",
    "context.arguments has inner.deep",
    'context.arguments["inner"].deep == "x"',
    'context.arguments.to like "a*"',
    "context.arguments.list.contains(3)",
    "context.arguments == {amount: 7}",
    "context.arguments.missing",
    "true",
    "1 < 9223372036854775807 + principal.limit",
    'User::"default|key|alice" in Role::"adjuster"',
]
_EXPRESSION = st.recursive(
    st.sampled_from(_ATOMS),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["&&", "||"]), inner).map(
            lambda each: f"({each[0]}) {each[1]} ({each[2]})"
        ),
        inner.map(lambda each: f"!({each})"),
        st.tuples(inner, inner, inner).map(lambda each: "if ({}) then ({}) else ({})".format(*each)),
    ),
    max_leaves=4,
)
_CLAUSES = st.lists(
    st.tuples(st.sampled_from(["when", "unless"]), _EXPRESSION).map(
        lambda each: f"{each[0]} {{ {each[1]} }}"
    ),
    max_size=2,
)
_POLICY = st.tuples(
    st.sampled_from(["permit", "permit", "forbid"]),
    st.sampled_from(_PRINCIPALS),
    st.sampled_from(_ACTIONS),
    st.sampled_from(_RESOURCES),
    _CLAUSES,
).map(lambda each: f"{each[0]}({each[1]}, {each[2]}, {each[3]}) {' '.join(each[4])};")
_WHO = st.builds(
    lambda subject, roles, groups, attributes: principal(subject, *roles, groups=tuple(groups), **attributes),
    st.sampled_from(["alice", "bob"]),
    st.sets(st.sampled_from(["adjuster", "lead", "other"])),
    st.sets(st.sampled_from(["emea", "apac"])),
    st.fixed_dictionaries(
        {},
        optional={
            "region": st.sampled_from(["eu", "us"]),
            "limit": st.sampled_from([0, 5, 11, -1]),
            "vip": st.booleans(),
            "teams": st.sampled_from([("a",), ("b", "a"), ()]),
        },
    ),
)
_ARGUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "amount": st.sampled_from([0, 5, 6, 7, 100]),
        "inner": st.sampled_from([{}, {"deep": "x"}, {"deep": "y"}]),
        "to": st.sampled_from(["abc", "b"]),
        "list": st.sampled_from([[], [3], [1, 2]]),
        "unread": st.just("z"),
    },
)


@settings(max_examples=80, deadline=None)
@given(
    policies=st.lists(_POLICY, min_size=1, max_size=5),
    who=_WHO,
    target=st.sampled_from(_TARGETS),
    sent=st.lists(_ARGUMENTS, min_size=1, max_size=3),
    endpoint=st.sampled_from(["/mcp", "/other"]),
)
def test_what_is_decided_in_parts_is_what_cedar_says_of_all(policies, who, target, sent, endpoint):
    text = "\n".join(policies)
    made = book(text, _FACTS)
    verdict = decide(made, who, target, endpoint)
    for arguments in sent:
        context = {"endpoint": endpoint, "arguments": arguments}
        said = plainly(text, who, target, _FACTS.get(target, UNKNOWN), context)
        if not verdict.arguments:
            assert verdict.allowed is said
        else:
            assert verdict.allowed is not False
            assert said is not True or verdict.allowed  # whoever may call it by some arguments sees it
            assert judge(made, who, arguments, target, endpoint).allowed is said


@settings(max_examples=30, deadline=None)
@given(policies=st.lists(_POLICY, min_size=1, max_size=6), who=st.lists(_WHO, min_size=2, max_size=5))
def test_asking_for_many_at_once_is_asking_for_each(policies, who):
    text = "\n".join(policies)
    together = book(text, _FACTS)
    for each in who:
        questions = [together.question(together.subject(each), "/mcp", target) for target in _TARGETS]
        asked = [question for question in questions if hasattr(question, "numbers")]
        for numbers in {question.numbers for question in asked}:
            together.ask([question for question in asked if question.numbers == numbers])
        for target in _TARGETS:
            alone = decide(book(text, _FACTS), each, target)
            kept = together.question(together.subject(each), "/mcp", target)
            found = together.plan(kept) if hasattr(kept, "numbers") else kept
            assert found.verdict == alone


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**66), 2**66)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["abc", 7, 7.0, 0.1, "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["a", "b", "deep", "__entity", "__extn", "type", "id", "fn"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)
_ANYTHING = (
    st.dictionaries(st.sampled_from(["amount", "inner", "to", "list", "missing", "x"]), _JSON, max_size=4)
    | _JSON
)


@settings(max_examples=60, deadline=None)
@given(policies=st.lists(_POLICY, min_size=1, max_size=3), who=_WHO, sent=_ANYTHING)
def test_whatever_is_sent_is_judged_as_cedar_would_or_denied(policies, who, sent):
    text = "\n".join(policies)
    made = book(text, {})
    verdict = judge(made, who, sent)
    try:
        said = Sayer().arguments(sent, branches({()}), None)
    except Unsayable:
        # Some of it cannot be said; where nothing of that is read, it is judged by the rest.
        assert verdict.allowed in (True, False, None)
        return
    context = {"endpoint": "/mcp", "arguments": said}
    assert verdict.allowed is plainly(text, who, _TARGETS[0], UNKNOWN, context)


@settings(max_examples=50, deadline=None)
@given(sent=_ANYTHING)
def test_what_is_read_and_cannot_be_said_denies(sent):
    made = book(
        "permit(principal, action, resource) when { context.arguments has x || context.arguments.amount > 5 };"
    )
    try:
        Sayer().arguments(sent, branches({("x",), ("amount",)}), None)
    except Unsayable:
        assert judge(made, principal(), sent).allowed is False
