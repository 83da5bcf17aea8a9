"""The world outside, for tests: a network name space of its own with a name server and programs that answer.

It is beside the engine's networks as a host elsewhere would be: packets to it are routed by this machine. Its
addresses are those that documents use (RFC 5737), so that nothing real is ever meant.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

HERE, NAMES, OTHER = "198.51.100.1", "198.51.100.2", "198.51.100.3"
"""This machine's end; the name server, which answers on the ports too; another host that does."""
PORT, OTHER_PORT = 8443, 9090
NEVER = "10.87.65.43"
"""A private address where nothing is."""


def missing() -> str | None:
    """Say why there can be no such world here, or None."""
    return None if shutil.which("ip") else "needs the program ip (iproute2)"


class Outside:
    """The world, and what was asked of it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._changed = asyncio.Event()
        self.seen: list[str] = []
        """`name <what was asked for>`, and `connection <address> <port> <first bytes>`."""

    async def move(self, names: Mapping[str, str]) -> None:
        """Have names lead elsewhere."""
        assert self._process.stdin is not None
        told = self.seen.count("moved") + len(names)
        for name, address in names.items():
            self._process.stdin.write(f"{name} {address}\n".encode())
        await self.until(lambda: self.seen.count("moved") == told)

    async def until(self, condition: Callable[[], bool], seconds: float = 10.0) -> None:
        """Wait until a condition on what was seen holds."""
        async with asyncio.timeout(seconds):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def listen(self) -> None:
        """Read what it tells."""
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            self.seen.append(line.decode().strip())
            self._changed.set()


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=10)


@asynccontextmanager
async def outside() -> AsyncIterator[Outside]:
    """Make the world, and take it away."""
    name = f"tgout{secrets.token_hex(3)}"
    here, there = f"h{name}", f"t{name}"
    _ip("netns", "add", name)
    try:
        _ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", name)
        _ip("addr", "add", f"{HERE}/24", "dev", here)
        _ip("link", "set", here, "up")
        for address in (NAMES, OTHER):
            _ip("-n", name, "addr", "add", f"{address}/24", "dev", there)
        _ip("-n", name, "link", "set", there, "up")
        _ip("-n", name, "route", "add", "default", "via", HERE)
        process = await asyncio.create_subprocess_exec(
            *("ip", "netns", "exec", name, sys.executable, str(Path(__file__).with_name("world.py"))),
            *(NAMES, OTHER, str(PORT), str(OTHER_PORT)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        world = Outside(process)
        listening = asyncio.ensure_future(world.listen())
        try:
            await world.until(lambda: "ready" in world.seen)
            yield world
        finally:
            process.terminate()
            await process.wait()
            await listening
    finally:
        subprocess.run(["ip", "link", "del", here], capture_output=True, timeout=10)
        _ip("netns", "del", name)
