"""Published servers, installed once into `.tools/` from their registries."""

from __future__ import annotations

import asyncio
import functools
import re
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.conftest import unused_port
from tests.integration.channels.pipe import running

TOOLS = Path(__file__).resolve().parents[3] / ".tools" / "channels"
EVERYTHING = "@modelcontextprotocol/server-everything@2026.8.31"
TIME = "mcp-server-time==2026.10.19"


def _run(*command: str, cwd: Path) -> str | None:
    """Run an installer; say why it failed, or None."""
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return f"{command[0]} gave up after 300 s"
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["failed"])[-1]


@functools.cache
def _everything() -> tuple[Path, str | None]:
    place = TOOLS / "npm"
    entry = place / "node_modules/@modelcontextprotocol/server-everything/dist/index.js"
    if entry.exists():
        return entry, None
    place.mkdir(parents=True, exist_ok=True)
    (place / "package.json").write_text("{}")
    return entry, _run("npm", "install", "--no-audit", "--no-fund", "--silent", EVERYTHING, cwd=place)


@functools.cache
def _time() -> tuple[Path, str | None]:
    place = TOOLS / re.sub(r"[^\w.]", "-", TIME)
    entry = place / "bin" / "mcp-server-time"
    if entry.exists():
        return entry, None
    place.mkdir(parents=True, exist_ok=True)
    problem = _run(sys.executable, "-m", "venv", str(place), cwd=TOOLS)
    return entry, problem or _run(str(place / "bin" / "pip"), "install", "--quiet", TIME, cwd=TOOLS)


@pytest.fixture
def everything() -> list[str]:
    """How to run npm's server-everything: legacy only, stdio, `sse` and `streamableHttp`."""
    entry, problem = _everything()
    if problem is not None:
        pytest.skip(f"server-everything cannot be installed: {problem}")
    return ["node", str(entry)]


@pytest.fixture
def time_server() -> list[str]:
    """How to run PyPI's mcp-server-time: both eras, stdio."""
    entry, problem = _time()
    if problem is not None:
        pytest.skip(f"mcp-server-time cannot be installed: {problem}")
    return [str(entry)]


class _Watch:
    """Listens to a process that says on its streams when it is ready."""

    def __init__(self) -> None:
        self.said = b""
        self.changed = asyncio.Event()

    def stdout(self, data: bytes) -> None:
        self.said += data
        self.changed.set()

    stderr = stdout

    def closed(self, reason: str) -> None:
        self.said += reason.encode()
        self.changed.set()


@asynccontextmanager
async def listening(everything: list[str], mode: str, port: int | None = None) -> AsyncGenerator[str]:
    """Run server-everything over HTTP, and give its base URL."""
    port = port or unused_port()
    watch = _Watch()
    async with running(watch, *everything, mode, PORT=str(port), PATH="/usr/local/bin:/usr/bin:/bin"):
        async with asyncio.timeout(20):
            while str(port).encode() not in watch.said:
                watch.changed.clear()
                await watch.changed.wait()
        yield f"http://127.0.0.1:{port}"
