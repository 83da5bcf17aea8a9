"""Stream: a process's pipes as a `tidegate.ports.stream.Stream`.

The loop's own callbacks push what was read straight on: no task for each message, and always drained,
whoever listens.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import cast

from tidegate.domain.errors import ChannelClosed
from tidegate.ports.stream import StreamEvents

_AFTERMATH = 1.0
"""Seconds for the pipes to end once the process has; something it left behind may hold them open."""
_FIRST_WORDS = 400


class ProcessStream(asyncio.SubprocessProtocol):
    """The protocol of one process's transport, and the way to its standard input."""

    def __init__(self, events: StreamEvents, why: Callable[[], str | None]) -> None:
        """Tell `events`; `why` may know more of an end than the process's status does."""
        self._events: StreamEvents | None = events
        self._why = why
        self._transport: asyncio.SubprocessTransport | None = None
        self._input: asyncio.WriteTransport | None = None
        self._words = b""
        self._told = False
        self._resting = False
        self.exited = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.SubprocessTransport", transport)
        self._input = cast("asyncio.WriteTransport", self._transport.get_pipe_transport(0))

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Push what the process wrote."""
        if fd == 2 and len(self._words) < _FIRST_WORDS:
            self._words += data[:_FIRST_WORDS]
        if self._events is not None:
            (self._events.stdout if fd == 1 else self._events.stderr)(data)

    def process_exited(self) -> None:
        """Learn of the process's end; its last words may still be in the pipes."""
        self.exited.set()
        asyncio.get_running_loop().call_later(_AFTERMATH, self._tell)

    def connection_lost(self, exc: Exception | None) -> None:
        """Learn that process and pipes have ended."""
        self._tell()

    def _tell(self) -> None:
        if self._told:
            return
        self._told = True
        if self._events is not None:
            self._events.closed(self.reason())
        if self._transport is not None:
            self._transport.close()

    def reason(self) -> str:
        """Say how the process ended."""
        status = self._transport.get_returncode() if self._transport is not None else None
        if status is None:
            return "ended"
        known = self._why() if status != 0 else None
        if known is not None:
            return known
        # The sandbox tells a signal as 128 and its number, as a shell does.
        number = -status if status < 0 else status - 128
        if number in {item.value for item in signal.Signals}:
            return f"killed by {signal.Signals(number).name}"
        words = self._words.partition(b"\n")[0].decode(errors="replace").strip()
        if status != 0 and words.startswith("bwrap: "):
            return f"exited with status {status}: {words}"
        return f"exited with status {status}"

    def write(self, data: bytes) -> None:
        """Queue bytes for standard input."""
        if self._told or self._events is None or self._input is None or self._input.is_closing():
            raise ChannelClosed("the process's standard input is closed", sent=False)
        self._input.write(data)

    @property
    def backlog(self) -> int:
        """Bytes that the process has not taken."""
        return self._input.get_write_buffer_size() if self._input is not None else 0

    def rest(self, seconds: float) -> None:
        """Read neither pipe for so long."""
        if not self._resting and self._transport is not None:
            self._resting = True
            for pipe in self._pipes():
                pipe.pause_reading()
            asyncio.get_running_loop().call_later(seconds, self._read_on)

    def _read_on(self) -> None:
        self._resting = False
        for pipe in self._pipes():
            pipe.resume_reading()

    def _pipes(self) -> list[asyncio.ReadTransport]:
        found = [] if self._transport is None else [self._transport.get_pipe_transport(fd) for fd in (1, 2)]
        return [cast("asyncio.ReadTransport", pipe) for pipe in found if pipe and not pipe.is_closing()]

    async def close(self) -> None:
        """Tell nobody any more and take nothing more to write. What the process writes is thrown away."""
        self._events = None

    def end_input(self) -> None:
        """Close the process's standard input, dropping what it has not taken."""
        if self._input is not None and not self._input.is_closing():
            self._input.abort()

    def release(self) -> None:
        """Close the pipes."""
        if self._transport is not None:
            self._transport.close()
