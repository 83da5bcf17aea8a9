"""What every test may use: markers that skip with a reason, free ports, the event loop, the test servers.

It must hold nothing that belongs to one part only.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import http.client
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import hypothesis
import pytest
import uvloop

from tests.servers.launch import Listening, listening

ROOT = Path(__file__).resolve().parent.parent
NODE_AT_LEAST = 18

# How long an example takes is the machine's business.
hypothesis.settings.register_profile("tidegate", parent=hypothesis.settings(), deadline=None)
hypothesis.settings.load_profile("tidegate")


@functools.cache
def engine_missing() -> str | None:
    """Say why no Docker Engine can be used, or None."""
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not host.startswith("unix://"):
        return f"tests use a Docker Engine on a Unix socket only, DOCKER_HOST is {host}"
    connection = http.client.HTTPConnection("localhost", timeout=5)
    connection.sock = socket.socket(socket.AF_UNIX)
    with contextlib.closing(connection):
        try:
            connection.sock.settimeout(5)
            connection.sock.connect(host.removeprefix("unix://"))
            connection.request("GET", "/_ping")
            status = connection.getresponse().status
        except OSError as problem:
            return f"no Docker Engine answers at {host}: {problem.strerror or problem}"
    return None if status == 200 else f"the Docker Engine at {host} answers {status}"


@functools.cache
def sandbox_missing() -> str | None:
    """Say why no local process can be sandboxed, or None."""
    tried: list[str] = []
    for command in (
        ["bwrap", "--unshare-all", "--ro-bind", "/usr", "/usr", "--symlink", "usr/lib", "/lib",
         "--symlink", "usr/lib64", "/lib64", "--proc", "/proc", "--dev", "/dev", "/usr/bin/true"],
        ["unshare", "--user", "--map-root-user", "--mount", "/usr/bin/true"],
    ):  # fmt: skip
        if shutil.which(command[0]) is None:
            tried.append(f"{command[0]} is not installed")
            continue
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        if done.returncode == 0:
            return None
        tried.append(f"{command[0]}: {done.stderr.strip().splitlines()[-1:] or done.returncode}")
    return "no sandbox: " + "; ".join(tried)


@functools.cache
def node_missing() -> str | None:
    """Say why Node.js cannot be used, or None."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    said = subprocess.run(
        ["node", "--version"], capture_output=True, text=True, timeout=20, check=False
    ).stdout
    major = said.strip().lstrip("v").partition(".")[0]
    old = not major.isdigit() or int(major) < NODE_AT_LEAST
    return f"Node.js {NODE_AT_LEAST} or newer is needed, found {said.strip()}" if old else None


@functools.cache
def root_missing() -> str | None:
    """Say that we are not root, or None."""
    return None if os.geteuid() == 0 else "needs root"


@functools.cache
def network_missing() -> str | None:
    """Say why no package index can be reached, or None."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir", "--dest"]
    with tempfile.TemporaryDirectory() as place:
        try:
            done = subprocess.run(
                [*command, place, "iniconfig"], capture_output=True, text=True, timeout=60, check=False
            )
        except subprocess.TimeoutExpired:
            return "no package index answers: pip gave up after 60 s"
    return None if done.returncode == 0 else "no package index answers: pip cannot download from it"


NEEDS: Mapping[str, Callable[[], str | None]] = {
    "docker": engine_missing,
    "sandbox": sandbox_missing,
    "node": node_missing,
    "root": root_missing,
    "network": network_missing,
}


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose marker names something that cannot be had here, saying what."""
    for marker, missing in NEEDS.items():
        if item.get_closest_marker(marker) is not None and (reason := missing()) is not None:
            pytest.skip(f"{marker}: {reason}")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run what meets sockets and processes on the loop that the gateway runs on, all else on asyncio's."""
    if (ROOT / "tests" / "integration") in item.path.parents:
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}


@pytest.fixture
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture
def free_port() -> int:
    """A port of loopback that nobody listens on right now."""
    return unused_port()


@pytest.fixture
def free_ports() -> Callable[[int], list[int]]:
    """Give that many different ports."""
    return unused_ports


def unused_port() -> int:
    """Give a port of loopback that nobody listens on right now."""
    return unused_ports(1)[0]


def unused_ports(count: int) -> list[int]:
    """Give that many different ports: all are held while they are chosen."""
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [listener.getsockname()[1] for listener in listeners]


@pytest.fixture
async def start_server() -> AsyncIterator[Callable[..., Awaitable[Listening]]]:
    """Start test servers that listen: `await start_server("legacy_http", "--answers", "sse")` gives a `Listening`."""
    async with AsyncExitStack() as stack:

        async def start(name: str, *arguments: str) -> Listening:
            return await stack.enter_async_context(listening(name, *arguments))

        yield start
