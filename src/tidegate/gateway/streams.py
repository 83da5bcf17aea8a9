"""The event streams of legacy clients: who holds which, what goes where, and how a lost one is taken up again.

Each message goes on exactly one stream. A stream is its session's: no other finds it, and every burst of
events is preceded by a look whether credentials and session still hold. What a stream says is not
decided here.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Iterable, Iterator

from msgspec import Raw

from tidegate.access.authenticate import Authenticator
from tidegate.access.stops import Stops
from tidegate.domain.errors import (
    CallFailed,
    Denied,
    Draining,
    InvalidRequest,
    Refusal,
    SessionMissing,
    StateError,
    StreamsFull,
)
from tidegate.domain.principal import Principal
from tidegate.gateway.call import Call
from tidegate.gateway.deciding import made
from tidegate.gateway.event_ids import EventId, EventIds
from tidegate.gateway.looks import Looks
from tidegate.gateway.relays import Loan, Relays
from tidegate.gateway.resting import Resting
from tidegate.gateway.sessions import Session, Sessions
from tidegate.gateway.stream import Held, Stream, Weight, Writer
from tidegate.protocol.codec import Object, encode_error, encode_notification, error_object

OPEN, OPEN_EACH = 2048, 512
"""Streams that clients hold open with GET: in all, and of one principal."""
OPEN_SESSION = 4
"""Of one session. A further one ends the oldest: its connection may have been lost unnoticed."""
MOST_KEPT = 64 * 1024 * 1024
"""Bytes that all streams hold for slow clients and for those that come back."""
_ENOUGH = MOST_KEPT * 7 // 8
"""Bytes down to which they come when that is too much, so that it is not looked through for each message."""
_RESTING_EACH = 64
"""Streams of one session that are kept for clients that come back."""
QUIET = 15.0
"""Seconds after which a stream without a message is kept alive."""
LOOK = 1.0
"""Seconds between two looks whether a stream may still be."""
PRIMED = frozenset({"2025-11-25"})
"""Revisions whose clients take an event without data (2025-11-25, transports); older ones fail at it."""

Missed = Callable[[Call], Iterable[tuple[str, Object]]]
"""Gives what a client is told whose GET stream may have missed something."""


class Streams:
    """Every stream that has event ids, and everything that goes out on a session's GET streams."""

    def __init__(
        self,
        ids: EventIds,
        authenticator: Authenticator,
        sessions: Sessions,
        relays: Relays | None = None,
        stops: Stops | None = None,
    ) -> None:
        """`relays` reaches streams of the gateways that share the state store, where there are any."""
        self._stops = stops or Stops()
        self.missed: Missed = _nothing
        self.opened: Callable[[str], None] = lambda session: None
        """Told of a session that has a new GET stream."""
        self.held = Held()
        self._ids = ids
        self._authenticator = authenticator
        self._sessions = sessions
        self._relays = relays
        self._clock = asyncio.get_running_loop().time
        self._numbers = itertools.count(1)
        self._streams: dict[int, Stream] = {}
        self._of: dict[str, dict[int, Stream]] = {}
        """The streams of each session, the oldest first."""
        self._open: dict[str, int] = {}
        """How many a principal holds open."""
        self._flowing: set[Stream] = set()
        self._looks: dict[Stream, _Look] = {}
        self._looking = Looks(self._look_at, "look at a stream")
        """What looks whether each that flows still may."""
        self._resting = Resting()
        self._draining = False
        sessions.when_ended.append(self.end_session)
        if relays is not None:
            relays.lend = self._lend

    @property
    def listening(self) -> int:
        """How many streams clients hold open with GET."""
        return len(self._flowing)

    @property
    def kept(self) -> int:
        """How many streams there are, with those that clients may come back to."""
        return len(self._streams)

    # -- a POST's stream --------------------------------------------------------------------------

    def post(self, call: Call) -> Stream:
        """Give the stream on which a call is answered. One without a session cannot be taken up again."""
        session, request = call.session, call.inbound.message.id
        if session is None or request is None:
            return Stream()
        stream = self._make(session, bytes(request))
        if not stream.prefix:
            self._remove(stream)
            return Stream()
        stream.principal, stream.target = call.principal, call.target
        if session.revision in PRIMED:
            stream.prime()
        return stream

    def left(self, stream: Stream, writer: Writer) -> None:
        """Learn that a connection is lost, or that all was written to it."""
        now = self._clock()
        if not stream.detach(writer, now) or stream.number not in self._streams:
            return
        if stream.ended:
            self._remove(stream)
            return
        self._resting.add(stream, done=stream.finished and stream.resting)
        if len(self._of[stream.session]) > _RESTING_EACH:
            self._remove(next(each for each in self._of[stream.session].values() if each.writer is None))
        surplus = self._resting.surplus(stream.key)
        if surplus is not None:
            self._remove(surplus)
        self._bound()

    # -- a session's GET streams ------------------------------------------------------------------

    async def serve(self, call: Call, writer: Writer, last_event_id: str | None = None) -> None:
        """Serve a client's GET until the stream is over or the client is gone. Only for an identified call.

        Raises:
            Refusal: it cannot be served; nothing was written.
        """
        session = call.session
        if session is None:
            raise SessionMissing("no Mcp-Session-Id: a stream belongs to a session")
        if self._draining:
            raise Draining("the gateway is stopping")
        if last_event_id is None:
            stream = self._listen(session)
        else:
            event = self._ids.read(last_event_id, session.key)
            if event is None:
                raise InvalidRequest("Last-Event-ID is no id of an event of this session")
            if self._relays is not None and event.boot != self._ids.boot:
                self._check_bounds(session)
                if await self._relays.follow(session.key, event, writer, _Look(self, call)):
                    return
            stream = None
            if await self._may_have(call, event):
                stream = self._again(call, session, event)
            stream = stream or self._afresh(call, session, event)
        stream.principal = call.principal
        if stream.request is None:
            self.opened(session.key)
        await self._flow(stream, writer, _Look(self, call))

    def notify(self, session: str, method: str, params: Object) -> bool:
        """Send a notification on a session's GET stream. False where it has none, here."""
        stream = self._newest(session)
        added = stream is not None and stream.add(encode_notification(method, params))
        self._bound()
        return added

    def ask(self, session: str, message: bytes) -> bool:
        """Send a request to the client on its session's GET stream. False where that is not possible."""
        stream = self._newest(session)
        return stream is not None and stream.add(message, Weight.QUESTION)

    def sessions(self, endpoint: str, principal: str = "") -> Iterator[str]:
        """Give the keys of the sessions at an endpoint, all or one principal's, that have a GET stream here."""
        for key, streams in list(self._of.items()):
            if any(
                each.request is None and each.endpoint == endpoint and principal in ("", each.key)
                for each in streams.values()
            ):
                yield key

    def holder(self, session: str) -> Principal | None:
        """Give who holds a session's GET stream, as vouched for last."""
        stream = self._newest(session)
        return None if stream is None else stream.principal

    def end_session(self, session: str, principal: str = "") -> None:
        """End every stream of a session. What a call still answers on its own connection goes out."""
        for stream in list(self._of.get(session, {}).values()):
            if stream.request is not None and stream.writer is not None and stream not in self._flowing:
                self._remove(stream, drop=False)
            else:
                self._end(stream)

    def end(self, concerned: Callable[[Principal], object]) -> None:
        """End the GET streams of those whom a stop concerns. What a call still answers goes out."""
        for stream in list(self._flowing):
            if stream.request is None and stream.principal is not None and concerned(stream.principal):
                self._end(stream)

    def leave(self, endpoint: str) -> None:
        """End the GET streams at an endpoint."""
        for stream in list(self._flowing):
            if stream.request is None and stream.endpoint == endpoint:
                self._end(stream)

    def drain(self) -> None:
        """End the GET streams, and open no more. What calls still answer goes out."""
        self._draining = True
        for stream in list(self._flowing):
            if stream.request is None:
                self._end(stream)

    async def run(self) -> None:
        """Keep streams alive, and let go of those nobody comes back to. Never ends by itself."""
        try:
            while True:
                await asyncio.sleep(LOOK)
                self.sweep()
                await self.look()
        finally:
            self._looking.close()

    async def look(self) -> None:
        """End the streams of those who may have them no more, though nothing is said on them."""
        await self._looking.over(list(self._looks))

    async def _look_at(self, stream: Stream) -> None:
        look = self._looks.get(stream)
        if look is not None and not await look.again() and self._looks.get(stream) is look:
            self._end(stream)

    def sweep(self) -> None:
        """Do once what `run` does every second."""
        now = self._clock()
        for stream in self._flowing:
            if now - stream.quiet_since >= QUIET:
                stream.quiet_since = now
                stream.keep_alive()
        for stream in self._resting.outlived(now):
            self._remove(stream)
        self._bound()

    # -- finding ----------------------------------------------------------------------------------

    def _make(self, session: Session, request: bytes | None) -> Stream:
        number = next(self._numbers)
        prefix = self._ids.prefix(session.key, number, request)
        stream = Stream(prefix=prefix, held=self.held, request=request)
        stream.number, stream.session, stream.key = number, session.key, session.principal
        stream.endpoint = session.endpoint
        stream.quiet_since = self._clock()
        self._streams[number] = self._of.setdefault(session.key, {})[number] = stream
        return stream

    def _listen(self, session: Session) -> Stream:
        self._check_bounds(session)
        stream = self._make(session, None)
        if session.revision in PRIMED:
            stream.prime()
        listening = [each for each in self._of[session.key].values() if each.request is None]
        for oldest in listening[:-OPEN_SESSION]:
            self._end(oldest)
        return stream

    def _check_bounds(self, session: Session) -> None:
        if len(self._flowing) >= OPEN:
            raise StreamsFull(f"{OPEN} event streams are open already, as many as may be; try again later")
        if self._open.get(session.principal, 0) >= OPEN_EACH:
            raise StreamsFull(f"{OPEN_EACH} of your event streams are open already, as many as may be")

    async def _may_have(self, call: Call, event: EventId) -> bool:
        """Tell whether whoever comes back may have what was kept: the principal may have other rights by now, or have come
        with another key."""
        stream, principal = self._streams.get(event.stream), call.principal
        if stream is None or event.boot != self._ids.boot or stream.principal is None:
            return True
        if stream.principal.basis == principal.basis:
            return True
        target = stream.target
        if stream.request is None or target is None:
            return False
        try:
            return (await made(lambda: call.endpoint.authorizer.decide(principal, target))).allowed
        except Denied:
            return False

    def _again(self, call: Call, session: Session, event: EventId) -> Stream | None:
        """Find a stream of this gateway that a client comes back to."""
        stream = self._streams.get(event.stream) if event.boot == self._ids.boot else None
        if stream is None or stream.session != session.key:
            return None
        self._check_bounds(session)
        if not self._wake_up(stream, event) and stream.request is None:
            self._tell_missed(stream, call)
        return stream

    def _wake_up(self, stream: Stream, event: EventId) -> bool:
        self._resting.discard(stream)
        return stream.resume(event.number)

    def _afresh(self, call: Call, session: Session, event: EventId) -> Stream:
        """Give what stands for a stream that is gone."""
        if event.request is None:
            stream = self._listen(session)
            self._tell_missed(stream, call)
            return stream
        self._check_bounds(session)
        stream = Stream()
        stream.key = session.principal
        stream.finish(outcome_unknown(event.request))
        return stream

    def _tell_missed(self, stream: Stream, call: Call) -> None:
        for method, params in self.missed(call):
            stream.add(encode_notification(method, params))

    def _newest(self, session: str) -> Stream | None:
        """Give the GET stream that a message goes on: one that is connected, else one that may be again."""
        streams = [each for each in self._of.get(session, {}).values() if each.request is None]
        return next((each for each in reversed(streams) if each.writer is not None), None) or (
            streams[-1] if streams else None
        )

    # -- flowing ----------------------------------------------------------------------------------

    async def _flow(self, stream: Stream, writer: Writer, may: _Look | None) -> None:
        key = stream.key
        if stream not in self._flowing:  # else its connection was lost unnoticed, and this is its next
            self._flowing.add(stream)
            self._open[key] = self._open.get(key, 0) + 1
        stream.attach(writer)
        writer.begin()
        if may is not None:
            may.stream, self._looks[stream] = stream, may
        try:
            await stream.flow(writer, may)
        finally:
            if self._looks.get(stream) is may:
                self._looks.pop(stream, None)
            if stream.writer is writer:
                self._flowing.discard(stream)
                self._open[key] -= 1
                if not self._open[key]:
                    del self._open[key]
                self.left(stream, writer)
        writer.end()

    def _lend(self, session: str, event: EventId, writer: Writer) -> Loan | None:
        """Have a stream go to another gateway, at which its client came back."""
        stream = self._streams.get(event.stream)
        if stream is None or stream.session != session or self._draining:
            return None

        def begin() -> Coroutine[None, None, None]:
            self._wake_up(stream, event)
            return self._flow(stream, writer, None)  # the other one looks whether its client may read

        return Loan(stream.key, begin)

    async def holds(self, call: Call) -> bool:
        """Look whether a call's credentials and session are still good."""
        try:
            vouched = call.operator or self._authenticator.cached(call.credentials)
            if vouched is None:
                vouched = await self._authenticator.authenticate(call.credentials)
            principal, session_id = vouched.principal, call.inbound.session
            if principal.key != call.principal.key or session_id is None:
                return False
            path = call.endpoint.path
            if self._sessions.cached(session_id, principal, path) is None:
                await self._sessions.open(session_id, principal, path)
        except (Refusal, StateError):
            return False
        call.vouched = vouched
        return self._stops.check(principal) is None

    def _end(self, stream: Stream) -> None:
        stream.end()
        self._remove(stream)

    def _remove(self, stream: Stream, *, drop: bool = True) -> None:
        """Have a stream be found no more. Without `drop` what waits still goes out."""
        if drop:
            stream.drop()
            stream.finished = True
        else:
            stream.drop_kept()
        stream.prefix = b""
        self._streams.pop(stream.number, None)
        self._resting.discard(stream)
        streams = self._of.get(stream.session)
        if streams is not None:
            streams.pop(stream.number, None)
            if not streams:
                del self._of[stream.session]

    def _bound(self) -> None:
        """Hold the bound on what all streams hold together. It is made good by whoever holds the most."""
        if self.held.size <= MOST_KEPT:
            return
        sizes: dict[str, int] = {}
        for stream in self._streams.values():
            sizes[stream.key] = sizes.get(stream.key, 0) + stream.size
        while sizes and self.held.size > _ENOUGH:
            most = max(sizes, key=sizes.__getitem__)
            unread = self._resting.first_of(most)
            if unread is not None:
                sizes[most] -= unread.size
                self._remove(unread)
                continue
            del sizes[most]
            for stream in self._streams.values():
                if stream.key == most:
                    stream.relieve()


class _Look:
    """Looks, at most once a second, whether a stream may still be."""

    __slots__ = ("_call", "_looked", "_streams", "stream")

    def __init__(self, streams: Streams, call: Call) -> None:
        self.stream: Stream | None = None
        self._streams = streams
        self._call = call
        self._looked = asyncio.get_running_loop().time()

    async def __call__(self) -> bool:
        now = asyncio.get_running_loop().time()
        if now - self._looked < LOOK:
            return True
        return await self.again()

    async def again(self) -> bool:
        """Look now."""
        self._looked = asyncio.get_running_loop().time()
        good = await self._streams.holds(self._call)
        if good and self.stream is not None:
            self.stream.principal = self._call.principal  # whose rights may be others by now
        return good


def outcome_unknown(request: bytes) -> bytes:
    """Give the answer to a request whose gateway is gone."""
    text = "the gateway that handled this request is gone, and its answer with it: the outcome is unknown"
    return encode_error(Raw(request), error_object(CallFailed.code, text, {"reason": CallFailed.reason}))


def _nothing(call: Call) -> Iterable[tuple[str, Object]]:
    return ()
