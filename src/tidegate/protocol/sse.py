"""Server-sent events, both ways: an incremental, bounded parser and an encoder. No I/O.

Source: WHATWG HTML, 9.2 "Server-sent events". Line ends may be CR, LF or CRLF, mixed; a byte order mark
at the start is dropped; `data` lines are joined with LF.
"""

from __future__ import annotations

import msgspec

_BOM = b"\xef\xbb\xbf"


class Event(msgspec.Struct, frozen=True):
    """One dispatched event."""

    data: bytes
    event: str = "message"
    id: str | None = None
    """The last event id that was set, by this event or one before."""


class EventParser:
    """Takes bytes, gives events. However the bytes are cut into pieces, the same events come out.

    An event (or a line of any kind) larger than `limit` ends it: `overflowed`, and nothing more comes
    out. `last_id` and `retry` are the last ones set, also by blocks without data, which dispatch nothing.
    """

    __slots__ = (
        "_data", "_event", "_first", "_held", "_limit", "_size", "_skip_lf",
        "last_id", "overflowed", "retry",
    )  # fmt: skip

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = bytearray()  # no list of pieces: each would cost forty bytes, and may be of one
        self._data: list[bytes] = []
        self._event = ""
        self._size = 0
        self._first = True
        self._skip_lf = False
        self.last_id: str | None = None
        self.retry: int | None = None
        self.overflowed = False

    def feed(self, data: bytes) -> list[Event]:
        """Take bytes and give the events that are whole now."""
        events: list[Event] = []
        if self.overflowed or not data:
            return events
        if self._skip_lf and data[:1] == b"\n":
            data = data[1:]
        if data:
            self._skip_lf = data[-1:] == b"\r"
        else:
            self._skip_lf = False
            return events
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = data.split(b"\n")
        rest = lines.pop()
        if lines and self._held:
            lines[0] = bytes(self._held + lines[0])
            self._held = bytearray()
        for line in lines:
            if self._line(line, events):
                return events
        if rest:
            self._held += rest
            if self._size + len(self._held) > self._limit:
                self._end()
        return events

    def _line(self, line: bytes, events: list[Event]) -> bool:
        """Take a whole line. Tell whether that was too much."""
        if self._size + len(line) > self._limit:
            self._end()
            return True
        if self._first:
            self._first = False
            line = line.removeprefix(_BOM)
        if not line:
            self._dispatch(events)
        elif line[:1] != b":":
            name, _, value = line.partition(b":")
            self._field(name, value[1:] if value[:1] == b" " else value)
        return False

    def _field(self, name: bytes, value: bytes) -> None:
        if name == b"data":
            self._data.append(value)
            self._size += len(value) + 1
        elif name == b"event":
            self._event = value.decode("utf-8", "replace")
        elif name == b"id":
            if b"\0" not in value:
                self.last_id = value.decode("utf-8", "replace")
        elif name == b"retry" and value.isdigit() and len(value) < 10:
            self.retry = int(value)

    def _dispatch(self, events: list[Event]) -> None:
        if self._data:
            data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
            events.append(Event(data, self._event or "message", self.last_id))
            self._data.clear()
        self._event = ""
        self._size = 0

    def _end(self) -> None:
        self.overflowed = True
        self._held = bytearray()
        self._data.clear()


def encode_event(data: bytes, *, event: str | None = None, id: str | None = None) -> bytes:
    """Encode one event. Line ends in `data` become several `data` lines.

    Raises:
        ValueError: `event` or `id` holds a line end or a zero.
    """
    head = b""
    if event is not None:
        head += b"event: " + _plain(event) + b"\n"
    if id is not None:
        head += b"id: " + _plain(id) + b"\n"
    if b"\n" in data or b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\ndata: ")
    return b"%bdata: %b\n\n" % (head, data)


def encode_retry(milliseconds: int) -> bytes:
    """Encode how long a client is to wait before it connects again."""
    return b"retry: %d\n\n" % milliseconds


def encode_comment(text: str = "") -> bytes:
    """Encode a comment, which keeps a connection alive and says nothing."""
    return b": " + _plain(text) + b"\n\n"


def _plain(text: str) -> bytes:
    if "\n" in text or "\r" in text or "\0" in text:
        raise ValueError("a line end or a zero in an event's field")
    return text.encode()
