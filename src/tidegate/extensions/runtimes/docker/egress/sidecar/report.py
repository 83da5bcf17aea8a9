"""Report: what the outlet tells the gateway: one JSON object a line on standard output.

Lines are numbered, and the gateway answers on standard input with the number up to which it has recorded them.
What it has not is kept and said again to the next gateway; where too much of that waits, no further connection
is made, so that none is made in secret. Refusals come as fast as a workload likes: over a rate they are counted.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable

WINDOW = 256
"""Lines that may wait for the gateway."""
_REFUSALS, _CONNECTIONS = (1.0, 60.0), (20.0, 200.0)
"""How many are told a second, and at once. A refusal beyond is counted; a connection beyond is not made: each is in
the journal, whose disk a server is not to fill."""
_LONGEST_TEXT = 160
_LONGEST_ANSWER = 64


class Report:
    """Says lines, and keeps them until they are recorded."""

    def __init__(self, out: int, now: Callable[[], float]) -> None:
        os.set_blocking(out, False)
        self._out = out
        self._number = 0
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._unsaid: deque[bytes] = deque()
        self._part = b""
        self._refusals = _Budget(*_REFUSALS, now)
        self._connections = _Budget(*_CONNECTIONS, now)
        self._suppressed = 0

    @property
    def full(self) -> bool:
        """Whether too much waits to be recorded."""
        return len(self._waiting) >= WINDOW

    def connected(self, name: str, address: str, port: int, seconds: int) -> bool:
        """Tell that a connection is made now. False where it cannot be told, so must not be made."""
        if self.full or not self._connections.take():
            self._suppressed += 1
            return False
        self._say({"name": name, "address": address, "port": port, "allowed": True, "at": seconds})
        return True

    def refused(self, reason: str, seconds: int, **what: object) -> None:
        """Tell that something was refused, or count it."""
        if self.full or not self._refusals.take():
            self._suppressed += 1
            return
        fields = {"allowed": False, "reason": reason, "at": seconds, **what}
        self._say({key: v[:_LONGEST_TEXT] if isinstance(v, str) else v for key, v in fields.items()})

    def tick(self, seconds: int) -> None:
        """Tell, once in a while, how many refusals were not told; try again what could not be said."""
        if self._suppressed and not self.full:
            count, self._suppressed = self._suppressed, 0
            self._say({"allowed": False, "reason": "and more", "count": count, "at": seconds})
        self._flush()

    def ready(self) -> None:
        """Tell that the outlet works. Not numbered: nobody records it."""
        self._unsaid.append(b'{"ready":true}\n')
        self._flush()

    def failed(self, reason: str) -> None:
        """Tell why the outlet ends."""
        self._unsaid.append(json.dumps({"failed": reason[:_LONGEST_TEXT]}).encode() + b"\n")
        self._flush()

    def heard(self, data: bytes) -> None:
        """Take what the gateway says: `<number>` recorded, or `again` from one that has just come."""
        *lines, self._part = (self._part + data).split(b"\n")
        self._part = self._part[:_LONGEST_ANSWER]
        for line in lines:
            if line == b"again":
                self._unsaid.clear()
                self._unsaid.append(b'{"ready":true}\n')
                self._unsaid.extend(text for _, text in self._waiting)
            elif line.isdigit():
                while self._waiting and self._waiting[0][0] <= int(line):
                    self._waiting.popleft()
        self._flush()

    def _say(self, fields: dict[str, object]) -> None:
        self._number += 1
        line = json.dumps({"n": self._number, **fields}).encode() + b"\n"
        self._waiting.append((self._number, line))
        self._unsaid.append(line)
        self._flush()

    def _flush(self) -> None:
        # A line is shorter than PIPE_BUF, so that it is written whole or not at all (pipe(7)).
        while self._unsaid:
            try:
                os.write(self._out, self._unsaid[0])
            except BlockingIOError:
                return
            self._unsaid.popleft()


class _Budget:
    """So many a second, and some at once."""

    def __init__(self, rate: float, most: float, now: Callable[[], float]) -> None:
        self._rate, self._most, self._now = rate, most, now
        self._left, self._filled = most, now()

    def take(self) -> bool:
        """Take one, where there is one."""
        now = self._now()
        self._left = min(self._most, self._left + (now - self._filled) * self._rate)
        self._filled = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
