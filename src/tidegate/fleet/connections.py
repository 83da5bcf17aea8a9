"""Connections: keeps what runtimes tell of servers' connections: one record each, with the calls under way."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tidegate.domain.errors import JournalUnavailable
from tidegate.domain.record import RecordKind
from tidegate.domain.workload import WorkloadIdentity
from tidegate.ports.recorder import Recorder
from tidegate.ports.runtime import Connection
from tidegate.telemetry import Metrics, log


class Connections:
    """Records connections, made or refused."""

    def __init__(
        self, recorder: Recorder, metrics: Metrics, under_way: Callable[[str], Sequence[str]]
    ) -> None:
        """`under_way` gives the ids of the calls that a workload works on, or did a moment ago."""
        self._recorder = recorder
        self._metrics = metrics
        self._under_way = under_way

    def take(self, identity: WorkloadIdentity, seen: Connection) -> bool:
        """Record one; False where that cannot be, so that it is told again."""
        server = identity.key.server
        fields: dict[str, object] = {
            "event": "allowed" if seen.allowed else "refused",
            "server": server,
            "workload": identity.id,
            "protocol": seen.protocol,
            "port": seen.port,
            "calls": list(self._under_way(identity.id)),
        }
        told = {"name": seen.name, "address": seen.address, "reason": seen.reason, "seen": seen.at}
        fields.update({key: value for key, value in told.items() if value})
        if seen.count > 1:
            fields["count"] = seen.count
        try:
            self._recorder.event(RecordKind.NETWORK, fields)
        except JournalUnavailable as error:
            log().error("journal.unavailable", reason=str(error))
            return False
        self._metrics.egress[server, str(fields["event"])] += seen.count
        return True
