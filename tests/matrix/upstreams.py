"""The feature servers in all their forms, for a test: how each is started, declared and reached directly."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.matrix import peer
from tests.servers.launch import argv

LEGACY, MODERN = "legacy", "modern"
FORMS: dict[str, tuple[str, str]] = {
    "old-stdio": (LEGACY, "stdio"),
    "old-http": (LEGACY, "http"),
    "old-sse": (LEGACY, "sse"),
    "new-stdio": (MODERN, "stdio"),
    "new-http": (MODERN, "http"),
}
"""Name of a form: its era and its carrier."""


@dataclass(frozen=True)
class Upstream:
    """One feature server."""

    name: str
    url: str = ""

    @property
    def era(self) -> str:
        """legacy or modern."""
        return FORMS[self.name][0]

    @property
    def carrier(self) -> str:
        """stdio, http or sse."""
        return FORMS[self.name][1]

    def transport(self) -> Any:
        """Open it directly."""
        if self.carrier == "stdio":
            return peer.stdio(argv("features_stdio", self.era))
        return peer.sse(self.url) if self.carrier == "sse" else peer.http(self.url)

    def declared(self) -> dict[str, Any]:
        """Give what a gateway's settings say of it."""
        if self.carrier == "stdio":
            return {"command": argv("features_stdio", self.era), "unsandboxed": True}
        return {"url": self.url, "transport": self.carrier}


@contextlib.contextmanager
def running(*names: str) -> Iterator[dict[str, Upstream]]:
    """Run the servers of these forms (all by default); those on stdio are started by whoever connects."""
    chosen = names or tuple(FORMS)
    started: dict[str, subprocess.Popen[str]] = {}
    try:
        for name in chosen:
            era, carrier = FORMS[name]
            if carrier != "stdio":
                command = argv("features_http", "sse" if carrier == "sse" else era)
                started[name] = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        yield {name: Upstream(name, _url(started[name]) if name in started else "") for name in chosen}
    finally:
        for process in started.values():
            process.kill()
        for process in started.values():
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


def _url(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    word, _, url = process.stdout.readline().strip().partition(" ")
    assert word == "URL", f"the server ended with status {process.wait(5)} before it listened"
    return url
