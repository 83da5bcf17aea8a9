"""The encrypted store's file: read, changed under a lock, replaced whole and durably.

    {"format": 1, "key": "<id>", "secrets": {"NAME": {"version": 3, "changed": 1790000000, "sealed": "<base64>"}}}

`sealed` is a nonce of 12 random bytes, then AES-256-GCM over the value with the format, the name and the version
as associated data: a value moved to another name, or an older one put back under a newer number, does not open.
Somebody who can write the file can still remove secrets or put a whole older file back.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import json
import os
import re
import secrets
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tidegate.domain.errors import SecretUnavailable
from tidegate.extensions.secrets.store_key import KeyPlace, draw_key, encode_key, key_id, read_key
from tidegate.secret_text import MAX_SECRET, checked

FORMAT = 1
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]{0,126}")
_MOST = 10_000
_LARGEST = 64 * 1024 * 1024
_NONCE = 12

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """One secret, without its value."""

    name: str
    version: int
    """Counts how often it was set."""
    changed: float
    """Unix time."""
    sealed: str


@dataclass(frozen=True, slots=True)
class Contents:
    """What the file holds."""

    key: str
    """Id of the key."""
    entries: dict[str, Entry]


class StoreFile:
    """The store in a directory. Blocking: call it from a thread."""

    def __init__(self, directory: Path, key: KeyPlace) -> None:
        self._directory = directory
        self._path = directory / "store.json"
        self._key = key

    def get(self, name: str) -> str | None:
        """Open a secret; None where there is none of that name.

        Raises:
            SecretUnavailable: the file or the key cannot be used.
        """
        contents = self._read()
        entry = contents.entries.get(name) if contents is not None else None
        if contents is None or entry is None:
            return None
        return _open(self._key_of(contents), entry)

    def entries(self) -> list[Entry]:
        """List the secrets by name; needs no key."""
        contents = self._read()
        return [] if contents is None else sorted(contents.entries.values(), key=lambda entry: entry.name)

    def set(self, name: str, value: str) -> Entry:
        """Put a secret in, or another value in its place.

        Raises:
            SecretUnavailable: the name or the value cannot be one, or the store cannot be used.
        """
        check_name(name)
        try:
            checked(value, "the value")
        except ValueError as error:
            raise SecretUnavailable(str(error)) from None
        if not value:
            raise SecretUnavailable("the value is empty")
        with self._locked():
            contents = self._read()
            key = self._key_of(contents) if contents is not None else self._first_key()
            entries = contents.entries if contents is not None else {}
            if len(entries) >= _MOST and name not in entries:
                raise SecretUnavailable(f"there are {_MOST} secrets, which is the limit")
            version = entries[name].version + 1 if name in entries else 1
            entry = _seal(key, name, version, time.time(), value)
            self._write(Contents(key_id(key), {**entries, name: entry}))
        return entry

    def remove(self, name: str) -> bool:
        """Take a secret out. Tell whether it was there."""
        with self._locked():
            contents = self._read()
            if contents is None or name not in contents.entries:
                return False
            rest = {each: entry for each, entry in contents.entries.items() if each != name}
            self._write(Contents(contents.key, rest))
        return True

    def rotate(self, new: bytes | None = None) -> int:
        """Seal every value with another key. Give how many there are.

        Without `new`, one is drawn and kept beside the store. With it, whoever keeps the key puts it in its place.

        Raises:
            SecretUnavailable: the old key does not open the store, or the key is kept outside and `new` is missing.
        """
        if new is None and self._key.outside:
            raise SecretUnavailable("the key is kept outside the state directory: give the new one in a file")
        with self._locked():
            contents = self._read()
            fresh = new if new is not None else draw_key()
            sealed: dict[str, Entry] = {}
            if contents is not None:
                old = self._key_of(contents)
                for name, entry in contents.entries.items():
                    sealed[name] = _seal(fresh, name, entry.version, entry.changed, _open(old, entry))
                if not self._key.outside:
                    # The one that opens it may be the next one still, and is not to be written over.
                    _replace(self._key.own, encode_key(old))
            if new is None:
                # First the key, then what is sealed with it, then its name: at each point one of the two opens it.
                _replace(self._key.next, encode_key(fresh))
            self._write(Contents(key_id(fresh), sealed))
            if new is None:
                os.replace(self._key.next, self._key.own)
                _sync(self._directory)
        return len(sealed)

    def _key_of(self, contents: Contents) -> bytes:
        key = self._key.read()
        if key is not None and key_id(key) == contents.key:
            return key
        if not self._key.outside:
            try:
                following = read_key(self._key.next)  # of a change of keys that was broken off
            except FileNotFoundError:
                following = None
            if following is not None and key_id(following) == contents.key:
                return following
        raise SecretUnavailable(
            "the key of the secret store is missing"
            if key is None
            else "the secret store is sealed with another key"
        )

    def _first_key(self) -> bytes:
        key = self._key.read()
        if key is None:
            key = draw_key()
            _replace(self._key.own, encode_key(key))
        return key

    def _read(self) -> Contents | None:
        try:
            with self._path.open("rb") as file:
                data = file.read(_LARGEST + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SecretUnavailable(f"{self._path} cannot be read: {error.strerror}") from None
        try:
            if len(data) > _LARGEST:
                raise ValueError
            return _parsed(cast(Json, json.loads(data)))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise SecretUnavailable(f"{self._path} is damaged, or of a later version") from None

    def _write(self, contents: Contents) -> None:
        told = {
            name: {"version": entry.version, "changed": entry.changed, "sealed": entry.sealed}
            for name, entry in sorted(contents.entries.items())
        }
        text = json.dumps({"format": FORMAT, "key": contents.key, "secrets": told}, indent=1)
        if len(text) > _LARGEST:
            raise SecretUnavailable(f"the store would be larger than {_LARGEST} bytes")
        _replace(self._path, text.encode() + b"\n")

    @contextmanager
    def _locked(self) -> Generator[None]:
        """Keep other writers out, and tell what the disk says in one line."""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(
                self._directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
            )
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
            finally:
                os.close(lock)
        except OSError as error:
            raise SecretUnavailable(f"the secret store cannot be changed: {error.strerror}") from error


def check_name(name: str) -> None:
    """Refuse what is no name.

    Raises:
        SecretUnavailable: it is none.
    """
    if not _NAME.fullmatch(name):
        raise SecretUnavailable(
            "a secret's name is 1 to 127 letters, digits and _ . / -, and begins with one of the first"
        )


def _parsed(told: Json) -> Contents:
    if told["format"] != FORMAT:
        raise ValueError
    entries: dict[str, Entry] = {}
    for name, each in cast("dict[str, Json]", told["secrets"]).items():
        entries[name] = Entry(name, int(each["version"]), float(each["changed"]), str(each["sealed"]))
    return Contents(str(told["key"]), entries)


def _bound_to(name: str, version: int) -> bytes:
    return json.dumps([FORMAT, name, version]).encode()


def _seal(key: bytes, name: str, version: int, changed: float, value: str) -> Entry:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = secrets.token_bytes(_NONCE)
    sealed = nonce + AESGCM(key).encrypt(nonce, value.encode(), _bound_to(name, version))
    return Entry(name, version, changed, base64.b64encode(sealed).decode())


def _open(key: bytes, entry: Entry) -> str:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        sealed = base64.b64decode(entry.sealed, validate=True)
        if not _NONCE < len(sealed) <= MAX_SECRET + 64:
            raise ValueError
        bound = _bound_to(entry.name, entry.version)
        return AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], bound).decode()
    except (InvalidTag, ValueError, binascii.Error):
        raise SecretUnavailable(
            f"the secret {entry.name} was changed from outside: it does not open"
        ) from None


def _replace(path: Path, content: bytes) -> None:
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def _sync(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
