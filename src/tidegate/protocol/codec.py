"""JSON-RPC messages as the bytes they came in: decoded one level deep, re-emitted, never rebuilt.

Values stay `msgspec.Raw`. So that gateway and server cannot read one message in two ways, the levels
that are read (envelope, `params`, `_meta`) are refused where a key stands twice or equals a known key
but for case, and are re-emitted from what was read.
"""

from __future__ import annotations

import json
from typing import cast

import msgspec
from msgspec import Raw

from tidegate.domain.errors import InvalidRequest, ParseFailure

Object = dict[str, Raw]
"""A JSON object, its values undecoded."""

RequestId = int | str

_ENVELOPE = frozenset({"jsonrpc", "id", "method", "params", "result", "error"})
_PARAMS = frozenset(
    {"name", "arguments", "uri", "cursor", "_meta", "ref", "argument", "context", "level", "requestId",
     "reason", "progressToken", "protocolVersion", "capabilities", "clientInfo", "inputResponses",
     "requestState", "task", "taskId", "notifications"}
)  # fmt: skip
_META = frozenset(
    {"progressToken", "io.modelcontextprotocol/protocolVersion", "io.modelcontextprotocol/clientInfo",
     "io.modelcontextprotocol/clientCapabilities", "io.modelcontextprotocol/logLevel"}
)  # fmt: skip
_FOLDED = {known: {key.casefold() for key in known} for known in (_ENVELOPE, _PARAMS, _META)}

_decode_object = msgspec.json.Decoder(Object).decode
_decode_any = msgspec.json.Decoder().decode
_decode_id = msgspec.json.Decoder(RequestId).decode
_decode_text = msgspec.json.Decoder(str).decode
_encoder = msgspec.json.Encoder()
encode = _encoder.encode
"""Encode plain values, and `Raw` among them, to compact JSON."""

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_LARGEST_ID = 256
"""Bytes of a request id that are taken: ids are echoed, kept and mapped, so they stay small."""


class Message(msgspec.Struct, frozen=True):
    """A JSON-RPC message. `id` is the client's bytes, given back as they came."""

    method: str | None
    id: Raw | None
    params: Object
    meta: Object
    """`params._meta`, already taken out of `params`."""
    result: Raw | None = None
    error: Raw | None = None

    @property
    def is_request(self) -> bool:
        """Whether it expects an answer."""
        return self.method is not None and self.id is not None


def decode_object(data: bytes | Raw) -> Object:
    """Decode one level of a JSON object from a peer whose message goes no further than us.

    Raises:
        ParseFailure: not a JSON object.
    """
    try:
        return _decode_object(data)
    except _UNREADABLE as error:
        raise _no_object(error) from error


def _no_object(error: Exception) -> ParseFailure:
    if isinstance(error, RecursionError):
        return ParseFailure("nested too deep")
    return ParseFailure(f"not a JSON object: {_first_line(error)}")


def decode_value(data: bytes | Raw) -> object:
    """Decode a whole JSON value.

    Raises:
        ParseFailure: not JSON, or nested too deep.
    """
    try:
        return _decode_any(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ParseFailure(f"not JSON: {_first_line(error)}") from error
    except RecursionError as error:
        raise ParseFailure("nested too deep") from error


def decode_text(data: Raw | None) -> str | None:
    """Decode a JSON string; None where there is none or it is something else."""
    if data is None:
        return None
    try:
        return _decode_text(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def decode_message(data: bytes) -> Message:
    """Decode a client's message, strictly.

    Raises:
        ParseFailure: not JSON, a key twice, nested too deep, not UTF-8.
        InvalidRequest: JSON, but no JSON-RPC 2.0 message.
    """
    if not data.isascii():
        try:
            str(data, "utf-8")  # msgspec does not look into strings that it skips
        except UnicodeDecodeError as error:
            raise ParseFailure(f"not UTF-8 at byte {error.start}") from error
    try:
        envelope = _strict(data, _ENVELOPE)
    except InvalidRequest as error:
        if data.lstrip()[:1] == b"[":
            raise InvalidRequest("batches are not accepted: send one message") from error
        raise
    if envelope.get("jsonrpc") != _VERSION:
        raise InvalidRequest('"jsonrpc" must be "2.0"')
    method, request_id = envelope.get("method"), envelope.get("id")
    if request_id is not None:
        _check_id(request_id)
    if method is None:
        return _decode_response(envelope, request_id)
    name = decode_text(method)
    if name is None:
        raise InvalidRequest('"method" must be a string')
    raw_params = envelope.get("params")
    if raw_params is None:
        return Message(name, request_id, {}, {})
    params = _strict(raw_params, _PARAMS)
    raw_meta = params.pop("_meta", None)
    return Message(name, request_id, params, {} if raw_meta is None else _strict(raw_meta, _META))


def _decode_response(envelope: Object, request_id: Raw | None) -> Message:
    result, error = envelope.get("result"), envelope.get("error")
    if request_id is None or (result is None) == (error is None):
        raise InvalidRequest("neither a request, a notification nor a response")
    return Message(None, request_id, {}, {}, result, error)


_VERSION = Raw(b'"2.0"')
_PAIRS = json.JSONDecoder(object_pairs_hook=tuple)


def _strict(data: bytes | Raw, known: frozenset[str]) -> Object:
    try:
        found = _decode_object(data)  # not by the function of that name: twice a call
    except msgspec.ValidationError as error:
        raise InvalidRequest('a message, its "params" and their "_meta" are objects') from error
    except _UNREADABLE as error:
        raise _no_object(error) from error
    # Re-emitted without loss of length there was no key twice: each key and value is at most as long
    # as it came, so equal sums mean equal parts. Only white space or escapes in keys need a closer look.
    if len(encode(found)) != len(data):
        _refuse_twice(bytes(data))
    if found.keys() <= known:
        return found
    folded = _FOLDED[known]
    for key in found:  # folded, since Go's decoder takes `paramſ` (U+017F) for `params` too
        if key not in known and key.casefold() in folded:
            raise ParseFailure(f"key {key[:40]!r} differs from a known one only by case")
    return found


def _refuse_twice(data: bytes) -> None:
    """Look at the keys of the outermost object only; `data` is known to be a well-formed object."""
    try:
        pairs = cast("tuple[tuple[str, object], ...]", _PAIRS.decode(data.decode("utf-8")))
    except (ValueError, RecursionError) as error:
        raise ParseFailure("not JSON that can be read in one way only") from error
    seen: set[str] = set()
    for each in pairs:
        key = each[0]
        if key in seen:
            raise ParseFailure(f"key {key[:40]!r} stands twice")
        seen.add(key)


def _check_id(request_id: Raw) -> None:
    if len(request_id) > _LARGEST_ID:
        raise InvalidRequest(f'"id" is longer than {_LARGEST_ID} bytes')
    try:
        _decode_id(request_id)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest('"id" must be a string or a whole number') from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:120].lower()


def one_line(data: bytes) -> bytes:
    """Give JSON without line ends. In well-formed JSON they can only be white space between tokens."""
    if b"\n" in data or b"\r" in data:
        return data.replace(b"\r", b" ").replace(b"\n", b" ")
    return data


def encode_request(request_id: bytes, method: str, params: Object, meta: Object | None = None) -> bytes:
    """Encode a request on one line. `request_id` is encoded JSON."""
    whole = {**params, "_meta": meta} if meta else params
    return one_line(
        b'{"jsonrpc":"2.0","id":%b,"method":%b,"params":%b}' % (request_id, encode(method), encode(whole))
    )


def encode_notification(method: str, params: Object, meta: Object | None = None) -> bytes:
    """Encode a notification on one line."""
    whole = {**params, "_meta": meta} if meta else params
    body = b',"params":%b' % encode(whole) if whole else b""
    return one_line(b'{"jsonrpc":"2.0","method":%b%b}' % (encode(method), body))


def encode_result(request_id: bytes | Raw, result: bytes | Raw) -> bytes:
    """Encode a successful response. `result` is encoded JSON."""
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (bytes(request_id), bytes(result))


def encode_error(request_id: bytes | Raw | None, error: bytes | Raw) -> bytes:
    """Encode an error response. `error` is an encoded JSON-RPC error object."""
    return b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (bytes(request_id or b"null"), bytes(error))


def error_object(code: int, message: str, data: object = None) -> bytes:
    """Encode a JSON-RPC error object."""
    if data is None:
        return encode({"code": code, "message": message})
    return encode({"code": code, "message": message, "data": data})
