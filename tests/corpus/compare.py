"""Comparing what the gateway reads and writes with what another reader reads."""

from __future__ import annotations

from typing import Any

from msgspec import Raw

from tests.corpus import second
from tests.corpus.second import Unread
from tidegate.protocol import client


class Differs(AssertionError):
    """Two readers do not read the same."""


def same(ours: object, theirs: object, what: str) -> None:
    """Expect two readings to be equal."""
    if ours != theirs:
        raise Differs(f"{what}: {ours!r} is not {theirs!r}")


def reads(data: bytes) -> Any:
    """Read what we accepted or wrote by other means: that must be possible."""
    try:
        return second.read(data)
    except Unread as error:
        raise Differs(
            f"accepted or written, but no JSON to another reader: {error}: {data[:200]!r}"
        ) from error


def told(data: bytes) -> Raw | None:
    """Give a value as it comes out of a server's message: in UTF-8, and well-formed."""
    found = client.decode_inbound(b'{"id":1,"result":%b}' % data)
    return found.result if found is not None and found.result else None
