"""Subscribed: what legacy sessions have subscribed to. Kept in the state store, so that it outlives a gateway.

Gateways that share the store follow each other's changes: a session's stream may be at another one than the
request that subscribes. MCP 2025-11-25, server/resources, Subscriptions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import msgspec

from tidegate.domain.errors import Overloaded, StateError
from tidegate.domain.principal import Attribute, Principal
from tidegate.gateway.endpoint import Endpoint
from tidegate.gateway.interests import Interests, Place
from tidegate.gateway.sessions import LIFETIME
from tidegate.ports.state import State
from tidegate.protocol.codec import Object
from tidegate.protocol.subscriptions import unstamped
from tidegate.telemetry import log

EACH, LARGEST = 256, 64 * 1024
"""Subscriptions of one session, and bytes of them."""
IN_ALL, OF_ONE = 50_000, 5000
"""Subscriptions of all sessions, and of one principal's: each is kept in memory, and asked for at a server."""
_PREFIX = "session/subs/"
_TRIES = 8
"""Attempts to change what another gateway changes at the same time."""


class SessionStreams(Protocol):
    """The streams that legacy clients opened with GET."""

    def notify(self, session: str, method: str, params: Object) -> bool:
        """Send a notification to a session, if it has a stream here."""
        ...

    def sessions(self, endpoint: str, principal: str = "") -> Iterable[str]:
        """Give the keys of the sessions of an endpoint that have one open here, all or one principal's."""
        ...

    def holder(self, session: str) -> Principal | None:
        """Give who holds a session's stream here, as vouched for last; None where nobody does."""
        ...


class Topic(msgspec.Struct, frozen=True, array_like=True):
    """One resource that a session subscribed to."""

    server: str
    sharing: str
    uri: str
    shown: str

    @property
    def place(self) -> Place:
        """The workload that has it."""
        return self.server, self.sharing


class _Row(msgspec.Struct, frozen=True, array_like=True):
    endpoint: str
    tenant: str
    issuer: str
    subject: str
    roles: tuple[str, ...]
    topics: tuple[Topic, ...]
    groups: tuple[str, ...] = ()
    client: str = ""
    attributes: dict[str, Attribute] = {}

    @property
    def principal(self) -> Principal:
        """Whose it is, as they were when they subscribed last."""
        return Principal(
            self.tenant, self.issuer, self.subject, frozenset(self.roles), frozenset(self.groups), self.client,
            self.attributes,
        )  # fmt: skip


class SessionHearer:
    """A legacy session that subscribed to something."""

    def __init__(self, key: str, endpoint: Endpoint, principal: Principal, streams: SessionStreams) -> None:
        self.key = key
        self.endpoint = endpoint
        self.subscriber = principal
        """Whose it is, as they were when they subscribed last."""
        self.topics: tuple[Topic, ...] = ()
        self.until = 0.0
        """Unix seconds when the session is over at the latest."""
        self._streams = streams

    @property
    def principal(self) -> Principal:
        """Who hears it: what they may have now counts, where they hear it here."""
        return self._streams.holder(self.key) or self.subscriber

    def tell(self, method: str, params: Object) -> None:
        """Pass on what happened, where the session has a stream here."""
        self._streams.notify(self.key, method, unstamped(params))


class Subscribed:
    """The subscriptions of every session."""

    def __init__(
        self,
        state: State,
        interests: Interests,
        endpoints: Mapping[str, Endpoint],
        streams: SessionStreams,
        now: Callable[[], float],
    ) -> None:
        """`now` gives Unix seconds."""
        self._state = state
        self._interests = interests
        self._endpoints = endpoints
        self._streams = streams
        self._now = now
        self._hearers: dict[str, SessionHearer] = {}
        self._count = 0
        self._of: Counter[str] = Counter()
        """How many each principal has."""

    def get(self, session_key: str) -> SessionHearer | None:
        """Give the session, if it subscribed to anything."""
        return self._hearers.get(session_key)

    async def load(self) -> None:
        """Read what sessions subscribed to at a gateway before."""
        for key, value in await self._state.scan(_PREFIX):
            self._apply(key.removeprefix(_PREFIX), _decode(value))

    async def follow(self, changed: Callable[[str, frozenset[Place]], None]) -> None:
        """Follow what other gateways change. `changed` takes the session, and the workloads that matter to it."""
        async for key in self._state.watch(_PREFIX):
            session = key.removeprefix(_PREFIX)
            try:
                value = await self._state.get(key)
            except StateError as error:
                log().error("state.failed", reason=str(error))
                continue
            places = self._apply(session, None if value is None else _decode(value))
            if places:
                changed(session, places)

    async def add(self, session: str, endpoint: Endpoint, principal: Principal, topic: Topic) -> None:
        """Add one.

        Raises:
            Overloaded: there would be too many.
            StateError: it cannot be kept.
        """
        if self._count >= IN_ALL:
            self._purge()
        if self._count >= IN_ALL:
            raise Overloaded(f"{IN_ALL} subscriptions of all sessions are open already")
        if self._of[principal.key] >= OF_ONE:
            raise Overloaded(f"{OF_ONE} of your subscriptions are open already, as many as may be")

        def change(row: _Row | None) -> _Row:
            kept = () if row is None else row.topics
            topics = (*(each for each in kept if not _same(each, topic)), topic)
            return _Row(
                endpoint.path, principal.tenant, principal.issuer, principal.subject,
                tuple(sorted(principal.roles)), topics, tuple(sorted(principal.groups)), principal.client,
                dict(principal.attributes),
            )  # fmt: skip

        await self._change(session, change)

    async def remove(self, session: str, topic: Topic) -> None:
        """Remove one, if it is there.

        Raises:
            StateError: that cannot be kept.
        """

        def change(row: _Row | None) -> _Row | None:
            topics = () if row is None else tuple(each for each in row.topics if not _same(each, topic))
            return msgspec.structs.replace(row, topics=topics) if row is not None and topics else None

        await self._change(session, change)

    def forget(self, session: str) -> frozenset[Place]:
        """Forget a session here; give the workloads that mattered to it."""
        return self._apply(session, None)

    async def erase(self, session: str) -> None:
        """Forget a session in the store."""
        try:
            await self._state.put(_PREFIX + session, None)
        except StateError as error:
            log().error("state.failed", reason=str(error))

    async def _change(self, session: str, change: Callable[[_Row | None], _Row | None]) -> None:
        key = _PREFIX + session
        for _ in range(_TRIES):
            before = await self._state.get(key)
            row = change(None if before is None else _decode(before))
            after = None if row is None else msgspec.msgpack.encode(row)
            if row is not None and len(row.topics) > EACH:
                raise Overloaded(f"a session may have {EACH} subscriptions")
            if after is not None and len(after) > LARGEST:
                raise Overloaded(f"the subscriptions of a session may have {LARGEST} bytes")
            if await self._state.compare_and_set(key, before, after, expires=LIFETIME):
                self._apply(session, row)
                return
        raise StateError("the subscriptions of a session are being changed elsewhere all the time")

    def _apply(self, session: str, row: _Row | None) -> frozenset[Place]:
        """Make what is in memory the same as what is kept; give the workloads for which something changes."""
        hearer = self._hearers.get(session)
        endpoint = None if row is None else self._endpoints.get(row.endpoint)
        topics = () if row is None or endpoint is None else row.topics
        if hearer is not None and row is not None:
            hearer.until = self._now() + LIFETIME
        before = () if hearer is None else hearer.topics
        gone, new = set(before) - set(topics), set(topics) - set(before)
        if len(new) > len(gone) and self._count + len(new) > IN_ALL:
            return frozenset()
        if hearer is None and row is not None and endpoint is not None:
            hearer = self._hearers[session] = SessionHearer(session, endpoint, row.principal, self._streams)
            hearer.until = self._now() + LIFETIME
        if hearer is None:
            return frozenset()
        for topic in gone:
            self._interests.drop_uri(hearer, topic.place, topic.uri)
        for topic in new:
            self._interests.add_uri(hearer, topic.place, topic.uri, topic.shown)
        self._count += len(new) - len(gone)
        owner = hearer.subscriber.key
        self._of[owner] += len(new) - len(gone)
        if not self._of[owner]:
            del self._of[owner]
        hearer.topics = topics
        if row is not None:
            hearer.subscriber = row.principal
        if not topics:
            self._hearers.pop(session, None)
        return frozenset(topic.place for topic in gone | new)

    def _purge(self) -> None:
        now = self._now()
        for session in [key for key, hearer in self._hearers.items() if hearer.until <= now]:
            self._apply(session, None)


def _same(one: Topic, other: Topic) -> bool:
    return one.server == other.server and one.uri == other.uri


def _decode(value: bytes) -> _Row | None:
    try:
        return msgspec.msgpack.decode(value, type=_Row)
    except msgspec.DecodeError:
        return None
