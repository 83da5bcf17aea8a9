"""Catalog: the merged tools of every endpoint, kept current as servers come, go and change."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress

from tidegate.access.authorize import Authorizer
from tidegate.domain.endpoint import EndpointSpec
from tidegate.domain.errors import ChannelFailure, InvalidParams, ParseFailure
from tidegate.domain.principal import Principal
from tidegate.domain.server import ServerSpec
from tidegate.domain.target import Decision
from tidegate.fleet.fleet import Fleet
from tidegate.fleet.workload import Workload
from tidegate.gateway.definitions import Definitions, DefinitionStore, fetch
from tidegate.gateway.view import SERVERS, Entry, Part, View, build, instructions
from tidegate.protocol.codec import Object, encode
from tidegate.telemetry import log

PAGE = 1000
"""Tools a page of a list holds."""
_LISTS_KEPT = 256
"""Encoded lists kept per endpoint: one for each principal that asked, and page."""
_ROLES_KEPT = 256
LISTS_SIZE = 32 * 1024 * 1024
"""Bytes of them: servers decide how large a tool's definition is."""
RELIST = 1.0
"""Seconds between two readings of one server's tools: it may say as often as it likes that they changed."""
LIST_AGAIN = 30.0
"""Seconds after which tools that could not be read are asked for again."""
_SETTLE = 0.05
"""Seconds to wait for further changes before views are built anew."""


class Endpoint:
    """An endpoint as it serves: its view, its rules, and the lists it gave."""

    def __init__(self, spec: EndpointSpec, authorizer: Authorizer) -> None:
        self.spec = spec
        self.path = spec.path
        self.authorizer = authorizer
        self.view = View(spec)
        self._lists: dict[tuple[object, int, bool], bytes] = {}
        self._lists_size = 0
        self._known: dict[frozenset[str], frozenset[str]] = {}

    def show(self, view: View) -> None:
        """Serve a new view."""
        self.view = view
        self._forget_lists()
        self._known = {}

    def resolve(self, principal: Principal, name: str) -> tuple[Entry, Decision]:
        """Give the entry of a shown name and the rule that allows it. What is hidden looks unknown.

        Raises:
            InvalidParams: it has none that it may see.
        """
        entry = self.view.by_name.get(name)
        if entry is not None:
            decision = self.authorizer.decide(principal, entry.target)
            if decision.allowed:
                return entry, decision
        raise InvalidParams(f"unknown tool: {name[:128]}")

    def list_tools(self, principal: Principal, offset: int, *, modern: bool) -> bytes:
        """Give the encoded result of `tools/list` from `offset` on."""
        key = ((principal.key, principal.roles), offset, modern)
        found = self._lists.get(key)
        if found is None:
            found = self._encode_list(principal, offset, modern)
            if len(self._lists) >= _LISTS_KEPT or self._lists_size + len(found) > LISTS_SIZE:
                self._forget_lists()
            if len(found) <= LISTS_SIZE:
                self._lists[key] = found
                self._lists_size += len(found)
        return found

    def instructions(self, principal: Principal) -> str | None:
        """Give the merged instructions of the servers that a principal may know of."""
        return instructions(self.view, self._known_to(principal)) if self.view.said else None

    def _known_to(self, principal: Principal) -> frozenset[str]:
        """Give the servers of which a principal may have something; the others look as if they were not."""
        found = self._known.get(principal.roles)
        if found is None:
            if len(self._known) >= _ROLES_KEPT:
                self._known.clear()
            found = self._known[principal.roles] = self._find_known(principal)
        return found

    def _find_known(self, principal: Principal) -> frozenset[str]:
        decide, listed, known = self.authorizer.decide, set[str](), set[str]()
        for entry in self.view.entries:
            server = entry.target.server
            listed.add(server)
            if server not in known and decide(principal, entry.target).allowed:
                known.add(server)
        others = (server for server in self.spec.servers if server not in listed)
        reached = (server for server in others if self.authorizer.may_reach(principal, server))
        return frozenset({*known, *reached})

    @property
    def kept(self) -> int:
        """Bytes of the encoded lists that are kept."""
        return self._lists_size

    def _forget_lists(self) -> None:
        self._lists, self._lists_size = {}, 0

    def _encode_list(self, principal: Principal, offset: int, modern: bool) -> bytes:
        decide = self.authorizer.decide
        view, known = self.view, self._known_to(principal)
        allowed = [entry.encoded for entry in view.entries if decide(principal, entry.target).allowed]
        page = allowed[offset : offset + PAGE]
        more = offset + PAGE < len(allowed)
        rest: dict[str, object] = {"nextCursor": f"t{offset + PAGE}"} if more else {}
        missing = {server: why for server, why in view.missing.items() if server in known}
        if missing:
            rest["_meta"] = {SERVERS: missing}
        if modern:
            rest |= {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
        tail = encode(rest)[1:]
        return b'{"tools":[%b]%b%b' % (b",".join(page), b"," if rest else b"", tail)


class Catalog:
    """Keeps the endpoints' views current."""

    def __init__(
        self,
        fleet: Fleet,
        store: DefinitionStore,
        endpoints: Sequence[Endpoint],
        *,
        one_principal: bool = False,
    ) -> None:
        """`one_principal`: whether all who ask are one, so that no list is anybody else's."""
        self._one_principal = one_principal
        self.endpoints: Mapping[str, Endpoint] = {endpoint.path: endpoint for endpoint in endpoints}
        self.definitions: dict[str, Definitions] = {}
        self._fleet = fleet
        self._store = store
        self._wanted: dict[str, asyncio.Event] = {}
        """By server: set where its tools are to be read."""
        self._unread: dict[str, str] = {}
        """Why a server's tools could not be read the last time."""
        self._dirty = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._said: set[str] = set()
        fleet.events = self

    async def open(self, specs: Sequence[ServerSpec]) -> None:
        """Load what is known of each server and begin to keep the views current."""
        for spec in specs:
            known = await self._store.load(spec)
            if known is not None:
                self.definitions[spec.name] = known
        await self._build()
        self._tasks = [
            asyncio.create_task(self._build_when_dirty(), name="catalog builder"),
        ]
        for spec in specs:
            wanted = self._wanted[spec.name] = asyncio.Event()
            work = self._keep_listed(spec.name, wanted)
            self._tasks.append(asyncio.create_task(work, name=f"catalog lister {spec.name}"))

    async def close(self) -> None:
        """Stop keeping them."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    # -- FleetEvents --------------------------------------------------------------------------

    def server_ready(self, server: str) -> None:
        """Read its tools (again): it may be another version of itself."""
        self._enqueue(server)

    def server_changed(self, server: str) -> None:
        """Mark its tools as available or not."""
        self._dirty.set()

    def workload_ready(self, workload: Workload) -> None:
        """Nothing of a single workload matters here."""

    def server_notified(self, server: str, workload: Workload, method: str, params: Object) -> None:
        """Read its tools again where it says that they changed."""
        if method == "notifications/tools/list_changed":
            self._enqueue(server)

    # -- supervisors --------------------------------------------------------------------------

    def _enqueue(self, server: str) -> None:
        if server in self._wanted:
            self._wanted[server].set()

    async def _keep_listed(self, server: str, wanted: asyncio.Event) -> None:
        """Read one server's tools whenever that is wanted. One that is slow to tell them delays no other."""
        again: float | None = None
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(again):
                    await wanted.wait()
            wanted.clear()
            try:
                again = None if await self._list(server) else LIST_AGAIN
            except Exception as error:  # noqa: BLE001 - a supervisor: one server's oddity must not stop its list for good
                log().error("supervisor.failed", server=server, exc_info=error)
            await asyncio.sleep(RELIST)  # notices in the meantime become one

    async def _list(self, server: str) -> bool:
        """Read a server's tools where a workload of it is ready. Tell whether there is nothing to try again."""
        # Once they are known, no principal's own workload tells the others what a server's tools are.
        private = self._one_principal or server not in self.definitions
        workload = self._fleet.to_ask(server, private=private)
        if workload is None or workload.channel is None:
            return True
        try:
            definitions = await fetch(workload.channel)
        except (ChannelFailure, ParseFailure) as error:
            log().warning("server.list_failed", server=server, reason=str(error))
            self._unread[server] = f"its tools could not be read: {error}"
            self._dirty.set()
            return False
        log().info("server.listed", server=server, tools=len(definitions.tools))
        self._unread.pop(server, None)
        if self.definitions.get(server) != definitions:
            self.definitions[server] = definitions
            self._dirty.set()
            await self._store.save(workload.spec, definitions)
        return True

    async def _build_when_dirty(self) -> None:
        while True:
            await self._dirty.wait()
            await asyncio.sleep(_SETTLE)
            self._dirty.clear()
            try:
                await self._build()
            except Exception as error:  # noqa: BLE001 - a supervisor: the views before stay
                log().error("supervisor.failed", task="catalog builder", exc_info=error)

    async def _build(self) -> None:
        for endpoint in self.endpoints.values():
            parts = [self._part(name) for name in endpoint.spec.servers]
            view = await asyncio.to_thread(build, endpoint.spec, parts)
            for reason in view.dropped:
                if reason not in self._said:
                    self._said.add(reason)
                    log().warning("server.degraded", endpoint=endpoint.path, reason=reason)
            endpoint.show(view)

    def _part(self, server: str) -> Part:
        pool = self._fleet.pools[server]
        state, reason = pool.state()
        definitions = self.definitions.get(server)
        if definitions is not None and state in ("ready", "stopped"):  # a stopped one starts when called
            return Part(server, definitions, None, state)
        if state == "ready":
            return Part(server, None, self._unread.get(server, "its tools are not read yet"), state)
        return Part(server, definitions, reason or f"server is {state}", state)
