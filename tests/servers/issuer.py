"""An issuer on loopback: keys, metadata, introspection, over real HTTP; it signs what it is told to, right or wrong.

Its behaviour is set by plain attributes while it runs. It must not know who reads its tokens.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from aiohttp import web
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

Key = RSAKey | ECKey | OKPKey | OctKey
Json = dict[str, Any]

_RSA = [RSAKey.generate_key(2048) for _ in range(2)]
"""Made once: they take their time."""


def key(kid: str | None = "k1", kind: str = "EC", **more: Any) -> Key:
    """Give a key of a kind (`RSA`, `RSA2`, `EC`, `EC384`, `Ed25519`, `oct`), named."""
    made: Key
    match kind:
        case "RSA" | "RSA2":
            made = _RSA[kind == "RSA2"]
        case "EC":
            made = ECKey.generate_key("P-256")
        case "EC384":
            made = ECKey.generate_key("P-384")
        case "oct":
            made = OctKey.generate_key(256)
        case _:
            made = OKPKey.generate_key("Ed25519")
    named = {**made.as_dict(private=True), **more}
    if kid is not None:
        named["kid"] = kid
    return type(made).import_key(cast(Any, named))


def b64(data: bytes | Mapping[str, Any]) -> str:
    """Write as base64url, mappings as JSON."""
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def sign(claims: Mapping[str, Any] | bytes, by: Key, alg: str = "ES256", **header: Any) -> str:
    """Sign claims. Header members that are None are left out."""
    head = {"alg": alg, "kid": by.kid, "typ": "at+jwt", **header}
    signed = f"{b64({k: v for k, v in head.items() if v is not None})}.{b64(claims)}"
    model = JWSRegistry.algorithms[alg]
    return f"{signed}.{b64(model.sign(signed.encode(), by))}"


@dataclass
class Issuer:
    """What it answers, and what it was asked."""

    url: str = ""
    name: str = ""
    """What it calls itself, where that is not its URL."""
    documents: set[str] = field(default_factory=lambda: {"/.well-known/openid-configuration"})
    """Where it says things of itself."""
    jwks_path: str = "/jwks"
    beside: dict[str, Key] = field(default_factory=dict)
    """Other issuers at the same address, `URL/NAME`, each with its key."""
    tls: Any = None
    """A certificate of trustme."""
    keys: list[Key] = field(default_factory=list)
    key: Key = field(default_factory=key)
    """What it signs with."""
    cache_control: str | None = "max-age=3600"
    status: int = 200
    metadata: Json = field(default_factory=dict)
    """In place of what it would say of itself."""
    jwks: bytes | None = None
    """In place of its keys."""
    gate: asyncio.Event | None = None
    """Answers wait for it."""
    asked: list[str] = field(default_factory=list)
    """Paths, in order."""
    headers: list[Mapping[str, str]] = field(default_factory=list)
    active: dict[str, Json] = field(default_factory=dict)
    """What introspection says of tokens."""
    forms: list[Json] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.keys:
            self.keys = [self.key]

    def claims(self, **more: Any) -> Json:
        """Give good claims, changed. Those that are None are left out."""
        now = int(time.time())
        good: Json = {
            "iss": self.name or self.url, "sub": "alice", "aud": "https://gw.example/mcp", "iat": now, "exp": now + 300,
            "jti": "t-1", "scope": "claims:read", "client_id": "desk",
        }  # fmt: skip
        return {name: value for name, value in {**good, **more}.items() if value is not None}

    def token(self, **more: Any) -> str:
        """Give a good token with these claims."""
        return sign(self.claims(**more), self.key)

    def times(self, path: str) -> int:
        """Tell how often a path was asked for."""
        return self.asked.count(path)

    def public(self) -> bytes:
        """Give its key set."""
        return self.jwks or json.dumps({"keys": [each.as_dict(private=False) for each in self.keys]}).encode()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        self.headers.append(dict(request.headers))
        if self.gate is not None:
            await self.gate.wait()
        if self.status != 200:
            return web.Response(status=self.status, headers={"Location": f"{self.url}/elsewhere"})
        headers = {} if self.cache_control is None else {"Cache-Control": self.cache_control}
        name, _, rest = request.path[1:].partition("/")
        if name in self.beside and rest == "jwks":
            return web.json_response({"keys": [self.beside[name].as_dict(private=False)]})
        if name in self.beside and rest == ".well-known/openid-configuration":
            said = {"issuer": f"{self.url}/{name}", "jwks_uri": f"{self.url}/{name}/jwks"}
            return web.json_response(said)
        if request.path == self.jwks_path:
            return web.Response(body=self.public(), content_type="application/json", headers=headers)
        if request.path in self.documents:
            said = {
                "issuer": self.name or self.url, "jwks_uri": f"{self.url}/jwks",
                "introspection_endpoint": f"{self.url}/introspect", **self.metadata,
            }  # fmt: skip
            return web.json_response(said)
        if request.path == "/introspect":
            form = dict(await request.post())
            self.forms.append(cast(Json, form))
            return web.json_response(self.active.get(str(form["token"]), {"active": False}))
        return web.Response(status=404)


@contextlib.asynccontextmanager
async def issuing(**attributes: Any) -> AsyncIterator[Issuer]:
    """Have an issuer listen on a free port."""
    issuer = Issuer(**attributes)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", issuer._serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    tls = None
    if issuer.tls is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        issuer.tls.configure_cert(tls)
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    port = cast(Any, site)._server.sockets[0].getsockname()[1]
    issuer.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    try:
        yield issuer
    finally:
        if issuer.gate is not None:
            issuer.gate.set()
        await runner.cleanup()
