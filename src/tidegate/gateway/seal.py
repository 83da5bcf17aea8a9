"""Seal: values that clients carry for us and can neither read, change, nor hand to each other.

`requestState` and task handles are such. Knowing one is never enough: each is bound to its principal and
place (2026-07-28, basic/patterns/mrtr; security best practices, "State Handle Hijacking").
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Callable, Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tidegate.domain.errors import TidegateError

_NONCE = 12
_KEY_ID = 4
_TIME = 8
LONGEST = 128 * 1024
"""Characters of a sealed value that are looked at."""


class SealBroken(TidegateError):
    """Not sealed by us, changed, too old, or for somebody or something else."""


class Seal:
    """Seals values with keys of the gateway. Gateways with the same keys open each other's."""

    def __init__(self, keys: Mapping[bytes, bytes], current: bytes, clock: Callable[[], float]) -> None:
        """`keys` maps 4-byte ids to 32-byte keys; `current` is the one that seals. `clock` gives Unix seconds."""
        self._ciphers = {key_id: AESGCM(_derive(key)) for key_id, key in keys.items()}
        self._current = current
        self._clock = clock

    def seal(self, kind: str, value: bytes, *, bound: str) -> str:
        """Seal a value of a kind, bound to whoever and whatever `bound` names."""
        nonce = os.urandom(_NONCE)
        plain = int(self._clock()).to_bytes(_TIME, "big") + value
        data = self._ciphers[self._current].encrypt(nonce, plain, _about(kind, bound))
        return base64.urlsafe_b64encode(self._current + nonce + data).decode().rstrip("=")

    def open(self, kind: str, text: str, *, bound: str, lifetime: float = 86_400.0) -> bytes:
        """Open what was sealed with the same kind and bound at most `lifetime` seconds ago.

        Raises:
            SealBroken: it cannot be; why is not told.
        """
        try:
            if len(text) > LONGEST:
                raise ValueError("too long")
            data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            key_id, nonce = data[:_KEY_ID], data[_KEY_ID : _KEY_ID + _NONCE]
            plain = self._ciphers[key_id].decrypt(nonce, data[_KEY_ID + _NONCE :], _about(kind, bound))
        except (binascii.Error, ValueError, KeyError, InvalidTag) as error:
            raise SealBroken("a sealed value cannot be opened") from error
        if self._clock() - int.from_bytes(plain[:_TIME], "big") > lifetime:
            raise SealBroken("a sealed value is too old")
        return plain[_TIME:]


def _derive(key: bytes) -> bytes:
    """Give another key than that of session ids: the two must never be taken for each other."""
    return hashlib.blake2b(key=key, digest_size=32, person=b"tidegate seal").digest()


def _about(kind: str, bound: str) -> bytes:
    return f"{kind}\0{bound}".encode()
