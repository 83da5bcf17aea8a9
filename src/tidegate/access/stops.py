"""Stops in force: whether one concerns a principal and a target. Asked for each call, so it never waits.

Where it cannot be known what is stopped, everything new is refused.
"""

from __future__ import annotations

import asyncio
import fnmatch
import re
from collections.abc import AsyncIterator, Callable, Sequence

from tidegate.access.stop_store import PREFIX, StopStore
from tidegate.domain.errors import Refusal, StateError, StateRefused, Stopped
from tidegate.domain.principal import Principal
from tidegate.domain.stop import Stop, StopScope
from tidegate.domain.target import Kind, Target
from tidegate.telemetry import log

LOOK, LOOK_BLIND = 1.0, 0.25
"""Seconds between two readings that nothing calls for: a store that fails says so to those only who read it."""
LATE = 8.0
"""Seconds a reading may take. A store waits 5 s for another process's transaction, which is no failure."""

_Match = Callable[[str], object]
Changed = Callable[[Sequence[Stop], Sequence[Stop]], None]
"""Told of stops that came in force, and of those that are no more."""


class Stops:
    """What is stopped now. `any` is looked at first, and is all that it costs while nothing is."""

    def __init__(self) -> None:
        self.any = False
        """Whether anything is stopped, or nobody knows."""
        self.in_force: Sequence[Stop] = ()
        self.unknown: str | None = None
        """Why it is not known what is stopped; None where it is."""
        self.when_changed: list[Changed] = []
        self._everything: Stop | None = None
        self._tenants: dict[str, Stop] = {}
        self._clients: dict[str, list[Stop]] = {}
        self._servers: dict[str, Stop] = {}
        self._principals: dict[str, list[Stop]] = {}
        self._tools: dict[str, list[tuple[_Match, Stop]]] = {}

    def check(self, principal: Principal, target: Target | None = None) -> Stop | None:
        """Give a stop that concerns whoever asks, or the target; None where there is none."""
        if not self.in_force:
            return None
        found = self._of(principal)
        return found if found is not None or target is None else self.about(target)

    def check_server(self, principal: Principal, server: str) -> Stop | None:
        """Give a stop that concerns whoever asks, or all of a server."""
        return (self._of(principal) or self.about_server(server)) if self.in_force else None

    def about_server(self, server: str) -> Stop | None:
        """Give a stop that concerns all of a server, whoever asks."""
        return self._everything or self._servers.get(server)

    def about_tools(self, server: str) -> Sequence[tuple[_Match, Stop]]:
        """Give the stops of a server's tools, each with what tells of which."""
        return tuple(self._tools.get(server, ()))

    def about(self, target: Target) -> Stop | None:
        """Give a stop that concerns a target, whoever asks."""
        found = self.about_server(target.server)
        if found is None and target.kind in (Kind.TOOL, Kind.EXTENSION):
            for matches, stop in self._tools.get(target.server, ()):
                # A method of an extension may do, by another name, just what is stopped.
                if target.kind is Kind.EXTENSION or matches(target.name):
                    return stop
        return found

    def admit(self, principal: Principal, target: Target | None = None) -> None:
        """See that nothing stops this.

        Raises:
            Stopped: something does.
            StateRefused: nobody knows.
        """
        if self.unknown is not None:
            raise StateRefused(f"nothing was done, since it is not known what is stopped: {self.unknown}")
        stop = self.check(principal, target)
        if stop is not None:
            raise refusal(stop, target)

    def turn(self, stops: Sequence[Stop]) -> None:
        """Have these in force, and no others."""
        before, self.unknown = self.in_force, None
        if list(stops) == list(before):
            self.any = bool(before)
            return
        self._index(stops)
        self.in_force, self.any = tuple(stops), bool(stops)
        added = [stop for stop in stops if stop not in before]
        gone = [stop for stop in before if stop not in stops]
        for tell in self.when_changed:
            tell(added, gone)

    def lose(self, reason: str) -> None:
        """Learn that it cannot be known what is stopped: what is in force stays, and all that is new is refused."""
        self.unknown, self.any = reason, True

    def _of(self, principal: Principal) -> Stop | None:
        found = self._everything or self._tenants.get(principal.tenant)
        if found is None and principal.client:
            found = _first(self._clients.get(principal.client, ()), principal)
        if found is None and self._principals:
            named = (*self._principals.get(principal.subject, ()), *self._principals.get(principal.key, ()))
            found = _first(named, principal)
        return found

    def _index(self, stops: Sequence[Stop]) -> None:
        def named(scope: StopScope) -> dict[str, Stop]:
            return {stop.name: stop for stop in reversed(stops) if stop.scope is scope}

        self._everything = next((stop for stop in stops if stop.scope is StopScope.ALL), None)
        self._tenants, self._servers = named(StopScope.TENANT), named(StopScope.SERVER)
        self._clients, self._principals, self._tools = {}, {}, {}
        for stop in stops:
            if stop.scope is StopScope.PRINCIPAL:
                self._principals.setdefault(stop.name, []).append(stop)
            elif stop.scope is StopScope.CLIENT:
                self._clients.setdefault(stop.name, []).append(stop)
            elif stop.scope is StopScope.TOOL:
                matches = re.compile(fnmatch.translate(stop.tool)).match
                self._tools.setdefault(stop.server, []).append((matches, stop))


def _first(stops: Sequence[Stop], principal: Principal) -> Stop | None:
    """Give the first stop of a name that is about this principal, whose issuer and tenant may be other ones."""
    for stop in stops:
        if stop.issuer in ("", principal.issuer) and stop.tenant in ("", principal.tenant):
            return stop
    return None


def refusal(stop: Stop, target: Target | None = None) -> Refusal:
    """Give what a client is told of a stop: what, why, until when; never by whom, nor what else it is about."""
    what = {
        StopScope.ALL: "all calls are stopped",
        StopScope.TENANT: "the calls of your tenant are stopped",
        StopScope.PRINCIPAL: "your calls are stopped",
        StopScope.CLIENT: "the calls of this client are stopped",
        StopScope.SERVER: f"server {stop.server} is stopped",
        StopScope.TOOL: "this tool is stopped",
    }[stop.scope]
    data: dict[str, object] = {"stop": stop.id}
    if stop.until is not None:
        data["until"] = stop.until
    return Stopped(f"{what} by an administrator: {stop.reason} (stop {stop.id})", data=data, target=target)


class Following:
    """Keeps what is stopped as the state store has it. `run` must run as long as it is used."""

    def __init__(self, store: StopStore, stops: Stops) -> None:
        self.store = store
        self.stops = stops
        self._told = asyncio.Event()
        self._changes: AsyncIterator[str] = store.state.watch(PREFIX)
        self._turn = 0
        """Number of the reading that was taken last: one that was overtaken tells what was."""
        self._readings = 0

    async def read(self) -> None:
        """Read what is stopped now.

        Raises:
            StateError: it cannot be read; all that is new is refused.
        """
        self._readings += 1
        number = self._readings
        try:
            found = await self.store.list()
        except StateError as error:
            self.stops.lose(str(error))
            raise
        if number > self._turn:
            self._turn = number
            self.stops.turn(found)

    async def run(self) -> None:
        """Learn of stops that are made and lifted, by whomever, within a second. Never ends by itself."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._hear(), name="stop watch")
            while True:
                reading = group.create_task(self.look(), name="stop reading")
                await asyncio.wait([reading], timeout=LATE)
                if not reading.done():
                    self.stops.lose(f"the state store has not answered for {LATE:g} s")
                    await reading
                await self._rest()

    async def look(self) -> None:
        """Read what is stopped now; where that cannot be, it is logged once."""
        known = self.stops.unknown is None
        try:
            await self.read()
        except StateError as error:
            if known:
                log().error(
                    "state.failed", reason=f"what is stopped is not known, so calls are refused: {error}"
                )

    async def _hear(self) -> None:
        async for _ in self._changes:
            self._told.set()

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(LOOK if self.stops.unknown is None else LOOK_BLIND):
                await self._told.wait()
        except TimeoutError:
            return
        self._told.clear()
