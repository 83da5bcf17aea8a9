"""Runtime: what starts and stops workloads.

The behaviour every runtime keeps (the contract suite is `tidegate.testing.runtime_contract`):

- A workload is created hardened: what the ServerSpec does not declare, it does not have.
- `start` attaches before the workload runs, so that its first byte is not lost, and keeps standard
  input open. Output is always drained by one reader that waits for nobody.
- `stop` closes the stream first, then stops, then removes. It is idempotent, also for a workload
  that is unknown, and no failure leaves one running without saying so.
- `observe` finds the workloads of this gateway (by instance), also those of a gateway that crashed.
- Every call has a deadline of its own; an engine that does not answer raises `EngineUnavailable`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tidegate.domain.server import ServerSpec
from tidegate.domain.workload import Observed, WorkloadIdentity
from tidegate.ports.stream import Stream, StreamEvents


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a preparation is. `done` and `total` in bytes where the source tells, else None."""

    server: str
    what: str
    """`pulling python:3.12-slim`, `building mcp-server-time`, …"""
    done: int | None = None
    total: int | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """A workload that was started or attached to."""

    identity: WorkloadIdentity
    stream: Stream
    address: str | None = None
    """Base URL (`http://host:port`) of an HTTP workload, whose stream carries only its logs."""
    facts: Mapping[str, str] = field(default_factory=dict[str, str])
    """What holds for it, for people: `sandbox`, `limits`, `image`, `digest`, …"""


class Runtime(Protocol):
    """Starts and stops workloads of one kind."""

    async def prepare(self, spec: ServerSpec, say: Callable[[Progress], None]) -> None:
        """Make what `start` needs: pull or build the image, install the package. Idempotent.

        Raises:
            RuntimeFailure: it cannot be had, or would be run without what it needs; says which and why.
        """
        ...

    async def start(self, spec: ServerSpec, identity: WorkloadIdentity, events: StreamEvents) -> Running:
        """Create, attach and start a workload.

        Raises:
            RuntimeFailure: nothing was left behind.
        """
        ...

    async def attach(self, spec: ServerSpec, identity: WorkloadIdentity, events: StreamEvents) -> Running:
        """Attach to a workload that runs already.

        Raises:
            RuntimeFailure: it does not run, or this runtime's workloads cannot be attached to again.
        """
        ...

    async def stop(self, identity: WorkloadIdentity, grace: float) -> None:
        """End and remove a workload, killing it after `grace` seconds.

        Raises:
            RuntimeFailure: it may still be there.
        """
        ...

    async def observe(self) -> Sequence[Observed]:
        """Find this gateway's workloads, running or not.

        Raises:
            RuntimeFailure: they cannot be listed.
        """
        ...
