"""Usage: what containers use, and how they are frozen and given other limits while they run.

Everything here is about containers that run; making and ending them is in `runtime`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from tidegate.domain.errors import EngineUnavailable, RuntimeFailure
from tidegate.domain.server import Limits
from tidegate.domain.workload import WorkloadIdentity
from tidegate.extensions.runtimes.docker.engine import Engine, EngineRefused
from tidegate.ports.runtime import Usage

Json = Mapping[str, Any]

_AT_ONCE = 8
"""Containers that are measured at one time: an engine takes its time for each, and has calls to carry too."""
_NANO = 1_000_000_000


class Live:
    """What can be done with this gateway's containers while they run."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._measuring = asyncio.Semaphore(_AT_ONCE)

    async def pause(self, name: str) -> None:
        """Freeze a container."""
        await self._settled(self._engine.pause, name, frozen=True)

    async def resume(self, name: str) -> None:
        """Let it go on."""
        await self._settled(self._engine.unpause, name, frozen=False)

    async def resize(self, name: str, limits: Limits) -> None:
        """Set what it may use. Swap goes along with memory, or the engine refuses to go over what it was."""
        await self._engine.update(name, update_of(limits))

    async def usage(self, identities: Sequence[WorkloadIdentity]) -> dict[str, Usage]:
        """Measure some at a time. Where not one can be measured for want of the engine, that is said."""
        found = await asyncio.gather(*(self._measure(each.id) for each in identities))
        lost = [each for each in found if isinstance(each, EngineUnavailable)]
        if lost and len(lost) == len(found):
            raise lost[0]
        return {
            identity.id: usage
            for identity, usage in zip(identities, found, strict=True)
            if isinstance(usage, Usage)
        }

    async def whole(
        self, found: Mapping[str, Usage], outlets: Mapping[str, str], beside: Mapping[str, Sequence[str]]
    ) -> Mapping[str, Usage]:
        """Add to what workloads use what goes through their outlets, and the memory of their companions.

        What cannot be measured now is left out.
        """
        names = [*outlets.values(), *(name for companions in beside.values() for name in companions)]
        told = await asyncio.gather(*map(self._measure, names))
        held = {name: usage for name, usage in zip(names, told, strict=True) if isinstance(usage, Usage)}
        return {
            workload: with_parts(
                usage,
                held.get(outlets.get(workload, "")),
                [held[n] for n in beside.get(workload, ()) if n in held],
            )
            for workload, usage in found.items()
        }

    async def memory(self) -> int | None:
        """Give the memory of the engine's machine where it is not this one."""
        info = await self._engine.info()
        total = int(info.get("MemTotal") or 0)
        ours = await asyncio.to_thread(Path("/proc/meminfo").read_text, "ascii")
        return total if total and elsewhere(info, ours) else None

    async def _measure(self, name: str) -> Usage | RuntimeFailure:
        async with self._measuring:
            try:
                return usage_of(await self._engine.stats(name))
            except RuntimeFailure as error:
                return error

    async def _settled(self, change: Callable[[str], Awaitable[None]], name: str, *, frozen: bool) -> None:
        """Freeze or thaw; the engine refuses (409) what is so already, or is no more."""
        try:
            await change(name)
        except EngineRefused:
            state = cast("Json", (await self._engine.inspect(name)).get("State") or {})
            if not state.get("Running") or bool(state.get("Paused")) is not frozen:
                raise


def elsewhere(info: Json, meminfo: str) -> bool:
    """Tell whether an engine runs on another machine (or in a virtual one): its memory is not ours to the page."""
    first = meminfo.split("\n", 1)[0].split()
    ours = int(first[1]) * 1024 if first[:1] == ["MemTotal:"] else 0
    return int(info.get("MemTotal") or 0) != ours and info.get("Name") != socket.gethostname()


def with_parts(usage: Usage, outlet: Usage | None, companions: Sequence[Usage]) -> Usage:
    """Give what a workload uses with what stands beside it."""
    rx, tx = (outlet.rx, outlet.tx) if outlet is not None else (0, 0)
    memory = sum(one.memory for one in companions)
    return replace(usage, rx=usage.rx + rx, tx=usage.tx + tx, companions=memory)


def update_of(limits: Limits) -> dict[str, object]:
    """Give the body of "update a container"."""
    return {
        "Memory": limits.memory,
        "MemorySwap": limits.memory,
        "NanoCpus": int(limits.cpus * _NANO),
        "PidsLimit": limits.pids,
    }


def usage_of(stats: Json) -> Usage:
    """Read one answer of "container stats"."""
    memory = cast("Json", stats.get("memory_stats") or {})
    detail = cast("Json", memory.get("stats") or {})
    # cgroup v1 counts those of groups below apart; v2 has only the one.
    cache = int(detail.get("total_inactive_file", detail.get("inactive_file", 0)) or 0)
    held = max(0, int(memory.get("usage") or 0) - cache)
    networks = cast("Mapping[str, Json]", stats.get("networks") or {}).values()
    return Usage(
        cpu_seconds=int(_at(stats, "cpu_stats", "cpu_usage", "total_usage") or 0) / _NANO,
        memory=held,
        memory_peak=held,  # `max_usage` counts the pages of files too, so it is no measure of need
        pids=int(_at(stats, "pids_stats", "current") or 0),
        rx=sum(int(each.get("rx_bytes") or 0) for each in networks),
        tx=sum(int(each.get("tx_bytes") or 0) for each in networks),
        read=_moved(stats, "read"),
        written=_moved(stats, "write"),
    )


def _at(told: Json, *path: str) -> Any:
    value: Any = told
    for name in path:
        value = cast("Json", value).get(name) if isinstance(value, Mapping) else None
    return value


def _moved(stats: Json, way: str) -> int:
    entries = cast("Sequence[Json]", _at(stats, "blkio_stats", "io_service_bytes_recursive") or ())
    return sum(int(each.get("value") or 0) for each in entries if str(each.get("op", "")).lower() == way)
