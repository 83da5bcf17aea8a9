"""Fleet: every pool, and what is left over.

Desired state comes in whole (`declare` before `begin`, `apply` ever after); `reconcile` tells the difference,
`adoption` finds what runs already.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from tidegate.channels.channel import Asked
from tidegate.domain.errors import RuntimeFailure
from tidegate.domain.server import ServerSpec, Sharing
from tidegate.domain.workload import NO_OFFER, UNCLAIMED, WorkloadIdentity, WorkloadState
from tidegate.fleet.adoption import Adoption
from tidegate.fleet.advice import Adviser
from tidegate.fleet.balance import base
from tidegate.fleet.gate import Gate
from tidegate.fleet.health import Prober
from tidegate.fleet.history import Happening
from tidegate.fleet.host import Host
from tidegate.fleet.kept import Memory
from tidegate.fleet.launcher import Launcher
from tidegate.fleet.losses import Asker
from tidegate.fleet.pool import Lease, Pool
from tidegate.fleet.presence import Presence
from tidegate.fleet.reconcile import Diff, LauncherFor, Pools, Reconciler
from tidegate.fleet.rollout import Rollouts
from tidegate.fleet.room import Caps, Room
from tidegate.fleet.scaling import Scaling
from tidegate.fleet.usage import Usages
from tidegate.fleet.workload import Workload
from tidegate.ports.recorder import Recorder
from tidegate.ports.runtime import Runtime
from tidegate.ports.state import State
from tidegate.protocol.capabilities import Offer
from tidegate.protocol.codec import Object
from tidegate.telemetry import Metrics, log

_SWEEP = 5.0
"""Seconds between looks at what is idle or still to be removed."""
_DRAIN_LOOK = 0.1
"""Seconds between looks at whether a server that is let go of has calls under way."""
_CLOSE, _CLOSE_EACH = 15.0, 0.25
"""Seconds that ending everything may take, and further ones for each workload. What an engine that hangs has
not ended by then is found by the next start, and by `tidegate clean`."""
_THERE = frozenset({WorkloadState.READY, WorkloadState.PAUSED, WorkloadState.DRAINING})
"""States in which a server answers, if need be after it was woken."""


class FleetEvents(Protocol):
    """Whom the fleet tells: the catalog."""

    def server_ready(self, server: str) -> None:
        """A workload of the server became ready."""
        ...

    def server_changed(self, server: str) -> None:
        """The server became available, or unavailable."""
        ...

    def workload_ready(self, workload: Workload) -> None:
        """This workload became ready: what it was asked to tell before, it does not tell any more."""
        ...

    def server_notified(self, server: str, workload: Workload, method: str, params: Object) -> None:
        """The server sent a notification that belongs to no call."""
        ...


class Fleet:
    """Everything that runs, and the way to a place on it."""

    def __init__(
        self,
        runtimes: Mapping[str, Runtime],
        state: State,
        recorder: Recorder,
        metrics: Metrics,
        *,
        instance: str,
        starts: int,
        caps: Caps,
        new_id: Callable[[], str],
        now: Callable[[], float],
        key: bytes,
        reserve: int = 0,
        alone: bool = False,
    ) -> None:
        """`now` gives Unix seconds; `key` seals what the next process has to know; `reserve`: memory to leave free.

        `alone`: whether all who call are one principal.
        """
        self.pools = Pools()
        self.events: FleetEvents | None = None
        self.wanted: Callable[[str, str], bool] = lambda server, sharing: False
        """Tells of a workload that nobody calls (server, sharing key) whether somebody waits to hear from it."""
        self.happened: Callable[[str, Happening], None] = lambda server, happening: None
        """Told of all that happens to a server and its workloads."""
        self._runtimes = runtimes
        self._recorder = recorder
        self._metrics = metrics
        self._gate = Gate(starts)
        self._instance, self._new_id, self._now = instance, new_id, now
        self._memory = Memory(state)
        self._adoption = Adoption(self.pools, self._memory, recorder, self)
        self.rollouts = Rollouts(
            self.pools, state, recorder, metrics, key=key, now=now, changed=self.outage_changed
        )
        self.scaling = Scaling(self.pools, runtimes, state, metrics, now=now, listened=self._is_wanted)
        self.usages = Usages(self.pools, runtimes, self._memory, now)
        self.host = Host(self.pools, runtimes, self.usages, metrics, reserve)
        self._room = Room(self.pools, self.everything, self.host, caps, self._is_wanted)
        self.adviser = Adviser(self.pools, runtimes, self.usages)
        self._reconciler = Reconciler(self.pools, self)
        self._leaving: dict[asyncio.Task[None], Pool] = {}
        """Pools of servers that are declared no more, until what was under way there has ended."""
        self._to_end: dict[str, tuple[Runtime, WorkloadIdentity]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._ready: set[str] = set()
        self._alone = alone
        clock = asyncio.get_running_loop().time
        self._presences = {name: Presence(clock) for name in runtimes}

    def presence_of(self, runtime: str) -> Presence:
        """Tell of a runtime whether its engine is there."""
        return self._presences[runtime]

    def _is_wanted(self, server: str, key: str) -> bool:
        return self.wanted(server, key)

    # -- life ---------------------------------------------------------------------------------

    def declare(self, spec: ServerSpec, launcher: Launcher) -> None:
        """Add a server to what should run, before `begin`."""
        self._reconciler.declare(spec, launcher)

    async def apply(
        self,
        specs: Sequence[ServerSpec],
        launcher_for: LauncherFor,
        between: Callable[[], None] = lambda: None,
    ) -> Diff:
        """Have exactly these servers, converging by difference. Give the difference.

        Returns when it is under way: rollouts and draining go on. Idempotent. `between` is called in the one step
        in which new servers come to be known and old ones cease to be; what it or `launcher_for` raises is raised,
        and then nothing has changed.
        """
        return await self._reconciler.apply(specs, launcher_for, between)

    def add_runtime(self, name: str, runtime: Runtime) -> None:
        """Have one more runtime: what it has of ours is looked for before anything is started there."""
        self._spawn(self._adoption.keep(name, runtime), f"fleet {name}")

    def bound(self, starts: int, caps: Caps, reserve: int) -> None:
        """Have other bounds, and another reserve of memory. What runs beyond them goes on."""
        self.host.keep_free(reserve)
        self._gate.resize(starts)
        self._room.caps = caps

    def begin(self) -> None:
        """Start making it so. Returns at once; nothing that is slow is waited for."""
        self._spawn(self._memory.run(), "fleet keeper")
        self._spawn(self._sweep(), "fleet sweeper")
        self._spawn(self._begin(), "fleet begin")
        self._spawn(Prober(self.pools).run(), "fleet prober")
        self._spawn(self.scaling.run(), "fleet scaling")
        self._spawn(self.usages.run(), "fleet usages")
        self._spawn(self.host.run(), "fleet host")

    async def _begin(self) -> None:
        await self.rollouts.recall()  # what runs may be of a version that the settings do not name
        for name, runtime in self._runtimes.items():
            self._spawn(self._adoption.keep(name, runtime), f"fleet {name}")
        self._spawn(self._adoption.begin_remotes(), "fleet remotes")

    async def close(self) -> None:
        """End every workload, bounded in time. Nothing of ours is left running."""
        await self.rollouts.close()
        for task in self._tasks:
            if task.get_name() != "fleet keeper":
                task.cancel()
        await self._end_everything()
        self.usages.keep()
        with suppress(TimeoutError):
            async with asyncio.timeout(2.0):
                await self._memory.written()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _end_everything(self) -> None:
        pools = list(self.everything())
        for task in self._leaving:
            task.cancel()
        count = sum(len(pool.workloads) for pool in pools)
        try:
            async with asyncio.timeout(_CLOSE + _CLOSE_EACH * count):
                await asyncio.gather(*(pool.close() for pool in pools))
                await self._end_leftovers()
        except TimeoutError:
            left = [w.identity.id for pool in pools for w in pool.workloads.values()]
            names = [*left, *self._to_end]
            for name in names:
                log().error("workload.stop_failed", workload=name, reason="no time is left to wait for it")

    def end_later(self, runtime: Runtime, identity: WorkloadIdentity) -> None:
        """Try again to end what could not be ended now."""
        self._to_end[identity.id] = (runtime, identity)

    # -- Changes ------------------------------------------------------------------------------

    def make(self, spec: ServerSpec, launcher: Launcher) -> Pool:
        """Make the pool of a server."""
        pool = Pool(
            spec, launcher, self._gate, self, self._recorder,
            new_id=self._new_id, instance=self._instance, metrics=self._metrics, now=self._now, alone=self._alone,
        )  # fmt: skip
        pool.history.subscribe(lambda happening: self.happened(spec.name, happening))
        return pool

    async def bring_up(self, pools: Sequence[Pool]) -> None:
        """Have new servers start, where it is known what their runtimes have; else that is waited for first."""
        await self._memory.recall_learned(pools)
        for pool in pools:
            if self._adoption.is_known(pool.spec.runtime):
                pool.ensure_warm()
                await asyncio.sleep(0)

    async def roll(self, pool: Pool, spec: ServerSpec, launcher: Launcher) -> None:
        """Bring in another version of a server."""
        self.rollouts.begin(pool, spec, launcher)

    def let_go(self, pool: Pool) -> None:
        """End a pool once its calls have ended, at the latest after its time to drain."""
        task = asyncio.create_task(self._drain(pool), name=f"fleet drain {pool.spec.name}")
        self._leaving[task] = pool
        task.add_done_callback(self._leaving.pop)

    async def _drain(self, pool: Pool) -> None:
        await self.rollouts.leave(pool)
        ends = pool.clock() + pool.spec.rollout.drain
        while any(workload.in_flight for workload in pool.workloads.values()):
            if pool.clock() > ends:
                log().warning("server.degraded", server=pool.spec.name, reason="removed with calls under way")
                break
            await asyncio.sleep(_DRAIN_LOOK)
        await pool.close()
        if pool.spec.name not in self.pools:
            self._ready.discard(pool.spec.name)
            self._memory.forget_server(pool.spec.name)

    def everything(self) -> Iterable[Pool]:
        """Give the pools there are, those that only drain among them."""
        return [*self.pools.values(), *self._leaving.values()]

    # -- for the pipeline ---------------------------------------------------------------------

    def lease_now(self, server: str, sharing: str, asker: Asker | None, holder: str = "") -> Lease | None:
        """Give a place at once, or None where something has to be waited for."""
        pool = self.pools.get(server)
        return None if pool is None else pool.lease_now(sharing, asker, holder)

    async def lease(
        self,
        server: str,
        sharing: str,
        asker: Asker | None,
        timeout: float,
        holder: str = "",
        offer: Offer = Offer.NONE,
        asked: Asked | None = None,
        principal: str = "",
    ) -> Lease:
        """Give a place, waiting at most `timeout` seconds. Raises as `Pool.lease` does.

        `sharing` ends in the offer's suffix: what a legacy server was offered is part of what a workload is.
        `holder` and `asked` are as in `Outbound`: a server may ask as soon as it is up. `principal` is whose turn it
        is to wait, and who may be refused; empty: the gateway's own.
        """
        return await self._pool(server).lease(sharing, asker, timeout, holder, offer, asked, principal)

    async def era(self, server: str, timeout: float) -> str:
        """Give the era of a server, `modern` or `legacy`, waiting at most `timeout` seconds where it is not known.

        Raises:
            ServerUnavailable: it cannot be known now.
        """
        pool = self._pool(server)
        return pool.era or await pool.wait_era(timeout)

    def _pool(self, server: str) -> Pool:
        return self.pools[server]

    def end_session(self, sharing: str) -> None:
        """End the workloads that were one session's alone, now that it has ended, whatever it offered."""
        for pool in self.pools.values():
            if pool.spec.sharing is not Sharing.SESSION:
                continue
            for key in [key for key in pool.workloads if base(key).partition("+")[0] == sharing]:
                pool.discard(pool.workloads[key])

    def to_ask(self, server: str, *, private: bool, offer: str = NO_OFFER) -> Workload | None:
        """Give a ready workload for a question whose answer everybody is shown whose clients offer the same.

        One that belongs to a principal or session only with `private`: what it answers may be about them.
        """
        pool = self.pools.get(server)
        everything = () if pool is None else pool.workloads.values()
        current = None if pool is None else pool.current  # another version's word is not this one's
        ready = [w for w in everything if w.channel is not None and w.offer == offer and w.track is current]
        shared = pool is not None and pool.spec.sharing is Sharing.SHARED
        common = next((w for w in ready if shared or w.sharing == UNCLAIMED), None)
        if common is None and private:
            return next(iter(ready), None)
        return common

    # -- Watcher ------------------------------------------------------------------------------

    def pool_changed(self, pool: Pool, workload: Workload) -> None:
        """Tell the catalog where it matters to it."""
        name = pool.spec.name
        if self.events is None or self.pools.get(name) is not pool:
            return
        if workload.state is WorkloadState.READY:
            if not workload.woken:
                self.events.server_ready(name)
            self.events.workload_ready(workload)
        ready = any(w.state in _THERE for w in pool.workloads.values())
        if ready != (name in self._ready):
            (self._ready.add if ready else self._ready.discard)(name)
            self.events.server_changed(name)
        elif not ready:
            self.events.server_changed(name)

    def pool_notified(self, pool: Pool, workload: Workload, method: str, params: Object) -> None:
        """Pass on."""
        if self.events is not None and self.pools.get(pool.spec.name) is pool:
            self.events.server_notified(pool.spec.name, workload, method, params)

    def remember_pool(self, pool: Pool) -> None:
        """Keep what was learned of a server."""
        self._memory.learned(pool)

    def remember(self, workload: Workload) -> None:
        """Keep what it is, once it is somebody's."""
        self._memory.remember(workload)

    def forget(self, workload_id: str) -> None:
        """Keep it no more."""
        self._memory.forget(workload_id)

    def admit(self, pool: Pool, sharing: str, *, called: bool) -> None:
        """Pass on."""
        self._room.admit(pool, sharing, called=called)

    def admit_again(self, pool: Pool, workload: Workload) -> None:
        """Pass on."""
        self._room.admit_again(pool, workload)

    # -- Finder -------------------------------------------------------------------------------

    def adopted(self, pool: Pool) -> None:
        """Have a server start what is to be there, and its rollout go on."""
        pool.outage = None
        self.rollouts.resume(pool)
        pool.ensure_warm()

    def outage_changed(self, server: str) -> None:
        """Pass on."""
        if self.events is not None:
            self.events.server_changed(server)

    async def end(self, runtime: Runtime, identity: WorkloadIdentity) -> None:
        """End a workload, now or later."""
        try:
            await runtime.stop(identity, 2.0)
        except RuntimeFailure as error:
            log().warning("workload.stop_failed", workload=identity.id, reason=str(error))
            self.end_later(runtime, identity)

    # -- supervisors --------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> None:
        self._tasks.append(asyncio.create_task(work, name=name))

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP)
            for pool in list(self.pools.values()):
                pool.stop_idle(self.wanted)
            await self._end_leftovers()

    async def _end_leftovers(self) -> None:
        for runtime, identity in list(self._to_end.values()):
            del self._to_end[identity.id]
            await self.end(runtime, identity)
