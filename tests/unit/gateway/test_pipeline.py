"""The path of a call: its order, and that every end of it is recorded."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.fleet.setting import QUICK, spec
from tests.unit.gateway.setting import OPEN, GatewaySetting
from tidegate.domain.endpoint import Effect, EndpointSpec, Names, Rule
from tidegate.domain.errors import Unauthenticated
from tidegate.domain.server import Sharing
from tidegate.testing.memory_server import MemoryServer

RULED = EndpointSpec(
    "/mcp",
    ("one",),
    rules=(
        Rule(Effect.DENY, tools=("count",)),
        Rule(Effect.ALLOW, frozenset({"user", "admin"})),
    ),
)


def heard(gateway: GatewaySetting, server: str = "one") -> MemoryServer:
    """Give the server behind a gateway."""
    return gateway.fleet.servers[server]


async def test_a_call_is_recorded_before_it_goes_out_and_its_outcome_after(gateway: OPEN) -> None:
    made = await gateway()
    seen: list[list[str]] = []
    server = heard(made)
    waiting = asyncio.create_task(made.tool("one__waits", text="x"))
    await made.time.until(lambda: server.calls)
    seen.append([each["kind"] for each in made.records() if each["kind"].startswith("call")])
    server.release.set()
    told = await waiting
    assert told.text == "x"
    seen.append([each["kind"] for each in made.records() if each["kind"].startswith("call")])
    assert seen == [["call.intent"], ["call.intent", "call.outcome"]]


async def test_an_intent_says_who_what_and_by_which_rule_and_not_the_arguments(gateway: OPEN) -> None:
    made = await gateway()
    await made.tool("one__echo", who="ann:admin", text="a private matter")
    (intent,) = made.records("call.intent")
    assert (intent["subject"], intent["credential"], intent["peer"]) == ("ann", "k-ann", "192.0.2.1")
    assert (intent["server"], intent["name"], intent["shown"]) == ("one", "echo", "one__echo")
    assert intent["rule"] == "/mcp rules[0]"
    assert "private" not in str(made.records())


async def test_a_denied_call_is_audited_and_never_forwarded(gateway: OPEN) -> None:
    made = await gateway(endpoints=[RULED])
    told = await made.tool("one__count")
    assert told.error["code"] == -32602
    assert heard(made).calls == []
    assert made.refusals() == ["invalid_params"]
    assert made.records("call.intent") == []
    assert made.records("refused")[0]["data"]["name"] == "one__count"


async def test_a_hidden_tool_looks_like_an_unknown_one(gateway: OPEN) -> None:
    made = await gateway(endpoints=[RULED])
    hidden, unknown = await made.tool("one__count"), await made.tool("one__wound")
    assert hidden.answer.status == unknown.answer.status
    errors = [hidden.error, unknown.error]
    for error in errors:
        error["data"].pop("id")
        error["message"] = error["message"].rpartition(":")[0]
    assert errors[0] == errors[1]
    listed = (await made.modern("tools/list")).result["tools"]
    assert "one__count" not in {tool["name"] for tool in listed}


async def test_the_rules_bind_to_the_tool_and_not_to_the_name_it_is_shown_by(gateway: OPEN) -> None:
    plain = EndpointSpec("/mcp", ("one",), names=Names.PLAIN, rules=RULED.rules)
    made = await gateway(endpoints=[plain], wait=("echo",))
    assert (await made.tool("count")).error["code"] == -32602
    assert (await made.tool("one__count")).error["code"] == -32602
    assert (await made.tool("echo", text="x")).text == "x"


@pytest.mark.parametrize("who", [None, "bad"])
async def test_a_stranger_is_refused_before_anything_is_looked_up(gateway: OPEN, who: str | None) -> None:
    made = await gateway()
    for name in ("one__echo", "one__nothing"):
        told = await made.tool(name, who=who)
        assert told.answer.status == 401
        assert isinstance(told.answer.refusal, Unauthenticated)
    assert heard(made).calls == []
    assert made.refusals() == ["unauthenticated"] * 2


async def test_strangers_cannot_fill_the_journal(gateway: OPEN) -> None:
    made = await gateway()
    for _ in range(200):
        await made.tool("one__echo", who="bad")
    assert len(made.records("refused")) < 10
    assert made.metrics.refusals["unauthenticated"] == 200


async def test_a_principal_without_a_role_is_shown_nothing(gateway: OPEN) -> None:
    made = await gateway()
    assert (await made.modern("tools/list", who="ann:guest")).result["tools"] == []
    assert (await made.tool("one__echo", who="ann:guest")).error["code"] == -32602


async def test_where_nothing_can_be_recorded_nothing_is_done(gateway: OPEN) -> None:
    made = await gateway()
    made.journal.close()
    told = await made.tool("one__echo", text="x")
    assert told.answer.status == 503
    assert told.error["code"] == -31007
    assert heard(made).calls == []
    listed = await made.modern("tools/list")
    assert listed.answer.status == 503
    assert made.limits.in_flight == 0


async def test_a_server_that_answers_with_an_error_is_relayed_and_recorded_with_its_code(
    gateway: OPEN,
) -> None:
    made = await gateway()
    told = await made.tool("one__refuses")
    assert told.error == {"code": -32050, "message": "refused by the tool"}
    (outcome,) = made.records("call.outcome")
    assert (outcome["outcome"], outcome["code"]) == ("error", -32050)


async def test_a_tools_own_error_is_a_result_and_recorded_as_such(gateway: OPEN) -> None:
    made = await gateway()
    assert (await made.tool("one__fails")).result["isError"] is True
    assert made.outcomes() == ["tool_error"]


async def test_a_result_is_given_in_the_clients_dress(gateway: OPEN) -> None:
    made = await gateway()
    assert (await made.tool("one__echo")).result["resultType"] == "complete"
    assert "resultType" not in (await (await made.client()).tool("one__echo")).result


async def test_a_legacy_server_that_answers_as_modern_ones_do_is_not_believed(gateway: OPEN) -> None:
    made = await gateway(spec("one"), servers={"one": MemoryServer(more=["asks"])}, wait=["one__asks"])
    for told in (await made.tool("one__asks"), await (await made.client()).tool("one__asks")):
        assert told.error["code"] == -31002
        assert "'input_required'" in told.error["message"]
    assert made.outcomes() == ["error", "error"]


async def test_progress_comes_back_under_the_clients_own_token(gateway: OPEN) -> None:
    made = await gateway()
    told = await made.modern("tools/call", name="one__echo", meta={"progressToken": "mine"})
    assert told.notified == [("notifications/progress", {"progressToken": "mine", "progress": 1, "total": 2})]
    assert heard(made).calls[0]["params"]["_meta"]["progressToken"] != "mine"


async def test_what_belongs_to_the_clients_hop_does_not_reach_the_server(gateway: OPEN) -> None:
    made = await gateway()
    await made.modern("tools/call", name="one__echo", meta={"traceparent": "00-a-b-01"})
    (call,) = heard(made).calls
    assert call["params"]["name"] == "echo"
    assert call["params"]["_meta"] == {"traceparent": "00-a-b-01"}


async def test_a_cancelled_call_is_recorded_and_cancelled_at_the_server(gateway: OPEN) -> None:
    made = await gateway()
    client = await made.client()
    call = asyncio.create_task(client.tool("one__waits", request_id="slow"))
    await made.time.until(lambda: heard(made).calls)
    told = await client.ask("notifications/cancelled", None, requestId="slow")
    assert told.answer.status == 202
    with pytest.raises(asyncio.CancelledError):
        await call
    await made.time.settle()
    assert made.outcomes() == ["cancelled"]
    assert heard(made).cancelled == [heard(made).calls[0]["id"]]
    assert made.limits.in_flight == 0


async def test_a_call_that_still_waits_for_its_server_can_be_cancelled_too(gateway: OPEN) -> None:
    made = await gateway(spec("one", sharing=Sharing.SESSION))
    first = await made.client()
    await first.tool("one__echo")
    made.fleet.runtime.hold = asyncio.Event()
    client = await made.client()
    call = asyncio.create_task(client.tool("one__echo", request_id=7))
    await made.time.until(lambda: made.fleet.runtime.starting)
    await client.ask("notifications/cancelled", None, requestId=7)
    await made.time.settle()
    assert call.cancelled()
    made.fleet.runtime.hold.set()
    await made.time.settle()
    assert len(heard(made).calls) == 1
    assert made.limits.in_flight == 0


async def test_a_call_can_be_cancelled_by_nobody_elses_session(gateway: OPEN) -> None:
    made = await gateway()
    mine, other, bob = await made.client(), await made.client(), await made.client("bob")
    call = asyncio.create_task(mine.tool("one__waits", request_id=1))
    await made.time.until(lambda: heard(made).calls)
    for each in (other, bob):
        await each.ask("notifications/cancelled", None, requestId=1)
    await mine.ask("notifications/cancelled", None, requestId="1")
    await made.time.settle()
    assert not call.done()
    heard(made).release.set()
    assert (await call).answer.status == 200


async def test_a_call_over_its_time_is_an_error_and_recorded_as_timeout(gateway: OPEN) -> None:
    made = await gateway(spec("one", timeouts=QUICK))
    call = asyncio.create_task(made.tool("one__waits"))
    await made.time.until(lambda: heard(made).calls)
    await made.time.advance(6)
    told = await call
    assert told.error["code"] == -31004
    assert "outcome is unknown" in told.error["message"]
    assert made.outcomes() == ["timeout"]
    await made.time.settle()
    assert len(heard(made).cancelled) == 1


async def test_progress_does_not_make_a_call_last_for_ever(gateway: OPEN) -> None:
    made = await gateway(spec("one", timeouts=QUICK))
    call = asyncio.create_task(made.modern("tools/call", name="one__waits", meta={"progressToken": 1}))
    await made.time.until(lambda: heard(made).calls)
    await made.time.advance(6)
    assert (await call).error["code"] == -31004


async def test_a_call_in_flight_when_the_server_dies_failed_and_is_never_repeated(gateway: OPEN) -> None:
    made = await gateway()
    told = await made.tool("one__dies", status=3)
    assert told.error["code"] == -31002
    assert "status 3" in told.error["message"]
    assert made.outcomes() == ["failed"]
    assert len(heard(made).calls) == 1
    lost = await made.tool("one__echo")
    assert lost.error["code"] == -31005
    assert (await made.tool("one__echo", text="x")).text == "x"
    assert made.outcomes() == ["failed", "ok"]


async def test_a_call_of_which_nothing_could_be_sent_goes_to_the_server_that_comes_next(
    gateway: OPEN,
) -> None:
    made = await gateway(spec("one", stateless=True))
    (workload,) = made.fleet.world.running
    made.fleet.world.processes[workload].pipes.input_broken = True
    told = await asyncio.gather(*(made.tool("one__echo", text=f"n{n}") for n in range(5)))
    assert [each.text for each in told] == [f"n{n}" for n in range(5)]
    assert len(heard(made).calls) == 5
    assert made.outcomes() == ["ok"] * 5
    assert heard(made).runs == 2


async def test_a_call_of_which_nothing_could_be_sent_is_told_of_a_memory_that_is_gone(gateway: OPEN) -> None:
    made = await gateway()
    await made.tool("one__count")
    (workload,) = made.fleet.world.running
    made.fleet.world.processes[workload].pipes.input_broken = True
    assert (await made.tool("one__count")).error["code"] == -31005
    assert (await made.tool("one__count")).text == "1"


async def test_a_server_that_cannot_be_had_is_an_error_without_an_intent(gateway: OPEN) -> None:
    made = await gateway()
    heard(made).exits = 5
    made.fleet.world.kill(next(iter(made.fleet.world.running)))
    await made.time.until(lambda: made.fleet.state_of("one") == "failed")
    told = await made.tool("one__echo")
    assert told.error["code"] == -31001
    assert "status 5" in told.error["message"]
    assert made.records("call.intent") == []


async def test_after_a_wait_for_a_server_the_credentials_are_looked_at_again(gateway: OPEN) -> None:
    made = await gateway(spec("one", sharing=Sharing.SESSION))
    await made.tool("one__echo")
    made.fleet.runtime.hold = asyncio.Event()
    client = await made.client("mallory")
    call = asyncio.create_task(client.tool("one__echo"))
    await made.time.until(lambda: made.fleet.runtime.starting)
    made.identity.revoke("mallory")
    made.fleet.runtime.hold.set()
    assert (await call).answer.status == 401
    assert len(heard(made).calls) == 1


async def test_a_call_that_waits_for_the_server_that_comes_next_is_looked_at_again_too(gateway: OPEN) -> None:
    made = await gateway(spec("one", stateless=True))
    await made.tool("one__echo", who="mallory")
    (workload,) = made.fleet.world.running
    made.fleet.world.processes[workload].pipes.input_broken = True
    made.fleet.runtime.hold = asyncio.Event()
    call = asyncio.create_task(made.tool("one__echo", who="mallory"))
    await made.time.until(lambda: made.fleet.runtime.starting)
    made.identity.revoke("mallory")
    made.fleet.runtime.hold.set()
    assert (await call).answer.status == 401
    assert len(heard(made).calls) == 1
    assert made.outcomes() == ["ok", "failed"]


async def test_a_session_that_ended_while_its_call_waited_calls_nothing(gateway: OPEN) -> None:
    made = await gateway(spec("one", sharing=Sharing.SESSION))
    await (await made.client()).tool("one__echo")
    made.fleet.runtime.hold = asyncio.Event()
    client = await made.client()
    call = asyncio.create_task(client.tool("one__echo"))
    await made.time.until(lambda: made.fleet.runtime.starting)
    ending = client.request("x", {}, 1)
    assert (await made.pipeline.end_session(ending)).status == 200
    made.fleet.runtime.hold.set()
    assert (await call).error["code"] in (-32600, -31001)  # whether the session or its server is missed first
    assert len(heard(made).calls) == 1


async def test_a_gateway_that_stops_takes_no_further_call(gateway: OPEN) -> None:
    made = await gateway()
    made.pipeline.draining = True
    told = await made.tool("one__echo")
    assert (told.answer.status, told.error["code"]) == (503, -31009)
    assert heard(made).calls == []


async def test_calls_over_the_bound_are_refused_and_places_given_back(gateway: OPEN) -> None:
    made = await gateway()
    calls = [asyncio.create_task(made.tool("one__waits")) for _ in range(10)]
    await made.time.until(lambda: len(heard(made).calls) == 10)
    assert (await made.tool("one__echo")).error["code"] == -31006
    assert (await made.tool("one__echo", who="bob")).text == ""
    heard(made).release.set()
    assert {told.answer.status for told in await asyncio.gather(*calls)} == {200}
    assert made.limits.in_flight == 0
    assert (await made.tool("one__echo")).answer.status == 200


async def test_each_session_has_a_server_of_its_own_where_that_is_declared(gateway: OPEN) -> None:
    made = await gateway(spec("one", sharing=Sharing.SESSION))
    first, second = await made.client(), await made.client()
    assert (await first.tool("one__who")).text != (await second.tool("one__who")).text
    assert (await first.tool("one__count")).text == "2"


async def test_each_call_has_a_server_of_its_own_where_that_is_declared(gateway: OPEN) -> None:
    made = await gateway(spec("one", sharing=Sharing.CALL))
    told = await asyncio.gather(*(made.tool("one__who") for _ in range(5)))
    assert len({each.text for each in told}) == 5
    assert [(await made.tool("one__count")).text for _ in range(3)] == ["1", "1", "1"]


# -- what the gateway answers itself ------------------------------------------------------------


async def test_initialize_gives_a_session_and_the_revision_that_was_asked_for(gateway: OPEN) -> None:
    made = await gateway(servers={"one": MemoryServer(instructions="Be kind.")})
    for revision in ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"):
        call = made.call(
            {},
            {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": revision}},
            "ann",
        )
        told = await made.send(call)
        assert told.result["protocolVersion"] == revision
        assert told.result["instructions"] == "## one (tools one__…)\nBe kind."
        assert told.answer.headers[0][0] == b"mcp-session-id"


@pytest.mark.parametrize("capabilities", [[1], "x" * 500, 7, None, "x"])
async def test_capabilities_that_are_no_object_are_refused(gateway: OPEN, capabilities: object) -> None:
    made = await gateway()
    params = {"protocolVersion": "2025-11-25", "capabilities": capabilities}
    told = await made.send(
        made.call({}, {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}, "ann")
    )
    assert told.error["code"] == -32602


@pytest.mark.parametrize(
    ("method", "modern"), [("server/discover", False), ("no/such", False), ("no/such", True), ("", True)]
)
async def test_an_unknown_method_is_32601_with_404_for_modern_clients_only(
    gateway: OPEN, method: str, modern: bool
) -> None:
    made = await gateway()
    told = await made.modern(method) if modern else await (await made.client()).ask(method)
    assert told.error["code"] == -32601
    assert told.answer.status == (404 if modern else 200)


async def test_notifications_and_responses_are_taken_without_a_word(gateway: OPEN) -> None:
    made = await gateway()
    client = await made.client()
    for method in ("notifications/initialized", "notifications/cancelled", "notifications/of/its/own"):
        assert (await client.ask(method, None)).answer == (await client.ask(method, None)).answer
        assert (await client.ask(method, None)).answer.status == 202
    assert (await client.ask("tools/call", None, name="one__echo")).answer.status == 202
    assert heard(made).calls == []


async def test_a_session_ends_when_its_client_says_so(gateway: OPEN) -> None:
    made = await gateway()
    client = await made.client()
    assert (await client.ask("ping")).result == {}
    assert (await made.pipeline.end_session(client.request("x", {}, 1))).status == 200
    assert (await client.ask("ping")).answer.status == 404
    assert (await made.pipeline.end_session(client.request("x", {}, 1))).status == 404


async def test_requests_answered_here_are_recorded_but_for_pings(gateway: OPEN) -> None:
    made = await gateway()
    client = await made.client(clientInfo={"name": "claude", "version": "9"})
    await client.ask("tools/list")
    await client.ask("ping")
    assert [each["data"]["method"] for each in made.records("request")] == ["initialize", "tools/list"]
    assert {each["data"]["client"] for each in made.records("request")} == {"claude 9"}


async def test_a_client_that_goes_while_its_call_is_made_durable_leaves_no_open_intent(gateway: OPEN) -> None:
    made = await gateway(durability="fsync")
    call = asyncio.create_task(made.tool("one__echo"))
    async with asyncio.timeout(5):
        while not made.journal.open_intents:
            await asyncio.sleep(0)  # not a turn more: the disk may be quick
    call.cancel()
    await asyncio.wait([call])
    assert made.journal.open_intents == 0
    assert made.outcomes() == ["cancelled"]
    assert made.limits.in_flight == 0
