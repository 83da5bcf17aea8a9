"""From settings to a running gateway. The only module that knows every part, and it decides nothing else."""

from __future__ import annotations

import asyncio
import base64
import gc
import hashlib
import itertools
import os
import resource
import secrets
import signal
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

from pydantic import BaseModel

from tidegate import __version__
from tidegate.access.authenticate import Authenticator
from tidegate.access.authorize import Authorizer
from tidegate.access.limits import CallLimits
from tidegate.audit.journal import Journal
from tidegate.channels.http.dial import tls_context
from tidegate.domain.errors import JournalUnavailable, RuntimeFailure, StateError
from tidegate.domain.record import RecordKind
from tidegate.domain.server import Remote, ServerSpec
from tidegate.edge.app import App
from tidegate.edge.asgi import Application
from tidegate.edge.connection import HttpBounds
from tidegate.edge.control import Control
from tidegate.edge.guard import Guard
from tidegate.edge.listener import Listener, Tls
from tidegate.edge.mcp import McpEdge
from tidegate.edge.probes import Probes
from tidegate.edge.stalls import watch_loop
from tidegate.extensions import table
from tidegate.extensions.identity.keys import KeyIdentity, KeyRecord, KeyStore
from tidegate.extensions.identity.local import LocalIdentity, local_principal
from tidegate.extensions.state.sqlite import SQLITE, SqliteSettings
from tidegate.fleet.fleet import Caps, Fleet
from tidegate.fleet.launch import RemoteLauncher, RuntimeLauncher, Wiring
from tidegate.gateway.build import Given, Path, build
from tidegate.gateway.catalog import Catalog, Endpoint
from tidegate.gateway.definitions import DefinitionStore
from tidegate.gateway.mail import Mail
from tidegate.gateway.pipeline import Pipeline
from tidegate.ports.extension import Surroundings
from tidegate.ports.identity import Identity, Vouched
from tidegate.ports.runtime import Runtime
from tidegate.ports.state import State
from tidegate.protocol.client import introduce
from tidegate.settings import Settings
from tidegate.state_directory import SharedDirectory, StateDirectory
from tidegate.telemetry import Metrics, configure_logs, log

_COLLECT = 10_000
"""Objects between collections. Calls leave no cycles behind; the default of 700 costs 3 % of a call."""
_TICK = 30.0
"""Seconds between looks at what the journal owes."""
_DESCRIPTORS = 8192
"""Open files and connections that are asked for."""
DRAIN = 10.0
"""Seconds that calls in flight have when the gateway stops."""


async def serve(settings: Settings) -> None:
    """Run a gateway until it is told to stop (SIGINT, SIGTERM, the control socket).

    Raises:
        TidegateError: it cannot be started; nothing is left running.
    """
    configure_logs(settings.logs.format, settings.logs.level)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        plant = await open_plant(settings, stack)
        gateway = await _start(settings, plant, stop.set, stack)
        log().info("gateway.started", url=gateway.url(), version=__version__)
        # What start has made stays until the end: no later collection has to look at it again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_COLLECT)
        await stop.wait()
        log().info("gateway.draining", in_flight=plant.limits.in_flight)
        gateway.path.drain()
        await asyncio.gather(*(listener.close(DRAIN) for listener in gateway.listeners))
    log().info("gateway.stopped")


async def clean(settings: Settings, say: Callable[[str], None]) -> int:
    """Remove every workload of this state directory's gateway. Give how many there were.

    Raises:
        TidegateError: a gateway runs on it, or something could not be removed.
    """
    removed = 0
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(StateDirectory.open(settings.state))
        for name in table.names("runtimes"):
            runtime = await _open_runtime(name, settings, surroundings(settings, directory), stack)
            try:
                found = await runtime.observe()
            except RuntimeFailure as error:
                say(f"{name}: skipped: {error}")
                continue
            for observed in found:
                await runtime.stop(observed.identity, 2.0)
                say(f"{name}: removed {observed.identity.id}")
                removed += 1
    return removed


@dataclass(slots=True)
class Plant:
    """What outlives a reload."""

    directory: StateDirectory
    own: State
    """The gateway's own: what it knows of its workloads and of servers."""
    state: State
    """What clients' sessions rest on; shared with other gateways where the settings say so."""
    keys: Mapping[bytes, bytes]
    """What clients carry is sealed with these, by their ids."""
    key_id: bytes
    journal: Journal
    runtimes: Mapping[str, Runtime]
    servers: Sequence[ServerSpec]
    """With the runtime that each is realised by."""
    fleet: Fleet
    metrics: Metrics
    limits: CallLimits
    boot: str
    """Names this process."""
    new_id: Callable[[], str]
    mail: Mail | None
    """The way to the gateways that share the state store, where there are any."""


@dataclass(slots=True)
class Gateway:
    """What serves."""

    path: Path
    listeners: Sequence[Listener]
    url: Callable[[], str]


def surroundings(settings: Settings, directory: StateDirectory) -> Surroundings:
    """Say what extensions may know of the gateway."""
    outbound = settings.outbound
    return Surroundings(directory.path, directory.instance, outbound.proxy, outbound.ca_bundle)


async def open_plant(settings: Settings, stack: AsyncExitStack) -> Plant:
    """Open what outlives a reload; `stack` closes it in reverse."""
    directory = stack.enter_context(StateDirectory.open(settings.state))
    around = surroundings(settings, directory)
    own = await stack.enter_async_context(SQLITE.open(SqliteSettings(), around))
    boot = base64.b32encode(secrets.token_bytes(5)).decode().lower()
    state, key, mail = own, directory.key("session"), None
    if settings.shared is not None:
        shared = await asyncio.to_thread(SharedDirectory.open, settings.shared)
        state = await stack.enter_async_context(
            SQLITE.open(SqliteSettings(), replace(around, state_dir=shared.path))
        )
        key, mail = shared.key("session"), Mail(state, boot)
    key_id = hashlib.sha256(key).digest()[:4]
    journal = await asyncio.to_thread(
        Journal.open,
        directory.journal,
        key=directory.key("journal"),
        writer=directory.instance,
        durability=settings.journal.durability,
        segment_size=settings.journal.segment_size,
        clock=time.time,
    )
    stack.callback(journal.close)
    journal.event(RecordKind.GATEWAY, {"event": "started", "version": __version__, "pid": os.getpid()})
    stack.callback(_record_stop, journal)
    servers = [replace(spec, runtime=await _realise(spec, settings)) for spec in settings.servers]
    runtimes = {
        name: await _open_runtime(name, settings, around, stack)
        for name in dict.fromkeys(spec.runtime for spec in servers)
        if name != "remote"
    }
    metrics = Metrics()
    fleet = Fleet(
        runtimes, own, journal, metrics,
        instance=directory.instance, starts=settings.limits.starts, caps=_caps(settings), new_id=_workload_id, now=time.time,
    )  # fmt: skip
    limits = CallLimits(in_all=settings.limits.calls_in_flight, each=settings.limits.calls_per_principal)
    return Plant(
        directory, own, state, {key_id: key}, key_id, journal, runtimes, servers, fleet, metrics, limits, boot,
        _call_ids(boot), mail,
    )  # fmt: skip


async def _start(
    settings: Settings, plant: Plant, stop: Callable[[], None], stack: AsyncExitStack
) -> Gateway:
    _declare(settings, plant)
    endpoints = [Endpoint(spec, Authorizer(spec)) for spec in settings.endpoints]
    one = settings.auth.type == "local"
    catalog = Catalog(plant.fleet, DefinitionStore(plant.own), endpoints, one_principal=one)
    path = await _path(settings, plant, catalog, stack)
    pipeline = path.pipeline
    await catalog.open(plant.servers)
    stack.push_async_callback(catalog.close)
    stack.push_async_callback(plant.fleet.close)
    _watch(stack, watch_loop(plant.metrics), "loop watch")
    _watch(stack, _tick(plant.journal), "journal tick")
    listeners: list[Listener] = []
    gauges = _gauges(plant, path, listeners)
    probes = Probes(plant.fleet, plant.metrics, gauges, lambda: _refusing(pipeline, plant.journal))
    public = await _open_public(settings, plant, path, catalog, probes)

    def url() -> str:
        return replace(settings, listen=replace(settings.listen, port=public.port)).url

    about = _about(plant, pipeline, url)
    control = Control(plant.fleet, catalog, about, stop, time.time)
    private = await _open_control(settings, plant, path, catalog, _pages(probes), control)
    stack.callback(plant.directory.control_socket.unlink, missing_ok=True)
    listeners += [public, private]
    plant.fleet.begin()
    return Gateway(path, listeners, url)


def _declare(settings: Settings, plant: Plant) -> None:
    """Tell the fleet what should run, and how each is launched."""
    outbound, fleet = settings.outbound, plant.fleet
    encrypted = any(
        isinstance(spec.launch, Remote) and spec.launch.url.startswith("https:") for spec in plant.servers
    )
    tls = tls_context(outbound.ca_bundle) if encrypted else None
    wiring = Wiring(introduce(__version__), lambda: secrets.token_hex(4), tls, outbound.proxy)
    for spec in plant.servers:
        if isinstance(spec.launch, Remote):
            fleet.declare(spec, RemoteLauncher(spec, spec.launch, wiring))
        else:
            fleet.declare(spec, RuntimeLauncher(spec, plant.runtimes[spec.runtime], wiring, fleet.end_later))


def _about(plant: Plant, pipeline: Pipeline, url: Callable[[], str]) -> Callable[[], dict[str, object]]:
    started = round(time.time())

    def about() -> dict[str, object]:
        return {
            "version": __version__, "instance": plant.directory.instance, "pid": os.getpid(), "url": url(),
            "ready": _refusing(pipeline, plant.journal) is None, "draining": pipeline.draining,
            "started": started, "in_flight": plant.limits.in_flight,
        }  # fmt: skip

    return about


async def _open_control(
    settings: Settings,
    plant: Plant,
    path: Path,
    catalog: Catalog,
    pages: dict[str, Application],
    control: Control,
) -> Listener:
    operator = Vouched(local_principal(), credential="control")
    guard = Guard(listen_host="localhost")
    edge = McpEdge(
        path.pipeline, catalog.endpoints, guard, new_id=plant.new_id, operator=operator,
        streams=path.streams, open_stream=path.pipeline.open_stream,
    )  # fmt: skip
    listener = Listener(App(edge, pages, {"/v1/": control}), bounds=HttpBounds(settings.limits.body))
    await listener.open_unix(plant.directory.control_socket)
    return listener


async def _path(settings: Settings, plant: Plant, catalog: Catalog, stack: AsyncExitStack) -> Path:
    identity: Identity
    if settings.auth.type == "keys":
        identity = KeyIdentity(KeyStore(plant.state))
        _watch(stack, _follow_keys(identity, plant.journal), "key watch")
    else:
        identity = LocalIdentity()
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
        )
    )
    if plant.mail is not None:
        await plant.mail.announce()
        _watch(stack, plant.mail.run(), "mail")
    await path.subscriptions.open()
    for name, work in path.background().items():
        _watch(stack, work, name)
    stack.push_async_callback(path.close)
    return path


async def _open_public(
    settings: Settings, plant: Plant, path: Path, catalog: Catalog, probes: Probes
) -> Listener:
    guard = Guard(
        listen_host=settings.listen.host,
        public_url=settings.public_url,
        hosts=settings.allowed_hosts,
        origins=settings.allowed_origins,
        proxies=[str(proxy) for proxy in settings.trusted_proxies],
    )
    pipeline = path.pipeline
    edge = McpEdge(
        pipeline, catalog.endpoints, guard, new_id=plant.new_id,
        streams=path.streams, open_stream=pipeline.open_stream,
    )  # fmt: skip
    tls = None if settings.tls is None else Tls(settings.tls.certificate, settings.tls.key)
    local = settings.listen.loopback and not settings.trusted_proxies and settings.public_url is None
    shown = probes if local else probes.for_those(pipeline.is_admin)
    app = App(
        edge, _pages(shown), malformed=pipeline.count_malformed, guard=guard if local else None
    )  # elsewhere pages say nothing to strangers, and whoever looks after the gateway asks by its address
    listener = Listener(app, bounds=HttpBounds(settings.limits.body, connections=_descriptors()), tls=tls)
    await listener.open_tcp(settings.listen.host, settings.listen.port)
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


def _pages(probes: Probes) -> dict[str, Application]:
    return {"/healthz": probes.healthz, "/readyz": probes.readyz, "/metrics": probes.metrics}


def _gauges(plant: Plant, path: Path, listeners: Sequence[Listener]) -> Callable[[], dict[str, float]]:
    def gauges() -> dict[str, float]:
        return {
            "tidegate_calls_in_flight": plant.limits.in_flight,
            "tidegate_streams": path.streams.listening,
            "tidegate_loop_stall_seconds_max": plant.metrics.stall_max,
            "tidegate_connections": sum(listener.connections for listener in listeners),
        }

    return gauges


def _refusing(pipeline: Pipeline, journal: Journal) -> str | None:
    if pipeline.draining:
        return "the gateway is stopping"
    return journal.shortage()


def _caps(settings: Settings) -> Caps:
    limits = settings.limits
    return Caps(limits.workloads, limits.workloads_per_server, limits.workloads_per_principal)


async def _realise(spec: ServerSpec, settings: Settings) -> str:
    """Say which runtime realises a server: for `auto`, Docker where an engine answers, else processes."""
    if spec.runtime != "auto":
        return spec.runtime
    from tidegate.extensions.runtimes.docker import DockerSettings, check

    given = settings.runtimes.get("docker")
    try:
        found = await check(given if isinstance(given, DockerSettings) else DockerSettings())
    except RuntimeFailure as error:
        log().info("runtime.chosen", server=spec.name, runtime="process", reason=str(error))
        return "process"
    log().info("runtime.chosen", server=spec.name, runtime="docker", reason="; ".join(found))
    return "docker"


async def _open_runtime(
    name: str, settings: Settings, around: Surroundings, stack: AsyncExitStack
) -> Runtime:
    extension = table.resolve("runtimes", name)
    given: BaseModel | None = settings.runtimes.get(name)
    return await stack.enter_async_context(extension.open(given or extension.settings(), around))


async def _tick(journal: Journal) -> None:
    """Have the journal write what is due though nothing else is recorded."""
    while True:
        await asyncio.sleep(_TICK)
        journal.tick()


async def _follow_keys(identity: KeyIdentity, journal: Journal) -> None:
    """Keep the keys current, and record what becomes of them; go on where the store is busy."""

    def tell(key: KeyRecord, what: str) -> None:
        fields = {
            "event": what,
            "id": key.id,
            "name": key.name,
            "tenant": key.tenant,
            "roles": sorted(key.roles),
        }
        journal.event(RecordKind.KEY, fields)

    while True:
        try:
            await identity.follow(tell)
        except (StateError, JournalUnavailable) as error:
            log().error("state.failed", reason=str(error))
        await asyncio.sleep(1.0)


def _record_stop(journal: Journal) -> None:
    try:
        journal.event(RecordKind.GATEWAY, {"event": "stopped"})
    except JournalUnavailable as error:
        log().error("journal.unavailable", reason=str(error))


def _watch(stack: AsyncExitStack, work: Coroutine[None, None, None], name: str) -> None:
    """Keep a task until the stack is closed."""
    task = asyncio.create_task(work, name=name)

    async def end() -> None:
        task.cancel()
        await asyncio.wait([task])

    stack.push_async_callback(end)


def _workload_id() -> str:
    return secrets.token_hex(4)


def _call_ids(boot: str) -> Callable[[], str]:
    """Ids that are never given twice: a random word of this process, then a count."""
    numbers = itertools.count(1)
    return lambda: f"{boot}-{next(numbers):x}"
