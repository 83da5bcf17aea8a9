"""Stopping: what administrators stop and resume. Recorded with who does it; in force here before it is answered.

A stop that cannot be recorded is put in force all the same: it is how somebody keeps worse from happening.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tidegate.access.stop_store import MOST
from tidegate.access.stops import Following
from tidegate.domain.errors import JournalRefused, StateError
from tidegate.domain.stop import Stop, StopScope
from tidegate.domain.target import Kind
from tidegate.edge.admin.door import Actor
from tidegate.edge.admin.operations import Operations
from tidegate.edge.admin.problem import Problem
from tidegate.edge.admin.shapes import StopMadeShape, StopShape, StopsShape
from tidegate.edge.admin.sight import EVERYTHING, Sight
from tidegate.gateway.catalog import Catalog
from tidegate.telemetry import log

if TYPE_CHECKING:
    from tidegate.edge.admin.bodies import StopBody

_OF_TENANT, _OF_TENANTS = 32, MOST // 2
"""Stops of one tenant's administrators, and of all tenants' together: there is room for the operator's beside them."""
_NAMED = 50
"""Tools that are named of those that a stop concerns."""


class Stopping:
    """What may be done about stops."""

    def __init__(self, following: Following, operations: Operations, catalog: Catalog) -> None:
        self._following = following
        self._operations = operations
        self._catalog = catalog
        self._adding = asyncio.Lock()

    async def all(self, sight: Sight) -> StopsShape:
        """Give what is stopped, as far as it concerns whoever asks.

        Raises:
            StateError: the state store does not say.
        """
        stops = self._following.stops
        known = {stop.id for stop in stops.in_force}
        damaged = [each for each in await self._following.store.ids() if each not in known]
        return {
            "stops": [_seen(stop, sight) for stop in stops.in_force if sight.about(stop)],
            "unknown": stops.unknown,
            "damaged": damaged if stops.unknown is not None and sight.tenant is None else [],
        }

    async def add(self, body: StopBody, actor: Actor, sight: Sight = EVERYTHING) -> StopMadeShape:
        """Stop something. It is in force here when this returns, elsewhere within a second.

        Raises:
            Problem: there is no such server, or it is not for this administrator to stop.
            StateError: it cannot be kept, and is not in force.
        """
        tenant = sight.stopping(body.scope, body.name, body.server)
        if body.server:
            self._operations.pool(body.server)
        if not tenant:
            return await self._add(body, actor, tenant)
        async with self._adding:  # many that are sent at one time must not be counted as none
            self._check_room(tenant)
            return await self._add(body, actor, tenant)

    def _check_room(self, tenant: str) -> None:
        """See that a tenant's administrators may make one more stop."""
        made = [each.tenant for each in self._following.stops.in_force if each.tenant]
        if made.count(tenant) >= _OF_TENANT:
            raise Problem(
                409, "refused", f"{_OF_TENANT} stops of this tenant are in force, as many as may be"
            )
        if len(made) >= _OF_TENANTS:
            raise Problem(409, "refused", "as many stops as administrators of tenants may make are in force")

    async def _add(self, body: StopBody, actor: Actor, tenant: str) -> StopMadeShape:
        scope, name, issuer = body.scope.value, body.name, body.issuer
        try:
            self._operations.record(
                actor, "stop", scope=scope, name=name, issuer=issuer, seconds=body.seconds, reason=body.reason
            )
        except JournalRefused as error:
            log().error("journal.unavailable", reason=f"something is stopped all the same: {error}")
        stop = await self._following.store.add(
            body.scope,
            body.name,
            reason=body.reason,
            by=f"{actor.principal.subject[:64]} ({actor.via})",
            seconds=body.seconds,
            issuer=body.issuer,
            tenant=tenant,
        )
        await self._following.read()
        return {"stop": _shape(stop), "tools": self._tools(stop) if stop.scope is StopScope.TOOL else None}

    async def lift(
        self, stop_id: str, reason: str, actor: Actor, sight: Sight = EVERYTHING
    ) -> StopShape | None:
        """Take a stop back; give it, where it could be read.

        Raises:
            Problem: there is no such stop, or it is not for this administrator to take back.
            JournalRefused: it cannot be recorded, and stays in force.
            StateError: it cannot be removed, and stays in force.
        """
        store = self._following.store
        stop = next((each for each in self._following.stops.in_force if each.id == stop_id), None)
        is_known = sight.tenant is None if stop is None else sight.about(stop)
        if stop_id not in await store.ids() or not is_known:
            raise Problem(404, "unknown_stop", f"no stop {stop_id[:64]!r} is in force")
        if stop is not None:
            sight.lifting(stop)
        told = {} if stop is None else {"scope": stop.scope.value, "name": stop.name, "issuer": stop.issuer}
        self._operations.record(actor, "resume", id=stop_id, **told, reason=reason)
        await store.lift(stop_id)
        try:
            await self._following.read()
        except StateError as error:  # another one that nobody can read is no failure of this
            log().error("state.failed", reason=str(error))
        return None if stop is None else _shape(stop)

    def _tools(self, stop: Stop) -> list[str]:
        """Give the tools that a stop is about, as far as they are known."""
        definitions = self._catalog.definitions.get(stop.server)
        named = () if definitions is None else (each.name for each in definitions.of(Kind.TOOL))
        found = self._following.stops.about_tools(stop.server)
        mine = [matches for matches, each in found if each.id == stop.id]
        return [name for name in named if any(matches(name) for matches in mine)][:_NAMED]


def _seen(stop: Stop, sight: Sight) -> StopShape:
    """Give a stop as whoever asks may see it: a server may have been another tenant's when that stopped it."""
    shape = _shape(stop)
    if sight.tenant is not None and stop.tenant not in ("", sight.tenant):
        shape["tenant"], shape["by"] = "", "another administrator"
    return shape


def _shape(stop: Stop) -> StopShape:
    return {
        "id": stop.id,
        "scope": stop.scope.value,
        "name": stop.name,
        "tenant": stop.tenant,
        "issuer": stop.issuer,
        "reason": stop.reason,
        "by": stop.by,
        "since": stop.since,
        "until": stop.until,
    }
