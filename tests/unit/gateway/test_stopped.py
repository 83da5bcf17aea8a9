"""What is stopped: refused before anything goes out, ended where it is under way, still listed, and back by itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.fleet.setting import spec
from tests.unit.gateway.setting import OPEN, GatewaySetting, Told
from tests.unit.gateway.test_questions_of_servers import modern, opened, person, retry
from tidegate.domain.principal import Principal
from tidegate.domain.server import Sharing
from tidegate.domain.stop import Stop, StopScope
from tidegate.testing.memory_server import MemoryServer
from tidegate.testing.scripted import until

ANN = Principal("t", "test", "ann")
REASON = "leaks customer data"
BY_SCOPE = {
    "all": (StopScope.ALL, ""),
    "tenant": (StopScope.TENANT, "t"),
    "principal": (StopScope.PRINCIPAL, "ann"),
    "key": (StopScope.PRINCIPAL, ANN.key),
    "server": (StopScope.SERVER, "one"),
    "tool": (StopScope.TOOL, "one__*"),
}


def stop(name: str, stop_id: str = "s1") -> Stop:
    return Stop(stop_id, *BY_SCOPE[name], REASON, "ops (api)", 1.0)


def heard(made: GatewaySetting, name: str = "one") -> MemoryServer:
    return made.fleet.servers[name]


def check_refused(told: Told, stop_id: str = "s1") -> None:
    error = told.error
    assert error["code"] == -31014
    assert REASON in error["message"]
    assert (error["data"]["reason"], error["data"]["stop"]) == ("stopped", stop_id)
    assert error["data"]["id"]


@pytest.mark.parametrize("scope", BY_SCOPE)
async def test_a_new_call_is_refused_with_the_reason_recorded_and_never_forwarded(
    gateway: OPEN, scope: str
) -> None:
    made = await gateway(spec("one"), spec("two"))
    client = await made.client()
    assert (await client.tool("one__echo", text="before")).text == "before"
    made.stops.turn([stop(scope)])
    check_refused(await client.tool("one__echo", 2, text="x"))
    check_refused(await made.tool("one__echo", text="x"))
    assert len(heard(made).calls) == 1
    records = made.records("refused")
    assert [(each["reason"], each["data"]["stop"], each["subject"]) for each in records] == [
        ("stopped", "s1", "ann")
    ] * 2
    assert made.metrics.refusals["stopped"] == 2
    others = await made.tool("two__echo", "bob", text="bob")
    if scope in ("all", "tenant"):
        check_refused(others)
    else:
        assert others.text == "bob"
    made.stops.turn([])
    assert (await client.tool("one__echo", 3, text="after")).text == "after"
    assert (await made.tool("one__echo", text="after")).text == "after"


async def test_what_is_hidden_looks_unknown_though_it_is_stopped(gateway: OPEN) -> None:
    made = await gateway()
    unknown = await made.tool("two__echo")
    made.stops.turn([Stop("s1", StopScope.SERVER, "two", REASON, "ops", 1.0)])
    assert (await made.tool("two__echo")).error["message"] == unknown.error["message"]


@pytest.mark.parametrize("era", ["legacy", "modern"])
@pytest.mark.parametrize("scope", BY_SCOPE)
async def test_a_call_in_flight_is_cancelled_at_its_server_and_recorded(
    gateway: OPEN, scope: str, era: str
) -> None:
    made = await gateway()
    client = await made.client()
    asking = client.tool("one__waits", "slow") if era == "legacy" else made.tool("one__waits")
    call = asyncio.create_task(asking)
    await made.time.until(lambda: heard(made).calls)
    made.stops.turn([stop(scope)])
    await made.time.settle()
    assert call.cancelled()
    assert made.outcomes() == ["cancelled"]
    assert heard(made).cancelled == [heard(made).calls[0]["id"]]
    assert made.limits.in_flight == 0


async def test_two_calls_of_one_id_are_both_cancelled_and_those_of_others_go_on(gateway: OPEN) -> None:
    made = await gateway(spec("one", sharing=Sharing.SHARED))
    client, bob = await made.client(), await made.client("bob")
    calls = [asyncio.create_task(each.tool("one__waits", 1)) for each in (client, client, bob)]
    await made.time.until(lambda: len(heard(made).calls) == 3)
    made.stops.turn([stop("principal")])
    await made.time.settle()
    assert [each.done() for each in calls] == [True, True, False]
    heard(made).release.set()
    assert (await calls[2]).answer.status == 200


async def test_a_call_that_waits_for_a_place_is_ended_and_calls_nothing(gateway: OPEN) -> None:
    made = await gateway(spec("one", sharing=Sharing.SESSION))
    await made.tool("one__echo")
    made.fleet.runtime.hold = asyncio.Event()
    call = asyncio.create_task((await made.client()).tool("one__echo"))
    await made.time.until(lambda: made.fleet.runtime.starting)
    made.stops.turn([stop("tool")])
    await made.time.settle()
    assert call.cancelled()
    made.fleet.runtime.hold.set()
    await made.time.settle()
    assert len(heard(made).calls) == 1


async def test_after_a_wait_it_is_looked_again_whether_anything_stops_the_call(gateway: OPEN) -> None:
    made = await gateway(spec("one", sharing=Sharing.SESSION))
    await made.tool("one__echo")
    made.fleet.runtime.hold = asyncio.Event()
    call = asyncio.create_task((await made.client()).tool("one__echo"))
    await made.time.until(lambda: made.fleet.runtime.starting)
    made.stops.lose("the disk is gone")  # ends nothing
    made.fleet.runtime.hold.set()
    error = (await call).error
    assert (error["code"], error["data"]["reason"]) == (-31010, "state_unavailable")
    assert len(heard(made).calls) == 1


async def test_where_it_is_not_known_what_is_stopped_nothing_new_goes_out(gateway: OPEN) -> None:
    made = await gateway()
    call = asyncio.create_task(made.tool("one__waits", text="under way"))
    await made.time.until(lambda: heard(made).calls)
    made.stops.lose("the disk is gone")
    told = await made.tool("one__echo")
    assert (told.answer.status, told.error["data"]["reason"]) == (503, "state_unavailable")
    assert (await made.modern("tools/list")).answer.status == 200
    heard(made).release.set()
    assert (await call).text == "under way"
    made.stops.turn([])
    assert (await made.tool("one__echo", text="x")).text == "x"


async def test_who_is_stopped_may_still_look_and_listens_and_subscribes_no_more(gateway: OPEN) -> None:
    made = await gateway()
    client = await made.client()
    made.stops.turn([stop("principal")])
    assert (await client.ask("ping")).result == {}
    assert (await client.ask("tools/list")).result["tools"]
    assert (await made.modern("server/discover")).answer.status == 200
    assert await made.client()
    check_refused(await client.ask("resources/subscribe", uri="file://one__/a"))
    check_refused(await client.ask("tasks/list"))
    check_refused(await client.ask("notifications/roots/list_changed", None))
    check_refused(await made.modern("subscriptions/listen", notifications={"toolsListChanged": True}))


async def test_what_is_stopped_stays_listed_and_is_said_to_be(gateway: OPEN) -> None:
    made = await gateway(spec("one"), spec("two"))

    async def unavailable() -> dict[str, Any]:
        tools = (await made.modern("tools/list")).result["tools"]
        assert len(tools) == 14
        return {each["name"]: each["_meta"]["dev.tidegate/unavailable"] for each in tools if "_meta" in each}

    assert await unavailable() == {}
    why = f"stopped by an administrator: {REASON}"
    made.stops.turn([Stop("s1", StopScope.TOOL, "one__e*", REASON, "ops", 1.0)])
    await made.time.advance(0.5)
    assert await unavailable() == {"one__echo": why}
    made.stops.turn([stop("server")])
    await made.time.advance(0.5)
    assert await unavailable() == {
        f"one__{name}": why for name in ("echo", "count", "who", "fails", "refuses", "dies", "waits")
    }
    made.stops.turn([])
    await made.time.advance(0.5)
    assert await unavailable() == {}


@pytest.mark.parametrize("scope", ["principal", "server", "tool"])
async def test_a_parked_call_is_ended_and_its_server_told(gateway: OPEN, scope: str) -> None:
    made, server = await opened(gateway, modern=False)
    first = await modern(made, "form")
    theirs = await modern(made, "form", "bob")
    made.stops.turn([stop(scope)])
    left = 1 if scope == "principal" else 0
    await until(lambda: made.limits.in_flight == left)
    await until(lambda: any(each.get("method") == "notifications/cancelled" for each in server.heard))
    check_refused(await modern(made, "form", **retry(first)))
    if scope == "principal":
        assert (await modern(made, "form", "bob", **retry(theirs))).result["resultType"] == "complete"
    made.stops.turn([])
    told = await modern(made, "form", **retry(first))
    assert told.error["data"]["reason"] == "state_invalid"
    whats = [(each["subject"], each["data"]["event"]) for each in made.records("question")]
    assert ("ann", "dropped") in whats


async def test_a_question_that_waits_is_taken_back_and_its_call_ended(gateway: OPEN) -> None:
    made, server = await opened(gateway, modern=False)
    ann = await person(made, silent=True)
    call = asyncio.create_task(ann.tool("one__form"))
    await until(lambda: any("id" in each for each in ann.asked))
    made.stops.turn([stop("server")])
    await until(call.done)
    assert call.cancelled()
    await until(lambda: ann.asked[-1]["method"] == "notifications/cancelled")
    await until(lambda: any(each.get("method") == "notifications/cancelled" for each in server.heard))
    assert made.outcomes() == ["cancelled"]


async def test_a_question_to_a_client_is_not_asked_and_its_server_not_told_why(gateway: OPEN) -> None:
    made, server = await opened(gateway, modern=False)
    ann = await person(made, silent=True)
    call = asyncio.create_task(ann.tool("one__twice"))
    await until(lambda: len(ann.asked) == 1)
    made.stops.lose("unknown")  # ends nothing, but nothing new may be asked
    await ann.answer(ann.asked[0]["id"], {"action": "accept", "content": {"name": "Ann"}})
    await until(call.done)
    assert len(ann.asked) == 1
    (answer,) = [each for each in server.heard if "error" in each]
    assert answer["error"]["message"] == "the client cannot be asked now"
    assert [each["data"]["event"] for each in made.records("question")][-1] == "stopped"
