"""The client side of MCP without I/O: what is said, and how answers are read."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from tidegate.domain.errors import UpstreamProtocolError
from tidegate.protocol.client import (
    INITIALIZED,
    Dress,
    answers,
    cancelled,
    decode_inbound,
    discover,
    error_code,
    header_line,
    header_value,
    initialize,
    introduce,
    mirror_headers,
    read_discovery,
    read_initialize,
    split_batch,
)

CLIENT = introduce("1.0", {"elicitation": {}})
MODERN_META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "tidegate", "version": "1.0"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


def raw(value: object) -> Raw:
    return Raw(json.dumps(value).encode())


# What is said


def test_a_probe_carries_the_modern_meta():
    assert json.loads(discover(b'"x"', CLIENT)) == {
        "jsonrpc": "2.0",
        "id": "x",
        "method": "server/discover",
        "params": {"_meta": MODERN_META},
    }


def test_initialize_asks_for_the_newest_legacy_revision():
    sent = json.loads(initialize(b"1", CLIENT))
    assert sent["params"]["protocolVersion"] == "2025-11-25"
    assert sent["params"]["capabilities"] == {"elicitation": {}}
    assert json.loads(INITIALIZED) == {"jsonrpc": "2.0", "method": "notifications/initialized"}


def test_a_modern_request_keeps_its_meta_and_gets_this_hops_own():
    meta = {"traceparent": raw("00"), "io.modelcontextprotocol/clientInfo": raw({"name": "client"})}
    dress = Dress("2026-07-28", CLIENT)
    sent = json.loads(dress.request(b"1", "tools/list", {"cursor": raw("c")}, meta))
    assert sent["params"] == {"cursor": "c", "_meta": {"traceparent": "00", **MODERN_META}}


def test_a_modern_server_is_told_of_the_client_that_a_request_is_for_and_of_no_other():
    dress = Dress("2026-07-28", CLIENT)
    offered = {"io.modelcontextprotocol/clientCapabilities": {"roots": {}}}
    claimed = {"io.modelcontextprotocol/clientCapabilities": raw({"sampling": {}})}
    told = dress.told(raw({"roots": {}}), "debug")
    sent = json.loads(dress.request(b"1", "tools/call", {}, claimed, told))
    level = {"io.modelcontextprotocol/logLevel": "debug"}
    assert sent["params"]["_meta"] == MODERN_META | offered | level
    sent = json.loads(dress.request(b"1", "tools/call", {}, claimed, dress.told(raw({"roots": {}}), None)))
    assert sent["params"]["_meta"] == MODERN_META | offered
    assert json.loads(dress.request(b"1", "tools/list", {}, claimed))["params"]["_meta"] == MODERN_META


def test_a_legacy_request_has_no_key_of_the_modern_era():
    meta = {key: raw({}) for key in MODERN_META} | {"progressToken": raw(4)}
    sent = json.loads(Dress("2025-11-25", CLIENT).request(b"1", "tools/list", {}, meta))
    assert sent["params"] == {"_meta": {"progressToken": 4}}
    assert json.loads(Dress("2025-11-25", CLIENT).request(b"1", "ping", {}, {}))["params"] == {}


def test_a_cancellation_names_the_request():
    assert json.loads(cancelled(b'"e-1"', "gone"))["params"] == {"requestId": "e-1", "reason": "gone"}


# What is heard


def test_a_message_is_decoded_one_level_deep():
    message = decode_inbound(b' {"jsonrpc":"2.0","id":"a","result":{"x":[1, 2]}}\r')
    assert message is not None
    assert (bytes(message.id), bytes(message.result)) == (b'"a"', b'{"x":[1, 2]}')
    assert answers(message)


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", b"[]", b"1", b'{"a":', b'{"id":1,"result":{"a":"\xff"}}', b'{"a":' * 5000, b"{} x"],
)
def test_what_is_no_object_in_utf8_is_no_message(data: bytes):
    assert decode_inbound(data) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"id":1,"result":{}}', True),
        ('{"id":1,"error":{"code":1}}', True),
        ('{"id":1,"result":{},"error":null}', True),
        ('{"id":1,"result":null,"error":{"code":1}}', True),
        ('{"id":1,"result":null}', False),
        ('{"id":1,"result":[]}', False),
        ('{"id":1,"error":"x"}', False),
        ('{"id":1,"result":{},"error":{}}', False),
        ('{"id":1}', False),
    ],
)
def test_a_response_holds_one_of_a_result_and_an_error(text: str, expected: bool):
    message = decode_inbound(text.encode())
    assert message is not None
    assert answers(message) is expected


def test_a_batch_comes_apart_unless_it_is_a_flood():
    assert split_batch(b'[{"a":1}, 2]') == [b'{"a":1}', b"2"]
    assert split_batch(b"[" + b"1," * 1000 + b"1]") == []
    assert split_batch(b'{"a":1}') == []
    assert split_batch(b"[1") == []


# The era


def test_what_only_a_modern_server_says_makes_it_modern():
    upstream = read_discovery(raw({"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}), None)
    assert upstream is not None
    assert (upstream.era, upstream.capabilities, upstream.server_info) == ("modern", b'{"tools": {}}', b"{}")
    assert upstream.instructions is None


@pytest.mark.parametrize(
    "result",
    [
        {},
        {"supportedVersions": "2026-07-28"},
        {"supportedVersions": ["2025-11-25"]},
        {"supportedVersions": [1]},
        {"protocolVersion": "2025-11-25"},
    ],
)
def test_any_other_result_makes_it_legacy(result: object):
    assert read_discovery(raw(result), None) is None


@pytest.mark.parametrize(
    "error", [{"code": -32601}, {"code": -32602, "data": {"supported": ["x"]}}, {"code": "x"}, {}, 4, None]
)
def test_any_other_error_makes_it_legacy(error: object):
    assert read_discovery(None, raw(error)) is None


@pytest.mark.parametrize(
    "error",
    [
        {"code": -32020},
        {"code": -32021, "data": {"requiredCapabilities": {}}},
        {"code": -32022},
        {"code": -32022, "data": {"supported": ["2027-01-01"]}},
        {"code": -32022, "data": {"supported": []}},
    ],
)
def test_a_modern_error_never_makes_it_legacy(error: object):
    with pytest.raises(UpstreamProtocolError):
        read_discovery(None, raw(error))


def test_a_server_that_names_a_legacy_revision_is_legacy():
    assert read_discovery(None, raw({"code": -32022, "data": {"supported": ["2025-03-26"]}})) is None


@pytest.mark.parametrize("revision", ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"])
def test_every_legacy_revision_is_taken(revision: str):
    found = {
        "protocolVersion": revision,
        "capabilities": {},
        "serverInfo": {"name": "s"},
        "instructions": "i",
    }
    upstream = read_initialize(raw(found), None)
    assert (upstream.era, upstream.revision, upstream.instructions) == ("legacy", revision, "i")


@pytest.mark.parametrize("result", [{}, {"protocolVersion": "2026-07-28"}, {"protocolVersion": 1}, []])
def test_what_is_no_answer_to_initialize_is_refused(result: object):
    with pytest.raises(UpstreamProtocolError):
        read_initialize(raw(result), None)


def test_a_refused_initialize_says_the_code_and_not_the_servers_words():
    with pytest.raises(UpstreamProtocolError) as failure:
        read_initialize(None, raw({"code": -32603, "message": "secret"}))
    assert "-32603" in str(failure.value)
    assert "secret" not in str(failure.value)


def test_the_code_of_an_error_is_read_where_there_is_one():
    assert error_code(raw({"code": -1, "message": ""})) == -1
    assert error_code(raw({"code": 1.5})) is None
    assert error_code(b"nonsense") is None


# Headers


@pytest.mark.parametrize("text", ["get_time", "a b", "file:///x?y#z", "=?base64", "=?utf-8?q?x?="])
def test_a_plain_value_stands_in_a_header_as_it_is(text: str):
    assert header_value(text) == text.encode()


@pytest.mark.parametrize("text", ["värld", " a", "a ", "a\nb", "a\0", "=?base64?YQ==?=", "\t"])
def test_any_other_value_is_put_in_base64(text: str):
    value = header_value(text)
    assert base64.b64decode(value[len(b"=?base64?") : -len(b"?=")]) == text.encode()


@given(st.text(max_size=20))
def test_no_value_can_end_a_header(text: str):
    value = header_value(text)
    assert header_line("Mcp-Name", value) == b"Mcp-Name: " + value + b"\r\n"
    assert value.isascii()


def test_what_is_mirrored_for_a_modern_server():
    assert mirror_headers("tools/call", "zeit-für", {"Mcp-Param-Region": "eu"}) == (
        b"Mcp-Method: tools/call\r\nMcp-Name: =?base64?emVpdC1mw7xy?=\r\nMcp-Param-Region: eu\r\n"
    )
    assert mirror_headers("tools/list", None, {}) == b"Mcp-Method: tools/list\r\n"


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\r\nb", "ü"])
def test_a_header_whose_name_cannot_be_one_is_refused(name: str):
    with pytest.raises(ValueError, match="header"):
        mirror_headers("tools/call", None, {name: "x"})


def test_a_header_whose_value_cannot_be_one_is_refused_without_repeating_it():
    with pytest.raises(ValueError, match="Authorization") as failure:
        header_line("Authorization", b"Bearer secret\r\nX: y")
    assert "secret" not in str(failure.value)
