"""Reports: what workloads ask of their pool and tell it: what is recorded, logged, and passed on of that."""

from __future__ import annotations

from collections.abc import Set
from typing import TYPE_CHECKING

from tidegate.domain.errors import JournalUnavailable
from tidegate.domain.record import RecordKind
from tidegate.domain.server import Sharing
from tidegate.domain.workload import SHARED, UNCLAIMED, WorkloadIdentity, WorkloadState
from tidegate.fleet.balance import base
from tidegate.fleet.track import Track
from tidegate.fleet.vitals import EJECTED, HEALTHY
from tidegate.fleet.workload import HOPELESS, Workload
from tidegate.protocol.codec import Object
from tidegate.telemetry import log

if TYPE_CHECKING:
    from tidegate.fleet.pool import Pool

_GIVEN = frozenset({"started", "failed"})
"""Records of a workload that name the secrets it was given."""


class Reports:
    """The owner of a pool's workloads."""

    def __init__(self, pool: Pool) -> None:
        self.gate = pool.gate
        self._pool = pool

    def identity_for(self, sharing: str, offer: str, track: Track | None = None) -> WorkloadIdentity:
        """Name a new realisation."""
        return self._pool.identity_for(sharing, offer, track)

    def wants(self, workload: Workload) -> bool:
        """Tell whether to bring it up again: warm and shared ones always, others while they are used."""
        pool = self._pool
        if pool.closed or pool.workloads.get(workload.sharing) is not workload:
            return False
        lasting = pool.spec.replicas.min > 0 or pool.era is None
        if (lasting and base(workload.sharing) in (SHARED, UNCLAIMED)) or workload.waiting or workload.held:
            return True
        limit = pool.spec.timeouts.idle
        return workload.calls > 0 and (not limit or pool.clock() - workload.last_used < limit)

    def admit(self, workload: Workload) -> None:
        """Pass on."""
        self._pool.watcher.admit_again(self._pool, workload)

    def workload_changed(self, workload: Workload) -> None:
        """Record, log and pass on what matters."""
        pool, state = self._pool, workload.state
        pool.history.add(workload.identity.id, state.value, workload.reason)
        if state is WorkloadState.READY and not workload.woken:
            self._started(workload)
        elif state is WorkloadState.FAILED:
            log().warning("workload.failed", workload=workload.identity.id, reason=workload.reason)
            self.record("failed", workload)
        elif state is WorkloadState.STOPPED:
            log().info("workload.stopped", workload=workload.identity.id)
            self.record("stopped", workload)
            pool.watcher.forget(workload.identity.id)
        pool.replicas.regroup(workload.sharing)
        pool.watcher.pool_changed(pool, workload)

    def workload_judged(self, workload: Workload) -> None:
        """Note that its health is another."""
        pool, health = self._pool, workload.health
        if workload.state is WorkloadState.STARTING:
            return  # begun anew
        pool.history.add(workload.identity.id, health, workload.health_reason)
        if health == EJECTED:
            pool.metrics.ejections[pool.spec.name] += 1
            log().warning("workload.ejected", workload=workload.identity.id, reason=workload.health_reason)
            self.record("ejected", workload, workload.health_reason)
        elif health == HEALTHY and base(workload.sharing) in pool.groups:
            log().info("workload.healed", workload=workload.identity.id)
        pool.replicas.regroup(workload.sharing)

    def workload_answered(self, workload: Workload) -> None:
        """Refuse the principal whose calls alone fail for a while: the server is well."""
        vitals, health = workload.vitals, workload.spec.health
        if self._is_shared and vitals.sole and vitals.failures >= health.failures and vitals.state != EJECTED:
            self._refuse(
                vitals.sole, workload, f"{vitals.failures} in a row failed, the last: {vitals.reason}"
            )

    def workload_blamed(self, workload: Workload, culprits: Set[str]) -> Set[str]:
        """Refuse the principals who ended a shared server again and again for a while."""
        if not self._is_shared:
            return frozenset()
        blamed = self._pool.blame.broke(culprits, workload.spec.health)
        for principal in blamed:
            self._refuse(principal, workload, "it ended during each of the last ones")
        return blamed

    def workload_excused(self, workload: Workload, since: float) -> None:
        """Put down what ended since then to nobody."""
        self._pool.blame.forgive(since)

    def workload_quarantined(self, workload: Workload) -> None:
        """Keep it from being tried again; with it the server, where nothing else of it is up."""
        pool = self._pool
        log().error("workload.quarantined", workload=workload.identity.id, reason=workload.reason)
        self.record("quarantined", workload)
        others = [w for w in pool.workloads.values() if w is not workload]
        if all(w.state in HOPELESS or w.draining for w in others):
            self.server("quarantined", workload.reason)

    def workload_broke(self, workload: Workload, reason: str) -> None:
        """Record and log it."""
        log().warning("workload.broke", workload=workload.identity.id, reason=reason)
        self._pool.metrics.restarts[self._pool.spec.name] += 1
        workload.reason = reason
        self.record("broke", workload)

    def workload_lost(self, workload: Workload) -> None:
        """Note whose memory went, so that the next call of that key is told."""
        pool = self._pool
        pool.watcher.forget(workload.identity.id)
        if pool.spec.remembers and workload.calls:
            pool.losses.note(base(workload.sharing))

    def workload_dropped(self, workload: Workload) -> None:
        """Let go of a workload that will not come back."""
        pool = self._pool
        if pool.replicas.remove(workload) and not workload.calls:
            pool.ensure_warm()  # it failed before it could be used: somebody has to go on trying

    def workload_notified(self, workload: Workload, method: str, params: Object) -> None:
        """Pass on."""
        self._pool.watcher.pool_notified(self._pool, workload, method, params)

    def workload_logged(self, workload: Workload, line: bytes) -> None:
        """Keep the line."""
        self._pool.log.add(workload.identity.id, line)

    def workload_contended(self, workload: Workload) -> None:
        """Let each have the workloads to itself from now on, so that the next question finds whose it is."""
        pool = self._pool
        if not pool.exclusive:
            log().warning("workload.contended", workload=workload.identity.id)
            self.record("contended", workload)
            pool.make_exclusive()
            pool.watcher.remember_pool(pool)

    def server(self, what: str, reason: str | None) -> None:
        """Record, log and pass on what happened to the server as a whole."""
        pool = self._pool
        pool.history.add("", what, reason)
        log().warning("server.quarantined" if what == "quarantined" else "server.released",
                      server=pool.spec.name, reason=reason)  # fmt: skip
        self._write({"event": f"server {what}", "server": pool.spec.name, "reason": reason})

    def record(self, what: str, workload: Workload, reason: str | None = None) -> None:
        """Write to the journal what happened to a workload."""
        self._write(
            {
                "event": what,
                "server": self._pool.spec.name,
                "workload": workload.identity.id,
                "spec": workload.track.digest,
                "image": workload.facts.get("digest") or workload.facts.get("image"),
                "reason": reason or workload.reason,
                # By name, whether it came to answer or not: it was given them either way.
                "secrets": list(workload.track.spec.secret_origins) or None if what in _GIVEN else None,
            }
        )

    def remember(self, workload: Workload) -> None:
        """Keep what a workload is for the next gateway process, where it is somebody's."""
        if base(workload.sharing) != UNCLAIMED and workload.channel is not None:
            self._pool.watcher.remember(workload)

    @property
    def _is_shared(self) -> bool:
        return self._pool.spec.sharing is Sharing.SHARED

    def _refuse(self, principal: str, workload: Workload, why: str) -> None:
        pool = self._pool
        if pool.blame.refuse(principal, workload.spec.health, why):
            pool.history.add("", "principal refused", f"{principal}: {why}")
            log().warning("principal.refused", server=pool.spec.name, principal=principal, reason=why)
            fields = {"event": "principal refused", "server": pool.spec.name, "principal": principal}
            self._write({**fields, "workload": workload.identity.id, "reason": why})

    def _started(self, workload: Workload) -> None:
        pool = self._pool
        era = workload.channel.upstream.era if workload.channel else ""
        log().info("workload.started", workload=workload.identity.id, era=era)
        self.record("started", workload)
        self.remember(workload)
        if workload.channel is not None and era != pool.era and workload.track is pool.current:
            pool.era = era
            pool.watcher.remember_pool(pool)

    def _write(self, fields: dict[str, object]) -> None:
        try:
            present = {name: value for name, value in fields.items() if value is not None}
            self._pool.recorder.event(RecordKind.WORKLOAD, present)
        except JournalUnavailable as error:
            log().error("journal.unavailable", reason=str(error))
