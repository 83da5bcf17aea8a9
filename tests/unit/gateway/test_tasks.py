"""Task handles open for whom they were made, for what they may still use, and for nobody else."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any, cast

import pytest
from msgspec import Raw

from tests.unit.fleet.setting import spec
from tests.unit.gateway.hearing import ROLES, Ears, Json, principal
from tidegate.channels.channel import Reply
from tidegate.domain.endpoint import EndpointSpec
from tidegate.domain.errors import (
    InvalidParams,
    MethodNotFound,
    MissingCapability,
    Refusal,
    UpstreamProtocolError,
)
from tidegate.domain.principal import Principal
from tidegate.domain.server import Remote, ServerSpec, Sharing
from tidegate.gateway.call import Call
from tidegate.gateway.definitions import Definitions
from tidegate.gateway.handles import Handle, Origin
from tidegate.gateway.inquiries import ASKED_BY
from tidegate.gateway.tasks import LIFETIME, LONGEST_HANDLE
from tidegate.gateway.view import View
from tidegate.protocol import tasks as wire
from tidegate.protocol.capabilities import Offer
from tidegate.protocol.codec import Object, decode_object, decode_value, encode

ANN, BOB = principal("ann"), principal("bob")
ORIGIN = Origin("one", "shared", "tg-one-1", "slow")
CREATED = {"resultType": "task", "taskId": "t1", "status": "working", "ttlMs": 60000}


@pytest.fixture
async def ears() -> Ears:
    return Ears(endpoints=[EndpointSpec(path, ("one",), rules=ROLES) for path in ("/mcp", "/other")])


def raw(result: Any) -> Raw:
    return Raw(json.dumps(result).encode())


def plain(result: Raw) -> Json:
    found: Json = json.loads(bytes(result))
    return found


def tool_call(ears: Ears, who: Principal = ANN, **more: Any) -> Call:
    """Make a modern client's call of a tool."""
    return ears.modern(who, "tools/call", name="one__slow", arguments={}, **more)


def made(ears: Ears, who: Principal = ANN, origin: Origin = ORIGIN, **more: Any) -> str:
    """Have a modern call become a task; give its handle."""
    found: str = plain(ears.tasks.out(tool_call(ears, who, **more), origin, raw(CREATED)))["taskId"]
    return found


def ask(ears: Ears, handle: str, who: Principal = ANN, method: str = "tasks/get", **more: Any) -> Call:
    """Ask for a task as a modern client."""
    return ears.modern(who, method, taskId=handle, **more)


async def legacy_call(ears: Ears, method: str, who: Principal = ANN, **params: Any) -> Call:
    """Ask as a legacy client in a new session."""
    return ears.legacy(who, await ears.session(who), method, **params)


async def test_a_task_is_shown_by_a_handle_that_opens_to_where_it_is(ears: Ears) -> None:
    handle = made(ears)
    found = ears.tasks.open(ask(ears, handle))
    assert (found.origin, found.task, found.modern) == (ORIGIN, "t1", True)
    assert "t1" not in handle
    assert b"tg-one" not in base64.urlsafe_b64decode(handle + "==")


async def test_it_is_shown_by_the_same_handle_ever_after(ears: Ears) -> None:
    handle = made(ears)
    state = {**CREATED, "resultType": "complete"}
    assert plain(ears.tasks.out(ask(ears, handle), ORIGIN, raw(state)))["taskId"] == handle
    again = ears.again()
    assert plain(again.tasks.out(ask(again, handle), ORIGIN, raw(state)))["taskId"] == handle


async def test_another_gateway_with_the_keys_opens_it(ears: Ears) -> None:
    assert ears.again().tasks.open(ask(ears, made(ears))).task == "t1"


@pytest.mark.parametrize("method", ["tasks/get", "tasks/update", "tasks/cancel"])
async def test_it_opens_for_nobody_else_and_nowhere_else(ears: Ears, method: str) -> None:
    handle, words = made(ears), set[str]()
    for call in (
        ask(ears, handle, BOB, method),
        ask(ears, handle, ANN, method, path="/other"),
        ask(ears, handle[:-5] + "AAAAA", ANN, method),
        ask(ears, "t1", ANN, method),
        ask(ears, "x" * (LONGEST_HANDLE + 1), ANN, method),
    ):
        with pytest.raises(InvalidParams) as caught:
            ears.tasks.open(call)
        assert caught.value.code == -32602
        words.add(str(caught.value))
    assert len(words) == 1


async def test_every_bit_of_it_counts(ears: Ears) -> None:
    handle = made(ears)
    data = base64.urlsafe_b64decode(handle + "=" * (-len(handle) % 4))
    for at in range(len(data)):
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        with pytest.raises(InvalidParams):
            ears.tasks.open(ask(ears, base64.urlsafe_b64encode(changed).decode().rstrip("=")))


async def test_it_opens_no_more_once_its_tool_is_denied(ears: Ears) -> None:
    barred = Principal("t", "test", "ann", frozenset({"barred"}))
    with pytest.raises(InvalidParams):
        ears.tasks.open(ask(ears, made(ears), barred))


async def test_it_opens_no_more_once_the_endpoint_leaves_its_server_or_tool_out() -> None:
    handle = made(Ears())
    for narrower in (
        EndpointSpec("/mcp", ("two",), rules=ROLES),
        EndpointSpec("/mcp", ("one",), tools=("one__quick",), rules=ROLES),
    ):
        ears = Ears(spec("one", sharing=Sharing.SHARED), spec("two"), endpoints=[narrower])
        with pytest.raises(InvalidParams):
            ears.tasks.open(ask(ears, handle))


async def test_it_opens_no_more_when_it_is_too_old(ears: Ears) -> None:
    handle = made(ears)
    await ears.time.advance(LIFETIME + 60, step=LIFETIME)
    with pytest.raises(InvalidParams):
        ears.tasks.open(ask(ears, handle))


async def test_a_client_that_did_not_declare_the_extension_is_told_what_it_needs(ears: Ears) -> None:
    handle = made(ears)
    for method in sorted(wire.MODERN_METHODS):
        with pytest.raises(MissingCapability) as caught:
            ears.tasks.open(ask(ears, handle, method=method, tasks=False))
        assert caught.value.data == {"requiredCapabilities": {"extensions": {wire.EXTENSION: {}}}}


async def test_a_task_for_a_client_that_takes_none_is_an_error_and_no_result(ears: Ears) -> None:
    legacy = await legacy_call(ears, "tools/call", name="one__slow")
    for call in (tool_call(ears, tasks=False), legacy):
        with pytest.raises(MissingCapability) as caught:
            ears.tasks.out(call, ORIGIN, raw(CREATED))
        assert caught.value.code == -32021
        assert caught.value.data == {"requiredCapabilities": {"extensions": {wire.EXTENSION: {}}}}


@pytest.mark.parametrize("task", [{"taskId": "t" * 257}, {"taskId": 5}, {}])
async def test_a_task_without_an_id_of_sound_length_is_no_answer(ears: Ears, task: Json) -> None:
    with pytest.raises(UpstreamProtocolError):
        ears.tasks.out(tool_call(ears), ORIGIN, raw({"resultType": "task", **task}))


async def test_the_longest_handle_is_within_its_bound(ears: Ears) -> None:
    origin = Origin(
        "s" * 64, f"{ANN.key}.{'e' * 32}+form.url.sampling", "tg-" + "s" * 64 + "-12345678", "u" * 256
    )
    long = plain(ears.tasks.out(tool_call(ears), origin, raw({**CREATED, "taskId": "ü" * 256})))["taskId"]
    assert len(long) <= LONGEST_HANDLE


async def test_the_experimental_design_is_for_legacy_clients_who_asked_for_a_task(ears: Ears) -> None:
    call = await legacy_call(ears, "tools/call", name="one__slow", task={"ttl": 5000})
    handle = plain(ears.tasks.out(call, ORIGIN, raw({"task": {"taskId": "t1", "status": "working"}})))[
        "task"
    ]["taskId"]
    for method in sorted(wire.LEGACY_METHODS):
        assert ears.tasks.open(await legacy_call(ears, method, taskId=handle)).task == "t1"
    with pytest.raises(InvalidParams):  # one design's handle is no handle of the other's
        ears.tasks.open(ask(ears, handle))
    with pytest.raises(InvalidParams):
        ears.tasks.open(await legacy_call(ears, "tasks/get", taskId=made(ears)))


async def test_what_looks_like_a_task_and_was_not_asked_for_is_the_tools_own_affair(ears: Ears) -> None:
    result = raw({"content": [], "task": {"taskId": "t1"}})
    for call in (await legacy_call(ears, "tools/call", name="one__slow"), tool_call(ears, tasks=False)):
        assert ears.tasks.out(call, ORIGIN, result) is result


async def test_an_id_that_a_server_gives_twice_is_authorised_as_the_tool_that_gave_it_last(
    ears: Ears,
) -> None:
    first, other = made(ears), Origin("one", "shared", "tg-one-1", "other")
    second = made(ears, origin=other)
    assert [ears.tasks.open(ask(ears, each)).tool for each in (first, second)] == ["slow", "other"]


@pytest.mark.parametrize("method", ["tasks/list", "tasks/update"])
async def test_a_legacy_client_has_no_method_that_shows_the_tasks_of_others(ears: Ears, method: str) -> None:
    with pytest.raises(MethodNotFound):
        ears.tasks.open(await legacy_call(ears, method, taskId=made(ears)))


@pytest.mark.parametrize("method", ["tasks/list", "tasks/result"])
async def test_a_modern_client_has_only_the_methods_of_the_extension(ears: Ears, method: str) -> None:
    with pytest.raises(MethodNotFound):
        ears.tasks.open(ask(ears, made(ears), method=method))


async def experimental(ears: Ears, who: Principal = ANN) -> tuple[Call, Handle, str]:
    """Have a legacy client ask for the result of a task that it made."""
    call = await legacy_call(ears, "tools/call", who, name="one__slow", task={})
    text = plain(ears.tasks.out(call, ORIGIN, raw({"task": {"taskId": "t1"}})))["task"]["taskId"]
    call = await legacy_call(ears, "tasks/result", who, taskId=text)
    return call, ears.tasks.open(call), text


def related(task: str) -> Json:
    return {"_meta": {wire.RELATED: {"taskId": task}}}


async def test_a_result_and_questions_of_a_task_are_related_to_it_by_the_same_handle(ears: Ears) -> None:
    call, handle, text = await experimental(ears)
    found = plain(ears.tasks.out(call, ORIGIN, raw({"content": [], **related("t1")})))
    assert found == {"content": [], **related(text)}
    heard: list[Json] = []
    answers: list[Reply] = []

    def asked(method: str, params: Object, answer: Callable[[Reply], None]) -> bool:
        heard.append(cast("Json", decode_value(encode(params))))
        answer(Reply(raw({"action": "accept", **related(text)}), None))
        answer(Reply(None, Raw(b"{}")))
        return True

    question = decode_object(json.dumps({"message": "?", **related("t1")}).encode())
    assert ears.tasks.asked(call, handle.origin, asked)("elicitation/create", question, answers.append)
    assert heard == [{"message": "?", **related(text)}]
    assert plain(cast("Raw", answers[0].result)) == {"action": "accept", **related("t1")}
    assert answers[1].error == Raw(b"{}")
    ears.tasks.notify(call, handle.origin, lambda _, params: asked("", params, answers.append))("m", question)
    assert heard[1] == {"message": "?", **related(text)}


async def test_an_answer_related_to_a_strangers_task_reaches_the_server_without_that(ears: Ears) -> None:
    call, handle, _ = await experimental(ears, BOB)
    stranger = raw({"action": "accept", "_meta": {wire.RELATED: {"taskId": made(ears)}, "x": 1}})
    answers: list[Reply] = []

    def asked(method: str, params: Object, answer: Callable[[Reply], None]) -> bool:
        answer(Reply(stranger, None))
        return True

    ears.tasks.asked(call, handle.origin, asked)("elicitation/create", {}, answers.append)
    assert plain(cast("Raw", answers[0].result)) == {"action": "accept", "_meta": {"x": 1}}


async def test_a_question_about_no_sound_task_is_not_passed_on(ears: Ears) -> None:
    call, handle, _ = await experimental(ears)
    odd = decode_object(json.dumps(related("t" * 257)).encode())
    heard: list[str] = []

    def asked(method: str, params: Object, answer: object) -> bool:
        heard.append(method)
        return True

    assert not ears.tasks.asked(call, handle.origin, asked)("elicitation/create", odd, lambda _: None)
    ears.tasks.notify(call, handle.origin, lambda method, _: heard.append(method))(
        "notifications/progress", odd
    )
    assert heard == []


async def test_a_call_about_no_task_has_its_questions_as_they_are(ears: Ears) -> None:
    def asked(method: str, params: Object, answer: object) -> bool:
        return True

    def notify(method: str, params: Object) -> None: ...

    assert ears.tasks.asked(tool_call(ears), None, asked) is asked
    assert ears.tasks.notify(tool_call(ears), None, notify) is notify


async def test_a_notice_before_the_answer_names_the_task_as_the_answer_will(ears: Ears) -> None:
    call = await legacy_call(ears, "tools/call", name="one__slow", task={})
    heard: list[Object] = []
    notify = ears.tasks.notify(call, ORIGIN, lambda _, params: heard.append(params))
    notify("notifications/tasks/status", decode_object(b'{"taskId":"t1","status":"working"}'))
    found = plain(ears.tasks.out(call, ORIGIN, raw({"task": {"taskId": "t1"}})))
    assert json.loads(bytes(heard[0]["taskId"])) == found["task"]["taskId"]


async def test_a_handle_says_what_its_workload_was_offered(ears: Ears) -> None:
    for offer in (Offer.NONE, Offer.FORM | Offer.ROOTS):
        handle = made(ears, origin=Origin("one", "k" + offer.suffix, "tg-1", "slow"))
        assert ears.tasks.open(ask(ears, handle)).offer == offer


async def test_an_inlined_result_is_renamed_on_its_way(ears: Ears) -> None:
    handle = made(ears)
    state = {**CREATED, "resultType": "complete", "status": "completed", "result": {"content": []}}
    found = ears.tasks.out(ask(ears, handle), ORIGIN, raw(state), lambda _: Raw(b'{"content":[1]}'))
    assert plain(found)["result"] == {"content": [1]}


ASKING = {
    "taskId": "t1",
    "status": "input_required",
    "inputRequests": {"name": {"method": "roots/list", "params": {"x": 1}}},
}


async def test_what_a_task_asks_is_checked_recorded_once_and_says_who_asks(ears: Ears) -> None:
    admitted: list[tuple[str, str, str]] = []
    ears.tasks.questions.admit = lambda call, server, method, _: admitted.append((call.id, server, method))
    handle = made(ears)
    for _ in range(2):
        call = ask(ears, handle)
        call.offered = Offer.ROOTS
        found = plain(ears.tasks.out(call, ORIGIN, raw(ASKING)))
        assert found["inputRequests"] == {
            "name": {"method": "roots/list", "params": {"x": 1, "_meta": {ASKED_BY: "one"}}},
        }  # fmt: skip
    assert [each[1:] for each in admitted] == [("one", "roots/list")]


async def test_a_task_asks_nothing_that_this_request_did_not_declare(ears: Ears) -> None:
    handle = made(ears)
    for offered in (Offer.ROOTS, Offer.NONE):
        call = ask(ears, handle)
        call.offered = offered
        if offered:
            ears.tasks.out(call, ORIGIN, raw(ASKING))
        else:
            with pytest.raises(MissingCapability):
                ears.tasks.out(call, ORIGIN, raw(ASKING))


@pytest.mark.parametrize(
    "requests", [[], 5, {"a": 5}, {"a": {}}, {str(n): {"method": "m"} for n in range(99)}]
)
async def test_questions_that_are_none_are_no_answer(ears: Ears, requests: Any) -> None:
    with pytest.raises(UpstreamProtocolError):
        ears.tasks.out(ask(ears, made(ears)), ORIGIN, raw({**ASKING, "inputRequests": requests}))


async def test_no_questions_are_no_questions(ears: Ears) -> None:
    state = raw({**ASKING, "inputRequests": {}})
    assert plain(ears.tasks.out(ask(ears, made(ears)), ORIGIN, state))["inputRequests"] == {}


async def test_a_result_that_is_fetched_is_renamed_on_its_way(ears: Ears) -> None:
    call = await legacy_call(ears, "tasks/result", taskId="x")
    found = ears.tasks.out(call, ORIGIN, raw({"content": []}), lambda _: Raw(b'{"content":[1]}'))
    assert plain(found) == {"content": [1]}


@pytest.mark.parametrize("result", [b'{"content":[]}', b"[]", b'{"content":[],"_meta":{"a":1}}'])
async def test_a_result_that_names_no_task_is_the_same_object(ears: Ears, result: bytes) -> None:
    found = Raw(result)
    assert ears.tasks.out(tool_call(ears), ORIGIN, found) is found


REMOTE = Remote("https://example.com/mcp")


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        (spec("one"), False),
        (spec("one", stateless=True), True),
        (ServerSpec("one", REMOTE, "remote"), True),
    ],
)
async def test_a_task_is_asked_of_another_workload_only_where_it_can_know_of_it(
    declared: ServerSpec, expected: bool
) -> None:
    ears = Ears(declared)
    before = ears.fleet.start("one", "k")
    handle = made(ears, origin=Origin("one", "k", before.identity.id, "slow"))
    ears.tasks.check(ears.tasks.open(ask(ears, handle)), before)
    after = ears.fleet.start("one", "k")
    if expected:
        ears.tasks.check(ears.tasks.open(ask(ears, handle)), after)
    else:
        with pytest.raises(InvalidParams):
            ears.tasks.check(ears.tasks.open(ask(ears, handle)), after)


def params(**more: Any) -> Object:
    return decode_object(json.dumps({"name": "slow", **more}).encode())


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_a_modern_clients_word_of_a_task_reaches_no_server(ears: Ears, era: str) -> None:
    found = ears.tasks.augment(tool_call(ears), ears.specs[0], era, params(task={}))
    assert found.keys() == {"name"}


async def test_a_legacy_client_asks_for_a_task_where_its_server_may_have_them(ears: Ears) -> None:
    call = await legacy_call(ears, "tools/call", task={})
    whole = params(task={})
    assert ears.tasks.augment(call, ears.specs[0], "legacy", whole) is whole
    for declared, era in ((ears.specs[0], "modern"), (spec("one", sharing=Sharing.CALL), "legacy")):
        with pytest.raises(MethodNotFound) as caught:
            ears.tasks.augment(call, declared, era, whole)
        assert caught.value.code == -32601


async def test_asking_for_a_task_is_of_no_effect_where_the_endpoint_declares_none(ears: Ears) -> None:
    without = {"one": Definitions(capabilities=decode_object(b'{"tools":{}}'))}
    ears.endpoints["/mcp"].show(View(ears.endpoints["/mcp"].spec, definitions=without))
    call = await legacy_call(ears, "tools/call", task={})
    assert ears.tasks.augment(call, ears.specs[0], "modern", params(task={})).keys() == {"name"}


async def test_a_call_that_asks_for_no_task_stays_as_it_is(ears: Ears) -> None:
    whole = params()
    assert ears.tasks.augment(tool_call(ears), ears.specs[0], "legacy", whole) is whole


async def test_a_task_holds_its_workload_until_it_ends_or_is_not_heard_of_for_long(ears: Ears) -> None:
    assert not ears.tasks.held("one", "shared")
    handle = made(ears)
    assert ears.tasks.held("one", "shared")
    await ears.time.advance(50, step=50)
    ears.tasks.out(ask(ears, handle), ORIGIN, raw(CREATED | {"resultType": "complete"}))
    await ears.time.advance(50, step=50)
    assert ears.tasks.held("one", "shared")
    await ears.time.advance(20, step=20)
    assert not ears.tasks.held("one", "shared")
    made(ears)
    ears.tasks.out(ask(ears, handle), ORIGIN, raw({"taskId": "t1", "status": "cancelled"}))
    assert not ears.tasks.held("one", "shared")


async def test_a_refusal_never_names_the_servers_own_id(ears: Ears) -> None:
    handle = made(ears)
    for call in (ask(ears, handle, BOB), ask(ears, handle, tasks=False)):
        with pytest.raises(Refusal) as caught:
            ears.tasks.open(call)
        assert "t1" not in str(caught.value)
