"""A real gateway between the suite and a server, on an endpoint that renames nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.integration.gateway.gateway import Gateway


@contextlib.contextmanager
def gateway(place: Path, upstream: str) -> Iterator[Gateway]:
    """Run a gateway whose only server is at that URL, and look afterwards whether all was in order with it."""
    settings = {
        "endpoints": {"/mcp": {"names": "plain"}},
        "servers": {"upstream": {"url": upstream}},
    }
    place.mkdir(parents=True, exist_ok=True)
    running = Gateway(place, settings).start()
    try:
        yield running
        running.check_end()
    finally:
        running.kill()
