"""Fleet: every pool, what runs already, and what is left over.

Desired state comes in whole (`begin`); what runs and is still wanted is adopted, the rest is removed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

import msgspec

from tidegate.channels.channel import Asked
from tidegate.domain.errors import JournalUnavailable, RuntimeFailure, ServerUnavailable, StateError
from tidegate.domain.record import RecordKind
from tidegate.domain.server import Remote, ServerSpec, Sharing
from tidegate.domain.workload import NO_OFFER, UNCLAIMED, Observed, Upstream, WorkloadIdentity, WorkloadState
from tidegate.fleet.balance import base
from tidegate.fleet.gate import Gate
from tidegate.fleet.health import Prober
from tidegate.fleet.launcher import Launcher
from tidegate.fleet.losses import Asker
from tidegate.fleet.pool import Lease, Pool, check_cap
from tidegate.fleet.workload import Workload
from tidegate.ports.recorder import Recorder
from tidegate.ports.runtime import Runtime
from tidegate.ports.state import State
from tidegate.protocol.capabilities import Offer
from tidegate.protocol.codec import Object
from tidegate.telemetry import Metrics, log

_SWEEP = 5.0
"""Seconds between looks at what is idle or still to be removed."""
_RUNTIME_RETRY = 5.0
"""Seconds between attempts to list what a runtime has."""
_CLOSE, _CLOSE_EACH = 15.0, 0.25
"""Seconds that ending everything may take, and further ones for each workload. What an engine that hangs has
not ended by then is found by the next start, and by `tidegate clean`."""
_ABANDONED = 60.0
"""Seconds of idleness after which a session's workload may be ended for another session of its principal."""
_REMEMBERED, _LEARNED = "workload/", "pool/"


class Kept(msgspec.Struct, frozen=True):
    """What is kept of a workload for the next gateway process."""

    server: str
    sharing: str
    used: bool
    upstream: Upstream
    spec: str = ""
    """Digest of the ServerSpec. A session of a remote server goes on only with the very one it was opened by."""
    offer: str = NO_OFFER
    """Label of what its handshake offered."""


class Learned(msgspec.Struct, frozen=True):
    """What is kept of a server for the next gateway process."""

    spec: str
    """Digest of the ServerSpec it was learned of."""
    era: str | None = None
    exclusive: bool = False


@dataclass(frozen=True, slots=True)
class Caps:
    """Most workloads there may be."""

    workloads: int = 200
    per_server: int = 64
    per_principal: int = 32


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
    ) -> None:
        """`now` gives Unix seconds."""
        self.pools: dict[str, Pool] = {}
        self.events: FleetEvents | None = None
        self.wanted: Callable[[str, str], bool] = lambda server, sharing: False
        """Tells of a workload that nobody calls (server, sharing key) whether somebody waits to hear from it."""
        self._runtimes = runtimes
        self._state = state
        self._recorder = recorder
        self._metrics = metrics
        self._instance = instance
        self._gate = Gate(starts)
        self._caps = caps
        self._new_id = new_id
        self._now = now
        self._to_keep: asyncio.Queue[tuple[str, bytes | None]] = asyncio.Queue()
        self._to_end: dict[str, tuple[Runtime, WorkloadIdentity]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._ready: set[str] = set()

    # -- life ---------------------------------------------------------------------------------

    def declare(self, spec: ServerSpec, launcher: Launcher) -> None:
        """Add a server to what should run."""
        self.pools[spec.name] = Pool(
            spec, launcher, self._gate, self, self._recorder,
            new_id=self._new_id, instance=self._instance, metrics=self._metrics, now=self._now,
        )  # fmt: skip

    def begin(self) -> None:
        """Start making it so. Returns at once; nothing that is slow is waited for."""
        self._spawn(self._keep(), "fleet keeper")
        self._spawn(self._sweep(), "fleet sweeper")
        self._spawn(Prober(self.pools).run(), "fleet prober")
        for name, runtime in self._runtimes.items():
            self._spawn(self._begin_runtime(name, runtime), f"fleet {name}")
        self._spawn(self._begin_remotes(), "fleet remotes")

    async def close(self) -> None:
        """End every workload, bounded in time. Nothing of ours is left running."""
        for task in self._tasks:
            if task.get_name() != "fleet keeper":
                task.cancel()
        await self._end_everything()
        with suppress(TimeoutError):
            async with asyncio.timeout(2.0):
                await self._to_keep.join()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _end_everything(self) -> None:
        count = sum(len(pool.workloads) for pool in self.pools.values())
        try:
            async with asyncio.timeout(_CLOSE + _CLOSE_EACH * count):
                await asyncio.gather(*(pool.close() for pool in self.pools.values()))
                await self._end_leftovers()
        except TimeoutError:
            left = [w.identity.id for pool in self.pools.values() for w in pool.workloads.values()]
            names = [*left, *self._to_end]
            for name in names:
                log().error("workload.stop_failed", workload=name, reason="no time is left to wait for it")

    def end_later(self, runtime: Runtime, identity: WorkloadIdentity) -> None:
        """Try again to end what could not be ended now."""
        self._to_end[identity.id] = (runtime, identity)

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
    ) -> Lease:
        """Give a place, waiting at most `timeout` seconds. Raises as `Pool.lease` does.

        `sharing` ends in the offer's suffix: what a legacy server was offered is part of what a workload is.
        `holder` and `asked` are as in `Outbound`: a server may ask as soon as it is up.
        """
        return await self._pool(server).lease(sharing, asker, timeout, holder, offer, asked)

    async def era(self, server: str, timeout: float) -> str:
        """Give the era of a server, `modern` or `legacy`, waiting at most `timeout` seconds where it is not known.

        Raises:
            ServerUnavailable: it cannot be known now.
        """
        pool = self._pool(server)
        return pool.era or await pool.wait_era(timeout)

    def _pool(self, server: str) -> Pool:
        pool = self.pools.get(server)
        if pool is None:
            raise ServerUnavailable(f"server {server} is not declared any more")
        return pool

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
        ready = [w for w in everything if w.channel is not None and w.offer == offer]
        shared = pool is not None and pool.spec.sharing is Sharing.SHARED
        common = next((w for w in ready if shared or w.sharing == UNCLAIMED), None)
        if common is None and private:
            return next(iter(ready), None)
        return common

    # -- Watcher ------------------------------------------------------------------------------

    def pool_changed(self, pool: Pool, workload: Workload) -> None:
        """Tell the catalog where it matters to it."""
        if self.events is None:
            return
        name = pool.spec.name
        if workload.state is WorkloadState.READY:
            self.events.server_ready(name)
            self.events.workload_ready(workload)
        ready = any(w.state is WorkloadState.READY for w in pool.workloads.values())
        if ready != (name in self._ready):
            (self._ready.add if ready else self._ready.discard)(name)
            self.events.server_changed(name)
        elif not ready:
            self.events.server_changed(name)

    def pool_notified(self, pool: Pool, workload: Workload, method: str, params: Object) -> None:
        """Pass on."""
        if self.events is not None:
            self.events.server_notified(pool.spec.name, workload, method, params)

    def remember_pool(self, pool: Pool) -> None:
        """Keep what was learned of a server."""
        learned = Learned(pool.spec.digest(), pool.era, pool.exclusive)
        self._to_keep.put_nowait((_LEARNED + pool.spec.name, msgspec.json.encode(learned)))

    def remember(self, workload: Workload) -> None:
        """Keep what it is, once it is somebody's.

        One that is kept as nobody's could be claimed and called, and the gateway end before that is
        written; the next gateway would give what it was told to somebody else.
        """
        if workload.channel is None or workload.sharing == UNCLAIMED:
            return
        spec = workload.spec
        upstream = workload.channel.upstream
        kept = Kept(spec.name, workload.sharing, True, upstream, spec.digest(), workload.offer)
        self._to_keep.put_nowait((_REMEMBERED + workload.identity.id, msgspec.json.encode(kept)))

    def forget(self, workload_id: str) -> None:
        """Keep it no more."""
        self._to_keep.put_nowait((_REMEMBERED + workload_id, None))

    def admit(self, pool: Pool, sharing: str) -> None:
        """Hold the caps on workloads."""
        everything = [w for each in self.pools.values() for w in each.workloads.values()]
        check_cap("on this gateway", len(everything), self._caps.workloads)
        check_cap(f"of server {pool.spec.name}", len(pool.workloads), self._caps.per_server)
        if pool.spec.sharing is not Sharing.SHARED and sharing != UNCLAIMED:
            principal = sharing[:32]
            mine = [w for w in everything if w.sharing[:32] == principal]
            if len(mine) >= self._caps.per_principal and self._make_room(mine, pool.clock()):
                return
            check_cap("for this principal", len(mine), self._caps.per_principal)

    def _make_room(self, workloads: Sequence[Workload], now: float) -> bool:
        """End the one of a principal's sessions' workloads that was idle longest: such sessions are often left."""
        idle = [
            w for w in workloads
            if w.spec.sharing is Sharing.SESSION and w.channel is not None and not w.in_flight
            and now - w.last_used > _ABANDONED
        ]  # fmt: skip
        if not idle:
            return False
        oldest = min(idle, key=lambda w: w.last_used)
        self.pools[oldest.spec.name].retire(oldest, "ended for another session of the same principal")
        return True

    # -- what runs already --------------------------------------------------------------------

    async def _begin_runtime(self, name: str, runtime: Runtime) -> None:
        """Adopt and remove before anything is started, so that nothing runs twice."""
        said = False
        while True:
            try:
                observed = await runtime.observe()
                break
            except RuntimeFailure as error:
                if not said:
                    log().warning("runtime.unavailable", runtime=name, reason=str(error))
                    said = True
                for pool in self._pools_of(name):
                    pool.outage = str(error)
                    if self.events is not None:
                        self.events.server_changed(pool.spec.name)
                await asyncio.sleep(_RUNTIME_RETRY)
        await self._recall_learned(self._pools_of(name))
        await self._adopt(runtime, observed)
        for pool in self._pools_of(name):
            pool.outage = None
            pool.ensure_warm()

    def _pools_of(self, runtime: str) -> Sequence[Pool]:
        return [pool for pool in self.pools.values() if pool.spec.runtime == runtime]

    async def _adopt(self, runtime: Runtime, observed: Sequence[Observed]) -> None:
        kept = await self._recall()
        for found in observed:
            identity, known = found.identity, kept.pop(found.identity.id, None)
            pool = self.pools.get(identity.key.server)
            wanted = found.running and pool is not None and pool.spec.digest() == identity.key.spec
            if wanted and pool is not None and known is not None and _free(pool, known):
                log().info("workload.adopted", workload=identity.id)
                pool.adopt(identity, known.sharing, known.upstream)
                continue
            if pool is not None and known is not None:
                self._note_loss(pool, known)
            log().info("workload.removed", workload=identity.id)
            self._record_removed(identity)
            await self._end(runtime, identity)
            self.forget(identity.id)
        for workload_id, known in kept.items():
            pool = self.pools.get(known.server)
            if pool is None or self._runtimes.get(pool.spec.runtime) is runtime:
                self.forget(workload_id)
                if pool is not None:
                    self._note_loss(pool, known)

    async def _begin_remotes(self) -> None:
        """Go on with the sessions that a gateway before us had with remote servers."""
        pools = [pool for pool in self.pools.values() if isinstance(pool.spec.launch, Remote)]
        await self._recall_learned(pools)
        kept = await self._recall() if pools else {}
        for pool in pools:
            digest = pool.spec.digest()
            for workload_id, known in kept.items():
                if known.server != pool.spec.name:
                    continue
                if known.spec != digest or not _free(pool, known):
                    self.forget(workload_id)  # its id is for the server that gave it, and for no other URL
                    self._note_loss(pool, known)
                else:
                    identity = pool.identity_for(known.sharing, known.offer)
                    pool.adopt(replace(identity, id=workload_id), known.sharing, known.upstream)
            pool.ensure_warm()

    def _note_loss(self, pool: Pool, known: Kept) -> None:
        if known.used and pool.spec.remembers:
            pool.losses.note(known.sharing)

    async def _recall_learned(self, pools: Sequence[Pool]) -> None:
        rows = dict(await self._scan(_LEARNED)) if pools else {}
        for pool in pools:
            value = rows.get(_LEARNED + pool.spec.name)
            with suppress(msgspec.DecodeError, msgspec.ValidationError):
                learned = None if value is None else msgspec.json.decode(value, type=Learned)
                if learned is not None and learned.spec == pool.spec.digest():
                    pool.era = pool.era or learned.era
                    if learned.exclusive:
                        pool.make_exclusive()

    async def _scan(self, prefix: str) -> Sequence[tuple[str, bytes]]:
        try:
            return await self._state.scan(prefix)
        except StateError as error:
            log().error("state.failed", reason=str(error))
            return ()

    async def _recall(self) -> dict[str, Kept]:
        found: dict[str, Kept] = {}
        for key, value in await self._scan(_REMEMBERED):
            with suppress(msgspec.DecodeError, msgspec.ValidationError):
                found[key.removeprefix(_REMEMBERED)] = msgspec.json.decode(value, type=Kept)
        return found

    def _record_removed(self, identity: WorkloadIdentity) -> None:
        fields = {"event": "removed", "server": identity.key.server, "workload": identity.id}
        try:
            self._recorder.event(RecordKind.WORKLOAD, fields)
        except JournalUnavailable as error:
            log().error("journal.unavailable", reason=str(error))

    # -- supervisors --------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> None:
        self._tasks.append(asyncio.create_task(work, name=name))

    async def _keep(self) -> None:
        """Write what is to be remembered, in order, off the callbacks that say so."""
        while True:
            key, value = await self._to_keep.get()
            try:
                await self._state.put(key, value)
            except StateError as error:
                log().error("state.failed", reason=str(error))
            finally:
                self._to_keep.task_done()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP)
            for pool in self.pools.values():
                pool.stop_idle(self.wanted)
            await self._end_leftovers()

    async def _end_leftovers(self) -> None:
        for runtime, identity in list(self._to_end.values()):
            del self._to_end[identity.id]
            await self._end(runtime, identity)

    async def _end(self, runtime: Runtime, identity: WorkloadIdentity) -> None:
        try:
            await runtime.stop(identity, 2.0)
        except RuntimeFailure as error:
            log().warning("workload.stop_failed", workload=identity.id, reason=str(error))
            self.end_later(runtime, identity)


def _free(pool: Pool, known: Kept) -> bool:
    """Tell whether a workload can be adopted for whom it is kept: for somebody, who has no other."""
    return known.sharing != UNCLAIMED and known.sharing not in pool.workloads
