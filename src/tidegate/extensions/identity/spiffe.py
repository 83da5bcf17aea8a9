"""SPIFFE: workloads by their JWT-SVIDs, of one trust domain whose keys are in its bundle.

The bundle is a file that is looked at again and again, or a URL (SPIFFE Trust Domain and Bundle, 4; JWT-SVID, 3).
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

from tidegate.domain.errors import Unauthenticated
from tidegate.domain.principal import Principal
from tidegate.extensions.identity.claims import ClaimMapping, Claims
from tidegate.extensions.identity.compact import Malformed, json_object
from tidegate.extensions.identity.jwks import Fetched
from tidegate.extensions.identity.web import LARGEST, Unreachable, Web, is_loopback_url, safe_url

_ID = re.compile(r"spiffe://(?P<domain>[a-z0-9._-]{1,255})(?P<path>(?:/[A-Za-z0-9._-]+)+)")
_LONGEST = 2048
"""Bytes of a SPIFFE ID (SPIFFE-ID, 2.3)."""
FILE_FRESH = 60.0
"""Seconds between looks at a bundle in a file."""
TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")


def for_svids(jwk: Mapping[str, object]) -> bool:
    """Tell whether a key of a bundle is for JWT-SVIDs."""
    return jwk.get("use") == "jwt-svid"


def of_domain(domain: str) -> Callable[[Claims], bool]:
    """Tell the tokens that say they are of a trust domain."""
    prefix = f"spiffe://{domain}/"

    def own(claims: Claims) -> bool:
        subject = claims.get("sub")
        return isinstance(subject, str) and subject.startswith(prefix)

    return own


class SvidMapping:
    """From a JWT-SVID to a principal: its subject is the SPIFFE ID, which roles are mapped by."""

    def __init__(self, domain: str, mapping: ClaimMapping) -> None:
        self._domain = domain
        self._mapping = mapping

    def principal(self, issuer: str, claims: Claims) -> Principal:
        """Say which workload it is.

        Raises:
            Unauthenticated: its name is no SPIFFE ID of the trust domain.
        """
        subject = claims.get("sub")
        match = _ID.fullmatch(subject) if isinstance(subject, str) and len(subject) <= _LONGEST else None
        if match is None or match["domain"] != self._domain:
            raise Unauthenticated("the token does not name a workload of the trust domain")
        if any(step in (".", "..") for step in match["path"].split("/")):
            raise Unauthenticated("the token does not name a workload of the trust domain")
        return self._mapping.principal(issuer, claims)

    def granted(self, claims: Claims) -> frozenset[str] | None:
        """Workloads have no scopes."""
        return None


class BundleFile:
    """Reads a bundle, or a plain key set, from a file."""

    def __init__(self, path: Path, domain: str) -> None:
        self._path = path
        self._domain = domain

    async def __call__(self) -> Fetched:
        """Read it.

        Raises:
            Unreachable: it cannot be read, or is none.
        """
        body = await asyncio.to_thread(_read, self._path)
        return Fetched(bundle_of(body, self._domain), {"cache-control": f"max-age={FILE_FRESH:g}"})


class BundleUrl:
    """Fetches a bundle, or a plain key set, over HTTPS (the profile `https_web`)."""

    def __init__(self, web: Web, url: str, domain: str) -> None:
        self._web = web
        self._url = url
        self._domain = domain

    async def __call__(self) -> Fetched:
        """Fetch it.

        Raises:
            Unreachable: it cannot be had.
        """
        answer = await self._web.get(safe_url(self._url, plain=is_loopback_url(self._url)))
        if answer.status != 200:
            raise Unreachable(f"the bundle of {self._domain} was answered with status {answer.status}")
        body = bundle_of(answer.body, self._domain)
        headers = dict(answer.headers)
        hint = json_object(body).get("spiffe_refresh_hint")
        if isinstance(hint, int) and not isinstance(hint, bool) and 0 < hint < 10**9:
            headers = {"cache-control": f"max-age={hint}"}
        return Fetched(body, headers)


def bundle_of(body: bytes, domain: str) -> bytes:
    """Give the bundle of one trust domain, where a document may have those of several.

    Raises:
        Unreachable: it has none.
    """
    try:
        found = json_object(body)
    except Malformed:
        raise Unreachable(f"the bundle of {domain} is not JSON") from None
    several = found.get("trust_domains")
    if several is None:
        return body
    own = cast("dict[str, object]", several).get(domain) if isinstance(several, dict) else None
    if not isinstance(own, dict):
        raise Unreachable(f"the bundle of {domain} is not among those there")
    return json.dumps(own).encode()


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            body = file.read(LARGEST + 1)
    except OSError as error:
        raise Unreachable(f"{path} cannot be read: {error.strerror}") from None
    if len(body) > LARGEST:
        raise Unreachable(f"{path} is larger than {LARGEST} bytes")
    return body
