"""Stream: bytes to and from a workload. Runtimes hand them out, channels use them.

It pushes: whoever reads from the engine or the pipe calls `StreamEvents` and waits for no one, since
an attach that nobody reads makes a container unkillable and hangs the engine.
"""

from __future__ import annotations

from typing import Protocol


class StreamEvents(Protocol):
    """Whom a stream tells. Called on the event loop's thread; must not block or raise."""

    def stdout(self, data: bytes) -> None:
        """Take bytes that the workload wrote to its standard output."""
        ...

    def stderr(self, data: bytes) -> None:
        """Take bytes that the workload wrote to its standard error."""
        ...

    def closed(self, reason: str) -> None:
        """Learn that the stream has ended, once, and why (`exited with status 1`, `killed: out of memory`)."""
        ...


class Stream(Protocol):
    """An open way to a workload's standard input."""

    def write(self, data: bytes) -> None:
        """Queue bytes for standard input, in order, without waiting.

        Raises:
            ChannelClosed: the stream has ended.
        """
        ...

    @property
    def backlog(self) -> int:
        """Bytes queued that the other side has not taken; the channel bounds it."""
        ...

    def rest(self, seconds: float) -> None:
        """Read nothing for so long, a quarter of a second at most, then go on: the workload writes too much."""
        ...

    async def close(self) -> None:
        """Stop reading and writing. The workload goes on. Idempotent; `closed` is not called for it."""
        ...
