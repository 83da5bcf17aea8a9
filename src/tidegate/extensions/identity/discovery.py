"""Discovery: where an issuer has its keys, by what it says of itself (OpenID Connect Discovery, RFC 8414).

A document is believed only where the `issuer` in it is, to the letter, the one that it was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from tidegate.extensions.identity.compact import Malformed, json_object
from tidegate.extensions.identity.jwks import Fetched
from tidegate.extensions.identity.web import Answer, Unreachable, Web, is_loopback_url, safe_url

AGAIN = 24 * 3600.0
"""Seconds for which the place of the keys is taken as known; looked up again at once where they are not there."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What an issuer says of itself, as far as it is needed."""

    issuer: str
    jwks_uri: str | None
    introspection_endpoint: str | None


def places(issuer: str) -> Iterator[str]:
    """Give where the document may be: OpenID Connect Discovery 4, then RFC 8414 3.1, then what some do."""
    parts = urlsplit(issuer)
    origin, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    yield f"{origin}{path}/.well-known/openid-configuration"
    yield f"{origin}/.well-known/oauth-authorization-server{path}"
    if path:
        yield f"{origin}/.well-known/openid-configuration{path}"


async def discover(web: Web, issuer: str, *, url: str | None = None, bearer: str | None = None) -> Metadata:
    """Ask an issuer of itself. `url` is where its document is, where it is elsewhere.

    Raises:
        Unreachable: there is no document, or none that may be believed.
    """
    plain = is_loopback_url(url or issuer)
    for place in (url,) if url is not None else places(issuer):
        answer = await web.get(safe_url(place, plain=plain), bearer=bearer)
        if answer.status == 200:
            return _read(answer, issuer, plain)
        if answer.status not in (400, 404, 405):
            raise Unreachable(f"{urlsplit(place).hostname} answered with status {answer.status}")
    raise Unreachable(f"the issuer {issuer} says nothing of itself (no metadata document)")


def _read(answer: Answer, issuer: str, plain: bool) -> Metadata:
    try:
        found = json_object(answer.body)
    except Malformed:
        raise Unreachable(f"the metadata of {issuer} is not JSON") from None
    if found.get("issuer") != issuer:
        raise Unreachable(f"what was found for the issuer {issuer} is the metadata of another")
    return Metadata(issuer, _url(found, "jwks_uri", plain), _url(found, "introspection_endpoint", plain))


def _url(found: Mapping[str, object], name: str, plain: bool) -> str | None:
    value = found.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise Unreachable(f"the metadata has a {name} that is no text")
    return safe_url(value, plain=plain)


class IssuerKeys:
    """Fetches the key set of an issuer: from where the settings say, else from where its metadata says."""

    def __init__(
        self,
        web: Web,
        issuer: str,
        *,
        jwks_uri: str | None = None,
        clock: Callable[[], float],
        bearer: Callable[[], str] | None = None,
    ) -> None:
        """`bearer` gives what the issuer is shown: sent to its own host, and where `jwks_uri` says, only."""
        self._web = web
        self._issuer = issuer
        self._stated = jwks_uri
        self._clock = clock
        self._bearer = bearer
        self._found: str | None = None
        self._found_at = 0.0

    async def __call__(self) -> Fetched:
        """Fetch the keys.

        Raises:
            Unreachable: they cannot be had.
        """
        url = self._stated or await self._place()
        bearer = None if self._bearer is None or not self._trusted(url) else self._bearer()
        try:
            answer = await self._web.get(
                safe_url(url, plain=is_loopback_url(self._stated or self._issuer)), bearer=bearer
            )
            if answer.status != 200:
                raise Unreachable(
                    f"{urlsplit(url).hostname} answered with status {answer.status} for its keys"
                )
        except Unreachable:
            self._found = None  # they may have moved
            raise
        return Fetched(answer.body, answer.headers)

    async def _place(self) -> str:
        now = self._clock()
        if self._found is None or now >= self._found_at + AGAIN:
            bearer = None if self._bearer is None else self._bearer()
            found = (await discover(self._web, self._issuer, bearer=bearer)).jwks_uri
            if found is None:
                raise Unreachable(f"the metadata of {self._issuer} names no keys (jwks_uri)")
            self._found, self._found_at = found, now
        return self._found

    def _trusted(self, url: str) -> bool:
        return self._stated is not None or urlsplit(url).netloc == urlsplit(self._issuer).netloc
