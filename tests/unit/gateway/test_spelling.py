"""Arguments that a policy reads by one name and a server could by another are refused before anything is judged."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.access.engine import Engine
from tests.unit.fleet.setting import spec
from tests.unit.gateway.setting import OPEN
from tidegate.access.authorize import Grants
from tidegate.domain.errors import InvalidParams
from tidegate.domain.server import Sharing
from tidegate.gateway import spelling
from tidegate.ports.policy import Verdict
from tidegate.testing.memory_server import MemoryServer

LINES: dict[str, Any] = {"type": "array", "items": {"$ref": "#/$defs/Line"}}
TOOL: dict[str, Any] = {
    "name": "claims__pay",
    "inputSchema": {
        "type": "object",
        "properties": {
            "amount": {"type": "integer"},
            "payee": {"anyOf": [{"type": "object", "properties": {"iban": {}}}, {"type": "null"}]},
            "lines": LINES,
            "notes": {"type": "object"},
            "id": {},
            "ID": {},
        },
        "$defs": {"Line": {"type": "object", "properties": {"price": {}, "parts": LINES}}},
    },
}
PROMPT: dict[str, Any] = {"name": "claims__letter", "arguments": [{"name": "amount"}]}


def look(arguments: Any, definition: Any = TOOL) -> None:
    spelling.check(arguments, b"" if definition is None else json.dumps(definition).encode())


@pytest.mark.parametrize(
    "arguments",
    [
        {"Amount": 60000},
        {"amount": 1, "AMOUNT": 60000},
        {"amount": 1, "amount\u212a": 1, "amountk": 1},
        {"payee": {"IBAN": "x"}},
        {"lines": [{"price": 1}, {"Price": 1}]},
        {"lines": [{"parts": [{"parts": [{"pRice": 1}]}]}]},
        {"notes": {"a": {"b": 1, "B": 2}}},
        {"more": [[{"x": 1, "X": 2}]]},
    ],
)
def test_a_name_that_differs_by_case_alone_is_refused(arguments: Any) -> None:
    with pytest.raises(InvalidParams, match="only by case"):
        look(arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"amount": 1, "payee": None, "lines": [], "more": "Amount"},
        {"id": 1, "ID": 2},  # that is how its tool has them
        {"payee": {"iban": "x"}, "lines": [{"price": 1, "parts": [{"price": 2}]}]},
        {"notes": {"Amount": 1, "IBAN": 2}},  # nothing of that name is declared there
        {"lines": [[1, 2], "Price", None]},
        None,
        7,
    ],
)
def test_what_is_written_as_declared_or_is_nothing_that_is_stays(arguments: Any) -> None:
    look(arguments)


def test_where_no_names_are_known_two_of_one_object_may_not_differ_by_case() -> None:
    for definition in (
        None,
        {},
        {"inputSchema": 7},
        {"inputSchema": {"properties": {"a": {"$ref": "#/x/y"}}}},
    ):
        look({"Amount": 1, "a": {"b": 1}}, definition)
        with pytest.raises(InvalidParams, match="only by case"):
            look({"Amount": 1, "amount": 2}, definition)


def test_arguments_of_prompts_are_known_too() -> None:
    look({"amount": "1"}, PROMPT)
    with pytest.raises(InvalidParams, match="'aMount' differs"):
        look({"aMount": "1"}, PROMPT)


def test_a_schema_that_refers_to_itself_and_arguments_without_end_are_bounded() -> None:
    loop = {
        "inputSchema": {
            "$ref": "#/$defs/a",
            "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#"}]}},
        }
    }
    look({"a": {"b": {}}}, loop)
    look({"a": [1] * (2 * spelling.MOST), "b": [[1, 2]] * 1000})
    endless: list[Any] = [
        {f"name-{number}": 1 for number in range(spelling.MOST + 1)},
        [[]] * (spelling.MOST + 1),
        [{"a": 1}] * (spelling.MOST // 2 + 1),
    ]
    for many in endless:
        with pytest.raises(InvalidParams, match="too many"):
            look({"given": many})


async def test_what_a_policy_reads_by_one_name_is_sent_under_no_other(gateway: OPEN) -> None:
    def says(*_: object) -> Verdict:
        return Verdict(True, "p#small", arguments=True)

    server, policy = MemoryServer(), Engine(says, says)
    one = spec("one", sharing=Sharing.PRINCIPAL)
    made = await gateway(one, servers={"one": server}, wait=["one__echo"], grants=Grants(policies=(policy,)))
    assert (await made.tool("one__echo", text="1", TEXT="60000")).error["code"] == -32602
    assert (policy.judged, server.calls) == ([], [])
    assert (await made.tool("one__echo", text="1", other="2")).text == "1"
