"""What tokens and clients are bound to: proofs of a key (`dpop:`), and where certificates come from.

The docstrings are the reference of the keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, cast

from pydantic import Field, StrictBool

from tidegate.settings.base import Model
from tidegate.settings.identity_mistakes import entries
from tidegate.settings.values import Seconds, listen_at

Algorithm = Literal["ES256", "ES384", "EdDSA", "Ed25519", "PS256", "RS256"]
_ALGORITHMS: tuple[Algorithm, ...] = ("ES256", "ES384", "EdDSA", "Ed25519", "PS256", "RS256")
_TOKENS = frozenset({"jwt", "introspection", "kubernetes", "spiffe"})
_Path = tuple[str | int, ...]


class ProofsModel(Model):
    """Tokens that are bound to a key of the client's (DPoP, RFC 9449)."""

    required: StrictBool = False
    """Whether every token has to be. Where not, those that are have to be proved all the same."""
    nonce: StrictBool = False
    """Whether a proof has to hold a nonce of this gateway, so that none can be made in advance or used at another."""
    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1)] = _ALGORITHMS
    """Ways of signing that are taken."""
    window: Annotated[Seconds, Field(ge=5, le=300)] = 60.0
    """For how long a proof is good."""


def mistakes(data: Mapping[str, object]) -> Iterator[tuple[_Path, str]]:
    """Find what does not go together: where, and what. Tolerant of what has the wrong type."""
    tls, proxies = _mapping(data.get("tls")), data.get("trusted_proxies")
    forwarded = data.get("forwarded_certificates") is True
    if tls.get("client") is not None and tls.get("client_ca") is None:
        yield ("tls", "client"), "goes with client_ca, which says whose certificates are taken"
    if forwarded and not proxies:
        yield ("forwarded_certificates",), "needs trusted_proxies, which says whom to believe"
    found = entries(data.get("auth"))
    for at, entry in found:
        if entry.get("type") == "certificate" and tls.get("client_ca") is None and not forwarded:
            yield at, "needs certificates: tls.client_ca, or forwarded_certificates behind a proxy"
    if any(entry.get("type") in _TOKENS for _, entry in found) and data.get("public_url") is None:
        yield from _named(data.get("listen"))


def _named(listen: object) -> Iterator[tuple[_Path, str]]:
    """See that a gateway has a name that tokens can be for."""
    try:
        host = listen_at(listen).host
    except ValueError:
        return
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared with, not bound to
        yield (
            ("listen",),
            "is no name that a token can be for: set public_url to how clients reach the gateway",
        )


def _mapping(value: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", value) if isinstance(value, dict) else {}
