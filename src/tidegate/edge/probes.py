"""Probes and metrics: is the process alive, can it answer truthfully, what has it counted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from tidegate.domain.server import Sharing
from tidegate.domain.workload import WorkloadState
from tidegate.edge.app import send_bytes, send_json
from tidegate.edge.asgi import Receive, Scope, Send
from tidegate.fleet.fleet import Fleet
from tidegate.telemetry import BUCKETS, METRICS, Metrics

if TYPE_CHECKING:
    from prometheus_client.core import Metric

Gauges = Callable[[], dict[str, float]]
"""Gives the current value of the gauges without labels, by metric name."""

MaySee = Callable[[Scope], Awaitable[bool]]
"""Says whether who asks may see the names of servers, and counts."""


async def everyone(scope: Scope) -> bool:
    """Let everyone see: for a listener that only this machine reaches."""
    return True


class Probes:
    """`/healthz`, `/readyz` and `/metrics`."""

    def __init__(
        self,
        fleet: Fleet,
        metrics: Metrics,
        gauges: Gauges,
        refusing: Callable[[], str | None],
        may_see: MaySee = everyone,
    ) -> None:
        """`refusing` says why calls are refused now, or None."""
        self._fleet = fleet
        self._metrics = metrics
        self._gauges = gauges
        self._refusing = refusing
        self._may_see = may_see

    def for_those(self, may_see: MaySee) -> Probes:
        """Give probes that show servers and counts only to those who may see them."""
        return Probes(self._fleet, self._metrics, self._gauges, self._refusing, may_see)

    async def healthz(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The process answers."""
        await send_json(send, 200, {"status": "ok"})

    async def readyz(self, scope: Scope, receive: Receive, send: Send) -> None:
        """200 where calls are taken. A server that is not there does not make the gateway unready; it is said."""
        reason = self._refusing()
        if not await self._may_see(scope):
            await send_json(send, 503 if reason else 200, {"status": "refusing" if reason else "ready"})
            return
        servers: dict[str, object] = {}
        for name, pool in self._fleet.pools.items():
            state, why = pool.state()
            servers[name] = {"state": state} if why is None else {"state": state, "reason": why}
        status = "refusing" if reason else "ready"
        body: dict[str, object] = {"status": status, "servers": servers}
        if reason:
            body["reason"] = reason
        await send_json(send, 503 if reason else 200, body)

    async def metrics(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Everything counted, as Prometheus text."""
        if not await self._may_see(scope):
            await send_json(send, 401, {"error": "send the credentials of an administrator"})
            return
        from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
        from prometheus_client.registry import CollectorRegistry

        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        await send_bytes(send, 200, CONTENT_TYPE_LATEST.encode(), generate_latest(registry))

    def collect(self) -> Iterator[Metric]:
        """Give the counts in the form the Prometheus client wants."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        def counter(name: str, labels: list[str], rows: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
            family = CounterMetricFamily(name, METRICS[name], labels=labels)
            for values, count in rows:
                family.add_metric(values, count)
            return family

        counts = self._metrics
        yield counter("tidegate_calls_total", ["endpoint", "server", "outcome"], counts.calls.items())
        yield counter("tidegate_requests_total", ["method"], _single(counts.requests))
        yield counter("tidegate_refusals_total", ["reason"], _single(counts.refusals))
        yield counter("tidegate_quota_refusals_total", ["limit"], _single(counts.quota_refusals))
        yield counter("tidegate_questions_total", ["server", "method", "event"], counts.questions.items())
        yield counter("tidegate_egress_total", ["server", "event"], counts.egress.items())
        yield counter("tidegate_workload_restarts_total", ["server"], _single(counts.restarts))
        yield counter("tidegate_scalings_total", ["server", "direction"], counts.scalings.items())
        yield counter("tidegate_starts_refused_total", ["server"], _single(counts.starts_refused))
        yield counter("tidegate_ejections_total", ["server"], _single(counts.ejections))
        yield counter("tidegate_reloads_total", ["outcome"], _single(counts.reloads))
        yield counter("tidegate_rollouts_total", ["server", "outcome"], counts.rollouts.items())
        seconds = HistogramMetricFamily(
            "tidegate_call_seconds", METRICS["tidegate_call_seconds"], labels=["server"]
        )
        for server, histogram in counts.call_seconds.items():
            seconds.add_metric([server], _cumulative(histogram.counts), histogram.total)
        yield seconds
        workloads = GaugeMetricFamily(
            "tidegate_workloads", METRICS["tidegate_workloads"], labels=["server", "state"]
        )
        for name, pool in self._fleet.pools.items():
            states = [workload.state.value for workload in pool.workloads.values()]
            for state in sorted(set(states)):
                workloads.add_metric([name, state], states.count(state))
        yield workloads
        yield from self._state()
        yield from self._sizes()
        for name, value in self._gauges().items():
            yield GaugeMetricFamily(name, METRICS[name], value=value)

    def _state(self) -> Iterator[Metric]:
        """Give how every server does now."""
        pools = self._fleet.pools.items()
        ready = {
            name: sum(w.state is WorkloadState.READY for w in pool.workloads.values()) for name, pool in pools
        }
        in_flight = {name: sum(w.in_flight for w in pool.workloads.values()) for name, pool in pools}
        waiting = {name: pool.waiting for name, pool in pools}
        quarantined = {name: int(pool.quarantined is not None) for name, pool in pools}
        yield _gauge("tidegate_replicas_ready", ["server"], ready)
        yield _gauge("tidegate_server_calls_in_flight", ["server"], in_flight)
        yield _gauge("tidegate_server_calls_waiting", ["server"], waiting)
        yield _gauge("tidegate_server_quarantined", ["server"], quarantined)

    def _sizes(self) -> Iterator[Metric]:
        """Give how many replicas there are to be, and what workloads use."""
        pools, usages = self._fleet.pools.items(), self._fleet.usages
        wanted = {name: pool.wanted for name, pool in pools if pool.spec.sharing is Sharing.SHARED}
        looks = {
            name: [look for w in pool.workloads.values() if (look := usages.of(w.identity.id))]
            for name, pool in pools
        }
        memory = {name: sum(each.usage.memory for each in seen) for name, seen in looks.items() if seen}
        cpus = {name: sum(each.cpus or 0.0 for each in seen) for name, seen in looks.items() if seen}
        yield _gauge("tidegate_replicas_wanted", ["server"], wanted)
        yield _gauge("tidegate_workload_memory_bytes", ["server"], memory)
        yield _gauge("tidegate_workload_cpus", ["server"], cpus)


def _gauge(name: str, labels: list[str], rows: Mapping[str, float]) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(name, METRICS[name], labels=labels)
    for value, count in rows.items():
        family.add_metric([value], count)
    return family


def _single(counts: dict[str, int]) -> list[tuple[tuple[str, ...], float]]:
    return [((label,), count) for label, count in counts.items()]


def _cumulative(counts: list[int]) -> list[tuple[str, float]]:
    rows: list[tuple[str, float]] = []
    total = 0
    for bound, count in zip([*map(str, BUCKETS), "+Inf"], counts, strict=True):
        total += count
        rows.append((bound, total))
    return rows
