"""Compact: a signed token taken apart, without a word of it being believed yet (RFC 7515, 7519).

Header and claims are read once, and what is read here is what is judged: a key that stands twice is refused,
so that no two readers can take it for different things.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

LONGEST = 16 * 1024
"""Characters of a token: as much as a header may have."""
_PART = re.compile(r"[A-Za-z0-9_-]+")
_DEEP = 32


class Malformed(ValueError):
    """It is not what it should be. The message holds nothing of it."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it says that it is."""

    header: Mapping[str, object]
    claims: Mapping[str, object]
    signed: bytes
    """What the signature is over."""
    signature: bytes


def bearer(header: bytes | None) -> tuple[str, str] | None:
    """Give scheme (`bearer` or `dpop`) and token of an `Authorization` header; None where it has neither."""
    if header is None or len(header) > LONGEST + 16:
        return None
    scheme, _, token = header.partition(b" ")
    name = scheme.lower()
    if name not in (b"bearer", b"dpop") or not token.strip():
        return None
    return name.decode(), token.strip().decode("latin-1")


def take_apart(token: str) -> Token | None:
    """Give a token's parts; None where it is no signed JWT (but an opaque token, an API key, …)."""
    parts = token.split(".")
    if len(parts) != 3 or len(token) > LONGEST or not all(_PART.fullmatch(part) for part in parts[:2]):
        return None
    try:
        header, claims = json_object(decode(parts[0])), json_object(decode(parts[1]))
        signature = decode(parts[2]) if parts[2] else b""
    except Malformed:
        return None
    return Token(header, claims, f"{parts[0]}.{parts[1]}".encode(), signature)


def decode(text: str) -> bytes:
    """Read base64url without padding.

    Raises:
        Malformed: it is none.
    """
    if not _PART.fullmatch(text) or len(text) % 4 == 1:
        raise Malformed("is not base64url")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def json_object(data: bytes) -> Mapping[str, object]:
    """Read a JSON object that can be read in one way only.

    Raises:
        Malformed: it is none.
    """
    try:
        found = cast(object, json.loads(data, object_pairs_hook=_once, parse_constant=_constant))
    except (ValueError, RecursionError):
        raise Malformed("is not JSON") from None
    if not isinstance(found, dict) or _deep(cast(object, found), _DEEP):
        raise Malformed("is not a JSON object")
    return cast("dict[str, object]", found)


def _once(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Malformed("holds a key twice")
    return found


def _constant(name: str) -> object:
    raise Malformed(f"holds {name}")


def _deep(value: object, left: int) -> bool:
    if isinstance(value, dict):
        inner = list(cast("dict[str, object]", value).values())
    elif isinstance(value, list):
        inner = cast("list[object]", value)
    else:
        return False
    return left == 0 or any(_deep(each, left - 1) for each in inner)
