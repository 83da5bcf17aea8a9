"""Binding: how a token that is bound to a key is proved to be its owner's: by a certificate (RFC 8705, 3), or by a
proof (RFC 9449). Judges no token otherwise.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

from tidegate.domain.errors import Unauthenticated
from tidegate.extensions.identity.confirmation import Bind, Presented, Prove
from tidegate.extensions.identity.dpop import Proofs, token_hash
from tidegate.ports.identity import Credentials


def thumbprint(certificate: bytes) -> str:
    """Give what a token names a certificate (DER) by (`x5t#S256`: RFC 8705, 3.1)."""
    return base64.urlsafe_b64encode(hashlib.sha256(certificate).digest()).rstrip(b"=").decode()


def binding(proofs: Proofs, *, required: bool = False) -> Bind:
    """Give the `Bind` that proves tokens. `required`: those that are not bound to a client's own key are refused."""

    def bind(presented: Presented) -> Prove | None:
        confirmation = presented.confirmation
        key = None if confirmation is None else confirmation.key
        certificate = None if confirmation is None else confirmation.certificate
        if key is None and presented.scheme == "dpop":
            raise Unauthenticated("the token is bound to no key; send it as a Bearer token")
        if key is not None and presented.scheme != "dpop":
            # RFC 9449, 7.2: else whoever steals it need only call it something else.
            raise Unauthenticated("the token is bound to a key; send it with the scheme DPoP and a proof")
        if key is None and required:
            raise Unauthenticated("the token is bound to no key, and only those that are are taken")
        hashed = "" if key is None else token_hash(presented.token)

        def prove(credentials: Credentials) -> None:
            if certificate is not None:
                _check_certificate(credentials.certificate, certificate)
            if key is not None:
                proofs.check(credentials, key, hashed)

        return None if key is None and certificate is None else prove

    return bind


def _check_certificate(shown: bytes | None, bound: str) -> None:
    if shown is None:
        raise Unauthenticated("the token is bound to a certificate, and none was shown")
    if not hmac.compare_digest(thumbprint(shown), bound):
        raise Unauthenticated("the token is bound to another certificate than the one that was shown")
