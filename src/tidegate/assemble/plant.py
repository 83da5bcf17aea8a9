"""Plant: what outlives a reload, opened once. Serves nothing itself."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
import os
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

from pydantic import BaseModel

from tidegate import __version__
from tidegate.access.limits import CallLimits
from tidegate.access.quotas import Quotas
from tidegate.access.stops import Following
from tidegate.assemble.background import watch
from tidegate.assemble.stops import follow_stops
from tidegate.audit.journal import Journal
from tidegate.domain.errors import JournalUnavailable, RuntimeFailure
from tidegate.domain.record import RecordKind
from tidegate.domain.server import ServerSpec
from tidegate.extensions import table
from tidegate.extensions.state.sqlite import SQLITE, SqliteSettings
from tidegate.fleet.connections import Connections
from tidegate.fleet.fleet import Caps, Fleet
from tidegate.gateway.mail import Mail
from tidegate.ports.extension import Surroundings
from tidegate.ports.runtime import Runtime, TellsConnections
from tidegate.ports.state import State
from tidegate.settings import Settings
from tidegate.state_directory import SharedDirectory, StateDirectory
from tidegate.telemetry import Metrics, log


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
    runtimes: dict[str, Runtime]
    opening: Callable[[str, Settings], Awaitable[Runtime]]
    """Opens one more runtime, until the fleet has ended."""
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
    stops: Following
    """What is stopped; kept where clients' sessions are."""
    quotas: Quotas
    """What is used of quotas; of days', kept there too."""


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
    servers = [replace(spec, runtime=await realise(spec, settings)) for spec in settings.servers]
    # A stack of its own: what is opened later has to outlast the fleet as well.
    opened = await stack.enter_async_context(AsyncExitStack())
    metrics = Metrics()
    connections = Connections(journal, metrics, journal.under_way)

    async def opening(name: str, settings: Settings) -> Runtime:
        runtime = await open_runtime(name, settings, around, opened)
        if isinstance(runtime, TellsConnections):
            runtime.tell_connections(connections.take)
        return runtime

    named = dict.fromkeys(spec.runtime for spec in servers if spec.runtime != "remote")
    runtimes = {name: await opening(name, settings) for name in named}
    fleet = Fleet(
        runtimes, own, journal, metrics,
        instance=directory.instance, starts=settings.limits.starts, caps=caps(settings), new_id=_workload_id, now=time.time,
        key=directory.key("specs"), reserve=settings.limits.memory_reserve, alone=settings.local,
    )  # fmt: skip
    limits = CallLimits(in_all=settings.limits.calls_in_flight, each=settings.limits.calls_per_principal)
    return Plant(
        directory, own, state, {key_id: key}, key_id, journal, runtimes, opening, servers, fleet, metrics, limits, boot,
        _call_ids(boot), mail, await follow_stops(state, journal, stack), await _quotas(settings, state, stack),
    )  # fmt: skip


async def _quotas(settings: Settings, state: State, stack: AsyncExitStack) -> Quotas:
    clock = asyncio.get_running_loop().time
    quotas = Quotas(settings.quotas, clock=clock, now=time.time, state=state)
    await quotas.budgets.open()
    stack.push_async_callback(quotas.budgets.flush)
    watch(stack, quotas.budgets.run(shared=settings.shared is not None), "quota counts")
    return quotas


async def clean(settings: Settings, say: Callable[[str], None]) -> int:
    """Remove every workload of this state directory's gateway. Give how many there were.

    Raises:
        TidegateError: a gateway runs on it, or something could not be removed.
    """
    removed = 0
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(StateDirectory.open(settings.state))
        for name in table.names("runtimes"):
            runtime = await open_runtime(name, settings, surroundings(settings, directory), stack)
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


def caps(settings: Settings) -> Caps:
    """Give the bounds on workloads."""
    limits = settings.limits
    return Caps(limits.workloads, limits.workloads_per_server, limits.workloads_per_principal)


async def open_runtimes(plant: Plant, settings: Settings, servers: Sequence[ServerSpec]) -> None:
    """Open those runtimes that servers need and that are not open yet."""
    for name in dict.fromkeys(spec.runtime for spec in servers):
        if name != "remote" and name not in plant.runtimes:
            runtime = plant.runtimes[name] = await plant.opening(name, settings)
            plant.fleet.add_runtime(name, runtime)


async def realise(spec: ServerSpec, settings: Settings) -> str:
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


async def open_runtime(name: str, settings: Settings, around: Surroundings, stack: AsyncExitStack) -> Runtime:
    extension = table.resolve("runtimes", name)
    given: BaseModel | None = settings.runtimes.get(name)
    return await stack.enter_async_context(extension.open(given or extension.settings(), around))


def _record_stop(journal: Journal) -> None:
    try:
        journal.event(RecordKind.GATEWAY, {"event": "stopped"})
    except JournalUnavailable as error:
        log().error("journal.unavailable", reason=str(error))


def _workload_id() -> str:
    return secrets.token_hex(4)


def _call_ids(boot: str) -> Callable[[], str]:
    """Ids that are never given twice: a random word of this process, then a count."""
    numbers = itertools.count(1)
    return lambda: f"{boot}-{next(numbers):x}"
