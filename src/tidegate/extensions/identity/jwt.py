"""Signed tokens (JWT, RFC 7519 and 9068): believed where their issuer is one of ours and they are for us.

Nothing in a token chooses how it is verified: algorithms and keys are the settings' and the issuer's (RFC 8725).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, cast

from tidegate.domain.errors import Unauthenticated
from tidegate.domain.principal import Principal
from tidegate.extensions.identity.claims import ClaimPath, Claims, look
from tidegate.extensions.identity.compact import Token, bearer, take_apart
from tidegate.extensions.identity.confirmation import Bind, Presented, confirmation_of, refuse_bound
from tidegate.extensions.identity.jwks import VerifyKey
from tidegate.ports.identity import Credentials, Vouched

_INJECTING = ("jwk", "jku", "x5u", "x5c")
"""Header parameters that bring or point to a key: never the issuer's, so an attacker's."""
_MEANING = ("crit", "b64", "zip")
"""Header parameters that change how the rest is to be read. Nobody needs them in an access token."""
_LATEST = 2**53
"""Seconds: larger numbers are not exact in JSON."""

Allowed = frozenset[str | int | bool]


class KeySource(Protocol):
    """The keys of an issuer, as `jwks.Keys` has them."""

    @property
    def version(self) -> int:
        """Changes when a key was taken back."""
        ...

    @property
    def last(self) -> float:
        """Until when what was verified holds."""
        ...

    async def find(self, kid: str | None, algorithm: str) -> tuple[VerifyKey, ...]:
        """Give the keys that a signature may be of."""
        ...


class Mapped(Protocol):
    """Says whom claims are about, as `claims.ClaimMapping` does."""

    def principal(self, issuer: str, claims: Claims) -> Principal:
        """Say whom claims are about."""
        ...

    def granted(self, claims: Claims) -> frozenset[str] | None:
        """Give the scopes."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Which tokens are taken. Times in seconds."""

    issuers: frozenset[str]
    """To the letter. More than one only where one issuer has several names."""
    name: str
    """What principals have as their issuer."""
    audiences: frozenset[str] = frozenset()
    """Beside the URI of what is asked for."""
    audience_claims: tuple[ClaimPath, ...] = (("aud",),)
    """The first that is there says it."""
    algorithms: frozenset[str]
    types: frozenset[str] = frozenset({"at+jwt", "jwt", ""})
    """Values of `typ` in lower case; the empty one where it may be missing."""
    leeway: float = 30.0
    """How far clocks may be apart."""
    longest: float = 24 * 3600.0
    """How long a token may be good for."""
    required: Mapping[ClaimPath, Allowed] = field(default_factory=dict[ClaimPath, Allowed])
    """Claims that must have one of these values."""
    present: tuple[ClaimPath, ...] = ()
    """Claims of which one must be there."""


class JwtIdentity:
    """Vouches for tokens of one issuer."""

    def __init__(
        self,
        trust: Trust,
        keys: KeySource,
        mapping: Mapped,
        *,
        clock: Callable[[], float],
        bind: Bind = refuse_bound,
        own: Callable[[Claims], bool] | None = None,
    ) -> None:
        """`own` tells the tokens that are this issuer's, where `iss` does not."""
        self._trust = trust
        self._keys = keys
        self._mapping = mapping
        self._clock = clock
        self._bind = bind
        self._own = own

    @property
    def version(self) -> int:
        """Changes when the issuer has taken a key back."""
        return self._keys.version

    async def authenticate(self, credentials: Credentials) -> Vouched | None:
        """Vouch for whom a token is about; None for what is no token of this issuer.

        Raises:
            Unauthenticated: it says that it is, and is not good.
            IdentityUnavailable: it says that it is, and the issuer's keys cannot be had.
        """
        sent = bearer(credentials.authorization)
        token = None if sent is None else take_apart(sent[1])
        if sent is None or token is None or not self._is_ours(token.claims):
            return None
        return await self.judge(sent, token, credentials.resource)

    async def judge(self, sent: tuple[str, str], token: Token, resource: str) -> Vouched:
        """Vouch for whom a token of this issuer is about. `sent` is its scheme and its text.

        Raises:
            Unauthenticated: it is not good.
            IdentityUnavailable: the issuer's keys cannot be had.
        """
        algorithm, kid = self._header(token.header)
        keys = await self._keys.find(kid, algorithm)
        if not any(key.verify(algorithm, token.signed, token.signature) for key in keys):
            raise Unauthenticated("the token's signature is not its issuer's")
        return self._vouch(sent[0], sent[1], token, resource)

    def _is_ours(self, claims: Claims) -> bool:
        if self._own is not None:
            return self._own(claims)
        issuer = claims.get("iss")
        return isinstance(issuer, str) and issuer in self._trust.issuers

    def _header(self, header: Mapping[str, object]) -> tuple[str, str | None]:
        algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ", "")
        if not isinstance(algorithm, str) or algorithm not in self._trust.algorithms:
            raise Unauthenticated("the token is signed in a way that is not taken from this issuer")
        if any(name in header for name in _INJECTING):
            raise Unauthenticated("the token brings the key that it is to be verified with")
        if any(name in header for name in _MEANING):
            raise Unauthenticated("the token's header asks for what is not understood")
        if not isinstance(kid, str | None) or (kid is not None and len(kid) > 512):
            raise Unauthenticated("the token does not say rightly which key it is signed with")
        plain = kind.lower().removeprefix("application/") if isinstance(kind, str) else None
        if plain not in self._trust.types:
            raise Unauthenticated("the token is of a type that is no access token")
        return algorithm, kid

    def _vouch(self, scheme: str, sent: str, token: Token, resource: str) -> Vouched:
        claims, trust = token.claims, self._trust
        if (
            "events" in claims
        ):  # a logout token or another security event (RFC 8417): signed alike, and no access
            raise Unauthenticated("the token tells of an event and is no access token")
        expires = check_times(claims, self._clock(), trust.leeway, trust.longest)
        check_audience(claims, trust, resource)
        check_required(claims, trust)
        prove = self._bind(Presented(sent, scheme, confirmation_of(claims)))
        return Vouched(
            self._mapping.principal(trust.name, claims),
            min(expires, self._keys.last),
            credential_of(claims, sent),
            self._mapping.granted(claims),
            prove,
        )


class ManyIssuers:
    """Vouches for tokens of several issuers, each by its own name: read once, however many there are."""

    def __init__(self, identities: Mapping[str, JwtIdentity]) -> None:
        """`identities` by the values that `iss` has."""
        self._identities = identities

    @property
    def version(self) -> int:
        """Changes when one of them has taken a key back."""
        return sum(each.version for each in self._identities.values())

    async def authenticate(self, credentials: Credentials) -> Vouched | None:
        """Vouch for whom a token is about; None for what is no token of any of them.

        Raises:
            Unauthenticated: it is not good.
            IdentityUnavailable: its issuer's keys cannot be had.
        """
        sent = bearer(credentials.authorization)
        token = None if sent is None else take_apart(sent[1])
        issuer = None if token is None else token.claims.get("iss")
        identity = self._identities.get(issuer) if isinstance(issuer, str) else None
        if sent is None or token is None or identity is None:
            return None
        return await identity.judge(sent, token, credentials.resource)


def check_times(claims: Claims, now: float, leeway: float, longest: float) -> float:
    """See that a token is good now, and give until when (Unix seconds).

    Raises:
        Unauthenticated: it is not, or would be for too long.
    """
    expires, issued, begins = (_time(claims, name) for name in ("exp", "iat", "nbf"))
    if expires is None:
        raise Unauthenticated("the token has no end")
    if now >= expires + leeway:
        raise Unauthenticated("the token has expired", counts=False)  # its issuer did sign it
    if begins is not None and now < begins - leeway:
        raise Unauthenticated("the token is not good yet")
    if issued is not None and now < issued - leeway:
        raise Unauthenticated("the token was issued in the future: a clock is wrong")
    if expires - (issued if issued is not None else now) > longest + leeway:
        raise Unauthenticated("the token is good for longer than is taken from this issuer")
    return expires + leeway


def _time(claims: Claims, name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unauthenticated(f"the token's {name} is no time")
    if not math.isfinite(value) or not 0 <= value < _LATEST:
        raise Unauthenticated(f"the token's {name} is no time")
    return float(value)


def check_audience(claims: Claims, trust: Trust, resource: str) -> None:
    """See that a token is for what is asked for, or for one of the audiences that the settings name.

    Raises:
        Unauthenticated: it is for somebody else, or does not say for whom.
    """
    there = (look(claims, path) for path in trust.audience_claims)
    found = next((each for each in there if each is not None), None)
    audiences = cast("list[object]", found) if isinstance(found, list) else [found]
    wanted = trust.audiences | {resource} - {""}
    if not any(isinstance(each, str) and each in wanted for each in audiences):
        raise Unauthenticated("the token was not issued for this resource")


def check_required(claims: Claims, trust: Trust) -> None:
    """See that claims are there, and have the values that they must have.

    Raises:
        Unauthenticated: one has not.
    """
    if trust.present and all(look(claims, path) is None for path in trust.present):
        raise Unauthenticated("the token is none that gives access (an ID token, perhaps)")
    for path, allowed in trust.required.items():
        value = look(claims, path)
        # True is 1 to Python, and not to whoever wrote the settings.
        if not any(type(value) is type(each) and value == each for each in allowed):
            raise Unauthenticated(f"the token's claim {'.'.join(path)} is not what it must be")


def credential_of(claims: Claims, token: str) -> str:
    """Give a name of a token for records: its own id, else a digest of it."""
    for name in ("jti", "uti"):
        value = claims.get(name)
        if isinstance(value, str) and 0 < len(value) <= 128 and value.isascii() and value.isprintable():
            return value
    return hashlib.sha256(token.encode()).hexdigest()[:16]
