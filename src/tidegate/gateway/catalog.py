"""Catalog: the merged view of every endpoint, kept current as servers come, go and change."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

from tidegate.domain.server import ServerSpec, Transport
from tidegate.domain.target import LISTED, Kind
from tidegate.domain.workload import NO_OFFER
from tidegate.fleet.fleet import Fleet
from tidegate.fleet.workload import Workload
from tidegate.gateway.definitions import LISTS, Definitions, DefinitionStore
from tidegate.gateway.endpoint import Endpoint
from tidegate.gateway.lister import CHANGES, Lister
from tidegate.gateway.lists import LISTS_SIZE, PAGE
from tidegate.gateway.own import OwnLists, owner
from tidegate.gateway.view import Entry, Part, View, build
from tidegate.protocol.codec import Object
from tidegate.telemetry import log

__all__ = ["LISTS_SIZE", "PAGE", "Catalog", "Endpoint", "Entry"]

_LABELS = 32
"""Labels of what clients offer that an endpoint has a view for."""
_SAID = 4096
"""Reasons that are not logged a second time."""
_COMING = frozenset({"waiting", "preparing", "starting", "ready"})
"""States of a server that tells what it offers now or soon."""
_SETTLE = 0.05
"""Seconds to wait for further changes before views are built anew."""


class Catalog:
    """Keeps the endpoints' views current."""

    def __init__(
        self,
        fleet: Fleet,
        store: DefinitionStore,
        endpoints: Sequence[Endpoint],
        *,
        one_principal: bool = False,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`one_principal`: whether all who ask are one, so that no list is anybody else's."""
        self.endpoints: Mapping[str, Endpoint] = {endpoint.path: endpoint for endpoint in endpoints}
        self.changed: Callable[[str, Kind], None] | None = None
        """Told of an endpoint and a kind of which it shows another list than before."""
        self.changed_own: Callable[[str, Kind, str, str], None] | None = None
        """Told, as well, whose list it is alone: a principal's key, and a session's where it is not all of its."""
        self.ready: Callable[[Workload], None] | None = None
        """Told of each workload that has become ready."""
        self.heard: Callable[[str, Workload, str, Object], None] | None = None
        """Told of each notification that belongs to no call: server, workload, method, params."""
        self._one_principal = one_principal
        self._chance = chance
        self._fleet = fleet
        self._store = store
        self._listers: dict[str, Lister] = {}
        self._dirty = asyncio.Event()
        self._building = False
        self._built = asyncio.Event()
        """Set once the views are built the next time."""
        self._tasks: list[asyncio.Task[None]] = []
        self._said: set[str] = set()
        self.own = OwnLists(fleet, lambda server: self.definitions.get(server))
        """What is listed to some principals and sessions alone."""
        self.own.changed = self._own_changed
        fleet.events = self
        for endpoint in endpoints:
            endpoint.own = self.own
            endpoint.asked = partial(self._asked, endpoint)
            endpoint.holds = partial(self._holds, endpoint)
            endpoint.pending = partial(self._pending, endpoint)

    @property
    def definitions(self) -> Mapping[str, Definitions]:
        """What is known of each server."""
        known = ((name, lister.definitions) for name, lister in self._listers.items())
        return {name: definitions for name, definitions in known if definitions is not None}

    async def open(self, specs: Sequence[ServerSpec]) -> None:
        """Load what is known of each server and begin to keep the views current."""
        for spec in specs:
            lister = self._listers[spec.name] = Lister(
                spec, self._fleet, self._store, self._dirty.set,
                one_principal=self._one_principal, random=self._chance,
            )  # fmt: skip
            lister.claimed = self.own.want
            await lister.load()
        await self._build()
        self._tasks = [asyncio.create_task(self._build_when_dirty(), name="catalog builder")]
        self._tasks.append(asyncio.create_task(self.own.keep(), name="catalog own lists"))
        for name, lister in self._listers.items():
            self._tasks.append(asyncio.create_task(lister.keep(), name=f"catalog lister {name}"))
            self._tasks.append(asyncio.create_task(lister.offers.keep(), name=f"catalog learner {name}"))

    async def close(self) -> None:
        """Stop keeping them."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self.own.close()

    async def reread(self, server: str, kind: Kind, timeout: float, workload: Workload | None = None) -> None:
        """Have a server's list of a kind read and shown anew, waiting at most `timeout` seconds.

        With `workload` it is that one which is read, and shown to those alone whose it is.
        """
        lister = self._listers.get(server)
        if lister is None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                if workload is not None and not lister.speaks_for_all(workload):
                    await self.own.reread(workload, {kind})
                    return
                await lister.reread(kind, workload)
                while self._dirty.is_set() or self._building:
                    await self._built.wait()

    # -- FleetEvents --------------------------------------------------------------------------

    def server_ready(self, server: str) -> None:
        """Do nothing: `workload_ready` says which workload it was."""

    def server_changed(self, server: str) -> None:
        """Mark what it offers as available or not."""
        self._dirty.set()

    def workload_ready(self, workload: Workload) -> None:
        """Read what the server offers (again), since it may be another version of itself, and pass on."""
        lister = self._listers.get(workload.spec.name)
        if lister is not None and (workload.offer == NO_OFFER or lister.definitions is None):
            lister.want()
        elif lister is not None and lister.speaks_for_all(workload):
            lister.offers.came_up(workload)
        self.own.look()
        if self.ready is not None:
            self.ready(workload)

    def server_notified(self, server: str, workload: Workload, method: str, params: Object) -> None:
        """Read, of that very workload, what it says has changed, and pass on."""
        if self.heard is not None:
            self.heard(server, workload, method, params)
        kinds, lister = CHANGES.get(method), self._listers.get(server)
        if kinds is None or lister is None:
            return
        if lister.speaks_for_all(workload):
            lister.told(workload, kinds)
            return
        known = lister.definitions
        unread = [kind for kind in kinds if known is None or kind not in known.lists]
        if unread:
            lister.want(unread)
        self.own.want(workload, kinds)

    # -- endpoints ----------------------------------------------------------------------------

    def _asked(self, endpoint: Endpoint, label: str) -> None:
        for server in endpoint.spec.servers:
            lister = self._listers.get(server)
            if lister is not None:
                lister.asked(label)

    def _holds(self, endpoint: Endpoint, label: str, kind: Kind) -> int:
        """Give for how long a list holds: as long as the one of its parts that holds least."""
        listers = [self._listers.get(server) for server in endpoint.spec.servers]
        return min((0 if lister is None else lister.holds(kind, label) for lister in listers), default=0)

    def _pending(self, endpoint: Endpoint, label: str) -> bool:
        return any(self._is_read(server, label) for server in endpoint.spec.servers)

    def _is_read(self, server: str, label: str) -> bool:
        """Tell whether something of a server is being read, or will be as soon as it is up."""
        pool, lister = self._fleet.pools.get(server), self._listers.get(server)
        if pool is None or lister is None:
            return False
        state, known = pool.state()[0], lister.definitions
        if state not in _COMING and (state != "stopped" or known is not None):
            return False
        if known is None or any(kind not in known.lists and kind not in lister.unread for kind in LISTED):
            return True
        return lister.offers.is_learning(label) or self._building or self._dirty.is_set()

    def _own_changed(self, server: str, sharing: str, kinds: Collection[Kind]) -> None:
        if self.changed_own is None:
            return
        for endpoint in self.endpoints.values():
            if server in endpoint.spec.servers:
                for kind in kinds:
                    self.changed_own(endpoint.path, kind, *owner(sharing))

    # -- supervisor ---------------------------------------------------------------------------

    async def _build_when_dirty(self) -> None:
        while True:
            await self._dirty.wait()
            await asyncio.sleep(_SETTLE)
            self._dirty.clear()
            self._building = True
            try:
                await self._build()
            except Exception as error:  # noqa: BLE001 - a supervisor: the views before stay
                log().error("supervisor.failed", task="catalog builder", exc_info=error)
            self._building = False
            self._built.set()
            self._built = asyncio.Event()
            for endpoint in self.endpoints.values():
                endpoint.renewed()

    async def _build(self) -> None:
        for endpoint in self.endpoints.values():
            parts = [self._part(name) for name in endpoint.spec.servers]
            views, changed = await asyncio.to_thread(_build, endpoint, parts)
            view = views.pop(NO_OFFER)
            self._say_dropped(endpoint.path, view)
            endpoint.show(view, views)
            if self.changed is not None:
                for kind in changed:
                    self.changed(endpoint.path, kind)

    def _say_dropped(self, path: str, view: View) -> None:
        if len(self._said) >= _SAID:
            self._said.clear()
        for reason in view.dropped:
            if reason not in self._said:
                self._said.add(reason)
                log().warning("server.degraded", endpoint=path, reason=reason)

    def _part(self, server: str) -> Part:
        pool, lister = self._fleet.pools[server], self._listers.get(server)
        state, reason = pool.state()
        definitions = None if lister is None else lister.definitions
        unread = {} if lister is None else dict(lister.unread)
        mirrored = definitions is not None and definitions.modern and pool.spec.transport is Transport.HTTP
        if state not in ("ready", "stopped"):  # a stopped one starts when called
            return Part(server, definitions, reason or f"server is {state}", state, unread, mirrored)
        for kind in LISTED:
            if definitions is None or kind not in definitions.lists:
                unread.setdefault(kind, f"its {LISTS[kind].key} are not read yet")
        return Part(server, definitions, None, state, unread, mirrored)


def _build(endpoint: Endpoint, parts: Sequence[Part]) -> tuple[dict[str, View], Sequence[Kind]]:
    """Build the views of an endpoint by label, and tell of which kinds they are others than before."""
    views = {NO_OFFER: build(endpoint.spec, parts)}
    built = [(parts, views[NO_OFFER])]
    labels = {label for part in parts if part.definitions for label in part.definitions.offers}
    for label in sorted(labels)[:_LABELS]:
        offered = [_offered(part, label) for part in parts]
        view = next((view for others, view in built if others == offered), None)
        if view is None:
            view = build(endpoint.spec, offered)
            built.append((offered, view))
        if view is not views[NO_OFFER]:
            views[label] = view
    before = endpoint.views
    changed = [
        views.get(label, views[NO_OFFER]).changed_since(before.get(label, before[NO_OFFER]))
        for label in {*views, *before}
    ]
    return views, [kind for kind in LISTED if any(kind in each for each in changed)]


def _offered(part: Part, label: str) -> Part:
    definitions = None if part.definitions is None else part.definitions.offered(label)
    return part if definitions is part.definitions else replace(part, definitions=definitions)
