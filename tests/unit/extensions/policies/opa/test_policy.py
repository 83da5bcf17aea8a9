"""OPA as an engine: what it is asked, what comes of it, and that whatever goes wrong is no permission."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from tests.servers.documented_opa import DocumentedOpa, tree
from tests.unit.extensions.policies.opa.conftest import PATH, Open
from tidegate.domain.principal import Principal
from tidegate.domain.target import Kind, Target
from tidegate.extensions.policies.opa.api import Trouble
from tidegate.extensions.policies.opa.policy import AT_ONCE, BATCH, OpaPolicy
from tidegate.ports.facts import Facts
from tidegate.ports.policy import Verdict

ANN = Principal("t", "i", "ann", frozenset({"user"}), attributes={"limit": 5})
PAY, GET = Target("claims", Kind.TOOL, "pay"), Target("claims", Kind.TOOL, "get")
MANY = [Target("claims", Kind.TOOL, f"t{number}") for number in range(300)]
BATCHED = "tidegate/many/decisions"
Json = dict[str, Any]


async def one(policy: OpaPolicy, target: Target = GET) -> Verdict:
    (verdict,) = await policy.decide(ANN, "/mcp", (target,))
    return verdict


def limited(given: Json) -> Json:
    """Allow payments up to the principal's limit."""
    if given["target"]["name"] != "pay":
        return {"allow": given["target"]["name"] == "get"}
    arguments = given.get("arguments")
    allowed = (
        arguments is not None and arguments.get("amount", 9e9) <= given["principal"]["attributes"]["limit"]
    )
    return {"shown": True, "reads": ["amount"], "allow": allowed}


async def test_a_question_says_who_asks_for_what_and_no_arguments(opa: DocumentedOpa, opened: Open) -> None:
    policy = await opened()
    verdict = await one(policy)
    assert (verdict.allowed, verdict.rule) == (True, f"{PATH}#allow")
    (given,) = opa.inputs
    assert given["principal"]["subject"] == "ann"
    assert given["endpoint"] == "/mcp"
    assert given["target"]["name"] == "get"
    assert "arguments" not in given


async def test_arguments_are_told_as_far_as_they_are_read_and_recorded(
    opa: DocumentedOpa, opened: Open
) -> None:
    opa.documents[PATH], opa.decisions = limited, True
    policy = await opened(principal=["limit"])
    shown = await one(policy, PAY)
    assert (shown.allowed, shown.arguments) == (True, True)
    judged = await policy.judge(ANN, "/mcp", PAY, {"amount": 5, "note": "private"})
    assert judged.allowed
    assert opa.inputs[-1]["arguments"] == {"amount": 5}
    assert judged.reads == {
        "opa.decision": '"decision-2"', "context.arguments.amount": "5", "principal.limit": "5"
    }  # fmt: skip
    assert (await policy.judge(ANN, "/mcp", PAY, {"amount": 6})).allowed is None
    assert (await policy.judge(ANN, "/mcp", PAY, {})).allowed is None


@pytest.mark.parametrize("sent", [{"Amount": 60000}, {"amount": 1, "AMOUNT": 60000}])
async def test_an_argument_that_differs_by_case_from_one_that_is_read_is_denied_without_asking(
    sent: dict[str, int], opa: DocumentedOpa, opened: Open
) -> None:
    opa.documents[PATH] = limited
    policy = await opened()
    await one(policy, PAY)
    verdict = await policy.judge(ANN, "/mcp", PAY, sent)
    assert verdict.allowed is False
    assert "differs only by case from 'amount'" in verdict.because
    assert len(opa.inputs) == 1


async def test_a_call_that_was_decided_under_another_version_is_asked_about_anew(
    opa: DocumentedOpa, opened: Open
) -> None:
    opa.documents[PATH] = limited
    policy = await opened()
    assert (await policy.judge(ANN, "/mcp", PAY, {"amount": 5})).allowed
    assert len(opa.inputs) == 2
    assert (await policy.judge(ANN, "/mcp", GET, {})).allowed
    assert len(opa.inputs) == 3, "it reads none"


async def test_arguments_too_large_to_be_judged_are_denied_without_asking(
    opa: DocumentedOpa, opened: Open
) -> None:
    opa.documents[PATH] = limited
    policy = await opened()
    await one(policy, PAY)
    verdict = await policy.judge(ANN, "/mcp", PAY, {"amount": "x" * 70_000})
    assert verdict.allowed is False
    assert "65536 bytes" in verdict.because
    assert len(opa.inputs) == 1


async def test_many_targets_are_asked_about_in_few_requests_where_there_is_a_rule_for_that(
    opa: DocumentedOpa, opened: Open
) -> None:
    opa.documents[BATCHED] = lambda given: [
        {"allow": each["name"].endswith("7")} for each in given["targets"]
    ]
    policy = await opened(batch=BATCHED)
    verdicts = await policy.decide(ANN, "/mcp", MANY)
    assert [each.allowed is True for each in verdicts] == [each.name.endswith("7") for each in MANY]
    assert len(opa.inputs) == -(-len(MANY) // BATCH)
    verdict = await one(policy)
    assert (verdict.allowed, verdict.rule) == (True, f"{PATH}#allow")


async def test_many_targets_are_otherwise_asked_about_a_few_at_a_time(
    opa: DocumentedOpa, opened: Open
) -> None:
    opa.documents[PATH] = lambda given: {"allow": given["target"]["name"].endswith("7")}
    policy = await opened(timeout=5)
    opa.open.clear()
    deciding = asyncio.create_task(policy.decide(ANN, "/mcp", MANY))
    async with asyncio.timeout(5):
        while opa.at_once < AT_ONCE:
            await asyncio.sleep(0.01)  # the deadline ends it
    opa.open.set()
    verdicts = await deciding
    assert [each.allowed is True for each in verdicts] == [each.name.endswith("7") for each in MANY]
    assert opa.most_at_once <= AT_ONCE
    assert await policy.decide(ANN, "/mcp", ()) == []


def said(status: int = 200, **body: Any) -> Callable[[web.Request], web.StreamResponse | None]:
    def answer(request: web.Request) -> web.StreamResponse | None:
        if request.method != "POST":
            return None
        text = body.get("text")
        return (
            web.Response(text=text, status=status)
            if text is not None
            else web.json_response(body, status=status)
        )

    return answer


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (said(500, code="internal_error", message="eval_conflict_error"), "internal_error: eval_conflict_error"),
        (said(401, code="unauthorized", message="no"), "status 401"),
        (said(302, text=""), "status 302"),
        (said(200, text="<html>"), "not what OPA answers"),
        (said(200, text=""), "not what OPA answers"),
        (said(200, text='{"result": {"allow": tru'), "not what OPA answers"),
        (said(200, text="[" * 5000), "not what OPA answers"),
        (said(200, result={"allow": "yes"}), "neither true nor false"),
        (said(200, result=[1]), "neither an object"),
        (said(200, text='{"result": "' + "x" * 1_100_000 + '"}'), "more than 1048576 bytes"),
    ],
)  # fmt: skip
async def test_whatever_is_no_answer_is_trouble(
    opa: DocumentedOpa, opened: Open, answer: Callable[[web.Request], web.StreamResponse | None], told: str
) -> None:
    policy = await opened(timeout=5)
    opa.answer = answer
    with pytest.raises(Trouble, match=told):
        await one(policy)


async def test_a_batch_of_the_wrong_length_is_trouble_for_all_of_it(opa: DocumentedOpa, opened: Open) -> None:
    opa.documents[BATCHED] = lambda given: [True] * (len(given["targets"]) - 1)
    policy = await opened(batch=BATCHED)
    with pytest.raises(Trouble, match="1 answers for 2 targets"):
        await policy.decide(ANN, "/mcp", (PAY, GET))


async def test_an_answer_that_is_late_is_trouble_within_the_timeout(opa: DocumentedOpa, opened: Open) -> None:
    policy = await opened(timeout=0.05)
    opa.open.clear()
    async with asyncio.timeout(5):
        with pytest.raises(Trouble, match=r"no answer within 0\.05 s"):
            await one(policy)


async def test_where_it_does_not_answer_again_and_again_nobody_waits_any_more(
    opa: DocumentedOpa, opened: Open
) -> None:
    policy = await opened(timeout=0.05, at_once=1)
    opa.open.clear()
    for _ in range(20):
        with pytest.raises(Trouble):
            await one(policy)
    with pytest.raises(Trouble, match="did not answer lately"):
        await one(policy)
    opa.open.set()
    async with asyncio.timeout(10):
        while True:
            try:
                assert (await one(policy)).allowed
                break
            except Trouble:
                await asyncio.sleep(0.01)  # until it is tried again


async def test_of_servers_that_are_not_its_own_it_is_not_asked_also_while_it_is_in_trouble(
    opa: DocumentedOpa, opened: Open
) -> None:
    policy = await opened(servers=["claims"])
    other = Target("letters", Kind.TOOL, "get")
    verdicts = await policy.decide(ANN, "/mcp", (other, GET, other, PAY))
    assert [each.allowed for each in verdicts] == [None, True, None, True]
    assert len(opa.inputs) == 2
    opa.answer = lambda _: web.Response(status=503)
    assert (await one(policy, other)).allowed is None
    with pytest.raises(Trouble):
        await policy.decide(ANN, "/mcp", (other, GET))


async def test_it_need_not_be_there_when_it_is_opened(opened: Open, tmp_path: Any) -> None:
    policy = await opened(url=f"unix://{tmp_path}/none.sock")
    with pytest.raises(Trouble, match="cannot be reached"):
        await one(policy)


async def test_what_servers_claim_of_tools_is_told_and_lets_go_of_what_was_decided(
    opa: DocumentedOpa, opened: Open
) -> None:
    policy = await opened()
    await one(policy)
    assert opa.inputs[-1]["target"]["readOnly"] is False
    before = policy.version
    policy.learn({GET: Facts(read_only=True)})
    assert policy.version != before
    await one(policy)
    assert opa.inputs[-1]["target"]["readOnly"] is True
    before = policy.version
    policy.learn({GET: Facts(read_only=True, schema=b"{}")})
    assert policy.version == before


async def test_what_it_is_told_of_principals_is_what_makes_them_differ(opened: Open) -> None:
    assert (await opened()).reads() is None
    assert (await opened(principal=["roles", "limit"])).reads() == {"roles", "limit"}


# -- changes --------------------------------------------------------------------------------------


async def test_nothing_is_let_go_of_while_nothing_changes(opa: DocumentedOpa, opened: Open) -> None:
    policy = await opened()
    await one(policy)
    before = policy.version
    for _ in range(3):
        await policy.look()
    assert policy.version == before


async def test_what_was_decided_is_let_go_of_when_policies_change(opa: DocumentedOpa, opened: Open) -> None:
    policy = await opened()
    before = policy.version
    opa.policies["authz.rego"] = ("package tidegate.authz # other", tree(PATH))
    await policy.look()
    assert policy.version != before


async def test_policies_that_it_is_not_made_of_may_change(opa: DocumentedOpa, opened: Open) -> None:
    policy = await opened()
    before = policy.version
    opa.policies["other.rego"] = ("package other", tree("other"))
    await policy.look()
    assert policy.version == before


async def test_what_it_is_made_of_can_be_recorded(opa: DocumentedOpa, opened: Open) -> None:
    opa.data["grants"] = 1
    opa.policies["authz.rego"] = ("package tidegate.authz", tree(PATH, "data.grants.?"))
    policy = await opened()
    first = policy.in_force
    assert set(first) == {"authz.rego", "data.grants"}
    assert not await policy.renew()
    opa.data["grants"] = 2
    await policy.look()
    before = policy.stamp()
    opa.answer = lambda _: web.Response(status=503)
    await policy.look()
    assert policy.stamp() == before, "that it is away is no change"
    assert await policy.renew()
    assert policy.in_force["authz.rego"] == first["authz.rego"]
    assert policy.in_force["data.grants"] != first["data.grants"]


async def test_what_was_decided_is_let_go_of_when_data_change_that_are_read(
    opa: DocumentedOpa, opened: Open
) -> None:
    opa.data["grants"] = {"ann": 1}
    opa.policies["authz.rego"] = ("package tidegate.authz", tree(PATH, "data.grants.?"))
    policy = await opened()
    before = policy.version
    opa.data["others"] = 1
    await policy.look()
    assert policy.version == before
    opa.data["grants"] = {"ann": 2}
    await policy.look()
    assert policy.version != before


async def test_a_revision_is_looked_at_alone_where_there_is_one(opa: DocumentedOpa, opened: Open) -> None:
    revision = ["a"]
    opa.documents["tidegate/many/revision"] = lambda _: revision[0]
    policy = await opened(revision="tidegate/many/revision")
    before = policy.version
    opa.policies["authz.rego"] = ("package tidegate.authz # other", tree(PATH))
    await policy.look()
    assert policy.version == before
    revision[0] = "b"
    await policy.look()
    assert policy.version != before
    before = policy.version
    opa.bundles = {"authz": {"revision": "2"}}
    await policy.look()
    assert policy.version != before
    assert "GET policies" not in opa.asked


async def test_what_it_decided_is_let_go_of_while_it_cannot_be_seen(opa: DocumentedOpa, opened: Open) -> None:
    policy = await opened()
    await one(policy)
    before = policy.version
    opa.answer = lambda request: web.Response(status=503) if request.method == "GET" else None
    await policy.look()
    assert policy.version != before
    before = policy.version
    await policy.look()
    assert policy.version == before, "nothing was decided since"
    await one(policy)
    await policy.look()
    assert policy.version != before
    before = policy.version
    opa.answer = lambda _: web.Response(status=503)
    for _ in range(3):
        with pytest.raises(Trouble):
            await one(policy)
        await policy.look()
    assert policy.version == before, "while nothing is decided there is nothing to let go of"
    opa.answer = None
    async with asyncio.timeout(10):
        while policy.version == before:
            await policy.look()  # until the breaker lets it try


@pytest.mark.parametrize(
    ("policies", "status", "told"),
    [
        (tree(PATH), 401, "cannot be read .status 401.*name a `revision`"),
        (tree(PATH, "data.?"), 0, "by names that they compute"),
        (tree(PATH, "input.arguments.amount", rules=("allow",)), 0, "have no `reads`"),
    ],
)
async def test_nothing_is_decided_where_a_change_would_not_be_seen_or_arguments_never_told(
    opa: DocumentedOpa, opened: Open, policies: Json, status: int, told: str
) -> None:
    opa.policies["authz.rego"] = ("package tidegate.authz", policies)
    if status:
        opa.answer = lambda request: web.Response(status=status) if request.method == "GET" else None
    policy = await opened()
    with pytest.raises(Trouble, match=told):
        await one(policy)
    opa.policies["authz.rego"], opa.answer = ("package tidegate.authz", tree(PATH)), None
    await policy.look()
    assert (await one(policy)).allowed


async def test_a_revision_that_is_not_there_denies(opened: Open) -> None:
    policy = await opened(revision="tidegate/many/revision")
    with pytest.raises(Trouble, match="nothing at tidegate/many/revision"):
        await one(policy)
