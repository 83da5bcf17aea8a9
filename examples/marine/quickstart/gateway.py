"""The gateway as a child process: started, asked over its control socket, and ended with us.

It must leave nothing running, however the quickstart ends.
"""

from __future__ import annotations

import ctypes
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.marine.quickstart.options import Failure
from examples.marine.quickstart.place import Place

from tidegate.state_directory import control_socket

TIDEGATE = (str(Path(sys.executable).with_name("tidegate")),)
ASK_SECONDS = 5.0
UP_SECONDS = 20.0
DRAIN_SECONDS = 45.0  # more than the gateway gives its calls
PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True, slots=True)
class Server:
    """A server as the gateway tells of it."""

    name: str
    state: str
    reason: str | None
    tools: int


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway that runs as our child."""

    process: subprocess.Popen[bytes]
    url: str
    place: Place

    def servers(self) -> list[Server]:
        """Ask how the servers are. Empty while the gateway does not answer yet."""
        status = ask(self.place.state)
        if status is None:
            self.check()
            return []
        return [Server(s["name"], s["state"], s["reason"], s["tools"]) for s in status["servers"]]

    def said_by(self, server: str) -> str:
        """Give the last that a server wrote on its standard error, indented; empty where it wrote nothing."""
        lines = (_get(self.place.state, f"/v1/logs/{server}?lines=8") or b"").decode(errors="replace")
        return "".join(f"\n  {line}" for line in lines.splitlines())

    def check(self) -> None:
        """Raise `Failure` where the gateway has ended."""
        if self.process.poll() is not None:
            code = self.process.returncode
            how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
            raise Failure(f"the gateway {how}; the end of its log:\n{last_lines(self.place.log)}")

    def wait(self) -> None:
        """Wait until the gateway ends by itself, which it should not."""
        self.process.wait()
        self.check()

    def stop(self) -> None:
        """Let the gateway drain. Where it did not end in order, remove what it left."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(DRAIN_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.returncode < 0:
            clean = [*TIDEGATE, "clean", "--config", self.place.settings]
            subprocess.run(clean, timeout=60, check=False, stdin=subprocess.DEVNULL)


@contextmanager
def running(place: Place, port: int) -> Generator[Gateway]:
    """Start the gateway; stop it at the end.

    Raises:
        Failure: it does not come up.
    """
    with place.log.open("wb") as log:
        process = subprocess.Popen(
            [*TIDEGATE, "serve", "--config", place.settings],
            cwd=place.directory,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in the terminal comes to us alone, who then stop it in order
            preexec_fn=_end_with_parent,  # one thread, so no lock can be held
        )
    gateway = Gateway(process, f"http://127.0.0.1:{port}/mcp", place)
    try:
        _await_answer(gateway)
        yield gateway
    finally:
        # A second signal while it drains must not leave it behind.
        ours = [(number, signal.signal(number, signal.SIG_IGN)) for number in (signal.SIGINT, signal.SIGHUP)]
        gateway.stop()
        for number, former in ours:
            signal.signal(number, former)


def refuse_a_second_one(place: Place, port: int) -> None:
    """Raise `Failure` where a gateway holds our state, or anything holds the port."""
    status = ask(place.state)
    if status is not None:
        raise Failure(
            f"a quickstart runs here already (process {status['pid']}, {status['url']}): stop that one first"
        )
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError:
            raise Failure(f"only root may listen on port {port}: choose one from 1024 with --port") from None
        except OSError:
            raise Failure(f"port {port} is in use: choose another with --port") from None


def ask(state: Path) -> dict[str, Any] | None:
    """Ask a gateway's control socket for its status; None where none answers."""
    try:
        answer = _get(state, "/v1/status")
        return None if answer is None else json.loads(answer)
    except ValueError:
        return None


def _get(state: Path, path: str) -> bytes | None:
    connection = http.client.HTTPConnection("localhost", timeout=ASK_SECONDS)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(ASK_SECONDS)
    try:
        with control_socket(state) as address:
            connection.sock.connect(os.fspath(address))
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.read() if answer.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def last_lines(log: Path, count: int = 12) -> str:
    """Give the end of the gateway's log."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(f"  {line}" for line in lines[-count:]) or "  (it said nothing)"


def _await_answer(gateway: Gateway) -> None:
    deadline = time.monotonic() + UP_SECONDS
    while ask(gateway.place.state) is None:
        gateway.check()
        if time.monotonic() > deadline:
            raise Failure(
                f"the gateway did not answer within {UP_SECONDS:.0f} s; its log is {gateway.place.log}:\n{last_lines(gateway.place.log)}"
            )
        time.sleep(0.05)


def _end_with_parent() -> None:
    """Have the kernel end the gateway in order where we are killed (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
