"""Watches: has servers tell of what somebody wants to hear of, and keeps to it across their restarts.

Who hears of what is `interests`' matter; this only says it to the servers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
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
REST, LONGEST_REST = 2e-5, 0.5
"""Seconds for each thing that is wanted, and at most, until a server is asked again: a modern one is sent all of it
each time, so what comes one after another would else cost the square of it."""

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
    came: int = 0
    """How often it was to be settled."""
    covered: int = 0
    """How many of these the last asking was for, all that had come when it began."""
    failed: ChannelFailure | None = None
    """What came of that."""
    rests: float = 0.0
    """Loop time until which what comes is gathered."""


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

        All who come until it is asked are asked for at once.

        Raises:
            ChannelFailure: it did not answer, so what it tells of is not known.
        """
        watch = self._watches.setdefault(place, _Watch())
        watch.users += 1
        watch.came += 1
        mine = watch.came
        try:
            async with watch.lock:
                if watch.covered < mine:
                    await self._gathered(place, watch)
                elif watch.failed is not None:
                    raise watch.failed
                return watch.refused
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

    async def _gathered(self, place: Place, watch: _Watch) -> None:
        """Settle for all who have come, once the last asking is long enough ago."""
        time = asyncio.get_running_loop().time
        if watch.rests > time():
            await asyncio.sleep(watch.rests - time())
        came = watch.came
        try:
            await self._settle(place, watch)
        except ChannelFailure as error:
            watch.covered, watch.failed = came, error
            raise
        finally:
            watch.rests = time() + min(LONGEST_REST, REST * len(watch.agreed))
        watch.covered, watch.failed = came, None

    async def _settle(self, place: Place, watch: _Watch) -> None:
        channel = self._channel(place)
        if watch.channel is not channel:
            watch.channel, watch.agreed, watch.refused = None, frozenset(), frozenset()
        wanted = frozenset(
            [*((False, uri) for uri in self._interests.uris(place)),
             *((True, task) for task in self._interests.tasks(place))]
        )  # fmt: skip
        if channel is None or (not wanted and watch.channel is None):
            return
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

    async def _agree(self, channel: Channel, watch: _Watch, wanted: frozenset[_Topic]) -> None:
        """Ask for all at once; where some of it is refused, find out what, so that it spoils nothing else."""
        if await _tells(channel, wanted):
            watch.agreed = wanted
            return
        good = watch.agreed & wanted
        fresh = sorted(wanted - good)
        parts = _halves(fresh)
        if len(fresh) == 1:
            watch.refused |= {*parts.pop()}
        while parts:
            part = parts.pop()
            if await _tells(channel, good | {*part}):
                good |= {*part}
            elif len(part) == 1:
                watch.refused |= {*part}
            else:
                parts += _halves(part)
        await _tells(channel, good)
        watch.agreed = good

    def _channel(self, place: Place) -> Channel | None:
        pool = self._fleet.pools.get(place[0])
        workload = None if pool is None else pool.workloads.get(place[1])
        return None if workload is None else workload.channel


def _halves(topics: Sequence[_Topic]) -> list[Sequence[_Topic]]:
    middle = (len(topics) + 1) // 2
    return [part for part in (topics[middle:], topics[:middle]) if part]


async def _tells(channel: Channel, topics: frozenset[_Topic]) -> bool:
    try:
        uris = frozenset(name for is_task, name in topics if not is_task)
        await channel.watch(uris, frozenset(name for is_task, name in topics if is_task))
    except (ChannelClosed, ChannelTimeout):
        raise
    except ChannelFailure:
        return False
    return True
