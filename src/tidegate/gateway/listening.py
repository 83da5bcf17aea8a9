"""Listening: what of a stream's filter can be honoured, for its principal and by the servers; now and later."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import cast

from tidegate.access.stops import Stops
from tidegate.domain.errors import (
    ChannelFailure,
    Denied,
    InsufficientScope,
    InvalidParams,
    ParseFailure,
    Refusal,
)
from tidegate.domain.principal import Principal
from tidegate.domain.target import Kind, Target
from tidegate.domain.workload import Upstream
from tidegate.gateway.call import Call
from tidegate.gateway.deciding import check_scopes, made
from tidegate.gateway.endpoint import Endpoint
from tidegate.gateway.handles import Handle, is_there, may_use, possible
from tidegate.gateway.interests import Interests, Place
from tidegate.gateway.listeners import Listener
from tidegate.gateway.tasks import Tasks
from tidegate.gateway.view import Entry
from tidegate.gateway.watches import Watches, Workloads
from tidegate.protocol.codec import Object, decode_object
from tidegate.protocol.subscriptions import Filter
from tidegate.telemetry import log

ARRANGED = 15.0
"""Seconds until a stream is acknowledged, with what servers agreed to by then."""

Sharing = Callable[[Call, str], Awaitable[str]]
"""Says which workload of a server a call of this client goes to: its key in the pool."""


class Listening:
    """Arranges with servers what a stream tells of."""

    def __init__(
        self,
        fleet: Workloads,
        tasks: Tasks,
        interests: Interests,
        watches: Watches,
        sharing: Sharing,
        stops: Stops,
    ) -> None:
        self._stops = stops
        self._fleet = fleet
        self._tasks = tasks
        self._interests = interests
        self._watches = watches
        self._sharing = sharing

    async def arrange(self, listener: Listener, wanted: Filter) -> Filter:
        """Have servers tell of what a stream wants; give what of it is honoured. The rest is left out."""
        endpoint, principal = listener.endpoint, listener.principal
        await endpoint.prepare(principal)
        declared = await made(lambda: endpoint.capabilities(principal, modern=True))
        lists = frozenset(name for name in wanted.lists if _changes(declared.get(name)))
        listener.honoured = Filter(lists)  # a list may change before servers have agreed to the rest
        uris: set[str] = set()
        texts: set[str] = set()
        try:
            async with asyncio.timeout(ARRANGED), asyncio.TaskGroup() as group:
                for server, shown in (await self._by_server(listener.call, wanted.uris)).items():
                    group.create_task(self._tell_of_uris(listener, server, shown, uris))
                for place, handles in (await self._by_place(listener, wanted.tasks or ())).items():
                    group.create_task(self._tell_of_tasks(listener, place, handles, texts))
        except TimeoutError:
            log().warning("server.degraded", reason=f"subscriptions took longer than {ARRANGED:g} s")
        return Filter(
            lists,
            tuple(uri for uri in wanted.uris if uri in uris),
            tuple(text for text in wanted.tasks or () if text in texts),
        )

    async def look_again(self, listener: Listener) -> None:
        """Have no more told of what the principal may not have any more.

        Raises:
            Denied: that cannot be decided now.
        """
        uris, handles = self._interests.topics(listener)
        endpoint, principal = listener.endpoint, listener.principal
        for place, uri, shown in uris:
            if not await made(partial(may_read, endpoint, principal, place[0], uri, shown)):
                self._interests.drop_uri(listener, place, uri)
                self._watches.touch(place)
        for handle in handles:
            if not await made(partial(may_use, principal, endpoint, handle)):
                self._interests.drop_task(listener, handle)
                self._watches.touch((handle.server, handle.sharing))

    # -- resources ----------------------------------------------------------------------------

    async def _by_server(self, call: Call, uris: Sequence[str]) -> Mapping[str, Sequence[Entry]]:
        found: defaultdict[str, list[Entry]] = defaultdict(list)
        for uri in uris:
            resolve = partial(call.endpoint.resolve, call.principal, Kind.RESOURCE, uri, offer=call.offer)
            try:
                entry, _ = await made(resolve)
                check_scopes(call, entry.target)
            except (InvalidParams, InsufficientScope, Denied):
                continue
            pool = self._fleet.pools.get(entry.target.server)
            if self._stops.about(entry.target) is not None:
                continue
            if pool is not None and possible(pool.spec):
                found[entry.target.server].append(entry)
        return found

    async def _tell_of_uris(
        self, listener: Listener, server: str, entries: Sequence[Entry], honoured: set[str]
    ) -> None:
        try:
            place = server, await self._sharing(listener.call, server)
            with await self._watches.bring_up(place, ARRANGED) as lease:
                if not tells_of_resources(lease.channel.upstream):
                    return
                for entry in entries:
                    self._interests.add_uri(listener, place, entry.target.name, entry.shown)
                refused = await self._watches.settle(place)
                for entry in entries:
                    if (False, entry.target.name) in refused:
                        self._interests.drop_uri(listener, place, entry.target.name)
                    else:
                        honoured.add(entry.shown)
        except (Refusal, ChannelFailure) as error:
            log().warning("server.degraded", server=server, reason=f"subscriptions: {error}")

    # -- tasks --------------------------------------------------------------------------------

    async def _by_place(
        self, listener: Listener, texts: Sequence[str]
    ) -> Mapping[Place, Sequence[tuple[str, Handle]]]:
        found: defaultdict[Place, list[tuple[str, Handle]]] = defaultdict(list)
        for text in texts:
            try:
                handle = await made(partial(self._tasks.read, listener.principal, listener.endpoint, text))
                check_scopes(listener.call, handle.target)
            except (InvalidParams, InsufficientScope, Denied):
                continue
            pool = self._fleet.pools.get(handle.server)
            if self._stops.about(handle.target) is not None:
                continue
            if handle.modern and pool is not None and is_there(pool, handle):
                found[handle.server, handle.sharing].append((text, handle))
        return found

    async def _tell_of_tasks(
        self, listener: Listener, place: Place, handles: Sequence[tuple[str, Handle]], honoured: set[str]
    ) -> None:
        try:
            with await self._watches.bring_up(place, ARRANGED):
                for text, handle in handles:
                    self._interests.add_task(listener, handle, text)
                refused = await self._watches.settle(place)
                for text, handle in handles:
                    if (True, handle.task) in refused:
                        self._interests.drop_task(listener, handle)
                    else:
                        honoured.add(text)
        except (Refusal, ChannelFailure) as error:
            log().warning("server.degraded", server=place[0], reason=f"subscriptions: {error}")


def may_read(endpoint: Endpoint, principal: Principal, server: str, uri: str, shown: str) -> bool:
    """Tell whether a principal may read a resource now, under that name."""
    return endpoint.has(principal, Target(server, Kind.RESOURCE, uri), shown)


def tells_of_resources(upstream: Upstream) -> bool:
    """Tell whether a server's resources can be subscribed to."""
    try:
        found: Object = decode_object(decode_object(upstream.capabilities).get("resources", b"{}"))
    except ParseFailure:
        return False
    return bytes(found.get("subscribe", b"")) == b"true"


def _changes(capability: object) -> bool:
    if not isinstance(capability, Mapping):
        return False
    return cast("Mapping[str, object]", capability).get("listChanged") is True
