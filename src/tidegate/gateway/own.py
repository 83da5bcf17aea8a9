"""Own: what a workload of one principal, or of one session, lists otherwise than everybody is shown.

Such a workload may come to offer more (a tool of its own registers another one), and says so. It is then read
itself, and the difference is for those alone whose calls go to that very workload; it goes when that does.
Nothing of it is kept on disk, and nothing here says who may have what.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tidegate.domain.server import Sharing
from tidegate.domain.target import LISTED, Kind
from tidegate.domain.workload import NO_OFFER
from tidegate.fleet.fleet import Fleet
from tidegate.fleet.workload import Workload
from tidegate.gateway.definitions import LISTS, Definitions, Delta, Listed
from tidegate.gateway.listing import fetch, introduced
from tidegate.telemetry import log

MOST, SIZE = 256, 64 * 1024 * 1024
"""Workloads whose own lists are kept, and bytes of them all."""
LOOK = 5.0
"""Seconds between two looks at which of those workloads are still there."""
_REST = 0.5
"""Least seconds between two readings of one workload: it may say as often as it likes that something changed."""
_HELD = 60.0
"""Least seconds that a list holds whose server tells of no changes."""

Place = tuple[str, str]
"""A server, and the key of one of its workloads."""


@dataclass(frozen=True, slots=True, eq=False)
class Own:
    """What one workload lists otherwise."""

    workload: Workload
    sharing: str
    identity: str
    """Of the workload when it was read: one that was brought up anew is another."""
    deltas: Mapping[Kind, Delta]
    until: float | None
    """Loop time until which it holds, where the server would not tell of a change."""
    size: int

    @property
    def server(self) -> str:
        """The server it is of."""
        return self.workload.spec.name

    @property
    def principal(self) -> str:
        """The key of the principal it is for."""
        return owner(self.sharing)[0]


def owner(sharing: str) -> tuple[str, str]:
    """Give the principal's key and the session's that a workload's key is made of; no session is empty."""
    principal, _, session = sharing.partition("+")[0].partition(".")
    return principal, session


class _Reading:
    """What is to be read of a workload next, and who waits for it."""

    def __init__(self) -> None:
        self.kinds: set[Kind] = set()
        self.done = asyncio.get_running_loop().create_future()


class OwnLists:
    """The own lists of all workloads that have such."""

    def __init__(
        self, fleet: Fleet, common: Callable[[str], Definitions | None], *, most: int = MOST
    ) -> None:
        """`common` gives what is known of a server."""
        self.kept: OrderedDict[Place, Own] = OrderedDict()
        """Those there are; the one that was asked for last stands last."""
        self.changed: Callable[[str, str, Collection[Kind]], None] = lambda _, __, ___: None
        """Told of a server, the key of its workload, and the kinds of which that has another list."""
        self._fleet = fleet
        self._common = common
        self._most = most
        self._time = asyncio.get_running_loop().time
        self._size = 0
        self._next: dict[Place, _Reading] = {}
        self._tasks: dict[Place, asyncio.Task[None]] = {}

    # -- what there is ------------------------------------------------------------------------

    def of(self, servers: Sequence[str], principal: str, session: str, label: str) -> tuple[Own, ...]:
        """Give those of the very workloads that the calls of a principal's session go to that offers `label`."""
        found: list[Own] = []
        for server in servers:
            own = self.kept.get((server, self._key(server, principal, session, label)))
            if own is not None and self._holds(own):
                self.kept.move_to_end((server, own.sharing))
                found.append(own)
        return tuple(found)

    def all_of(self, servers: Sequence[str], principal: str) -> Iterator[Own]:
        """Give all of a principal, whatever its session offers."""
        for own in list(self.kept.values()):
            if own.principal == principal and own.server in servers and self._holds(own):
                yield own

    def _key(self, server: str, principal: str, session: str, label: str) -> str:
        pool = self._fleet.pools[server]
        key = f"{principal}.{session}" if session and pool.spec.sharing is Sharing.SESSION else principal
        return key if label == NO_OFFER or pool.era == "modern" else f"{key}+{label}"

    def _holds(self, own: Own) -> bool:
        return self._is_there(own.workload, own.sharing, own.identity) and (
            own.until is None or self._time() < own.until
        )

    def _is_there(self, workload: Workload, sharing: str, identity: str) -> bool:
        pool = self._fleet.pools.get(workload.spec.name)
        return (
            pool is not None and pool.workloads.get(sharing) is workload and workload.identity.id == identity
        )

    # -- reading ------------------------------------------------------------------------------

    def want(self, workload: Workload, kinds: Collection[Kind]) -> None:
        """Have kinds of a workload read."""
        self._want(workload, kinds)

    async def reread(self, workload: Workload, kinds: Collection[Kind]) -> None:
        """Have kinds of a workload read, and wait until they are, or could not be."""
        reading = self._want(workload, kinds)
        if reading is not None:
            await asyncio.shield(reading.done)

    def _want(self, workload: Workload, kinds: Collection[Kind]) -> _Reading | None:
        place = workload.spec.name, workload.sharing
        if workload.spec.sharing is Sharing.CALL:
            return None  # it is for one call, and gone before a list of it would be of use
        if place not in self._tasks:
            if len(self._tasks) >= MOST:
                log().warning("server.list_failed", server=place[0], reason="too many are being read")
                return None
            self._tasks[place] = asyncio.create_task(self._keep(place), name=f"own list {place[0]}")
        reading = self._next.setdefault(place, _Reading())
        reading.kinds.update(kinds)
        return reading

    async def _keep(self, place: Place) -> None:
        """Read a workload for as long as it says that something changed."""
        try:
            while place in self._next:
                reading = self._next.pop(place)
                try:
                    await self._read(place, reading.kinds)
                except Exception as error:  # noqa: BLE001 - a supervisor: one workload's oddity stays its own
                    log().error("supervisor.failed", server=place[0], exc_info=error)
                finally:
                    reading.done.set_result(None)
                await asyncio.sleep(_REST)  # notices in the meantime become one
        finally:
            del self._tasks[place]

    async def _read(self, place: Place, kinds: Collection[Kind]) -> None:
        server, sharing = place
        workload = self._fleet.pools[server].workloads.get(sharing)
        if workload is None or workload.channel is None:
            return
        channel, identity = workload.channel, workload.identity.id
        found: dict[Kind, Listed] = {}

        def took(kind: Kind, listed: Listed | str) -> None:
            if isinstance(listed, str):
                log().warning("server.list_failed", server=server, kind=kind.value, reason=listed)
            else:
                found[kind] = listed

        said = introduced(channel, None)
        await fetch(channel, [kind for kind in LISTED if kind in kinds and said.declares(kind)], took)
        common = self._common(server)
        if common is None or not self._is_there(workload, sharing, identity):
            return
        common = common.offered(workload.offer)
        before = self.kept.get(place)
        deltas = dict(before.deltas) if before is not None and before.identity == identity else {}
        for kind, listed in found.items():
            if kind in common.lists:
                deltas[kind] = Delta.between(common.of(kind), listed.items)
        deltas = {kind: delta for kind, delta in deltas.items() if delta != Delta()}
        until = None if all(_is_told(said, kind) for kind in deltas) else self._until(found.values())
        log().info("server.listed", server=server, own=sum(len(delta.more) for delta in deltas.values()))
        self._note(place, Own(workload, sharing, identity, deltas, until, _size(deltas)))

    def _until(self, found: Collection[Listed]) -> float:
        return self._time() + max([_HELD, *((listed.ttl or 0) / 1000 for listed in found)])

    def _note(self, place: Place, own: Own) -> None:
        before = self._forget(place)
        if own.deltas:
            self.kept[place] = own
            self._size += own.size
        self._tell(place, {} if before is None else before.deltas, own.deltas)
        while len(self.kept) > self._most or self._size > SIZE:
            self._drop(next(iter(self.kept)))

    def _forget(self, place: Place) -> Own | None:
        own = self.kept.pop(place, None)
        if own is not None:
            self._size -= own.size
        return own

    def _drop(self, place: Place) -> None:
        own = self._forget(place)
        if own is not None:
            self._tell(place, own.deltas, {})

    def _tell(self, place: Place, before: Mapping[Kind, Delta], now: Mapping[Kind, Delta]) -> None:
        kinds = [kind for kind in LISTED if before.get(kind) != now.get(kind)]
        if kinds:
            self.changed(*place, kinds)

    # -- life ---------------------------------------------------------------------------------

    def look(self) -> None:
        """Let go of what is of workloads that are there no more, or holds no longer."""
        for place in [place for place, own in self.kept.items() if not self._holds(own)]:
            self._drop(place)

    async def keep(self) -> None:
        """Look now and then, until cancelled."""
        while True:
            await asyncio.sleep(LOOK)
            self.look()

    async def close(self) -> None:
        """Read no more."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def _is_told(said: Definitions, kind: Kind) -> bool:
    return said.has(LISTS[kind].capability, "listChanged")


def _size(deltas: Mapping[Kind, Delta]) -> int:
    return sum(
        len(name) + len(value)
        for delta in deltas.values()
        for each in delta.more
        for name, value in each.fields.items()
    ) + sum(len(name) for delta in deltas.values() for name in delta.without)
