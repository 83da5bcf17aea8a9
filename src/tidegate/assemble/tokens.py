"""Tokens: what clients are told about those that are taken here, and how bound ones are proved, by the settings."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tidegate.edge.resources import Resources, Tokens
from tidegate.gateway.catalog import Endpoint
from tidegate.settings import Settings
from tidegate.settings.identity import IntrospectionModel, JwtModel

if TYPE_CHECKING:
    from tidegate.extensions.identity.confirmation import Bind

_PORTS = {"http": 80, "https": 443}
_WITHOUT = frozenset({"local", "keys"})
"""Kinds of identities that go by neither tokens nor certificates, nor by what is asked for."""


def resources(settings: Settings, url: str, endpoints: Mapping[str, Endpoint]) -> Resources | None:
    """Say what this gateway is to clients that bring tokens or certificates; None where nobody goes by those.

    `url` is how clients reach it. `endpoints` is looked at each time, so that it may change.
    """
    if all(each.type in _WITHOUT for each in settings.auth):
        return None

    def scopes() -> Mapping[str, tuple[str, ...]]:
        return {
            path: tuple(each.name for each in endpoint.spec.scopes) for path, endpoint in endpoints.items()
        }

    return Resources(
        canonical(url), _tokens(settings), scopes, settings.forwarded_certificates, settings.admin_api
    )


def _tokens(settings: Settings) -> Tokens:
    found = [each for each in settings.auth if isinstance(each, JwtModel | IntrospectionModel)]
    issuers = dict.fromkeys(issuer for each in found for issuer in each.authorization_servers)
    asked = settings.forwarded_certificates or (
        settings.tls is not None and settings.tls.client_ca is not None
    )
    return Tokens(tuple(issuers), asked, settings.dpop.algorithms, settings.dpop.required)


def canonical(url: str) -> str:
    """Give a URL as RFC 8707 and MCP have it: scheme and host in lower case, no port that goes without saying."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    name = f"[{host}]" if ":" in host else host
    port = "" if parts.port in (None, _PORTS.get(parts.scheme)) else f":{parts.port}"
    return f"{parts.scheme}://{name}{port}{parts.path.rstrip('/')}"


def binding(settings: Settings, key: Callable[[], bytes]) -> Callable[[], Bind]:
    """Give what gives how tokens are proved: one for all issuers, so that no proof is good at two of them.

    `key` gives the one that nonces are made of.
    """
    made: list[Bind] = []

    def once() -> Bind:
        if not made:
            from tidegate.extensions.identity.binding import binding
            from tidegate.extensions.identity.dpop import Nonces, Proofs, Terms

            asked = settings.dpop
            nonces = Nonces(key(), time.time) if asked.nonce else None
            terms = Terms(frozenset(asked.algorithms), asked.window)
            made.append(binding(Proofs(terms, time.time, nonces), required=asked.required))
        return made[0]

    return once
