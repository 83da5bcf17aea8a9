"""The exchange with a server: what it takes until it has answered, whatever its era and the client's.

Rounds and questions are brought to the call's client; what holds still is read from the cache. The record of
the call is made before and after, not here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine

from msgspec import Raw

from tidegate.channels.channel import Asked, Notify, Outbound, Reply
from tidegate.domain.errors import ChannelClosed, ChannelFailure, SessionForgotten
from tidegate.domain.target import Kind
from tidegate.domain.workload import Upstream
from tidegate.fleet.pool import Lease
from tidegate.fleet.workload import Workload
from tidegate.gateway import deciding
from tidegate.gateway.cache import Place, ReadCache
from tidegate.gateway.call import LEVEL, Call
from tidegate.gateway.outbound import Outbounds
from tidegate.gateway.parked import Asking, ParkedCalls, Patience
from tidegate.gateway.places import Places
from tidegate.gateway.rounds import ASKING, Rounds
from tidegate.gateway.routes import Route, Routes
from tidegate.gateway.tasks import Origin, Tasks
from tidegate.ports.recorder import Intent
from tidegate.protocol import bridge
from tidegate.protocol import rounds as wire
from tidegate.protocol.bridge import ResultKind, error_code
from tidegate.protocol.capabilities import Offer
from tidegate.protocol.codec import Object
from tidegate.protocol.revisions import CODE_HEADER_MISMATCH

_NO_MATTER = frozenset({"progressToken", "traceparent", "tracestate", "baggage"})
"""Keys of `_meta` that change no answer."""
_NO_OFFER = Offer.NONE
_ASKS = b"input_required"
_REREAD = 5.0
"""Seconds for reading a server's tools anew in the midst of a call."""


async def _no_reading(server: str, kind: Kind, timeout: float, workload: Workload) -> None:
    """Leave it as it is."""


class Exchange:
    """Has servers answer."""

    def __init__(
        self,
        places: Places,
        routes: Routes,
        tasks: Tasks,
        rounds: Rounds,
        parked: ParkedCalls,
        cache: ReadCache,
    ) -> None:
        self.reread: Callable[[str, Kind, float, Workload], Awaitable[None]] = _no_reading
        """Has a server's list of a kind read and shown anew: server, kind, seconds at most, whom to ask."""
        self._places = places
        self._routes = routes
        self._tasks = tasks
        self._rounds = rounds
        self._parked = parked
        self._cache = cache
        self.outbounds = Outbounds()

    def is_plain(self, call: Call, route: Route, upstream: Upstream) -> bool:
        """Tell whether it takes one request and one answer, which is nearly always."""
        if upstream.era == "modern":
            return route.ordinary
        if not route.ordinary or call.offer is not _NO_OFFER:
            return False
        session = call.session
        return call.inbound.log_level is None if session is None else LEVEL not in session.data

    def outbound(self, call: Call, route: Route, lease: Lease, asked: Asked | None = None) -> Outbound:
        """Give the request as this server gets it."""
        timeouts = self._places.pools[route.server].spec.timeouts
        return self.outbounds.make(call, route, lease.channel.upstream, timeouts, asked)

    async def again(
        self,
        call: Call,
        route: Route,
        intent: Intent,
        lease: Lease,
        error: ChannelFailure,
        before: Outbound | None = None,
    ) -> Reply:
        """Send a request once more with which nothing was done. `before` is how it was sent, to be asked and told alike.

        Raises:
            ChannelFailure: something may have been done with it, or it failed again.
        """
        if isinstance(error, ChannelClosed):
            if error.sent:
                raise error
            # Else its channel has told it; and another call may have brought it up anew already.
            if lease.workload.channel is lease.channel:
                lease.workload.replace(str(error))
        # By the time there is another, it may be that the call must not go out any more.
        with await self._places.wait(call, route) as another:
            outbound = self.outbound(call, route, another, None if before is None else before.asked)
            if before is not None:
                outbound.notify = before.notify
            workload = another.workload
            route.answered_by = workload.sharing, workload.identity.id
            return await another.channel.call(intent, outbound)

    @staticmethod
    def is_settled(call: Call, upstream: Upstream, reply: Reply) -> bool:
        """Tell at a glance that a reply is the last, which is nearly always: only modern servers have rounds."""
        if reply.result is None:
            return False
        if call.session is None or upstream.era == "legacy":
            return True
        data = bytes(reply.result)
        return _ASKS not in data and (b"\\" not in data or b"\\u" not in data)  # escapes are as good as none

    async def settle(
        self, call: Call, route: Route, intent: Intent, lease: Lease, reply: Reply
    ) -> Reply | Asking:
        """Make of a modern server's first answer what it takes: other headers, rounds of input."""
        if reply.error is not None and error_code(reply.error) == CODE_HEADER_MISMATCH:
            reply = await self._mirror_again(call, route, intent, lease, reply)
        if call.session is None or reply.result is None:
            return reply
        if ResultKind(reply.result).type != "input_required":
            return reply
        return await self._drive(call, route, intent, lease, reply)

    async def fetch(self, call: Call, route: Route, intent: Intent, lease: Lease) -> Reply | Asking:
        """Have the call answered, from the cache where it is a reading that holds still."""
        if call.method != "resources/read" or lease.channel.upstream.era != "modern":
            return await self._exchange(call, route, intent, lease)
        place = Place(route.server, lease.workload.sharing, route.entry.target.name, call.principal)
        meta = bridge.hop_free(call.inbound.message.meta)
        # What else it asks with is no part of the cache's key: it must not make another's answer.
        plain = call.params.keys() == {"uri"} and meta.keys() <= _NO_MATTER
        kept = self._cache.lookup(place) if plain else None
        if kept is not None:
            return Reply(Raw(kept), None)
        age = self._cache.age(route.server)
        reply = await self._exchange(call, route, intent, lease)
        if (
            plain
            and route.params.keys().isdisjoint(wire.RETRY)  # of rounds that were driven for a legacy client
            and isinstance(reply, Reply)
            and reply.result is not None
            and ResultKind(reply.result).type == "complete"
        ):
            self._cache.keep(place, reply.result, age)
        return reply

    def patience(self, call: Call, route: Route) -> Patience:
        """Say how a call is parked."""
        timeouts = self._places.pools[route.server].spec.timeouts
        return Patience(self._rounds.park(call, route), timeouts.input)

    async def _exchange(self, call: Call, route: Route, intent: Intent, lease: Lease) -> Reply | Asking:
        """Have the server answer, bringing what it asks to this call's client."""
        if lease.channel.upstream.era == "modern":
            reply = await self._call(call, route, intent, lease)
            return await self.settle(call, route, intent, lease, reply)
        if call.log_level is not None:
            await lease.channel.want_logs(call.log_level)
        origin = self._origin(route, lease)
        hear = None if origin is None else self._tasks.notify(call, origin, call.hear)
        if not call.offer or (call.session is None and call.method not in ASKING):
            # Else a modern client would be asked for input where it need not expect it (basic/patterns/mrtr).
            return await self._call(call, route, intent, lease, hear=hear)
        if call.session is not None:
            asked = self._tasks.asked(call, origin, self._places.asked(call, route))
            return await self._call(call, route, intent, lease, asked, hear)
        held = self._parked.hold(call, lease, route.entry.target)

        def work(asked: Asked) -> Coroutine[object, object, Reply]:
            return self._call(call, route, intent, lease, asked, held.hear)

        return await self._parked.begin(held, work, self.patience(call, route))

    async def _mirror_again(
        self, call: Call, route: Route, intent: Intent, lease: Lease, reply: Reply
    ) -> Reply:
        """Send a call again whose server wants other headers than it said: it did nothing with it.

        2026-07-28, basic/transports/streamable-http: a client reads the list again, and retries.
        """
        if route.entry.target.kind is not Kind.TOOL or call.method != "tools/call":
            return reply
        await self.reread(route.server, Kind.TOOL, _REREAD, lease.workload)
        again = await deciding.found(self._routes, call)
        if again.mirrored == route.mirrored:
            return reply
        route.mirrored = again.mirrored
        return await self._call(call, route, intent, lease)

    def _origin(self, route: Route, lease: Lease) -> Origin | None:
        """Say where the task is that the call is about, or may become; None where that is none."""
        if route.handle is None and "task" not in route.params:
            return None
        workload = lease.workload
        return Origin(route.server, workload.sharing, workload.identity.id, route.entry.target.name)

    async def _drive(self, call: Call, route: Route, intent: Intent, lease: Lease, reply: Reply) -> Reply:
        """Drive a modern server's rounds for a legacy client."""
        params = route.params

        async def retry(more: Object) -> Reply:
            await self._places.look_again(call)  # the client may have taken its time
            route.params = {**params, **more}
            await deciding.again(self._routes, call, route)
            return await self._call(call, route, intent, lease)

        timeouts = self._places.pools[route.server].spec.timeouts
        return await self._rounds.drive(call, route, reply, retry, timeouts.input)

    async def _call(
        self,
        call: Call,
        route: Route,
        intent: Intent,
        lease: Lease,
        asked: Asked | None = None,
        hear: Notify | None = None,
    ) -> Reply:
        """Send the request, and once more where nothing was done with it."""
        outbound = self.outbound(call, route, lease, asked)
        if hear is not None and outbound.notify is not None:
            outbound.notify = hear
        try:
            return await lease.channel.call(intent, outbound)
        except (SessionForgotten, ChannelClosed) as error:
            return await self.again(call, route, intent, lease, error, outbound)
