"""What servers ask in the midst of a call reaches this call's client, in its era's way, and nobody else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.unit.fleet.setting import spec
from tests.unit.gateway.asking import FORM, QUESTIONS, AskingServer
from tests.unit.gateway.setting import OPEN, Client, GatewaySetting, Told
from tidegate.domain.target import Kind
from tidegate.gateway.call import Call
from tidegate.protocol import revisions
from tidegate.testing.scripted import until

Json = dict[str, Any]
EVERYTHING: Json = {"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {"listChanged": True}}
ANSWERS: dict[str, Json] = {
    "elicitation/create": {"action": "accept", "content": {"name": "Ann"}},
    "sampling/createMessage": {"role": "assistant", "content": {"type": "text", "text": "x"}, "model": "m"},
    "roots/list": {"roots": [{"uri": "file:///work"}]},
}


async def opened(gateway: OPEN, *, modern: bool, **more: Any) -> tuple[GatewaySetting, AskingServer]:
    """Open a gateway with an asking server called `one`."""
    server = AskingServer(modern=modern)
    made = await gateway(spec("one", **more), servers={"one": server}, wait=["one__form"])
    return made, server


class Person:
    """A legacy client with somebody who answers what is asked on its calls' streams."""

    def __init__(self, client: Client, *, silent: bool = False) -> None:
        self.client = client
        self.silent = silent
        self.asked: list[Json] = []
        self._answering: set[asyncio.Task[Told]] = set()

    def say(self, message: bytes) -> bool:
        """Take a message on a call's stream."""
        found: Json = json.loads(message)
        self.asked.append(found)
        if "id" in found and not self.silent:
            task = asyncio.ensure_future(self.answer(found["id"], ANSWERS[found["method"]]))
            self._answering.add(task)
        return True

    async def answer(self, ident: object, result: Json) -> Told:
        """POST a response."""
        headers = {b"mcp-protocol-version": b"2025-11-25", b"mcp-session-id": self.client.session.encode()}
        body = {"jsonrpc": "2.0", "id": ident, "result": result}
        return await self.client.gateway.send(self.client.gateway.call(headers, body, self.client.who))

    async def tool(self, name: str, request_id: object = 1, **arguments: Any) -> Told:
        """Call a tool."""
        call: Call = self.client.request("tools/call", {"name": name, "arguments": arguments}, request_id)
        call.say = self.say
        return await self.client.gateway.send(call)


async def person(
    made: GatewaySetting, who: str = "ann", capabilities: Json = EVERYTHING, **more: Any
) -> Person:
    """Let somebody begin a session."""
    return Person(await made.client(who, capabilities=capabilities), **more)


async def modern(
    made: GatewaySetting, tool: str, who: str = "ann", capabilities: Json = EVERYTHING, **params: Any
) -> Told:
    """Call a tool as a modern client, or call it again."""
    meta = {revisions.META_CAPABILITIES: capabilities}
    params.setdefault("arguments", {})
    return await made.modern("tools/call", who, name=f"one__{tool}", meta=meta, **params)


def retry(told: Told) -> Json:
    """Give what a retry brings: the answers to what was asked, and the state."""
    asked = told.result["inputRequests"]
    responses = {key: ANSWERS[each["method"]] for key, each in asked.items()}
    state = {"requestState": told.result["requestState"]} if "requestState" in told.result else {}
    return {"inputResponses": responses, **state}


def expected(*kinds: str) -> str:
    """Give the text of a tool's result that was answered."""
    return json.dumps([ANSWERS[QUESTIONS[kind][0]] for kind in kinds])


@pytest.mark.parametrize("era", [False, True], ids=["legacy server", "modern server"])
@pytest.mark.parametrize("kind", ["form", "url", "sample", "roots"])
async def test_a_legacy_client_is_asked_on_its_calls_stream_and_the_server_gets_its_answer(
    gateway: OPEN, kind: str, era: bool
) -> None:
    made, server = await opened(gateway, modern=era)
    ann = await person(made)
    assert (await ann.tool(f"one__{kind}")).text == expected(kind)
    (asked,) = ann.asked
    method, params = QUESTIONS[kind]
    assert asked["method"] == method
    assert {key: asked["params"][key] for key in params} == params
    assert asked["params"]["_meta"] == {"dev.tidegate/server": "one"}
    assert made.outcomes() == ["ok"]
    assert [each["data"]["event"] for each in made.records("question")] == ["asked", "answered"]
    offered = server.offered[-1]
    assert offered == (EVERYTHING if era else {**EVERYTHING, "roots": {"listChanged": True}})


@pytest.mark.parametrize("era", [False, True], ids=["legacy server", "modern server"])
@pytest.mark.parametrize("kind", ["form", "url", "sample", "roots"])
async def test_a_modern_client_is_asked_in_the_result_and_its_retry_ends_the_call(
    gateway: OPEN, kind: str, era: bool
) -> None:
    made, _ = await opened(gateway, modern=era)
    first = await modern(made, kind)
    assert first.result["resultType"] == "input_required"
    ((key, asked),) = first.result["inputRequests"].items()
    method, params = QUESTIONS[kind]
    assert asked["method"] == method
    assert {name: asked["params"][name] for name in params} == params
    second = await modern(made, kind, **retry(first))
    assert (second.text, second.result["resultType"]) == (expected(kind), "complete"), key
    assert made.outcomes() == ["input_required", "ok"]
    assert made.limits.in_flight == 0


@pytest.mark.parametrize("era", [False, True], ids=["legacy server", "modern server"])
async def test_several_questions_at_once_and_one_after_the_other_are_all_answered(
    gateway: OPEN, era: bool
) -> None:
    made, _ = await opened(gateway, modern=era)
    ann = await person(made)
    assert (await ann.tool("one__two")).text == expected("form", "roots")
    assert len(json.loads((await ann.tool("one__twice", 2)).text)) == (1 if era else 2)
    told = await modern(made, "two")
    while told.result["resultType"] == "input_required":
        told = await modern(made, "two", **retry(told))
    assert told.text == expected("form", "roots")
    first = await modern(made, "twice")
    second = await modern(made, "twice", **retry(first))
    assert second.result["requestState"] != first.result["requestState"]
    assert (await modern(made, "twice", **retry(second))).result["resultType"] == "complete"


async def test_what_was_not_answered_is_asked_again(gateway: OPEN) -> None:
    made, _ = await opened(gateway, modern=False)
    first = await modern(made, "form")
    again = await modern(
        made, "form", inputResponses={"other": {}}, requestState=first.result["requestState"]
    )
    assert again.result["inputRequests"] == first.result["inputRequests"]
    assert (await modern(made, "form", **retry(again))).text == expected("form")


async def test_a_parked_call_counts_as_under_way_and_ends_when_its_client_does_not_come_back(
    gateway: OPEN,
) -> None:
    made, server = await opened(gateway, modern=False)
    first = await modern(made, "form")
    assert made.limits.in_flight == 1
    await made.time.advance(1000.0)
    await until(lambda: made.limits.in_flight == 0)
    told = await modern(made, "form", **retry(first))
    assert (told.error["code"], told.error["data"]["reason"]) == (-32602, "state_invalid")
    await until(lambda: any(each.get("method") == "notifications/cancelled" for each in server.heard))


@pytest.mark.parametrize("era", [False, True], ids=["legacy server", "modern server"])
async def test_a_state_is_good_for_nobody_and_nothing_else_and_not_when_changed(
    gateway: OPEN, era: bool
) -> None:
    made, server = await opened(gateway, modern=era)
    first = await modern(made, "form", arguments={"a": 1})
    state = first.result["requestState"]
    wrong: list[Callable[[], Awaitable[Told]]] = [
        lambda: modern(made, "form", "bob", **retry(first), arguments={"a": 1}),
        lambda: modern(made, "form", **retry(first), arguments={"a": 2}),
        lambda: modern(made, "sample", **retry(first), arguments={"a": 1}),
        lambda: modern(made, "form", **{**retry(first), "requestState": state + "x"}, arguments={"a": 1}),
        lambda: modern(made, "form", **{**retry(first), "requestState": "1"}, arguments={"a": 1}),
    ]
    before = len(server.heard)
    for each in wrong:
        error = (await each()).error
        assert (error["code"], error["data"]["reason"]) == (-32602, "state_invalid")
    assert len(server.heard) == before
    assert (await modern(made, "form", **retry(first), arguments={"a": 1})).text == expected("form")


async def test_a_parked_call_is_gone_on_with_once(gateway: OPEN) -> None:
    made, _ = await opened(gateway, modern=False)
    first = await modern(made, "form")
    assert (await modern(made, "form", **retry(first))).text == expected("form")
    assert (await modern(made, "form", **retry(first))).error["data"]["reason"] == "state_invalid"


@pytest.mark.parametrize("era", [False, True], ids=["legacy server", "modern server"])
@pytest.mark.parametrize("kind", ["form", "url", "sample", "roots"])
async def test_a_client_that_declared_nothing_is_asked_nothing(gateway: OPEN, kind: str, era: bool) -> None:
    made, server = await opened(gateway, modern=era)
    told = await modern(made, kind, capabilities={})
    bob = await person(made, "bob", {})
    later = await bob.tool(f"one__{kind}")
    assert bob.asked == []
    assert all(offered == {} for offered in server.offered)
    if era:
        assert (told.error["code"], told.answer.status) == (-32021, 400)
        assert told.error["data"]["requiredCapabilities"]
        assert later.error["code"] == -32021
    else:
        assert json.loads(told.text) == json.loads(later.text) == [{"error": -32601}]


async def test_two_who_ask_at_once_are_each_asked_their_own(gateway: OPEN) -> None:
    made, server = await opened(gateway, modern=False)
    ann, bob = await person(made, "ann", silent=True), await person(made, "bob", silent=True)
    calls = [asyncio.ensure_future(each.tool("one__form")) for each in (ann, bob)]
    await until(lambda: ann.asked and bob.asked)
    for each, name in ((bob, "Bob"), (ann, "Ann")):
        # Nobody answers for another: the same id in another session counts for nothing.
        for other in (ann, bob):
            if other is not each:
                await each.answer(other.asked[0]["id"], {"action": "decline"})
        await each.answer(each.asked[0]["id"], {"action": "accept", "content": {"name": name}})
    texts = [json.loads((await call).text)[0]["content"]["name"] for call in calls]
    assert texts == ["Ann", "Bob"]
    assert server.runs == 3  # one that answers lists, and one for each


async def test_what_a_server_may_never_ask_is_refused(gateway: OPEN) -> None:
    made, _ = await opened(gateway, modern=False)
    ann = await person(made)
    assert json.loads((await ann.tool("one__odd")).text) == [{"error": -32601}]
    assert ann.asked == []
    assert json.loads((await modern(made, "odd")).text) == [{"error": -32601}]


async def test_the_error_that_wants_a_url_visited_is_a_question_to_a_modern_client(gateway: OPEN) -> None:
    made, server = await opened(gateway, modern=False)
    told = await modern(made, "visit")
    (asked,) = told.result["inputRequests"].values()
    assert asked["method"] == "elicitation/create"
    assert asked["params"]["url"] == "https://example.com/"
    calls = len([each for each in server.heard if each.get("method") == "tools/call"])
    again = await modern(made, "visit", **retry(told))
    assert again.result["resultType"] == "input_required"
    sent = [each for each in server.heard if each.get("method") == "tools/call"]
    assert len(sent) == calls + 1
    assert "requestState" not in sent[-1]["params"]
    assert (await modern(made, "visit", capabilities={})).error["code"] == -32021
    ann = await person(made)
    assert (await ann.tool("one__visit")).error["code"] == -32042


async def test_a_client_that_went_away_while_its_server_asks_ends_the_call_there(gateway: OPEN) -> None:
    made, server = await opened(gateway, modern=False)
    call = asyncio.ensure_future(modern(made, "hangs"))
    await until(lambda: any(each.get("method") == "tools/call" for each in server.heard))
    call.cancel()
    await asyncio.wait([call])
    await until(lambda: any(each.get("method") == "notifications/cancelled" for each in server.heard))
    assert made.outcomes() == ["cancelled"]
    assert FORM


async def test_a_modern_client_is_asked_for_input_only_where_it_need_expect_it(gateway: OPEN) -> None:
    made, _ = await opened(gateway, modern=False)
    await until(lambda: "one__p" in made.endpoints["/mcp"].view.of(Kind.PROMPT))
    completing: Json = {
        "ref": {"type": "ref/prompt", "name": "one__p"},
        "argument": {"name": "a", "value": ""},
    }
    told = await made.modern(
        "completion/complete", meta={revisions.META_CAPABILITIES: EVERYTHING}, **completing
    )
    assert told.result["completion"]["values"] == ['[{"error": -32601}]']  # basic/patterns/mrtr
    ann = await person(made)
    call = ann.client.request("completion/complete", completing, 1)
    call.say = ann.say
    assert (await made.send(call)).result["completion"]["values"] == [expected("form")]
