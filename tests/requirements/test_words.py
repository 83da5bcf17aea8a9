"""Codes, keys and messages of the gateway's own making are such as the specification allows."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec import Raw

from tidegate.domain.errors import Refusal
from tidegate.protocol import capabilities, codec, mirrors, revisions
from tidegate.protocol.capabilities import Offer

STANDARD = {-32700, -32600, -32601, -32602, -32603}
DEFINED = {-32020, -32021, -32022}
LABEL = r"[A-Za-z](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
KEY = re.compile(rf"{LABEL}(?:\.{LABEL})*/(?:[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?)?")


def every(kind: type[Refusal] = Refusal) -> Iterator[type[Refusal]]:
    """Give every class of refusal there is."""
    yield kind
    for each in kind.__subclasses__():
        yield from every(each)


def test_a_refusal_has_a_code_of_the_protocol_or_one_outside_its_range() -> None:
    for kind in every():
        assert isinstance(kind.code, int)
        assert kind.code in STANDARD | DEFINED or not -32768 <= kind.code <= -32000, kind


def test_each_code_of_the_protocol_has_the_meaning_that_it_gives_it() -> None:
    named = {kind.__name__: (kind.code, kind.status) for kind in every()}
    assert named["HeaderMismatch"] == (-32020, 400)
    assert named["MissingCapability"] == (-32021, 400)
    assert named["UnsupportedVersion"] == (-32022, 400)
    assert sorted(kind.code for kind in every() if kind.code in DEFINED) == sorted(DEFINED)


def test_keys_of_our_own_are_formed_as_the_specification_wants_them() -> None:
    keys = [getattr(revisions, name) for name in dir(revisions) if name.startswith("META_")]
    texts = [key for key in keys if isinstance(key, str)]
    assert len(texts) >= 5
    for key in (*texts, capabilities.UI_EXTENSION):
        assert KEY.fullmatch(key), key


def test_a_notification_has_no_id() -> None:
    line = codec.encode_notification("notifications/x", {"a": Raw(b"1")}, {"k": Raw(b"2")})
    assert set(json.loads(line)) == {"jsonrpc", "method", "params"}


def test_a_response_has_the_id_it_answers_and_one_of_result_and_error() -> None:
    result = json.loads(codec.encode_result(b'"a"', b"{}"))
    assert result == {"jsonrpc": "2.0", "id": "a", "result": {}}
    error = json.loads(codec.encode_error(b"7", codec.error_object(-32600, "no")))
    assert error == {"jsonrpc": "2.0", "id": 7, "error": {"code": -32600, "message": "no"}}


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """Listen on a port, and accept nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


@pytest.mark.parametrize("keyword", ["$ref", "$dynamicRef", "$schema", "$id"])
def test_a_reference_to_the_network_is_not_followed(listening: socket.socket, keyword: str) -> None:
    url = f"http://127.0.0.1:{listening.getsockname()[1]}/schema"
    inner: dict[str, Any] = {keyword: url, "type": "string", "x-mcp-header": "Region"}
    schema = {keyword: url, "properties": {"a": inner, "b": {"properties": {"c": {keyword: url}}}}}
    mirrors.read(Raw(json.dumps(schema).encode()))
    with pytest.raises(BlockingIOError):
        listening.accept()


def test_an_elicitation_without_a_mode_is_one_by_a_form() -> None:
    needed = capabilities.needed
    assert needed("elicitation/create", {}) is Offer.FORM
    assert needed("elicitation/create", {"mode": Raw(b'"form"')}) is Offer.FORM
    assert needed("elicitation/create", {"mode": Raw(b'"url"')}) is Offer.URL


@pytest.mark.parametrize("field", ["tools", "toolChoice"])
def test_sampling_with_tools_needs_a_client_that_declared_tools(field: str) -> None:
    needed = capabilities.needed("sampling/createMessage", {field: Raw(b"[]")})
    plain = capabilities.read({"sampling": Raw(b"{}")})
    assert needed & ~plain == Offer.SAMPLING_TOOLS
    assert not needed & ~capabilities.read({"sampling": Raw(b'{"tools":{}}')})


def test_a_server_is_told_of_nothing_that_the_client_did_not_declare() -> None:
    declared = {"elicitation": Raw(b'{"url":{}}'), "experimental": Raw(b"{}")}
    offer = capabilities.read(declared)
    assert capabilities.declare(offer) == {"elicitation": {"url": {}}}
    assert codec.decode_value(capabilities.for_server(declared, {})) == {"elicitation": {"url": {}}}
    assert capabilities.declare(capabilities.read({})) == {}


def test_elicitation_is_declared_with_at_least_one_mode() -> None:
    for bits in range(1 << 7):
        declared = capabilities.declare(Offer(bits))
        assert declared.get("elicitation") != {}


def test_an_extension_reaches_a_server_only_where_both_sides_have_it() -> None:
    client = {"extensions": Raw(b'{"a.example/x":{},"b.example/y":{"z":1}}')}
    server = {"extensions": Raw(b'{"b.example/y":{},"c.example/w":{}}')}
    assert codec.decode_value(capabilities.for_server(client, server)) == {
        "extensions": {"b.example/y": {"z": 1}}
    }
    assert codec.decode_value(capabilities.for_server(client, {})) == {}
