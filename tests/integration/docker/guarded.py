"""A way to the engine as those have it who are not on its machine, or may not ask it for everything.

What lies in the engine's directories is not seen through it, and its account of what it holds can be refused, as
proxies in front of an engine's socket do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.integration.docker.base import SETTINGS
from tidegate.extensions.runtimes.docker.settings import locate_engine


class Guard:
    """A proxy that changes a few words, to others of the same length."""

    def __init__(self, engine: Path) -> None:
        self._engine = engine
        self._writers: set[asyncio.StreamWriter] = set()
        self.accounts = True
        """Whether what the engine holds may be asked for."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, engine = await asyncio.open_unix_connection(str(self._engine))
        self._writers |= {writer, engine}
        await asyncio.gather(self._carry(reader, engine), self._carry(there, writer))
        self._writers -= {writer, engine}

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while piece := await source.read(1 << 20):
                piece = piece.replace(b'"Mountpoint":"/', b'"Mountpoint":"~')
                if not self.accounts:
                    piece = piece.replace(b"/system/df", b"/system/no")
                target.write(piece)
                await target.drain()
        except OSError:
            pass  # one of the two is gone
        finally:
            target.close()

    def close(self) -> None:
        for writer in self._writers:
            writer.close()


@asynccontextmanager
async def guarded(place: Path) -> AsyncGenerator[tuple[Guard, str]]:
    """Open it; give it and its URL."""
    socket = place / "guarded.sock"
    guard = Guard(Path(locate_engine(SETTINGS).removeprefix("unix://")))
    server = await asyncio.start_unix_server(guard.serve, str(socket))
    async with server:
        yield guard, f"unix://{socket}"
        guard.close()
