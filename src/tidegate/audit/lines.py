"""The form of a record: one JSON object on one line, its fields in a fixed order, its hash last.

`docs/journal.md` lists the fields. What is written here is read by every later version, so nothing in
this module may change a line that exists; fields can be added. No files here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b, sha256
from json.encoder import encode_basestring  # C: JSON quoting from str to str, 0.1 µs.
from typing import cast

import msgspec

from tidegate.domain.record import RECORD_VERSION

ORIGIN = "0" * 64
"""What the first record of a chain follows."""
TAIL = 76
"""Bytes from `,"hash":"` to the end of a line."""
MAX_TEXT = 200
"""Characters kept of a string from outside. A longer one is cut, and told apart by a hash of the whole."""
MAX_EVENT = 64 * 1024
"""Bytes of an event's data; more is replaced by its size."""
_MAX_ITEMS = 256
_MAX_DEPTH = 6
_INT64 = 2**63 - 1

Plain = None | bool | int | float | str | list["Plain"] | dict[str, "Plain"]
_encode = msgspec.json.Encoder().encode


def quoted(value: str) -> str:
    """Give a string as JSON, bounded, and never a surrogate that UTF-8 cannot say."""
    if len(value) > MAX_TEXT:
        mark = sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        value = f"{value[: MAX_TEXT - 17]}…{mark}"
    if not value.isascii():
        value = value.encode("utf-8", "replace").decode()
    return encode_basestring(value)


def whole(number: int) -> int:
    """Give a number that fits 64 bits, so that a line's length is bounded."""
    return max(-_INT64, min(_INT64, number))


def prefix(writer: str) -> str:
    """Give how every line of a writer begins, up to its sequence number."""
    return f'{{"v":{RECORD_VERSION},"writer":{quoted(writer)},"seq":'


def link(previous: str, body: str) -> str:
    """Give the hash of a record that is `body` up to `,"hash":"` and that follows the hash `previous`."""
    return sha256(f"{previous}{body}".encode()).hexdigest()


def split(line: bytes) -> tuple[bytes, bytes] | None:
    """Give a line's body and hash, or None where it does not have the form of a record."""
    if len(line) <= TAIL or line[-TAIL:-67] != b',"hash":"' or line[-3:] != b'"}\n':
        return None
    return line[:-TAIL], line[-67:-3]


def seal(key: bytes, writer: str, sequence: int, chain: str) -> str:
    """Give the keyed mark that only the holder of the key can put on a chain's state."""
    text = f"{writer}:{sequence}:{chain}".encode()
    return blake2b(text, key=key, digest_size=16, person=b"tidegate seal").hexdigest()


def data(fields: Mapping[str, object]) -> str:
    """Give an event's fields as JSON, every string, list, depth and the whole of it bounded."""
    encoded = _encode(_bounded(fields, 0))
    if len(encoded) > MAX_EVENT:
        encoded = _encode({"left_out": len(encoded)})
    return encoded.decode()


def _bounded(value: object, depth: int) -> Plain:
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return whole(value)
    if isinstance(value, str):
        return msgspec.json.decode(quoted(str(value)), type=str)
    if depth < _MAX_DEPTH and isinstance(value, Mapping):
        items = list(cast("Mapping[object, object]", value).items())[:_MAX_ITEMS]
        return {cast("str", _bounded(str(key), depth)): _bounded(item, depth + 1) for key, item in items}
    if depth < _MAX_DEPTH and isinstance(value, Sequence | set | frozenset) and not isinstance(value, bytes):
        listed = list(cast("Sequence[object]", value))[:_MAX_ITEMS]
        return [_bounded(item, depth + 1) for item in listed]
    return f"({type(value).__name__})"


class Line(msgspec.Struct):
    """What checking needs of any record."""

    v: int
    writer: str
    seq: int
    time: int
    tenant: str
    kind: str
    intent: int = 0
    call: str = ""
    outcome: str = ""
    part: str = ""


class Head(msgspec.Struct):
    """A `segment` record, part `head`: the first line of a file."""

    seq: int
    previous: int
    """First sequence number of the segment before, 0 where there is none."""
    count: int
    """Records in the segment before."""
    chain: str
    """Hash of the record before."""
    open: list[tuple[int, str, str]]
    """Intents without outcome: sequence number, call id and tenant."""
    rootless: list[tuple[int, int]]
    """Earlier segments whose root is not recorded yet: first sequence number and count."""
    seal: str


class Root(msgspec.Struct):
    """A `segment` record, part `root`: the Merkle root of an earlier segment."""

    first: int
    count: int
    root: str


class Recovered(msgspec.Struct):
    """A `segment` record, part `recovered`: what was found, and done, at a start after a crash."""

    cut: int
    file: str
    digest: str
    lost: int
    damaged: int
    closed: int


class Closed(msgspec.Struct):
    """A `segment` record, part `close`: the journal was closed in order."""

    seq: int
    chain: str
    seal: str


UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError)
"""What reading raises for a line that is no record."""
read_line = msgspec.json.Decoder(Line).decode
read_head = msgspec.json.Decoder(Head).decode
read_root = msgspec.json.Decoder(Root).decode
read_recovered = msgspec.json.Decoder(Recovered).decode
read_closed = msgspec.json.Decoder(Closed).decode
