"""Lists: the pages that clients get, encoded once for all who see the same. Cursors say kind and place."""

from __future__ import annotations

from collections.abc import Sequence

from tidegate.access.classes import Class
from tidegate.domain.errors import InvalidParams
from tidegate.domain.target import Kind
from tidegate.gateway.definitions import LISTS
from tidegate.protocol.codec import encode

PAGE = 1000
"""Definitions a page of a list holds."""
LISTS_SIZE = 32 * 1024 * 1024
"""Bytes of pages that an endpoint keeps: servers decide how large a definition is."""
_KEPT = 256
"""Pages kept: one for each class of principals, kind and era."""
_LETTERS = {Kind.TOOL: "t", Kind.PROMPT: "p", Kind.RESOURCE: "r", Kind.TEMPLATE: "m"}

Key = tuple[Class, Kind, int, bool]
"""For whom, kind, offset, era."""


def cursor_at(kind: Kind, offset: int) -> str:
    """Give the cursor of a page."""
    return f"{_LETTERS[kind]}{offset}"


def offset_of(kind: Kind, cursor: str | None) -> int:
    """Read a cursor; None is the first page.

    Raises:
        InvalidParams: it was never given for this kind.
    """
    if cursor is None:
        return 0
    number = cursor[1:]
    if cursor[:1] != _LETTERS[kind] or len(cursor) > 10 or not (number.isascii() and number.isdecimal()):
        raise InvalidParams("cursor is not one that was given")
    offset = int(number)
    if offset % PAGE:  # encoded pages are kept, so there must not be one for every number
        raise InvalidParams("cursor is not one that was given")
    return offset


def page(kind: Kind, encoded: Sequence[bytes], offset: int, rest: dict[str, object]) -> bytes:
    """Encode the page of a list from `offset` on, with further fields; the end is left open."""
    if offset + PAGE < len(encoded):
        rest = {"nextCursor": cursor_at(kind, offset + PAGE), **rest}
    tail = encode(rest)[1:-1]
    body = b",".join(encoded[offset : offset + PAGE])
    return b'{"%b":[%b]%b%b' % (LISTS[kind].key.encode(), body, b"," if tail else b"", tail)


class Pages:
    """Encoded pages, kept within bounds."""

    def __init__(self) -> None:
        self._pages: dict[Key, bytes] = {}
        self.size = 0
        """Bytes that are kept."""

    def get(self, key: Key) -> bytes | None:
        """Give a page that was kept."""
        return self._pages.get(key)

    def put(self, key: Key, encoded: bytes) -> None:
        """Keep a page, and forget the others where there is no room."""
        if len(self._pages) >= _KEPT or self.size + len(encoded) > LISTS_SIZE:
            self.forget()
        if len(encoded) <= LISTS_SIZE:
            self._pages[key] = encoded
            self.size += len(encoded)

    def forget(self) -> None:
        """Forget them all."""
        self._pages, self.size = {}, 0
