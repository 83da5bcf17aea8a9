"""Second readers: the same formats read by other means, to hold the gateway's reading against.

Nothing here may use what it is to be compared with.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any


class Unread(Exception):
    """It is not JSON to this reader."""


class Pairs(list[tuple[str, Any]]):
    """The members of an object as they stand, keys that stand twice included."""

    @property
    def last(self) -> dict[str, Any]:
        """The object as most readers see it: the last of equal keys counts."""
        return dict(self)

    @property
    def keys_twice(self) -> bool:
        """Whether a key stands twice."""
        return len(self.last) != len(self)


def _constant(word: str) -> Any:
    raise Unread(f"{word} is not JSON")


_decoder = json.JSONDecoder(
    object_pairs_hook=Pairs,
    parse_constant=_constant,
    parse_int=lambda text: ("number", text),
    parse_float=lambda text: ("number", text),
)


def read(data: bytes) -> Any:
    """Read JSON with the standard library, strictly; numbers are kept as text.

    Raises:
        Unread: it is not JSON in UTF-8.
        RecursionError: it is nested deeper than this reader goes.
    """
    try:
        text = data.decode("utf-8")
        if text.startswith("\ufeff"):
            raise Unread("a byte order mark")
        value, end = _decoder.raw_decode(text, len(text) - len(text.lstrip(" \t\r\n")))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise Unread(str(error)) from error
    if text[end:].strip(" \t\r\n"):
        raise Unread("more than one value")
    return value


@dataclass(frozen=True)
class Sent:
    """An event as a browser would dispatch it."""

    data: str
    event: str
    id: str


def events(data: bytes) -> list[Sent]:
    """Read an event stream by the letter of WHATWG HTML, 9.2.6, all at once."""
    text = data.decode("utf-8", "replace").removeprefix("\ufeff")
    lines = re.split("\r\n|\r|\n", text)[:-1]  # what has no line end yet is discarded
    found: list[Sent] = []
    buffer, kind, last = "", "", ""
    for line in lines:
        if not line:
            if buffer:
                found.append(Sent(buffer.removesuffix("\n"), kind or "message", last))
            buffer, kind = "", ""
            continue
        name, colon, value = line.partition(":")
        if colon and not name:
            continue
        value = value.removeprefix(" ")
        if name == "data":
            buffer += value + "\n"
        elif name == "event":
            kind = value
        elif name == "id" and "\0" not in value:
            last = value
    return found
