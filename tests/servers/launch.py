"""Start the test servers that listen, and stop them. It must not know what they answer."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
START_DEADLINE = 20.0
STOP_DEADLINE = 5.0


def script(name: str) -> str:
    """Give the path of a server's script (`legacy_stdio`, `broken`, …)."""
    path = HERE / f"{name}.py"
    if not path.is_file():
        raise FileNotFoundError(path)
    return str(path)


def argv(name: str, *arguments: str) -> list[str]:
    """Give the command line that runs a server with this interpreter."""
    return [sys.executable, script(name), *arguments]


@dataclass(slots=True)
class Listening:
    """A server that listens."""

    url: str
    process: asyncio.subprocess.Process

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.split("/")[2].rpartition(":")[2])


@contextlib.asynccontextmanager
async def listening(name: str, *arguments: str) -> AsyncIterator[Listening]:
    """Run a server that says `URL …` when it listens; killed at the end if it does not stop by itself."""
    process = await asyncio.create_subprocess_exec(*argv(name, *arguments), stdout=asyncio.subprocess.PIPE)
    try:
        yield Listening(await _url(process, name), process)
    finally:
        await stop(process)


async def stop(process: asyncio.subprocess.Process) -> None:
    """End a process, by force after a while."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_DEADLINE)
    except TimeoutError:
        process.kill()
        await process.wait()


async def _url(process: asyncio.subprocess.Process, name: str) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(START_DEADLINE):
        while line := await process.stdout.readline():
            word, _, url = line.decode().strip().partition(" ")
            if word == "URL":
                return url
    raise RuntimeError(f"the test server {name} ended with status {await process.wait()} before it listened")
