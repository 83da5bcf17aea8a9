"""Confirmation: the key that a token is bound to, and who sees that its sender has that key (RFC 7800).

Knows how a binding is written in a token; how one is proved is for whoever gives a `Bind`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias, cast

from tidegate.domain.errors import Unauthenticated
from tidegate.ports.identity import Credentials

_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}")
"""SHA-256 in base64url."""


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What a token is bound to. Where both are there, both have to be proved."""

    certificate: str | None = None
    """`x5t#S256`: SHA-256 of the client's certificate (RFC 8705, 3.1)."""
    key: str | None = None
    """`jkt`: thumbprint of the key that signs proofs (RFC 9449, 6.1)."""


@dataclass(frozen=True, slots=True)
class Presented:
    """A good token, as it was sent."""

    token: str
    scheme: str
    """`bearer` or `dpop`: that of the header, in lower case."""
    confirmation: Confirmation | None
    """None where the token is bound to nothing."""


Prove: TypeAlias = "Callable[[Credentials], None]"
"""Called for each request with the token. Raises `Unauthenticated`."""
Bind: TypeAlias = "Callable[[Presented], Prove | None]"
"""Says how a token is to be proved, None where it is a plain bearer token. Raises `Unauthenticated`."""


def confirmation_of(claims: Mapping[str, object]) -> Confirmation | None:
    """Give what a token is bound to; None where it is bound to nothing.

    Raises:
        Unauthenticated: it is bound in a way that cannot be proved here, so it may be somebody else's.
    """
    if "cnf" not in claims:
        return None
    given = claims["cnf"]
    if not isinstance(given, dict):
        raise Unauthenticated("the token is bound to a key in a way that is not understood")
    found = dict(cast("dict[str, object]", given))
    certificate, key = _thumbprint(found.pop("x5t#S256", None)), _thumbprint(found.pop("jkt", None))
    if found or (certificate is None and key is None):
        raise Unauthenticated("the token is bound to a key in a way that cannot be proved here")
    return Confirmation(certificate, key)


def refuse_bound(presented: Presented) -> None:
    """Take bearer tokens only: the `Bind` where nothing can be proved."""
    if presented.confirmation is not None or presented.scheme != "bearer":
        raise Unauthenticated("the token is bound to a key, which cannot be proved here")


def _thumbprint(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not _THUMBPRINT.fullmatch(value):
        raise Unauthenticated("the token is bound to a key in a way that is not understood")
    return value
