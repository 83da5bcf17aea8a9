"""Other gateways in front of the same upstreams, in the same run: FastMCP's proxy and mcp-proxy.

Each is installed into an environment of its own under `.tools/`, which may be thrown away at any time. What
cannot be installed or does not come up is skipped with its reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from bench.connection import Failed
from bench.gateway import environment, unused_port
from bench.process import ROOT, START_DEADLINE, Program, http_upstream, running
from bench.series import Series, Subject
from bench.wire import Era, Target

PLACE = ROOT / ".tools" / "bench-peers"
INSTALL_DEADLINE = 300.0
PROXY = """
import asyncio, sys
from fastmcp import Client
from fastmcp.server import create_proxy

async def serve(url, port):
    async with Client(url) as client:
        await create_proxy(client).run_async(transport="http", host="127.0.0.1", port=port, show_banner=False)

asyncio.run(serve(sys.argv[1], int(sys.argv[2])))
"""


async def installed(package: str) -> Path:
    """Install a package into an environment of its own and give that environment's programs.

    Raises:
        Failed: it cannot be had.
    """
    place = PLACE / package
    programs = place / "bin"
    if not (place / "installed").exists():
        await run([sys.executable, "-m", "venv", "--clear", str(place)])
        await run([str(programs / "pip"), "install", "--quiet", package])
        (place / "installed").touch()
    return programs


async def run(argv: Sequence[str]) -> None:
    """Run a command to its end.

    Raises:
        Failed: it failed, or took too long.
    """
    process = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        _, said = await asyncio.wait_for(process.communicate(), INSTALL_DEADLINE)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise Failed(f"{' '.join(argv[:3])} took more than {INSTALL_DEADLINE:g} s") from None
    if process.returncode != 0:
        raise Failed(f"{' '.join(argv)}: {said.decode(errors='replace').strip()[-300:]}")


async def listens(program: Program, port: int) -> None:
    """Wait until something listens.

    Raises:
        Failed: it ended, or took too long.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(START_DEADLINE):
            while True:
                program.check()
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                    return
                await asyncio.sleep(0.1)
    raise Failed(f"did not listen within {START_DEADLINE:g} s:\n{program.said()}")


@contextlib.asynccontextmanager
async def open_fastmcp(place: Path) -> AsyncIterator[Subject]:
    """FastMCP's proxy with one upstream session for all, its fastest way, in front of the HTTP upstream."""
    programs, port = await installed("fastmcp"), unused_port()
    async with http_upstream(place) as url:
        argv = [str(programs / "python"), "-c", PROXY, url, str(port)]
        async with running(argv, place / "fastmcp.log", env=environment()) as program:
            await listens(program, port)
            yield Subject(Target(f"http://127.0.0.1:{port}/mcp"), program)


@contextlib.asynccontextmanager
async def open_mcp_proxy(place: Path) -> AsyncIterator[Subject]:
    """mcp-proxy, which serves a stdio server over HTTP, in front of the stdio upstream."""
    programs, port = await installed("mcp-proxy"), unused_port()
    upstream = [sys.executable, str(ROOT / "bench" / "upstream_stdio.py")]
    argv = [str(programs / "mcp-proxy"), "--host", "127.0.0.1", "--port", str(port), "--", *upstream]
    async with running(argv, place / "mcp-proxy.log", env=environment()) as program:
        await listens(program, port)
        yield Subject(Target(f"http://127.0.0.1:{port}/mcp"), program)


def all_series() -> list[Series]:
    """Give the peers; both are measured in the legacy era, which both speak."""
    return [
        Series("fastmcp proxy", "HTTP", open_fastmcp, eras=(Era.LEGACY,)),
        Series("mcp-proxy", "stdio process", open_mcp_proxy, eras=(Era.LEGACY,)),
    ]
