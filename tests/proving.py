"""Proofs (DPoP, RFC 9449), made as a client makes them, and wrongly where a test wants that."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from typing import Any, cast

from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

Key = ECKey | OKPKey | RSAKey


def b64(data: bytes) -> str:
    """Encode as base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign(header: dict[str, Any], claims: dict[str, Any], key: Key) -> str:
    """Sign a JWT."""
    signed = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}"
    signature = JWSRegistry.algorithms[header["alg"]].sign(signed.encode(), cast(Any, key))
    return f"{signed}.{b64(signature)}"


def public(key: Key) -> dict[str, Any]:
    """Give the public half of a key."""
    return dict(key.as_dict(private=False))


class Prover:
    """A client with a key."""

    def __init__(self, key: Key | None = None, algorithm: str = "ES256") -> None:
        self.key = key or ECKey.generate_key("P-256")
        self.algorithm = algorithm

    @property
    def thumbprint(self) -> str:
        """What a token names its key by."""
        return self.key.thumbprint()

    def proof(
        self,
        url: str,
        token: str = "",
        *,
        method: str = "POST",
        header: dict[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """Make a proof. Claims that are None are left out."""
        head = {"typ": "dpop+jwt", "alg": self.algorithm, "jwk": public(self.key), **(header or {})}
        said: dict[str, Any] = {
            "jti": secrets.token_urlsafe(12), "htm": method, "htu": url, "iat": time.time(),
            "ath": b64(hashlib.sha256(token.encode()).digest()), **claims,
        }  # fmt: skip
        return sign(head, {name: value for name, value in said.items() if value is not None}, self.key)
