"""A server that answers as the documented HTTP API of Vault does, for the calls that the gateway makes.

After developer.hashicorp.com/vault/api-docs (KV 1 and 2, AppRole, tokens, system/internal-ui-mounts). It checks
what a real one checks of a request: the token, the namespace, that a path's data is asked for in the engine's way.
"""

from __future__ import annotations

import json
import secrets
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

ROLE, SECRET_ID = "0b3c-role", "secret-id-canary"


@dataclass
class DocumentedVault:
    """Its contents, and what it was asked."""

    mounts: dict[str, int] = field(default_factory=lambda: {"secret/": 2, "old/": 1, "deep/er/": 2})
    kept: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """By path as people write it."""
    tokens: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    namespace: str = ""
    asked: list[str] = field(default_factory=list[str])
    revoked: list[str] = field(default_factory=list[str])
    answer: Callable[[], web.Response] | None = None
    """Gives what is answered in place of everything."""
    address: str = ""

    def token(self, *, ttl: int = 0, renewable: bool = False) -> str:
        """Make a token that may read everything."""
        made = f"hvs.{secrets.token_hex(12)}"
        self.tokens[made] = {"ttl": ttl, "renewable": renewable, "renewed": 0}
        return made

    async def handle(self, request: web.Request) -> web.Response:
        path = request.path.removeprefix("/v1/")
        self.asked.append(f"{request.method} {path}")
        if self.answer is not None:
            return self.answer()
        if request.headers.get("X-Vault-Namespace", "").strip("/") != self.namespace:
            return error(403, "permission denied")
        if path == "auth/approle/login":
            return await self._log_in(request)
        token = request.headers.get("X-Vault-Token", "")
        if token not in self.tokens:
            return error(403, "permission denied")
        if path.startswith("auth/token/"):
            return self._about_token(request.method, path.rpartition("/")[2], token)
        if path.startswith("sys/internal/ui/mounts/"):
            return self._mount_of(path.removeprefix("sys/internal/ui/mounts/"))
        return self._read(path)

    async def _log_in(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body != {"role_id": ROLE, "secret_id": SECRET_ID}:
            return error(400, "invalid role or secret ID")
        token = self.token(ttl=1200, renewable=True)
        return reply(auth={"client_token": token, "lease_duration": 1200, "renewable": True})

    def _about_token(self, method: str, what: str, token: str) -> web.Response:
        known = self.tokens[token]
        match method, what:
            case "GET", "lookup-self":
                return reply(data={"ttl": known["ttl"], "renewable": known["renewable"]})
            case "POST", "renew-self":
                if not known["renewable"]:
                    return error(400, "lease is not renewable")
                known["renewed"] += 1
                auth = {"client_token": token, "lease_duration": known["ttl"], "renewable": True}
                return reply(auth=auth)
            case "POST", "revoke-self":
                del self.tokens[token]
                self.revoked.append(token)
                return web.Response(status=204)
            case _:
                return error(405, "unsupported operation")

    def _mount_of(self, path: str) -> web.Response:
        for mount, version in self.mounts.items():
            if path.startswith(mount):
                options = {"version": "2"} if version == 2 else None
                return reply(data={"path": mount, "type": "kv", "options": options})
        return error(
            403,
            f'preflight capability check returned 403, please ensure client\'s policies grant access to path "{path}/"',
        )

    def _read(self, path: str) -> web.Response:
        for mount, version in self.mounts.items():
            if path.startswith(mount):
                rest = path.removeprefix(mount)
                if version == 1:
                    found = self.kept.get(mount + rest)
                    return error(404) if found is None else reply(data=found, lease_duration=2764800)
                if not rest.startswith("data/"):
                    return error(404)
                found = self.kept.get(mount + rest.removeprefix("data/"))
                if found is None:
                    return error(404)
                return reply(data={"data": found, "metadata": {"version": 1, "destroyed": False}})
        return error(403, "permission denied")


def reply(**told: Any) -> web.Response:
    common = {
        "request_id": "r",
        "lease_id": "",
        "renewable": False,
        "lease_duration": 0,
        "data": None,
        "auth": None,
    }
    return web.json_response({**common, **told})


def error(status: int, *words: str) -> web.Response:
    return web.Response(
        status=status, text=json.dumps({"errors": list(words)}), content_type="application/json"
    )


@asynccontextmanager
async def documented_vault(tls: ssl.SSLContext | None = None) -> AsyncIterator[DocumentedVault]:
    """Serve one on loopback."""
    vault = DocumentedVault()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", vault.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        port = runner.addresses[0][1]
        vault.address = (
            f"{'https' if tls else 'http'}://localhost:{port}" if tls else f"http://127.0.0.1:{port}"
        )
        yield vault
    finally:
        await runner.cleanup()
