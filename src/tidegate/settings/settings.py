"""Settings: what a settings file says, in the nouns of the domain, with every path made absolute."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel

from tidegate.domain.endpoint import EndpointSpec
from tidegate.domain.quota import Quota
from tidegate.domain.role import Role
from tidegate.domain.server import Secret, ServerSpec
from tidegate.domain.tenant import Tenants
from tidegate.settings.bindings import ProofsModel
from tidegate.settings.identity import IdentityModel
from tidegate.settings.models import (
    AdminModel,
    GatewayLimitsModel,
    JournalModel,
    LogsModel,
    OutboundModel,
    TlsModel,
)
from tidegate.settings.policies import PolicySettings
from tidegate.settings.references import Reference
from tidegate.settings.values import Listen


@dataclass(frozen=True, slots=True)
class SecretsKept:
    """What a file's references were found to be, and how to look again."""

    base: Path
    """Directory that the paths of `${file:…}` are relative to."""
    refresh: float
    """Seconds between looks; 0: none."""
    sources: Mapping[str, BaseModel]
    """Settings of each kind that is kept elsewhere and referred to."""
    values: Mapping[Reference, Secret] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Settings:
    """One valid settings file."""

    listen: Listen
    public_url: str | None
    """Without a slash at its end."""
    trusted_proxies: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]
    forwarded_certificates: bool
    allowed_hosts: tuple[str, ...]
    """In lower case, with or without a port."""
    allowed_origins: tuple[str, ...]
    tls: TlsModel | None
    outbound: OutboundModel
    state: Path
    """The state directory."""
    shared: Path | None
    """The directory that gateways share which are one to their clients."""
    auth: tuple[IdentityModel, ...]
    """Asked in order."""
    dpop: ProofsModel
    quotas: tuple[Quota, ...]
    roles: tuple[Role, ...]
    policies: tuple[PolicySettings, ...]
    """Engines that decide beside rules and roles."""
    tenants: Tenants
    admin: AdminModel
    journal: JournalModel
    logs: LogsModel
    reload: str
    """`auto`: the file is followed; `manual`: only when told."""
    limits: GatewayLimitsModel
    secrets: SecretsKept
    runtime: str
    """What realises packages: `auto` or the name of a runtime."""
    runtimes: Mapping[str, BaseModel]
    """Settings of those runtimes that the file has settings for."""
    endpoints: tuple[EndpointSpec, ...]
    servers: tuple[ServerSpec, ...]

    @property
    def local(self) -> bool:
        """Whether whoever reaches the listener is the local user."""
        return any(each.type == "local" for each in self.auth)

    @property
    def admin_api(self) -> bool:
        """Whether the admin API is served beside the endpoints."""
        return not self.local if self.admin.enabled is None else self.admin.enabled

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
