"""The gateway under test, started as an operator starts it: a settings file, a key, `tidegate serve`.

It must know the gateway only by its settings, its command line and what it answers over HTTP.

`minimal` is the least the gateway can be made to do: `auth: {type: local}` and an endpoint without rules. The
journal cannot be turned off, and Host, Origin and the limits are checked all the same: so minimal is no
other path, only the shortest walk along the same one. `governed` has everything on: API keys, rules that deny and
allow, tools chosen by pattern, the journal (`durability: write`), limits, metrics.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import aiohttp

from bench.connection import Failed
from bench.process import ROOT, START_DEADLINE, Program, running
from bench.wire import Target

TIDEGATE = ROOT / ".venv" / "bin" / "tidegate"
SERVER = "bench"
INSIDE = "/srv/upstream_stdio.py"

Settings = dict[str, object]


class Mode(StrEnum):
    """How much the gateway does."""

    MINIMAL = "minimal"
    GOVERNED = "governed"


@dataclass(slots=True)
class Gateway:
    """A gateway that listens."""

    program: Program
    target: Target
    base: str
    started: float
    """Seconds from its start to its first answer on /healthz."""

    async def stall(self) -> float | None:
        """Give the longest stall of its loop so far in milliseconds, where it tells."""
        async with aiohttp.ClientSession() as http, http.get(f"{self.base}/metrics") as response:
            text = await response.text()
        found = re.search(r"^tidegate_loop_stall_seconds_max(?:\{[^}]*\})? (\S+)$", text, re.MULTILINE)
        return float(found[1]) * 1e3 if found else None


def remote(url: str) -> Settings:
    """Declare the HTTP upstream."""
    return {"url": url, "sharing": "shared", "stateless": True}


def process(unsandboxed: bool) -> Settings:
    """Declare the stdio upstream as a local process."""
    upstream = str(ROOT / "bench" / "upstream_stdio.py")
    common: Settings = {"sharing": "shared", "stateless": True}
    if unsandboxed:
        return {"command": [sys.executable, upstream], "unsandboxed": True, **common}
    python = os.path.realpath("/usr/bin/python3")
    return {"command": [python, INSIDE], "mounts": [{"source": upstream, "target": INSIDE}], **common}


def container(image: str) -> Settings:
    """Declare the stdio upstream in a container of an image that has a Python."""
    upstream = str(ROOT / "bench" / "upstream_stdio.py")
    mounts = [{"source": upstream, "target": INSIDE}]
    return {
        "image": image,
        "entrypoint": ["python3", INSIDE],
        "mounts": mounts,
        "sharing": "shared",
        "stateless": True,
    }


def settings(mode: Mode, server: Settings, port: int, **more: object) -> Settings:
    """Give the settings file's content."""
    endpoint: Settings = {}
    if mode is Mode.GOVERNED:
        rules = [
            {"deny": {"tools": ["write_*", "delete_*"]}},
            {"deny": {"tools": ["elsewhere_*"]}},
            {"allow": {"roles": ["user", "admin"], "servers": [SERVER]}},
        ]
        endpoint = {"servers": [SERVER], "tools": [f"{SERVER}__*"], "rules": rules}
    return {
        "listen": f"127.0.0.1:{port}",
        "auth": {"type": "keys" if mode is Mode.GOVERNED else "local"},
        "journal": {"durability": "write"},
        "logs": {"format": "json", "level": "info"},
        "endpoints": {"/mcp": endpoint},
        "servers": {SERVER: server},
        **more,
    }


@contextlib.asynccontextmanager
async def serving(
    mode: Mode, server: Settings, *, under: Sequence[str] = (), **more: object
) -> AsyncIterator[Gateway]:
    """Run a gateway in a directory of its own, until the end of the block; `under` is what runs it.

    Raises:
        Failed: there is none, or it does not come up; with the end of what it said.
    """
    if not TIDEGATE.exists():
        raise Failed("no .venv/bin/tidegate: run scripts/test once")
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as directory:
        place = Path(directory)
        port = unused_port()
        config = place / "tidegate.yaml"
        config.write_text(json.dumps(settings(mode, server, port, **more), indent=1))
        token = await create_key(config) if mode is Mode.GOVERNED else None
        began = time.perf_counter()
        argv = [
            *under,
            *((sys.executable,) if under else ()),
            str(TIDEGATE),
            "serve",
            "--config",
            str(config),
        ]
        async with running(argv, place / "gateway.log", env=environment(), cwd=place) as program:
            base = f"http://127.0.0.1:{port}"
            await answers(program, base)
            yield Gateway(
                program, Target(f"{base}/mcp", f"{SERVER}__echo", token), base, time.perf_counter() - began
            )


def environment() -> Mapping[str, str]:
    """Give the environment for the gateway: ours, with no proxy for loopback."""
    return {**os.environ, "no_proxy": "127.0.0.1,localhost", "NO_PROXY": "127.0.0.1,localhost"}


async def create_key(config: Path) -> str:
    """Make a key with the command line and give it.

    Raises:
        Failed: with what the command said.
    """
    argv = [
        str(TIDEGATE),
        "key",
        "create",
        "--config",
        str(config),
        "--role",
        "user",
        "--json",
        "--name",
        "bench",
    ]
    pipe = asyncio.subprocess.PIPE
    done = await asyncio.create_subprocess_exec(*argv, stdout=pipe, stderr=pipe, env=environment())
    out, err = await asyncio.wait_for(done.communicate(), START_DEADLINE)
    if done.returncode != 0:
        raise Failed(f"tidegate key create ended with status {done.returncode}: {err.decode()[-500:]}")
    return str(json.loads(out)["key"])


async def answers(program: Program, base: str) -> None:
    """Wait until the gateway answers on /healthz.

    Raises:
        Failed: it ended, or took too long.
    """
    deadline = time.monotonic() + START_DEADLINE
    async with aiohttp.ClientSession() as http:
        while time.monotonic() < deadline:
            program.check()
            with contextlib.suppress(aiohttp.ClientError):
                async with http.get(f"{base}/healthz") as response:
                    if response.status == 200:
                        return
            await asyncio.sleep(0.01)
    raise Failed(f"no answer from {base}/healthz within {START_DEADLINE:g} s:\n{program.said()}")


def unused_port() -> int:
    """Give a port of loopback that nobody listens on right now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
