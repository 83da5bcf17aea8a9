"""Keycloak as a child process, where `scripts/keycloak` has fetched it: one realm, which is written beside this file.

Its database is in its memory, so each start begins anew. It must not know who takes its tokens.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from tests.clients.npm import TOOLS

HOME = TOOLS / "keycloak"
REALM = Path(__file__).with_name("keycloak.json")
SECRET = "a secret of the tests"
PASSWORD = "a password of the tests"
AUDIENCE = "https://gw.example/mcp"
"""Whom tokens of the client `desk` are for, by its audience mapper."""
_STARTS = 180.0
"""Seconds that it may take: a minute on a busy machine with two cores."""

Json = dict[str, Any]


def missing() -> str:
    """Say why it cannot be had; empty where it can."""
    if not (HOME / "bin/kc.sh").exists():
        return "Keycloak is not here: scripts/keycloak fetches it"
    return "" if shutil.which("java") else "Keycloak needs Java 17 or newer"


@dataclass(frozen=True, slots=True)
class Keycloak:
    """A Keycloak that runs."""

    issuer: str

    def post(self, endpoint: str, client: str, **form: str) -> httpx2.Response:
        """Ask one of the realm's endpoints as a client."""
        with httpx2.Client(timeout=30, trust_env=False) as http:
            url = f"{self.issuer}/protocol/openid-connect/{endpoint}"
            return http.post(url, data=form, auth=(client, SECRET))

    def log_in(self, client: str = "desk") -> Json:
        """Have tokens issued to the realm's only person."""
        got = self.post(
            "token", client, grant_type="password", username="alice", password=PASSWORD, scope="openid"
        )
        assert got.status_code == 200, got.text
        issued: Json = got.json()
        return issued

    def token(self, client: str = "desk") -> str:
        """Have a token issued to a client itself."""
        got = self.post("token", client, grant_type="client_credentials")
        assert got.status_code == 200, got.text
        issued: str = got.json()["access_token"]
        return issued


@contextlib.contextmanager
def keycloak(place: Path) -> Generator[Keycloak]:
    """Run it on a free port of loopback."""
    imported = HOME / "data/import"
    imported.mkdir(parents=True, exist_ok=True)
    shutil.copy(REALM, imported / "claims.json")
    with socket.create_server(("127.0.0.1", 0)) as free:
        base = f"http://127.0.0.1:{free.getsockname()[1]}"
    asked = [
        "start", "--optimized", "--import-realm", "--http-enabled=true", "--http-host=127.0.0.1",
        f"--http-port={base.rpartition(':')[2]}", f"--hostname={base}",
    ]  # fmt: skip
    with (place / "keycloak.log").open("wb") as output:
        process = subprocess.Popen(
            ["sh", str(HOME / "bin/kc.sh"), *asked],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            env={**os.environ, "KC_CACHE": "local", "JAVA_OPTS_KC_HEAP": "-Xms64m -Xmx512m"},
        )  # fmt: skip
    try:
        made = Keycloak(f"{base}/realms/claims")
        _wait(made, process, place / "keycloak.log")
        yield made
    finally:
        process.terminate()
        process.wait(30)


def _wait(made: Keycloak, process: subprocess.Popen[bytes], said: Path) -> None:
    deadline = time.monotonic() + _STARTS
    with httpx2.Client(timeout=30, trust_env=False) as http:
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(httpx2.TransportError):
                if http.get(f"{made.issuer}/.well-known/openid-configuration").status_code == 200:
                    return
            time.sleep(0.2)
    raise AssertionError(f"Keycloak did not start:\n{said.read_text(errors='replace')[-3000:]}")
