"""Attach: a container's three standard streams over one hijacked connection to the engine.

This is the path of a call, so it is written by hand: bytes go from `data_received` straight to the
`StreamEvents`, with no task woken and no frame copied twice. It never waits for whoever listens, since an
attach that nobody reads makes a container unkillable and hangs the engine's calls until it is closed.
What a message costs is measured in `docs/decisions/0003-attach.md`.

It speaks only the attach of the Engine API (section "Attach to a container"); every other call is in
`engine`. It does not know what the bytes mean.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast
from urllib.parse import quote, urlsplit

from tidegate.domain.errors import ChannelClosed, EngineUnavailable, RuntimeFailure
from tidegate.ports.stream import StreamEvents

_HEAD_LIMIT = 16 * 1024
"""Bytes of the engine's answer to the upgrade; real ones are under 300."""
_STDOUT, _STDERR = 1, 2


@dataclass(frozen=True, slots=True)
class Door:
    """How the engine is reached."""

    url: str
    """`unix:///path`, `http://host:port` or `https://host:port`."""
    tls: ssl.SSLContext | None = None


class Attachment(asyncio.Protocol):
    """An open attach. Implements `tidegate.ports.stream.Stream`."""

    def __init__(self, events: StreamEvents, ended: Callable[[Attachment], None]) -> None:
        self._events = events
        self._ended = ended
        self._transport: asyncio.Transport | None = None
        self._upgraded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._opening = True
        self._closed = False
        self._kept = b""
        """The answer's head while opening; after that a frame's header that came in part."""
        self._left = 0
        """Bytes of the current frame that have not come yet."""
        self._sink = events.stdout

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._closed:
            return
        if self._opening:
            data = self._take_head(data)
        if not data:
            return
        if not self._left and not self._kept and len(data) > 8:
            # By far the most usual: one whole frame.
            size = int.from_bytes(data[4:8])
            if len(data) == size + 8:
                (self._events.stderr if data[0] == _STDERR else self._events.stdout)(data[8:])
                return
        self._take_frames(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._upgraded.done():
            self._upgraded.set_exception(EngineUnavailable("the engine closed the connection of an attach"))
            self._closed = True
        if not self._gone.done():
            self._gone.set_result(None)
        if not self._closed:
            self._closed = True
            self._ended(self)

    # --- what came

    def _take_head(self, data: bytes) -> bytes:
        self._kept += data
        head, found, rest = self._kept.partition(b"\r\n\r\n")
        if not found:
            if len(self._kept) > _HEAD_LIMIT:
                self._refuse(EngineUnavailable("the engine's answer to an attach is too long"))
            return b""
        status = head.split(b" ", 2)[1:2]
        if status in ([b"101"], [b"200"]):
            self._opening, self._kept = False, b""
            if not self._upgraded.done():
                self._upgraded.set_result(None)
            return rest
        code = status[0].decode("latin-1", "replace") if status else "nothing"
        self._refuse(RuntimeFailure(f"the engine refused to attach (HTTP {code})"))
        return b""

    def _refuse(self, error: RuntimeFailure) -> None:
        self._closed = True
        if not self._upgraded.done():
            self._upgraded.set_exception(error)
        if self._transport is not None:
            self._transport.abort()

    def _take_frames(self, data: bytes) -> None:
        if self._kept:
            data, self._kept = self._kept + data, b""
        at, end = 0, len(data)
        if self._left:
            at = min(self._left, end)
            self._left -= at
            self._sink(data[:at])
        while end - at >= 8 and not self._closed:
            if data[at] > _STDERR:
                self._lose_step()
                return
            sink = self._events.stderr if data[at] == _STDERR else self._events.stdout
            begin = at + 8
            at = begin + int.from_bytes(data[at + 4 : begin])
            if at > end:
                self._left, self._sink = at - end, sink
            if begin < min(at, end):
                sink(data[begin:at])
        if at < end:
            self._kept = data[at:]

    def _lose_step(self) -> None:
        """Drop a stream whose frames cannot be told apart any more."""
        self._closed = True
        if self._transport is not None:
            self._transport.abort()
        self._ended(self)

    # --- Stream

    def write(self, data: bytes) -> None:
        """Queue bytes for standard input."""
        if self._closed or self._transport is None:
            raise ChannelClosed("the workload's stream has ended", sent=False)
        self._transport.write(data)

    @property
    def backlog(self) -> int:
        """Bytes that the engine has not taken."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def rest(self, seconds: float) -> None:
        """Read nothing for so long."""
        if not self._closed and self._transport is not None and self._transport.is_reading():
            self._transport.pause_reading()
            asyncio.get_running_loop().call_later(seconds, self._read_on)

    def _read_on(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    async def close(self) -> None:
        """Drop the connection; the container's standard input stays open."""
        self._closed = True
        if self._transport is None:
            return
        self._transport.abort()
        # connection_lost is called on the loop's next turn; the wait is for the socket to be really gone,
        # because the engine does not kill a container whose attach nobody reads.
        await asyncio.wait([self._gone], timeout=1.0)

    @property
    def upgraded(self) -> asyncio.Future[None]:
        """Done when the engine has begun to stream, failed when it will not."""
        return self._upgraded


async def open_attachment(
    door: Door,
    container: str,
    events: StreamEvents,
    ended: Callable[[Attachment], None],
    *,
    inputs: bool = True,
) -> Attachment:
    """Attach to a container, running or only created.

    `ended` is called once when the stream ends by itself. The caller sets the deadline.

    Raises:
        RuntimeFailure: the engine refuses.
        EngineUnavailable: it cannot be reached or answers nonsense.
    """
    loop = asyncio.get_running_loop()
    split = urlsplit(door.url)
    attachment = Attachment(events, ended)
    try:
        if split.scheme == "unix":
            await loop.create_unix_connection(lambda: attachment, split.path)
        else:
            host, port = split.hostname or "localhost", split.port or (2376 if door.tls else 2375)
            await loop.create_connection(lambda: attachment, host, port, ssl=door.tls)
    except OSError as error:
        raise EngineUnavailable(f"the container engine at {door.url} cannot be reached: {error}") from error
    query = f"stream=1&stdin={int(inputs)}&stdout=1&stderr=1"
    request = (
        f"POST /containers/{quote(container, safe='')}/attach?{query} HTTP/1.1\r\n"
        f"Host: {split.hostname or 'docker'}\r\nUser-Agent: tidegate\r\n"
        "Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"
    )
    try:
        attachment.write(request.encode("ascii"))
        await attachment.upgraded
    except BaseException:
        await attachment.close()
        raise
    return attachment
