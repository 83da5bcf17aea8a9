"""One event stream to a client: what waits to be sent, what was sent lately, and the connection it goes to.

A stream outlives its connection, so that a client that lost it can go on (MCP 2025-11-25, transports,
"Resumability and Redelivery"). Bounded: the oldest notifications go first, a question to the client is
refused and never dropped, and the answer always stays, in the end as an error that says it was too large.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import IntEnum
from typing import Protocol

from msgspec import Raw

from tidegate.domain.errors import CallFailed
from tidegate.domain.principal import Principal
from tidegate.domain.target import Target
from tidegate.protocol.codec import encode_error, error_object, one_line

WAITING, WAITING_SIZE = 256, 1024 * 1024
"""Messages, and bytes of them, that wait for a slow client."""
KEPT, KEPT_SIZE = 64, 256 * 1024
"""Messages, and bytes of them, that are kept of a stream for a client that comes back to it."""
RETRY = 1000
"""Milliseconds after which a client that lost the connection comes back."""
KEEP_ALIVE = b": keep-alive\n\n"
_BURST = 64 * 1024
"""Bytes that are written at once."""


class Writer(Protocol):
    """A client's connection that takes an event stream."""

    def begin(self) -> None:
        """Send status and headers, where that was not done."""
        ...

    async def send(self, data: bytes) -> bool:
        """Send events, and wait while the client does not read. False where it is gone."""
        ...

    def end(self, data: bytes = b"") -> None:
        """Send the last events, and end the answer."""
        ...


class Weight(IntEnum):
    """What becomes of a message for which there is no room."""

    NOTE = 0
    """Dropped, or older ones for it: a notification."""
    QUESTION = 1
    """Refused: a request to the client."""
    ANSWER = 2
    """Sent. It is the last."""


class Held:
    """Bytes that all streams of a gateway hold together."""

    __slots__ = ("size",)

    def __init__(self) -> None:
        self.size = 0


class Stream:
    """The messages of one stream. Without a `prefix` for event ids nothing is kept of what was sent."""

    __slots__ = (
        "_comment",
        "_held",
        "_kept",
        "_number",
        "_queued",
        "_room",
        "_waiting",
        "_wake",
        "ended",
        "endpoint",
        "finished",
        "key",
        "number",
        "prefix",
        "principal",
        "quiet_since",
        "request",
        "session",
        "target",
        "writer",
    )  # fmt: skip

    def __init__(
        self, *, prefix: bytes = b"", held: Held | None = None, request: bytes | None = None
    ) -> None:
        """`request` is the encoded id of the request it answers, where it is a POST's."""
        self.prefix = prefix
        self.request = request
        self.number = 0
        """Which of this gateway's it is."""
        self.session = self.endpoint = self.key = ""
        """The session's key, the endpoint's path, the principal's key."""
        self.principal: Principal | None = None
        """Whose client opened it, or holds it open with GET."""
        self.target: Target | None = None
        """What its call is for, where that was known when it was opened."""
        self.writer: Writer | None = None
        """The connection it goes to now."""
        self.finished = False
        """Whether nothing more is taken."""
        self.ended = False
        """Whether nothing more is sent either: its session or its right to be is gone."""
        self.quiet_since = 0.0
        """Loop time when something was sent last, or when the connection was lost."""
        self._held = held
        self._waiting: list[tuple[int, Weight, bytes]] = []  # no deque: one costs 600 bytes while empty
        self._kept: list[tuple[int, Weight, bytes]] = []
        self._room = self._queued = 0
        """Bytes in both, and of what waits."""
        self._number = 0
        self._comment = b""
        self._wake: asyncio.Future[None] | None = None

    @property
    def resting(self) -> bool:
        """Whether there is nothing to send now."""
        return not self._waiting and not self._comment

    @property
    def size(self) -> int:
        """Bytes it holds."""
        return self._room

    # -- in ---------------------------------------------------------------------------------------

    def prime(self) -> None:
        """Give the client an id to come back by before there is any message (2025-11-25, transports)."""
        if self.prefix:
            self._comment = b"id: %b%d\nretry: %d\ndata: \n\n" % (self.prefix, self._number, RETRY)

    def keep_alive(self) -> None:
        """Send something that says nothing, where nothing else waits."""
        if not self._waiting and not self._comment:
            self._comment = KEEP_ALIVE
            self._awake()

    def add(self, message: bytes, weight: Weight = Weight.NOTE) -> bool:
        """Take an encoded message to send. False where there is no room for it, or it is over."""
        if self.finished:
            return False
        self._number += 1
        if self.prefix:
            data = b"id: %b%d\ndata: %b\n\n" % (self.prefix, self._number, one_line(message))
        else:
            data = b"data: %b\n\n" % one_line(message)
        if not self._make_room(len(data), weight):
            return False
        self._waiting.append((self._number, weight, data))
        self._queue(len(data))
        self._awake()
        return True

    def finish(self, answer: bytes) -> None:
        """Take the last message: the answer to the request."""
        if self.finished:
            return
        self.add(answer, Weight.ANSWER)
        self.finished = True
        if self.writer is None and self.prefix:
            self._shrink()
        self._awake()

    def end(self) -> None:
        """Send nothing more."""
        self.finished = self.ended = True
        self.drop()
        self._awake()

    # -- out --------------------------------------------------------------------------------------

    def attach(self, writer: Writer) -> None:
        """Have it go to a connection, and to none it went to before."""
        self.writer = writer
        self._awake()

    def detach(self, writer: Writer, now: float) -> bool:
        """Note that a connection is lost. Tell whether it was this stream's still."""
        if self.writer is not writer:
            return False
        self.writer = None
        self.quiet_since = now
        self._shrink()
        return True

    def resume(self, after: int) -> bool:
        """Have everything after an event sent again. Tell whether that is all there was."""
        missed = self._number - after
        again = [each for each in self._kept if each[0] > after]
        self._kept = self._kept[: len(self._kept) - len(again)]
        self._waiting = [*again, *self._waiting]
        self._queued += sum(len(data) for _, _, data in again)
        return len(self._waiting) >= missed

    async def flow(
        self, writer: Writer, may: Callable[[], Awaitable[bool]] | None = None, *, pause: bool = False
    ) -> bool:
        """Write what waits, and what comes, until it is over, or the connection is its own no more.

        `may` is asked before each burst. With `pause`, come back when nothing waits. Tell whether the connection
        is good still.
        """
        while self.writer is writer:
            if self.resting:
                if self.ended or self.finished:
                    writer.end()
                    return True
                if pause:
                    return True
                await self._idle()
                continue
            if may is not None and not await may():
                self.end()
                continue
            data = self._take()
            if self.finished and self.resting and not self.ended:
                writer.end(data)
                return True
            if not await writer.send(data):
                return False
        return True

    def drop(self) -> None:
        """Keep nothing."""
        self._hold(-self._room)
        self._waiting, self._kept, self._comment, self._queued = [], [], b"", 0

    def drop_kept(self) -> None:
        """Keep nothing of what was sent."""
        self._hold(self._queued - self._room)
        self._kept = []

    def relieve(self) -> None:
        """Hold as little as may be: what waits and is no notification."""
        self.drop_kept()
        self._drop_notes(0, 0)

    def _take(self) -> bytes:
        """Take what is written at once."""
        data, self._comment = self._comment, b""
        count, size = 0, 0
        for _, _, each in self._waiting:
            if count and size + len(each) > _BURST:
                break
            count, size = count + 1, size + len(each)
        if not count:
            return data
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        self._queued -= size
        if self.prefix:
            self._kept += taken
            self._shrink_kept()
        else:
            self._hold(-size)
        return data + (taken[0][2] if count == 1 else b"".join(each for _, _, each in taken))

    async def _idle(self) -> None:
        wake = self._wake = asyncio.get_running_loop().create_future()
        try:
            await wake
        finally:
            if self._wake is wake:  # else another connection waits by now
                self._wake = None

    def _awake(self) -> None:
        wake = self._wake
        if wake is not None and not wake.done():
            wake.set_result(None)

    # -- bounds -----------------------------------------------------------------------------------

    def _hold(self, size: int) -> None:
        self._room += size
        if self._held is not None:
            self._held.size += size

    def _queue(self, size: int) -> None:
        self._queued += size
        self._hold(size)

    def _make_room(self, size: int, weight: Weight) -> bool:
        if weight is Weight.ANSWER:
            return True
        most, largest = (WAITING, WAITING_SIZE) if self.writer is not None else (KEPT, KEPT_SIZE)
        self._drop_notes(most - 1, largest - size)
        return len(self._waiting) < most and self._queued + size <= largest

    def _drop_notes(self, most: int, largest: int) -> None:
        index = 0
        while (len(self._waiting) > most or self._queued > largest) and index < len(self._waiting):
            if self._waiting[index][1] is Weight.NOTE:
                self._queue(-len(self._waiting.pop(index)[2]))
            else:
                index += 1

    def _shrink(self) -> None:
        """Come down to what is kept of a stream that nobody reads."""
        self._comment = b""
        if not self.prefix:
            self.drop()
            return
        if self._waiting:
            last = self._waiting[-1]
            self._waiting[-1] = small = self._small(last)
            self._queue(len(small[2]) - len(last[2]))
        self._drop_notes(KEPT, KEPT_SIZE)
        self._shrink_kept()

    def _shrink_kept(self) -> None:
        kept = self._kept
        if kept and kept[-1][1] is Weight.ANSWER:
            last = kept[-1]
            kept[-1] = small = self._small(last)
            self._hold(len(small[2]) - len(last[2]))
        gone = 0
        while len(kept) - gone > KEPT or self._room - self._queued > KEPT_SIZE:
            self._hold(-len(kept[gone][2]))
            gone += 1
        del kept[:gone]

    def _small(self, event: tuple[int, Weight, bytes]) -> tuple[int, Weight, bytes]:
        """Have an error stand for an answer that is too large to keep."""
        number, weight, data = event
        if weight is not Weight.ANSWER or len(data) <= KEPT_SIZE or self.request is None:
            return event
        error = error_object(CallFailed.code, TOO_LARGE)
        return number, weight, b"id: %b%d\ndata: %b\n\n" % (
            self.prefix, number, encode_error(Raw(self.request), error),
        )  # fmt: skip


TOO_LARGE = "the connection was lost, and the answer is too large to be kept: the call was made"
