"""Workload: one running realisation of a ServerSpec, and the keys that tell workloads apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class WorkloadState(StrEnum):
    """Where a workload is in its life."""

    WAITING = "waiting"
    """For its turn, or for the end of a backoff."""
    PREPARING = "preparing"
    """Its image is pulled or its package installed."""
    STARTING = "starting"
    READY = "ready"
    PAUSED = "paused"
    """Idle and frozen: it goes on at the next call."""
    DRAINING = "draining"
    """Takes no more calls, and ends with the last of those under way."""
    FAILED = "failed"
    QUARANTINED = "quarantined"
    """Failed too often: not started again until somebody says so."""
    STOPPING = "stopping"
    STOPPED = "stopped"


NO_OFFER = "none"
UNCLAIMED = "unclaimed"
"""Sharing key of a warm workload that no principal has used yet."""
SHARED = "shared"
"""Sharing key of a workload that everybody may use."""


@dataclass(frozen=True, slots=True)
class WorkloadKey:
    """Whose calls a workload takes: those of equal keys meet in it, no others."""

    server: str
    spec: str
    """Digest of the ServerSpec."""
    sharing: str
    """`SHARED`, `UNCLAIMED`, or a principal's, session's or call's key; then what its clients offer the server,
    where that is anything (`Offer.suffix`)."""
    profile: str = NO_OFFER
    """What its clients offer the server, which the handshake fixed: a label of `protocol.capabilities.Offer`."""


@dataclass(frozen=True, slots=True)
class WorkloadIdentity:
    """What names a workload, on labels too."""

    id: str
    """`tg-<server>-<8 hex>`, also the container's name."""
    instance: str
    """Which gateway state directory it belongs to: 16 hex digits."""
    key: WorkloadKey

    def labels(self) -> dict[str, str]:
        """Give the labels that mark the workload as ours and say which it is."""
        return {
            "dev.tidegate.instance": self.instance,
            "dev.tidegate.workload": self.id,
            "dev.tidegate.server": self.key.server,
            "dev.tidegate.spec": self.key.spec,
            "dev.tidegate.sharing": self.key.sharing,
            "dev.tidegate.profile": self.key.profile,
        }

    @classmethod
    def from_labels(cls, labels: Mapping[str, str]) -> WorkloadIdentity | None:
        """Read what `labels` wrote, or None where it is not ours or not whole."""
        try:
            key = WorkloadKey(
                server=labels["dev.tidegate.server"],
                spec=labels["dev.tidegate.spec"],
                sharing=labels["dev.tidegate.sharing"],
                profile=labels["dev.tidegate.profile"],
            )
            return cls(labels["dev.tidegate.workload"], labels["dev.tidegate.instance"], key)
        except KeyError:
            return None


@dataclass(frozen=True, slots=True)
class Observed:
    """A workload of ours that a runtime found."""

    identity: WorkloadIdentity
    running: bool
    address: str | None = None
    """Base URL of an HTTP workload."""
    facts: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Upstream:
    """What the handshake with a workload settled; kept per workload id and read again on adoption."""

    era: str
    """`modern` or `legacy`."""
    revision: str
    server_info: bytes
    """JSON object."""
    capabilities: bytes
    """JSON object."""
    instructions: str | None = None
    session: str | None = None
    """The session id that a legacy HTTP server gave."""
