"""Usage: what workloads were seen to use, looked at now and then, and kept in little room.

Asks runtimes and keeps what they say, over a restart too. What follows from it is in `advice` and `host`.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from tidegate.domain.errors import RuntimeFailure
from tidegate.domain.workload import WorkloadIdentity, WorkloadState
from tidegate.fleet.history import Happening
from tidegate.fleet.kept import KeptSeen, KeptSketch, Memory
from tidegate.fleet.pool import Pool
from tidegate.fleet.workload import Workload
from tidegate.ports.runtime import Measures, Runtime, Usage
from tidegate.telemetry import log

EVERY = 15.0
"""Seconds between looks."""
_TIMEOUT = 60.0
"""Seconds for one look; of an engine that is slower nothing is known."""
_KEPT = 40
"""Looks that are kept of one workload: ten minutes."""
_HALF_LIFE = 24 * 3600.0
"""Seconds after which what was seen weighs half."""
_RATIO = 1.05
"""Between one bucket of a sketch and the next: its quantiles are right to 5 %."""
_KILLS = 200
_REMEMBERED = 7 * 24 * 3600.0
"""Seconds for which a kill counts."""
_KEEP_EVERY = 20
"""Looks between two times that a server's use is written down: what is lost with the process is five minutes."""
_FAINT = 1e-5
"""Share of all weight below which a value is forgotten."""
_MEASURED = frozenset({WorkloadState.READY, WorkloadState.PAUSED, WorkloadState.DRAINING})


@dataclass(frozen=True, slots=True)
class Look:
    """One workload at one moment."""

    time: float
    """Loop time."""
    usage: Usage
    cpus: float | None
    """Processors used since the look before; None at the first."""


class Sketch:
    """Quantiles of values above 0 whose weight halves with time, in room for a few hundred numbers."""

    def __init__(self) -> None:
        self.count = 0
        self._weights: dict[int, float] = {}
        self._origin: float | None = None

    def add(self, value: float, now: float) -> None:
        """Take a value."""
        if self._origin is None or now - self._origin > 100 * _HALF_LIFE:
            fade = 0.0 if self._origin is None else 2.0 ** ((self._origin - now) / _HALF_LIFE)
            self._weights = {bucket: weight * fade for bucket, weight in self._weights.items()}
            self._origin = now
        self.count += 1
        bucket = math.ceil(math.log(max(value, 1e-6), _RATIO))
        weight = 2.0 ** ((now - self._origin) / _HALF_LIFE)
        self._weights[bucket] = self._weights.get(bucket, 0.0) + weight

    def quantile(self, share: float) -> float:
        """Give the value below which that share of the weight is, at most 5 % too high; 0 where there is none."""
        left = share * sum(self._weights.values())
        for bucket in sorted(self._weights):
            left -= self._weights[bucket]
            if left <= 1e-9:
                return _RATIO**bucket
        return _RATIO ** max(self._weights) if self._weights else 0.0

    @property
    def highest(self) -> float:
        """The highest value that is not forgotten."""
        total = sum(self._weights.values())
        return _RATIO ** max((b for b, w in self._weights.items() if w > _FAINT * total), default=-1000)

    def kept(self, now: float) -> KeptSketch:
        """Give what the next process needs of it, without what is forgotten."""
        fade = 1.0 if self._origin is None else 2.0 ** ((self._origin - now) / _HALF_LIFE)
        least = _FAINT * sum(self._weights.values())
        return KeptSketch(
            self.count,
            [
                (bucket, float(f"{weight * fade:.4g}"))
                for bucket, weight in sorted(self._weights.items())
                if weight > least
            ],
        )

    @classmethod
    def recalled(cls, kept: KeptSketch, then: float) -> Sketch:
        """Give one as it was kept at a loop time, which may be before the loop's own beginning."""
        sketch = cls()
        weights = {bucket: weight for bucket, weight in kept.weights if weight > 0}
        if weights:
            sketch.count, sketch._weights, sketch._origin = kept.count, weights, then
        return sketch


@dataclass(frozen=True, slots=True)
class Kill:
    """A workload that the kernel killed for want of memory."""

    workload: str
    limit: int
    """Of its memory, as declared; in bytes."""
    time: float
    """Unix seconds."""


@dataclass(slots=True)
class Seen:
    """What the workloads of one server were seen to use, each by itself."""

    memory: Sketch = field(default_factory=Sketch)
    cpus: Sketch = field(default_factory=Sketch)
    killed: deque[Kill] = field(default_factory=lambda: deque[Kill](maxlen=_KILLS))
    changed: bool = False
    """Whether there is more to it than was written down."""

    def kills(self, limit: int) -> int:
        """Count the workloads that were killed though they had as much memory as that, or more."""
        return sum(each.limit >= limit for each in self.killed)

    def look(self, look: Look) -> None:
        """Take one look at one workload."""
        self.changed = True
        self.memory.add(max(look.usage.memory, look.usage.memory_peak), look.time)
        if look.cpus is not None:
            self.cpus.add(look.cpus, look.time)

    def told(self, happening: Happening, limit: int) -> None:
        """Hear of a change of a workload that was declared with so many bytes."""
        name = happening.workload
        short = happening.reason is not None and "out of memory" in happening.reason
        if short and name and all(each.workload != name for each in self.killed):
            self.killed.append(Kill(name, limit, happening.time))
            self.changed = True

    def forget_before(self, time: float) -> None:
        """Let kills go that were before a Unix time."""
        while self.killed and self.killed[0].time < time:
            self.killed.popleft()

    def kept(self, now: float, unix: float) -> KeptSeen:
        """Give what the next process needs of it; both times are now."""
        killed = [(each.workload, each.limit, each.time) for each in self.killed]
        return KeptSeen(unix, self.memory.kept(now), self.cpus.kept(now), killed)

    @classmethod
    def recalled(cls, kept: KeptSeen, now: float, unix: float) -> Seen:
        """Give it as it was kept; both times are now."""
        then = now - max(0.0, unix - kept.time)
        seen = cls(Sketch.recalled(kept.memory, then), Sketch.recalled(kept.cpus, then))
        seen.killed.extend(Kill(*each) for each in kept.killed)
        return seen


class Usages:
    """Looks at every workload now and then."""

    def __init__(
        self,
        pools: Mapping[str, Pool],
        runtimes: Mapping[str, Runtime],
        memory: Memory,
        now: Callable[[], float],
    ) -> None:
        """`pools` and `runtimes` are read at each look; `now` gives Unix seconds."""
        self._pools = pools
        self._runtimes = runtimes
        self._memory = memory
        self._now = now
        self._turns = 0
        self._clock = asyncio.get_running_loop().time
        self._looks: dict[str, deque[Look]] = {}
        self._seen: dict[str, Seen] = {}
        self._listening: dict[str, tuple[Pool, Callable[[], None]]] = {}

    def of(self, workload_id: str) -> Look | None:
        """Give the last look at a workload."""
        looks = self._looks.get(workload_id)
        return looks[-1] if looks else None

    def now(self) -> Mapping[str, Usage]:
        """Give what each workload was last seen to use, by id."""
        return {name: looks[-1].usage for name, looks in self._looks.items()}

    def history(self, workload_id: str) -> tuple[Look, ...]:
        """Give the last looks at a workload, the oldest first."""
        return tuple(self._looks.get(workload_id, ()))

    def seen(self, server: str) -> Seen:
        """Give what the workloads of a server were seen to use."""
        return self._seen.get(server) or Seen()

    async def run(self) -> None:
        """Look again and again. Never ends by itself."""
        await self._recall()
        while True:
            await asyncio.sleep(EVERY)
            await self.look()
            self._turns += 1
            # Some at a time: what is written of hundreds at once would hold up calls.
            self.keep(list(self._seen)[self._turns % _KEEP_EVERY :: _KEEP_EVERY])

    def keep(self, servers: Iterable[str] | None = None) -> None:
        """Have it written down what servers used, or all of them, as far as there is more to it than was."""
        now, unix = self._clock(), self._now()
        for name in list(self._seen) if servers is None else servers:
            seen = self._seen[name]
            seen.forget_before(unix - _REMEMBERED)
            if seen.changed:
                seen.changed = False
                self._memory.saw(name, seen.kept(now, unix))

    async def _recall(self) -> None:
        """Go on with what the gateway before us saw."""
        for name, kept in (await self._memory.recall_seen()).items():
            if name in self._pools:
                self._seen.setdefault(name, Seen.recalled(kept, self._clock(), self._now()))

    async def look(self) -> None:
        """Look at everything that runs, once."""
        self._listen()
        by_runtime: dict[str, list[Workload]] = {}
        for workload in self._running():
            by_runtime.setdefault(workload.spec.runtime, []).append(workload)
        found = await asyncio.gather(
            *(self._ask(name, [w.identity for w in each]) for name, each in by_runtime.items())
        )
        usages = {name: usage for told in found for name, usage in told.items()}
        now = self._clock()
        for workload in self._running():
            usage = usages.get(workload.identity.id)
            if usage is not None:
                self._note(workload, usage, now)
        kept = {workload.identity.id for workload in self._running()}
        self._looks = {name: looks for name, looks in self._looks.items() if name in kept}

    def _running(self) -> Iterator[Workload]:
        for pool in self._pools.values():
            yield from (w for w in pool.workloads.values() if w.state in _MEASURED)

    async def _ask(self, runtime: str, identities: list[WorkloadIdentity]) -> Mapping[str, Usage]:
        asked = self._runtimes.get(runtime)
        if not isinstance(asked, Measures):
            return {}
        try:
            async with asyncio.timeout(_TIMEOUT):
                return await asked.usage(identities)
        except (RuntimeFailure, TimeoutError) as error:
            log().warning("usage.unknown", runtime=runtime, reason=str(error) or "no answer in time")
            return {}

    def _note(self, workload: Workload, usage: Usage, now: float) -> None:
        looks = self._looks.setdefault(workload.identity.id, deque(maxlen=_KEPT))
        cpus = None
        if looks and now > looks[-1].time:
            spent = usage.cpu_seconds - looks[-1].usage.cpu_seconds
            cpus = max(0.0, spent) / (now - looks[-1].time)
        look = Look(now, usage, cpus)
        looks.append(look)
        if workload.state is not WorkloadState.PAUSED:  # one that stands still says nothing about its need
            self._seen.setdefault(workload.spec.name, Seen()).look(look)

    def _listen(self) -> None:
        """Hear what happens to the workloads of every pool there is now."""
        for name, (pool, leave) in list(self._listening.items()):
            if self._pools.get(name) is not pool:
                leave()
                del self._listening[name]
                if name not in self._pools:
                    self._seen.pop(name, None)
        for name, pool in self._pools.items():
            if name not in self._listening:
                seen = self._seen.setdefault(name, Seen())
                self._listening[name] = (pool, pool.history.subscribe(_hearing(pool, seen)))


def _hearing(pool: Pool, seen: Seen) -> Callable[[Happening], None]:
    return lambda happening: seen.told(happening, pool.spec.limits.memory)
