"""`subscriptions/listen` on the wire: what is asked for, and what a stream says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw

from tidegate.domain.errors import InvalidParams
from tidegate.protocol import subscriptions
from tidegate.protocol.codec import Object, decode_object, encode
from tidegate.protocol.subscriptions import ID, LONGEST, MOST, Filter, read


def params(**wanted: Any) -> Object:
    """Give a request's params."""
    return {"notifications": Raw(encode(wanted))}


def test_a_filter_is_read_and_what_is_not_known_is_left_out() -> None:
    found = read(
        params(
            toolsListChanged=True,
            promptsListChanged=False,
            resourceSubscriptions=["a:b", "c:d", "a:b"],
            odd=1,
        )
    )
    assert found == Filter(frozenset({"tools"}), ("a:b", "c:d"), None)


def test_an_empty_filter_asks_for_nothing() -> None:
    assert read(params()) == Filter()


def test_tasks_are_told_apart_from_no_word_of_tasks() -> None:
    assert read(params(taskIds=[])).tasks == ()
    assert read(params(taskIds=["t"])).tasks == ("t",)


@pytest.mark.parametrize(
    "wanted",
    [
        {"toolsListChanged": 1},
        {"toolsListChanged": None},
        {"resourceSubscriptions": "a:b"},
        {"resourceSubscriptions": [1]},
        {"resourceSubscriptions": ["x"] * (MOST + 1)},
        {"resourceSubscriptions": ["x" * (LONGEST + 1)]},
        {"taskIds": {}},
    ],
)
def test_a_filter_that_is_not_as_it_must_be_is_refused(wanted: Any) -> None:
    with pytest.raises(InvalidParams):
        read(params(**wanted))


@pytest.mark.parametrize("notifications", [b"[]", b"1", b"null", None])
def test_a_request_without_a_filter_is_refused(notifications: bytes | None) -> None:
    with pytest.raises(InvalidParams):
        read({} if notifications is None else {"notifications": Raw(notifications)})


@pytest.mark.parametrize("request_id", [b"1", b'"1"', b'"a-b"', b"-7"])
def test_every_message_carries_the_requests_id_as_it_came(request_id: bytes) -> None:
    raw = Raw(request_id)
    told = subscriptions.stamped(raw, "notifications/tools/list_changed", {})
    for message in (subscriptions.acknowledged(raw, Filter()), told):
        assert json.loads(message)["params"]["_meta"] == {ID: json.loads(request_id)}
    assert json.loads(subscriptions.closed(raw)) == {
        "resultType": "complete", "_meta": {ID: json.loads(request_id)},
    }  # fmt: skip


def test_the_acknowledgement_names_what_is_honoured_and_nothing_else() -> None:
    honoured = Filter(frozenset({"tools"}), ("a:b",), ())
    found = json.loads(subscriptions.acknowledged(Raw(b"1"), honoured))
    assert found["method"] == "notifications/subscriptions/acknowledged"
    assert found["params"]["notifications"] == {"toolsListChanged": True, "resourceSubscriptions": ["a:b"]}


def test_a_servers_own_mark_gives_way_and_its_other_words_stay() -> None:
    theirs = decode_object(b'{"uri":"a:b","_meta":{"%b":77,"x":{"n": 1.0e5}}}' % ID.encode())
    message = subscriptions.stamped(Raw(b"1"), subscriptions.UPDATED, theirs)
    assert json.loads(message)["params"] == {"uri": "a:b", "_meta": {ID: 1, "x": {"n": 1e5}}}
    assert b'{"n": 1.0e5}' in message
    assert json.loads(encode(subscriptions.unstamped(theirs))) == {"uri": "a:b", "_meta": {"x": {"n": 1e5}}}


def test_a_mark_that_stands_alone_goes_with_its_meta() -> None:
    assert subscriptions.unstamped(decode_object(b'{"_meta":{"%b":1}}' % ID.encode())) == {}
    plain = decode_object(b'{"uri":"a:b"}')
    assert subscriptions.unstamped(plain) is plain
