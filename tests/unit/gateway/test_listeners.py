"""A modern client's stream tells what it asked for, what servers agreed to, and what it may hear of; nothing else."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from msgspec import Raw

from tests.unit.fleet.setting import spec
from tests.unit.gateway.hearing import (
    ROLES,
    UNAVAILABLE,
    Ears,
    Json,
    Stream,
    WatchChannel,
    principal,
    updated,
)
from tidegate.domain.endpoint import EndpointSpec
from tidegate.domain.errors import (
    Draining,
    InvalidParams,
    MissingCapability,
    NotAcceptable,
    Overloaded,
    Refusal,
)
from tidegate.domain.principal import Principal
from tidegate.domain.server import Sharing
from tidegate.domain.target import Kind
from tidegate.gateway.handles import Origin
from tidegate.gateway.listeners import EACH
from tidegate.gateway.subscriptions import LOOK
from tidegate.ports.identity import Vouched
from tidegate.protocol.capabilities import Offer
from tidegate.protocol.codec import Object, decode_object
from tidegate.protocol.subscriptions import ID, UPDATED
from tidegate.protocol.tasks import EXTENSION

ANN, BOB = principal("ann"), principal("bob")
SHOWN, OWN = "file://one__/a/b", "file:///a/b"
TOOLS = "notifications/tools/list_changed"


@pytest.fixture
async def ears() -> Ears:
    return Ears()


def channel(ears: Ears, sharing: str = "shared", server: str = "one") -> WatchChannel:
    return cast("WatchChannel", ears.fleet.pools[server].workloads[sharing].channel)


def tell(ears: Ears, uri: str = OWN, sharing: str = "shared", server: str = "one") -> None:
    """Have a server say that a resource changed."""
    ears.subscriptions.notified(server, ears.fleet.pools[server].workloads[sharing], UPDATED, updated(uri))


async def listen(ears: Ears, who: Principal = ANN, **wanted: Any) -> Stream:
    """Open a stream and have everything happen that needs no time."""
    stream = ears.listen(who, **wanted)
    await ears.time.settle()
    return stream


async def leave(ears: Ears, *streams: Stream) -> None:
    """Close streams as clients do."""
    for stream in streams:
        stream.task.cancel()
    await ears.time.settle()


async def refused(stream: Stream, kind: type[Refusal]) -> Refusal:
    """Give the refusal that a stream's request is."""
    with pytest.raises(kind) as caught:
        await stream.task
    assert stream.got == []
    return caught.value


async def test_the_first_message_says_what_is_honoured_and_all_carry_the_requests_id(ears: Ears) -> None:
    stream = await listen(ears, toolsListChanged=True, promptsListChanged=True, resourceSubscriptions=[SHOWN])
    assert stream.honoured == {"toolsListChanged": True, "resourceSubscriptions": [SHOWN]}
    tell(ears)
    ears.subscriptions.changed("/mcp", Kind.TOOL)
    assert stream.told == [(UPDATED, {"uri": SHOWN}), (TOOLS, {})]
    assert [each["params"]["_meta"] for each in stream.got] == [{ID: 7}] * 3
    assert all("id" not in each for each in stream.got)
    await leave(ears, stream)


async def test_what_was_not_asked_for_is_not_told(ears: Ears) -> None:
    stream = await listen(ears, resourcesListChanged=True)
    ears.subscriptions.changed("/mcp", Kind.TOOL)
    ears.subscriptions.changed("/mcp", Kind.PROMPT)
    ears.subscriptions.changed("/elsewhere", Kind.RESOURCE)
    ears.fleet.start("one", "shared")
    tell(ears)
    assert stream.told == []
    ears.subscriptions.changed("/mcp", Kind.TEMPLATE)
    assert stream.told == [("notifications/resources/list_changed", {})]
    await leave(ears, stream)


@pytest.mark.parametrize("request_id", ["a-b", "7", -3])
async def test_the_id_keeps_its_type(ears: Ears, request_id: object) -> None:
    wanted: Json = {"toolsListChanged": True}
    call = ears.modern(ANN, "subscriptions/listen", request_id=request_id, notifications=wanted)
    stream = ears.listen(ANN, call=call)
    await ears.time.settle()
    assert stream.got[0]["params"]["_meta"] == {ID: request_id}
    await leave(ears, stream)


async def test_nothing_is_told_before_the_acknowledgement_and_nothing_is_lost(ears: Ears) -> None:
    ears.fleet.start("one", "shared")
    channel(ears).silent.clear()
    stream = await listen(ears, toolsListChanged=True, resourceSubscriptions=[SHOWN])
    tell(ears)
    ears.subscriptions.changed("/mcp", Kind.TOOL)
    assert stream.got == []
    channel(ears).silent.set()
    await ears.time.settle()
    assert stream.honoured["resourceSubscriptions"] == [SHOWN]
    assert [method for method, _ in stream.told] == [UPDATED, TOOLS]
    await leave(ears, stream)


async def test_what_is_hidden_or_refused_is_left_out_of_what_is_honoured() -> None:
    rules = [EndpointSpec("/mcp", ("one", "two", "three"), resources=("one__*", "two__*"), rules=ROLES)]
    ears = Ears(
        spec("one", sharing=Sharing.SHARED), spec("two", sharing=Sharing.CALL), spec("three"), endpoints=rules
    )
    ears.fleet.start("one", "shared")
    channel(ears).refuses = {"file:///bad"}
    uris = [SHOWN, "file://one__/bad", "file://two__/a", "file://three__/a", "no uri"]
    stream = await listen(ears, resourceSubscriptions=uris)
    assert stream.honoured == {"resourceSubscriptions": [SHOWN]}
    assert channel(ears).watched == {OWN}
    await leave(ears, stream)


async def test_who_may_nothing_is_told_nothing(ears: Ears) -> None:
    stream = await listen(
        ears, principal("eve", "barred"), resourceSubscriptions=[SHOWN], toolsListChanged=True
    )
    assert stream.honoured == {}
    assert ears.fleet.leases == []
    await leave(ears, stream)


async def test_a_server_that_is_not_to_be_had_does_not_keep_the_others_waiting(ears: Ears) -> None:
    ears.fleet.failing = UNAVAILABLE
    stream = await listen(ears, toolsListChanged=True, resourceSubscriptions=[SHOWN])
    assert stream.honoured == {"toolsListChanged": True}
    await leave(ears, stream)


async def test_a_server_that_does_not_answer_is_waited_for_so_long_and_no_longer(ears: Ears) -> None:
    ears.fleet.start("one", "shared")
    channel(ears).silent.clear()
    stream = await listen(ears, toolsListChanged=True, resourceSubscriptions=[SHOWN])
    assert stream.got == []
    await ears.time.until(lambda: stream.got, 20)
    assert stream.honoured == {"toolsListChanged": True}
    channel(ears).silent.set()
    await leave(ears, stream)


async def test_an_update_of_another_principals_workload_is_not_told() -> None:
    ears = Ears(spec("one"))
    anns, bobs = [await listen(ears, who, resourceSubscriptions=[SHOWN]) for who in (ANN, BOB)]
    tell(ears, sharing=ANN.key)
    assert (len(anns.told), len(bobs.told)) == (1, 0)
    await leave(ears, anns, bobs)


async def test_a_client_that_leaves_is_told_no_more_and_its_server_is_asked_no_more(ears: Ears) -> None:
    stream = await listen(ears, resourceSubscriptions=[SHOWN])
    assert ears.subscriptions.held("one", "shared")
    await leave(ears, stream)
    tell(ears)
    assert len(stream.got) == 1
    assert channel(ears).watched == set()
    assert not ears.subscriptions.held("one", "shared")
    assert len(ears.subscriptions.listeners) == 0


async def test_a_client_that_takes_nothing_more_is_gone(ears: Ears) -> None:
    stream = await listen(ears, resourceSubscriptions=[SHOWN])
    stream.gone = True
    tell(ears)
    await ears.time.settle()
    assert stream.task.done()
    assert len(ears.subscriptions.listeners) == 0


async def test_a_gateway_that_stops_ends_streams_in_order_and_opens_no_more(ears: Ears) -> None:
    stream = await listen(ears, toolsListChanged=True)
    ears.subscriptions.drain()
    answer = await stream.task
    over = [params for method, params in stream.told if method == "notifications/cancelled"]
    assert [each["requestId"] for each in over] == [7]  # basic/patterns/cancellation
    assert json.loads(answer.body) == {
        "jsonrpc": "2.0", "id": 7, "result": {"resultType": "complete", "_meta": {ID: 7}},
    }  # fmt: skip
    await refused(await listen(ears, toolsListChanged=True), Draining)


async def test_credentials_that_hold_no_more_end_the_stream(ears: Ears) -> None:
    stream = await listen(ears, resourceSubscriptions=[SHOWN])
    await ears.time.advance(LOOK + 1, step=LOOK)
    assert not stream.task.done()
    ears.revoked.add("ann")
    await ears.time.advance(LOOK + 1, step=LOOK)
    assert json.loads((await stream.task).body)["result"]["resultType"] == "complete"
    assert channel(ears).watched == set()


async def test_a_changed_view_is_a_reason_to_look_at_once(ears: Ears) -> None:
    stream = await listen(ears, toolsListChanged=True)
    ears.revoked.add("ann")
    ears.subscriptions.changed("/mcp", Kind.TOOL)
    await ears.time.settle()
    assert stream.task.done()


async def test_what_its_principal_may_no_longer_read_is_told_no_more(ears: Ears) -> None:
    call = ears.modern(ANN, "subscriptions/listen", notifications={"resourceSubscriptions": [SHOWN]})
    stream = ears.listen(ANN, call=call)
    await ears.time.settle()
    call.vouched = Vouched(Principal("t", "test", "ann", frozenset({"barred"})))
    tell(ears)
    assert stream.told == []
    ears.subscriptions.changed("/mcp", Kind.RESOURCE)
    await ears.time.settle()
    assert not stream.task.done()
    assert channel(ears).watched == set()
    await leave(ears, stream)


async def test_a_client_that_takes_no_stream_cannot_listen(ears: Ears) -> None:
    call = ears.modern(ANN, "subscriptions/listen", notifications={})
    with pytest.raises(NotAcceptable):
        await ears.subscriptions.listen(call)


async def test_a_filter_that_is_not_as_it_must_be_is_refused(ears: Ears) -> None:
    await refused(await listen(ears, toolsListChanged="yes"), InvalidParams)


async def test_a_principal_may_have_so_many_streams_and_no_more(ears: Ears) -> None:
    streams = [await listen(ears) for _ in range(EACH)]
    await refused(await listen(ears), Overloaded)
    bobs = await listen(ears, BOB)
    await leave(ears, streams[0])
    again = await listen(ears)
    assert again.honoured == bobs.honoured == {}
    await leave(ears, *streams, bobs, again)


async def test_what_a_server_says_again_at_once_is_told_once_more_and_ends_with_the_stream(
    ears: Ears,
) -> None:
    stream = await listen(ears, resourceSubscriptions=[SHOWN])
    for _ in range(100):
        tell(ears)
    assert stream.told == [(UPDATED, {"uri": SHOWN})]
    await ears.time.advance(1)
    assert len(stream.told) == 2
    tell(ears)
    tell(ears)
    await leave(ears, stream)
    await ears.time.advance(1)
    assert len(stream.told) == 3


# -- tasks --------------------------------------------------------------------------------------


def made(ears: Ears, who: Principal = ANN, task: str = "t1") -> str:
    """Have a call become a task of the workload that runs."""
    workload = ears.fleet.pools["one"].workloads.get("shared") or ears.fleet.start("one", "shared")
    origin = Origin("one", "shared", workload.identity.id, "slow")
    created = {"resultType": "task", "taskId": task, "status": "working"}
    result = Raw(json.dumps(created).encode())
    found = ears.tasks.out(ears.modern(who, "tools/call", name="one__slow"), origin, result)
    handle: str = json.loads(bytes(found))["taskId"]
    return handle


def notice(**more: Any) -> Object:
    """Give the params of a server's notice."""
    return decode_object(json.dumps({"taskId": "t1", "status": "working", **more}).encode())


def tell_of_task(ears: Ears, method: str = "notifications/tasks", **more: Any) -> None:
    """Have the server tell of its task."""
    ears.subscriptions.notified("one", ears.fleet.pools["one"].workloads["shared"], method, notice(**more))


async def test_a_task_is_told_of_by_the_handle_its_client_knows(ears: Ears) -> None:
    handle = made(ears)
    stream = await listen(ears, taskIds=[handle])
    assert stream.honoured == {"taskIds": [handle]}
    assert channel(ears).asked[-1] == (set(), {"t1"})
    tell_of_task(ears, status="completed", result={"content": []})
    assert stream.told == [
        ("notifications/tasks", {"taskId": handle, "status": "completed", "result": {"content": []}})
    ]
    assert not ears.tasks.held("one", "shared")
    await leave(ears, stream)


async def test_the_last_word_on_a_task_is_told_though_its_workload_is_another_one_by_then(ears: Ears) -> None:
    handle = made(ears)
    stream = await listen(ears, taskIds=[handle])
    for status in ("working", "working", "completed"):
        tell_of_task(ears, status=status)
    assert [params["status"] for _, params in stream.told] == ["working"]
    ears.fleet.start("one", "shared")
    await ears.time.advance(1)
    assert [params["status"] for _, params in stream.told] == ["working", "completed"]
    await leave(ears, stream)


async def test_links_in_the_result_of_a_task_are_the_endpoints(ears: Ears) -> None:
    stream = await listen(ears, taskIds=[made(ears)])
    link = {"type": "resource_link", "uri": OWN, "name": "n"}
    tell_of_task(ears, status="completed", result={"content": [link]})
    assert stream.told[0][1]["result"]["content"][0]["uri"] == SHOWN
    await leave(ears, stream)


async def test_a_task_that_asks_for_what_its_client_did_not_declare_is_not_told_of(ears: Ears) -> None:
    call = ears.modern(ANN, "subscriptions/listen", notifications={"taskIds": [made(ears)]})
    stream = ears.listen(ANN, call=call)
    await ears.time.settle()
    asks = {"status": "input_required", "inputRequests": {"a": {"method": "roots/list"}}}
    tell_of_task(ears, **asks)
    assert stream.told == []
    call.offered = Offer.ROOTS
    tell_of_task(ears, **asks)
    assert stream.told[0][1]["inputRequests"]["a"]["method"] == "roots/list"
    await leave(ears, stream)


async def test_another_principals_task_is_left_out_and_not_told_of(ears: Ears) -> None:
    handle = made(ears)
    stream = await listen(ears, BOB, taskIds=[handle, "t1", "odd"])
    assert stream.honoured == {}
    tell_of_task(ears)
    assert stream.told == []
    assert channel(ears).asked == []
    await leave(ears, stream)


async def test_a_task_of_a_workload_that_is_gone_is_left_out(ears: Ears) -> None:
    handle = made(ears)
    ears.fleet.start("one", "shared")
    stream = await listen(ears, taskIds=[handle])
    assert stream.honoured == {}
    await leave(ears, stream)


async def test_a_new_workloads_task_of_the_same_id_is_not_told_of(ears: Ears) -> None:
    stream = await listen(ears, taskIds=[made(ears)])
    ears.fleet.start("one", "shared")
    tell_of_task(ears)
    assert stream.told == []
    await leave(ears, stream)


async def test_whoever_asks_for_tasks_has_to_declare_them(ears: Ears) -> None:
    for texts in ([], ["x"]):
        call = ears.modern(ANN, "subscriptions/listen", tasks=False, notifications={"taskIds": texts})
        refusal = await refused(ears.listen(ANN, call=call), MissingCapability)
        assert refusal.data == {"requiredCapabilities": {"extensions": {EXTENSION: {}}}}


async def test_a_task_of_2025_is_told_of_on_the_stream_of_the_session_that_has_it(ears: Ears) -> None:
    workload = ears.fleet.start("one", "shared")
    session, other = await ears.session(ANN), await ears.session(ANN)
    got, others = ears.streams.open(session.key), ears.streams.open(other.key)
    call = ears.legacy(ANN, session, "tools/call", name="one__slow", task={})
    origin = Origin("one", "shared", workload.identity.id, "slow")
    result = ears.tasks.out(call, origin, Raw(b'{"task":{"taskId":"t1","status":"working"}}'))
    handle = json.loads(bytes(result))["task"]["taskId"]
    tell_of_task(ears, "notifications/tasks/status")
    assert got == [("notifications/tasks/status", {"taskId": handle, "status": "working"})]
    assert others == []
    for _ in range(10):
        tell_of_task(ears, "notifications/tasks/status", status="completed")
    ears.fleet.start("one", "shared")
    tell_of_task(ears, "notifications/tasks/status")
    assert len(got) == 1
    await ears.time.advance(1)
    assert got[1:] == [("notifications/tasks/status", {"taskId": handle, "status": "completed"})]


async def test_a_notice_that_overtakes_the_answer_is_told_once_there_is_a_task(ears: Ears) -> None:
    workload = ears.fleet.start("one", "shared")
    session = await ears.session(ANN)
    got = ears.streams.open(session.key)
    tell_of_task(ears, "notifications/tasks/status", status="completed")
    for number in range(300):
        tell_of_task(
            ears, "notifications/tasks/status", taskId=f"other{number % 200}", statusMessage="x" * 100
        )
    assert got == []
    call = ears.legacy(ANN, session, "tools/call", name="one__slow", task={})
    origin = Origin("one", "shared", workload.identity.id, "slow")
    result = ears.tasks.out(call, origin, Raw(b'{"task":{"taskId":"t1","status":"working"}}'))
    handle = json.loads(bytes(result))["task"]["taskId"]
    assert got == [("notifications/tasks/status", {"taskId": handle, "status": "completed"})]
    assert not ears.tasks.held("one", "shared")
