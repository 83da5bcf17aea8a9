"""Between the eras: what a request or result of one becomes in the other.

Where both sides speak the same era a result passes as the bytes it came in.
"""

from __future__ import annotations

from msgspec import Raw

from tidegate.domain.errors import ParseFailure
from tidegate.protocol import revisions
from tidegate.protocol.codec import Object, decode_object, decode_text, encode

_COMPLETE = Raw(b'"complete"')


def hop_free(meta: Object) -> Object:
    """Leave out of a request's `_meta` what belongs to the hop it came by."""
    if revisions.META_VERSION in meta:
        return {key: value for key, value in meta.items() if key not in revisions.META_ERA}
    return meta


class ResultKind:
    """What a result says of itself."""

    __slots__ = ("fields", "is_error", "type")

    def __init__(self, result: Raw) -> None:
        try:
            self.fields: Object | None = decode_object(result)
        except ParseFailure:
            self.fields = None  # no object: relayed as it is, the client is the judge of it
        found = self.fields or {}
        self.is_error = bytes(found.get("isError", b"")) == b"true"
        self.type = decode_text(found.get("resultType")) or "complete"


def result_for(result: Raw, kind: ResultKind, *, modern_client: bool) -> bytes | Raw:
    """Give a result in the client's dress: with `resultType` for a modern one, without for a legacy one."""
    fields = kind.fields
    if fields is None or ("resultType" in fields) == modern_client:
        return result
    if modern_client:
        return encode({**fields, "resultType": _COMPLETE})
    return encode({key: value for key, value in fields.items() if key != "resultType"})
