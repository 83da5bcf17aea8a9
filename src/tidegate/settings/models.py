"""The shape of the settings file: frozen models that refuse unknown keys.

The docstrings here are the configuration reference (`docs/configuration.md`) and the descriptions of
the published JSON Schema. What concerns more than one place in the file is in `checks`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue, StrictBool, StrictInt

from tidegate.domain.endpoint import Names
from tidegate.settings.base import Emptiable, Model
from tidegate.settings.bindings import ProofsModel
from tidegate.settings.identity import AuthChoice, LocalModel
from tidegate.settings.policies import MOST as MOST_POLICIES
from tidegate.settings.quotas import MOST as MOST_QUOTAS
from tidegate.settings.quotas import QuotaModel
from tidegate.settings.roles import Pattern, Roles, RuleModel, Scopes, UriPattern
from tidegate.settings.secrets import SecretsModel
from tidegate.settings.servers import ServerModel
from tidegate.settings.tenants import TenantModels
from tidegate.settings.values import (
    AddressRange,
    FilePath,
    HostName,
    Listen,
    ListenAt,
    Origin,
    ProxyUrl,
    PublicUrl,
    Size,
    SizeOrNothing,
    Text,
)

Count = Annotated[StrictInt, Field(ge=1, le=1_000_000)]


class TlsModel(Model):
    """Certificate of the listener. Read again when the files change."""

    certificate: FilePath
    """PEM file of the certificate and its chain."""
    key: FilePath
    """PEM file of the private key."""
    client_ca: FilePath | None = None
    """PEM file of the authorities whose certificates clients may show (mutual TLS). Absent: clients are asked for none."""
    client: Literal["optional", "required"] | None = None
    """Whether a client without one is served. Absent: `optional`."""


class OutboundModel(Model):
    """How the gateway reaches others."""

    proxy: ProxyUrl | None = None
    """HTTP proxy for what the gateway fetches."""
    ca_bundle: FilePath | None = None
    """PEM file of authorities to trust beside the system's."""


class AdminModel(Model):
    """The admin API ([admin API](admin-api.md)) on the listener for clients. The command line needs it not."""

    enabled: StrictBool | None = None
    """Whether it is served there, to API keys with the role `admin`. Absent: with every `auth` but
    `local`, where everybody on this machine would be an administrator, servers with its network among them."""


class JournalModel(Model):
    """The record of every call."""

    durability: Literal["write", "fsync"] = "write"
    """`write` survives the gateway, `fsync` the machine."""
    segment_size: Annotated[Size, Field(ge=64 * 1024, le=2**40)] = 64 * 1024 * 1024
    """When a new file is begun."""


class LogsModel(Model):
    """The gateway's own log, on standard error."""

    format: Literal["console", "json"] = "console"
    """For people or for machines."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least that is logged."""


class GatewayLimitsModel(Model):
    """Bounds of the whole gateway."""

    body: Annotated[Size, Field(ge=1024, le=256 * 1024 * 1024)] = 4 * 1024 * 1024
    """Largest body of a request."""
    calls_in_flight: Count = 1024
    """Calls at one time."""
    calls_per_principal: Count = 128
    """Calls of one principal at one time."""
    starts: Annotated[Count, Field(le=256)] = 4
    """Workloads that start at one time."""
    workloads: Count = 200
    """Workloads at one time."""
    workloads_per_server: Count = 64
    """Workloads of one server."""
    workloads_per_principal: Count = 32
    """Workloads of one principal."""
    memory_reserve: SizeOrNothing = 256 * 1024 * 1024
    """Memory of this machine that stays free: a workload that might need some of it is not started, and whoever
    called is told so. 0 starts everything, and leaves it to the kernel whom to kill."""


class EndpointModel(Model):
    """A URL path and what it shows."""

    servers: tuple[Text, ...] | None = None
    """The servers, in the order in which colliding names are decided; all where absent."""
    tools: tuple[Pattern, ...] = ()
    """Patterns on `server__tool`; all tools where absent."""
    prompts: tuple[Pattern, ...] = ()
    """Patterns on `server__prompt`; all prompts where absent."""
    resources: tuple[UriPattern, ...] = ()
    """Patterns on `server__uri`, the server's own URI or template; all where absent."""
    names: Names = Names.PREFIXED
    """`prefixed` (`server__tool`, `scheme://server__rest`) or `plain` (the servers' own names and URIs)."""
    rules: tuple[RuleModel, ...] | None = None
    """Who may use what, beside what `roles` and `policies` say. Where the file has none of all three, the roles `user`
    and `admin` may use everything."""
    scopes: Annotated[Scopes, Emptiable] = Field(default_factory=dict)
    """What a token with scopes has to be issued for, by the names of scopes; tokens without any are not held to it."""


class FileModel(Model):
    """The settings file."""

    version: Literal[1] = 1
    """Version of this file's format."""
    listen: ListenAt = Field(
        default=Listen("127.0.0.1", 8080), json_schema_extra={"default": "127.0.0.1:8080"}
    )
    """Where the gateway listens. Beyond loopback needs `auth` other than `local`."""
    public_url: PublicUrl | None = None
    """How clients reach the gateway, where that is another URL."""
    trusted_proxies: tuple[AddressRange, ...] = ()
    """Reverse proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed."""
    forwarded_certificates: StrictBool = False
    """Whether `trusted_proxies` say by the header `Client-Cert` (RFC 9440) which certificate a client has."""
    allowed_hosts: tuple[HostName, ...] = ()
    """`Host` headers taken beside those of `listen` and `public_url`."""
    allowed_origins: tuple[Origin, ...] = ()
    """Origins of browsers taken beside that of `public_url`."""
    tls: TlsModel | None = None
    """Serves HTTPS."""
    outbound: OutboundModel = OutboundModel()
    """How the gateway reaches others."""
    state: FilePath = Field(default=".tidegate", validate_default=True)  # pyright: ignore[reportAssignmentType] - validated to a Path
    """The state directory, relative to the settings file."""
    shared: FilePath | None = None
    """A directory that several gateways on this host share: sessions, keys and streams are then good at each."""
    auth: AuthChoice = LocalModel()
    """Who may ask: one identity, or a list of them, asked in order."""
    dpop: ProofsModel = ProofsModel()
    """Tokens that are bound to a key of the client's (DPoP, RFC 9449)."""
    quotas: tuple[QuotaModel, ...] = Field(default=(), max_length=MOST_QUOTAS)
    """How many calls may be made, or be under way at once, and by whom ([quotas](quotas.md))."""
    roles: Annotated[Roles, Emptiable] = Field(default_factory=dict)
    """Roles beside `user` and `admin`, and what they may do. With any, nothing is allowed but by a role, a rule or a policy."""
    policies: tuple[dict[str, JsonValue], ...] = Field(default=(), max_length=MOST_POLICIES)
    """Engines that decide beside rules and roles ([policies](policies.md)). Each may deny; what one denies is denied."""
    tenants: Annotated[TenantModels, Emptiable] = Field(default_factory=dict)
    """Teams with servers, endpoints, roles and quotas of their own, which others do not see ([tenants](tenants.md))."""
    admin: AdminModel = AdminModel()
    """The admin API on the listener for clients."""
    journal: JournalModel = JournalModel()
    """The record of every call."""
    logs: LogsModel = LogsModel()
    """The gateway's own log."""
    reload: Literal["auto", "manual"] = "auto"
    """`auto`: the gateway follows this file as it changes. `manual`: only when told (`tidegate reload`, SIGHUP)."""
    limits: GatewayLimitsModel = GatewayLimitsModel()
    """Bounds of the whole gateway."""
    secrets: SecretsModel = SecretsModel()
    """Where secrets are kept, and how often they are looked at."""
    runtime: Text = "auto"
    """What realises `package:` servers: `auto` is `docker` where an engine answers, else `process`."""
    runtimes: Annotated[dict[str, JsonValue], Emptiable] = Field(default_factory=dict)
    """Settings of each runtime."""
    endpoints: Annotated[dict[str, EndpointModel], Emptiable, Field(min_length=1)] = Field(
        default_factory=lambda: {"/mcp": EndpointModel()}
    )
    """The endpoints by their paths."""
    servers: Annotated[dict[str, ServerModel], Emptiable] = Field(default_factory=dict)
    """The servers by their names."""
