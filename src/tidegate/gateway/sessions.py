"""Sessions of the legacy era. The id itself carries, sealed, what `initialize` fixed.

So a session needs no table, survives a restart, and can be read by every gateway that has the key.
It never authenticates: it is bound to the principal and endpoint it was made for.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tidegate.domain.errors import SessionUnknown, StateError
from tidegate.domain.principal import Principal
from tidegate.fleet.losses import Asker
from tidegate.ports.state import State
from tidegate.telemetry import log

LONGEST = 1024
"""Bytes of a session id (`architecture.md`, Eras)."""
LIFETIME = 7 * 86_400
"""Seconds a session may be used; after it the client initialises again."""
_NONCE = 12
_KEY_ID = 4
_OPENED_KEPT = 10_000
_CLIENT = 120
"""Bytes of the client's name that are sealed in. With 200 of the path and those below it fits `LONGEST`."""
_CAPABILITIES = 320
"""Bytes of client capabilities that are sealed in; larger ones are cut down to their first level."""


class _Sealed(msgspec.Struct, array_like=True, frozen=True):
    unique: bytes
    made: float
    revision: str
    principal: str
    endpoint: str
    client: str
    capabilities: bytes


@dataclass(frozen=True, slots=True)
class Session:
    """What `initialize` fixed."""

    key: str
    """32 hex digits that stand for it in keys of workloads; not the id, which is not shown around."""
    revision: str
    principal: str
    endpoint: str
    client: str
    capabilities: bytes
    """The client's, as JSON."""
    made: float
    asker: Asker


class Sessions:
    """Seals and opens session ids."""

    def __init__(
        self, keys: Mapping[bytes, bytes], current: bytes, state: State, clock: Callable[[], float]
    ) -> None:
        """`keys` maps 4-byte ids to 32-byte keys; `current` is the one that seals. `clock` gives Unix seconds."""
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}
        self._current = current
        self._state = state
        self._clock = clock
        self._opened: OrderedDict[str, Session] = OrderedDict()

    def create(
        self, principal: Principal, endpoint: str, revision: str, client: str, capabilities: bytes
    ) -> str:
        """Make a session id."""
        sealed = _Sealed(
            os.urandom(16),
            self._clock(),  # whole: a session and a loss may be of the same second
            revision,
            principal.key,
            endpoint,
            client.encode()[:_CLIENT].decode(errors="ignore"),
            shorten(capabilities),
        )
        nonce = os.urandom(_NONCE)
        data = self._ciphers[self._current].encrypt(nonce, msgspec.msgpack.encode(sealed), self._current)
        return _encode(self._current + nonce + data)

    def cached(self, session_id: str, principal: Principal, endpoint: str) -> Session | None:
        """Give a session that was opened before, where it is this principal's."""
        session = self._opened.get(session_id)
        if session is None or session.principal != principal.key or session.endpoint != endpoint:
            return None
        return None if self._clock() - session.made > LIFETIME else session

    async def open(self, session_id: str, principal: Principal, endpoint: str) -> Session:
        """Open a session id.

        Raises:
            SessionUnknown: not ours, ended, too old, or another principal's or endpoint's; the client
                cannot tell which.
        """
        session = self._unseal(session_id)
        if session.principal != principal.key or session.endpoint != endpoint:
            raise SessionUnknown(_UNKNOWN)
        if self._clock() - session.made > LIFETIME or await self._was_ended(session):
            raise SessionUnknown(_UNKNOWN)
        self._opened[session_id] = session
        if len(self._opened) > _OPENED_KEPT:
            self._opened.popitem(last=False)
        return session

    async def end(self, session_id: str, session: Session) -> None:
        """End a session for good."""
        self._opened.pop(session_id, None)
        await self._state.put(f"session/ended/{session.key}", b"1", expires=LIFETIME)
        self._opened.pop(session_id, None)  # a request may have opened it meanwhile

    async def _was_ended(self, session: Session) -> bool:
        try:
            return await self._state.get(f"session/ended/{session.key}") is not None
        except StateError as error:
            log().error("state.failed", reason=str(error))
            raise SessionUnknown(_UNKNOWN) from error

    def _unseal(self, session_id: str) -> Session:
        if len(session_id) > LONGEST:
            raise SessionUnknown(_UNKNOWN)
        try:
            data = base64.b64decode(session_id + "=" * (-len(session_id) % 4), altchars=b"-_", validate=True)
            if _encode(data) != session_id:  # one session, one spelling: else another one outlives its end
                raise SessionUnknown(_UNKNOWN)
            key_id, nonce = data[:_KEY_ID], data[_KEY_ID : _KEY_ID + _NONCE]
            plain = self._ciphers[key_id].decrypt(nonce, data[_KEY_ID + _NONCE :], key_id)
            sealed = msgspec.msgpack.decode(plain, type=_Sealed)
        except (binascii.Error, ValueError, KeyError, InvalidTag, msgspec.DecodeError) as error:
            raise SessionUnknown(_UNKNOWN) from error
        key = hashlib.sha256(sealed.unique).hexdigest()[:32]
        return Session(
            key, sealed.revision, sealed.principal, sealed.endpoint, sealed.client, sealed.capabilities,
            sealed.made, Asker(key, sealed.made),
        )  # fmt: skip


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


_UNKNOWN = "unknown session: send initialize again"


def shorten(capabilities: bytes) -> bytes:
    """Cut client capabilities down so that the id stays under its bound: names of the first level stay."""
    if len(capabilities) <= _CAPABILITIES:
        return capabilities
    found = msgspec.json.decode(capabilities, type=dict[str, msgspec.Raw])
    names: dict[str, object] = {}
    for name in found:
        if len(msgspec.json.encode({**names, name: {}})) > _CAPABILITIES:
            break
        names[name] = {}
    return msgspec.json.encode(names)
