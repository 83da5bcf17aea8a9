"""Gateway: what serves, put on the plant: the path of a call, the listeners and what they answer."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

from tidegate import __version__
from tidegate.access.authenticate import Authenticator
from tidegate.access.authorize import Grants
from tidegate.assemble.administration import control_pages, may_see, open_parts, public_pages
from tidegate.assemble.background import follow_keys, tick, watch
from tidegate.assemble.identities import Identities
from tidegate.assemble.launchers import Launchers
from tidegate.assemble.plant import Plant, surroundings
from tidegate.assemble.policies import Policies
from tidegate.assemble.policy_changes import keep
from tidegate.assemble.tokens import binding, resources
from tidegate.edge.admin.parts import Parts
from tidegate.edge.admin.shapes import AboutShape
from tidegate.edge.app import App
from tidegate.edge.asgi import Application
from tidegate.edge.connection import HttpBounds
from tidegate.edge.guard import Guard
from tidegate.edge.listener import Listener, Tls, server_context
from tidegate.edge.mcp import McpEdge
from tidegate.edge.probes import Probes
from tidegate.edge.reloads import Reloads
from tidegate.edge.stalls import watch_loop
from tidegate.extensions.identity.local import local_principal
from tidegate.gateway.build import Given, Path, build
from tidegate.gateway.catalog import Catalog, Endpoint
from tidegate.gateway.definitions import DefinitionStore
from tidegate.gateway.pipeline import Pipeline
from tidegate.ports.identity import Identity, Vouched
from tidegate.settings import Settings

_DESCRIPTORS = 8192
"""Open files and connections that are asked for."""


@dataclass(frozen=True, slots=True)
class Front:
    """What a public listener is like, by the settings."""

    guard: Guard
    local: bool
    """Whether only this machine reaches it."""
    bounds: HttpBounds
    tls: Tls | None


@dataclass(slots=True)
class Gateway:
    """What serves. `settings` are those in force."""

    settings: Settings
    path: Path
    identities: Identities
    policies: Policies
    catalog: Catalog
    probes: Probes
    parts: Parts
    public: Listener
    private: Listener

    def drain(self) -> None:
        """Take no more calls, and end what would not end by itself."""
        self.path.drain()
        self.parts.feed.close()

    @property
    def listeners(self) -> Sequence[Listener]:
        """All there are."""
        return (self.public, self.private)

    def url(self) -> str:
        """Give the base URL for clients."""
        return _url(self.settings, self.public)

    def show(self, front: Front, settings: Settings) -> None:
        """Have the listeners be like other settings say, in one step.

        Raises:
            SettingsError: the certificate cannot be used; nothing has changed.
        """
        self.public.become(front.bounds, front.tls)
        self.private.become(HttpBounds(settings.limits.body), None)
        app = self.public.app
        pages = _pages(front, self.probes, self.path.pipeline, app.mcp, self.catalog)
        app.become(pages, front.guard, ask_for_pages=front.local)
        self.settings = settings
        app.mcp.resources = resources(settings, self.url(), self.catalog.endpoints)


def _url(settings: Settings, public: Listener) -> str:
    return replace(settings, listen=replace(settings.listen, port=public.port)).url


async def start(
    settings: Settings, plant: Plant, reloads: Reloads, stop: Callable[[], None], stack: AsyncExitStack
) -> Gateway:
    """Put what serves on the plant, and have the fleet begin."""
    launchers = Launchers(plant, settings)
    for spec in plant.servers:
        plant.fleet.declare(spec, launchers.launcher_for(spec))
    plant.fleet.rollouts.launcher_for = launchers.launcher_for
    policies = await _policies(settings, plant, stack)
    catalog = _catalog(settings, plant, policies)
    identities = await _identities(settings, plant, stack)
    path = await _path(plant, catalog, identities, stack)
    pipeline = path.pipeline
    await catalog.open(plant.servers)
    await policies.learn(catalog.definitions)
    stack.push_async_callback(catalog.close)
    stack.push_async_callback(plant.fleet.close)
    watch(stack, watch_loop(plant.metrics), "loop watch")
    watch(stack, tick(plant.journal), "journal tick")
    listeners: list[Listener] = []
    gauges = _gauges(plant, path, listeners, reloads)
    probes = Probes(plant.fleet, plant.metrics, gauges, lambda: _refusing(pipeline, plant))
    about = _about(plant, pipeline, lambda: gateway.url(), reloads)
    parts = open_parts(plant, catalog, pipeline, about, reloads, stack)
    public = await _open_public(settings, plant, path, catalog, probes, parts)
    prefixes = control_pages(plant, parts, pipeline, reloads, stop)
    private = await _open_control(settings, plant, path, catalog, _all_pages(probes), prefixes)
    gateway = Gateway(settings, path, identities, policies, catalog, probes, parts, public, private)
    following = policies.follow(lambda: catalog.definitions, lambda: gateway.settings.reload == "auto")
    watch(stack, following, "policy watch")
    stack.callback(plant.directory.control_socket.unlink, missing_ok=True)
    listeners += gateway.listeners
    plant.fleet.begin()
    return gateway


def _about(
    plant: Plant, pipeline: Pipeline, url: Callable[[], str], reloads: Reloads
) -> Callable[[], AboutShape]:
    started = round(time.time())

    def about() -> AboutShape:
        return {
            "version": __version__, "instance": plant.directory.instance, "pid": os.getpid(), "url": url(),
            "ready": _refusing(pipeline, plant) is None, "draining": pipeline.draining,
            "started": started, "in_flight": plant.limits.in_flight, "settings": reloads.about(),
        }  # fmt: skip

    return about


async def _open_control(
    settings: Settings,
    plant: Plant,
    path: Path,
    catalog: Catalog,
    pages: dict[str, Application],
    prefixes: Mapping[str, Application],
) -> Listener:
    operator = Vouched(local_principal(), credential="control")
    guard = Guard(listen_host="localhost")
    edge = McpEdge(
        path.pipeline, catalog.endpoints, guard, new_id=plant.new_id, operator=operator,
        streams=path.streams, open_stream=path.pipeline.open_stream,
    )  # fmt: skip
    listener = Listener(App(edge, pages, prefixes), bounds=HttpBounds(settings.limits.body))
    await listener.open_unix(plant.directory.control_socket)
    return listener


async def _policies(settings: Settings, plant: Plant, stack: AsyncExitStack) -> Policies:
    policies = Policies(surroundings(settings, plant.directory), keep(plant.journal))
    stack.push_async_callback(policies.close)
    policies.adopt(await policies.prepare(settings.policies))
    return policies


def _catalog(settings: Settings, plant: Plant, policies: Policies) -> Catalog:
    grants = Grants(settings.roles, policies.engines, settings.tenants)
    endpoints = [Endpoint(spec, grants.at(spec)) for spec in settings.endpoints]
    store = DefinitionStore(plant.own)
    return Catalog(plant.fleet, store, endpoints, one_principal=settings.local, grants=grants)


async def _identities(settings: Settings, plant: Plant, stack: AsyncExitStack) -> Identities:
    around = surroundings(settings, plant.directory)
    proving = binding(settings, lambda: plant.directory.key("dpop"))
    identities = Identities(plant.state, around, lambda keys: follow_keys(keys, plant.journal), proving)
    stack.push_async_callback(identities.close)
    identities.adopt(await identities.prepare(settings.auth), settings.tenants)
    return identities


async def _path(plant: Plant, catalog: Catalog, identity: Identity, stack: AsyncExitStack) -> Path:
    path = build(
        Given(
            plant.state,
            plant.fleet,
            catalog,
            plant.journal,
            Authenticator([identity], time.time),
            plant.limits,
            plant.metrics,
            plant.keys,
            plant.key_id,
            time.time,
            plant.boot,
            plant.new_id,
            plant.mail,
            plant.stops.stops,
            plant.quotas,
        )
    )
    if plant.mail is not None:
        await plant.mail.announce()
        watch(stack, plant.mail.run(), "mail")
    await path.subscriptions.open()
    for name, work in path.background().items():
        watch(stack, work, name)
    stack.push_async_callback(path.close)
    return path


def front(settings: Settings) -> Front:
    """Say what the public listener is to be like.

    Raises:
        SettingsError: the certificate cannot be used.
    """
    guard = Guard(
        listen_host=settings.listen.host,
        public_url=settings.public_url,
        hosts=settings.allowed_hosts,
        origins=settings.allowed_origins,
        proxies=[str(proxy) for proxy in settings.trusted_proxies],
    )
    given = settings.tls
    tls = (
        None
        if given is None
        else Tls(given.certificate, given.key, given.client_ca, given.client == "required")
    )
    if tls is not None:
        server_context(tls)
    local = settings.listen.loopback and not settings.trusted_proxies and settings.public_url is None
    return Front(guard, local, HttpBounds(settings.limits.body, connections=_descriptors()), tls)


def _pages(
    front: Front, probes: Probes, pipeline: Pipeline, edge: McpEdge, catalog: Catalog
) -> dict[str, Application]:
    # Elsewhere pages say nothing to strangers, and whoever looks after the gateway asks by its address.
    return _all_pages(probes.for_those(may_see(pipeline, edge, catalog, local=front.local)))


async def _open_public(
    settings: Settings, plant: Plant, path: Path, catalog: Catalog, probes: Probes, parts: Parts
) -> Listener:
    like, pipeline = front(settings), path.pipeline
    edge = McpEdge(
        pipeline, catalog.endpoints, like.guard, new_id=plant.new_id,
        streams=path.streams, open_stream=pipeline.open_stream,
        resources=resources(settings, settings.url, catalog.endpoints),
    )  # fmt: skip
    guard = like.guard if like.local else None
    api = public_pages(settings, parts, pipeline, edge)
    app = App(edge, _pages(like, probes, pipeline, edge, catalog), api, pipeline.count_malformed, guard=guard)
    listener = Listener(app, bounds=like.bounds, tls=like.tls)
    await listener.open_tcp(settings.listen.host, settings.listen.port)
    edge.resources = resources(settings, _url(settings, listener), catalog.endpoints)  # the port is known now
    return listener


def _descriptors() -> int:
    """Have more descriptors than the usual 1024, and tell how many of them clients may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    # Half are for the gateway itself: without one it can neither write its journal nor reach a server.
    return _DESCRIPTORS // 2 if soft == resource.RLIM_INFINITY else min(_DESCRIPTORS, soft) // 2


def _all_pages(probes: Probes) -> dict[str, Application]:
    return {"/healthz": probes.healthz, "/readyz": probes.readyz, "/metrics": probes.metrics}


def _gauges(
    plant: Plant, path: Path, listeners: Sequence[Listener], reloads: Reloads
) -> Callable[[], dict[str, float]]:
    def gauges() -> dict[str, float]:
        return {
            "tidegate_calls_in_flight": plant.limits.in_flight,
            "tidegate_streams": path.streams.listening,
            "tidegate_stops": len(plant.stops.stops.in_force),
            "tidegate_stops_unknown": plant.stops.stops.unknown is not None,
            "tidegate_loop_stall_seconds_max": plant.metrics.stall_max,
            "tidegate_settings_version": reloads.number,
            "tidegate_settings_problems": len(reloads.problems),
            "tidegate_tasks": len(asyncio.all_tasks()),
            "tidegate_connections": sum(listener.connections for listener in listeners),
        }

    return gauges


def _refusing(pipeline: Pipeline, plant: Plant) -> str | None:
    if pipeline.draining:
        return "the gateway is stopping"
    if plant.stops.stops.unknown is not None:
        return f"it is not known what is stopped: {plant.stops.stops.unknown}"
    return plant.journal.shortage()
