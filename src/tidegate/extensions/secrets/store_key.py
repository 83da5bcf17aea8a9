"""The key of the encrypted store: where it is, and how it is made and changed.

Three places, the first that is there counts: a file that the settings name, the variable
`TIDEGATE_SECRET_KEY`, and `key` beside the store. The last keeps a backup of the store alone useless, not one
of the whole state directory.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from tidegate.domain.errors import SecretUnavailable

KEY_BYTES = 32
_LARGEST = 4096


@dataclass(frozen=True, slots=True)
class KeyPlace:
    """Where the key is."""

    directory: Path
    """Of the store."""
    given: Path | None = None
    """File that the settings name."""
    variable: str | None = field(default=None, repr=False)
    """The key itself, from the environment."""

    @property
    def outside(self) -> bool:
        """Whether the key is somebody else's to keep."""
        return self.given is not None or self.variable is not None

    @property
    def own(self) -> Path:
        """The key's file beside the store."""
        return self.directory / "key"

    @property
    def next(self) -> Path:
        """That of the key which is about to be the own one."""
        return self.directory / "key.next"

    def read(self) -> bytes | None:
        """Give the key, or None where there is none yet.

        Raises:
            SecretUnavailable: it cannot be read, or is none.
        """
        if self.given is not None:
            return read_key(self.given)
        if self.variable is not None:
            return decode_key(self.variable, "TIDEGATE_SECRET_KEY")
        try:
            return read_key(self.own)
        except FileNotFoundError:
            return None


def draw_key() -> bytes:
    """Draw a key."""
    return secrets.token_bytes(KEY_BYTES)


def key_id(key: bytes) -> str:
    """Name a key without telling anything of it."""
    return hashlib.sha256(b"tidegate secret store key" + key).hexdigest()[:16]


def encode_key(key: bytes) -> bytes:
    """Give the text of a key's file."""
    return base64.b64encode(key) + b"\n"


def decode_key(text: str, where: str) -> bytes:
    """Read a key's text.

    Raises:
        SecretUnavailable: it is none.
    """
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise SecretUnavailable(
            f"{where} holds no key: {KEY_BYTES} bytes as base64 (openssl rand -base64 32)"
        )
    return key


def read_key(path: Path) -> bytes:
    """Read a key's file.

    Raises:
        FileNotFoundError: there is none.
        SecretUnavailable: it cannot be read, others may read it, or it holds no key.
    """
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise SecretUnavailable(f"the key {path} can be read by others: chmod 600 {path}")
            data = file.read(_LARGEST)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise SecretUnavailable(f"the key {path} cannot be read: {error.strerror}") from None
    return decode_key(data.decode("ascii", "replace"), str(path))
