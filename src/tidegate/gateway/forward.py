"""Forward: a call that may go out, to its server and back. Called by the pipeline only, after its checks.

A lease first, then the record, then the first byte to the server; whatever comes of it is recorded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial

from msgspec import Raw, Struct

from tidegate.audit.journal import Journal
from tidegate.channels.channel import Asked, Notify, Outbound, Reply
from tidegate.domain.errors import (
    CallFailed,
    CallTimedOut,
    ChannelClosed,
    ChannelFailure,
    ChannelTimeout,
    Refusal,
    ServerUnavailable,
    SessionForgotten,
)
from tidegate.domain.record import Outcome
from tidegate.domain.server import ServerSpec, Sharing
from tidegate.domain.target import Kind
from tidegate.domain.workload import SHARED
from tidegate.fleet.fleet import Fleet
from tidegate.fleet.pool import Lease
from tidegate.gateway.cache import Place, ReadCache
from tidegate.gateway.call import Answer, Call
from tidegate.gateway.elsewhere import Elsewhere
from tidegate.gateway.inquiries import Inquiries
from tidegate.gateway.outbound import Outbounds
from tidegate.gateway.parked import Asking, ParkedCalls, Patience
from tidegate.gateway.replies import Replies, Where
from tidegate.gateway.rounds import Rounds
from tidegate.gateway.routes import Route, Routes
from tidegate.gateway.streams import Streams
from tidegate.gateway.tasks import Origin, Tasks
from tidegate.ports.recorder import Intent
from tidegate.protocol import rounds as wire
from tidegate.protocol.bridge import ResultKind, error_code
from tidegate.protocol.capabilities import Offer, parse
from tidegate.protocol.codec import Object
from tidegate.protocol.revisions import CODE_HEADER_MISMATCH
from tidegate.telemetry import Metrics, log

_REREAD = 5.0
"""Seconds for reading a server's tools anew in the midst of a call."""
_OVERTIME = 30.0
"""Seconds for which a sealed state may be brought back later than its call waits."""


class There(Struct):
    """What is to be done at a server, and where."""

    where: Where
    work: Callable[[], Coroutine[object, object, Reply | Asking]]
    lease: Lease | None = None
    """The place that it is done on; None where another gateway has it."""


_ELSEWHERE = Where("", "", "legacy")
"""Only calls to legacy servers are parked."""


async def _no_reading(server: str, kind: Kind, timeout: float) -> None:
    """Leave it as it is."""


async def _no_look(call: Call) -> None:
    raise RuntimeError("a call was sent before there was a pipeline")


class Forward:
    """Sends calls to servers."""

    def __init__(
        self,
        routes: Routes,
        tasks: Tasks,
        rounds: Rounds,
        parked: ParkedCalls,
        inquiries: Inquiries,
        replies: Replies,
        cache: ReadCache,
        streams: Streams,
        fleet: Fleet,
        journal: Journal,
        metrics: Metrics,
        clock: Callable[[], float],
        elsewhere: Elsewhere | None = None,
    ) -> None:
        """`elsewhere`: parked calls of the gateways that share the state store, where there are any."""
        self.routes = routes
        self.look_again: Callable[[Call], Awaitable[None]] = _no_look
        """Sees whether a call that had to wait may still go out."""
        self.reread: Callable[[str, Kind, float], Awaitable[None]] = _no_reading
        """Has a server's list of a kind read and shown anew: server, kind, seconds at most."""
        self._tasks = tasks
        self._rounds = rounds
        self._parked = parked
        self._inquiries = inquiries
        self._replies = replies
        self._cache = cache
        self._streams = streams
        self._fleet = fleet
        self._journal = journal
        self._metrics = metrics
        self._clock = clock
        self._elsewhere = elsewhere
        self._outbounds = Outbounds()

    async def handle(self, call: Call, route: Route) -> Answer:
        """Send a call, or go on with the one that it is a retry of.

        Raises:
            Refusal: it does not go out, or came to no answer.
            JournalUnavailable: it cannot be recorded, so it does not go out.
        """
        if "requestState" in call.params and call.inbound.modern:
            state = self._rounds.open(call, route, self._spec(route).timeouts.input + _OVERTIME)
            if state.parked:
                return await self._resume(call, route, state.value)
            state.unwrap(route)
        lease = self._lease_now(call, route) or await self._wait_for_lease(call, route)
        try:
            self._fit(call, route, lease)
            intent = self._intent(call, route, lease.workload.identity.id)
            work = partial(self._read_or_exchange, call, route, intent, lease)
            return await self._send(call, route, intent, There(_where(lease), work, lease))
        finally:
            if not call.held:
                lease.release()
            if call.session is not None and lease.channel.upstream.era == "legacy":
                call.notify = partial(self._later, call.session.key)

    def tell(self, call: Call) -> None:
        """Pass a notification of a legacy client on to the legacy servers that it has workloads of.

        What such a server asks next may come to this client: so it is one that may reach the server, and has roots.
        """
        if Offer.ROOTS not in call.offer:
            return
        self._journal.request(
            call.principal, {"call": call.id, "method": call.method, "endpoint": call.endpoint.path}
        )
        for server in call.endpoint.spec.servers:
            if not call.endpoint.authorizer.may_reach(call.principal, server):
                continue
            pool = self._fleet.pools.get(server)
            workload = None if pool is None else pool.workloads.get(self._shared(call, server))
            if pool is None or workload is None or workload.channel is None or pool.era != "legacy":
                continue
            asked = self._inquiries.asked_by(call, server, pool.spec.timeouts.input)
            workload.channel.tell(Outbound(call.method, call.params, holder=call.holder, asked=asked))

    def _later(self, session: str, method: str, params: Object) -> None:
        """Take what a server tells after the answer: it goes on the session's own stream, if there is one."""
        self._streams.notify(session, method, params)

    def _fit(self, call: Call, route: Route, lease: Lease) -> None:
        """See that this workload can do it, where that is a matter of tasks; and that it gets no forged round."""
        if not call.inbound.modern and not route.params.keys().isdisjoint(wire.RETRY):
            # A legacy client's rounds are driven here: it holds no state, and must not make up one.
            route.params = {name: value for name, value in route.params.items() if name not in wire.RETRY}
        if route.handle is not None:
            self._tasks.check(route.handle, lease.workload)
        elif "task" in route.params:
            workload = lease.workload
            era = lease.channel.upstream.era
            route.params = self._tasks.augment(call, workload.spec, era, route.params)

    async def _resume(self, call: Call, route: Route, name: str) -> Answer:
        """Go on with a call that is parked, as with any other: recorded before anything goes out."""
        answers = wire.responses(call.params)
        if self._elsewhere is not None and self._elsewhere.holds(name):
            timeout = self._spec(route).timeouts.call + _OVERTIME
            there = partial(self._elsewhere.resume, call, name, answers, timeout)
            intent = self._intent(call, route, "")
            return await self._send(call, route, intent, There(_ELSEWHERE, there))
        held = self._parked.find(name)
        call.held = True
        lease = held.lease
        go_on = partial(self._parked.resume, call, held, answers, self._patience(call, route))
        intent = self._intent(call, route, lease.workload.identity.id)
        return await self._send(call, route, intent, There(_where(lease), go_on, lease))

    # -- a place --------------------------------------------------------------------------------

    def _lease_now(self, call: Call, route: Route) -> Lease | None:
        """Give a place where one is free at once, which is nearly always."""
        pool = self._fleet.pools[route.server]
        if pool.era is None:
            return None
        return self._fleet.lease_now(route.server, self._sharing(call, route), call.asker, call.holder)

    async def _wait_for_lease(self, call: Call, route: Route) -> Lease:
        """Wait for a workload; then look again whether the call may still go out."""
        spec, fleet = self._spec(route), self._fleet
        started = self._clock()
        try:
            await fleet.era(route.server, spec.timeouts.start)
            offer = self._offer(call, route)
            left = max(0.0, spec.timeouts.start - (self._clock() - started))
            asked = self._asked(call, route) if offer else None
            lease = await fleet.lease(
                route.server, self._sharing(call, route), call.asker, left,
                holder=call.holder, offer=offer, asked=asked,
            )  # fmt: skip
        except ServerUnavailable:
            await self.look_again(call)  # a session that was ended took its workload with it
            raise
        try:
            await self.look_again(call)
            route.decision = self.routes.find(call).decision
            return lease
        except BaseException:
            lease.release()
            raise

    def _offer(self, call: Call, route: Route) -> Offer:
        """Say what a workload must have been offered for this call: modern servers are told with each call.

        One that is asked for by a task's handle was offered what its key says, whoever comes for it now.
        """
        if route.handle is not None:
            return parse(route.handle.sharing.partition("+")[2] or "none")
        return call.offer if self._fleet.pools[route.server].era == "legacy" else Offer.NONE

    async def sharing(self, call: Call, server: str) -> str:
        """Say whose workload of a server a call goes to, waiting where the server's era is not known yet.

        Raises:
            ServerUnavailable: it cannot be known now.
        """
        await self._fleet.era(server, self._fleet.pools[server].spec.timeouts.start)
        return self._shared(call, server)

    def _sharing(self, call: Call, route: Route) -> str:
        return self._shared(call, route.server) if route.handle is None else route.handle.sharing

    def _shared(self, call: Call, server: str) -> str:
        pool = self._fleet.pools[server]
        sharing, key = pool.spec.sharing, call.principal.key
        if sharing is Sharing.SHARED:
            key = SHARED
        elif sharing is Sharing.CALL:
            key = f"{key}.{call.id}"
        elif sharing is Sharing.SESSION and call.session is not None:
            key = f"{key}.{call.session.key}"
        return key if pool.era == "modern" else key + call.offer.suffix

    def _spec(self, route: Route) -> ServerSpec:
        return self._fleet.pools[route.server].spec

    def _asked(self, call: Call, route: Route) -> Asked:
        return self._inquiries.asked_by(call, route.server, self._spec(route).timeouts.input)

    # -- the record -----------------------------------------------------------------------------

    def _intent(self, call: Call, route: Route, workload: str) -> Intent:
        return self._journal.intent(
            call_id=call.id,
            principal=call.principal,
            endpoint=call.endpoint.path,
            target=route.entry.target,
            shown=route.entry.shown,
            decision=route.decision,
            workload=workload,
            arguments=route.recorded,
            client=call.client,
            revision=call.inbound.revision if call.session is None else call.session.revision,
            credential=call.vouched.credential if call.vouched else "",
            peer=call.credentials.peer,
            trace=call.trace,
            method=call.method,
        )

    async def _send(self, call: Call, route: Route, intent: Intent, there: There) -> Answer:
        """Send a recorded call to its server, and record what came of it, whatever does."""
        outcome, code, size = Outcome.FAILED, None, 0
        try:
            await self._journal.durable(intent)
            reply = await there.work()
            outcome = Outcome.ERROR  # should this client not be able to have it
            if isinstance(reply, Asking):
                read = self._replies.asking(call, reply.result)
            else:
                read = self._replies.read(call, route, reply, there.where)
            outcome, code, size = read.outcome, read.code, read.size
            return read.answer
        except asyncio.CancelledError:
            outcome = Outcome.CANCELLED
            raise
        except ChannelFailure as error:
            outcome = Outcome.TIMEOUT if isinstance(error, ChannelTimeout) else Outcome.FAILED
            raise self._broken(route, there.lease, error) from error
        finally:
            seconds = self._clock() - call.started
            self._journal.outcome(intent, outcome, code=code, size=size, duration_us=int(seconds * 1e6))
            self._metrics.calls[call.endpoint.path, route.server, outcome.value] += 1
            self._metrics.call_seconds[route.server].observe(seconds)

    async def _read_or_exchange(
        self, call: Call, route: Route, intent: Intent, lease: Lease
    ) -> Reply | Asking:
        """Have the call answered, from the cache where it is a reading that holds still."""
        if call.method != "resources/read" or lease.channel.upstream.era != "modern":
            return await self._exchange(call, route, intent, lease)
        place = Place(route.server, lease.workload.sharing, route.entry.target.name, call.principal)
        again = not call.params.keys().isdisjoint(wire.RETRY)
        kept = None if again else self._cache.lookup(place)
        if kept is not None:
            return Reply(Raw(kept), None)
        age = self._cache.age(route.server)
        reply = await self._exchange(call, route, intent, lease)
        if (
            not again
            and route.params.keys().isdisjoint(wire.RETRY)  # of rounds that were driven for a legacy client
            and isinstance(reply, Reply)
            and reply.result is not None
            and ResultKind(reply.result).type == "complete"
        ):
            self._cache.keep(place, reply.result, age)
        return reply

    # -- the exchange with the server -----------------------------------------------------------

    async def _exchange(self, call: Call, route: Route, intent: Intent, lease: Lease) -> Reply | Asking:
        """Have the server answer, bringing what it asks to this call's client."""
        if lease.channel.upstream.era == "modern":
            reply = await self._call(call, route, intent, lease)
            if reply.error is not None and error_code(reply.error) == CODE_HEADER_MISMATCH:
                reply = await self._mirror_again(call, route, intent, lease, reply)
            if call.inbound.modern or reply.result is None:
                return reply
            if ResultKind(reply.result).type != "input_required":
                return reply
            return await self._drive(call, route, intent, lease, reply)
        if call.log_level is not None:
            await lease.channel.want_logs(call.log_level)
        origin = self._origin(route, lease)
        hear = None if origin is None else self._tasks.notify(call, origin, call.hear)
        if not call.offer:
            return await self._call(call, route, intent, lease, hear=hear)
        if call.session is not None:
            asked = self._tasks.asked(call, origin, self._asked(call, route))
            return await self._call(call, route, intent, lease, asked, hear)
        held = self._parked.hold(call, lease)

        def work(asked: Asked) -> Coroutine[object, object, Reply]:
            return self._call(call, route, intent, lease, asked, held.hear)

        return await self._parked.begin(held, work, self._patience(call, route))

    async def _mirror_again(
        self, call: Call, route: Route, intent: Intent, lease: Lease, reply: Reply
    ) -> Reply:
        """Send a call again whose server wants other headers than it said: it did nothing with it.

        2026-07-28, basic/transports/streamable-http: a client reads the list again, and retries.
        """
        if route.entry.target.kind is not Kind.TOOL or call.method != "tools/call":
            return reply
        await self.reread(route.server, Kind.TOOL, _REREAD)
        again = self.routes.find(call)
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
            route.params = {**params, **more}
            return await self._call(call, route, intent, lease)

        return await self._rounds.drive(call, route, reply, retry, self._spec(route).timeouts.input)

    def _patience(self, call: Call, route: Route) -> Patience:
        return Patience(self._rounds.park(call, route), self._spec(route).timeouts.input)

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
        channel = lease.channel
        outbound = self._outbounds.make(call, route, channel.upstream, self._spec(route).timeouts, asked)
        if hear is not None and outbound.notify is not None:
            outbound.notify = hear
        try:
            return await channel.call(intent, outbound)
        except (SessionForgotten, ChannelClosed) as error:
            if isinstance(error, ChannelClosed):
                if error.sent:
                    raise
                # Else its channel has told it; and another call may have brought it up anew already.
                if lease.workload.channel is channel:
                    lease.workload.replace(str(error))
        # By the time there is another, it may be that the call must not go out any more.
        with await self._wait_for_lease(call, route) as again:
            return await again.channel.call(intent, outbound)

    def _broken(self, route: Route, lease: Lease | None, error: ChannelFailure) -> Refusal:
        """Say what a broken channel means for the call, and have the workload looked after."""
        server = route.server
        if lease is not None:
            log().warning(
                "call.failed", server=server, workload=lease.workload.identity.id, reason=str(error)
            )
            lease.workload.suspect()
        if isinstance(error, ChannelTimeout):
            return CallTimedOut(f"server {server}: {error}; its outcome is unknown")
        if not error.sent:
            return ServerUnavailable(f"server {server} is not available: {error}; nothing was called")
        return CallFailed(f"server {server} failed during the call: {error}; its outcome is unknown")


def _where(lease: Lease) -> Where:
    workload = lease.workload
    return Where(workload.sharing, workload.identity.id, lease.channel.upstream.era)
