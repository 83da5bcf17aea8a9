"""Issuers: what the settings say of those that vouch by tokens, in the words of the extensions that read tokens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from tidegate.extensions.identity.certificates import CertificateIdentity, RevokedFile
from tidegate.extensions.identity.claims import (
    ClaimMapping,
    ClaimPath,
    RoleMapping,
    TenantMapping,
    claim_path,
)
from tidegate.extensions.identity.confirmation import Bind, refuse_bound
from tidegate.extensions.identity.discovery import IssuerKeys
from tidegate.extensions.identity.introspection import Client, IntrospectionIdentity
from tidegate.extensions.identity.jwks import Bounds, Fetched, Keys, Tell, for_signatures
from tidegate.extensions.identity.jwt import JwtIdentity, ManyIssuers, Trust
from tidegate.extensions.identity.kubernetes import AccountMapping, from_file
from tidegate.extensions.identity.presets import PLAIN, PRESETS, Preset
from tidegate.extensions.identity.spiffe import BundleFile, BundleUrl, SvidMapping, for_svids, of_domain
from tidegate.extensions.identity.web import Web, open_web
from tidegate.ports.extension import Surroundings
from tidegate.ports.identity import Identity
from tidegate.settings.claims import RolesModel, TenantModel, WorkloadRolesModel
from tidegate.settings.identity import (
    CertificateModel,
    IntrospectionModel,
    JwtModel,
    KubernetesModel,
    SpiffeModel,
)

TokenModel = JwtModel | IntrospectionModel | KubernetesModel | SpiffeModel
Clock = Callable[[], float]
Work = Coroutine[None, None, None]
Fetch = Callable[[], Awaitable[Fetched]]
Usable = Callable[[Mapping[str, object]], bool]
Found = tuple[tuple[Identity, ...], Sequence[Work]]


@asynccontextmanager
async def opened(
    model: TokenModel, around: Surroundings, clock: Clock, tell: Tell, bind: Bind = refuse_bound
) -> AsyncGenerator[Found]:
    """Open an entry of `auth`: its identities, and what must run as long as they are used.

    Raises:
        SettingsError: its authorities cannot be used.
    """
    async with open_web(around, model.ca) as web:
        make = _Makes(web, clock, tell, bind)
        match model:
            case JwtModel():
                yield make.jwt(model)
            case IntrospectionModel():
                yield make.introspection(model)
            case KubernetesModel():
                yield make.kubernetes(model)
            case SpiffeModel():
                yield make.spiffe(model)


async def certificates(model: CertificateModel, clock: Clock, tell: Tell) -> Found:
    """Make the identity of those that show a certificate.

    Raises:
        SettingsError: the list of those that were revoked cannot be used.
    """
    revoked = None if model.crl is None else await asyncio.to_thread(RevokedFile, model.crl, tell)
    roles = model.roles
    if roles.claims is None:  # a name that happens to be a role's is none
        roles = roles.model_copy(update={"claims": ("subject",), "map": roles.map or {}})
    mapping = ClaimMapping(
        subject=(("subject",),),
        tenant=_tenant(model.tenant),
        roles=_roles(roles, ()),
        groups=() if model.groups is None else tuple(map(claim_path, model.groups.claim)),
        scopes=(),
    )
    identity = CertificateIdentity(model.subject, mapping, clock=clock, revoked=revoked)
    return (identity,), () if revoked is None else (revoked.follow(),)


class _Makes:
    def __init__(self, web: Web, clock: Clock, tell: Tell, bind: Bind) -> None:
        self._web = web
        self._clock = clock
        self._tell = tell
        self._bind = bind

    def jwt(self, model: JwtModel) -> Found:
        preset = PRESETS[model.preset] if model.preset is not None else PLAIN
        mapping = _mapping(model, preset)
        identities: dict[str, JwtIdentity] = {}
        work: list[Work] = []
        for issuer in model.issuers:
            fetch = IssuerKeys(self._web, issuer, jwks_uri=model.jwks_uri, clock=self._clock)
            keys = self._keys(fetch, issuer, model, preset.usable(model.issuers))
            trust = _trust(model, preset, issuer)
            identities[issuer] = JwtIdentity(trust, keys, mapping, clock=self._clock, bind=self._bind)
            work.append(keys.run())
        if len(identities) > 1:
            return (ManyIssuers(identities),), work
        return tuple(identities.values()), work

    def introspection(self, model: IntrospectionModel) -> Found:
        client = Client(
            id=model.client_id,
            secret=model.client_secret,
            method=model.method,
            url=model.url,
            kept=model.keep,
        )
        identity = IntrospectionIdentity(
            _trust(model, PLAIN, model.issuer), client, self._web, _mapping(model, PLAIN),
            tell=self._tell, clock=self._clock, bind=self._bind,
        )  # fmt: skip
        return (identity,), ()

    def kubernetes(self, model: KubernetesModel) -> Found:
        token = None if model.token_file is None else from_file(model.token_file)
        fetch = IssuerKeys(self._web, model.issuer, jwks_uri=model.jwks_uri, clock=self._clock, bearer=token)
        keys = self._keys(fetch, model.issuer, model)
        trust = Trust(
            issuers=frozenset({model.issuer}), name=model.issuer, audiences=frozenset(model.audience),
            algorithms=frozenset(model.algorithms), types=frozenset({"jwt", ""}),
            leeway=model.leeway, longest=model.lifetime,
        )  # fmt: skip
        mapping = AccountMapping(_workload(model.roles, model.tenant))
        return (JwtIdentity(trust, keys, mapping, clock=self._clock, bind=self._bind),), (keys.run(),)

    def spiffe(self, model: SpiffeModel) -> Found:
        source = model.bundle if model.bundle is not None else model.jwks
        domain = model.trust_domain
        fetch = (
            BundleFile(source, domain)
            if isinstance(source, Path)
            else BundleUrl(self._web, source or "", domain)
        )
        usable = for_svids if model.bundle is not None else for_signatures
        keys = self._keys(fetch, f"spiffe://{domain}", model, usable)
        trust = Trust(
            issuers=frozenset(), name=f"spiffe://{domain}", audiences=frozenset(model.audience),
            algorithms=frozenset(model.algorithms), types=frozenset({"jwt", "jose", ""}),
            leeway=model.leeway, longest=model.lifetime,
        )  # fmt: skip
        mapping = SvidMapping(domain, _workload(model.roles, model.tenant, (("sub",),)))
        identity = JwtIdentity(
            trust, keys, mapping, clock=self._clock, bind=self._bind, own=of_domain(domain)
        )
        return (identity,), (keys.run(),)

    def _keys(
        self,
        fetch: Fetch,
        name: str,
        model: JwtModel | KubernetesModel | SpiffeModel,
        usable: Usable = for_signatures,
    ) -> Keys:
        bounds = Bounds(fresh=model.refresh, outage=model.outage)
        return Keys(fetch, name=name, tell=self._tell, clock=self._clock, bounds=bounds, usable=usable)


def _trust(model: JwtModel | IntrospectionModel, preset: Preset, issuer: str) -> Trust:
    signed = isinstance(model, JwtModel)
    required = {claim_path(path): frozenset(values) for path, values in model.require.items()}
    return Trust(
        issuers=preset.aliases | {issuer},
        name=issuer,
        audiences=frozenset(model.audience),
        audience_claims=_paths(model.audience_claim) or preset.audience,
        algorithms=frozenset(model.algorithms if signed else ()),
        types=frozenset(each.lower() for each in model.types) if signed else frozenset(),
        leeway=model.leeway,
        longest=model.lifetime,
        required={**preset.required, **required},
        present=preset.present,
    )


def _mapping(model: JwtModel | IntrospectionModel, preset: Preset) -> ClaimMapping:
    scopes, groups = _paths(model.scopes), model.groups
    attributes = {name: claim_path(path) for name, path in model.attributes.items()}
    return ClaimMapping(
        subject=_paths(model.subject) or preset.subject,
        tenant=_tenant(model.tenant),
        roles=_roles(model.roles, preset.role_claims(model.audience)),
        groups=preset.groups if groups is None else tuple(map(claim_path, groups.claim)),
        attributes={**preset.attributes, **attributes},
        scopes=preset.scopes if scopes is None else scopes,
    )


def _roles(model: RolesModel, claims: tuple[ClaimPath, ...]) -> RoleMapping:
    paths = _paths(model.claims)
    return RoleMapping(claims if paths is None else paths, model.map, frozenset(model.default))


def _workload(
    roles: WorkloadRolesModel, tenant: str | TenantModel, claims: tuple[ClaimPath, ...] = ()
) -> ClaimMapping:
    mapping = RoleMapping(claims, roles.map, frozenset(roles.default))
    return ClaimMapping(tenant=_tenant(tenant), roles=mapping, scopes=())


def _tenant(given: str | TenantModel) -> TenantMapping:
    if isinstance(given, str):
        return TenantMapping(given)
    return TenantMapping(claim=claim_path(given.claim), map=given.map)


def _paths(given: Sequence[str] | None) -> tuple[ClaimPath, ...] | None:
    return None if given is None else tuple(map(claim_path, given))
