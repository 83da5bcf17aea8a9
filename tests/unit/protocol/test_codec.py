"""A client's message is read in one way only, or refused; what is relayed is what came."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import Raw

from tidegate.domain.errors import InvalidRequest, ParseFailure, Refusal
from tidegate.protocol.codec import (
    Message,
    decode_message,
    decode_object,
    decode_text,
    decode_value,
    encode,
    encode_error,
    encode_notification,
    encode_request,
    encode_result,
    error_object,
)


def message(**fields: Any) -> bytes:
    """Give a request with these fields beside the usual ones."""
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", **fields}).encode()


def refused(data: bytes) -> str:
    """Give the class and the words with which a message is refused."""
    with pytest.raises(Refusal) as caught:
        decode_message(data)
    return f"{type(caught.value).__name__}: {caught.value}"


def test_a_request_is_read_one_level_deep_and_its_meta_taken_out() -> None:
    found = decode_message(
        b'{"jsonrpc":"2.0","id":"a","method":"tools/call","params":'
        b'{"name":"x","arguments":{"deep": [1, 2 ]},"_meta":{"progressToken": 7}}}'
    )
    assert (found.method, found.id, found.is_request) == ("tools/call", Raw(b'"a"'), True)
    assert found.params == {"name": Raw(b'"x"'), "arguments": Raw(b'{"deep": [1, 2 ]}')}
    assert found.meta == {"progressToken": Raw(b"7")}


def test_a_notification_expects_no_answer() -> None:
    found = decode_message(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')
    assert (found.id, found.is_request, found.params, found.meta) == (None, False, {}, {})


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"jsonrpc":"2.0","id":1,"result":{}}', (Raw(b"{}"), None)),
        (
            b'{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x"}}',
            (None, Raw(b'{"code":1,"message":"x"}')),
        ),
    ],
)
def test_a_response_is_a_message_without_method(body: bytes, expected: tuple[Raw | None, Raw | None]) -> None:
    found = decode_message(body)
    assert (found.method, found.is_request, found.result, found.error) == (None, False, *expected)


@pytest.mark.parametrize(
    "body",
    [
        b'{"jsonrpc":"2.0","id":1}',
        b'{"jsonrpc":"2.0","result":{}}',
        b'{"jsonrpc":"2.0","id":1,"result":{},"error":{}}',
        b'{"id":1,"method":"ping"}',
        b'{"jsonrpc":"1.0","id":1,"method":"ping"}',
        b'{"jsonrpc":2.0,"id":1,"method":"ping"}',
        b'{"jsonrpc":"2.0","id":1,"method":7}',
        b'{"jsonrpc":"2.0","id":1,"method":null}',
        b'{"jsonrpc":"2.0","id":null,"method":"ping"}',
        b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}',
        b'{"jsonrpc":"2.0","id":true,"method":"ping"}',
        b'{"jsonrpc":"2.0","id":[1],"method":"ping"}',
        b'{"jsonrpc":"2.0","id":{},"method":"ping"}',
        b'{"jsonrpc":"2.0","id":"%b","method":"ping"}' % (b"x" * 300),
        b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","params":"x"}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","params":null}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":[]}}',
        b"42",
        b'"text"',
        b"null",
        b"[]",
        b' \n[{"jsonrpc":"2.0","id":1,"method":"ping"}]',
        b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]',
    ],
)
def test_json_that_is_no_message_is_an_invalid_request(body: bytes) -> None:
    assert refused(body).startswith("InvalidRequest: ")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b'{"jsonrpc":"2.0","id":1,"method":"ping"',
        b'{"jsonrpc":"2.0","id":1,"method":"ping"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping"}{}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping",}',
        b"{'jsonrpc':'2.0'}",
        b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":NaN}}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":01}}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":"\x01"}}',
        b'\xef\xbb\xbf{"jsonrpc":"2.0","id":1,"method":"ping"}',
        b"\x00",
        b"\x80\x81",
    ],
)
def test_what_is_not_json_is_a_parse_failure(body: bytes) -> None:
    assert refused(body).startswith("ParseFailure: ")


@pytest.mark.parametrize("where", [b'{"a":"\xff"}', b'{"\xc3\x28":1}', b'{"a":"\xed\xa0\x80"}'])
def test_text_that_is_not_utf8_is_refused_wherever_it_stands(where: bytes) -> None:
    body = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":%b}}' % where
    assert "not UTF-8" in refused(body)


TWICE = [
    '{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}',
    '{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}',
    '{"jsonrpc":"2.0","id":1,"method":"ping","\\u006dethod":"tools/call"}',
    '{ "jsonrpc" : "2.0" , "id" : 1 , "method" : "ping" , "meth\\u006fd" : "tools/call" }',
    '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","name":"a"}}',
    '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a",\n"n\\u0061me":"b"}}',
    '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{},"_meta":{}}}',
    '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"x":1,"x":2}}}',
    '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"},"x":"","x":""}',
    '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"a\\/b":1,"a/b":1}}',
]


@pytest.mark.parametrize("body", TWICE)
def test_a_key_that_stands_twice_is_refused_also_in_disguise(body: str) -> None:
    assert "stands twice" in refused(body.encode())


@pytest.mark.parametrize(
    "body",
    [
        message(Params={}),
        message(METHOD="ping"),
        message(params={"Name": "x"}),
        message(params={"name": "x", "ARGUMENTS": {}}),
        message(params={"_Meta": {}}),
        message(params={"_meta": {"ProgressToken": 1}}),
        '{"jsonrpc":"2.0","id":1,"method":"x","params":{},"paramſ":{"name":"other"}}'.encode(),
        b'{"jsonrpc":"2.0","id":1,"method":"x","param\\u017f":{}}',
        message(params={"uri": "x", "curſor": "y"}),
        message(params={"taſKId": "x"}),
    ],
)
def test_a_key_that_differs_from_a_known_one_only_by_case_is_refused(body: bytes) -> None:
    """Go's decoder takes such a key for the known one, with U+017F for `s` and U+212A for `k` too."""
    assert "only by case" in refused(body)


def test_unknown_keys_pass_untouched() -> None:
    found = decode_message(message(params={"name": "x", "future": {"a": [1]}, "Zukunft": 1}))
    assert found.params["future"] == Raw(b'{"a": [1]}')


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_what_is_nested_too_deep_is_refused(opening: bytes) -> None:
    closing = b"]" if opening == b"[" else b"}"
    deep = opening * 100_000 + b"1" + closing * 100_000
    body = b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"name":%b}}' % deep
    assert refused(body) == "ParseFailure: nested too deep"
    with pytest.raises(ParseFailure):
        decode_value(deep)
    with pytest.raises(ParseFailure):
        decode_object(b'{"a":%b}' % deep)


def test_an_id_comes_back_as_it_came() -> None:
    for given_id in (b"0", b"-7", b"99999999999999999999999", b'"\\u0061 \\" b"', b'""'):
        found = decode_message(b'{"jsonrpc":"2.0","id":%b,"method":"ping"}' % given_id)
        assert found.id == Raw(given_id)
        assert encode_result(found.id or b"", b"{}") == b'{"jsonrpc":"2.0","id":%b,"result":{}}' % given_id


def test_what_is_encoded_stands_on_one_line() -> None:
    params = {"arguments": Raw(b'{\n  "a": "\\n",\r\n "b": 1\n}')}
    line = encode_request(b"1", "tools/call", params, {"t": Raw(b"\n1")})
    assert b"\n" not in line
    assert b"\r" not in line
    assert json.loads(line)["params"] == {"arguments": {"a": "\n", "b": 1}, "_meta": {"t": 1}}
    assert json.loads(encode_notification("n/x", {"a": Raw(b"[\n]")}))["params"] == {"a": []}
    assert json.loads(encode_notification("n/x", {})) == {"jsonrpc": "2.0", "method": "n/x"}


def test_an_error_says_code_message_and_data() -> None:
    assert json.loads(encode_error(None, error_object(-32700, "no", {"id": "x"}))) == {
        "jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "no", "data": {"id": "x"}},
    }  # fmt: skip


def test_text_is_given_only_where_there_is_one() -> None:
    assert decode_text(Raw(b'"\\u00e4"')) == "ä"
    assert [decode_text(each) for each in (None, Raw(b"1"), Raw(b"null"), Raw(b""), Raw(b'"\\ud800"'))] == [
        None
    ] * 5


# -- any input ---------------------------------------------------------------------------------

NAMES = st.one_of(
    st.text(max_size=8), st.sampled_from(["name", "arguments", "uri", "x", "ä", 'q"\\', "\u2028"])
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**53), 2**53),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=20),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=12,
)
KNOWN = {
    "name", "arguments", "uri", "cursor", "_meta", "ref", "argument", "context", "level", "requestid", "reason",
    "progresstoken", "protocolversion", "capabilities", "clientinfo", "inputresponses", "requeststate", "task",
    "taskid", "notifications",
}  # fmt: skip


def plain(params: dict[str, Any]) -> bool:
    """Whether no key is a known one in another case."""
    return all(key in KNOWN or key.casefold() not in KNOWN for key in params)


REQUESTS = st.fixed_dictionaries(
    {
        "jsonrpc": st.just("2.0"),
        "id": st.one_of(st.integers(-(2**53), 2**53), st.text(max_size=10)),
        "method": st.text(max_size=12),
        "params": st.dictionaries(NAMES, VALUES, max_size=5).filter(plain),
    }
)


@given(REQUESTS, st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_any_message_means_the_same_to_us_as_to_another_reader(
    sent: dict[str, Any], escaped: bool, indent: int | str | None
) -> None:
    sent["params"].pop("_meta", None)
    data = json.dumps(sent, ensure_ascii=escaped, indent=indent).encode()
    found = decode_message(data)
    assert found.method == sent["method"]
    assert json.loads(bytes(found.id or b"")) == sent["id"]
    assert {key: json.loads(bytes(value)) for key, value in found.params.items()} == sent["params"]
    again = encode_request(found.id or b"", found.method or "", found.params, found.meta)
    assert b"\n" not in again
    assert json.loads(again) == sent


@given(st.lists(st.tuples(NAMES, st.integers(0, 9)), min_size=1, max_size=6), st.booleans(), st.booleans())
def test_keys_are_refused_as_twice_exactly_where_another_reader_would_lose_one(
    pairs: list[tuple[str, int]], escaped: bool, spaced: bool
) -> None:
    colon, comma = (" : ", "\n, ") if spaced else (":", ",")
    inner = comma.join(f"{json.dumps(key, ensure_ascii=escaped)}{colon}{value}" for key, value in pairs)
    body = f'{{"jsonrpc":"2.0","id":1,"method":"x","params":{{{inner}}}}}'.encode()
    names = [key for key, _ in pairs]
    if len(set(names)) < len(names):
        with pytest.raises(Refusal):
            decode_message(body)
    elif plain(dict(pairs)) and "_meta" not in names:
        assert len(decode_message(body).params) == len(names)


@given(st.binary(max_size=200))
@example(b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"\\ud800":1}}')
@example(b'{"":1,"":2}')
@example(b'{"a":1' + b"0" * 5000 + b',"a":2}')
@example(b'{ "jsonrpc":"2.0","id":1,"method":"x","x":' + b"1" * 5000 + b"}")
@example(b"[" * 5000)
def test_nothing_but_a_refusal_is_raised_for_any_bytes(data: bytes) -> None:
    try:
        assert isinstance(decode_message(data), Message)
    except Refusal:
        pass


@given(REQUESTS, st.data())
def test_nothing_but_a_refusal_is_raised_for_a_damaged_message(
    sent: dict[str, Any], draw: st.DataObject
) -> None:
    data = bytearray(json.dumps(sent, ensure_ascii=False).encode())
    for _ in range(draw.draw(st.integers(1, 4))):
        at = draw.draw(st.integers(0, len(data) - 1))
        data[at] = draw.draw(st.integers(0, 255))
    try:
        found = decode_message(bytes(data))
    except Refusal:
        return
    assert found.method is not None or found.id is not None


@given(VALUES)
def test_a_value_read_whole_is_what_another_reader_reads(value: Any) -> None:
    ours = decode_value(json.dumps(value).encode())
    assert ours == value or (isinstance(value, float) and math.isclose(value, ours))  # type: ignore[arg-type]
    assert json.loads(encode(ours)) == ours


def test_refusals_repeat_no_more_of_a_message_than_a_line() -> None:
    words = refused(message(**{"x" * 5000: 1, "PARAMS": {}}).replace(b"PARAMS", b"PaRaMs"))
    assert len(words) < 200
    assert "\n" not in words


def test_the_classes_carry_their_codes() -> None:
    assert (ParseFailure.code, ParseFailure.status) == (-32700, 400)
    assert (InvalidRequest.code, InvalidRequest.status) == (-32600, 400)
