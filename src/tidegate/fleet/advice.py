"""Advice: what a server's workloads should be given, by what they were seen to use; and giving it to them.

Recommends and applies; what was seen is in `usage`. The declared limits stay the declared ones: what is
applied to workloads that run holds for these, and the settings say what the next ones get.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from tidegate.domain.errors import RuntimeFailure
from tidegate.domain.server import Limits, Remote, ServerSpec
from tidegate.fleet.pool import Pool
from tidegate.fleet.usage import Seen, Usages
from tidegate.fleet.workload import Workload
from tidegate.ports.runtime import Resizes, Runtime

ENOUGH = 20
"""Looks before anything is recommended: five minutes of one workload."""
_MIB = 1024 * 1024
_SHARE = 0.95
_MEMORY_ROOM, _HIGHEST_ROOM, _CPU_ROOM = 1.3, 1.1, 1.25
"""Over what is seen: memory over p95 and over the highest, processor over p95. Who is short of memory is killed,
who is short of processor is slow."""
_AFTER_KILL = 1.5
"""Times the limit, where the kernel killed for want of memory: how much was wanted was never seen."""
_LEAST_MEMORY, _STEP = 32 * _MIB, 16 * _MIB
_LEAST_CPUS, _CPU_STEP = 0.1, 0.05
_NEAR = 0.9
"""Of the limit of processors: who uses so much may want more than is seen."""
_SAME = 0.15
"""Share by which a recommendation has to differ from what is declared."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What is recommended for each workload of a server. Sizes in bytes."""

    server: str
    looks: int
    """How often its workloads were looked at."""
    killed: int
    """How many of them the kernel killed for want of memory."""
    memory: int
    """As declared."""
    memory_p95: int
    memory_highest: int
    memory_advised: int | None
    """None where too little was seen, or there is nothing to limit."""
    cpus: float
    cpus_p95: float
    cpus_advised: float | None
    reason: str

    @property
    def changes(self) -> bool:
        """Whether something else than what is declared is recommended."""
        return self.memory_advised not in (None, self.memory) or self.cpus_advised not in (None, self.cpus)

    def limits(self, declared: Limits) -> Limits:
        """Give the limits as recommended."""
        return replace(
            declared, memory=self.memory_advised or declared.memory, cpus=self.cpus_advised or declared.cpus
        )


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of giving one workload its recommended limits."""

    workload: str
    live: bool
    """Whether they hold now, without a restart."""
    reason: str | None = None


def advise(spec: ServerSpec, seen: Seen) -> Advice:
    """Say what the workloads of a server should be given."""
    limits, killed = spec.limits, seen.kills(spec.limits.memory)
    p95, highest = seen.memory.quantile(_SHARE), seen.memory.highest
    cpus = seen.cpus.quantile(_SHARE)
    told = Advice(
        spec.name, seen.memory.count, killed,
        limits.memory, round(p95), round(highest), None,
        limits.cpus, round(cpus, 3), None, "",
    )  # fmt: skip
    if isinstance(spec.launch, Remote):
        return replace(told, reason="it runs elsewhere")
    if seen.memory.count < ENOUGH and not killed:
        return replace(told, reason=f"looked at {seen.memory.count} times, {ENOUGH} are needed")
    memory, why_memory = _memory(limits, p95, highest, killed)
    if seen.cpus.count < ENOUGH:
        return replace(told, memory_advised=memory, reason=why_memory)
    processors, why_cpus = _cpus(limits, cpus)
    return replace(told, memory_advised=memory, cpus_advised=processors, reason=f"{why_memory}; {why_cpus}")


def needs(spec: ServerSpec, seen: Seen) -> int:
    """Give the bytes that one more workload of a server may come to use: its limit, or what others were seen to."""
    if seen.memory.count < ENOUGH or seen.kills(spec.limits.memory):
        return spec.limits.memory
    wanted = max(seen.memory.quantile(_SHARE) * _MEMORY_ROOM, seen.memory.highest * _HIGHEST_ROOM)
    return min(spec.limits.memory, round(wanted))


class Adviser:
    """Recommends for every server of a fleet, and applies."""

    def __init__(self, pools: Mapping[str, Pool], runtimes: Mapping[str, Runtime], usages: Usages) -> None:
        self._pools = pools
        self._runtimes = runtimes
        self._usages = usages

    def all(self) -> list[Advice]:
        """Give what is recommended for each server."""
        return [self.of(name) for name in self._pools]

    def of(self, server: str) -> Advice:
        """Give what is recommended for a server, which there is."""
        return advise(self._pools[server].spec, self._usages.seen(server))

    async def apply(self, advice: Advice) -> list[Applied]:
        """Give the workloads of a server that run what is recommended, where their runtime can."""
        running = [w for w in self._pools[advice.server].workloads.values() if w.channel is not None]
        return [await self._give(each, advice) for each in running]

    async def _give(self, workload: Workload, advice: Advice) -> Applied:
        name, runtime = workload.identity.id, self._runtimes.get(workload.spec.runtime)
        if not isinstance(runtime, Resizes):
            return Applied(name, False, f"runtime {workload.spec.runtime} cannot change it: by rollout")
        try:
            await runtime.resize(workload.identity, advice.limits(workload.spec.limits))
        except RuntimeFailure as error:
            return Applied(name, False, f"{error}: by rollout")
        return Applied(name, True)


def _memory(limits: Limits, p95: float, highest: float, killed: int) -> tuple[int, str]:
    wanted, why = max(p95 * _MEMORY_ROOM, highest * _HIGHEST_ROOM), "memory by what was used"
    if killed and limits.memory * _AFTER_KILL > wanted:
        wanted, why = limits.memory * _AFTER_KILL, f"memory because {killed} were killed for want of it"
    advised = max(_LEAST_MEMORY, math.ceil(wanted / _STEP) * _STEP)
    if not killed and abs(advised - limits.memory) <= _SAME * limits.memory:
        return limits.memory, "memory as it is"
    return advised, why


def _cpus(limits: Limits, p95: float) -> tuple[float, str]:
    if p95 >= _NEAR * limits.cpus:
        return round(limits.cpus * 2, 2), "processors because all were used"
    advised = max(_LEAST_CPUS, math.ceil(p95 * _CPU_ROOM / _CPU_STEP) * _CPU_STEP)
    if advised >= limits.cpus or limits.cpus - advised <= _SAME * limits.cpus:
        return limits.cpus, "processors as they are"
    return round(advised, 2), "processors by what was used"
