"""Gateways in front of published servers, and the data those are asked about.

What was fetched and built is kept under `.tools/real/` between runs, so that a second one is quick.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from examples.marine import database, repository

from tests.clients.npm import TOOLS, node
from tests.clients.typescript import everything
from tests.conftest import unused_port
from tests.integration.gateway.gateway import Gateway

PREPARED = 600.0
"""Seconds until every server answers, the first time: packages are fetched, images built."""
SERVER_UID = 65532
"""Whom a gateway that is root runs its servers as."""
Json = dict[str, Any]


def published(data: Path, *, git: Mapping[str, Any]) -> Json:
    """Declare the published servers over the data in a directory."""
    return {
        "time": {
            "package": "pypi:mcp-server-time==2026.10.19",
            "args": ["--local-timezone", "UTC"],
            "stateless": True,
        },
        "git": {
            "package": "pypi:mcp-server-git==2026.10.19",
            "args": ["--repository", "/data/wordings"],
            "mounts": [{"source": str(data / "wordings"), "target": "/data/wordings"}],
            **git,
        },
        "sqlite": {
            "package": "pypi:mcp-server-sqlite==2025.4.25",
            "with": ["mcp<2"],
            "args": ["--db-path", "/data/marine.db"],
            "mounts": [{"source": str(data / "db"), "target": "/data", "writable": True}],
        },
        "everything": {"package": "npm:@modelcontextprotocol/server-everything@2026.8.31"},
        "filesystem": {
            "package": "npm:@modelcontextprotocol/server-filesystem@2026.8.31",
            "args": ["/data"],
            "mounts": [{"source": str(data / "files"), "target": "/data"}],
        },
        "memory": {
            "package": "npm:@modelcontextprotocol/server-memory@2026.8.31",
            "env": {"MEMORY_FILE_PATH": "/tmp/memory.json"},
        },
    }


def lay(place: Path) -> Path:
    """Make what the servers are asked about, and give it to whom they run as."""
    data = place / "data"
    if not (data / "wordings").exists():
        repository.write(data / "wordings")
    if not (data / "db" / "marine.db").exists():
        database.write(data / "db" / "marine.db")
    (data / "files").mkdir(parents=True, exist_ok=True)
    (data / "files" / "clause.txt").write_text(
        "General average shall be adjusted by the York-Antwerp Rules.\n"
    )
    place.chmod(0o755)
    for path in (data, *data.rglob("*")):
        if os.geteuid() == 0:
            os.chown(path, SERVER_UID, SERVER_UID, follow_symlinks=False)
    return data


def kept(name: str) -> Path:
    """Give a directory that is kept between runs."""
    place = TOOLS / "real" / name
    place.mkdir(parents=True, exist_ok=True)
    return place


@contextmanager
def standing(place: Path, settings: Mapping[str, Any]) -> Iterator[Gateway]:
    """Run a gateway until every server of it is ready, and see at the end that it stops in order."""
    gateway = Gateway(place, settings).start()
    began = len(gateway.said())
    try:
        until_ready(gateway, set(settings["servers"]))
        yield gateway
    finally:
        status = gateway.stop()
    assert status == 0, gateway.said()[-3000:]
    assert "Traceback" not in gateway.said()[began:]
    gateway.verify()


def until_ready(gateway: Gateway, names: set[str]) -> None:
    """Wait until these servers are ready, their tools are known, and every endpoint shows them."""
    deadline = time.monotonic() + PREPARED
    while time.monotonic() < deadline:
        servers = gateway.status()["servers"]
        if all(each["state"] == "ready" and each["tools"] for each in servers if each["name"] in names):
            gateway.until_servers(**dict.fromkeys(names, "ready"))
            return
        time.sleep(0.1)
    states = {each["name"]: (each["state"], each["reason"]) for each in gateway.status()["servers"]}
    raise AssertionError(f"not all are ready: {states}")


@contextmanager
def everything_listening(transport: str, port: int = 0) -> Iterator[str]:
    """Run `server-everything` over HTTP (`streamableHttp` or `sse`) and give its URL."""
    port = port or unused_port()
    process = subprocess.Popen(
        [node()[0], str(everything()), transport],
        env={"PATH": os.environ["PATH"], "PORT": str(port)},
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 30
        while not _listens(port):
            assert process.poll() is None, f"server-everything ended with status {process.returncode}"
            assert time.monotonic() < deadline, "server-everything does not listen"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/{'sse' if transport == 'sse' else 'mcp'}"
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
