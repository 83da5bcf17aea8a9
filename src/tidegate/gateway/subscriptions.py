"""Subscriptions: what servers tell by themselves, to those who asked for it and may hear of it.

Legacy clients subscribe by request and hear on their session's stream; modern ones open a stream for it. What is
told comes from the workload that the hearer's own calls go to, and from no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Container, Coroutine, Iterable, Mapping
from contextlib import suppress
from functools import partial

from msgspec import Raw

from tidegate.access.authorize import Undecided
from tidegate.access.stops import Stops
from tidegate.domain.errors import (
    ChannelFailure,
    InvalidParams,
    JournalUnavailable,
    MethodNotFound,
    Refusal,
    ServerUnavailable,
    StateError,
)
from tidegate.domain.principal import Principal
from tidegate.domain.server import ServerSpec
from tidegate.domain.target import Kind, Target
from tidegate.fleet.workload import Workload
from tidegate.gateway.call import Answer, Call
from tidegate.gateway.deciding import check_scopes, made
from tidegate.gateway.endpoint import Endpoint
from tidegate.gateway.handles import Handle, knows, may_use, possible
from tidegate.gateway.interests import Hearer, Interests, Place
from tidegate.gateway.listeners import Listener, Listeners
from tidegate.gateway.listening import Listening, Sharing, may_read, tells_of_resources
from tidegate.gateway.pace import Pace
from tidegate.gateway.subscribed import SessionHearer, SessionStreams, Subscribed, Topic
from tidegate.gateway.tasks import Tasks, require_extension
from tidegate.gateway.watches import Watches, Workloads
from tidegate.ports.state import State
from tidegate.protocol import subscriptions, tasks, uris
from tidegate.protocol.codec import Object, decode_text, encode, encode_result
from tidegate.protocol.subscriptions import unstamped
from tidegate.telemetry import log

_TASK, _STATUS = "notifications/tasks", "notifications/tasks/status"
LOOK = 1.0
"""Seconds after which it is looked whether who listens still may."""
_LATER = 1024
"""Things that wait to be told until it is decided whether they may be; more are not told."""


async def _no_look(call: Call) -> None:
    raise RuntimeError("a stream was opened before there was a pipeline")


class Subscriptions:
    """Everything that clients are told without a call."""

    def __init__(
        self,
        fleet: Workloads,
        state: State,
        tasks: Tasks,
        streams: SessionStreams,
        endpoints: Mapping[str, Endpoint],
        *,
        sharing: Sharing,
        now: Callable[[], float],
        stops: Stops | None = None,
    ) -> None:
        """`now` gives Unix seconds."""
        self._stops = stops = stops or Stops()
        self.look_again: Callable[[Call], Awaitable[None]] = _no_look
        """Sees whether who opened a stream may still have it; raises a `Refusal` where not."""
        self.methods: Mapping[str, Callable[[Call], Awaitable[Answer]]] = {
            "resources/subscribe": self.subscribe,
            "resources/unsubscribe": self.unsubscribe,
            "subscriptions/listen": self.listen,
        }
        self.listeners = Listeners()
        self._fleet = fleet
        self._tasks = tasks
        tasks.early = self._tell_status
        self._streams = streams
        self._sharing = sharing
        self._interests = Interests()
        self._pace = Pace()
        self._watches = Watches(fleet, self._interests, now)
        self._listening = Listening(fleet, tasks, self._interests, self._watches, sharing, stops)
        self._subscribed = Subscribed(state, self._interests, endpoints, streams, now)
        self._background: set[asyncio.Task[None]] = set()

    # -- life ---------------------------------------------------------------------------------

    async def open(self) -> None:
        """Go on with what sessions subscribed to before this gateway started.

        Raises:
            StateError: it cannot be read.
        """
        await self._subscribed.load()

    async def run(self) -> None:
        """Follow what gateways that share the state store do. Never ends by itself."""
        await self._subscribed.follow(self._followed)

    def drain(self) -> None:
        """End every stream in order, and open no more."""
        self._pace.close()
        self.listeners.drain()

    def end(self, concerned: Callable[[Principal], object]) -> None:
        """End the streams of those whom a stop concerns, in order. Those that it does not only concern go quiet."""
        self.listeners.end(lambda listener: concerned(listener.principal))

    async def close(self) -> None:
        """Stop what is under way."""
        self.drain()
        for task in self._background:
            task.cancel()
        if self._background:
            await asyncio.wait(self._background)
        await self._watches.close()

    # -- legacy clients -----------------------------------------------------------------------

    async def subscribe(self, call: Call) -> Answer:
        """Answer `resources/subscribe`.

        Raises:
            InvalidParams: no such resource, or its server refuses.
            MethodNotFound: its server cannot be subscribed to.
            Refusal: its workload is not to be had, or there are too many subscriptions.
            StateError: it cannot be kept.
        """
        if call.session is None:
            raise MethodNotFound(f"no method {call.method[:60]!r} here")
        shown = decode_text(call.params.get("uri")) or ""
        resolve = partial(
            call.endpoint.resolve, call.principal, Kind.RESOURCE, shown,
            session=call.session.key, offer=call.offer,
        )  # fmt: skip
        entry, _ = await made(resolve)
        check_scopes(call, entry.target)
        server = entry.target.server
        self._stops.admit(call.principal, entry.target)
        self._check_possible(server)
        topic = Topic(server, await self._sharing(call, server), entry.target.name, shown)
        with await self._watches.bring_up(topic.place, self._start_timeout(server)) as lease:
            if not tells_of_resources(lease.channel.upstream):
                raise MethodNotFound(f"server {server} has no resources that can be subscribed to")
            await made(resolve)  # that may have taken a while
            self._stops.admit(call.principal, entry.target)
            await self._subscribed.add(call.session.key, call.endpoint, call.principal, topic)
            await self._settled(call.session.key, topic)
        return _empty(call)

    async def unsubscribe(self, call: Call) -> Answer:
        """Answer `resources/unsubscribe`; what was not subscribed to is no fault.

        Raises:
            StateError: it cannot be kept.
        """
        if call.session is None:
            raise MethodNotFound(f"no method {call.method[:60]!r} here")
        shown = decode_text(call.params.get("uri")) or ""
        hearer = self._subscribed.get(call.session.key)
        for topic in () if hearer is None else hearer.topics:
            if topic.shown == shown:
                await self._subscribed.remove(call.session.key, topic)
                with suppress(ChannelFailure):  # nobody is told in any case
                    await self._watches.settle(topic.place)
        return _empty(call)

    def end_session(self, key: str, principal: str = "") -> None:
        """Let go of an ended session's subscriptions."""
        known = self._subscribed.get(key) is not None
        for place in self._subscribed.forget(key):
            self._watches.touch(place)
        if known:
            self._spawn(self._subscribed.erase(key))

    def stream_opened(self, session_key: str) -> None:
        """See that the workloads run whose changes a session wants to hear of, now that it can hear."""
        hearer = self._subscribed.get(session_key)
        if hearer is not None:
            self._ensure(self._interests.places(hearer))

    def missed(self, call: Call) -> Iterable[tuple[str, Object]]:
        """Give what a session is told whose stream may have missed something: that all of it may have changed."""
        lists = ("tools", "prompts", "resources")
        try:
            declared: Container[str] = call.endpoint.capabilities(call.principal, modern=False)
        except Undecided:  # who asks what changed is told no more than may be
            declared = lists
        for name in lists:
            if name in declared:
                yield f"notifications/{name}/list_changed", {}
        hearer = None if call.session is None else self._subscribed.get(call.session.key)
        if hearer is not None:
            self.stream_opened(hearer.key)
            for topic in hearer.topics:
                try:
                    if may_read(call.endpoint, call.principal, topic.server, topic.uri, topic.shown):
                        yield subscriptions.UPDATED, {"uri": Raw(encode(topic.shown))}
                except Undecided as undecided:
                    params = {"uri": Raw(encode(topic.shown))}
                    self._later(
                        undecided,
                        partial(self._tell_read, hearer, topic.server, topic.uri, topic.shown, params),
                    )

    # -- modern clients -----------------------------------------------------------------------

    async def listen(self, call: Call) -> Answer:
        """Answer `subscriptions/listen`: tell what happens until the client leaves or the gateway ends it.

        Raises:
            InvalidParams: the filter is not as it must be.
            MissingCapability: it names tasks, and the client did not declare them.
            Refusal: the client takes no stream, or has too many.
        """
        wanted = subscriptions.read(call.params)
        if wanted.tasks is not None:
            require_extension(call)
        with self.listeners.place(call) as listener:
            try:
                listener.acknowledge(await self._listening.arrange(listener, wanted))
                looked = listener.endpoint.authorizer.version
                while not listener.ended:
                    woken = await listener.wait(LOOK)
                    version = listener.endpoint.authorizer.version
                    if listener.ended or not await self._may_go_on(listener, woken or version != looked):
                        break
                    looked = version
            finally:
                for place in self._interests.drop(listener):
                    self._watches.touch(place)
        return Answer(200, listener.result())

    # -- what happens -------------------------------------------------------------------------

    def workload_ready(self, workload: Workload) -> None:
        """Ask a workload that came up, or came up anew, to tell of what is wanted."""
        place = workload.spec.name, workload.sharing
        if self._interests.uris(place) or self._interests.tasks(place):
            self._watches.touch(place)

    def notified(self, server: str, workload: Workload, method: str, params: Object) -> None:
        """Pass on what a workload told by itself to those who wanted to hear of it, and still may."""
        if method == subscriptions.UPDATED:
            self._updated((server, workload.sharing), params)
        elif method in (_TASK, _STATUS):
            self._task_changed((server, workload.sharing), workload, method, params)

    def changed(self, endpoint: str, kind: Kind, principal: str = "", session: str = "") -> None:
        """Tell that an endpoint's list of a kind is another one, for all or for one principal or session alone."""
        method = subscriptions.CHANGED.get(kind)
        if method is None:
            return
        for hearing in list(self._streams.sessions(endpoint, principal)):
            if session in ("", hearing):
                self._streams.notify(hearing, method, {})
        for listener in () if session else self.listeners.at(endpoint):  # modern clients have no session
            if principal not in ("", listener.principal.key):
                continue
            if listener.honoured.covers(method):
                listener.tell(method, {})
            listener.wake()  # what it listens to may be there no more, or not for its principal

    def held(self, server: str, sharing: str) -> bool:
        """Tell whether somebody waits to hear from a workload, or has a task there: then it is not idle."""
        if self._tasks.held(server, sharing):
            return True
        endpoints: dict[str, set[str]] = {}
        for hearer in self._interests.hearers((server, sharing)):
            if isinstance(hearer, Listener):
                return True
            path = hearer.endpoint.path
            if path not in endpoints:
                endpoints[path] = set(self._streams.sessions(path))
            if isinstance(hearer, SessionHearer) and hearer.key in endpoints[path]:
                return True
        return False

    # -- inside -------------------------------------------------------------------------------

    def _check_possible(self, server: str) -> None:
        pool = self._fleet.pools.get(server)
        if pool is None or not possible(pool.spec):
            raise MethodNotFound(f"server {server} has no resources that can be subscribed to")

    def _start_timeout(self, server: str) -> float:
        return self._fleet.pools[server].spec.timeouts.start

    async def _settled(self, session: str, topic: Topic) -> None:
        """See that the server agreed to a new subscription; else take it back."""
        try:
            refused = await self._watches.settle(topic.place)
        except ChannelFailure as error:
            await self._take_back(session, topic)
            raise ServerUnavailable(f"server {topic.server} took no subscription: {error}") from error
        if (False, topic.uri) in refused:
            await self._take_back(session, topic)
            raise InvalidParams(f"server {topic.server} does not tell of changes of this resource")

    async def _take_back(self, session: str, topic: Topic) -> None:
        await self._subscribed.remove(session, topic)
        self._watches.touch(topic.place)

    async def _may_go_on(self, listener: Listener, wholly: bool) -> bool:
        """Look whether who listens may go on, and (`wholly`) whether they may hear of all that they hear of."""
        before = listener.principal
        try:
            await self.look_again(listener.call)
            if wholly or listener.principal != before:
                await self._listening.look_again(listener)
        except (Refusal, StateError):
            return False
        return True

    def _later(self, undecided: Undecided, tell: Callable[[], object]) -> None:
        """Have something told once it is decided whether it may be: no engine was asked yet."""

        async def decided() -> None:
            await undecided.settled()
            with suppress(Undecided):  # it changed again: whoever asks will be told
                tell()

        if len(self._background) < _LATER:
            self._spawn(decided())

    def _followed(self, session: str, places: frozenset[Place]) -> None:
        """Learn that a session subscribed, or let go, at another gateway."""
        for place in places:
            self._watches.touch(place)
        hearer = self._subscribed.get(session)
        if hearer is not None and session in self._streams.sessions(hearer.endpoint.path):
            self._ensure(places)

    def _ensure(self, places: frozenset[Place]) -> None:
        for place in places:
            pool = self._fleet.pools.get(place[0])
            workload = None if pool is None else pool.workloads.get(place[1])
            if workload is None or workload.channel is None:
                self._spawn(self._bring_up(place))

    async def _bring_up(self, place: Place) -> None:
        try:
            with await self._watches.bring_up(place, self._start_timeout(place[0])):
                await self._watches.settle(place)
        except (Refusal, ChannelFailure, KeyError) as error:
            log().warning("server.degraded", server=place[0], reason=f"subscriptions: {error}")

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work, name="subscriptions")
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _updated(self, place: Place, params: Object) -> None:
        uri = decode_text(params.get("uri"))
        if uri is None or len(uri) > uris.LONGEST:
            return
        self._pace.tell((place, uri), params, partial(self._tell_updated, place, uri))

    def _tell_updated(self, place: Place, uri: str, params: Object) -> bool:
        hearers = self._interests.of_uri(place, uri)
        for hearer, known in hearers:
            shown = hearer.endpoint.uri_out(place[0], uri) if known is None else known
            if self._stops.any and self._stops.check(hearer.principal, Target(place[0], Kind.RESOURCE, uri)):
                continue
            told: Object = {**params, "uri": Raw(encode(shown))}
            tell = partial(self._tell_read, hearer, place[0], uri, shown, told)
            try:
                tell()
            except Undecided as undecided:
                self._later(undecided, tell)
        return bool(hearers)

    def _tell_read(self, hearer: Hearer, server: str, uri: str, shown: str, params: Object) -> None:
        if may_read(hearer.endpoint, hearer.principal, server, uri, shown):
            hearer.tell(subscriptions.UPDATED, params)

    def _task_changed(self, place: Place, workload: Workload, method: str, params: Object) -> None:
        task = tasks.named(params)
        if task is None:
            return
        # Whose task it is says the workload that speaks now: by the time it is told, there may be another.
        identity = workload.identity.id
        if method == _STATUS:
            tell = partial(self._tell_statuses, (*place, identity))
        else:
            tell = partial(self._tell_task, place, task, workload.spec, identity)
        self._pace.tell((method, place, identity, task), params, tell)

    def _tell_statuses(self, workload: tuple[str, str, str], params: Object) -> bool:
        told = False
        try:
            found = self._tasks.statuses(workload, params)
        except Undecided as undecided:
            self._later(undecided, partial(self._tell_statuses, workload, params))
            return True
        for session, text, handle in found:
            if self._stops.about(handle.target) is not None:
                continue
            self._tell_status(session, text, params)
            told = True
        return told

    def _tell_task(self, place: Place, task: str, spec: ServerSpec, identity: str, params: Object) -> bool:
        told = False
        for hearer, handle, text in self._interests.of_task(place, task):
            if not isinstance(hearer, Listener) or not knows(spec, identity, handle):
                continue
            if self._stops.any and self._stops.check(hearer.principal, handle.target):
                continue
            try:
                told = self._tell_of_task(hearer, handle, text, params) or told
            except Undecided as undecided:
                self._later(undecided, partial(self._tell_of_task, hearer, handle, text, params))
                told = True
        return told

    def _tell_status(self, session: str, text: str, params: Object) -> None:
        told = tasks.in_params(_STATUS, unstamped(params), lambda _: text)
        self._streams.notify(session, _STATUS, told)

    def _tell_of_task(self, listener: Listener, handle: Handle, text: str, params: Object) -> bool:
        if not may_use(listener.principal, listener.endpoint, handle):
            return False
        try:
            told = self._tasks.heard(listener.call, handle, params)
        except (Refusal, ChannelFailure, JournalUnavailable) as error:
            log().warning("server.degraded", server=handle.server, reason=f"a task is not told of: {error}")
            return False
        inlined = listener.endpoint.renaming(handle.server).result
        listener.tell(_TASK, tasks.in_params(_TASK, told, lambda _: text, inlined))
        return True


def _empty(call: Call) -> Answer:
    return Answer(200, encode_result(call.inbound.message.id or b"null", b"{}"))
