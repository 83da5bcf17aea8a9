"""Runtime: what starts and stops workloads.

The behaviour every runtime keeps (the contract suite is `tidegate.testing.runtime_contract`):

- A workload is created hardened: what the ServerSpec does not declare, it does not have.
- `start` attaches before the workload runs, so that its first byte is not lost, and keeps standard
  input open. Output is always drained by one reader that waits for nobody.
- `stop` closes the stream first, then stops, then removes. It is idempotent, also for a workload
  that is unknown, and no failure leaves one running without saying so.
- `observe` finds the workloads of this gateway (by instance), also those of a gateway that crashed.
- Every call has a deadline of its own; an engine that does not answer raises `EngineUnavailable`.

What only some runtimes can is a Protocol of its own below, asked for once (`isinstance`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol, runtime_checkable

from tidegate.domain.server import Limits, ServerSpec
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


@dataclass(frozen=True, slots=True)
class Usage:
    """What a workload uses. Sizes in bytes; what the runtime cannot tell is 0."""

    cpu_seconds: float
    """Of processor, since it was started."""
    memory: int
    """Now, without what the kernel could take back at once (clean pages of files)."""
    memory_peak: int = 0
    """Most it was seen to use, by whoever counts: `memory` where nobody does."""
    pids: int = 0
    rx: int = 0
    """Received from networks since it was started."""
    tx: int = 0
    read: int = 0
    """From disks since it was started."""
    written: int = 0
    companions: int = 0
    """Memory of what runs beside it. What several workloads use together is counted with one of them."""


@runtime_checkable
class Pauses(Protocol):
    """A runtime whose workloads can be frozen: they keep their memory and use no processor."""

    async def pause(self, identity: WorkloadIdentity) -> None:
        """Freeze a workload. One that is frozen already is no error. `stop` ends a frozen one too.

        Raises:
            RuntimeFailure: it runs on, or is not there.
        """
        ...

    async def resume(self, identity: WorkloadIdentity) -> None:
        """Let it go on. One that was not frozen is no error.

        Raises:
            RuntimeFailure: it is still frozen, or not there.
        """
        ...


@runtime_checkable
class Measures(Protocol):
    """A runtime that tells what its workloads use."""

    async def usage(self, identities: Sequence[WorkloadIdentity]) -> Mapping[str, Usage]:
        """Give what workloads use, by id; one that cannot be measured now is left out.

        Raises:
            EngineUnavailable: nothing can be told at all.
        """
        ...


@runtime_checkable
class Resizes(Protocol):
    """A runtime that can change what a running workload may use."""

    async def resize(self, identity: WorkloadIdentity, limits: Limits) -> None:
        """Set memory, processors and number of processes of a running workload.

        Raises:
            RuntimeFailure: what it had goes on to hold.
        """
        ...


@runtime_checkable
class Houses(Protocol):
    """A runtime that can tell on how much memory its workloads run: it may be another machine's."""

    async def memory(self) -> int | None:
        """Give the memory of a machine that is not this one, or None where it is this one.

        Raises:
            RuntimeFailure: it cannot be told.
        """
        ...


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection that a workload opened, or was refused."""

    name: str
    """As the workload called it; empty where it used an address."""
    address: str
    """Where it led; empty where it was refused before that was looked up."""
    port: int
    protocol: str
    """`tcp`, `udp`, `icmp`, `dns` for a name that was asked for."""
    allowed: bool
    reason: str = ""
    """Why it was refused."""
    count: int = 1
    """More than one where they came too fast to be told one by one."""
    at: int = 0
    """Unix seconds, by the clock of who saw it."""


@runtime_checkable
class TellsConnections(Protocol):
    """A runtime that sees, and holds back, what its workloads open."""

    def tell_connections(self, take: Callable[[WorkloadIdentity, Connection], bool]) -> None:
        """Say who is told, and tells whether it was recorded.

        What is not is told again. Where too much of it waits, no further connection is made.
        """
        ...


@dataclass(frozen=True, slots=True)
class KeptVolume:
    """A named volume that is there."""

    name: str
    """`server/volume`, or `server/volume/key` where each sharing key has one of its own."""
    server: str
    size: int | None
    """Most bytes that it can ever hold, where the runtime sees to that."""
    held: int | None
    """Bytes that it holds, where that can be told."""
    used_by: tuple[str, ...] = ()
    """Containers that have it, running or not."""


@runtime_checkable
class KeepsVolumes(Protocol):
    """A runtime that keeps named volumes: they outlive workloads, gateways and the servers they were made for."""

    async def volumes(self) -> Sequence[KeptVolume]:
        """List them.

        Raises:
            RuntimeFailure: they cannot be listed.
        """
        ...

    async def backup(self, name: str, into: BinaryIO) -> int:
        """Write one as a tar, and give its bytes. What uses it is paused meanwhile.

        Raises:
            RuntimeFailure: there is none of that name, or what was written is not whole.
        """
        ...

    async def restore(self, name: str, source: BinaryIO) -> None:
        """Make one anew of such a tar, which can be read twice.

        Raises:
            RuntimeFailure: it is used, the tar is none of a volume, or it could not be written whole.
        """
        ...

    async def remove_volume(self, name: str) -> None:
        """Remove one with what is in it.

        Raises:
            RuntimeFailure: there is none of that name, or it is used.
        """
        ...
