"""Views: what the fleet holds, in the shapes that are told. Reads only; changes nothing, waits for nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from tidegate.domain.server import ServerSpec, Sharing
from tidegate.domain.workload import SHARED, UNCLAIMED, WorkloadState
from tidegate.edge.admin.shapes import (
    DemandShape,
    DetailShape,
    EndpointShape,
    HappeningShape,
    ReplicasShape,
    ServerShape,
    UsageShape,
    VersionShape,
    WorkloadShape,
)
from tidegate.fleet import balance
from tidegate.fleet.balance import Demand
from tidegate.fleet.fleet import Fleet
from tidegate.fleet.pool import Pool
from tidegate.fleet.track import Track
from tidegate.fleet.workload import Workload
from tidegate.gateway.catalog import Catalog
from tidegate.ports.runtime import Usage
from tidegate.telemetry import Metrics

Usages = Callable[[], Mapping[str, Usage]]
"""Gives what workloads use, by id, as it was last measured."""


def nothing_measured() -> Mapping[str, Usage]:
    """Know nothing of what workloads use."""
    return {}


class Views:
    """Everything there is to see of the fleet."""

    def __init__(
        self,
        fleet: Fleet,
        catalog: Catalog,
        metrics: Metrics,
        now: Callable[[], float],
        usages: Usages = nothing_measured,
    ) -> None:
        """`now` gives Unix seconds."""
        self._fleet = fleet
        self._catalog = catalog
        self._metrics = metrics
        self._now = now
        self._usages = usages
        self._clock = asyncio.get_running_loop().time

    def endpoints(self) -> list[EndpointShape]:
        """Give the endpoints."""
        return [
            {
                "path": each.path,
                "servers": list(each.spec.servers),
                "names": each.spec.names.value,
                "left_out": list(each.view.dropped),
                "tools": len(each.view.entries),
            }
            for each in self._catalog.endpoints.values()
        ]

    def servers(self) -> list[ServerShape]:
        """Give every server, as the table shows it."""
        used = self._usages()
        return [self._server(pool, used) for pool in list(self._fleet.pools.values())]

    def server(self, pool: Pool) -> ServerShape:
        """Give one server, as the table shows it."""
        return self._server(pool, self._usages())

    def detail(self, pool: Pool) -> DetailShape:
        """Give one server, with all there is to tell of it."""
        history: list[HappeningShape] = [
            {"time": each.time, "workload": each.workload, "state": each.state, "reason": each.reason}
            for each in pool.history
        ]
        return {
            **self._server(pool, self._usages()),
            "demand": _demand(pool.demand()),
            "versions": [_version(each, current=each is pool.current) for each in pool.tracks],
            "history": history,
        }

    def _server(self, pool: Pool, used: Mapping[str, Usage]) -> ServerShape:
        spec, demand = pool.spec, pool.demand()
        state, reason = pool.state()
        definitions = self._catalog.definitions.get(spec.name)
        workloads = list(pool.workloads.values())
        retries = [each.retry_at - self._clock() for each in workloads if each.retry_at is not None]
        seen = [used[each.identity.id] for each in workloads if each.identity.id in used]
        measured = [each.memory + each.companions for each in seen]
        ready = [each.ready_since for each in workloads if each.ready_since is not None]
        return {
            "name": spec.name,
            "state": state,
            "reason": reason,
            "runtime": spec.runtime,
            "transport": spec.transport.value,
            "launch": spec.describe(),
            "sharing": spec.sharing.value,
            "tools": len(definitions.tools) if definitions else 0,
            "retry_in": round(max(0.0, min(retries)), 1) if retries else None,
            "replicas": _replicas(pool),
            "in_flight": demand.in_flight,
            "waiting": demand.waiting,
            "p50": demand.latency_p50 if demand.calls else None,
            "p95": demand.latency_p95 if demand.calls else None,
            "calls": demand.calls,
            "failures": demand.failures,
            "restarts": self._metrics.restarts.get(spec.name, 0),
            "memory": sum(measured) if measured else None,
            "image": _image(workloads),
            "since": self._unix(min(ready)) if ready else None,
            "rollout": self._fleet.rollouts.brief(spec.name),
            "workloads": [self._workload(each, spec, used) for each in workloads],
        }

    def _workload(self, workload: Workload, spec: ServerSpec, used: Mapping[str, Usage]) -> WorkloadShape:
        ready = workload.ready_since
        usage = used.get(workload.identity.id)
        return {
            "id": workload.identity.id,
            "state": workload.state.value,
            "reason": workload.reason,
            "health": workload.health,
            "health_reason": workload.health_reason,
            "version": workload.identity.key.spec,
            "of": _whose(workload, spec),
            "in_flight": workload.in_flight,
            "calls": workload.calls,
            "restarts": workload.restarts,
            "started": None if ready is None else self._unix(ready),
            "era": None if workload.channel is None else workload.channel.upstream.era,
            "facts": dict(workload.facts),
            "usage": None if usage is None else _usage(usage),
        }

    def _unix(self, at: float) -> float:
        """Give the Unix time of a loop time."""
        return round(self._now() - (self._clock() - at))


def _replicas(pool: Pool) -> ReplicasShape:
    spec = pool.spec
    shared = spec.sharing is Sharing.SHARED
    bounded = shared or spec.sharing is Sharing.CALL
    mine = [each for key, each in pool.workloads.items() if not shared or balance.base(key) == SHARED]
    going = (WorkloadState.DRAINING, WorkloadState.STOPPING, WorkloadState.STOPPED)
    return {
        "ready": sum(each.state is WorkloadState.READY for each in mine),
        "wanted": pool.wanted if shared else sum(each.state not in going for each in mine),
        "min": spec.replicas.min if bounded else 0,
        "max": spec.replicas.max if bounded else 0,
    }


def _whose(workload: Workload, spec: ServerSpec) -> str:
    """Say whose a workload is, without saying who that is: a session's key is its client's alone."""
    key = balance.base(workload.sharing).partition("+")[0]
    return key if key in (SHARED, UNCLAIMED) else spec.sharing.value


def _image(workloads: list[Workload]) -> str | None:
    """Give what the newest workload was made of, with what pins it."""
    for workload in reversed(workloads):
        name = workload.facts.get("image") or workload.facts.get("package")
        digest = workload.facts.get("digest")
        if name:
            return name if digest is None or digest in name else f"{name} {digest}"
    return None


def _version(track: Track, *, current: bool) -> VersionShape:
    seen = track.demand()
    return {
        "digest": track.digest,
        "current": current,
        "share": track.share,
        "calls": seen.calls,
        "failures": seen.failures,
        "errors": seen.errors,
        "p95": seen.latency_p95,
    }


def _demand(demand: Demand) -> DemandShape:
    return {
        "in_flight": demand.in_flight,
        "waiting": demand.waiting,
        "wait": demand.wait,
        "latency_p50": demand.latency_p50,
        "latency_p95": demand.latency_p95,
        "calls": demand.calls,
        "failures": demand.failures,
        "errors": demand.errors,
        "ready": demand.ready,
        "starting": demand.starting,
        "paused": demand.paused,
    }


def _usage(usage: Usage) -> UsageShape:
    return {
        "cpu_seconds": usage.cpu_seconds,
        "memory": usage.memory,
        "memory_peak": usage.memory_peak,
        "pids": usage.pids,
        "rx": usage.rx,
        "tx": usage.tx,
        "read": usage.read,
        "written": usage.written,
        "companions": usage.companions,
    }
