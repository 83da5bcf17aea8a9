"""Host: how much memory there is for workloads, and whether one more may be started.

What would leave less than the reserve is refused, and said, before the kernel has to choose whom to kill.
Reads a few small files of /proc and /sys; starts and ends nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tidegate.domain.errors import Overloaded, RuntimeFailure
from tidegate.domain.server import Remote, ServerSpec
from tidegate.domain.workload import WorkloadState
from tidegate.fleet.advice import needs
from tidegate.fleet.pool import Pool
from tidegate.fleet.usage import Usages
from tidegate.fleet.workload import Workload
from tidegate.ports.runtime import Houses, Runtime
from tidegate.telemetry import Metrics, log

RETRY_AFTER = 5
"""Seconds after which a refused caller may try again."""
_MIB = 1024 * 1024
_NO_LIMIT = 1 << 60
"""Version 1 of cgroups says "none" by a number near the largest there is."""
_COMING = frozenset({WorkloadState.WAITING, WorkloadState.PREPARING, WorkloadState.STARTING})
_SAY_AGAIN = 60.0
_STILL = 0.05
"""Seconds for which a look holds: hundreds of workloads may be asked for in one go."""
_LOOK = 60.0
"""Seconds between looks at where workloads run."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of a machine, or of the part of it that may be used."""

    total: int
    free: int
    """That could be had without taking any from what runs."""


@dataclass(slots=True)
class _Balance:
    at: float
    """Loop time."""
    free: int
    claimed: int
    """What those that are starting may need, which nobody sees yet."""


def read_memory(root: Path = Path("/")) -> Memory:
    """Give the memory of this machine.

    Raises:
        OSError: it does not say.
        ValueError: it says what is not understood.
    """
    told: dict[str, int] = {}
    for line in (root / "proc/meminfo").read_text(encoding="ascii").splitlines():
        name, _, rest = line.partition(":")
        if rest.endswith(" kB"):
            told[name] = int(rest.split()[0]) * 1024
    if "MemTotal" not in told:
        raise ValueError("/proc/meminfo tells of no memory")
    free = told.get("MemAvailable", told.get("MemFree", 0) + told.get("Cached", 0))
    return Memory(told["MemTotal"], free)


def read_own(root: Path = Path("/")) -> Memory:
    """Give the memory that this process and what it starts may use: the machine's, or less by a cgroup's limit."""
    memory = read_memory(root)
    for group, second in _own_groups(root):
        limit = _number(group / ("memory.max" if second else "memory.limit_in_bytes"))
        used = _number(group / ("memory.current" if second else "memory.usage_in_bytes"))
        if limit is None or used is None or limit >= _NO_LIMIT:
            continue
        cache = _cache(group / "memory.stat", "inactive_file" if second else "total_inactive_file")
        free = max(0, limit - max(0, used - cache))
        memory = Memory(min(memory.total, limit), min(memory.free, free))
    return memory


class Host:
    """Says whether there is memory for one more workload."""

    def __init__(
        self,
        pools: Mapping[str, Pool],
        runtimes: Mapping[str, Runtime],
        usages: Usages,
        metrics: Metrics,
        reserve: int,
        read: tuple[Callable[[], Memory], Callable[[], Memory]] = (read_memory, read_own),
    ) -> None:
        """`reserve`: bytes that stay free; 0: nothing is looked at. `read` gives the machine's and our own share."""
        self._pools = pools
        self._runtimes = runtimes
        self._usages = usages
        self._metrics = metrics
        self.reserve = reserve
        self.read = read
        self._elsewhere: dict[str, int | None] = {}
        """Bytes of machines that are not this one, by runtime."""
        self._balances: dict[str, _Balance] = {}
        self._ending: list[tuple[Workload, int]] = []
        """Those that were ended to make room, and what each gives."""
        self._said = -_SAY_AGAIN
        self._clock = asyncio.get_running_loop().time

    def keep_free(self, reserve: int) -> None:
        """Have so many bytes stay free from now on."""
        self._reserve = reserve

    async def run(self) -> None:
        """Look again and again: an engine may be away at first, and another one later. Never ends by itself."""
        while True:
            await self.look()
            await asyncio.sleep(_LOOK)

    async def look(self) -> None:
        """Learn on which machines workloads run."""
        for name, runtime in list(self._runtimes.items()):
            if isinstance(runtime, Houses):
                with suppress(RuntimeFailure):  # as it was, or this machine
                    self._elsewhere[name] = await runtime.memory()

    def admit(
        self, pool: Pool, room: Callable[[int], int] = lambda short: 0, *, again: Workload | None = None
    ) -> None:
        """See that one more workload of a server can be started, or the one that ended `again`.

        `room` is asked where bytes are short: it gives how many it will free.

        Raises:
            Overloaded: it might take memory that others are using, or that is to stay free.
        """
        spec = pool.spec if again is None else again.spec
        if not self.reserve or isinstance(spec.launch, Remote):
            return
        try:
            balance = self._balance(pool.spec.runtime)
        except (OSError, ValueError) as error:
            self._say("host.memory_unknown", reason=str(error))
            return  # as good as without a reserve
        need = balance.claimed + (self._needs(pool) if again is None else self._need(spec))
        short = need + self.reserve - balance.free
        if short > 0 and (freed := room(short)) >= short:
            balance.free += freed
            short = 0
        if short <= 0:
            balance.claimed = need
            return
        self._metrics.starts_refused[spec.name] += 1
        reason = (
            f"there is too little memory to start server {spec.name}: {balance.free // _MIB} MiB are free, of which "
            f"{self.reserve // _MIB} MiB stay so, and {need // _MIB} MiB may be needed; nothing was called"
        )
        self._say("host.memory_short", server=spec.name, reason=reason)
        raise Overloaded(reason, data={"retryAfter": RETRY_AFTER})

    def gives(self, workload: Workload) -> int:
        """Give the bytes that are free again once it has ended, as far as that was seen."""
        look = self._usages.of(workload.identity.id)
        return 0 if look is None else look.usage.memory + look.usage.companions

    def expect(self, workload: Workload) -> None:
        """Count what a workload that is to end now will give as free."""
        self._ending = [each for each in self._ending if not each[0].gone.is_set()]
        self._ending.append((workload, self.gives(workload)))

    def beside(self, runtime: str) -> Sequence[Workload]:
        """Give the workloads that have their memory of the same machine as those of a runtime."""
        return self._workloads(runtime)

    def free(self, runtime: str) -> int:
        """Give the bytes that workloads of a runtime could still have."""
        total = self._elsewhere.get(runtime)
        if total is not None:
            return max(0, total - sum(self._holds(w) for w in self._workloads(runtime)))
        # What an engine starts is in no group of ours; what we start ourselves may be.
        outside = isinstance(self._runtimes.get(runtime), Houses)
        machine, own = self.read
        ending = [
            gives
            for workload, gives in self._ending
            if not workload.gone.is_set() and self._elsewhere.get(workload.spec.runtime) is None
        ]
        return (machine if outside else own)().free + sum(ending)

    def _balance(self, runtime: str) -> _Balance:
        """Give what there is and what is claimed; for as long as nothing can have changed much, as it was."""
        now, kept = self._clock(), self._balances.get(runtime)
        if kept is None or now - kept.at > _STILL:
            kept = self._balances[runtime] = _Balance(now, self.free(runtime), self._coming(runtime))
        return kept

    def _needs(self, pool: Pool) -> int:
        beside = 0 if pool.workloads else sum(each.limits.memory for each in pool.spec.companions)
        return self._need(pool.spec) + beside

    def _need(self, spec: ServerSpec) -> int:
        return needs(spec, self._usages.seen(spec.name))

    def _coming(self, runtime: str) -> int:
        """Give what those that are starting may need, which nobody sees yet."""
        return sum(self._need(w.spec) for w in self._workloads(runtime) if w.state in _COMING and w.admitted)

    def _holds(self, workload: Workload) -> int:
        look = self._usages.of(workload.identity.id)
        return self._need(workload.spec) if look is None else look.usage.memory + look.usage.companions

    def _workloads(self, runtime: str) -> list[Workload]:
        machine = self._elsewhere.get(runtime)
        return [
            workload
            for pool in self._pools.values()
            if self._elsewhere.get(pool.spec.runtime) == machine and not isinstance(pool.spec.launch, Remote)
            for workload in pool.workloads.values()
        ]

    def _say(self, event: str, **fields: object) -> None:
        if self._clock() - self._said >= _SAY_AGAIN:
            self._said = self._clock()
            log().warning(event, **fields)


def _own_groups(root: Path) -> list[tuple[Path, bool]]:
    """Give the memory groups that we are in, from our own up to the top, and whether they are of version 2."""
    places: dict[str, Path] = {}
    paths: dict[str, str] = {}
    with suppress(OSError):
        for line in (root / "proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
            before, _, after = line.partition(" - ")
            kind, _, options = after.split(" ", 2)
            if kind == "cgroup2":
                places.setdefault("", root / before.split()[4].lstrip("/"))
            elif kind == "cgroup" and "memory" in options.split(","):
                places.setdefault("memory", root / before.split()[4].lstrip("/"))
        for line in (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            paths |= dict.fromkeys(controllers.split(","), path)
    found: list[tuple[Path, bool]] = []
    for controller, top in places.items():
        group = top / paths.get(controller, "/").lstrip("/")
        group = group if group.is_dir() else top  # in a container our own group is mounted as the top
        while group != top and group.is_relative_to(top):
            found.append((group, not controller))
            group = group.parent
        found.append((top, not controller))
    return found


def _number(file: Path) -> int | None:
    with suppress(OSError):
        text = file.read_text(encoding="ascii").strip()
        return int(text) if text.isdigit() else None
    return None


def _cache(file: Path, name: str) -> int:
    with suppress(OSError):
        for line in file.read_text(encoding="ascii").splitlines():
            if line.startswith(f"{name} "):
                return int(line.split()[1])
    return 0
