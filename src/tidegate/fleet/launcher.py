"""Launcher: what a workload needs of whatever brings it up and down. The ones there are stand in `launch`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from tidegate.channels.channel import Channel, ChannelEvents
from tidegate.domain.workload import Upstream, WorkloadIdentity
from tidegate.fleet.presence import Presence


@dataclass(slots=True)
class Opened:
    """A workload that answers: its channel, and how to end it."""

    channel: Channel
    facts: Mapping[str, str] = field(default_factory=dict[str, str])


class Launcher(Protocol):
    """Brings workloads of one server up and down, whatever they are made of."""

    doing: str | None
    """What is being prepared now, for people."""
    presence: Presence
    """Of the engine that it works through."""

    async def prepare(self) -> None:
        """Make what starting needs, once for all workloads of the server."""
        ...

    async def open(self, identity: WorkloadIdentity, events: ChannelEvents, known: Upstream | None) -> Opened:
        """Start a workload and shake hands; with `known`, attach to the one that runs."""
        ...

    async def end(self, identity: WorkloadIdentity, grace: float) -> None:
        """End and remove it. Idempotent; never raises: what cannot be ended now is tried again later."""
        ...

    async def pause(self, identity: WorkloadIdentity) -> bool:
        """Freeze it, where that can be done; tell whether it is frozen now.

        Raises:
            RuntimeFailure: it could be, and failed; the workload runs on.
        """
        ...

    async def resume(self, identity: WorkloadIdentity) -> None:
        """Let it go on. One that is not frozen is no error.

        Raises:
            RuntimeFailure: it is still frozen, or not there.
        """
        ...
