"""What one unit of the load is, as requests and what counts as their right answers. No I/O.

A unit may take several requests, one after the other; its latency is that of them all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol

from bench.upstream_http import PROGRESS
from bench.wire import Requests, decode_note, fault, unframed

_CURSOR = re.compile(rb'"nextCursor":"([^"\\]*)"')
_TAIL = 400
"""Bytes at a page's either end in which its cursor stands."""
_MOST_PAGES = 1000


class Work(Protocol):
    """One connection's units, one at a time."""

    def begin(self, number: int) -> bytes:
        """Give the first request of a unit; no two units are alike."""
        ...

    def take(self, status: int, body: bytes) -> bytes | str | None:
        """Take the answer: the next request of this unit, or what was wrong, or None where all is done and right."""
        ...


class Echo:
    """A call of echo, with as many bytes of words as are asked for, and the same words back."""

    def __init__(self, requests: Requests, size: int = 0) -> None:
        self._requests = requests
        self._filling = "f" * size
        self._number = 0
        self._words = ""

    def begin(self, number: int) -> bytes:
        """Give the call."""
        self._number = number
        self._words = self._requests.words(number)
        if self._filling:
            self._words += self._filling[len(self._words) :]
        return self._requests.call(number, self._words)

    def take(self, status: int, body: bytes) -> bytes | str | None:
        """See that the same words came back."""
        return fault(status, body, self._number, self._words)


class Stream:
    """A call that is told of its progress before its result comes."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._number = 0
        self._words = ""

    def begin(self, number: int) -> bytes:
        """Give the call, with a progress token."""
        self._number = number
        self._words = self._requests.words(number)
        return self._requests.stream(number, self._words)

    def take(self, status: int, body: bytes) -> bytes | str | None:
        """See that every notification came, under its own token and in order, and the result after them."""
        wrong = fault(status, body, self._number, self._words)
        if wrong is not None:
            return wrong
        notes = [decode_note(line[5:]) for line in body.splitlines() if line.startswith(b"data:")][:-1]
        told = [note.params.progress for note in notes if note.method == "notifications/progress"]
        if told != list(range(1, PROGRESS + 1)):
            return f"{len(told)} notifications of progress instead of {PROGRESS}, or not in order"
        if any(note.params.progressToken != self._number for note in notes):
            return "progress of another call"
        return None


class ListAll:
    """Every page of tools/list. What a client then makes of the tools is its own: they are counted, not read."""

    def __init__(self, requests: Requests, tools: int) -> None:
        self._requests = requests
        self._tools = tools
        self._listed = 0
        self._pages = 0

    def begin(self, number: int) -> bytes:
        """Ask for the first page."""
        self._listed = self._pages = 0
        return self._requests.list_tools()

    def take(self, status: int, body: bytes) -> bytes | str | None:
        """Count a page's tools and ask for the next."""
        data = unframed(body)
        if status != 200 or b'"result":' not in data[:_TAIL]:
            return f"status {status}: {data[:200].decode(errors='replace')}"
        self._listed += data.count(b'"inputSchema":')
        self._pages += 1
        found = _CURSOR.search(data, max(0, len(data) - _TAIL)) or _CURSOR.search(data, 0, _TAIL)
        if found is not None and self._pages < _MOST_PAGES:
            return self._requests.list_tools(found[1].decode())
        return None if self._listed == self._tools else f"{self._listed} tools instead of {self._tools}"


class SessionCall:
    """A session for each call: initialize, initialized, the call, DELETE. Of the legacy era only."""

    def __init__(self, requests: Requests, headers: Mapping[str, str]) -> None:
        self._requests = requests
        self._headers = headers
        self._echo = Echo(requests)
        self._number = 0
        self._step = 0

    def begin(self, number: int) -> bytes:
        """Ask for a session."""
        self._number, self._step = number, 0
        self._requests.in_session(None)
        return self._requests.initialize()

    def take(self, status: int, body: bytes) -> bytes | str | None:
        """Go on: the handshake's end, the call, the session's end."""
        self._step += 1
        if self._step == 1:
            session = self._headers.get("mcp-session-id")
            if status != 200 or session is None:
                return f"initialize answered {status}: {body[:200].decode(errors='replace')}"
            self._requests.in_session(session)
            return self._requests.initialized()
        if self._step == 2:
            if status not in (200, 202, 204):
                return f"notifications/initialized answered {status}"
            return self._echo.begin(self._number)
        if self._step == 3:
            wrong = self._echo.take(status, body)
            return self._requests.end_session() if wrong is None else wrong
        return None if status in (200, 202, 204) else f"DELETE answered {status}"
