"""What results say of how long they hold: read, given to modern clients, taken from legacy ones.

MCP 2026-07-28, server/utilities/caching. Keeps nothing and knows no time.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw

from tidegate.domain.errors import ParseFailure
from tidegate.protocol.codec import Object, decode_object, decode_text, encode

CACHEABLE = frozenset(
    {"server/discover", "tools/list", "prompts/list", "resources/list", "resources/templates/list",
     "resources/read"}
)  # fmt: skip
"""Methods whose complete results say how long they hold."""
LONGEST = 86_400.0
"""Seconds for which a result is taken to hold at most, whatever its server says."""

_TTL, _SCOPE = "ttlMs", "cacheScope"
_STALE, _PRIVATE = Raw(b"0"), Raw(b'"private"')


def seconds(result: Object) -> float:
    """Give for how many seconds a complete result holds: 0 for one that does not, or does not say."""
    if (decode_text(result.get("resultType")) or "complete") != "complete" or _TTL not in result:
        return 0.0
    found = _milliseconds(result[_TTL])
    return 0.0 if found is None else min(max(found, 0) / 1000, LONGEST)


def is_public(result: Object) -> bool:
    """Tell whether a result may be given to others than it was made for."""
    return decode_text(result.get(_SCOPE)) == "public"


def aged(result: Object, left: float) -> bytes:
    """Give a kept result that holds `left` seconds more."""
    return encode({**result, _TTL: max(0, int(left * 1000))})


def dressed(method: str, result: Raw, *, modern_client: bool) -> Raw:
    """Give a result as a client of an era gets it; the same object where there is nothing to do.

    A modern client is always told how long a cacheable result holds: not at all and for itself alone, where the
    server does not say. A legacy one knows no such words.
    """
    if method not in CACHEABLE:
        return result
    try:
        fields = decode_object(result)
    except ParseFailure:
        return result  # the client is the judge of it
    if not modern_client:
        if _TTL not in fields and _SCOPE not in fields:
            return result
        return Raw(encode({key: value for key, value in fields.items() if key not in (_TTL, _SCOPE)}))
    if (decode_text(fields.get("resultType")) or "complete") != "complete":
        return result
    told = dict[str, Raw]()
    if _milliseconds(fields.get(_TTL)) is None:
        told[_TTL] = _STALE
    if decode_text(fields.get(_SCOPE)) not in ("public", "private"):
        told[_SCOPE] = _PRIVATE
    return Raw(encode({**fields, **told})) if told else result


def _milliseconds(value: Raw | None) -> int | None:
    """Give a `ttlMs`; None for what is none (a server must not send a negative one)."""
    if value is None:
        return None
    try:
        found = msgspec.json.decode(value, type=int)
    except msgspec.DecodeError:
        return None
    return found if found >= 0 else None
