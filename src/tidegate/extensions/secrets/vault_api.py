"""Vault's HTTP API: one call, with its deadline and bounds, and what a refusal means.

The only module of the source that knows of HTTP. Redirects are not followed: they would carry the token.
"""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

from tidegate.domain.errors import SecretUnavailable
from tidegate.extensions.secrets.vault_settings import VaultSettings, vault_address
from tidegate.ports.extension import Surroundings

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

_ANSWER = 1024 * 1024
"""Bytes of an answer: Vault's own default is 32 MiB for a request, its KV engine takes 1 MiB by default."""
_WORDS = 200
_MEANINGS = {
    400: "the request was not understood",
    403: "permission denied",
    429: "too many requests",
    473: "a standby that does not forward",
    503: "sealed, or not yet ready",
}

Json = dict[str, Any]


class VaultRefused(SecretUnavailable):
    """The server answered with an error."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Api:
    """A way to one server."""

    def __init__(
        self, session: ClientSession, address: str, settings: VaultSettings, tls: ssl.SSLContext | None
    ) -> None:
        self._session = session
        self._address = address
        self._settings = settings
        self._tls = tls

    async def call(
        self, method: str, path: str, *, token: str | None = None, body: Mapping[str, str] | None = None
    ) -> Json:
        """Call `/v1/<path>` (already escaped) and give the answer, empty where there is none.

        Raises:
            VaultRefused: the server answered with an error.
            SecretUnavailable: it did not answer, or not with JSON.
        """
        from aiohttp import ClientError
        from yarl import URL

        headers = {"X-Vault-Request": "true"}
        if token is not None:
            headers["X-Vault-Token"] = token
        if self._settings.namespace is not None:
            headers["X-Vault-Namespace"] = self._settings.namespace
        url = URL(f"{self._address}/v1/{path}", encoded=True)
        try:
            async with self._session.request(
                method, url, headers=headers, json=body, ssl=self._tls or True, allow_redirects=False
            ) as answer:
                return await _heard(answer)
        except TimeoutError:
            raise SecretUnavailable(
                f"vault: {self._address} did not answer within {self._settings.timeout:g} s"
            ) from None
        except ssl.SSLError as error:
            raise SecretUnavailable(f"vault: {self._address}: TLS failed ({type(error).__name__})") from None
        except (ClientError, OSError, ValueError) as error:
            # `ValueError`: a header that cannot be sent, whose text would be the token.
            raise SecretUnavailable(
                f"vault: {self._address} cannot be reached ({type(error).__name__})"
            ) from None


async def _heard(answer: ClientResponse) -> Json:
    text = bytearray()
    async for piece in answer.content.iter_chunked(64 * 1024):
        text += piece
        if len(text) > _ANSWER:
            raise SecretUnavailable(f"vault: an answer is larger than {_ANSWER} bytes")
    if 300 <= answer.status < 400:
        raise VaultRefused(
            "the server sends elsewhere: name the active one, or one that forwards", answer.status
        )
    if answer.status >= 400:
        raise VaultRefused(_meaning(answer.status, bytes(text)), answer.status)
    if not text:
        return {}
    try:
        told = cast(object, json.loads(text))
    except (ValueError, RecursionError):
        raise SecretUnavailable("vault: an answer is not JSON") from None
    return cast(Json, told) if isinstance(told, dict) else {}


def _meaning(status: int, text: bytes) -> str:
    """Say what an error means: its status, and the server's words, which are about the request, not secrets."""
    words = ""
    try:
        errors = cast(Json, json.loads(text)).get("errors")
        if isinstance(errors, list) and errors:
            words = " ".join(str(cast("list[object]", errors)[0]).split())[:_WORDS]
    except (ValueError, AttributeError, RecursionError):
        pass
    known = _MEANINGS.get(status, "")
    told = "; ".join(each for each in dict.fromkeys((known, words)) if each)
    return f"status {status}" + (f" ({told})" if told else "")


@asynccontextmanager
async def open_api(settings: VaultSettings, surroundings: Surroundings) -> AsyncGenerator[Api, None]:
    """Open a way to the server; nothing is sent.

    Raises:
        SecretUnavailable: there is no address, or the authorities cannot be used.
    """
    from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector

    address = settings.address or _from_environment()
    tls = _tls(settings, surroundings) if address.startswith("https:") else None
    timeout = ClientTimeout(total=settings.timeout)
    connector = TCPConnector(limit=8)
    async with ClientSession(timeout=timeout, connector=connector, cookie_jar=DummyCookieJar()) as session:
        yield Api(session, address, settings, tls)


def _from_environment() -> str:
    given = os.environ.get("VAULT_ADDR")
    if not given:
        raise SecretUnavailable("vault: no address is set (secrets.vault.address, or VAULT_ADDR)")
    try:
        return vault_address(given)
    except ValueError as error:
        raise SecretUnavailable(f"vault: VAULT_ADDR {error}") from None


def _tls(settings: VaultSettings, surroundings: Surroundings) -> ssl.SSLContext:
    context = ssl.create_default_context()
    for bundle in (surroundings.ca_bundle, settings.ca):
        if bundle is not None:
            try:
                context.load_verify_locations(cafile=str(bundle))
            except OSError as error:
                raise SecretUnavailable(f"vault: {bundle} cannot be used: {error.strerror}") from None
    return context
