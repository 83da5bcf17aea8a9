"""Specs: a ServerSpec as bytes, for a gateway that starts in the midst of a rollout.

It is sealed whole, since it may hold secrets. Nothing is read of it but by `SpecKeeper`, with the key of
the state directory.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import StrEnum
from typing import cast

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tidegate.domain import server as nouns
from tidegate.domain.server import Secret, ServerSpec

_NONCE = 12
_ABOUT = b"tidegate server spec"
_TYPE = ""
"""Key of a value's type: no variable, header or file has an empty name."""


class SpecKeeper:
    """Seals specs and opens them again."""

    def __init__(self, key: bytes) -> None:
        """`key` is secret, of 32 bytes, and outlives the process."""
        self._cipher = AESGCM(hashlib.blake2b(key=key, digest_size=32, person=b"tidegate specs").digest())

    def seal(self, spec: ServerSpec) -> bytes:
        """Give a spec as bytes that only this key opens."""
        nonce = os.urandom(_NONCE)
        return nonce + self._cipher.encrypt(nonce, msgspec.json.encode(_plain(spec)), _ABOUT)

    def open(self, data: bytes) -> ServerSpec | None:
        """Give the spec, or None where it was sealed with another key or by a gateway that knows other nouns."""
        try:
            plain = self._cipher.decrypt(data[:_NONCE], data[_NONCE:], _ABOUT)
            spec = _made(msgspec.json.decode(plain))
        except (InvalidTag, ValueError, KeyError, TypeError, msgspec.DecodeError):
            return None
        return spec if isinstance(spec, ServerSpec) else None


def _plain(value: object) -> object:
    if isinstance(value, Secret):
        return {_TYPE: "Secret", "value": value.reveal(), "origins": list(value.origins)}
    if isinstance(value, StrEnum):
        return {_TYPE: type(value).__name__, "value": value.value}
    if is_dataclass(value) and not isinstance(value, type):
        given = {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
        return {_TYPE: type(value).__name__, **given}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in cast("Mapping[str, object]", value).items()}
    if isinstance(value, frozenset):
        return {_TYPE: "frozenset", "value": sorted(cast("frozenset[int]", value))}
    if isinstance(value, tuple):
        return [_plain(item) for item in cast("tuple[object, ...]", value)]
    return value


def _made(value: object) -> object:
    if isinstance(value, list):
        return tuple(_made(item) for item in cast("list[object]", value))
    if not isinstance(value, dict):
        return value
    given = {key: _made(item) for key, item in cast("dict[str, object]", value).items()}
    name = given.pop(_TYPE, None)
    if name is None:
        return given
    if name == "frozenset":
        return frozenset(cast("tuple[int, ...]", given["value"]))
    return _TYPES[cast("str", name)](**given)


_TYPES: Mapping[str, type[object]] = {
    name: each
    for name, each in vars(nouns).items()
    if isinstance(each, type) and (is_dataclass(each) or each is Secret or issubclass(each, StrEnum))
}
