"""Administration: what is seen of the gateway and may be done to it, put on the plant, and the two ways to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack

from tidegate.assemble.background import watch
from tidegate.assemble.known import KnownHere
from tidegate.assemble.plant import Plant
from tidegate.domain.errors import Refusal
from tidegate.edge.admin import open_api
from tidegate.edge.admin.auditing import Auditing
from tidegate.edge.admin.door import Actor, Door
from tidegate.edge.admin.explaining import Explaining
from tidegate.edge.admin.feed import Feed
from tidegate.edge.admin.operations import Operations
from tidegate.edge.admin.parts import Parts
from tidegate.edge.admin.shapes import AboutShape
from tidegate.edge.admin.stopping import Stopping
from tidegate.edge.admin.views import Views
from tidegate.edge.advice import AdvicePages
from tidegate.edge.asgi import Application, Scope, exchange_of
from tidegate.edge.control import Control
from tidegate.edge.guard import Guard
from tidegate.edge.mcp import McpEdge
from tidegate.edge.probes import MaySee
from tidegate.edge.reloads import ReloadPages, Reloads
from tidegate.edge.resources import of_page
from tidegate.edge.rollouts import RolloutPages
from tidegate.extensions.identity.local import local_principal
from tidegate.gateway.catalog import Catalog
from tidegate.gateway.explain import Explainer
from tidegate.gateway.pipeline import Pipeline
from tidegate.gateway.seal import Seal
from tidegate.ports.identity import Vouched
from tidegate.settings import Settings


def open_parts(
    plant: Plant,
    catalog: Catalog,
    pipeline: Pipeline,
    about: Callable[[], AboutShape],
    reloads: Reloads,
    stack: AsyncExitStack,
) -> Parts:
    """Put together what the control socket and the admin API are in front of."""
    feed = Feed(plant.boot, time.time)
    feed.hear(plant.fleet, plant.journal)
    watch(stack, feed.count(plant.metrics.refusals), "refusal count")
    operations = Operations(plant.fleet, plant.journal, feed, reloads)
    stack.push_async_callback(operations.close)
    views = Views(plant.fleet, catalog, plant.metrics, time.time, plant.fleet.usages.now)
    explainer = Explainer(catalog.endpoints, plant.stops.stops, plant.quotas)
    known = KnownHere(plant.state, pipeline.seen)
    explaining = Explaining(explainer, known, plant.directory.journal, operations.record)
    stopping = Stopping(plant.stops, operations, catalog)
    auditing = Auditing(plant.directory.journal, operations.record, Seal(plant.keys, plant.key_id, time.time))
    return Parts(
        about, views, operations, feed, stopping, plant.quotas, explaining, auditing, lambda: catalog.tenants
    )


def control_pages(
    plant: Plant, parts: Parts, pipeline: Pipeline, reloads: Reloads, stop: Callable[[], None]
) -> Mapping[str, Application]:
    """Give what the control socket has beside MCP, by prefix; the first that fits is taken."""
    told, operator = ReloadPages(reloads), Actor(local_principal(), "control")
    guard = Guard(listen_host="localhost")
    return {
        "/api/": Door(pipeline, lambda: guard, lambda: open_api(parts), Vouched(operator.principal)),
        "/v1/reload": told,
        "/v1/config": told,
        "/v1/advice": AdvicePages(parts.operations, operator),
        "/v1/rollouts": RolloutPages(plant.fleet.rollouts, parts.operations, operator),
        "/v1/": Control(plant.fleet, parts, operator, stop),
    }


def public_pages(
    settings: Settings, parts: Parts, pipeline: Pipeline, edge: McpEdge
) -> Mapping[str, Application]:
    """Give what the public listener has for administrators, by prefix."""
    if not settings.admin_api:
        return {}
    door = Door(pipeline, lambda: edge.guard, lambda: open_api(parts), resources=lambda: edge.resources)
    return {"/api/": door}


def may_see(pipeline: Pipeline, edge: McpEdge, catalog: Catalog, *, local: bool) -> MaySee:
    """Give what tells whether somebody may see the names of servers, and counts: an administrator of all may, and on a
    listener that only this machine reaches everybody, where no tenant has to be hidden from another."""

    async def looking(scope: Scope) -> bool:
        if local and not catalog.tenants:
            return True
        exchange = exchange_of(scope)
        peer = edge.guard.peer(exchange.peer, exchange.request.headers)
        try:
            credentials = of_page(exchange, edge.resources, edge.guard, peer)
        except Refusal:
            return False
        principal = await pipeline.administrator(credentials)
        return principal is not None and catalog.tenants.operates(principal.tenant)

    return looking
