"""A real gateway between the suite and a server, on an endpoint that renames nothing."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.integration.gateway.gateway import Gateway
from tests.integration.gateway.resource_server import an_issuer

_LASTS = 3600
"""Seconds that a token is good for: longer than all runs."""


@contextlib.contextmanager
def gateway(place: Path, upstream: str, **more: Any) -> Iterator[Gateway]:
    """Run a gateway whose only server is at that URL, and look afterwards whether all was in order with it."""
    settings = {
        "endpoints": {"/mcp": {"names": "plain"}},
        "servers": {"upstream": {"url": upstream}},
        **more,
    }
    place.mkdir(parents=True, exist_ok=True)
    running = Gateway(place, settings).start()
    try:
        yield running
        running.check_end()
    finally:
        running.kill()


@contextlib.contextmanager
def vouching(place: Path, upstream: str) -> Iterator[tuple[Gateway, str]]:
    """Run such a gateway that lets nobody in without a token, and give it with one."""
    with an_issuer() as issuer:
        auth = {"type": "jwt", "issuer": issuer.url, "roles": {"default": "user"}}
        with gateway(place, upstream, auth=auth) as running:
            yield running, issuer.token(aud=running.url(), exp=int(time.time()) + _LASTS)
