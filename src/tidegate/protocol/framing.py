"""Lines out of a stream of bytes, bounded. Nothing here knows what a line says."""

from __future__ import annotations


class Lines:
    """Splits bytes at `\\n`. A line longer than `limit` ends it: `overflowed`, and nothing more comes out.

    However the bytes are cut into pieces, the same lines come out.
    """

    __slots__ = ("_held", "_limit", "overflowed")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = bytearray()  # no list of pieces: each would cost forty bytes, and may be of one
        self.overflowed = False

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes and give the lines that are whole now, without their ends."""
        if self.overflowed:
            return []
        size = len(self._held) + len(data)
        lines = data.split(b"\n")
        rest = lines.pop()
        if lines and self._held:
            lines[0] = bytes(self._held + lines[0])
            self._held = bytearray()
        if rest:
            self._held += rest
        if size > self._limit:  # else no line of these can be over it
            return self._whole(lines)
        return lines

    def _whole(self, lines: list[bytes]) -> list[bytes]:
        for index, line in enumerate(lines):
            if len(line) > self._limit:
                self._end()
                return lines[:index]
        if len(self._held) > self._limit:
            self._end()
        return lines

    def _end(self) -> None:
        self.overflowed = True
        self._held = bytearray()


class CutLines:
    """Splits bytes at `\\n` and cuts what is longer than `limit`: for logs, where losing a tail is fine."""

    __slots__ = ("_held", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes and give the lines that are whole now, cut, without their ends and empty ones."""
        lines = data.split(b"\n")
        lines[0] = self._held + lines[0][: self._limit - len(self._held)]
        self._held = lines.pop()[: self._limit]
        return [line for line in (self._cut(line) for line in lines) if line]

    def rest(self) -> bytes:
        """Give what came after the last line's end, once."""
        held, self._held = self._cut(self._held), b""
        return held

    def _cut(self, line: bytes) -> bytes:
        return line[: self._limit].rstrip(b"\r")
