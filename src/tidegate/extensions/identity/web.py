"""Web: what identities fetch from issuers, with its deadline and bounds. The only module here that knows of HTTP.

Redirects are not followed: who answers for an issuer is said in the settings, not by whoever answers. Over plain
HTTP only this machine is asked, and only where the settings say so.
"""

from __future__ import annotations

import ipaddress
import ssl
from asyncio import to_thread
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from tidegate.domain.errors import SettingsError, TidegateError
from tidegate.ports.extension import Surroundings

if TYPE_CHECKING:
    from aiohttp import ClientSession

DEADLINE = 10.0
"""Seconds for one answer: callers wait for it."""
LARGEST = 512 * 1024
"""Bytes of an answer. The largest key sets in use have some 20 kB."""
_CONNECTIONS = 32


class Unreachable(TidegateError):
    """An issuer did not answer, or not with what can be used. The message names it, no token and no secret."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. Header names are in lower case."""

    status: int
    body: bytes
    headers: Mapping[str, str]


def is_loopback_url(url: str) -> bool:
    """Tell whether a URL leads to this machine for certain."""
    host = _split(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def safe_url(url: str, *, plain: bool) -> str:
    """Give a URL back that may be asked. `plain`: HTTP is good enough where it does not leave this machine.

    Raises:
        Unreachable: it may not.
    """
    parts = _split(url)
    if parts.username is not None or parts.fragment or not parts.hostname or len(url) > 2048:
        raise Unreachable("a URL of the issuer is none that can be asked")
    if parts.scheme == "https" or (parts.scheme == "http" and plain and is_loopback_url(url)):
        return url
    raise Unreachable(f"{parts.hostname} would be asked over {parts.scheme or 'no'} and not https")


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise Unreachable("a URL of the issuer is none") from None
    return parts


class Web:
    """A way to issuers."""

    def __init__(self, session: ClientSession, tls: ssl.SSLContext | bool, proxy: str | None) -> None:
        self._session = session
        self._tls = tls
        self._proxy = proxy

    async def get(self, url: str, *, bearer: str | None = None) -> Answer:
        """Fetch a document.

        Raises:
            Unreachable: nothing came, too late or too much.
        """
        headers = {"Accept": "application/json"}
        if bearer is not None:
            headers["Authorization"] = f"Bearer {bearer}"
        return await self._ask("GET", url, headers, None)

    async def post(self, url: str, form: Mapping[str, str], headers: Mapping[str, str]) -> Answer:
        """Send a form.

        Raises:
            Unreachable: nothing came, too late or too much.
        """
        return await self._ask("POST", url, {"Accept": "application/json", **headers}, form)

    async def _ask(
        self, method: str, url: str, headers: Mapping[str, str], form: Mapping[str, str] | None
    ) -> Answer:
        from aiohttp import ClientConnectorError, ClientError, ClientOSError, ServerDisconnectedError

        host = _split(url).hostname
        try:
            try:
                return await self._once(method, url, headers, form)
            except (ServerDisconnectedError, ClientOSError) as error:
                if isinstance(error, ClientConnectorError):
                    raise
                # A connection that was kept was closed by the other side just now. Asking twice changes nothing there.
                return await self._once(method, url, headers, form)
        except TimeoutError:
            raise Unreachable(f"{host} did not answer within {DEADLINE:g} s") from None
        except ssl.SSLError as error:
            raise Unreachable(f"no TLS with {host} ({type(error).__name__})") from None
        except (ClientError, OSError, ValueError, RuntimeError) as error:
            # What it says may hold the URL, a header, or what was sent. `RuntimeError`: closed meanwhile by a reload.
            raise Unreachable(f"{host} cannot be reached ({type(error).__name__})") from None

    async def _once(
        self, method: str, url: str, headers: Mapping[str, str], form: Mapping[str, str] | None
    ) -> Answer:
        async with self._session.request(
            method, url, headers=headers, data=form, ssl=self._tls, allow_redirects=False,
            proxy=None if is_loopback_url(url) else self._proxy,
        ) as answer:  # fmt: skip
            body = bytearray()
            async for piece in answer.content.iter_chunked(64 * 1024):
                body += piece
                if len(body) > LARGEST:
                    raise Unreachable(f"{_split(url).hostname} answered with more than {LARGEST} bytes")
            named = {name.lower(): value for name, value in answer.headers.items()}
            return Answer(answer.status, bytes(body), named)


@asynccontextmanager
async def open_web(surroundings: Surroundings, ca: Path | None = None) -> AsyncGenerator[Web]:
    """Open a way to issuers; nothing is sent. `ca` is trusted beside what all trust.

    Raises:
        SettingsError: the authorities cannot be used.
    """
    from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector

    tls = await to_thread(_tls, [each for each in (surroundings.ca_bundle, ca) if each is not None])
    timeout = ClientTimeout(total=DEADLINE)
    connector = TCPConnector(limit=_CONNECTIONS)
    # What is packed is not unpacked: a few kB could become more than there is memory.
    headers = {"Accept-Encoding": "identity", "User-Agent": "tidegate"}
    async with ClientSession(
        timeout=timeout,
        connector=connector,
        cookie_jar=DummyCookieJar(),
        headers=headers,
        auto_decompress=False,
    ) as session:
        yield Web(session, tls, surroundings.proxy)


def _tls(bundles: list[Path]) -> ssl.SSLContext | bool:
    if not bundles:
        return True  # the client's own, made once: what the system trusts, verified
    context = ssl.create_default_context()
    for bundle in bundles:
        try:
            context.load_verify_locations(cafile=str(bundle))
        except OSError as error:
            why = error.strerror if not isinstance(error, ssl.SSLError) else "it holds no certificate"
            raise SettingsError(f"the authorities in {bundle} cannot be used: {why}") from error
    return context
