"""Sessions of the legacy era. The id itself carries, sealed, what `initialize` fixed.

So a session needs no table, survives a restart, and can be read by every gateway that has the key.
It never authenticates, and says nothing of rights: it is bound to the principal and the endpoint it was made for, and
what whoever brings it may do is what they may do now. What changes later (that it was ended, a log level, subscriptions) is in the state store, and read from there once.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import os
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tidegate.domain.errors import SessionUnknown, StateError
from tidegate.domain.principal import Principal
from tidegate.fleet.losses import Asker
from tidegate.gateway.declared import Declared, read_declared, shorten
from tidegate.gateway.mail import Mail
from tidegate.ports.state import State
from tidegate.protocol.capabilities import Offer
from tidegate.protocol.codec import Object
from tidegate.telemetry import log

LONGEST = 1024
"""Bytes of a session id (`architecture.md`, Eras)."""
LIFETIME = 7 * 86_400
"""Seconds a session may be used; after it the client initialises again."""
IDLE = 86_400
"""Seconds without a request after which what was kept of a session beside its id is dropped."""
ROWS = 2000
"""Sessions of one principal of which something stands in the store, that they were ended too; then what is kept of
the oldest goes. Clients that open a session for each call would fill the store for everybody. What it costs:
an ended session is good again for its own principal, once so many later ones were ended."""
LARGEST_DATA = 64 * 1024
"""Bytes of one thing that is kept of a session."""
_NONCE = 12
_KEY_ID = 4
_OPENED_KEPT = 10_000
_UNSEEN = 3600.0
"""Seconds without a request after which an opened session is read anew when it comes again."""
_SECOND_CHANCES = 8
_LOOKED_AT = 64
"""Sessions with something in the store that are looked at for one that is not in use."""
_LOOK = 300.0
"""Seconds between two looks at which sessions are idle, and whose data is to be kept on."""
_CLIENT = 120
"""Bytes of the client's name that are sealed in. With 200 of the path and its capabilities it fits `LONGEST`."""
_KEPT = "session/"
"""Where what is kept of each session stands, by its key."""
_END = "session/end"
_TRIES = 8
_TELL = 2.0
"""Seconds that other gateways have to say that they know of a session's end."""

Ended = Callable[[str, str], None]
"""Told of a session that was ended, here or by another gateway: its key, and its principal's."""


class _Kept(msgspec.Struct, array_like=True, frozen=True):
    """What the state store has of a session."""

    data: dict[str, bytes]
    ended: str = ""
    """The key of its principal, where it was ended."""


class _Sealed(msgspec.Struct, array_like=True, frozen=True):
    unique: bytes
    made: float
    revision: str
    principal: str
    endpoint: str
    client: str
    capabilities: bytes


@dataclass(slots=True, eq=False)
class Session:
    """What `initialize` fixed, and what was kept since."""

    key: str
    """32 hex digits that stand for it in keys of workloads; not the id, which is not shown around."""
    revision: str
    principal: str
    endpoint: str
    client: str
    declared: Declared
    made: float
    asker: Asker
    data: dict[str, bytes] = field(default_factory=dict[str, bytes])
    """What is kept of it by name. Read it here, change it by `Sessions.remember`."""
    owner: Principal | None = None
    """For whom it was found to be made the last time: whoever vouches gives the same object again and again."""
    seen: float = 0.0
    """Unix seconds of the last request."""

    @property
    def capabilities(self) -> Object:
        """What the client said it can do."""
        return self.declared.capabilities

    @property
    def offer(self) -> Offer:
        """What it lets servers ask of it."""
        return self.declared.offer

    def belongs(self, principal: Principal, endpoint: str) -> bool:
        """Tell whether it was made for these."""
        return self.principal == principal.key and self.endpoint == endpoint


class Sessions:
    """Seals and opens session ids."""

    def __init__(
        self,
        keys: Mapping[bytes, bytes],
        current: bytes,
        state: State,
        clock: Callable[[], float],
        mail: Mail | None = None,
    ) -> None:
        """`keys` maps 4-byte ids to 32-byte keys; `current` is the one that seals. `clock` gives Unix seconds.

        `mail` is the way to the gateways that share `state`, where there are any.
        """
        self.when_ended: list[Ended] = []
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}
        self._current = current
        self._state = state
        self._clock = clock
        self._mail = mail
        self._opened: OrderedDict[str, Session] = OrderedDict()
        self._ids: dict[str, str] = {}
        """Id of each opened session by its key."""
        self._rows: dict[str, OrderedDict[str, None]] = {}
        """The sessions of which this gateway keeps something in the store, by principal, the oldest first."""
        self._refreshed: dict[str, float] = {}
        """When the data of each opened session that has any was last put, by its key."""
        if mail is not None:
            mail.on(_END, self._hear_end)

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
        if session is None:
            return None
        if session.owner is not principal or session.endpoint != endpoint:
            if not session.belongs(principal, endpoint):
                return None
            session.owner = principal
        now = self._clock()
        if now - session.made > LIFETIME:
            return None
        session.seen = now
        return session

    async def open(self, session_id: str, principal: Principal, endpoint: str) -> Session:
        """Open a session id.

        Raises:
            SessionUnknown: not ours, ended, too old, or another principal's or endpoint's; the client cannot tell
                which.
        """
        session = self._unseal(session_id)
        if not session.belongs(principal, endpoint):
            raise SessionUnknown(_UNKNOWN)
        session.seen = now = self._clock()
        if now - session.made > LIFETIME:
            raise SessionUnknown(_UNKNOWN)
        await self._read(session)
        # Requests that came at once open it once each; all of them have to hold the same one.
        kept = self._opened.setdefault(session_id, session)
        self._ids[session.key] = session_id
        if session.data:
            self._refreshed.setdefault(session.key, 0.0)
        if len(self._opened) > _OPENED_KEPT:
            self._make_room(now)
        return kept

    async def end(self, session_id: str, session: Session) -> None:
        """End a session for good, here and at every gateway that shares the state store."""
        await self._put(session.key, _Kept({}, session.principal), LIFETIME)
        self._forget(session.key, session.principal)  # whoever opens it from here on reads that it ended
        await self._note_row(session)
        if self._mail is not None:
            told = msgspec.msgpack.encode((session.key, session.principal))
            await self._mail.request_all(_END, told, _TELL)

    async def remember(self, session: Session, name: str, value: bytes | None) -> None:
        """Keep something of a session, under a name of [a-z_]; None drops it. Read it as `session.data[name]`.

        Kept while the session is used, and for a day.

        Raises:
            SessionUnknown: the session was ended.
            StateError: it cannot be kept, or is larger than `LARGEST_DATA`.
        """
        if value is not None and len(value) > LARGEST_DATA:
            raise StateError(f"{name} of a session has {len(value)} bytes; at most {LARGEST_DATA} are kept")
        key = _KEPT + session.key
        for _ in range(_TRIES):
            before = await self._state.get(key)
            kept = _Kept({}) if before is None else _decode(before)
            if kept.ended:
                raise SessionUnknown(_UNKNOWN)
            data = {each: found for each, found in {**kept.data, name: value}.items() if found is not None}
            after = msgspec.msgpack.encode(_Kept(data)) if data else None
            now = self._clock()
            if await self._state.compare_and_set(key, before, after, expires=self._rest(session, now)):
                self._take(session, data)
                self._refreshed[session.key] = now
                await self._note_row(session)
                return
        raise StateError("what is kept of a session keeps changing")

    async def run(self) -> None:
        """Hear what other gateways change, and let go of what is idle. Never ends by itself."""
        changes = self._state.watch(_KEPT)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow(changes), name="sessions followed")
            while True:
                await asyncio.sleep(_LOOK)
                try:
                    await self.sweep()
                except StateError as error:
                    log().error("state.failed", reason=str(error))

    async def sweep(self) -> None:
        """Keep on the data of sessions in use, and forget those that are idle: their ids open them again."""
        now = self._clock()
        for session in [each for each in self._opened.values() if each.key in self._refreshed]:
            if session.seen > self._refreshed[session.key]:
                self._refreshed[session.key] = now
                key = _KEPT + session.key
                value = await self._state.get(key)
                if value is not None:
                    # Where another gateway changes it meanwhile, that one puts it with a new end itself.
                    await self._state.compare_and_set(key, value, value, expires=self._rest(session, now))
        for session_id, session in [each for each in self._opened.items() if now - each[1].seen > _UNSEEN]:
            self._drop(session_id, session)

    async def _read(self, session: Session) -> None:
        try:
            value = await self._state.get(_KEPT + session.key)
            kept = None if value is None else _decode(value)
        except StateError as error:
            log().error("state.failed", reason=str(error))
            raise SessionUnknown(_UNKNOWN) from error
        if kept is not None:
            if kept.ended:
                raise SessionUnknown(_UNKNOWN)
            session.data.update(kept.data)

    def _rest(self, session: Session, now: float) -> float:
        return max(1.0, min(IDLE, session.made + LIFETIME - now))

    def _make_room(self, now: float) -> None:
        for _ in range(_SECOND_CHANCES):
            session_id, session = next(iter(self._opened.items()))
            if now - session.seen > _UNSEEN / 10:
                break
            self._opened.move_to_end(session_id)
        session_id, session = next(iter(self._opened.items()))
        self._drop(session_id, session)

    def _drop(self, session_id: str, session: Session) -> None:
        self._opened.pop(session_id, None)
        self._ids.pop(session.key, None)
        self._refreshed.pop(session.key, None)

    def _forget(self, key: str, principal: str) -> None:
        session_id = self._ids.get(key)
        if session_id is not None:
            self._drop(session_id, self._opened[session_id])
        for told in self.when_ended:
            told(key, principal)

    async def _note_row(self, session: Session) -> None:
        """Count what stands in the store of a session, and drop what is too much. Never raises: it stands there."""
        rows = self._rows.setdefault(session.principal, OrderedDict())
        rows[session.key] = None
        rows.move_to_end(session.key)
        while len(rows) > ROWS:
            oldest = self._oldest(rows)
            del rows[oldest]
            try:
                await self._state.put(_KEPT + oldest, None)
            except StateError as error:
                rows[oldest] = None
                rows.move_to_end(oldest, last=False)
                log().error("state.failed", reason=str(error))
                return

    def _oldest(self, rows: OrderedDict[str, None]) -> str:
        """Give the session of which nothing is kept any more: the oldest, but of those in use only where all are."""
        lately = self._clock() - _UNSEEN
        for _ in range(_LOOKED_AT):
            oldest = next(iter(rows))
            session = self._opened.get(self._ids.get(oldest, ""))
            if session is None or session.seen < lately:
                return oldest
            rows.move_to_end(oldest)
        return next(iter(rows))

    async def _put(self, key: str, kept: _Kept, expires: float) -> None:
        await self._state.put(_KEPT + key, msgspec.msgpack.encode(kept), expires=expires)

    async def _follow(self, changes: AsyncIterator[str]) -> None:
        async for key in changes:
            if "/" in key.removeprefix(_KEPT):
                continue  # what others keep of a session
            try:
                await self._hear(key.removeprefix(_KEPT))
            except StateError as error:
                log().error("state.failed", reason=str(error))

    async def _hear(self, key: str) -> None:
        """Learn what became of a session, here or at another gateway."""
        value = await self._state.get(_KEPT + key)
        kept = _Kept({}) if value is None else _decode(value)
        session = self._opened.get(self._ids.get(key, ""))
        if kept.ended:
            self._forget(key, kept.ended)
        elif session is not None:
            self._take(session, kept.data)

    def _take(self, session: Session, data: dict[str, bytes]) -> None:
        session.data.clear()
        session.data.update(data)
        if data:
            self._refreshed.setdefault(session.key, 0.0)

    async def _hear_end(self, sender: str, told: bytes) -> bytes:
        """Learn from another gateway that a session was ended."""
        key, principal = msgspec.msgpack.decode(told, type=tuple[str, str])
        self._forget(key, principal)
        return b""

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
            key, sealed.revision, sealed.principal, sealed.endpoint, sealed.client,
            read_declared(sealed.capabilities), sealed.made, Asker(key, sealed.made),
        )  # fmt: skip


def _decode(value: bytes) -> _Kept:
    try:
        return msgspec.msgpack.decode(value, type=_Kept)
    except msgspec.DecodeError as error:
        raise StateError("what is kept of a session is damaged") from error


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


_UNKNOWN = "unknown session: send initialize again"
