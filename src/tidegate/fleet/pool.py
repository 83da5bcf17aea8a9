"""Pool: the workloads of one server, by whose they are, and who gets a place on one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from tidegate.channels.channel import Asked
from tidegate.domain.errors import MemoryLost, Overloaded, ServerUnavailable
from tidegate.domain.server import ServerSpec, Sharing
from tidegate.domain.workload import (
    NO_OFFER,
    SHARED,
    UNCLAIMED,
    Upstream,
    WorkloadIdentity,
    WorkloadKey,
    WorkloadState,
)
from tidegate.fleet import standing
from tidegate.fleet.admission import Admission
from tidegate.fleet.balance import Demand, base, exact
from tidegate.fleet.blame import Blame
from tidegate.fleet.gate import Gate
from tidegate.fleet.group import Group
from tidegate.fleet.history import History
from tidegate.fleet.launcher import Launcher
from tidegate.fleet.lease import Lease
from tidegate.fleet.logs import ServerLog
from tidegate.fleet.losses import Asker, Losses
from tidegate.fleet.queue import Waiting
from tidegate.fleet.renewal import Renewal
from tidegate.fleet.replicas import Replicas
from tidegate.fleet.reports import Reports
from tidegate.fleet.track import Track
from tidegate.fleet.turns import Turns
from tidegate.fleet.vitals import EJECTED
from tidegate.fleet.watcher import Watcher
from tidegate.fleet.workload import Workload
from tidegate.ports.recorder import Recorder
from tidegate.protocol.capabilities import Offer
from tidegate.telemetry import Metrics


class Pool:
    """The workloads of one server.

    `workloads` are by sharing key. Replicas of a shared key are further entries (`balance`): who asks for the
    key itself gets the one that is best now, who asks for one by its number gets that one.
    """

    quarantined: str | None = None
    """Why nothing of it is started until somebody releases it, while that is so."""
    outage: str | None = None
    """Why the runtime cannot be used at all, while it cannot."""
    closed = False

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
        alone: bool = False,
    ) -> None:
        self.clock = asyncio.get_running_loop().time
        self.current = Track(spec, launcher, spec.digest(), self.clock)
        """The version that new workloads are made of."""
        self.current.share = 1.0
        self.tracks: list[Track] = [self.current]
        self.spec = spec
        """That of the current version."""
        self.workloads: dict[str, Workload] = {}
        self.groups: dict[str, Group] = {}
        """By key, where a place is more than a matter of looking it up."""
        self.queue = Waiting(spec.name, self.clock)
        self.blame = Blame(spec.name, self.clock, self._regroup, alone=alone)
        self.follows = spec.sharing is Sharing.CALL
        """Whether there is more to do when a place is given back."""
        self.wanted = spec.replicas.min
        """How many replicas of the shared key there are to be."""
        self.log = ServerLog()
        self.losses = Losses(now)
        self.history = History(now)
        self.era: str | None = None
        """`modern` or `legacy`, once a workload of it was ready; kept for the next gateway process."""
        self.exclusive = False
        """Whether its workloads take the calls of one holder at a time."""
        self.gate = gate
        self.watcher = watcher
        self.recorder = recorder
        self.metrics = metrics
        self.reports = Reports(self)
        self.replicas = Replicas(self)
        self.renewal = Renewal(self)
        self._new_id = new_id
        self._instance = instance
        self._discarding: set[asyncio.Task[None]] = set()
        self.last_used = 0.0
        """Loop time at which a workload was last used that is here no more."""

    # -- what it is ---------------------------------------------------------------------------

    @property
    def launcher(self) -> Launcher:
        """That of the current version."""
        return self.current.launcher

    @property
    def waiting(self) -> int:
        """How many calls wait for a place."""
        return self.queue.count

    @property
    def warm_key(self) -> str:
        """Sharing key of the workload that is brought up before anybody asks."""
        return SHARED if self.spec.sharing is Sharing.SHARED else UNCLAIMED

    def state(self) -> tuple[str, str | None]:
        """Give the server's state for people, and the reason where it is not ready."""
        return standing.state(self)

    def demand(self) -> Demand:
        """Give what is asked of it now, and how it does."""
        return standing.demand(self)

    def pace(self, group: Group | None = None) -> tuple[float, int]:
        """Give how long calls take, and how many the server, or a group of it, takes at one time."""
        demand = self.demand()
        ready = demand.ready if group is None else sum(w.channel is not None for w in group.members)
        limit = 1 if group is None else group.limit or 1
        return demand.latency_p50, max(1, ready) * limit

    # -- for the fleet ------------------------------------------------------------------------

    def ensure_warm(self) -> None:
        """Bring up what is to be there before anybody asks, unless it is."""
        if self.closed or self.quarantined is not None:
            return
        with suppress(Overloaded):  # said when it is called
            if not self.workloads and (self.spec.replicas.min or self.era is None):
                self.wanted = max(1, self.wanted)  # where none need be, scaling takes it away again
                self.replicas.create(self.warm_key)
            self.replicas.converge()

    def adopt(self, identity: WorkloadIdentity, sharing: str, known: Upstream) -> None:
        """Take over a workload that a gateway before us started."""
        track = next((t for t in self.tracks if t.digest == identity.key.spec), self.current)
        workload = Workload(track, identity, self.reports)
        workload.sharing = sharing
        workload.calls = 0 if base(sharing) == UNCLAIMED else 1
        workload.last_used = self.clock()
        workload.begin(known)
        self.replicas.add(workload)
        if base(sharing) == SHARED:  # it was wanted until now: whether it still is, scaling says
            self.wanted = max(self.wanted, min(self.spec.replicas.max, len(self.replicas.of(sharing))))

    def revise(self, spec: ServerSpec, launcher: Launcher) -> None:
        """Go on with another declaration of the current version, of which only the gateway's part differs."""
        self.spec = self.current.spec = spec
        self.current.launcher = launcher
        for workload in self.workloads.values():
            if workload.track is self.current:
                workload.spec = spec
        self.wanted = max(spec.replicas.min, min(self.wanted, spec.replicas.max))
        self._regroup()
        self.ensure_warm()

    def turn(self) -> None:
        """Note that time passes: about once a second."""
        now = self.clock()
        for track in self.tracks:
            track.meter.turn()
        every = self.spec.health.every
        for workload in list(self.workloads.values()):
            quiet = workload.channel is not None and not workload.in_flight
            if every and quiet and now - max(workload.last_used, workload.heard) >= every:
                workload.heard = now
                workload.probe()
        self.replicas.warm.turn()
        self.blame.turn()
        if not self.closed:
            with suppress(Overloaded):  # tried again at the next turn
                self.replicas.converge()

    def lease_now(self, sharing: str, asker: Asker | None, holder: str) -> Lease | None:
        """Give a place at once where a workload of that key is ready."""
        if self.groups:
            if self.blame.refused:
                return None  # who calls has to be looked at
            if (group := self.groups.get(sharing)) is not None:
                return self._lease_of(group, asker, holder)
        workload = self.workloads.get(sharing)
        if workload is None or workload.channel is None or self.losses.concern(sharing, asker):
            return None
        turns = workload.turns if holder else None
        if turns is not None and not turns.enter(holder):
            return None
        lease = Lease(workload, workload.channel, self, holder != "", turns)
        if not holder:
            return lease.take()
        workload.in_flight += 1  # written out here: it is what nearly all calls are
        workload.calls += 1
        return lease

    async def lease(
        self,
        sharing: str,
        asker: Asker | None,
        timeout: float,
        holder: str,
        offer: Offer,
        asked: Asked | None,
        principal: str = "",
    ) -> Lease:
        """Give a place, waiting at most `timeout` seconds for a workload to be ready. Principals wait by turns.

        What the workload asks while it is waited for, and until the lease is released, may be put to `asked`.

        Raises:
            ServerUnavailable: none became ready, none is well, or this principal may not; see `retryAfter`.
            MemoryLost: what the workload of this key remembered is gone; said once.
            Overloaded: one more workload would be over a cap, or too many wait, or for too long.
        """
        self.tell_loss(sharing, asker)
        if self.closed:
            raise ServerUnavailable(f"server {self.spec.name} is stopping")
        if self.quarantined is not None:
            raise ServerUnavailable(f"server {self.spec.name} is quarantined: {self.quarantined}")
        if self.outage is not None:
            raise ServerUnavailable(f"server {self.spec.name} is not available: {self.outage}")
        return await Admission(self, sharing, asker, timeout, holder, offer, principal).lease(asked)

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

    def where(self, sharing: str, workload: str) -> str:
        """Give the key that names the workload of that id alone, wherever it is now; `sharing` where it is gone."""
        found = self.holder(sharing, workload)
        if found is None:
            return base(sharing)
        return exact(found.sharing) if base(found.sharing) in self.groups else found.sharing

    def holder(self, sharing: str, workload: str) -> Workload | None:
        """Give the workload of that id, which was known by that key."""
        found = self.workloads.get(sharing)
        if found is not None and found.identity.id == workload:
            return found
        return next((w for w in self.replicas.of(sharing) if w.identity.id == workload), None)

    def make_exclusive(self) -> None:
        """Let its workloads take the calls of one holder at a time, from now on."""
        self.exclusive = True
        for workload in self.workloads.values():
            if workload.turns is None:
                workload.turns = Turns(workload.in_flight - workload.own, self.clock)

    def discard(self, workload: Workload) -> None:
        """End a workload in the background."""
        self.last_used = max(self.last_used, workload.last_used if workload.calls else 0.0)
        self.replicas.remove(workload)
        task = asyncio.create_task(workload.stop(), name=f"stop {workload.identity.id}")
        self._discarding.add(task)
        task.add_done_callback(self._discarding.discard)

    def stop_idle(self, wanted: Callable[[str, str], bool]) -> None:
        """End the workloads of principals and sessions that nobody called for long."""
        limit = self.spec.timeouts.idle
        if not limit:
            return
        for workload in list(self.workloads.values()):
            if workload.in_flight or workload.waiting or self.clock() - workload.last_used <= limit:
                continue
            there = workload.channel is not None or workload.state is WorkloadState.PAUSED
            key = base(workload.sharing)
            # Of a shared key as many stay as are wanted, whoever wants them: a known peak, a signal.
            kept = (key == SHARED and self.wanted > 0) or (key == UNCLAIMED and self.spec.replicas.min > 0)
            if there and not kept and not workload.held and not wanted(self.spec.name, workload.sharing):
                self.retire(workload, f"idle for {limit:g} s")

    def retire(self, workload: Workload, reason: str) -> None:
        """End a workload that its owner may still want: the owner is told at its next call."""
        workload.reason = reason
        self.reports.workload_lost(workload)
        self.discard(workload)

    async def close(self) -> None:
        """End every workload."""
        self.closed = True
        await self.renewal.close()
        stops = [asyncio.create_task(workload.stop()) for workload in self.workloads.values()]
        waiting = [*stops, *self._discarding]
        if waiting:
            await asyncio.wait(waiting)

    # -- versions -----------------------------------------------------------------------------

    def add_track(self, spec: ServerSpec, launcher: Launcher) -> Track:
        """Add a version of the server, which gets no calls yet, and has no workloads."""
        track = Track(spec, launcher, spec.digest(), self.clock)
        for each in self.tracks:
            if each.wanted is None:
                each.wanted = self.wanted
        self.tracks.append(track)
        track.wanted = 0
        return track

    def set_share(self, track: Track, share: float) -> None:
        """Have a version get that share (0..1) of new leases on shared keys, and of new keys; the others the rest.

        Exact: of any number of leases it gets its share to within one. Where none of its workloads can take a
        call, another's does.
        """
        others = [each for each in self.tracks if each is not track and not each.draining]
        track.share = share = max(0.0, min(1.0, share)) if others else 1.0
        total = sum(each.share for each in others)
        for each in others:
            each.share = (1.0 - share) * (each.share / total if total else 1.0 / len(others))

    def grow(self, track: Track, count: int) -> None:
        """Have so many replicas of a version, of each shared key; elsewhere one that is warm, where `count` is not 0.

        Those that are too many end as they fall idle.

        Raises:
            Overloaded: not all of them can be, by the caps on workloads.
        """
        track.wanted = count
        if len(self.tracks) == 1:
            self.wanted = count
        self.replicas.converge()

    def promote(self, track: Track) -> None:
        """Have a version be the one that new workloads are made of. It gets all new leases, until told otherwise."""
        self.current = track
        self.spec = track.spec
        track.draining = False
        self.set_share(track, 1.0)
        self.watcher.remember_pool(self)

    async def drain(self, track: Track, seconds: float) -> None:
        """Take a version's workloads out: no new leases, and each ends when it is idle, after `seconds` at most.

        A shared one waits for another version to take its calls. One that belongs to a principal or session is
        replaced when its key falls idle, or at the end; its owner is told where it remembered something.
        """
        track.draining = True
        others = [each for each in self.tracks if not each.draining]
        if track.share and others:
            self.set_share(others[-1] if self.current.draining else self.current, 1.0)
        track.share = 0.0
        await self.renewal.drain(track, seconds)

    def drop_track(self, track: Track) -> None:
        """Have a version be no more. What is left of it ends now."""
        if track not in self.tracks or track is self.current:
            return
        self.tracks.remove(track)
        for workload in [w for w in self.workloads.values() if w.track is track]:
            self.retire(workload, "its version is gone")
        if len(self.tracks) == 1:
            self.current.share, self.current.wanted = 1.0, None
        self.ensure_warm()

    # -- operations ---------------------------------------------------------------------------

    def want(self, count: int, reason: str) -> None:
        """Have so many replicas of each shared key, within `replicas`. Those that are too many end as they fall idle.

        While there are several versions, it is done when there is one again.
        """
        bounds = self.spec.replicas
        count = max(bounds.min, min(count, bounds.max))
        if count != self.wanted:
            self.wanted = count
            self.history.add("", "wanted", f"{count}: {reason}")
        with suppress(Overloaded):  # tried again at every turn
            self.replicas.converge()

    async def restart(self, reason: str) -> None:
        """Replace each workload, one at a time, the next one being ready before one goes."""
        self.history.add("", "restarting", reason)
        await self.renewal.restart(reason)

    def quarantine(self, reason: str) -> None:
        """End every workload, and start none until `release`."""
        self.quarantined = reason
        self.reports.server("quarantined", reason)
        for workload in list(self.workloads.values()):
            self.retire(workload, reason)

    def release(self) -> None:
        """Let what is in quarantine start again."""
        if self.quarantined is not None:
            self.quarantined = None
            self.reports.server("released", None)
        for workload in self.workloads.values():
            workload.release()
        self.ensure_warm()

    # -- for leases and workloads -------------------------------------------------------------

    def identity_for(self, sharing: str, offer: str, track: Track | None = None) -> WorkloadIdentity:
        """Name a new realisation."""
        key = WorkloadKey(self.spec.name, (track or self.current).digest, sharing, offer)
        return WorkloadIdentity(f"tg-{self.spec.name}-{self._new_id()}", self._instance, key)

    def begin_key(self, sharing: str, offer: str = NO_OFFER) -> Workload:
        """Make the workload of a key that has none.

        Raises:
            Overloaded: one more would be over a cap.
        """
        self.wanted = max(1, self.wanted)
        shared = self.spec.sharing is Sharing.SHARED
        if self.spec.sharing is Sharing.CALL:
            self.replicas.warm.missed(self.spec)
        track = self.current if shared else self.replicas.choose_track()
        made = self.replicas.create(sharing, offer, track, called=True)
        self.ensure_warm()
        return made

    def tell_loss(self, sharing: str, asker: Asker | None) -> None:
        """Say once to whoever it concerns that what the workload remembered is gone.

        Raises:
            MemoryLost: it is.
        """
        if self.losses.concern(sharing, asker):
            self.losses.tell(sharing, asker)
            raise MemoryLost(
                f"server {self.spec.name} was restarted and has forgotten what it was told before; "
                "nothing was called; call again to go on"
            )

    def judge(self, workload: Workload, ok: bool, reason: str, principal: str) -> None:
        """Take a call's end as a sign of its workload's health."""
        if ok:
            workload.vitals.succeeded()
        else:
            workload.track.meter.failures += 1
            self.replicas.failed(workload, reason, principal)

    def released(self, lease: Lease) -> None:
        """Do what there is to do when a place was given back."""
        workload = lease.workload
        if self.spec.sharing is Sharing.CALL:
            self.discard(workload)
            return
        workload.vitals.end_trial(lease)
        if workload.draining and not workload.in_flight:
            workload.drained.set()
        self.queue.wake(base(workload.sharing))

    def _regroup(self) -> None:
        for key in self.replicas.all_keys():
            self.replicas.regroup(key)

    def _lease_of(self, group: Group, asker: Asker | None, holder: str) -> Lease | None:
        if self.queue.has(group.key) or self.losses.concern(group.key, asker):
            return None
        workload = group.pick()
        if workload is None or workload.channel is None:
            return None
        turns = workload.turns if holder else None
        if turns is not None and not turns.enter(holder):
            return None
        lease = Lease(workload, workload.channel, self, holder != "", turns).take()
        if workload.health == EJECTED:
            workload.vitals.begin_trial(lease)
        return lease
