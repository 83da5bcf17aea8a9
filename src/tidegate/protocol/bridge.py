"""Between the eras: what a request, result or error of one becomes in the other.

Where both sides speak the same era a result passes as the bytes it came in.
"""

from __future__ import annotations

from msgspec import Raw

from tidegate.domain.errors import ParseFailure
from tidegate.protocol import caching, revisions
from tidegate.protocol.codec import Object, decode_object, decode_text, decode_value, encode, error_object

_COMPLETE, _TRUE = Raw(b'"complete"'), Raw(b"true")
_CACHED = frozenset({"ttlMs", "cacheScope"})
_NOT_FOUND = -32002
"""Resource not found, up to 2025-11-25; in 2026-07-28 that is -32602 with the URI (SEP-2164)."""


def hop_free(meta: Object) -> Object:
    """Leave out of a request's `_meta` what belongs to the hop it came by."""
    if revisions.META_VERSION in meta:
        return {key: value for key, value in meta.items() if key not in revisions.META_ERA}
    return meta


class ResultKind:
    """What a result says of itself."""

    __slots__ = ("fields", "is_error", "type")

    def __init__(self, result: Raw) -> None:
        self.type, self.is_error = "complete", False
        self.fields: Object | None = None
        try:
            self.fields = fields = decode_object(result)
        except ParseFailure:  # no object: relayed as it is, the client is the judge of it
            return
        if "isError" in fields:
            self.is_error = fields["isError"] == _TRUE
        kind = fields.get("resultType", _COMPLETE)
        if kind != _COMPLETE:
            self.type = decode_text(kind) or "complete"


def with_type(fields: Object) -> bytes:
    """Encode a whole result for a modern client. `fields` are not used any more."""
    fields["resultType"] = _COMPLETE
    return encode(fields)


def without_type(fields: Object) -> bytes:
    """Encode a result for a legacy client. `fields` are not used any more."""
    del fields["resultType"]
    return encode(fields)


def result_for(
    result: Raw, kind: ResultKind, *, modern_client: bool, method: str = "tools/call"
) -> bytes | Raw:
    """Give a result in the client's dress.

    A modern client gets `resultType`, and how long it may keep what it read (server/utilities/caching: not at
    all where the server did not say); a legacy one gets neither.
    """
    fields = kind.fields
    if fields is None:
        return result
    read = method == "resources/read"
    if not read and ("resultType" in fields) == modern_client:
        return result
    if modern_client:
        more: Object = {} if "resultType" in fields else {"resultType": _COMPLETE}
        if read and kind.type == "complete":
            more |= caching.told(fields)
        return encode({**fields, **more}) if more else result
    if "resultType" not in fields and not (read and fields.keys() & _CACHED):
        return result
    kept = {key: value for key, value in fields.items() if key != "resultType"}
    if read:
        kept = {key: value for key, value in kept.items() if key not in _CACHED}
    return encode(kept)


def error_code(error: Raw) -> int:
    """Give the code of an error object; 0 where it has none."""
    try:
        code = decode_value(decode_object(error).get("code", Raw(b"0")))
    except ParseFailure:
        return 0
    return code if isinstance(code, int) else 0


def error_for(error: Raw, code: int, *, modern_client: bool, uri: str | None) -> tuple[Raw, int]:
    """Give an error in the client's dress, with its code. `uri` is what was to be read, as the client names it."""
    if uri is None:
        return error, code
    if modern_client and code == _NOT_FOUND:
        return Raw(error_object(-32602, "resource not found", {"uri": uri})), -32602
    try:
        fields = decode_object(error)
        data = decode_object(fields["data"]) if "data" in fields else {}
    except ParseFailure:
        return error, code
    if "uri" not in data:
        return error, code
    return Raw(encode({**fields, "data": {**data, "uri": uri}})), code
