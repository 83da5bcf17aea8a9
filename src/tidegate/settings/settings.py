"""Settings: what a settings file says, in the nouns of the domain, with every path made absolute."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from tidegate.domain.endpoint import EndpointSpec
from tidegate.domain.server import ServerSpec
from tidegate.settings.models import (
    AuthModel,
    GatewayLimitsModel,
    JournalModel,
    LogsModel,
    OutboundModel,
    TlsModel,
)
from tidegate.settings.values import Listen


@dataclass(frozen=True, slots=True)
class Settings:
    """One valid settings file."""

    listen: Listen
    public_url: str | None
    """Without a slash at its end."""
    trusted_proxies: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]
    allowed_hosts: tuple[str, ...]
    """In lower case, with or without a port."""
    allowed_origins: tuple[str, ...]
    tls: TlsModel | None
    outbound: OutboundModel
    state: Path
    """The state directory."""
    shared: Path | None
    """The directory that gateways share which are one to their clients."""
    auth: AuthModel
    journal: JournalModel
    logs: LogsModel
    limits: GatewayLimitsModel
    runtime: str
    """What realises packages: `auto` or the name of a runtime."""
    runtimes: Mapping[str, BaseModel]
    """Settings of those runtimes that the file has settings for."""
    endpoints: tuple[EndpointSpec, ...]
    servers: tuple[ServerSpec, ...]

    @property
    def control_socket(self) -> Path:
        """Where the command line reaches a gateway that runs on this state directory."""
        return self.state / "control.sock"

    @property
    def url(self) -> str:
        """Base URL for clients: `public_url`, else that of the listener."""
        if self.public_url is not None:
            return self.public_url
        return f"{'https' if self.tls else 'http'}://{self.listen}"
