"""A legacy client's list of tasks holds its own, as their servers say they are, and nobody else's."""

from __future__ import annotations

import json
from typing import cast

import pytest
from msgspec import Raw

from tests.unit.gateway.hearing import ROLES, Ears, Json, WatchChannel, principal
from tidegate.domain.endpoint import EndpointSpec
from tidegate.domain.errors import ChannelTimeout, InvalidParams, MethodNotFound
from tidegate.domain.principal import Principal
from tidegate.gateway.handles import Origin
from tidegate.gateway.task_list import EACH, PAGE

ANN, BOB = principal("ann"), principal("bob")


@pytest.fixture
async def ears() -> Ears:
    return Ears(endpoints=[EndpointSpec(path, ("one",), rules=ROLES) for path in ("/mcp", "/other")])


def channel(ears: Ears) -> WatchChannel:
    workload = ears.fleet.pools["one"].workloads.get("shared") or ears.fleet.start("one", "shared")
    return cast("WatchChannel", workload.channel)


async def make(ears: Ears, task: str, who: Principal = ANN, path: str = "/mcp", ttl: object = 60000) -> str:
    """Have a legacy client's call become a task; give its handle."""
    channel(ears).answers[task] = {"taskId": task, "status": "working", "ttl": ttl}
    workload = ears.fleet.pools["one"].workloads["shared"]
    call = ears.legacy(who, await ears.session(who, path), "tools/call", path, name="one__slow", task={})
    created = Raw(json.dumps({"task": {"taskId": task, "status": "working", "ttl": ttl}}).encode())
    found = ears.tasks.out(call, Origin("one", "shared", workload.identity.id, "slow"), created)
    handle: str = json.loads(bytes(found))["task"]["taskId"]
    return handle


async def listed(ears: Ears, who: Principal = ANN, path: str = "/mcp", **params: object) -> Json:
    """List as a legacy client."""
    call = ears.legacy(who, await ears.session(who, path), "tasks/list", path, **params)
    found: Json = json.loads((await ears.list.list(call)).body)["result"]
    return found


async def ids(ears: Ears, who: Principal = ANN, path: str = "/mcp") -> list[str]:
    return [each["taskId"] for each in (await listed(ears, who, path))["tasks"]]


async def test_it_holds_a_principals_own_tasks_by_their_handles_as_they_are_now(ears: Ears) -> None:
    handle, bobs, others = (
        await make(ears, "t1"),
        await make(ears, "t2", BOB),
        await make(ears, "t3", path="/other"),
    )
    channel(ears).answers["t1"] = {"taskId": "t1", "status": "completed", "extra": {"x": 1}}
    assert await listed(ears) == {"tasks": [{"taskId": handle, "status": "completed", "extra": {"x": 1}}]}
    assert (await ids(ears, BOB), await ids(ears, path="/other")) == ([bobs], [others])


async def test_it_outlives_the_gateway_and_is_known_to_one_that_shares_the_state(ears: Ears) -> None:
    handle = await make(ears, "t1")
    await ears.time.settle()
    again = ears.again()
    made = ears.fleet.pools["one"].workloads["shared"]
    again.fleet.pools["one"].workloads["shared"] = made
    assert await ids(again) == [handle]


async def test_a_task_that_its_server_knows_no_more_is_left_out_for_good(ears: Ears) -> None:
    await make(ears, "t1")
    del channel(ears).answers["t1"]
    assert await ids(ears) == []
    await ears.time.settle()
    assert await ears.state.scan("task/") == []


async def test_a_server_that_does_not_answer_leaves_its_tasks_out_for_now(ears: Ears) -> None:
    handle, answer = await make(ears, "t1"), channel(ears).answers["t1"]
    channel(ears).answers["t1"] = ChannelTimeout("it hangs")
    assert await ids(ears) == []
    channel(ears).answers["t1"] = answer
    assert await ids(ears) == [handle]


async def test_the_tasks_of_a_workload_that_was_replaced_are_asked_of_no_other(ears: Ears) -> None:
    await make(ears, "t1")
    ears.fleet.start("one", "shared")
    channel(ears).answers["t1"] = {"taskId": "t1", "status": "completed"}
    assert await ids(ears) == []
    assert channel(ears).questions == []


async def test_another_tasks_state_is_no_answer(ears: Ears) -> None:
    await make(ears, "t1")
    channel(ears).answers["t1"] = {"taskId": "t2", "status": "completed"}
    assert await ids(ears) == []


async def test_who_may_use_the_tool_no_more_sees_nothing(ears: Ears) -> None:
    await make(ears, "t1")
    assert await ids(ears, Principal("t", "test", "ann", frozenset({"barred"}))) == []
    assert channel(ears).questions == []


async def test_it_comes_in_pages_in_the_order_of_making(ears: Ears) -> None:
    handles = [await make(ears, f"t{number:02}") for number in range(PAGE + 3)]
    first = await listed(ears)
    rest = await listed(ears, cursor=first["nextCursor"])
    assert "nextCursor" not in rest
    found = [each["taskId"] for each in first["tasks"] + rest["tasks"]]
    assert sorted(found) == sorted(handles)
    assert len(first["tasks"]) == PAGE


@pytest.mark.parametrize("cursor", ["", "x", "0" * 19, "g" * 20, 5, "../" * 7])
async def test_a_cursor_that_was_never_given_is_refused(ears: Ears, cursor: object) -> None:
    with pytest.raises(InvalidParams):
        await listed(ears, cursor=cursor)


async def test_a_task_is_kept_as_long_as_its_server_keeps_it(ears: Ears) -> None:
    await make(ears, "t1", ttl=5000)
    await ears.time.settle()
    assert len(await ears.state.scan("task/")) == 1
    await ears.time.advance(6, step=6)
    assert await ears.state.scan("task/") == []


async def test_a_principal_has_so_many_in_memory_and_in_the_store(ears: Ears) -> None:
    for number in range(EACH + 5):
        await make(ears, f"t{number}")
    await ears.list.close()
    assert len(await ears.state.scan("task/")) == EACH


async def test_a_modern_client_has_no_such_method(ears: Ears) -> None:
    with pytest.raises(MethodNotFound):
        await ears.list.list(ears.modern(ANN, "tasks/list"))
