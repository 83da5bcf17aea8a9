"""Twins of what stands around a channel, for conversations in memory: a stream, listeners, an intent.

A test is the other side: it reads what the channel wrote and says what the workload would say.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import cast

from tidegate.channels.channel import Party
from tidegate.domain.errors import ChannelClosed
from tidegate.ports.recorder import Intent
from tidegate.ports.stream import StreamEvents
from tidegate.protocol.codec import Object, decode_value, encode

_PATIENCE = 5.0
"""Seconds that a test waits for a message before it fails."""

Json = dict[str, object]


class MemoryStream:
    """A stream whose workload is the test."""

    def __init__(self, events: StreamEvents) -> None:
        self.events = events
        self.written: list[bytes] = []
        """Every write, as it came."""
        self.backlog = 0
        """Set it to play a workload that does not read."""
        self.rests: list[float] = []
        """For how long nothing was to be read."""
        self.is_closed = False
        self.refused = asyncio.Event()
        """Set when a write came after `close`."""
        self._read = 0
        self._changed = asyncio.Event()

    def write(self, data: bytes) -> None:
        """Keep bytes for `hear`."""
        if self.is_closed:
            self.refused.set()
            raise ChannelClosed("stream was closed", sent=False)
        self.written.append(data)
        self._changed.set()

    def rest(self, seconds: float) -> None:
        """Note it."""
        self.rests.append(seconds)

    async def close(self) -> None:
        """Take no more writes."""
        self.is_closed = True

    async def hear(self) -> Json:
        """Give the next message that the channel wrote, waiting for it.

        Raises:
            TimeoutError: none came.
        """
        async with asyncio.timeout(_PATIENCE):
            while self._read >= len(self.lines):
                self._changed.clear()
                await self._changed.wait()
        line = self.lines[self._read]
        self._read += 1
        return cast("Json", json.loads(line))

    @property
    def unheard(self) -> int:
        """How many messages `hear` would give without waiting."""
        return len(self.lines) - self._read

    @property
    def lines(self) -> list[bytes]:
        """What was written, as lines, without empty ones."""
        return [line for line in b"".join(self.written).split(b"\n") if line]

    def say(self, *messages: Mapping[str, object]) -> None:
        """Write messages to the channel, as the workload would."""
        self.events.stdout(b"".join(encode(message) + b"\n" for message in messages))

    def answer(self, request: Mapping[str, object], result: Mapping[str, object]) -> None:
        """Answer a request that was heard."""
        self.say({"jsonrpc": "2.0", "id": request["id"], "result": result})

    def refuse(self, request: Mapping[str, object], code: int, data: object = None) -> None:
        """Answer a request that was heard with an error."""
        error: Json = {"code": code, "message": "refused"}
        if data is not None:
            error["data"] = data
        self.say({"jsonrpc": "2.0", "id": request["id"], "error": error})


@dataclass
class HeardEvents:
    """Channel events, kept."""

    closed: list[str] = field(default_factory=list[str])
    notified: list[tuple[str, object]] = field(default_factory=list["tuple[str, object]"])
    logged: list[bytes] = field(default_factory=list[bytes])
    contended: int = 0
    callers: list[Party] = field(default_factory=list[Party])
    """Who waits for the workload."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def channel_closed(self, reason: str, *, violated: bool = False) -> None:
        """Keep the reason."""
        self.closed.append(reason)
        self.changed.set()

    def channel_notified(self, method: str, params: Object) -> None:
        """Keep the notification, decoded."""
        self.notified.append((method, decode_value(encode(params))))
        self.changed.set()

    def channel_logged(self, line: bytes) -> None:
        """Keep the line."""
        self.logged.append(line)
        self.changed.set()

    def channel_contended(self) -> None:
        """Count it."""
        self.contended += 1
        self.changed.set()

    def channel_callers(self) -> Iterable[Party]:
        """Give those that the test says."""
        return self.callers


class FreeIntent(Intent):
    """An intent that no journal made: for channels in tests."""

    __slots__ = ()

    @property
    def sequence(self) -> int:
        """Always 1."""
        return 1

    @property
    def call_id(self) -> str:
        """Always the same."""
        return "test"
