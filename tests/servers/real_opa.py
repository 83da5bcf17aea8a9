"""An Open Policy Agent of its own process, as scripts/opa builds it; it can be killed, stopped for a while, and begun again."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).resolve().parents[2] / ".tools" / "opa"
MISSING = "no OPA was built (scripts/opa does)"
PATIENCE = 20.0


class RealOpa:
    """One on loopback, over files of a directory."""

    def __init__(self, place: Path, port: int, *arguments: str) -> None:
        self.place = place
        self.address = f"http://127.0.0.1:{port}"
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *files: str) -> RealOpa:
        """Start it with some files, and wait until it answers."""
        with (self.place / "opa.log").open("ab") as output:
            self._process = subprocess.Popen(
                [PROGRAM, "run", "--server", "--addr", self.address.removeprefix("http://"), "--disable-telemetry",
                 *self._arguments, *files],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self.place,
            )  # fmt: skip
        deadline = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(OSError):
                self.ask("GET", "/health")
                return self
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"OPA does not answer:\n{(self.place / 'opa.log').read_text()}")
            time.sleep(0.02)

    def ask(
        self, method: str, path: str, body: bytes | None = None, content: str = "application/json"
    ) -> Any:
        """Ask its API."""
        request = urllib.request.Request(self.address + path, body, {"Content-Type": content}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.code} {error.read().decode()}") from error
        return json.loads(text) if text.strip() else None

    def put_policy(self, name: str, text: str) -> None:
        """Give it a policy in place of the one of this name."""
        self.ask("PUT", f"/v1/policies/{name}", text.encode(), "text/plain")

    def put_data(self, path: str, value: object) -> None:
        """Give it data."""
        self.ask("PUT", f"/v1/data/{path}", json.dumps(value).encode())

    def hold(self) -> None:
        """Have it answer nothing, though it is there."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Have it answer again."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)


def run(
    arguments: Sequence[str], place: Path, environment: Mapping[str, str] = {}
) -> subprocess.CompletedProcess[str]:
    """Run a command of OPA's."""
    return subprocess.run(
        [PROGRAM, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=place,
        env=dict(environment),
    )
