"""Pool: the workloads of one server, by whose they are, and who gets a place on one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from tidegate.channels.channel import Asked, Channel, Party
from tidegate.domain.errors import JournalUnavailable, MemoryLost, Overloaded, ServerUnavailable
from tidegate.domain.record import RecordKind
from tidegate.domain.server import ServerSpec, Sharing
from tidegate.domain.workload import (
    SHARED,
    UNCLAIMED,
    Upstream,
    WorkloadIdentity,
    WorkloadKey,
    WorkloadState,
)
from tidegate.fleet.gate import Gate
from tidegate.fleet.logs import ServerLog
from tidegate.fleet.losses import Asker, Losses
from tidegate.fleet.turns import Turns
from tidegate.fleet.workload import Launcher, Workload
from tidegate.ports.recorder import Recorder
from tidegate.protocol.capabilities import Offer
from tidegate.protocol.codec import Object
from tidegate.telemetry import Metrics, log


class Watcher(Protocol):
    """Whom a pool tells: the fleet."""

    def pool_changed(self, pool: Pool, workload: Workload) -> None:
        """A workload's state changed."""
        ...

    def pool_notified(self, pool: Pool, workload: Workload, method: str, params: Object) -> None:
        """A server sent a notification that belongs to no call."""
        ...

    def remember_pool(self, pool: Pool) -> None:
        """Keep what was learned of the server, for the next gateway process."""
        ...

    def remember(self, workload: Workload) -> None:
        """Keep what a ready or claimed workload is, for the next gateway process."""
        ...

    def forget(self, workload_id: str) -> None:
        """Keep it no more."""
        ...

    def admit(self, pool: Pool, sharing: str) -> None:
        """Say whether one more workload may be, or raise `Overloaded`."""
        ...


_CALL = Sharing.CALL


class Lease:
    """The right to one place on a channel, for one call. Released once.

    One without a holder is the gateway's own, to watch for changes: it takes no turn, and nobody waits for it.
    """

    __slots__ = ("_held", "_party", "_pool", "_turns", "channel", "workload")

    def __init__(
        self,
        workload: Workload,
        channel: Channel,
        pool: Pool,
        held: bool,
        turns: Turns | None,
        party: Party | None = None,
    ) -> None:
        """`turns` has let it in, where there are any; `party` may be asked something while it holds."""
        self.workload = workload
        self.channel = channel
        self._pool = pool
        self._held = held
        self._turns = turns
        self._party = party
        if not held:
            workload.own += 1
        if party is not None:
            workload.callers.append(party)
        workload.in_flight += 1
        workload.calls += 1

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()

    def release(self) -> None:
        """Give the place back."""
        workload = self.workload
        workload.in_flight -= 1
        workload.last_used = self._pool.clock()
        if self._party is not None:
            workload.callers.remove(self._party)
        if not self._held:
            workload.own -= 1
        elif self._turns is not None:
            self._turns.leave()
        elif workload.turns is not None:
            workload.turns.other_left()
        if self._pool.spec.sharing is _CALL:
            self._pool.discard(workload)


class Pool:
    """The workloads of one server."""

    def __init__(
        self,
        spec: ServerSpec,
        launcher: Launcher,
        gate: Gate,
        watcher: Watcher,
        recorder: Recorder,
        *,
        new_id: Callable[[], str],
        instance: str,
        metrics: Metrics,
        now: Callable[[], float],
    ) -> None:
        self.spec = spec
        self.launcher = launcher
        self.gate = gate
        self.log = ServerLog()
        self.clock = asyncio.get_running_loop().time
        self.workloads: dict[str, Workload] = {}
        """By sharing key."""
        self.losses = Losses(now)
        self.era: str | None = None
        """`modern` or `legacy`, once a workload of it was ready; kept for the next gateway process."""
        self.exclusive = False
        """Whether its workloads take the calls of one holder at a time."""
        self.outage: str | None = None
        """Why the runtime cannot be used at all, while it cannot."""
        self._watcher = watcher
        self._recorder = recorder
        self._new_id = new_id
        self._instance = instance
        self._digest = spec.digest()
        self._metrics = metrics
        self._discarding: set[asyncio.Task[None]] = set()
        self._closed = False

    # -- for the fleet ------------------------------------------------------------------------

    @property
    def warm_key(self) -> str:
        """Sharing key of the workload that is brought up before anybody asks."""
        return SHARED if self.spec.sharing is Sharing.SHARED else UNCLAIMED

    def ensure_warm(self) -> None:
        """Bring up a workload before anybody asks, unless there is one."""
        if not self._closed and not self.workloads:
            with suppress(Overloaded):  # said when it is called
                self._create(self.warm_key)

    def adopt(self, identity: WorkloadIdentity, sharing: str, known: Upstream) -> None:
        """Take over a workload that a gateway before us started."""
        workload = Workload(self.spec, identity, self)
        workload.sharing = sharing
        workload.calls = 0 if sharing == UNCLAIMED else 1
        workload.last_used = self.clock()
        self._add(workload).begin(known)

    def lease_now(self, sharing: str, asker: Asker | None, holder: str) -> Lease | None:
        """Give a place at once where a workload of that key is ready."""
        workload = self.workloads.get(sharing)
        if workload is None or workload.channel is None or self.losses.concern(sharing, asker):
            return None
        turns = workload.turns if holder else None
        if turns is not None and not turns.enter(holder):
            return None
        return Lease(workload, workload.channel, self, holder != "", turns)

    async def lease(
        self,
        sharing: str,
        asker: Asker | None,
        timeout: float,
        holder: str,
        offer: Offer,
        asked: Asked | None,
    ) -> Lease:
        """Give a place, waiting at most `timeout` seconds for a workload to be ready.

        What the workload asks while it is waited for, and until the lease is released, may be put to `asked`.

        Raises:
            ServerUnavailable: none became ready.
            MemoryLost: what the workload of this key remembered is gone; said once.
            Overloaded: one more workload would be over a cap.
        """
        self._tell_loss(sharing, asker)
        if self._closed:
            raise ServerUnavailable(f"server {self.spec.name} is stopping")
        if self.outage is not None:
            raise ServerUnavailable(f"server {self.spec.name} is not available: {self.outage}")
        workload = self.workloads.get(sharing) or self._claim(sharing, offer) or self._create(sharing, offer)
        party = None if asked is None else Party(holder, asked)
        turns: Turns | None = None
        ends = self.clock() + timeout
        try:
            while (holder and workload.turns is not turns) or workload.channel is None:
                if holder and workload.turns is not turns:
                    turns = await self._take_turn(workload, holder, ends)
                else:
                    await self._wait_ready(workload, party, ends)
            self._tell_loss(sharing, asker)
            return Lease(workload, workload.channel, self, holder != "", turns, party)
        except BaseException:
            if turns is not None:
                turns.leave()
            if self.spec.sharing is Sharing.CALL:
                self.discard(workload)  # it was for this call alone, which does not come any more
            raise

    async def wait_era(self, timeout: float) -> str:
        """Give the server's era, bringing up a workload where none was ready yet.

        Raises:
            ServerUnavailable: it cannot be known within `timeout` seconds.
        """
        if self.era is None:
            if self.outage is not None:
                raise ServerUnavailable(f"server {self.spec.name} is not available: {self.outage}")
            self.ensure_warm()
            workload = next(iter(self.workloads.values()), None)
            if workload is None:
                raise ServerUnavailable(f"server {self.spec.name} is {self.state()[0]}")
            await workload.wait_ready(timeout)
        if self.era is None:
            raise ServerUnavailable(f"server {self.spec.name} is {self.state()[0]}")
        return self.era

    def make_exclusive(self) -> None:
        """Let its workloads take the calls of one holder at a time, from now on."""
        self.exclusive = True
        for workload in self.workloads.values():
            if workload.turns is None:
                workload.turns = Turns(workload.in_flight - workload.own, self.clock)

    def discard(self, workload: Workload) -> None:
        """End a workload in the background."""
        if self.workloads.get(workload.sharing) is workload:
            del self.workloads[workload.sharing]
        task = asyncio.create_task(workload.stop(), name=f"stop {workload.identity.id}")
        self._discarding.add(task)
        task.add_done_callback(self._discarding.discard)
        if self.spec.sharing is Sharing.CALL and UNCLAIMED not in self.workloads and not self._closed:
            with suppress(Overloaded):  # the next call asks for its own, and is told then
                self._create(UNCLAIMED)

    def stop_idle(self, wanted: Callable[[str, str], bool]) -> None:
        """End the workloads of principals and sessions that nobody called for long."""
        limit = self.spec.timeouts.idle
        if not limit:
            return
        for workload in list(self.workloads.values()):
            idle = workload.in_flight == 0 and self.clock() - workload.last_used > limit
            if workload.sharing in (SHARED, UNCLAIMED) or workload.channel is None or not idle:
                continue
            if not wanted(self.spec.name, workload.sharing):
                self.retire(workload, f"idle for {limit:g} s")

    def retire(self, workload: Workload, reason: str) -> None:
        """End a workload that its owner may still want: the owner is told at its next call."""
        workload.reason = reason
        self.workload_lost(workload)
        self.discard(workload)

    async def close(self) -> None:
        """End every workload."""
        self._closed = True
        stops = [asyncio.create_task(workload.stop()) for workload in self.workloads.values()]
        waiting = [*stops, *self._discarding]
        if waiting:
            await asyncio.wait(waiting)

    def state(self) -> tuple[str, str | None]:
        """Give the server's state for people, and the reason where it is not ready."""
        workloads = list(self.workloads.values())
        if self.outage is not None:
            return WorkloadState.FAILED.value, self.outage
        if any(w.state is WorkloadState.READY for w in workloads):
            return WorkloadState.READY.value, None
        if not workloads:
            return WorkloadState.STOPPED.value, None
        first = workloads[0]
        return first.state.value, self.launcher.doing or first.reason

    # -- Owner --------------------------------------------------------------------------------

    def identity_for(self, sharing: str, offer: str) -> WorkloadIdentity:
        """Name a new realisation."""
        key = WorkloadKey(self.spec.name, self._digest, sharing, offer)
        return WorkloadIdentity(f"tg-{self.spec.name}-{self._new_id()}", self._instance, key)

    def wants(self, workload: Workload) -> bool:
        """Tell whether to bring it up again: warm and shared ones always, others while they are used."""
        if self._closed or self.workloads.get(workload.sharing) is not workload:
            return False
        if workload.sharing in (SHARED, UNCLAIMED) or workload.waiting:
            return True
        limit = self.spec.timeouts.idle
        return workload.calls > 0 and (not limit or self.clock() - workload.last_used < limit)

    def workload_changed(self, workload: Workload) -> None:
        """Record, log and pass on what matters."""
        if workload.state is WorkloadState.READY:
            era = workload.channel.upstream.era if workload.channel else ""
            log().info("workload.started", workload=workload.identity.id, era=era)
            self._record(workload, "started")
            self._watcher.remember(workload)
            if workload.channel is not None and era != self.era:
                self.era = era
                self._watcher.remember_pool(self)
        elif workload.state is WorkloadState.FAILED:
            log().warning("workload.failed", workload=workload.identity.id, reason=workload.reason)
            self._record(workload, "failed")
        elif workload.state is WorkloadState.STOPPED:
            log().info("workload.stopped", workload=workload.identity.id)
            self._record(workload, "stopped")
            self._watcher.forget(workload.identity.id)
        self._watcher.pool_changed(self, workload)

    def workload_broke(self, workload: Workload, reason: str) -> None:
        """Record and log it."""
        log().warning("workload.broke", workload=workload.identity.id, reason=reason)
        self._metrics.restarts[self.spec.name] += 1
        workload.reason = reason
        self._record(workload, "broke")

    def workload_lost(self, workload: Workload) -> None:
        """Note whose memory went, so that the next call of that key is told."""
        self._watcher.forget(workload.identity.id)
        if self.spec.remembers and workload.calls:
            self.losses.note(workload.sharing)

    def workload_dropped(self, workload: Workload) -> None:
        """Let go of a workload that will not come back."""
        if self.workloads.get(workload.sharing) is workload:
            del self.workloads[workload.sharing]
            if not workload.calls:  # it failed before it could be used: somebody has to go on trying
                self.ensure_warm()

    def workload_notified(self, workload: Workload, method: str, params: Object) -> None:
        """Pass on."""
        self._watcher.pool_notified(self, workload, method, params)

    def workload_logged(self, workload: Workload, line: bytes) -> None:
        """Keep the line."""
        self.log.add(workload.identity.id, line)

    def workload_contended(self, workload: Workload) -> None:
        """Let each have the workloads to itself from now on, so that the next question finds whose it is."""
        if not self.exclusive:
            log().warning("workload.contended", workload=workload.identity.id)
            self._record(workload, "contended")
            self.make_exclusive()
            self._watcher.remember_pool(self)

    def _tell_loss(self, sharing: str, asker: Asker | None) -> None:
        if self.losses.concern(sharing, asker):
            self.losses.tell(sharing, asker)
            raise MemoryLost(
                f"server {self.spec.name} was restarted and has forgotten what it was told before; "
                "nothing was called; call again to go on"
            )

    # -- inside -------------------------------------------------------------------------------

    async def _take_turn(self, workload: Workload, holder: str, ends: float) -> Turns | None:
        turns = workload.turns
        if turns is not None and not turns.enter(holder):
            await turns.wait(holder, self.spec.name, ends - self.clock())
        return turns

    async def _wait_ready(self, workload: Workload, party: Party | None, ends: float) -> None:
        if party is not None:
            workload.callers.append(party)
        try:
            await workload.wait_ready(max(0.0, ends - self.clock()))
        finally:
            if party is not None:
                workload.callers.remove(party)

    def _claim(self, sharing: str, offer: Offer) -> Workload | None:
        """Give a warm workload to a key. It was told nothing yet, so nothing is carried over.

        Nothing was offered to it either, so it is of no use to whoever offers something.
        """
        warm = self.workloads.get(UNCLAIMED)
        if (
            offer
            or warm is None
            or warm.calls
            or warm.state in (WorkloadState.STOPPING, WorkloadState.STOPPED)
        ):
            return None
        if (
            warm.state is WorkloadState.FAILED
        ):  # it stays the one that is retried, after its backoff, and said
            raise ServerUnavailable(warm.unavailable())
        del self.workloads[UNCLAIMED]
        warm.sharing = sharing
        self.workloads[sharing] = warm
        log().info("workload.claimed", workload=warm.identity.id)
        self._watcher.remember(warm)
        return warm

    def _create(self, sharing: str, offer: Offer = Offer.NONE) -> Workload:
        self._watcher.admit(self, sharing)
        workload = self._add(Workload(self.spec, self.identity_for(sharing, offer.label), self))
        workload.begin()
        return workload

    def _add(self, workload: Workload) -> Workload:
        if self.exclusive:
            workload.turns = Turns(0, self.clock)
        self.workloads[workload.sharing] = workload
        return workload

    def _record(self, workload: Workload, what: str) -> None:
        fields: dict[str, object] = {
            "event": what,
            "server": self.spec.name,
            "workload": workload.identity.id,
            "spec": self._digest,
            "image": workload.facts.get("digest") or workload.facts.get("image"),
            "reason": workload.reason,
        }
        try:
            self._recorder.event(RecordKind.WORKLOAD, {k: v for k, v in fields.items() if v is not None})
        except JournalUnavailable as error:
            log().error("journal.unavailable", reason=str(error))


def check_cap(what: str, now: int, cap: int) -> None:
    """Refuse one more where `now` reaches `cap`.

    Raises:
        Overloaded: it does.
    """
    if now >= cap:
        raise Overloaded(f"{now} workloads run {what}, which is the limit; try again later")
