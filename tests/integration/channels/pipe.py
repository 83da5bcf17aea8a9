"""A real process on real pipes as a `Stream`, without sandbox or runtime."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import cast

from tidegate.domain.errors import ChannelClosed
from tidegate.ports.stream import StreamEvents


class PipeStream(asyncio.SubprocessProtocol):
    """A process whose streams go to `events`, which may be exchanged, as on attaching anew."""

    def __init__(self, events: StreamEvents) -> None:
        self.events = events
        self.process: asyncio.SubprocessTransport | None = None
        self.ended = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.process = cast("asyncio.SubprocessTransport", transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        (self.events.stdout if fd == 1 else self.events.stderr)(data)

    def process_exited(self) -> None:
        self.ended.set()

    def connection_lost(self, exc: Exception | None) -> None:  # with the pipes at their end too
        assert self.process is not None
        self.events.closed(f"exited with status {self.process.get_returncode()}")

    @property
    def stdin(self) -> asyncio.WriteTransport:
        assert self.process is not None
        return cast("asyncio.WriteTransport", self.process.get_pipe_transport(0))

    def write(self, data: bytes) -> None:
        if self.ended.is_set():
            raise ChannelClosed("process has ended", sent=False)
        if self.stdin.is_closing():  # its end of the pipe is gone, though it may not have been reaped yet
            raise ChannelClosed("process has ended", sent=False)
        self.stdin.write(data)

    @property
    def backlog(self) -> int:
        return 0 if self.stdin.is_closing() else self.stdin.get_write_buffer_size()

    def rest(self, seconds: float) -> None:
        pass

    async def close(self) -> None:
        pass

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)


@asynccontextmanager
async def running(events: StreamEvents, *argv: str, **env: str) -> AsyncGenerator[PipeStream]:
    """Run a program for as long as the block lasts."""
    loop = asyncio.get_running_loop()
    _, stream = await loop.subprocess_exec(lambda: PipeStream(events), *argv, env=env or None)
    try:
        yield stream
    finally:
        assert stream.process is not None
        if stream.process.get_returncode() is None:
            stream.process.kill()
        await asyncio.wait_for(stream.ended.wait(), 10)
        stream.process.close()
