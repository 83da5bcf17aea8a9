"""Rounds of input: what is read of a server's questions, and what a client gets and gives back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tidegate.domain.errors import InvalidParams, UpstreamProtocolError
from tidegate.protocol import rounds
from tidegate.protocol.codec import Object, decode_object

ASK = {"method": "elicitation/create", "params": {"message": "Who?", "requestedSchema": {"type": "object"}}}


def fields(**found: Any) -> Object:
    """Give the fields of a result."""
    return decode_object(json.dumps(found).encode())


def test_questions_are_read_by_their_keys_and_asked_on_as_they_came() -> None:
    result = fields(resultType="input_required", inputRequests={"who": ASK}, requestState="s", other={"a": 1})
    wanted = rounds.read(result)
    assert [(key, each.method) for key, each in wanted.items()] == [("who", "elicitation/create")]
    asked = json.loads(bytes(rounds.ask(wanted, "sealed", result)))
    assert asked == {
        "resultType": "input_required", "inputRequests": {"who": ASK}, "requestState": "sealed", "other": {"a": 1}
    }  # fmt: skip


def test_a_state_alone_is_a_round_too() -> None:
    assert rounds.read(fields(requestState="later")) == {}
    assert json.loads(bytes(rounds.ask({}, "x"))) == {"resultType": "input_required", "requestState": "x"}


@pytest.mark.parametrize(
    "result",
    [
        {},
        {"inputRequests": []},
        {"inputRequests": {"a": 1}},
        {"inputRequests": {"a": {"params": {}}}},
        {"inputRequests": {"a": {"method": 5}}},
        {"inputRequests": {"a": {"method": "roots/list", "params": []}}},
        {"inputRequests": {str(n): ASK for n in range(rounds.MOST + 1)}},
        {"requestState": "x" * rounds.LONGEST_STATE},
    ],
)
def test_questions_that_are_none_or_too_many_are_the_servers_fault(result: dict[str, Any]) -> None:
    with pytest.raises(UpstreamProtocolError):
        rounds.read(fields(**result))


def test_answers_are_read_by_their_keys() -> None:
    found = rounds.responses(fields(inputResponses={"who": {"action": "accept", "content": {"name": "é"}}}))
    assert {key: bytes(value) for key, value in found.items()} == {
        "who": b'{"action": "accept", "content": {"name": "\\u00e9"}}'
    }
    assert rounds.responses({}) == {}


@pytest.mark.parametrize("given", [None, [], "x", {"a": 1}, {"a": None}, {"a": ["b"]}])
def test_answers_that_are_no_objects_are_refused(given: Any) -> None:
    with pytest.raises(InvalidParams):
        rounds.responses(fields(inputResponses=given))


def test_the_error_of_2025_that_wants_urls_visited_becomes_questions() -> None:
    visit = {"mode": "url", "elicitationId": "1", "url": "https://example.com/", "message": "Sign in"}
    error = {
        "code": -32042,
        "message": "sign in first",
        "data": {"elicitations": [visit, {**visit, "elicitationId": "2"}]},
    }
    wanted = rounds.visits(fields(error=error)["error"])
    assert list(wanted) == ["url-1", "url-2"]
    assert wanted["url-1"].method == "elicitation/create"
    assert json.loads(bytes(wanted["url-2"].params["elicitationId"])) == "2"


@pytest.mark.parametrize(
    "error",
    [
        {"code": -32602, "message": "", "data": {"elicitations": []}},
        {"code": -32042, "message": ""},
        {"code": -32042, "message": "", "data": {"elicitations": [1]}},
        {"code": -32042, "message": "", "data": {"elicitations": [{}] * (rounds.MOST + 1)}},
        "no error",
    ],
)
def test_other_errors_are_no_questions(error: Any) -> None:
    assert rounds.visits(fields(error=error)["error"]) == {}
