"""Identity: turns credentials into a Principal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from msgspec import Struct

from tidegate.domain.principal import Principal


class Credentials(Struct, eq=False):
    """What a request brought. Never logged."""

    authorization: bytes | None
    """The `Authorization` header as it came."""
    peer: str
    """Address of the client, after trusted proxies."""
    resource: str = ""
    """URI of what is asked for, as RFC 9728 names it: a token has to be for it. Empty where nothing was said."""
    certificate: bytes | None = None
    """The client's certificate (DER), of which the listener saw that its authority signed it and the client has its
    key."""
    proof: bytes | None = None
    """The `DPoP` header."""
    method: str = "POST"
    """Of HTTP; a proof is for one."""
    url: str = ""
    """What is asked, without the query, where that is not the resource itself: a proof is for one."""
    proved: bool = False
    """Set once it was seen that whoever sent this request has the key that its credentials are bound to: a proof is
    good once, and a request may be looked at again."""
    known: Known | None = None
    """Where they were found good before, so that the next request that brings them is known at a glance. Never of
    credentials that have to be proved."""
    may_guess: Callable[[], None] | None = None
    """Called by an identity before it has somebody else look whether a secret is one, whatever its form. Raises
    `Unauthenticated` where this address got too many wrong."""


@dataclass(frozen=True, slots=True)
class Vouched:
    """A principal and until when it may be taken without asking again (Unix seconds, or None)."""

    principal: Principal
    expires: float | None = None
    credential: str = ""
    """Public name of the credential (a key's id, a token's `jti`), for records and revocation."""
    scopes: frozenset[str] | None = None
    """What the token was issued for; None where credentials of this kind have no scopes, and are not held to any."""
    prove: Callable[[Credentials], None] | None = None
    """Called for each request with these credentials, also where they are known from before: sees that whoever sends
    them has the key that they are bound to (RFC 9449). Raises `Unauthenticated`."""


@dataclass(slots=True)
class Known:
    """What was vouched for before: until when it may be taken (Unix seconds), and by which version of those who did."""

    vouched: Vouched
    until: float
    version: int | tuple[int, ...]


class Identity(Protocol):
    """A way to authenticate."""

    async def authenticate(self, credentials: Credentials) -> Vouched | None:
        """Vouch for who asks, or None where these credentials are not of this kind.

        Raises:
            Unauthenticated: they are of this kind and not valid.
            IdentityUnavailable: they are of this kind, and nobody can tell now whether they are valid.
        """
        ...

    @property
    def version(self) -> int:
        """A number that changes when anything vouched for before may no longer hold."""
        ...
