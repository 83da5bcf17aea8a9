"""Task ids in messages, of both designs: replaced where they stand, and nothing else is touched."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw

from tidegate.protocol import tasks
from tidegate.protocol.codec import Object, decode_object

ODD = b'{"n": 1.0e5 , "big":12345678901234567890123}'
"""A value that no decoding and encoding would leave as it is."""


def shown(task: str) -> str:
    """Give the handle of a task in these tests."""
    return f"<{task}>"


def changed(method: str, result: bytes, **more: Any) -> Any:
    """Give a result with its ids renamed, and see that the odd value is untouched."""
    found = bytes(tasks.in_result(method, Raw(result), shown, **more))
    assert (ODD in result) == (ODD in found)
    return json.loads(found)


def obj(text: bytes) -> Object:
    return decode_object(text)


def test_a_call_that_became_a_task_gets_a_handle_in_the_extension() -> None:
    found = changed("tools/call", b'{"resultType":"task","taskId":"t1","status":"working","x":%b}' % ODD)
    assert found["taskId"] == "<t1>"
    assert found["status"] == "working"


def test_a_call_that_became_a_task_gets_a_handle_in_the_experimental_design() -> None:
    found = changed("tools/call", b'{"task":{"taskId":"t1","status":"working","x":%b}}' % ODD)
    assert found["task"]["taskId"] == "<t1>"
    assert found["task"]["status"] == "working"


@pytest.mark.parametrize("method", ["tasks/get", "tasks/cancel"])
def test_the_state_of_a_task_names_it_by_its_handle(method: str) -> None:
    assert changed(method, b'{"taskId":"t1","status":"working","x":%b}' % ODD)["taskId"] == "<t1>"


def test_a_tools_own_words_are_no_task_ids() -> None:
    result = Raw(b'{"taskId":"t1","content":[{"taskId":"t2"}],"structuredContent":{"task":{"taskId":"t3"}}}')
    assert tasks.in_result("tools/call", result, shown) is result


def test_an_inlined_result_is_renamed_by_whoever_knows_how_and_keeps_its_relation() -> None:
    inlined = b'{"content":[],"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t1"}}}'
    result = b'{"resultType":"complete","taskId":"t1","status":"completed","result":%b,"x":%b}' % (
        inlined,
        ODD,
    )
    found = changed("tasks/get", result, inlined=lambda raw: Raw(bytes(raw).replace(b"[]", b"[1]")))
    assert found["result"]["content"] == [1]
    assert found["result"]["_meta"][tasks.RELATED]["taskId"] == "<t1>"


def test_an_inlined_result_of_which_nothing_changes_keeps_its_bytes() -> None:
    result = Raw(b'{"taskId":"t1","result":{"content": [ ] }}')
    assert b'{"content": [ ] }' in bytes(tasks.in_result("tasks/get", result, shown, lambda raw: raw))


def test_what_belongs_to_a_task_is_related_by_its_handle() -> None:
    result = b'{"content":[],"_meta":{"a":%b,"%b":{"taskId":"t1","y":2}}}' % (ODD, tasks.RELATED.encode())
    found = changed("tasks/result", result)
    assert found["_meta"][tasks.RELATED] == {"taskId": "<t1>", "y": 2}


@pytest.mark.parametrize("related", [b'{"taskId":7}', b"7", b"{}", b'{"taskId":"none"}'])
def test_a_relation_that_names_no_task_there_is_is_left_out(related: bytes) -> None:
    meta = obj(b'{"a":1,"%b":%b}' % (tasks.RELATED.encode(), related))
    assert tasks.related(meta, lambda task: None if task == "none" else task).keys() == {"a"}


@pytest.mark.parametrize("method", ["notifications/tasks", "notifications/tasks/status"])
def test_a_notice_of_a_task_names_it_by_its_handle(method: str) -> None:
    found = tasks.in_params(method, obj(b'{"taskId":"t1","status":"working","x":%b}' % ODD), shown)
    assert (found["taskId"], found["x"]) == (Raw(b'"<t1>"'), Raw(ODD))


def test_a_question_that_belongs_to_a_task_is_related_by_its_handle() -> None:
    params = obj(b'{"message":"?","taskId":"mine","_meta":{"%b":{"taskId":"t1"}}}' % tasks.RELATED.encode())
    found = tasks.in_params("elicitation/create", params, shown)
    assert json.loads(bytes(found["_meta"])) == {tasks.RELATED: {"taskId": "<t1>"}}
    assert found["taskId"] == Raw(b'"mine"')


def test_params_that_name_no_task_are_the_same_object() -> None:
    params = obj(b'{"message":"?","_meta":{"a":1}}')
    assert tasks.in_params("elicitation/create", params, shown) is params


@pytest.mark.parametrize("result", [b"[]", b"1", b'"taskId"', b"{", b""])
def test_a_result_that_is_no_object_passes(result: bytes) -> None:
    raw = Raw(result)
    assert tasks.in_result("tasks/get", raw, shown) is raw


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (b'{"resultType":"task","taskId":"t"}', "t"),
        (b'{"resultType":"task"}', ""),
        (b'{"resultType":"task","taskId":5}', ""),
        (b'{"task":{"taskId":"t"}}', "t"),
        (b'{"task":{}}', ""),
        (b'{"task":5}', None),
        (b'{"content":[]}', None),
    ],
)
def test_what_a_call_became_is_told_apart(result: bytes, expected: str | None) -> None:
    assert tasks.created(obj(result)) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (b'{"status":"working","ttlMs":1500}', ("working", 1.5)),
        (b'{"status":"failed","ttl":2000}', ("failed", 2.0)),
        (b'{"task":{"status":"working","ttl":null}}', ("working", None)),
        (b'{"status":7,"ttlMs":"long"}', ("", None)),
        (b'{"status":"working","ttlMs":-5}', ("working", 0.0)),
    ],
)
def test_status_and_time_to_live_are_read_in_both_designs(
    fields: bytes, expected: tuple[str, float | None]
) -> None:
    assert tasks.state(obj(fields)) == expected


def test_the_extension_is_declared_by_its_name_alone() -> None:
    assert tasks.declared(obj(b'{"extensions":{"io.modelcontextprotocol/tasks":{}}}'))
    for other in (b"{}", b'{"extensions":{}}', b'{"extensions":5}', b'{"tasks":{}}'):
        assert not tasks.declared(obj(other))


def test_the_extension_is_taken_out_and_the_others_stay() -> None:
    before = obj(b'{"roots":{},"extensions":{"io.modelcontextprotocol/tasks":{},"x/y":{"z":1}}}')
    found = tasks.without(before)
    assert json.loads(bytes(found["extensions"])) == {"x/y": {"z": 1}}
    assert tasks.without(found) is found


@pytest.mark.parametrize(
    ("method", "result", "expected"),
    [
        ("tools/call", b'{"content":[]}', False),
        ("tools/call", b'{"content":[],"_meta":{}}', True),
        ("tools/call", b'{"task":{}}', True),
        ("tools/call", b'{"resultType":"task"}', True),
        ("tasks/get", b"{}", True),
    ],
)
def test_a_quick_look_tells_whether_a_thorough_one_is_needed(
    method: str, result: bytes, expected: bool
) -> None:
    assert tasks.concerned(method, obj(result)) is expected
