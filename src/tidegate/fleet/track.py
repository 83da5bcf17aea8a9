"""Track: one version of a server in a pool, and how it does beside the others."""

from __future__ import annotations

from collections.abc import Callable

from tidegate.domain.server import ServerSpec
from tidegate.fleet.balance import Demand, quantile
from tidegate.fleet.launcher import Launcher
from tidegate.fleet.meter import Meter


class Track:
    """One version of a server: what its workloads are made of."""

    def __init__(self, spec: ServerSpec, launcher: Launcher, digest: str, now: Callable[[], float]) -> None:
        """`now` is the loop's time."""
        self.spec = spec
        self.launcher = launcher
        self.digest = digest
        self.share = 0.0
        """Of new leases on shared keys, and of new keys."""
        self.wanted: int | None = None
        """How many replicas of each shared key, or warm workloads, there are to be; None: as the pool is told."""
        self.draining = False
        """Whether its workloads get no new leases."""
        self.now = now
        self.added = now()
        """Loop time."""
        self.meter = Meter(now)

    def demand(self) -> Demand:
        """Give calls, failures, errors and latencies since it was added."""
        counted = self.meter.ever()
        return Demand(
            latency_p50=quantile(counted.times, 0.5),
            latency_p95=quantile(counted.times, 0.95),
            calls=counted.calls,
            failures=counted.failures,
            errors=counted.errors,
        )
