"""Two gateways that share a directory, behind Debian's haproxy: round robin, no stickiness."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.integration.gateway.gateway import PATIENCE, Gateway

HAPROXY = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
_CONFIGURATION = """
global
    maxconn 500
defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 60s
    retries 3
    option redispatch
frontend clients
    bind 127.0.0.1:{port}
    default_backend gateways
backend gateways
    balance roundrobin
    option httpchk
    http-check send meth GET uri /readyz ver HTTP/1.1 hdr Host localhost
    default-server check inter 200ms fall 1 rise 1
    server one {one}
    server two {two}
"""


class Pair:
    """Two gateways and what is in front of them."""

    def __init__(self, place: Path, upstream: str) -> None:
        self.place = place
        settings: dict[str, Any] = {
            "shared": "../shared", "auth": {"type": "keys"},
            "servers": {"far": {"url": upstream, "transport": "http", "sharing": "shared"}},
        }  # fmt: skip
        self.gateways: list[Gateway] = []
        for name in ("one", "two"):
            (place / name).mkdir()
            self.gateways.append(Gateway(place / name, settings))
        self.one, self.two = self.gateways
        self.port = _unused()
        self._haproxy: subprocess.Popen[bytes] | None = None
        self.key = ""

    @property
    def url(self) -> str:
        """The URL that clients use."""
        return f"http://127.0.0.1:{self.port}/mcp"

    def start(self) -> Pair:
        """Start all three, and make a key."""
        made = self.one.command("key", "create", "--name", "ann", "--role", "admin")
        assert made.returncode == 0, made.stderr
        self.key = made.stdout.strip()
        for each in self.gateways:
            each.start()
        for each in self.gateways:
            each.until_servers(far="ready")
        self._start_haproxy()
        return self

    def stop(self) -> None:
        """Stop all three."""
        if self._haproxy is not None:
            self._haproxy.terminate()
            self._haproxy.wait(10)
        for each in self.gateways:
            each.stop()

    def _start_haproxy(self) -> None:
        file = self.place / "haproxy.cfg"
        addresses = [each.base.removeprefix("http://") for each in self.gateways]
        file.write_text(_CONFIGURATION.format(port=self.port, one=addresses[0], two=addresses[1]))
        with (self.place / "haproxy.log").open("wb") as output:
            self._haproxy = subprocess.Popen(
                [str(HAPROXY), "-db", "-f", str(file)], stdout=output, stderr=output
            )
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                assert time.monotonic() < deadline, (self.place / "haproxy.log").read_text()
                time.sleep(0.02)
            else:
                return


@contextmanager
def pair(place: Path, upstream: str) -> Iterator[Pair]:
    """Run a pair before a remote server."""
    made = Pair(place, upstream)
    try:
        yield made.start()
    finally:
        made.stop()


def _unused() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
