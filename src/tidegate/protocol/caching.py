"""What results say of how long they hold, and what clients are told of it.

MCP 2026-07-28, server/utilities/caching. Keeps nothing and knows no time.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw

from tidegate.protocol.codec import Object, decode_text, encode

LONGEST = 86_400.0
"""Seconds for which a result is taken to hold at most, whatever its server says."""

_TTL, _SCOPE = "ttlMs", "cacheScope"
_STALE, _PRIVATE = Raw(b"0"), Raw(b'"private"')


def seconds(result: Object) -> float:
    """Give for how many seconds a complete result holds: 0 for one that does not, or does not say."""
    if (decode_text(result.get("resultType")) or "complete") != "complete" or _TTL not in result:
        return 0.0
    found = _milliseconds(result[_TTL])
    return 0.0 if found is None else min(max(found, 0), int(LONGEST * 1000)) / 1000


def is_public(result: Object) -> bool:
    """Tell whether a result may be given to others than it was made for."""
    return decode_text(result.get(_SCOPE)) == "public"


def aged(result: Object, left: float) -> bytes:
    """Give a kept result that holds `left` seconds more."""
    return encode({**result, _TTL: max(0, int(left * 1000))})


def told(result: Object) -> Object:
    """Give what a modern client is told of a complete result beside what its server says.

    Where that says nothing, or nothing sound: that it does not hold, and is for this client alone.
    """
    more: Object = {}
    if _milliseconds(result.get(_TTL)) is None:
        more[_TTL] = _STALE
    if decode_text(result.get(_SCOPE)) not in ("public", "private"):
        more[_SCOPE] = _PRIVATE
    return more


def _milliseconds(value: Raw | None) -> int | None:
    """Give a `ttlMs`; None for what is none (a server must not send a negative one)."""
    if value is None:
        return None
    try:
        found = msgspec.json.decode(value, type=int)
    except msgspec.DecodeError:
        return None
    return found if found >= 0 else None
