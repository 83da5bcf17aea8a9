"""Watches: has servers tell of what somebody wants to hear of, and keeps to it across their restarts.

Who hears of what is `interests`' matter; this only says it to the servers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from tidegate.channels.channel import Channel
from tidegate.domain.errors import (
    ChannelClosed,
    ChannelFailure,
    ChannelTimeout,
    Refusal,
    ServerUnavailable,
)
from tidegate.fleet.losses import Asker
from tidegate.fleet.pool import Lease, Pool
from tidegate.gateway.interests import Interests, Place
from tidegate.protocol import capabilities
from tidegate.protocol.capabilities import Offer
from tidegate.telemetry import log

PATIENCE = 60.0
"""Seconds that a server may take to agree: it is asked resource by resource where it refuses some."""

_Topic = tuple[bool, str]
"""A resource's URI, or (True) a task's id, in the server's own words."""


class Workloads(Protocol):
    """What is needed of the fleet."""

    @property
    def pools(self) -> Mapping[str, Pool]:
        """By server."""
        ...

    async def lease(
        self, server: str, sharing: str, asker: Asker | None, timeout: float, *, offer: Offer = Offer.NONE
    ) -> Lease:
        """Give a place on a workload, bringing it up where it is not."""
        ...


@dataclass(slots=True)
class _Watch:
    """What one workload was asked to tell of."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0
    channel: Channel | None = None
    agreed: frozenset[_Topic] = frozenset()
    refused: frozenset[_Topic] = frozenset()
    """By the server, on this channel: not asked for again."""


class Watches:
    """Keeps `Channel.watch` in line with the interests."""

    def __init__(self, fleet: Workloads, interests: Interests, now: Callable[[], float]) -> None:
        """`now` gives Unix seconds."""
        self._fleet = fleet
        self._interests = interests
        self._now = now
        self._watches: dict[Place, _Watch] = {}
        self._tasks: dict[Place, asyncio.Task[None]] = {}
        self._again: set[Place] = set()
        self._closed = False

    async def bring_up(self, place: Place, timeout: float) -> Lease:
        """Have a workload there, within `timeout` seconds.

        Raises:
            Refusal: there will be none.
        """
        server, sharing = place
        if server not in self._fleet.pools:
            raise ServerUnavailable(f"server {server} is not declared any more")
        label = sharing.partition("+")[2] or "none"
        asker = Asker("", self._now())  # one that has lost nothing: whoever calls next is told of a loss
        return await self._fleet.lease(server, sharing, asker, timeout, offer=capabilities.parse(label))

    async def settle(self, place: Place) -> frozenset[_Topic]:
        """Ask a workload to tell of what is wanted, if it is there; give what it refuses.

        Raises:
            ChannelFailure: it did not answer, so what it tells of is not known.
        """
        watch = self._watches.setdefault(place, _Watch())
        watch.users += 1
        try:
            async with watch.lock:
                return await self._settle(place, watch)
        finally:
            watch.users -= 1
            if not watch.users and watch.channel is None:
                self._watches.pop(place, None)

    def touch(self, place: Place) -> None:
        """Do the same in the background, soon."""
        if self._closed:
            return
        if place in self._tasks:
            self._again.add(place)
            return
        self._tasks[place] = asyncio.create_task(self._work(place), name=f"watch {place[0]}")

    async def close(self) -> None:
        """Stop. Servers forget what they were asked with their channels."""
        self._closed = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _work(self, place: Place) -> None:
        try:
            while True:
                self._again.discard(place)
                try:
                    refused = await self.settle(place)
                except (ChannelFailure, Refusal) as error:
                    log().warning("server.degraded", server=place[0], reason=f"subscriptions: {error}")
                except Exception as error:  # noqa: BLE001 - a supervisor: one server's oddity must not stop the others
                    log().error("supervisor.failed", server=place[0], exc_info=error)
                else:
                    if refused:
                        reason = f"the server will not tell of {len(refused)} of its resources or tasks"
                        log().warning("server.degraded", server=place[0], reason=reason)
                if place not in self._again:
                    return
        finally:
            self._tasks.pop(place, None)

    async def _settle(self, place: Place, watch: _Watch) -> frozenset[_Topic]:
        channel = self._channel(place)
        if watch.channel is not channel:
            watch.channel, watch.agreed, watch.refused = None, frozenset(), frozenset()
        wanted = frozenset(
            [*((False, uri) for uri in self._interests.uris(place)),
             *((True, task) for task in self._interests.tasks(place))]
        )  # fmt: skip
        if channel is None or (not wanted and watch.channel is None):
            return frozenset()
        watch.channel = channel
        watch.refused &= wanted
        if wanted - watch.refused != watch.agreed:
            try:
                async with asyncio.timeout(PATIENCE):
                    await self._agree(channel, watch, wanted - watch.refused)
            except TimeoutError as error:
                raise ChannelTimeout(f"subscriptions took longer than {PATIENCE:g} s") from error
        if not wanted:
            watch.channel = None
        return watch.refused

    async def _agree(self, channel: Channel, watch: _Watch, wanted: frozenset[_Topic]) -> None:
        """Ask for all at once; where some of it is refused, find out what, so that it spoils nothing else."""
        if await _tells(channel, wanted):
            watch.agreed = wanted
            return
        good = watch.agreed & wanted
        fresh = sorted(wanted - good)
        for topic in fresh:
            if len(fresh) > 1 and await _tells(channel, good | {topic}):
                good |= {topic}
            else:
                watch.refused |= {topic}
        await _tells(channel, good)
        watch.agreed = good

    def _channel(self, place: Place) -> Channel | None:
        pool = self._fleet.pools.get(place[0])
        workload = None if pool is None else pool.workloads.get(place[1])
        return None if workload is None else workload.channel


async def _tells(channel: Channel, topics: frozenset[_Topic]) -> bool:
    try:
        uris = frozenset(name for is_task, name in topics if not is_task)
        await channel.watch(uris, frozenset(name for is_task, name in topics if is_task))
    except (ChannelClosed, ChannelTimeout):
        raise
    except ChannelFailure:
        return False
    return True
