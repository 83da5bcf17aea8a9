"""Launchers: how each server is brought up, by what it is made of."""

from __future__ import annotations

import secrets

from tidegate import __version__
from tidegate.assemble.plant import Plant
from tidegate.channels.http.dial import tls_context
from tidegate.domain.server import Remote
from tidegate.fleet.launch import RemoteLauncher, RuntimeLauncher, Wiring
from tidegate.protocol.client import introduce
from tidegate.settings import Settings


def declare(settings: Settings, plant: Plant) -> None:
    """Tell the fleet what should run, and how each is launched."""
    outbound, fleet = settings.outbound, plant.fleet
    encrypted = any(
        isinstance(spec.launch, Remote) and spec.launch.url.startswith("https:") for spec in plant.servers
    )
    tls = tls_context(outbound.ca_bundle) if encrypted else None
    wiring = Wiring(introduce(__version__), lambda: secrets.token_hex(4), tls, outbound.proxy)
    for spec in plant.servers:
        if isinstance(spec.launch, Remote):
            fleet.declare(spec, RemoteLauncher(spec, spec.launch, wiring))
        else:
            fleet.declare(spec, RuntimeLauncher(spec, plant.runtimes[spec.runtime], wiring, fleet.end_later))
