"""The token that Vault is asked with: had once, renewed while it is used, given back where it is ours."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from tidegate.domain.errors import SecretUnavailable
from tidegate.extensions.secrets.vault_api import Api, VaultRefused
from tidegate.extensions.secrets.vault_settings import AppRole, VaultSettings
from tidegate.secret_text import from_file

_SHARE = 0.5
"""Of its lease, after which a token is renewed."""


class Tokens:
    """The one token of an open source."""

    def __init__(
        self, api: Api, settings: VaultSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._api = api
        self._settings = settings
        self._clock = clock
        self._token: str | None = None
        self._renew_at: float | None = None
        self._one = asyncio.Lock()

    @property
    def renewable(self) -> bool:
        """Whether another may be had where this one is refused: by logging in, or from the file again."""
        return self._settings.approle is not None or self._settings.token_file is not None

    async def have(self, *, fresh: bool = False) -> str:
        """Give the token. `fresh`: had anew, since it was refused.

        Raises:
            SecretUnavailable: there is none.
        """
        async with self._one:
            if self._token is None:
                await self._obtain()
            elif fresh and self.renewable:
                await self.give_back()
                await self._obtain()
            elif self._renew_at is not None and self._clock() >= self._renew_at:
                await self._renew()
            if self._token is None:
                raise SecretUnavailable("vault: there is no token")
            return self._token

    async def give_back(self) -> None:
        """Let go of the token; one that came of a login of ours is revoked, or ends by itself where that fails."""
        if self._settings.approle is None or self._token is None:
            return
        token, self._token = self._token, None
        try:
            await self._api.call("POST", "auth/token/revoke-self", token=token)
        except SecretUnavailable:
            pass  # its lease ends it

    async def _obtain(self) -> None:
        approle = self._settings.approle
        if approle is not None:
            await self._log_in(approle)
            return
        self._token = _read(self._settings.token_file, self._settings.token_env, "the token")
        try:
            about = await self._api.call("GET", "auth/token/lookup-self", token=self._token)
        except VaultRefused:
            return  # a token may be allowed nothing but its secrets; what is asked next tells
        data = about.get("data")
        told = cast("dict[str, Any]", data) if isinstance(data, dict) else {}
        self._leased(told.get("ttl"), told.get("renewable"))

    async def _log_in(self, approle: AppRole) -> None:
        secret_id = _read(approle.secret_id_file, approle.secret_id_env, "the secret id of AppRole")
        body = {"role_id": approle.role_id, "secret_id": secret_id}
        try:
            answer = await self._api.call("POST", f"auth/{approle.mount}/login", body=body)
        except VaultRefused as refused:
            raise SecretUnavailable(f"vault: the login by AppRole failed: {refused}") from None
        self._granted(answer)

    async def _renew(self) -> None:
        try:
            answer = await self._api.call("POST", "auth/token/renew-self", token=self._token, body={})
        except VaultRefused:
            await self.give_back()
            await self._obtain()
            return
        self._granted(answer)

    def _granted(self, answer: dict[str, Any]) -> None:
        auth = answer.get("auth")
        told = cast("dict[str, Any]", auth) if isinstance(auth, dict) else {}
        token = told.get("client_token")
        if not isinstance(token, str) or not token:
            raise SecretUnavailable("vault: the server gave no token")
        self._token = token
        self._leased(told.get("lease_duration"), told.get("renewable"))

    def _leased(self, seconds: object, renewable: object) -> None:
        self._renew_at = None
        if isinstance(seconds, int) and seconds > 0 and (renewable is True or self.renewable):
            self._renew_at = self._clock() + seconds * _SHARE


def _read(path: Path | None, variable: str, what: str) -> str:
    if path is not None:
        try:
            value = from_file(path, f"vault: {what} in {path}")
        except ValueError as error:
            raise SecretUnavailable(str(error)) from None
    else:
        value = os.environ.get(variable, "")
        if not value:
            raise SecretUnavailable(f"vault: {what} is neither in a file that is set nor in {variable}")
    # What cannot stand in a header would be repeated by the error that says so.
    if not value.isascii() or not value.isprintable() or not value.strip():
        raise SecretUnavailable(f"vault: {what} holds what no token does")
    return value.strip()
