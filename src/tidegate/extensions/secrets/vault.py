"""Vault: secrets in the key/value engines (version 1 and 2) of HashiCorp Vault or OpenBao, by its HTTP API.

A name is `path#field`, the path as `vault kv get` takes it. One token is had and kept as long as the source
is open: from a file, a variable, or by AppRole; one of our own making is given back at the end. Where each
call goes is in `developer.hashicorp.com/vault/api-docs`; nothing is written to the server.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast
from urllib.parse import quote

from tidegate.domain.errors import SecretUnavailable
from tidegate.domain.server import Secret
from tidegate.extensions.secrets.vault_api import Api, VaultRefused, open_api
from tidegate.extensions.secrets.vault_settings import VaultSettings
from tidegate.extensions.secrets.vault_token import Tokens
from tidegate.ports.extension import Extension, Surroundings
from tidegate.ports.secrets import Secrets
from tidegate.secret_text import checked

_NAME = re.compile(
    r"(?P<path>[A-Za-z0-9_.-]{1,200}(?:/[A-Za-z0-9_.~@:+ -]{1,200}){1,20})#(?P<field>[!-~]{1,200})"
)
_AT_ONCE = 8

Json = dict[str, Any]


class VaultSecrets:
    """See `tidegate.ports.secrets.Secrets`."""

    def __init__(self, api: Api, tokens: Tokens, settings: VaultSettings) -> None:
        self._api = api
        self._tokens = tokens
        self._settings = settings
        self._mounts: dict[str, int] = {}
        """Mount path, with a slash at its end, to the version of its engine."""
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def get(self, name: str) -> Secret:
        """Read one field of a secret as it is now."""
        match = _NAME.fullmatch(name)
        if match is None or any(part in (".", "..") for part in match["path"].split("/")):
            raise SecretUnavailable("vault: should be path#field, such as secret/app#password")
        async with self._turns:
            held = await self._read(match["path"])
        value = held.get(match["field"])
        if value is None:
            raise SecretUnavailable(f"vault: {match['path']} has no field {match['field']}")
        if not isinstance(value, str):
            raise SecretUnavailable(f"vault: the field {match['field']} of {match['path']} is no text")
        try:
            return Secret(checked(value, f"vault: {name}"), (f"vault:{name}",))
        except ValueError as error:
            raise SecretUnavailable(str(error)) from None

    async def _read(self, path: str) -> Json:
        mount, version = await self._mount(path)
        rest = quote(path.removeprefix(mount), safe="/")
        where = f"{quote(mount, safe='/')}{'data/' if version == 2 else ''}{rest}"
        answer = await self._ask(where, path)
        found = answer.get("data")
        if version == 2 and isinstance(found, dict):
            found = cast(Json, found).get("data")  # None where the latest version was deleted
        if not isinstance(found, dict):
            raise SecretUnavailable(f"vault: there is nothing at {path}")
        return cast(Json, found)

    async def _mount(self, path: str) -> tuple[str, int]:
        """Find the mount that a path is below, and which version of the engine it is."""
        for mount, version in self._mounts.items():
            if path.startswith(mount):
                return mount, version
        if self._settings.kv != "auto":
            return f"{path.partition('/')[0]}/", self._settings.kv
        answer = await self._ask(f"sys/internal/ui/mounts/{quote(path, safe='/')}", path)
        about = answer.get("data")
        told = cast(Json, about) if isinstance(about, dict) else answer
        mount, options = told.get("path"), told.get("options")
        if not isinstance(mount, str) or not mount.endswith("/") or not path.startswith(mount):
            raise SecretUnavailable(
                f"vault: the server does not say where {path} is mounted; set secrets.vault.kv"
            )
        version = 2 if isinstance(options, dict) and cast(Json, options).get("version") == "2" else 1
        self._mounts[mount] = version
        return mount, version

    async def _ask(self, where: str, path: str) -> Json:
        """GET with the token, and once more with a fresh one where it was refused: it may have ended."""
        for again in (False, True):
            token = await self._tokens.have(fresh=again)
            try:
                return await self._api.call("GET", where, token=token)
            except VaultRefused as refused:
                if refused.status == 404:
                    raise SecretUnavailable(f"vault: there is nothing at {path}") from None
                if refused.status != 403 or again or not self._tokens.renewable:
                    raise SecretUnavailable(f"vault: {path}: {refused}") from None
        raise SecretUnavailable(f"vault: {path} was refused")


@asynccontextmanager
async def open_vault(
    settings: VaultSettings, surroundings: Surroundings
) -> AsyncGenerator[VaultSecrets, None]:
    """Open it; the server is asked nothing yet."""
    async with open_api(settings, surroundings) as api:
        tokens = Tokens(api, settings)
        try:
            yield VaultSecrets(api, tokens, settings)
        finally:
            await asyncio.shield(tokens.give_back())


VAULT: Extension[VaultSettings, Secrets] = Extension(VaultSettings, open_vault)
