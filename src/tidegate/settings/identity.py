"""`auth:` in the settings file: who vouches for whoever asks, and for what.

The docstrings are the reference of the keys. What the presets stand for is in `extensions.identity.presets`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeVar, cast

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    PlainValidator,
    Tag,
    ValidationInfo,
    WithJsonSchema,
)

from tidegate.settings.base import Model
from tidegate.settings.claims import (
    Attributes,
    ClaimList,
    GroupsModel,
    Preset,
    Required,
    RolesModel,
    TenantChoice,
    WorkloadRolesModel,
    listed,
)
from tidegate.settings.values import (
    Around,
    FilePath,
    Seconds,
    SecondsOrNever,
    SecretText,
    Text,
    is_loopback,
    split_url,
)

Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"
]
_ALGORITHMS: tuple[Algorithm, ...] = ("RS256", "PS256", "ES256", "ES384", "EdDSA", "Ed25519")
_TEMPLATE = "{tenantid}"
_ENTRA = (f"https://login.microsoftonline.com/{_TEMPLATE}/v2.0", f"https://sts.windows.net/{_TEMPLATE}/")
"""Issuers of tokens of the two versions. Which one an application gets is said where it is registered."""
_GOOGLE = "https://accounts.google.com"
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")
_MANY = ("common", "organizations", "consumers")
"""In place of a directory in an address of Entra ID: any of them, and so everybody."""


_Items = TypeVar("_Items", bound=tuple[object, ...])


def _some(value: _Items) -> _Items:
    # As a length of the field it would be said beside every mistake in an item.
    if not value:
        raise ValueError("should not be empty")
    return value


def _issuer_url(value: str) -> str:
    parts = split_url(value.replace(_TEMPLATE, "x"), ("https", "http"))
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise ValueError("should begin with https://: http:// is taken for this machine only")
    if parts.username is not None or parts.query:
        raise ValueError("should have no user and no ?query")
    return value


def _guid(value: str) -> str:
    if not _GUID.fullmatch(value):
        raise ValueError("should be the id of a directory, in the form 11111111-2222-3333-4444-555555555555")
    return value


def _trust_domain(value: str) -> str:
    if not _TRUST_DOMAIN.fullmatch(value):
        raise ValueError("should be a trust domain, such as example.org, without spiffe://")
    return value


def _source(value: object, info: ValidationInfo) -> str | Path:
    if not isinstance(value, str) or not 0 < len(value) <= 4096:
        raise ValueError("should be a file or an https:// URL")
    if re.match(r"[a-z]+://", value):
        return _issuer_url(value)
    base = info.context.base if isinstance(info.context, Around) else Path()
    return base / Path(value).expanduser()


IssuerUrl = Annotated[
    Text,
    AfterValidator(_issuer_url),
    WithJsonSchema({"type": "string", "pattern": "^https?://", "format": "uri"}),
]
Source = Annotated[str | Path, PlainValidator(_source), WithJsonSchema({"type": "string", "minLength": 1})]
Directory = Annotated[Text, AfterValidator(_guid)]
Audiences = Annotated[
    tuple[Text, ...],
    BeforeValidator(listed),
    Field(max_length=32),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
Outage = Annotated[SecondsOrNever, Field(le=7 * 86400)]


class LocalModel(Model):
    """Whoever reaches the loopback listener is the local user, with every role. Stands alone."""

    type: Literal["local"] = "local"
    """Says so."""


class KeysModel(Model):
    """API keys (`tidegate key create`)."""

    type: Literal["keys"]
    """Says so."""


class _Signed(Model):
    """Keys of all that is signed."""

    algorithms: Annotated[tuple[Algorithm, ...], AfterValidator(_some)] = _ALGORITHMS
    """Ways of signing that are taken; a token never chooses another."""
    leeway: Annotated[SecondsOrNever, Field(le=300)] = 30.0
    """How far clocks may be apart."""
    lifetime: Seconds = 86400.0
    """Tokens that are good for longer are refused."""
    refresh: Annotated[Seconds, Field(ge=60, le=86400)] = 3600.0
    """When keys are looked at again at the latest: one that was taken back is refused after that time."""
    outage: Outage = 43200.0
    """For how long the last keys are used while the issuer does not answer."""
    ca: FilePath | None = None
    """PEM file of the authorities to trust for it, beside the system's and `outbound.ca_bundle`."""


class _Mapped(Model):
    """Keys of all that maps claims."""

    audience: Audiences = ()
    """Whom tokens may be for, beside the URI of the endpoint that is called."""
    subject: ClaimList | None = None
    """Claims that name whom a token is about: the first that is there. Absent: that of the `preset`, else `sub`."""
    tenant: TenantChoice = "default"
    """The tenant of everybody whom it vouches for; or the claim that says it."""
    roles: RolesModel = RolesModel()
    """Roles."""
    groups: GroupsModel | None = None
    """Groups. Absent: those of the `preset`, else none."""
    attributes: Attributes = Field(default_factory=dict)
    """What policies may read besides, by name: the claim that holds it."""
    scopes: ClaimList | None = None
    """Claims that hold the scopes of a token. Absent: those of the `preset`, else `scope` and `scp`. None (`[]`): tokens
    are not held to scopes."""
    require: Required = Field(default_factory=dict)
    """Claims that must have a value, or one of a list: `{hd: example.com}`."""
    audience_claim: ClaimList | None = None
    """Claims that say whom a token is for: the first that is there. Absent: that of the `preset`, else `aud`."""


class JwtModel(_Signed, _Mapped):
    """Signed tokens (JWT) of one issuer."""

    type: Literal["jwt"]
    """Says so."""
    preset: Preset | None = None
    """Whose tokens they are: sets what is not said, as that issuer has it."""
    issuer: IssuerUrl | None = None
    """Exactly as tokens have it in `iss`. Needed, but with `preset: google` and with `directories`."""
    directories: Annotated[tuple[Directory, ...], Field(max_length=64)] = ()
    """Directories of Entra ID whose tokens are taken (`preset: entra`): `{tenantid}` in `issuer`."""
    jwks_uri: IssuerUrl | None = None
    """Where its keys are. Absent: where it says itself (OpenID Connect discovery, RFC 8414)."""
    types: Annotated[tuple[Annotated[str, Field(max_length=64)], ...], AfterValidator(_some)] = (
        "at+jwt",
        "JWT",
        "",
    )
    """Values of `typ` that are taken; the empty one where it is missing."""

    @property
    def issuers(self) -> tuple[str, ...]:
        """Every issuer it stands for."""
        if self.issuer is None and self.preset == "google":
            return (_GOOGLE,)
        texts = _ENTRA if self.issuer is None else (self.issuer,)
        if not any(_TEMPLATE in text for text in texts):
            return texts
        return tuple(text.replace(_TEMPLATE, each) for each in self.directories for text in texts)

    @property
    def authorization_servers(self) -> tuple[str, ...]:
        """Those that clients are sent to for a token (RFC 9728)."""
        return tuple(each for each in self.issuers if not each.startswith("https://sts.windows.net/"))


class IntrospectionModel(_Mapped):
    """Opaque tokens, which their issuer is asked about (RFC 7662). It is asked about every token that is nobody else's."""

    type: Literal["introspection"]
    """Says so."""
    issuer: IssuerUrl
    """The authorization server."""
    url: IssuerUrl | None = None
    """Where it is asked. Absent: where it says itself (`introspection_endpoint`)."""
    client_id: Text
    """As whom the gateway asks."""
    client_secret: SecretText
    """Its secret, as a reference: `${env:NAME}`, `${file:path}`, …"""
    method: Literal["basic", "post"] = "basic"
    """How the two are sent."""
    keep: Annotated[Seconds, Field(le=300)] = 60.0
    """For how long a good answer is taken: a token that was taken back is refused after that time."""
    leeway: Annotated[SecondsOrNever, Field(le=300)] = 30.0
    """How far clocks may be apart."""
    lifetime: Seconds = 366 * 86400.0
    """Tokens that are good for longer are refused."""
    ca: FilePath | None = None
    """PEM file of the authorities to trust for it, beside the system's and `outbound.ca_bundle`."""

    @property
    def authorization_servers(self) -> tuple[str, ...]:
        """Those that clients are sent to for a token (RFC 9728)."""
        return (self.issuer,)


class KubernetesModel(_Signed):
    """Service accounts of a Kubernetes cluster, by the tokens that it projects into pods."""

    type: Literal["kubernetes"]
    """Says so."""
    issuer: IssuerUrl
    """The cluster's issuer (`--service-account-issuer`)."""
    audience: Audiences = ()
    """Whom tokens may be for, beside the URI of the endpoint that is called."""
    jwks_uri: IssuerUrl | None = None
    """Where its keys are, such as `https://kubernetes.default.svc/openid/v1/jwks`. Absent: where it says itself."""
    token_file: FilePath | None = None
    """File of the gateway's own token, shown to the cluster where its keys are not for everybody."""
    roles: WorkloadRolesModel = WorkloadRolesModel()
    """Roles by `namespace/name`."""
    tenant: TenantChoice = "default"
    """The tenant of all; or the claim that says it, such as `kubernetes\\.io.namespace`."""


class SpiffeModel(_Signed):
    """Workloads of a SPIFFE trust domain, by their JWT-SVIDs."""

    type: Literal["spiffe"]
    """Says so."""
    trust_domain: Annotated[Text, AfterValidator(_trust_domain)]
    """Whose workloads, such as `example.org`."""
    bundle: Source | None = None
    """File or URL of its bundle. Keys with `use: jwt-svid` are taken."""
    jwks: Source | None = None
    """In place of `bundle`: file or URL of a plain key set."""
    audience: Audiences = ()
    """Whom tokens may be for, beside the URI of the endpoint that is called."""
    roles: WorkloadRolesModel = WorkloadRolesModel()
    """Roles by SPIFFE ID."""
    tenant: TenantChoice = "default"
    """The tenant of all; or the claim that says it."""


class CertificateModel(Model):
    """Clients by their certificates, with no token beside them."""

    type: Literal["certificate"]
    """Says so."""
    subject: Literal["san-uri", "san-dns", "san-email", "cn"] = "san-uri"
    """What names a client: the one alternative name of this kind that its certificate has, or its common name. A
    certificate that has none, or more than one, is refused."""
    roles: RolesModel = RolesModel()
    """Roles, from what a certificate says: `subject`, `uri`, `dns`, `email`, `cn`, `o`, `ou`. `claims` is `subject` where it
    is absent, and without `map` there are then those of `default` only."""
    tenant: TenantChoice = "default"
    """The tenant of everybody; or what says it, such as `o`."""
    groups: GroupsModel | None = None
    """Groups, in the same words, such as `{claim: ou}`. Absent: none."""
    crl: FilePath | None = None
    """File of certificates that were revoked (CRL, PEM or DER). Looked at again when it changes; one that is out of date
    refuses everybody."""


MODELS: Mapping[str, type[Model]] = {
    "local": LocalModel,
    "keys": KeysModel,
    "jwt": JwtModel,
    "introspection": IntrospectionModel,
    "kubernetes": KubernetesModel,
    "spiffe": SpiffeModel,
    "certificate": CertificateModel,
}
"""By `type`."""
IdentityModel = (
    LocalModel | KeysModel | JwtModel | IntrospectionModel | KubernetesModel | SpiffeModel | CertificateModel
)


def identity_tag(value: object) -> str:
    """Choose the model by `type`; what has none is local."""
    found = cast("dict[str, object]", value).get("type") if isinstance(value, dict) else None
    return f"<{found if isinstance(found, str) else 'local'}>"


_Entry = Annotated[
    Annotated[LocalModel, Tag("<local>")]
    | Annotated[KeysModel, Tag("<keys>")]
    | Annotated[JwtModel, Tag("<jwt>")]
    | Annotated[IntrospectionModel, Tag("<introspection>")]
    | Annotated[KubernetesModel, Tag("<kubernetes>")]
    | Annotated[SpiffeModel, Tag("<spiffe>")]
    | Annotated[CertificateModel, Tag("<certificate>")],
    Discriminator(identity_tag),
]


def _shape(value: object) -> str:
    return "<list>" if isinstance(value, list | tuple) else "<one>"


AuthChoice = Annotated[
    Annotated[_Entry, Tag("<one>")]
    | Annotated[Annotated[tuple[_Entry, ...], Field(max_length=32), AfterValidator(_some)], Tag("<list>")],
    Discriminator(_shape),
]
"""One identity, or several that are asked in order."""
