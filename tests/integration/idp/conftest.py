"""One provider and one gateway for all that is tried, and who there is."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.idp.provider import SECRET, Provider, desktop, providing, workload
from tests.integration.gateway.gateway import Gateway, marked, server
from tests.integration.gateway.resource_server import Authorities, Client

KEEP = 1
"""Seconds for which the gateway keeps what introspection said."""
SCOPES = ("tools:echo", "tools:add")
USERS = {
    "alice": {"groups": ["grp-adjusters"], "region": "eu", "claims_limit": 5000},
    "bob": {"groups": ["grp-visitors"], "region": "eu", "claims_limit": 5000},
}
WORKLOADS = {
    "nightly": {"groups": ["grp-adjusters"], "region": "us", "claims_limit": 10},
    "sealed": {"groups": ["grp-adjusters"]},
}
CLIENTS = [
    desktop("desktop"),
    workload("nightly"),
    workload("sealed", tls_client_certificate_bound_access_tokens=True),
    workload("gateway"),
]
_SCOPE = " ".join(SCOPES)
RESOURCES = {
    "/mcp": {"scope": _SCOPE, "accessTokenFormat": "jwt"},
    "/other": {"scope": _SCOPE, "accessTokenFormat": "jwt"},
    "/scoped": {"scope": _SCOPE, "accessTokenFormat": "jwt"},
    "/opaque": {"scope": _SCOPE, "accessTokenFormat": "opaque"},
}
POLICY = """
@id("adjusters") permit(principal in Role::"user", action, resource);
@id("limit") @because("more than the limit of whoever asks")
forbid(principal, action == Action::"old__slow", resource)
  when { principal has limit && context.arguments.steps > principal.limit };
"""


@dataclass(frozen=True, slots=True)
class Serving:
    """A gateway over TLS, its identity provider, and who signs certificates."""

    gateway: Gateway
    provider: Provider
    authorities: Authorities
    plain: Client

    def uri(self, path: str) -> str:
        """Give the URI of an endpoint, which is what tokens for it are issued for."""
        return self.plain.base + path

    def token(self, client: str, path: str, scope: str = "", **bound: Any) -> str:
        """Have a token for an endpoint issued to a workload."""
        return self.provider.token(client, self.uri(path), scope, **bound)

    def certificate(self, name: str) -> ssl.SSLContext:
        """Have a client certificate, and show it from now on."""
        return self.authorities.context(self.authorities.clients.issue_cert(common_name=name))


def settings(place: Path, authorities: Authorities, issuer: str) -> dict[str, Any]:
    """Give the gateway's."""
    (place / "provider.pem").write_bytes(authorities.own.cert_pem.bytes())
    (place / "secret").write_text(SECRET)
    (place / "limits.cedar").write_text(POLICY)
    common = {
        "issuer": issuer, "ca": "provider.pem", "groups": {"claim": "groups"},
        "roles": {"claims": "groups", "map": {"grp-adjusters": "user"}},
        "attributes": {"region": "region", "limit": "claims_limit"},
    }  # fmt: skip
    # What is asked about need not have a `sub` (RFC 7662), and of a client's own tokens this provider says none.
    asked = {
        "subject": ["sub", "client_id"],
        "client_id": "gateway",
        "client_secret": "${file:secret}",
        "keep": KEEP,
    }
    return {
        "tls": authorities.settings(),
        "auth": [{"type": "jwt", **common}, {"type": "introspection", **asked, **common}],
        "servers": {"old": server("legacy_stdio", sharing="shared")},
        "policies": [{"type": "cedar", "files": ["limits.cedar"], "attributes": {"limit": "number"}}],
        "endpoints": {
            "/mcp": {}, "/other": {}, "/opaque": {},
            "/scoped": {"scopes": {"tools:echo": {"tools": ["echo"]}, "tools:add": {"tools": ["add"]}}},
        },
    }  # fmt: skip


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """Run both."""
    place, at = tmp_path_factory.mktemp("gateway"), tmp_path_factory.mktemp("provider")
    authorities = Authorities(place)
    said = {
        "clients": CLIENTS, "users": USERS, "workloads": WORKLOADS, "scopes": SCOPES, "resources": RESOURCES,
        "asks": "gateway",
    }  # fmt: skip
    with providing(at, authorities.own, authorities.clients, **said) as provider:
        made = Gateway(place, marked(settings(place, authorities, provider.url), place))
        try:
            made.start().until_servers(old="ready")
            yield Serving(made, provider, authorities, Client(made.base, authorities.context()))
            made.check_end()
            assert "eyJ" not in made.said()  # no token, proof or part of one
        finally:
            made.kill()
