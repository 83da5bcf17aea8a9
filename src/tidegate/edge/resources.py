"""Resources: what this gateway is to clients that bring tokens (RFC 9728): the name of each thing that is asked for,
the page that says who issues tokens for it, and the challenge that leads there. Judges no token.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes, urlsplit

from tidegate.domain.errors import Forbidden, InsufficientScope, InvalidRequest, Refusal, Unauthenticated
from tidegate.edge.exchange import Exchange
from tidegate.edge.guard import Guard
from tidegate.ports.identity import Credentials
from tidegate.protocol.codec import encode

WELL_KNOWN = "/.well-known/oauth-protected-resource"
ADMIN = "/api"
"""What stands for all that administrators ask for."""
_LARGEST = 16 * 1024
"""Characters of a forwarded certificate."""
_LONGEST = 8192
"""Characters of a value in a challenge: the names of 64 scopes."""
_AGE = 300
"""Seconds for which a page may be kept: as long as a change of it may take to be seen."""
_PLAIN = ((b"www-authenticate", b'Bearer realm="tidegate"'),)
_METHODS = {name.encode(): name for name in ("GET", "HEAD", "POST", "DELETE")}
_OF_PROOFS = frozenset({"invalid_dpop_proof", "use_dpop_nonce"})

Headers = tuple[tuple[bytes, bytes], ...]
Scopes = Callable[[], Mapping[str, tuple[str, ...]]]
"""Gives, by the path of each endpoint, its scopes. The first is what there is to ask for at first; others are asked for
when a call needs them (step-up)."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Which tokens are taken."""

    issuers: tuple[str, ...] = ()
    """Authorization servers that a client can get one from. Where there is none, there is no page."""
    bound_to_certificates: bool = False
    """Whether one may be bound to the client's certificate (RFC 8705)."""
    proofs: tuple[str, ...] = ()
    """Algorithms of the proofs (RFC 9449) that are taken; none where there are to be none."""
    only_proved: bool = False
    """Whether every token has to be bound to a key."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What can be asked for, by the paths it is at."""

    base: str
    """URL of the gateway, as clients know it, without a slash at its end."""
    tokens: Tokens
    scopes: Scopes
    forwarded: bool = False
    """Whether trusted proxies say which certificate a client has (RFC 9440)."""
    admin: bool = False
    """Whether the admin API is served."""

    def uri(self, path: str) -> str:
        """Give the URI of what is at a path (RFC 8707, 2): to the letter what a token's audience has to be."""
        return self.base + path

    def credentials(self, exchange: Exchange, guard: Guard, peer: str, path: str) -> Credentials:
        """Give all that a request brought to say who asks.

        Raises:
            InvalidRequest: it brought a certificate in a way that nobody here believes.
        """
        request = exchange.request
        headers = request.headers
        if self.forwarded or exchange.certificate is not None:
            certificate = self._certificate(exchange, guard)
        else:
            certificate = None
        method = _METHODS.get(request.method) or request.method.decode("latin-1")
        return Credentials(
            headers.get(b"authorization"), peer, self.base + path, certificate, headers.get(b"dpop"), method,
            "" if request.path == path else self.base + request.path,
        )  # fmt: skip

    def _certificate(self, exchange: Exchange, guard: Guard) -> bytes | None:
        header = exchange.request.headers.get(b"client-cert") if self.forwarded else None
        if guard.trusts(exchange.peer):  # its own certificate says nothing of those for whom it asks
            return None if header is None else _forwarded(header)
        if header is not None:
            raise InvalidRequest("header Client-Cert is taken from trusted proxies only")
        return exchange.certificate

    # -- pages --------------------------------------------------------------------------------

    def page(self, path: str) -> bytes | None:
        """Give the metadata at a path below `WELL_KNOWN`; None where there is none (RFC 9728, 3)."""
        tokens = self.tokens
        if not tokens.issuers:
            return None
        scopes = self.scopes()
        # Where the gateway is below a path, the page of RFC 9728 has that path in it too; a proxy may take it off.
        place = path.removeprefix(WELL_KNOWN).removeprefix(urlsplit(self.base).path)
        if not place and len(scopes) == 1:
            place = next(iter(scopes))
        if place not in scopes and not (self.admin and place == ADMIN):
            return None
        found: dict[str, object] = {
            "resource": self.uri(place),
            "authorization_servers": list(tokens.issuers),
            "bearer_methods_supported": ["header"],
            "resource_name": f"tidegate {place}",
        }
        if asked := scopes.get(place):
            found["scopes_supported"] = list(asked[:1])
        if tokens.bound_to_certificates:
            found["tls_client_certificate_bound_access_tokens"] = True
        if tokens.proofs:
            found["dpop_signing_alg_values_supported"] = list(tokens.proofs)
            found["dpop_bound_access_tokens_required"] = tokens.only_proved
        return encode(found)

    # -- challenges ---------------------------------------------------------------------------

    def challenge(self, path: str, refusal: Refusal) -> Headers:
        """Give the headers that tell a client how to be let in, in one challenge a scheme (RFC 6750, 3)."""
        if not isinstance(refusal, Unauthenticated | InsufficientScope):
            return ()
        tokens = self.tokens
        if not tokens.issuers:
            return _PLAIN if isinstance(refusal, Unauthenticated) else ()
        said = [("resource_metadata", f"{self.base}{WELL_KNOWN}{path}")]
        if isinstance(refusal, InsufficientScope):
            error, nonce = "insufficient_scope", None
            # Whatever else the token has (openid, offline_access, …) is nothing that this resource asks for.
            scopes = tuple(each for each in self.scopes().get(path, ()) if each in refusal.scopes)
        else:
            error, nonce = refusal.error, refusal.nonce
            scopes = self.scopes().get(path, ())[:1]
        if scopes:
            said.append(("scope", " ".join(scopes)))
        if error:
            said += [("error", error), ("error_description", str(refusal))]
        headers = [(b"www-authenticate", self._schemes(said, of_proof=error in _OF_PROOFS))]
        if nonce is not None:
            headers.append((b"dpop-nonce", _quotable(nonce).encode()))
        return tuple(headers)

    def _schemes(self, said: list[tuple[str, str]], *, of_proof: bool) -> bytes:
        tokens = self.tokens
        algorithms = ("algs", " ".join(tokens.proofs))
        if tokens.proofs and (of_proof or tokens.only_proved):
            return _one("DPoP", [*said, algorithms]).encode()
        bearer = _one("Bearer", said)
        return (f"{bearer}, {_one('DPoP', [algorithms])}" if tokens.proofs else bearer).encode()


def of_page(
    exchange: Exchange, resources: Resources | None, guard: Guard, peer: str, path: str = ADMIN
) -> Credentials:
    """Give what a request for a page brought: one for what administrators ask for.

    Raises:
        InvalidRequest: it brought a certificate in a way that nobody here believes.
    """
    if resources is None:
        return Credentials(exchange.request.headers.get(b"authorization"), peer)
    return resources.credentials(exchange, guard, peer, path)


def no_challenge(refusal: Refusal) -> Headers:
    """Give the challenge where nobody brings tokens."""
    return _PLAIN if isinstance(refusal, Unauthenticated) else ()


def has_token(query: bytes) -> bool:
    """Tell whether a URL holds a token, where logs and histories keep it (OAuth 2.1, 5.1; RFC 9700, 4.3.2). What is
    there is not read."""
    return _TOKEN_NAME in unquote_to_bytes(query).lower()


_TOKEN_NAME = b"access_token="


def serve(exchange: Exchange, resources: Resources | None, guard: Guard) -> None:
    """Answer a request for metadata: to every origin, since it is said to everybody (RFC 9728, 3.1)."""
    request = exchange.request
    try:
        guard.check_host(request.headers)
    except Forbidden:
        exchange.respond(403, _JSON, b'{"error": "this Host is not served here"}')
        return
    page = None if resources is None else resources.page(request.path)
    if page is None:
        exchange.respond(404, _JSON + _ANY_ORIGIN, b'{"error": "no such path"}')
    elif request.method == b"OPTIONS":
        exchange.respond(200, _ANY_ORIGIN + _PREFLIGHT, b"")
    elif request.method in (b"GET", b"HEAD"):
        exchange.respond(200, _JSON + _ANY_ORIGIN + _KEPT, page)
    else:
        exchange.respond(
            405, _JSON + _ANY_ORIGIN + b"allow: GET, HEAD, OPTIONS\r\n", b'{"error": "send GET"}'
        )


_JSON = b"content-type: application/json\r\n"
_ANY_ORIGIN = b"access-control-allow-origin: *\r\n"
_PREFLIGHT = (
    b"access-control-allow-methods: GET, HEAD\r\naccess-control-allow-headers: *\r\n"
    b"access-control-max-age: 86400\r\nallow: GET, HEAD, OPTIONS\r\n"
)
_KEPT = b"cache-control: public, max-age=%d\r\n" % _AGE


def _forwarded(header: bytes) -> bytes:
    """Read a certificate as trusted proxies send it: a byte sequence of structured fields (RFC 9440, 2.1)."""
    text = header.strip()
    if len(text) <= _LARGEST and len(text) > 2 and text[:1] == text[-1:] == b":":
        try:
            return base64.b64decode(text[1:-1], validate=True)
        except binascii.Error:
            pass
    raise InvalidRequest("header Client-Cert is no certificate")


def _one(scheme: str, said: list[tuple[str, str]]) -> str:
    return f"{scheme} " + ", ".join(f'{name}="{_quotable(value)}"' for name, value in said)


def _quotable(text: str) -> str:
    """Leave out what cannot stand in quotes there (RFC 6750, 3): %x20-21 / %x23-5B / %x5D-7E."""
    return "".join(each for each in text if " " <= each <= "~" and each not in '"\\')[:_LONGEST]
