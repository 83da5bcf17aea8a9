"""`tenants:` in the settings file: teams with servers, endpoints, roles and quotas of their own."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Annotated, cast

from pydantic import Field

from tidegate.domain.tenant import HOME, Tenant, Tenants
from tidegate.settings.base import Emptiable, Model
from tidegate.settings.problems import Path, Problem, choose
from tidegate.settings.quotas import QuotaModel
from tidegate.settings.quotas import mistakes as quota_mistakes
from tidegate.settings.roles import PathPattern, Pattern, Roles, roles
from tidegate.settings.roles import mistakes as role_mistakes

MOST = 256
"""Tenants that there may be."""
MOST_QUOTAS = 16
"""Quotas of one tenant's own."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
"""As names of tenants in `auth`."""
_WILD = frozenset("*?[")
_Data = Mapping[str, object]


class DeclaredTenantModel(Model):
    """A tenant: what is its own. Nobody else sees anything of that; servers of no tenant are everybody's, as far as
    rules allow."""

    servers: tuple[Pattern, ...] = ()
    """The servers that are its own, by name or pattern. Each is one tenant's at most."""
    endpoints: tuple[PathPattern, ...] = ()
    """The endpoints that are its own, by path or pattern: others find them empty."""
    roles: Annotated[Roles, Emptiable] = Field(default_factory=dict)
    """Roles that its principals may have, beside `user`, `admin` and those of `roles`."""
    quotas: tuple[QuotaModel, ...] = Field(default=(), max_length=MOST_QUOTAS)
    """How many calls its principals may make, beside what `quotas` says. They are called `tenant.name`."""


TenantModels = Annotated[dict[str, DeclaredTenantModel], Field(max_length=MOST)]


def tenants(
    models: Mapping[str, DeclaredTenantModel], servers: Collection[str], paths: Collection[str]
) -> Tenants:
    """Give the declared tenants, with what is each one's by name."""
    return Tenants(
        tuple(
            Tenant(
                name,
                tuple(each for each in servers if _one(each, model.servers)),
                tuple(each for each in paths if _one(each, model.endpoints)),
                roles(model.roles),
            )
            for name, model in models.items()
        )
    )


def owned(servers: Collection[str], tenant: _Data) -> tuple[str, ...]:
    """Give the servers that are a tenant's own, from plain data that may be wrong."""
    patterns = [each for each in _list(tenant.get("servers")) if isinstance(each, str)]
    return tuple(each for each in servers if _one(each, patterns))


def declares_rights(models: Mapping[str, DeclaredTenantModel]) -> bool:
    """Tell whether any of them has roles: nothing is open by default then."""
    return any(model.roles for model in models.values())


# -- mistakes ---------------------------------------------------------------------------------


def mistakes(data: _Data) -> Iterator[Problem]:
    """Find what does not go together in `tenants`, and in `auth`, servers and endpoints by them."""
    declared = _mapping(data.get("tenants"))
    if not declared:
        return
    servers, endpoints = _mapping(data.get("servers")), _mapping(data.get("endpoints")) or {"/mcp": None}
    for name, value in declared.items():
        at: Path = ("tenants", name)
        if not _NAME.fullmatch(name):
            yield Problem(at, "is no name for a tenant: at most 64 of letters, digits and . _ @ + -")
        tenant = _mapping(value)
        yield from _check_named(at, tenant, "servers", tuple(servers))
        yield from _check_named(at, tenant, "endpoints", tuple(path.rstrip("/") for path in endpoints))
        yield from _check_roles(at, _mapping(tenant.get("roles")), data)
        yield from _check_quotas(at, tenant, data)
    owners = {name: _whose(name, declared, "servers") for name in servers}
    for name, having in owners.items():
        if len(having) > 1:
            yield Problem(("servers", name), f"is of several tenants: {', '.join(having)}")
    for name, server in servers.items():
        yield from _check_peers(name, _mapping(server), owners)
    for path, endpoint in endpoints.items():
        yield from _check_endpoint(path, _mapping(endpoint), declared, owners)
    yield from _check_auth(data.get("auth"), tuple(dict.fromkeys((HOME, *declared))))


def _check_named(at: Path, tenant: _Data, key: str, known: Collection[str]) -> Iterator[Problem]:
    for index, pattern in enumerate(_list(tenant.get(key))):
        if isinstance(pattern, str) and not set(pattern) & _WILD and pattern not in known:
            yield Problem(
                (*at, key, index), f"there is no {key[:-1]} {pattern[:64]}" + choose(pattern, known)
            )


def _check_roles(at: Path, own: _Data, data: _Data) -> Iterator[Problem]:
    """Find mistakes as in `roles`, which they stand beside."""
    general = _mapping(data.get("roles"))
    for role in own:
        if role in general or role in ("user", "admin"):
            yield Problem((*at, "roles", role), "is the name of a role that all may have already")
    endpoints = dict.fromkeys(_mapping(data.get("endpoints")))
    told = {"roles": {**general, **own}, "servers": data.get("servers"), "endpoints": endpoints}
    for problem in role_mistakes(told):
        if len(problem.path) > 1 and problem.path[0] == "roles" and problem.path[1] in own:
            yield Problem((*at, *problem.path), problem.message)


def _check_quotas(at: Path, tenant: _Data, data: _Data) -> Iterator[Problem]:
    own = _list(tenant.get("quotas"))
    told = {key: data.get(key) for key in ("servers", "endpoints")}
    known = {**_mapping(data.get("roles")), **_mapping(tenant.get("roles"))}
    for problem in quota_mistakes({**told, "roles": known, "quotas": own}):
        yield Problem((*at, *problem.path), problem.message)
    general = {_mapping(each).get("name") for each in _list(data.get("quotas"))}
    for index, quota in enumerate(own):
        if _mapping(quota).get("tenants"):
            yield Problem((*at, "quotas", index, "tenants"), "is this tenant already")
        name = f"{at[1]}.{_mapping(quota).get('name')}"
        if name in general:
            yield Problem((*at, "quotas", index, "name"), f"there is a quota {name} already")


def _check_peers(name: str, server: _Data, owners: Mapping[str, list[str]]) -> Iterator[Problem]:
    """See that no server is a way to what is another tenant's."""
    mine = owners[name]
    for index, peer in enumerate(_list(_mapping(server.get("network")).get("peers"))):
        theirs = owners.get(peer, []) if isinstance(peer, str) else []
        if theirs and theirs != mine:
            yield Problem(
                ("servers", name, "network", "peers", index),
                f"is of the tenant {theirs[0]}, and {name} is not: it would be a way to what is another's",
            )


def _check_endpoint(
    path: str, endpoint: _Data, declared: _Data, owners: Mapping[str, list[str]]
) -> Iterator[Problem]:
    at: Path = ("endpoints", path)
    normal = path.rstrip("/")
    having = _whose(normal, declared, "endpoints")
    if len(having) > 1:
        yield Problem(at, f"is of several tenants: {', '.join(having)}")
    chosen = [each for each in _list(endpoint.get("servers")) if isinstance(each, str)]
    for index, server in enumerate(chosen):
        theirs = owners.get(server, [])
        if having and theirs and theirs != having:
            yield Problem(
                (*at, "servers", index), f"is of the tenant {theirs[0]}, and the endpoint is {having[0]}'s"
            )
    shown = {tuple(owners.get(each, [])) for each in chosen or owners}
    if endpoint.get("names") == "plain" and not having and len(shown) > 1:
        yield Problem(
            (*at, "names"),
            "plain names that collide would tell tenants of each other's: have servers of one tenant only, "
            "or the endpoint be a tenant's own",
        )


def _check_auth(auth: object, known: Collection[str]) -> Iterator[Problem]:
    several = isinstance(auth, list)
    for index, entry in enumerate(_list(cast("object", auth)) if several else [auth]):
        at: Path = ("auth", index, "tenant") if several else ("auth", "tenant")
        given = _mapping(entry).get("tenant")
        named: list[tuple[Path, object]] = [(at, given)]
        if isinstance(given, dict):
            mapped = _mapping(_mapping(cast("object", given)).get("map"))
            named = [((*at, "map", key), value) for key, value in mapped.items()]
        for place, name in named:
            if isinstance(name, str) and name not in known:
                yield Problem(place, f"there is no tenant {name[:64]}" + choose(name, known))


def _whose(name: str, declared: _Data, key: str) -> list[str]:
    return [
        tenant
        for tenant, value in declared.items()
        if _one(name, [each for each in _list(_mapping(value).get(key)) if isinstance(each, str)])
    ]


def _one(name: str, patterns: Collection[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _mapping(value: object) -> _Data:
    return cast("_Data", value) if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []
