"""Standing: how a server stands now: its state for people, and what is asked of it. Changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidegate.domain.workload import WorkloadState
from tidegate.fleet.balance import Demand, quantile
from tidegate.fleet.vitals import EJECTED

if TYPE_CHECKING:
    from tidegate.fleet.pool import Pool

_STARTING = frozenset({WorkloadState.WAITING, WorkloadState.PREPARING, WorkloadState.STARTING})


def state(pool: Pool) -> tuple[str, str | None]:
    """Give the server's state, and the reason where it is not ready."""
    if pool.quarantined is not None:
        return WorkloadState.QUARANTINED.value, pool.quarantined
    if pool.outage is not None:
        return WorkloadState.FAILED.value, pool.outage
    workloads = list(pool.workloads.values())
    for each in (WorkloadState.READY, WorkloadState.PAUSED):
        if any(w.state is each for w in workloads):
            return each.value, None
    if not workloads:
        return WorkloadState.STOPPED.value, None
    first = workloads[0]
    return first.state.value, first.track.launcher.doing or first.reason


def demand(pool: Pool) -> Demand:
    """Give what is asked of it, and how it does."""
    workloads = list(pool.workloads.values())
    counts = [track.meter.last(60.0) for track in pool.tracks]
    lately = sum(track.meter.last(30.0).calls for track in pool.tracks)
    times = sorted(time for each in counts for time in each.times)
    return Demand(
        in_flight=sum(w.in_flight - w.own for w in workloads),
        waiting=pool.queue.count,
        wait=pool.queue.wait_p95(30.0, lately),
        latency_p50=quantile(times, 0.5),
        latency_p95=quantile(times, 0.95),
        calls=sum(each.calls for each in counts),
        failures=sum(each.failures for each in counts),
        errors=sum(each.errors for each in counts),
        ready=sum(w.state is WorkloadState.READY and w.health != EJECTED for w in workloads),
        starting=sum(w.state in _STARTING for w in workloads),
        paused=sum(w.state is WorkloadState.PAUSED for w in workloads),
        last_used=max([pool.last_used, *(w.last_used for w in workloads if w.calls)]),
    )
