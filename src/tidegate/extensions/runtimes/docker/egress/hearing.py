"""Hearing: reads what an outlet tells, and answers with what has been recorded.

The lines come from our own program; they are bounded and checked all the same, since a workload's names and
addresses are in them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, cast

from tidegate.domain.errors import ChannelClosed
from tidegate.ports.runtime import Connection
from tidegate.ports.stream import Stream

_LONGEST_LINE = 4096
_LONGEST_WORD = 200
_AGAIN = 5.0
"""Seconds until what could not be recorded is asked for again."""
AGAIN = b"again\n"
"""What one that has just come says to an outlet."""

Take = Callable[[Connection], bool]
"""Takes a connection, made or refused, and tells whether it was recorded."""


class Hearing:
    """Takes an outlet's streams. Implements `StreamEvents`, but for how they end."""

    def __init__(self, take: Take) -> None:
        self._take = take
        self._rest = b""
        self._errors = b""
        self._behind = False
        self.stream: Stream | None = None
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.failure: str | None = None

    def stdout(self, data: bytes) -> None:
        """Take lines, and say up to which they are recorded."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[:_LONGEST_LINE]
        recorded = 0
        for line in lines:
            if self._behind:
                break
            number = self._line(line)
            if number is None:
                # Nothing from it on is acknowledged, so all of it is said again.
                self._behind = True
                asyncio.get_running_loop().call_later(_AGAIN, self._again)
            recorded = number or recorded
        if recorded:
            self._say(b"%d\n" % recorded)

    def stderr(self, data: bytes) -> None:
        """Keep the end of it, for the reason of a failure."""
        self._errors = (self._errors + data)[-_LONGEST_LINE:]

    def closed(self, reason: str) -> None:
        """Learn that it ended."""
        last = self._errors.strip().rpartition(b"\n")[2].decode(errors="replace")[:_LONGEST_WORD]
        self.failure = self.failure or last or reason

    def _again(self) -> None:
        self._behind = False
        self._say(AGAIN)

    def _say(self, words: bytes) -> None:
        if self.stream is not None:
            try:
                self.stream.write(words)
            except ChannelClosed:
                pass  # whoever comes next is told again

    def _line(self, line: bytes) -> int | None:
        """Take one line; give its number, 0 where it has none, or None where it could not be recorded."""
        try:
            told = cast("object", json.loads(line))
        except ValueError:
            return 0
        if not isinstance(told, dict):
            return 0
        fields = cast("dict[str, Any]", told)
        if fields.get("ready") and not self.ready.done():
            self.ready.set_result(None)
        if "failed" in fields:
            self.failure = _word(fields["failed"])
        number = _number(fields.get("n"))
        if not number:
            return 0
        return number if self._take(connection(fields)) else None


def connection(fields: dict[str, Any]) -> Connection:
    """Read what was told of a connection."""
    return Connection(
        name=_word(fields.get("name", "")),
        address=_word(fields.get("address", "")),
        port=_number(fields.get("port")),
        protocol=_word(fields.get("protocol", "tcp")),
        allowed=fields.get("allowed") is True,
        reason=_word(fields.get("reason", "")),
        count=max(1, _number(fields.get("count"))),
        at=_number(fields.get("at")),
    )


def _word(value: object) -> str:
    return value[:_LONGEST_WORD] if isinstance(value, str) else ""


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53 else 0
