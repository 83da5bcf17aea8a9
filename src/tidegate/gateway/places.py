"""Places: whose workload a call goes to, and a lease on it. Waits where it has to; sends nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tidegate.access.stops import Stops
from tidegate.channels.channel import Asked
from tidegate.domain.errors import InvalidParams, ServerUnavailable
from tidegate.domain.server import Sharing
from tidegate.domain.workload import SHARED
from tidegate.fleet.fleet import Fleet
from tidegate.fleet.pool import Lease, Pool
from tidegate.gateway import deciding
from tidegate.gateway.call import Call
from tidegate.gateway.handles import UNKNOWN, has, is_there
from tidegate.gateway.inquiries import Inquiries
from tidegate.gateway.routes import Route, Routes
from tidegate.protocol.capabilities import Offer, parse

_SHARED, _CALL, _SESSION = Sharing.SHARED, Sharing.CALL, Sharing.SESSION
_NO_OFFER = Offer.NONE


async def _no_look(call: Call) -> None:
    raise RuntimeError("a call was sent before there was a pipeline")


class Places:
    """Finds places for calls."""

    def __init__(
        self, fleet: Fleet, routes: Routes, inquiries: Inquiries, clock: Callable[[], float], stops: Stops
    ) -> None:
        self.stops = stops
        self.look_again: Callable[[Call], Awaitable[None]] = _no_look
        """Sees whether a call that had to wait may still go out."""
        self.pools = fleet.pools
        self._fleet = fleet
        self._routes = routes
        self._inquiries = inquiries
        self._clock = clock

    def now(self, call: Call, route: Route) -> Lease | None:
        """Give a place where one is free at once, which is nearly always."""
        pool = self.pools[route.server]
        if pool.era is None:
            return None
        key = self.key(call, pool) if route.handle is None else self._key(call, route, pool)
        session = call.session
        if session is None:
            return pool.lease_now(key, None, call.id)
        return pool.lease_now(key, session.asker, session.key)

    async def wait(self, call: Call, route: Route) -> Lease:
        """Wait for a place; then look again whether the call may still go out.

        Raises:
            Refusal: there is none, or it may not.
        """
        pool, fleet = self.pools[route.server], self._fleet
        timeout, started = pool.spec.timeouts.start, self._clock()
        try:
            await fleet.era(route.server, timeout)
            if route.handle is not None and not is_there(pool, route.handle):
                raise InvalidParams(
                    UNKNOWN
                )  # no workload is brought up for a task that went with another one
            offer = self._offer(call, route, pool)
            left = max(0.0, timeout - (self._clock() - started))
            asked = self.asked(call, route) if offer and call.session is not None else None
            lease = await fleet.lease(
                route.server, self._key(call, route, pool), call.asker, left,
                holder=call.holder, offer=offer, asked=asked, principal=call.principal.key,
            )  # fmt: skip
        except ServerUnavailable:
            await self.look_again(call)  # a session that was ended took its workload with it
            raise
        try:
            await self.look_again(call)
            self.stops.admit(call.principal, route.entry.target)
            await deciding.again(self._routes, call, route)
            if route.handle is not None and not has(lease.workload, route.handle):
                raise InvalidParams(UNKNOWN)
            return lease
        except BaseException:
            lease.release()
            raise

    async def sharing(self, call: Call, server: str) -> str:
        """Say whose workload of a server a call goes to, waiting where the server's era is not known yet.

        Raises:
            ServerUnavailable: it cannot be known now.
        """
        pool = self.pools[server]
        await self._fleet.era(server, pool.spec.timeouts.start)
        return self.key(call, pool)

    def key(self, call: Call, pool: Pool) -> str:
        """Give the key of the workload in a pool that is this call's."""
        sharing = pool.spec.sharing
        key = SHARED if sharing is _SHARED else call.principal.key
        if sharing is _CALL:
            key = f"{key}.{call.id}"
        elif sharing is _SESSION and call.session is not None:
            key = f"{key}.{call.session.key}"
        return key if pool.era == "modern" or (offer := call.offer) is _NO_OFFER else key + offer.suffix

    def asked(self, call: Call, route: Route) -> Asked:
        """Give what takes a legacy server's questions for a legacy client."""
        return self.asked_by(call, route.server)

    def asked_by(self, call: Call, server: str) -> Asked:
        """Give what takes a server's questions for a legacy client."""
        return self._inquiries.asked_by(call, server, self.pools[server].spec.timeouts.input)

    def _key(self, call: Call, route: Route, pool: Pool) -> str:
        handle = route.handle
        return self.key(call, pool) if handle is None else pool.where(handle.sharing, handle.workload)

    def _offer(self, call: Call, route: Route, pool: Pool) -> Offer:
        """Say what a workload must have been offered for this call: modern servers are told with each call.

        One that is asked for by a task's handle was offered what its key says, whoever comes for it now.
        """
        if route.handle is not None:
            return parse(route.handle.sharing.partition("+")[2] or "none")
        return call.offer if pool.era == "legacy" else Offer.NONE
