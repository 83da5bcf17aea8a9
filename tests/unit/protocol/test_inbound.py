"""Which era a POST speaks, and that its headers say what its body says: by code and status."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.domain.errors import Refusal
from tidegate.protocol import inbound, revisions
from tidegate.protocol.client import header_value
from tidegate.protocol.codec import decode_message

MODERN = {b"mcp-protocol-version": b"2026-07-28"}
META = {revisions.META_VERSION: "2026-07-28", revisions.META_CAPABILITIES: {}}


def read(
    headers: dict[bytes, bytes], method: str | None, request_id: Any = 1, **params: Any
) -> inbound.Inbound:
    """Read a POST."""
    body: dict[str, Any] = {"jsonrpc": "2.0", "params": params}
    if method is not None:
        body["method"] = method
    if request_id is not None:
        body["id"] = request_id
    if method is None:
        body = {"jsonrpc": "2.0", "id": request_id, "result": {}}
    return inbound.read(headers, decode_message(json.dumps(body).encode()))


def call(headers: dict[bytes, bytes], name: str = "echo", **meta: Any) -> inbound.Inbound:
    """Read a modern tools/call."""
    whole = {b"mcp-method": b"tools/call", b"mcp-name": b"echo", **MODERN, **headers}
    kept = {key: value for key, value in whole.items() if value != b"-"}
    return read(kept, "tools/call", name=name, _meta={**META, **meta})


def refused(error: type[Exception] = Refusal) -> Any:
    """Expect a refusal."""
    return pytest.raises(error)


def codes(caught: Any) -> tuple[int, int]:
    """Give a refusal's JSON-RPC code and HTTP status."""
    return caught.value.code, caught.value.status


def test_a_modern_call_is_read_with_what_its_meta_says() -> None:
    info = {"name": "n" * 100, "version": "v" * 100}
    found = call({}, **{revisions.META_CLIENT: info, revisions.META_CAPABILITIES: {"sampling": {}}})
    assert (found.modern, found.revision, found.session) == (True, "2026-07-28", None)
    assert found.client == "n" * 60 + " " + "v" * 30
    assert list(found.capabilities) == ["sampling"]


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({b"mcp-protocol-version": b"-"}, "MCP-Protocol-Version is missing"),
        ({b"mcp-method": b"-"}, "Mcp-Method is missing"),
        ({b"mcp-method": b"tools/list"}, "Mcp-Method differs"),
        ({b"mcp-method": b"Tools/Call"}, "Mcp-Method differs"),
        ({b"mcp-name": b"-"}, "Mcp-Name is missing"),
        ({b"mcp-name": b"other"}, "Mcp-Name differs"),
        ({b"mcp-name": b"Echo"}, "Mcp-Name differs"),
        ({b"mcp-name": b"=?base64?b3RoZXI=?="}, "Mcp-Name differs"),
        ({b"mcp-name": b"=?base64?!?="}, "Mcp-Name differs"),
        ({b"mcp-name": b"=?base64?/w==?="}, "Mcp-Name differs"),
        ({b"mcp-protocol-version": b"2025-11-25"}, "differs from the body"),
        ({b"mcp-protocol-version": b"2099-01-01"}, "differs from the body"),
    ],
)
def test_headers_that_do_not_say_what_the_body_says_are_32020(
    headers: dict[bytes, bytes], words: str
) -> None:
    with refused() as caught:
        call(headers)
    assert codes(caught) == (-32020, 400)
    assert words in str(caught.value)


def test_an_undecodable_name_is_refused_also_where_the_body_has_none() -> None:
    with refused() as caught:
        read({**MODERN, b"mcp-method": b"tools/call", b"mcp-name": b"=?base64?!?="}, "tools/call", _meta=META)
    assert codes(caught) == (-32020, 400)


@given(
    st.text(min_size=1, max_size=40).filter(
        lambda text: text != "-" and (text == text.strip() or not text.isascii())  # "-" takes a header out
    )
)
def test_any_name_passes_in_the_form_a_client_mirrors_it(name: str) -> None:
    assert call({b"mcp-name": header_value(name)}, name=name).modern


def test_a_name_that_could_stand_plainly_may_come_in_base64() -> None:
    mirrored = b"=?base64?%b?=" % base64.b64encode(b"echo")
    assert call({b"mcp-name": mirrored}).modern


@pytest.mark.parametrize(("method", "key"), [("prompts/get", "name"), ("resources/read", "uri")])
def test_other_named_methods_mirror_their_parameter(method: str, key: str) -> None:
    headers = {**MODERN, b"mcp-method": method.encode(), b"mcp-name": b"x"}
    assert read(headers, method, **{key: "x", "_meta": META}).modern
    with refused() as caught:
        read(headers, method, **{key: "y", "_meta": META})
    assert codes(caught) == (-32020, 400)


@pytest.mark.parametrize("version", ["2099-01-01", "2025-11-25", "", "x" * 500])
def test_a_version_that_is_not_spoken_is_32022_and_says_what_is(version: str) -> None:
    headers = {b"mcp-protocol-version": version.encode(), b"mcp-method": b"ping"}
    with refused() as caught:
        read(headers, "ping", _meta={**META, revisions.META_VERSION: version})
    assert codes(caught) == (-32022, 400)
    data = caught.value.data
    assert data["supported"] == [revisions.MODERN]  # the others are not to be had by such a request
    assert data["requested"] == version[:40]


def test_an_unknown_version_in_the_header_alone_is_32022() -> None:
    with refused() as caught:
        read({b"mcp-protocol-version": b"1999-01-01", b"mcp-session-id": b"x"}, "tools/list")
    assert codes(caught) == (-32022, 400)


@pytest.mark.parametrize("key", [revisions.META_VERSION, revisions.META_CAPABILITIES])
def test_a_modern_request_without_a_required_meta_key_is_32602(key: str) -> None:
    meta = {name: value for name, value in META.items() if name != key}
    with refused() as caught:
        read({**MODERN, b"mcp-method": b"tools/list"}, "tools/list", _meta=meta)
    assert codes(caught) == (-32602, 400)


def test_capabilities_that_are_no_object_are_32602() -> None:
    with refused() as caught:
        call({}, **{revisions.META_CAPABILITIES: [1]})
    assert codes(caught) == (-32602, 400)


@pytest.mark.parametrize(
    "method", ["initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"]
)
def test_methods_of_the_era_before_are_404_and_32601_on_a_modern_request(method: str) -> None:
    with refused() as caught:
        read({**MODERN, b"mcp-method": method.encode()}, method, _meta=META)
    assert codes(caught) == (-32601, 404)


def test_a_response_is_not_taken_on_a_modern_post() -> None:
    with refused() as caught:
        read(MODERN, None)
    assert codes(caught) == (-32600, 400)


def test_a_modern_notification_needs_neither_meta_nor_mirrors() -> None:
    assert read(MODERN, "notifications/cancelled", None).modern


# -- legacy ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["tools/list", "tools/call", "ping", "notifications/initialized", None])
def test_a_legacy_message_without_a_session_is_400(method: str | None) -> None:
    with refused() as caught:
        read({}, method)
    assert codes(caught) == (-32600, 400)
    assert "initialize" in str(caught.value)


def test_initialize_needs_no_session_and_may_name_any_version_in_its_header() -> None:
    for headers in ({}, {b"mcp-protocol-version": b"2025-06-18"}, MODERN, {b"mcp-protocol-version": b"x"}):
        assert not read(headers, "initialize", protocolVersion="2025-11-25").modern


def test_a_legacy_request_without_a_version_header_speaks_the_default_one() -> None:
    found = read({b"mcp-session-id": b"abc"}, "tools/list")
    assert (found.modern, found.revision, found.session) == (False, "2025-03-26", "abc")


@pytest.mark.parametrize("revision", revisions.LEGACY)
def test_every_legacy_revision_is_taken(revision: str) -> None:
    found = read({b"mcp-session-id": b"abc", b"mcp-protocol-version": revision.encode()}, "tools/list")
    assert (found.modern, found.revision) == (False, revision)


def test_a_session_id_of_any_bytes_is_only_handed_on() -> None:
    assert read({b"mcp-session-id": b"\xff\x00"}, "ping").session == "\xff\x00"


def test_a_message_that_names_a_version_in_its_meta_is_modern_whatever_its_headers() -> None:
    with refused() as caught:
        read({b"mcp-session-id": b"abc"}, "tools/list", _meta=META)
    assert codes(caught) == (-32020, 400)


HEADER = st.sampled_from([
    b"", b"\xff", b"2026-07-28", b"2025-11-25", b"x", b"tools/call", b"echo", b"=?base64??=", b"=?base64?=",
    b"=?base64?ZWNobw==?=", b"null",
])  # fmt: skip
NAMES = st.sampled_from([b"mcp-protocol-version", b"mcp-session-id", b"mcp-method", b"mcp-name"])


@given(
    st.dictionaries(NAMES, HEADER),
    st.sampled_from(["tools/call", "initialize", "ping", "", "notifications/x", "server/discover"]),
    st.one_of(st.none(), st.integers(), st.text(max_size=4)),
    st.dictionaries(
        st.sampled_from([*META, revisions.META_CLIENT]),
        st.one_of(st.none(), st.just("2026-07-28"), st.just({}), st.integers(), st.just({"name": 1})),
    ),
)
def test_nothing_but_a_refusal_is_raised_for_any_headers(
    headers: dict[bytes, bytes], method: str, request_id: Any, meta: dict[str, Any]
) -> None:
    with suppress(Refusal):
        found = read(headers, method, request_id, name="echo", _meta=meta)
        assert found.modern or found.session is not None or method == "initialize"


@pytest.mark.parametrize("value", [b"=?base64?ZWNobw?=", b"=?base64?ZWNo bw==?=", b"=?base64?"])
def test_a_header_is_decoded_strictly_or_taken_as_it_is(value: bytes) -> None:
    assert inbound.decode_header(value) in (None, value.decode())


def test_the_newest_legacy_revision_answers_what_is_not_known() -> None:
    assert revisions.negotiate("2024-11-05") == "2024-11-05"
    for asked in ("2026-07-28", "", "1999-01-01"):
        assert revisions.negotiate(asked) == "2025-11-25"
