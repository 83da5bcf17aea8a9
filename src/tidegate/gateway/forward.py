"""Forward: a call that may go out, to its server and back. Called by the pipeline only, after its checks.

A lease first, then the record, then the first byte to the server; whatever comes of it is recorded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial

from msgspec import Struct

from tidegate.access.authorize import Undecided
from tidegate.access.quotas import Quotas
from tidegate.audit.journal import Journal
from tidegate.channels.channel import Outbound, Reply
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
from tidegate.domain.server import Timeouts
from tidegate.fleet.pool import Lease
from tidegate.gateway import deciding
from tidegate.gateway.call import Answer, Call, Listener
from tidegate.gateway.elsewhere import Elsewhere
from tidegate.gateway.exchange import Exchange
from tidegate.gateway.parked import Asking, ParkedCalls
from tidegate.gateway.places import Places
from tidegate.gateway.replies import Replies
from tidegate.gateway.rounds import Rounds
from tidegate.gateway.routes import Route, Routes
from tidegate.gateway.tasks import Tasks
from tidegate.ports.recorder import Intent
from tidegate.protocol import rounds as wire
from tidegate.protocol.capabilities import Offer
from tidegate.telemetry import Metrics, log

_FIT = wire.RETRY | {"task"}
"""Parameters for which it matters which workload a call goes to, or what client it is of."""
_OK, _FAILED, _ERROR, _CANCELLED = Outcome.OK, Outcome.FAILED, Outcome.ERROR, Outcome.CANCELLED
"""At hand: until Python 3.12 looking a member up runs Python of the enumeration's, ten times a call."""
_ERRORS = frozenset({Outcome.ERROR, Outcome.TOOL_ERROR})
"""Answers that say that it did not go well: a server is judged by them, but not taken for sick."""
_OVERTIME = 30.0
"""Seconds for which a sealed state may be brought back later than its call waits."""


class There(Struct, frozen=True):
    """A call that is open already, and is gone on with."""

    work: Callable[[], Coroutine[object, object, Reply | Asking]]
    lease: Lease | None = None
    """The place that it holds; None where another gateway has it."""


class Forward:
    """Sends calls to servers."""

    def __init__(
        self,
        routes: Routes,
        places: Places,
        exchange: Exchange,
        tasks: Tasks,
        rounds: Rounds,
        parked: ParkedCalls,
        replies: Replies,
        streams: Listener,
        journal: Journal,
        metrics: Metrics,
        clock: Callable[[], float],
        quotas: Quotas,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        """`streams` takes what servers tell after a call; `elsewhere`: parked calls of other gateways, if any."""
        self.routes = routes
        self.places = places
        self._exchange = exchange
        self._outbounds = exchange.outbounds
        self._tasks = tasks
        self._rounds = rounds
        self._parked = parked
        self._replies = replies
        self._streams = streams
        self._journal = journal
        self._metrics = metrics
        self._clock = clock
        self._quotas = quotas
        self._elsewhere = elsewhere

    def handle(self, call: Call, route: Route) -> Coroutine[object, object, Answer]:
        """Send a call, or go on with the one that it is a retry of. To be awaited at once.

        Raises:
            Refusal: it does not go out, or came to no answer.
            JournalUnavailable: it cannot be recorded, so it does not go out.
        """
        if not route.ordinary and "requestState" in call.params and call.inbound.modern:
            state = self._rounds.open(call, route, self._timeouts(route).input + _OVERTIME)
            if state.parked:
                return self._resume(call, route, state.value)
            state.unwrap(route)
        if self._quotas.any:  # a parked call was counted when it came; of a task the call that made it
            target, again = route.entry.target, route.handle is not None
            call.counted = self._quotas.admit(call.principal, call.endpoint.path, target, again=again)
        lease = self.places.now(call, route)
        return self._wait(call, route) if lease is None else self._go(call, route, lease)

    async def _wait(self, call: Call, route: Route) -> Answer:
        """Send a call once there is a place for it."""
        return await self._go(call, route, await self.places.wait(call, route))

    def _go(self, call: Call, route: Route, lease: Lease) -> Coroutine[object, object, Answer]:
        """Record a call that has its place, and give what sends it: one coroutine less to go through."""
        try:
            if not route.ordinary and (route.handle is not None or not route.params.keys().isdisjoint(_FIT)):
                self._fit(call, route, lease)
            intent = self._intent(call, route, lease.workload.identity.id)
        except BaseException:
            lease.release()
            raise
        return self._send(call, route, intent, lease)

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
            if not _may_reach(call, server):
                continue
            if self.places.stops.about_server(server) is not None:
                continue
            pool = self.places.pools.get(server)
            workload = None if pool is None else pool.workloads.get(self.places.key(call, pool))
            if pool is None or workload is None or workload.channel is None or pool.era != "legacy":
                continue
            asked = self.places.asked_by(call, server)
            workload.channel.tell(Outbound(call.method, call.params, holder=call.holder, asked=asked))

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
            timeout = self._timeouts(route).call + _OVERTIME
            there = partial(self._elsewhere.resume, call, name, answers, timeout)
            intent = self._intent(call, route, "")
            return await self._send(call, route, intent, There(there))
        held = self._parked.find(name)
        call.held = True
        go_on = partial(self._parked.resume, call, held, answers, self._exchange.patience(call, route))
        intent = self._intent(call, route, held.lease.workload.identity.id)
        return await self._send(call, route, intent, There(go_on, held.lease))

    def _timeouts(self, route: Route) -> Timeouts:
        return self.places.pools[route.server].spec.timeouts

    # -- the record -----------------------------------------------------------------------------

    def _intent(self, call: Call, route: Route, workload: str) -> Intent:
        entry, session, vouched = route.entry, call.session, call.vouched
        return self._journal.intent(
            call_id=call.id,
            principal=call.principal,
            endpoint=call.endpoint.path,
            target=entry.target,
            shown=entry.shown,
            decision=route.decision,
            workload=workload,
            arguments=route.recorded,
            client=call.inbound.client if session is None else session.client,
            revision=call.inbound.revision if session is None else session.revision,
            credential="" if vouched is None else vouched.credential,
            peer=call.credentials.peer,
            trace=call.trace,
            method=call.method,
        )

    async def _send(self, call: Call, route: Route, intent: Intent, at: Lease | There) -> Answer:
        """Send a recorded call to its server, record what came of it, whatever does, and give back its place."""
        placed = isinstance(at, Lease)
        lease = at if placed else at.lease
        outcome, code, size, broke = _FAILED, None, 0, ""
        try:
            if self._journal.promises_more:
                await self._journal.durable(intent)
            if not placed:
                reply = await at.work()
            elif self._exchange.is_plain(call, route, upstream := at.channel.upstream):
                try:  # written out here: it is what nearly all calls are
                    outbound = self._outbounds.make(call, route, upstream, at.workload.spec.timeouts)
                    reply = await at.channel.call(intent, outbound)
                except (SessionForgotten, ChannelClosed) as error:
                    reply = await self._exchange.again(call, route, intent, at, error)
                if not self._exchange.is_settled(call, upstream, reply):
                    reply = await self._exchange.settle(call, route, intent, at, reply)
            else:
                reply = await self._exchange.fetch(call, route, intent, at)
            outcome = _ERROR  # should this client not be able to have it
            try:
                read = self._replies.read(call, route, reply, lease)
            except Undecided:  # whether its server may still ask something
                read = await deciding.made(partial(self._replies.read, call, route, reply, lease))
            outcome, code, size = read.outcome, read.code, read.size
            return read.answer
        except asyncio.CancelledError:
            outcome = _CANCELLED
            raise
        except ChannelFailure as error:
            outcome, broke = Outcome.TIMEOUT if isinstance(error, ChannelTimeout) else _FAILED, str(error)
            raise self._broken(route, lease, error) from error
        finally:
            seconds = self._clock() - call.started
            if placed:
                if not call.held:
                    if outcome is _OK and at.workload.vitals.clear:
                        at.workload.took(seconds)  # what `done` comes to for nearly all calls
                    elif outcome is not _CANCELLED:  # which says nothing about the server
                        at.done(not broke, seconds, outcome in _ERRORS, broke, call.principal.key)
                    at.release()
                if call.session is not None:
                    call.later = self._streams
            self._journal.outcome(intent, outcome, code=code, size=size, duration_us=int(seconds * 1e6))
            self._metrics.calls[call.endpoint.path, route.server, outcome] += 1
            self._metrics.call_seconds[route.server].observe(seconds)

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


def _may_reach(call: Call, server: str) -> bool:
    try:
        return call.endpoint.authorizer.may_reach(call.principal, server)
    except Undecided:  # it was just now: policies changed in between
        return False
