"""Catalog: the merged view of every endpoint, kept current as servers and endpoints come, go and change."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import product

from tidegate.access.authorize import Grants
from tidegate.access.stops import Stops
from tidegate.domain.endpoint import EndpointSpec
from tidegate.domain.server import ServerSpec, Transport
from tidegate.domain.stop import Stop
from tidegate.domain.target import LISTED, Kind
from tidegate.domain.tenant import Tenants
from tidegate.domain.workload import NO_OFFER, WorkloadState
from tidegate.fleet.fleet import Fleet
from tidegate.fleet.workload import Workload
from tidegate.gateway.definitions import LISTS, Definitions, DefinitionStore
from tidegate.gateway.endpoint import Endpoint
from tidegate.gateway.faces import Face, Renewal, build_views, make
from tidegate.gateway.lister import CHANGES, Lister
from tidegate.gateway.lists import LISTS_SIZE, PAGE
from tidegate.gateway.own import OwnLists, owner
from tidegate.gateway.view import Entry, Part, View
from tidegate.protocol.codec import Object
from tidegate.telemetry import log

__all__ = ["LISTS_SIZE", "PAGE", "Catalog", "Endpoint", "Entry"]

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
        grants: Grants | None = None,
    ) -> None:
        """`one_principal`: whether all who ask are one, so that no list is anybody else's. `grants` is what the
        endpoints' authorizers were made with.
        """
        self.endpoints: dict[str, Endpoint] = {}
        """By path. Always this very mapping: whoever routes by it follows what becomes of it."""
        self.changed: Callable[[str, Kind], None] | None = None
        """Told of an endpoint and a kind of which it shows another list than before."""
        self.changed_own: Callable[[str, Kind, str, str], None] | None = None
        """Told, as well, whose list it is alone: a principal's key, and a session's where it is not all of its."""
        self.ready: Callable[[Workload], None] | None = None
        """Told of each workload that has become ready."""
        self.heard: Callable[[str, Workload, str, Object], None] | None = None
        """Told of each notification that belongs to no call: server, workload, method, params."""
        self.stops = Stops()
        """What is stopped: it stays listed, and is said to be."""
        self._grants = grants or Grants()
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
        self._keepers: dict[str, list[asyncio.Task[None]]] = {}
        """What keeps each server's definitions."""
        self._ending: set[asyncio.Task[None]] = set()
        self._said: set[str] = set()
        self.own = OwnLists(fleet, lambda server: self.definitions.get(server))
        """What is listed to some principals and sessions alone."""
        self.own.changed = self._own_changed
        fleet.events = self
        for endpoint in endpoints:
            self._add(endpoint)

    @property
    def tenants(self) -> Tenants:
        """The tenants by which it is decided what is whose."""
        return self._grants.tenants

    @property
    def definitions(self) -> Mapping[str, Definitions]:
        """What is known of each server."""
        known = ((name, lister.definitions) for name, lister in self._listers.items())
        return {name: definitions for name, definitions in known if definitions is not None}

    async def open(self, specs: Sequence[ServerSpec]) -> None:
        """Load what is known of each server and begin to keep the views current."""
        self._listers = await self._load(specs)
        await self._build()
        self._tasks = [asyncio.create_task(self._build_when_dirty(), name="catalog builder")]
        self._tasks.append(asyncio.create_task(self.own.keep(), name="catalog own lists"))
        for name, lister in self._listers.items():
            self._keep(name, lister)

    async def close(self) -> None:
        """Stop keeping them."""
        tasks = [*self._tasks, *self._ending, *(task for each in self._keepers.values() for task in each)]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self.own.close()

    # -- other servers and endpoints ----------------------------------------------------------

    async def prepare(
        self, specs: Sequence[ServerSpec], endpoints: Sequence[EndpointSpec], grants: Grants | None = None
    ) -> Renewal:
        """Make what is to be served next, whole, beside what is served now. The fleet need not know of it yet.

        `grants` decide from then on; those that do now, where there are none.
        """
        grants = self._grants if grants is None else grants
        listers = await self._load([spec for spec in specs if spec.name not in self._listers])
        known = {**self._listers, **listers}
        made: list[Face] = []
        for spec in endpoints:
            before = self.endpoints.get(spec.path)
            if before is not None and before.spec == spec:
                same = grants == self._grants
                made.append(Face(spec, before.authorizer if same else grants.at(spec)))
                continue
            parts = [self._part(name, known.get(name)) for name in spec.servers]
            made.append(await asyncio.to_thread(make, spec, parts, grants))
        return Renewal(tuple(spec.name for spec in specs), listers, tuple(made), grants)

    def adopt(self, renewal: Renewal) -> Sequence[Endpoint]:
        """Serve what was prepared, in one step. Give the endpoints that are served no more."""
        self._grants = renewal.grants
        for name in [name for name in self._listers if name not in renewal.servers]:
            del self._listers[name]
            for task in self._keepers.pop(name, ()):
                task.cancel()
                self._ending.add(task)
                task.add_done_callback(self._ending.discard)
        for name, lister in renewal.listers.items():
            self._listers[name] = lister
            self._keep(name, lister)
        changed = [each for face in renewal.faces if (each := self._turn(face)) is not None]
        served = {face.spec.path for face in renewal.faces}
        gone = [self.endpoints.pop(path) for path in list(self.endpoints) if path not in served]
        for endpoint in gone:
            endpoint.gone = True
        if self.changed is not None:
            for path, kind in product(changed, LISTED):
                self.changed(path, kind)
        for name in self._listers:
            self._follow(name)
        self._dirty.set()
        return gone

    def _turn(self, face: Face) -> str | None:
        """Have an endpoint show its next face. Give its path where clients may now see something else."""
        endpoint = self.endpoints.get(face.spec.path)
        if endpoint is None:
            endpoint = Endpoint(face.spec, face.authorizer)
            self._add(endpoint)
        elif face.views is None and face.authorizer is endpoint.authorizer:
            return None
        views = dict(face.views or endpoint.views)
        endpoint.become(face.spec, face.authorizer, views.pop(NO_OFFER), views)
        return endpoint.path

    def _add(self, endpoint: Endpoint) -> None:
        endpoint.own = self.own
        endpoint.asked = partial(self._asked, endpoint)
        endpoint.holds = partial(self._holds, endpoint)
        endpoint.pending = partial(self._pending, endpoint)
        self.endpoints[endpoint.path] = endpoint

    async def _load(self, specs: Sequence[ServerSpec]) -> dict[str, Lister]:
        listers: dict[str, Lister] = {}
        for spec in specs:
            lister = listers[spec.name] = Lister(
                spec, self._fleet, self._store, self._dirty.set,
                one_principal=self._one_principal, random=self._chance,
            )  # fmt: skip
            lister.claimed = self.own.want
            await lister.load()
        return listers

    def _keep(self, name: str, lister: Lister) -> None:
        self._keepers[name] = [
            asyncio.create_task(lister.keep(), name=f"catalog lister {name}"),
            asyncio.create_task(lister.offers.keep(), name=f"catalog learner {name}"),
        ]

    def _follow(self, server: str) -> None:
        """Have a server's list be the one of the version of it that is current in the fleet."""
        pool, lister = self._fleet.pools.get(server), self._listers.get(server)
        if pool is not None and lister is not None and lister.spec is not pool.spec:
            lister.turn(pool.spec)

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

    def mark(self) -> None:
        """Have what is stopped, or no more, be listed so."""
        self._dirty.set()

    # -- FleetEvents --------------------------------------------------------------------------

    def server_ready(self, server: str) -> None:
        """Do nothing: `workload_ready` says which workload it was."""

    def server_changed(self, server: str) -> None:
        """Mark what it offers as available or not."""
        self._follow(server)
        self._dirty.set()

    def workload_ready(self, workload: Workload) -> None:
        """Read what the server offers (again), since it may be another version of itself, and pass on."""
        self._follow(workload.spec.name)
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
            for endpoint in list(self.endpoints.values()):
                endpoint.renewed()

    async def _build(self) -> None:
        for endpoint in list(self.endpoints.values()):
            spec = endpoint.spec
            parts = [self._part(name, self._listers.get(name)) for name in spec.servers]
            views, changed = await asyncio.to_thread(build_views, spec, parts, endpoint.views)
            if endpoint.spec is not spec:
                continue  # it became another one meanwhile, and is built anew
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

    def _part(self, server: str, lister: Lister | None) -> Part:
        pool = self._fleet.pools.get(server)
        state, reason = (WorkloadState.WAITING.value, None) if pool is None else pool.state()
        definitions = None if lister is None else lister.definitions
        unread = {} if lister is None else dict(lister.unread)
        listens = lister is not None and lister.spec.transport is Transport.HTTP
        mirrored = listens and definitions is not None and definitions.modern
        stop = self.stops.about_server(server)
        if stop is not None:
            return Part(server, definitions, _why(stop), state, unread, mirrored)
        if state not in ("ready", "paused", "stopped"):  # these go on, or start, when called
            return Part(server, definitions, reason or f"server is {state}", state, unread, mirrored)
        for kind in LISTED:
            if definitions is None or kind not in definitions.lists:
                unread.setdefault(kind, f"its {LISTS[kind].key} are not read yet")
        stopped = tuple((matches, _why(stop)) for matches, stop in self.stops.about_tools(server))
        return Part(server, definitions, None, state, unread, mirrored, stopped)


def _why(stop: Stop) -> str:
    return f"stopped by an administrator: {stop.reason}"
