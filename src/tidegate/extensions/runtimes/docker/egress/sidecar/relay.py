"""Relay: two TCP connections made into one, without looking at what goes over them.

What one side has not taken is not read from the other. No task is held by a connection once it stands.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import cast

PIECE = 64 * 1024
_shared = bytearray(PIECE)
"""One for all: what is read is handed on before anything else is read."""
_NO_LINGER = struct.pack("=ii", 1, 0)

Reach = Callable[["Side"], Awaitable["Side | None"]]
"""Opens the other side of what was accepted, or gives None where it must not, or cannot, be."""


class Side(asyncio.BufferedProtocol):
    """One of the two connections."""

    def __init__(self, ended: Callable[[Side], None] | None = None) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: Side | None = None
        self._ended = ended
        self._finished = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the other side before anything is read."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=PIECE, low=PIECE // 4)
        # Some releases of Python begin to read right after this even if it is paused here.
        asyncio.get_running_loop().call_soon(self._rest)

    def _rest(self) -> None:
        if self.other is None and self.transport is not None:
            self.transport.pause_reading()

    def get_buffer(self, sizehint: int) -> bytearray:
        """Give the place to read into."""
        return _shared

    def buffer_updated(self, nbytes: int) -> None:
        """Hand on what came."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(bytes(memoryview(_shared)[:nbytes]))

    def eof_received(self) -> bool:
        """Hand on that no more will come; the other way goes on until it ends too."""
        self._finished = True
        other = self.other
        if other is None or other.transport is None or other.transport.is_closing():
            return False
        other.transport.write_eof()
        return not other._finished

    def pause_writing(self) -> None:
        """Read no more from the other side."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        """Read on."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the other side; after an error without a proper end."""
        other, self.other = self.other, None
        if other is not None:
            other.other = None
            if exc is not None:
                other.abort()
            elif other.transport is not None:
                other.transport.close()
        if self._ended is not None:
            self._ended(self)

    def abort(self) -> None:
        """Reset the connection."""
        if self.transport is None:
            return
        found = self.transport.get_extra_info("socket")
        if found is not None:
            try:
                found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            except OSError:
                pass  # it is gone already
        self.transport.abort()

    def join(self, other: Side) -> None:
        """Make one of the two."""
        self.other, other.other = other, self
        for side in (self, other):
            if side.transport is not None:
                side.transport.resume_reading()


class Relay:
    """Accepts connections and joins each with one that `reach` opens."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._sides: set[Side] = set()
        self._opening: set[asyncio.Task[None]] = set()

    @property
    def full(self) -> bool:
        """Whether no further connection is taken."""
        return len(self._sides) > self._most

    async def listen(self, listener: socket.socket, reach: Reach) -> asyncio.Server:
        """Begin to accept."""
        loop = asyncio.get_running_loop()
        return await loop.create_server(lambda: _Accepted(self, reach), sock=listener, backlog=64)

    def accepted(self, side: Side, reach: Reach) -> None:
        """Take a connection."""
        self._sides.add(side)
        task = asyncio.get_running_loop().create_task(self._open(side, reach))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    def gone(self, side: Side) -> None:
        """Learn that one ended."""
        self._sides.discard(side)

    async def _open(self, side: Side, reach: Reach) -> None:
        try:
            other = await reach(side)
        except OSError:
            other = None
        if other is None:
            side.abort()
        elif side.transport is None or side.transport.is_closing():
            other.abort()
        else:
            side.join(other)


class _Accepted(Side):
    def __init__(self, relay: Relay, reach: Reach) -> None:
        super().__init__(relay.gone)
        self._relay, self._reach = relay, reach

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._relay.accepted(self, self._reach)
