"""API keys: made, listed, revoked, and vouched for. A secret is shown once and never stored.

    tg_<id: 12 of base32>_<secret: 43 of base64url><checksum: 6 of base64url>

The checksum tells a typing mistake, and a secret scanner a key, without asking anyone.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import msgspec
from pydantic import BaseModel, ConfigDict

from tidegate.domain.errors import StateError, Unauthenticated
from tidegate.domain.principal import Principal
from tidegate.ports.identity import Credentials, Vouched
from tidegate.ports.state import State

PREFIX = "key/"
"""Where the records stand in the state store."""
ISSUER = "key"
RECHECK = 60.0
"""Seconds after which a key is looked up again though nothing said that it changed."""
_TOKEN = re.compile(rb"tg_([a-z2-7]{12})_([A-Za-z0-9_-]{43})([A-Za-z0-9_-]{6})")
_ID = re.compile(r"[a-z2-7]{12}")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
_TRIES = 8


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What is kept of an API key, for people. Times are Unix seconds."""

    id: str
    name: str
    """Whom it speaks for: keys of one tenant and name are one principal, so a key can be replaced."""
    tenant: str
    roles: frozenset[str]
    created: float
    expires: float | None = None
    revoked: float | None = None

    def principal(self) -> Principal:
        """Give the principal that the key speaks for."""
        return Principal(self.tenant, ISSUER, self.name, self.roles)

    def usable(self, now: float) -> bool:
        """Tell whether it is neither revoked nor expired."""
        return self.revoked is None and (self.expires is None or now < self.expires)


class _Stored(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    v: int
    id: str
    name: str
    tenant: str
    roles: list[str]
    created: float
    digest: str
    expires: float | None = None
    revoked: float | None = None

    def record(self) -> KeyRecord:
        return KeyRecord(
            self.id, self.name, self.tenant, frozenset(self.roles), self.created, self.expires, self.revoked
        )


class KeysSettings(BaseModel):
    """Settings of API keys: there are none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["keys"] = "keys"


class KeyStore:
    """The API keys in a state store."""

    def __init__(self, state: State, *, clock: Callable[[], float] = time.time) -> None:
        self.state = state
        self.clock = clock

    async def create(
        self, *, name: str, roles: Iterable[str], tenant: str = "default", expires: float | None = None
    ) -> tuple[KeyRecord, str]:
        """Make a key. `expires` is in Unix seconds. The second value is the key itself, shown only here.

        Raises:
            ValueError: a name is not 1 to 64 of letters, digits and `._@+-`, or the time has passed.
            StateError: it cannot be stored.
        """
        granted = frozenset(roles)
        for word in (name, tenant, *granted):
            if not _WORD.fullmatch(word):
                raise ValueError(f"{word!r} is no name: 1 to 64 of letters, digits and . _ @ + -")
        if not granted:
            raise ValueError("a key needs a role")
        now = self.clock()
        if expires is not None and expires <= now:
            raise ValueError("a key's end must be in the future")
        secret = base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=")
        for _ in range(_TRIES):
            key_id = base64.b32encode(secrets.token_bytes(8))[:12].decode().lower()
            stored = _Stored(
                1, key_id, name, tenant, sorted(granted), now, hashlib.sha256(secret).hexdigest(), expires
            )
            if await self.state.compare_and_set(PREFIX + key_id, None, msgspec.json.encode(stored)):
                body = b"tg_%b_%b" % (key_id.encode(), secret)
                return stored.record(), (body + _checksum(body)).decode()
        raise StateError("no free key id was found")

    async def list(self) -> list[KeyRecord]:
        """Give all keys, revoked and expired ones too, oldest first.

        Raises:
            StateError: a record is damaged.
        """
        found = [_decode(key, value).record() for key, value in await self.state.scan(PREFIX)]
        return sorted(found, key=lambda record: (record.created, record.id))

    async def revoke(self, key_id: str) -> KeyRecord | None:
        """Make a key useless for good, and give its record; None where there is no such key.

        Raises:
            StateError: it changed again and again meanwhile, or is damaged.
        """
        if not _ID.fullmatch(key_id):
            return None
        for _ in range(_TRIES):
            value = await self.state.get(PREFIX + key_id)
            if value is None:
                return None
            stored = _decode(key_id, value)
            if stored.revoked is not None:
                return stored.record()
            stored = msgspec.structs.replace(stored, revoked=self.clock())
            if await self.state.compare_and_set(PREFIX + key_id, value, msgspec.json.encode(stored)):
                return stored.record()
        raise StateError(f"the key {key_id} could not be revoked: its record keeps changing")

    async def check(self, key_id: str, secret: bytes) -> KeyRecord | None:
        """Give a key's record where the secret is its own, usable or not; else None."""
        value = await self.state.get(PREFIX + key_id)
        digest = hashlib.sha256(secret).hexdigest()
        stored = None if value is None else _decode(key_id, value)
        # Compared also where there is none, so that the time taken does not tell which ids exist.
        if not hmac.compare_digest(digest, "" if stored is None else stored.digest) or stored is None:
            return None
        return stored.record()


_TOLD = "told/key/"
"""Prefix of what was told of a key: apart from the keys, so that telling is no change of one."""


class KeyIdentity:
    """Vouches for `Authorization: Bearer tg_…`. `follow` must run as long as it is used."""

    def __init__(self, store: KeyStore) -> None:
        self._store = store
        self.version = 0
        """Changes when any key was made or revoked. Each call looks at it."""
        self._changes = store.state.watch(PREFIX)

    async def follow(self, tell: Callable[[KeyRecord, str], None] | None = None) -> None:
        """Learn of keys that change, until cancelled: a revoked one stops within a second.

        `tell` is called once for each key that was `created` or `revoked`, also where that was done while
        no gateway ran.
        """
        self.version += 1
        await self._tell_changes(tell)
        async for _ in self._changes:
            self.version += 1
            await self._tell_changes(tell)

    async def _tell_changes(self, tell: Callable[[KeyRecord, str], None] | None) -> None:
        if tell is None:
            return
        state = self._store.state
        for record in await self._store.list():
            what = "created" if record.revoked is None else "revoked"
            told = f"{_TOLD}{record.id}"
            if await state.get(told) != what.encode():
                tell(record, what)
                await state.put(told, what.encode())

    async def authenticate(self, credentials: Credentials) -> Vouched | None:
        """Vouch for an API key; None for credentials of another kind.

        Raises:
            Unauthenticated: it is mistyped, unknown, revoked or expired.
        """
        token = _bearer(credentials.authorization)
        if token is None or not token.startswith(b"tg_"):
            return None
        match = _TOKEN.fullmatch(token)
        if match is None or not hmac.compare_digest(_checksum(token[:-6]), match[3]):
            raise Unauthenticated("the API key is mistyped or cut: its checksum is not right")
        record = await self._store.check(match[1].decode(), match[2])
        if record is None:
            raise Unauthenticated("the API key is not known")
        now = self._store.clock()
        if not record.usable(now):
            raise Unauthenticated("the API key was revoked" if record.revoked else "the API key has expired")
        until = now + RECHECK if record.expires is None else min(now + RECHECK, record.expires)
        return Vouched(record.principal(), until, record.id)


def _bearer(header: bytes | None) -> bytes | None:
    if header is None:
        return None
    scheme, _, token = header.partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else None


def _checksum(body: bytes) -> bytes:
    return base64.urlsafe_b64encode(binascii.crc32(body).to_bytes(4, "big")).rstrip(b"=")


def _decode(key: str, value: bytes) -> _Stored:
    try:
        return msgspec.json.decode(value, type=_Stored)
    except msgspec.DecodeError as error:
        raise StateError(f"the record of {key!r} in the state store is damaged") from error
