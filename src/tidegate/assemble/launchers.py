"""Launchers: how each server is brought up, by what it is made of."""

from __future__ import annotations

import secrets
import ssl

from tidegate import __version__
from tidegate.assemble.plant import Plant
from tidegate.channels.http.dial import tls_context
from tidegate.domain.server import Remote, ServerSpec
from tidegate.fleet.launch import RemoteLauncher, RuntimeLauncher, Wiring
from tidegate.fleet.launcher import Launcher
from tidegate.protocol.client import introduce
from tidegate.settings import Settings


class Launchers:
    """Makes the launcher of each server, by one set of settings."""

    def __init__(self, plant: Plant, settings: Settings) -> None:
        self._plant = plant
        self._outbound = settings.outbound
        self._introduction = introduce(__version__)
        self._tls: ssl.SSLContext | None = None
        """One for all: the authorities in it are most of what a context holds."""

    def launcher_for(self, spec: ServerSpec) -> Launcher:
        """Make what brings workloads of a server up and down.

        Raises:
            SettingsError: its URL, a header or the proxy cannot be used.
        """
        plant = self._plant
        if isinstance(spec.launch, Remote):
            return RemoteLauncher(spec, spec.launch, self._wiring(spec.launch.url.startswith("https:")))
        runtime = plant.runtimes[spec.runtime]
        presence = plant.fleet.presence_of(spec.runtime)
        return RuntimeLauncher(spec, runtime, self._wiring(), plant.fleet.end_later, presence)

    def _wiring(self, encrypted: bool = False) -> Wiring:
        if encrypted and self._tls is None:
            self._tls = tls_context(self._outbound.ca_bundle)
        tls = self._tls if encrypted else None
        return Wiring(self._introduction, lambda: secrets.token_hex(4), tls, self._outbound.proxy)
