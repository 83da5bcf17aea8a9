"""What is kept of servers' connections."""

from __future__ import annotations

from collections.abc import Mapping

from tidegate.domain.errors import JournalUnavailable
from tidegate.domain.record import RecordKind
from tidegate.domain.workload import WorkloadIdentity, WorkloadKey
from tidegate.fleet.connections import Connections
from tidegate.ports.runtime import Connection
from tidegate.telemetry import Metrics
from tidegate.testing.records import KeptRecords

IDENTITY = WorkloadIdentity("tg-a-1", "0" * 16, WorkloadKey("a", "x", "shared"))
MADE = Connection("api.example", "192.0.2.1", 443, "tcp", True, at=1000)
REFUSED = Connection("", "192.0.2.2", 53, "udp", False, "udp is shut", count=7, at=1001)


class FullDisk:
    """A journal that takes nothing."""

    def event(self, kind: RecordKind, fields: Mapping[str, object]) -> None:
        raise JournalUnavailable("the disk is full")


def test_a_connection_is_recorded_with_the_calls_under_way_and_counted() -> None:
    records, metrics = KeptRecords(), Metrics()
    connections = Connections(records, metrics, lambda workload: [f"call of {workload}"])
    assert connections.take(IDENTITY, MADE)
    assert connections.take(IDENTITY, REFUSED)
    same = {"server": "a", "workload": "tg-a-1", "calls": ["call of tg-a-1"]}
    assert [fields for _, fields in records.events] == [
        {
            **same,
            "event": "allowed",
            "protocol": "tcp",
            "port": 443,
            "name": "api.example",
            "address": "192.0.2.1",
            "seen": 1000,
        },
        {
            **same,
            "event": "refused",
            "protocol": "udp",
            "port": 53,
            "address": "192.0.2.2",
            "reason": "udp is shut",
            "seen": 1001,
            "count": 7,
        },
    ]
    assert {kind for kind, _ in records.events} == {RecordKind.NETWORK}
    assert dict(metrics.egress) == {("a", "allowed"): 1, ("a", "refused"): 7}


def test_what_cannot_be_recorded_is_said_to_be_so_and_not_counted() -> None:
    metrics = Metrics()
    assert not Connections(FullDisk(), metrics, lambda _: []).take(IDENTITY, MADE)
    assert not metrics.egress
