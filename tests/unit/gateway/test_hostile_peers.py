"""What a client or a server may try that no honest one does, and what becomes of it."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import Any

import pytest
from msgspec import Raw

from tests.unit.fleet.setting import spec
from tests.unit.gateway.asking import AskingServer
from tests.unit.gateway.hearing import Ears, principal
from tests.unit.gateway.setting import OPEN, Client, GatewaySetting
from tests.unit.gateway.test_any_params import Everything
from tests.unit.gateway.test_questions_of_servers import ANSWERS, expected, modern, person, retry
from tidegate.channels.channel import Reply
from tidegate.domain.endpoint import Effect, EndpointSpec, Rule
from tidegate.domain.errors import Overloaded, SessionUnknown, UpstreamProtocolError
from tidegate.domain.principal import Principal
from tidegate.domain.server import Sharing
from tidegate.extensions.state.memory import MemoryState
from tidegate.gateway.handles import Origin
from tidegate.gateway.inquiries import EACH as MOST
from tidegate.gateway.inquiries import GIVEN_UP
from tidegate.gateway.interests import Interests
from tidegate.gateway.parked import ParkedCalls
from tidegate.gateway.sessions import ROWS
from tidegate.gateway.subscribed import EACH, OF_ONE, Subscribed, Topic
from tidegate.protocol import capabilities, rounds
from tidegate.protocol.codec import encode
from tidegate.testing.memory_server import MemoryServer
from tidegate.testing.scripted import until

Json = dict[str, Any]
ANN = Principal("t", "test", "ann", frozenset({"user"}))


async def test_a_legacy_client_cannot_make_up_the_state_of_a_modern_servers_round(gateway: OPEN) -> None:
    server = AskingServer(modern=True)
    made = await gateway(spec("one"), servers={"one": server}, wait=["one__echo"])
    ann = await made.client("ann")
    told = await ann.ask(
        "tools/call",
        name="one__echo",
        arguments={},
        requestState="9",
        inputResponses={"form": {"action": "accept"}},
    )
    assert told.text == "[{}]"
    (called,) = [each for each in server.heard if each.get("method") == "tools/call"]
    assert called["params"].keys() == {"name", "arguments", "_meta"}


async def extended(gateway: OPEN, **endpoint: Any) -> GatewaySetting:
    """Open a gateway to a modern server that answers every method of an extension."""
    return await gateway(
        spec("one"), servers={"one": Everything(modern=True)}, wait=["one__echo"],
        endpoints=[EndpointSpec("/mcp", ("one",), **endpoint)],
    )  # fmt: skip


@pytest.mark.parametrize(
    "method",
    ["Tools/Call", "tools/call ", "tools /call", "/tools/call", "./tools/call", "x/../tools/call", "tools\u2044call",
     "resources/read/", "resources//read", "resources/./read", "RESOURCES/READ", "resources/templates/x", "x\x00/y",
     "notifications/x", "x" * 200 + "/y"],
)  # fmt: skip
async def test_what_could_be_taken_for_a_method_of_mcp_is_no_extensions(gateway: OPEN, method: str) -> None:
    made = await extended(gateway)
    ann = await made.client()
    assert "result" in (await ann.ask("x/y")).message
    told = await ann.ask(method, name="echo", uri="x://a", arguments={})
    assert told.error["code"] == -32601
    assert made.outcomes() == ["ok"]


@pytest.mark.parametrize(
    "endpoint",
    [
        {"rules": (Rule(Effect.ALLOW), Rule(Effect.DENY, resources=("x://secret/*",)))},
        {"rules": (Rule(Effect.ALLOW, tools=("echo",)),)},
        {"tools": ("one__echo",)},
    ],
    ids=["something is denied", "something is allowed", "something is chosen"],
)
async def test_no_method_of_an_extension_comes_to_what_the_rules_keep_back(
    gateway: OPEN, endpoint: Json
) -> None:
    made = await extended(gateway, **endpoint)
    ann = await made.client()
    told = await ann.ask("resources/directory/read", uri="x://secret/")
    assert (told.error["code"], made.outcomes()) == (-32601, [])


ROOTS: Json = {"roots": {"listChanged": True}}


async def test_only_who_may_reach_a_server_and_has_roots_tells_it_of_changed_ones(gateway: OPEN) -> None:
    server = AskingServer()
    rules = (Rule(Effect.ALLOW, roles=frozenset({"admin"})),)
    made = await gateway(
        spec("one", sharing=Sharing.SHARED), servers={"one": server}, wait=["one__echo"],
        endpoints=[EndpointSpec("/mcp", ("one",), rules=rules)],
    )  # fmt: skip
    method = "notifications/roots/list_changed"
    ann, bare = (
        await made.client("ann:admin", capabilities=ROOTS),
        await made.client("ann:admin", capabilities={}),
    )
    for each in (ann, bare):
        assert (await each.tool("one__echo")).text == "[{}]"
    bob = await made.client("bob", capabilities=ROOTS)
    for each in (bob, bare):
        await each.ask(method, None)
    await made.time.settle()
    assert method not in [each.get("method") for each in server.heard]
    await ann.ask(method, None)
    await until(lambda: method in [each.get("method") for each in server.heard])
    assert [each["data"]["method"] for each in made.records("request")].count(method) == 2


async def test_a_question_that_is_given_up_at_once_takes_no_place_of_the_next(gateway: OPEN) -> None:
    made = await gateway(spec("one"), servers={"one": AskingServer()}, wait=["one__form"])
    ann = await person(made)
    call = ann.client.request("tools/call", {"name": "one__echo"}, 1)
    await made.send(call)
    asked = made.built.inquiries.asked_by(call, "one", 5.0)
    answers: list[Reply] = []
    for _ in range(20):
        answer = answers.append
        assert asked("roots/list", {}, answer)
        asked(GIVEN_UP, {}, answer)  # in the same breath, so that it is not passed on at all
        await made.time.settle()
    assert made.records("question") == []
    assert made.built.inquiries._open == {}  # pyright: ignore[reportPrivateUsage]


def test_no_client_can_name_its_capabilities_so_that_they_pass_for_anothers() -> None:
    honest = {"elicitation": Raw(b"{}"), "sampling": Raw(b"{}")}
    forged = {"elicitation:{},sampling": Raw(b"{}")}
    assert capabilities.fingerprint(honest) != capabilities.fingerprint(forged)
    assert capabilities.fingerprint(honest) == capabilities.fingerprint(dict(honest))


def test_a_question_has_no_endless_name() -> None:
    def named(length: int) -> Json:
        request = {"method": "roots/list"}
        return {"inputRequests": Raw(encode({"k" * length: request}))}

    assert list(rounds.read(named(rounds.LONGEST_KEY))) == ["k" * rounds.LONGEST_KEY]
    with pytest.raises(UpstreamProtocolError):
        rounds.read(named(rounds.LONGEST_KEY + 1))


async def test_what_others_keep_of_a_session_is_no_damage_to_it(capsys: pytest.CaptureFixture[str]) -> None:
    ears = Ears()
    running = asyncio.create_task(ears.sessions.run())
    await ears.time.settle()
    ann = principal("ann")
    session = await ears.session(ann)
    call = ears.legacy(ann, session, "resources/subscribe", uri="file://one__/a")
    await ears.subscriptions.subscribe(call)
    await ears.sessions.remember(session, "level", b"info")
    await ears.time.settle()
    running.cancel()
    await asyncio.wait([running])
    assert "state.failed" not in capsys.readouterr().out


async def test_one_principal_leaves_room_for_the_subscriptions_of_others() -> None:
    ears = Ears()
    kept = Subscribed(ears.state, Interests(), ears.endpoints, ears.streams, ears.now)

    async def add(name: str, session: str, number: int) -> None:
        topic = Topic("one", "shared", f"file:///{number}", f"file://one__/{number}")
        await kept.add(session, ears.endpoints["/mcp"], principal(name), topic)

    for number in range(OF_ONE):
        await add("ann", f"s{number // EACH}", number)
    with pytest.raises(Overloaded, match="of your subscriptions"):
        await add("ann", "another", 1)
    await add("bob", "his", 1)
    await kept.remove("s0", Topic("one", "shared", "file:///0", "file://one__/0"))
    await add("ann", "another", 1)


async def test_what_a_server_asks_after_a_modern_clients_call_is_answered_with_an_error(
    gateway: OPEN,
) -> None:
    server = MemoryServer()
    made = await gateway(spec("one"), servers={"one": server})
    assert (await modern(made, "echo", arguments={"text": "x"})).text == "x"
    server.ask(5, "roots/list")
    await until(lambda: len(server.answers) == server.runs == 2)  # the other was offered nothing
    assert all("error" in answer for answer in server.answers)


async def test_a_question_that_nobody_came_back_for_is_answered_with_an_error(gateway: OPEN) -> None:
    server = AskingServer()
    made = await gateway(spec("one"), servers={"one": server}, wait=["one__form"])
    await modern(made, "two")
    await made.time.advance(601, 60)
    assert len(made.built.parked) == 0
    answers = [each for each in server.heard if "method" not in each]
    assert ["error" in each for each in answers] == [True, True]
    events = [each["data"]["event"] for each in made.records("question")]
    assert events == ["asked", "asked", "dropped", "dropped"]


async def test_a_progress_token_of_any_length_is_not_sent_back_again_and_again(gateway: OPEN) -> None:
    server = MemoryServer()
    made = await gateway(spec("one"), servers={"one": server})
    ann = await made.client()
    for length in (100, 1000):
        told = await ann.ask(
            "tools/call", name="one__echo", arguments={"text": "x"}, _meta={"progressToken": "t" * length}
        )
        assert told.text == "x"
    assert ["progressToken" in each["params"].get("_meta", {}) for each in server.calls] == [True, False]


async def test_a_server_that_makes_up_questions_makes_up_no_metrics(gateway: OPEN) -> None:
    made = await gateway(spec("one"), servers={"one": AskingServer(modern=True)}, wait=["one__odd"])
    assert (await modern(made, "odd")).error["code"] == -32021
    assert list(made.metrics.questions) == [("one", "other", "missing_capability")]


async def test_no_call_of_either_era_has_its_server_fill_the_journal_with_questions(gateway: OPEN) -> None:
    server = AskingServer()
    made = await gateway(spec("one"), servers={"one": server}, wait=["one__form"])
    ann = await person(made)
    call = ann.client.request("tools/call", {"name": "one__echo"}, 1)
    await made.send(call)
    asked = made.built.inquiries.asked_by(call, "one", 5.0)
    taken = 0
    for _ in range(MOST + 20):
        taken += asked("roots/list", {}, lambda _: None)
        await made.time.settle()
    assert taken == MOST
    parked = ParkedCalls(made.limits, made.built.inquiries, lambda: "x")
    lease = await made.fleet.lease("one")
    held, taken = parked.hold(call, lease), 0
    for _ in range(MOST + 20):
        answer = lambda _: None  # noqa: E731
        taken += held.asked("roots/list", {}, answer)
        held.asked(GIVEN_UP, {}, answer)
    lease.release()
    assert taken == MOST


async def test_a_reading_with_more_than_a_uri_is_nobody_elses_answer(gateway: OPEN) -> None:
    server = Everything(modern=True)
    made = await gateway(spec("one"), servers={"one": server}, wait=["one__echo"])
    ann = await made.client("ann")

    async def reads(**params: Any) -> int:
        assert "result" in (await ann.ask("resources/read", uri="x://one__a", **params)).message
        return sum(each.get("method") == "resources/read" for each in server.heard)

    assert [await reads(), await reads()] == [1, 1]
    await made.time.advance(61, 61)
    assert [await reads(language="xx"), await reads(_meta={"tenant": "evil"})] == [2, 3]
    assert [await reads(), await reads(_meta={"progressToken": 1})] == [4, 4]


async def test_what_servers_are_asked_for_counts_as_a_call(gateway: OPEN) -> None:
    made = await gateway()
    ann, bob = await made.client("ann"), await made.client("bob")

    async def reason(client: Client, method: str) -> str:
        message = (await client.ask(method, uri="x://one__a")).message
        return "none" if "result" in message else message["error"]["data"]["reason"]

    for method, otherwise in (("tasks/list", "none"), ("resources/subscribe", "invalid_params")):
        with ExitStack() as busy:
            for _ in range(10):
                made.limits.enter(ANN)
                busy.callback(made.limits.leave, ANN)
            assert [await reason(ann, method), await reason(bob, method)] == ["overloaded", otherwise]
        assert await reason(ann, method) == otherwise


async def test_tasks_of_sessions_that_are_gone_are_not_remembered_for_ever() -> None:
    ears = Ears()
    result = Raw(encode({"resultType": "task", "taskId": "t", "status": "working", "ttlMs": 60_000}))
    for number in range(3000):
        if number % 1000 == 0:
            await ears.time.advance(61, 61)
        call = ears.modern(principal("ann"), "tools/call", name="one__slow", arguments={})
        ears.tasks.out(call, Origin("one", f"ann.{number}", "tg-1", "slow"), result)
    assert 1000 <= len(ears.tasks._going_on) < 2000  # pyright: ignore[reportPrivateUsage]
    assert ears.tasks.held("one", "ann.2999")


@pytest.mark.parametrize("client", ["legacy", "modern"])
async def test_a_call_that_is_made_again_can_be_asked_in_like_any_other(gateway: OPEN, client: str) -> None:
    server = AskingServer()
    made = await gateway(spec("one", stateless=True), servers={"one": server}, wait=["one__form"])
    ann = await person(made)
    assert (await (ann.tool("one__echo") if client == "legacy" else modern(made, "echo"))).text == "[{}]"
    for workload in made.fleet.fleet.pools["one"].workloads.values():
        assert workload.channel is not None
        await workload.channel.close()  # as if it had been lost just now: nothing is sent on it
    if client == "legacy":
        told = await ann.tool("one__form", 2)
    else:
        first = await modern(made, "form")
        told = await modern(made, "form", **retry(first))
    assert told.text == expected("form")
    assert server.runs > 2


async def test_a_round_that_is_driven_for_a_client_goes_on_only_while_it_may(gateway: OPEN) -> None:
    server = AskingServer(modern=True)
    made = await gateway(spec("one"), servers={"one": server}, wait=["one__form"])
    ann = await person(made, silent=True)
    call = asyncio.create_task(ann.tool("one__form"))
    await until(lambda: ann.asked)
    answered = await ann.answer(ann.asked[0]["id"], ANSWERS["elicitation/create"])
    made.identity.revoke("ann")
    assert answered.answer.status == 202
    assert (await call).error["data"]["reason"] == "unauthenticated"
    assert len([each for each in server.heard if each.get("method") == "tools/call"]) == 1


async def test_no_number_of_sessions_of_one_principal_fills_the_store() -> None:
    ears = Ears(state=MemoryState(entries=ROWS + 100))
    ann, bob = principal("ann"), principal("bob")
    ended = ""
    for number in range(ROWS + 200):
        ended = ears.sessions.create(ann, "/mcp", "2025-11-25", "c", b"{}")
        session = await ears.sessions.open(ended, ann, "/mcp")
        if number % 2:
            await ears.sessions.remember(session, "level", b"info")
        await ears.sessions.end(ended, session)
    with pytest.raises(SessionUnknown):
        await ears.sessions.open(ended, ann, "/mcp")
    await ears.sessions.remember(await ears.session(bob), "level", b"info")
    assert len(await ears.state.scan("session/")) == ROWS + 1
