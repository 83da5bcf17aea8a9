"""Servers in two versions, steady callers, and the changes between them, in time that a test turns."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.unit.fleet.conftest import Open
from tests.unit.fleet.setting import Setting, said, spec
from tidegate.domain.errors import MemoryLost, TidegateError
from tidegate.domain.server import Replicas, Rollout, ServerSpec, Sharing, Strategy, Timeouts
from tidegate.fleet.pool import Pool
from tidegate.protocol.capabilities import Offer
from tidegate.testing.loop_time import LoopTime
from tidegate.testing.memory_server import MemoryServer

NAME = "one"
SHORT = Timeouts(start=5.0, call=5.0, idle=0.0)


def version(
    program: str, strategy: Strategy = Strategy.ROLLING, *, replicas: int = 3, name: str = NAME, **more: Any
) -> ServerSpec:
    """Declare a version of a shared server that remembers nothing."""
    how: dict[str, Any] = {"watch": 5.0, "drain": 5.0, **more.pop("rollout", {})}
    given: dict[str, Any] = {
        "sharing": Sharing.SHARED, "stateless": True, "timeouts": SHORT,
        "replicas": Replicas(replicas, replicas), **more,
    }  # fmt: skip
    return spec(name, program=program, rollout=Rollout(strategy, **how), **given)


@dataclass
class Callers:
    """Callers that call one after the other, without pause but for a moment, and note what came."""

    setting: Setting
    tool: str = "who"
    sharings: Sequence[str] = ("shared",)
    follows: bool = False
    """Whether they call the shared workload where there is one, as the gateway does."""
    offer: Offer = Offer.NONE
    """What they offer servers."""
    failed: list[str] = field(default_factory=list[str])
    lost: int = 0
    answers: Counter[str] = field(default_factory=Counter[str])
    """By the digest of the version that answered."""
    fewest: int = 1_000
    """Least ready workloads that were seen."""
    bad: set[str] = field(default_factory=set[str])
    """Digests of versions whose calls are to count as failed, though they are answered."""
    slow: dict[str, float] = field(default_factory=dict[str, float])
    """Digests of versions whose calls take so many seconds."""

    def __post_init__(self) -> None:
        self._tasks = [
            asyncio.create_task(self._call(sharing)) for sharing in self.sharings for _ in range(2)
        ]

    async def end(self) -> None:
        """Let them end."""
        for task in self._tasks:
            task.cancel()
        for ended in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended

    async def _call(self, sharing: str) -> None:
        while True:
            try:
                await self._once(sharing)
            except MemoryLost:
                self.lost += 1
            except TidegateError as error:
                self.failed.append(str(error))
            await asyncio.sleep(0.05)

    async def _once(self, sharing: str) -> None:
        fleet, loop = self.setting.fleet, asyncio.get_running_loop()
        pool = fleet.pools[NAME]
        if self.follows and pool.spec.sharing is Sharing.SHARED:
            sharing = "shared"
        sharing += self.offer.suffix
        lease = fleet.lease_now(NAME, sharing, None, "holder")
        if lease is None:
            lease = await fleet.lease(NAME, sharing, None, 5.0, "holder", self.offer)
        began = loop.time()
        assert lease.workload.offer == self.offer.label
        with lease:
            await said(lease, self.tool)
            digest = lease.workload.track.digest
            await asyncio.sleep(self.slow.get(digest, 0.01))
            lease.done(digest not in self.bad, loop.time() - began)
        self.answers[digest] += 1
        self.fewest = min(self.fewest, ready(pool))


def ready(pool: Pool) -> int:
    """Count the workloads that take calls."""
    return sum(w.channel is not None and not w.draining for w in pool.workloads.values())


def steps(setting: Setting) -> list[object]:
    """Give the steps of rollouts that were recorded."""
    return [fields["event"] for kind, fields in setting.records.events if kind == "rollout"]


def standing(setting: Setting) -> dict[str, Any]:
    """Give where the rollout is."""
    (found,) = setting.fleet.rollouts.status(NAME)
    return found


async def opened(fleet: Open, time: LoopTime, spec: ServerSpec, **servers: Any) -> Setting:
    """Open a fleet in which a first version runs, and programs for others are there."""
    programs = {"one": MemoryServer(), "two": MemoryServer(), "three": MemoryServer(), **servers}
    setting = await fleet(spec, servers=programs)
    want = spec.replicas.min if spec.sharing is Sharing.SHARED else 1
    await time.until(lambda: ready(setting.fleet.pools[NAME]) == want)
    return setting


def state(setting: Setting) -> object:
    """Give the state of the rollout."""
    return standing(setting)["state"]
