"""Launchers: how the workloads of a server are brought up and down, by what the server is made of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from tidegate.channels.channel import ChannelEvents
from tidegate.channels.handshake import Patience
from tidegate.channels.stdio import StdioBounds, StdioChannel
from tidegate.domain.errors import RuntimeFailure
from tidegate.domain.server import ServerSpec
from tidegate.domain.workload import Upstream, WorkloadIdentity
from tidegate.fleet.workload import Opened
from tidegate.ports.runtime import Progress, Runtime
from tidegate.protocol.client import Introduction
from tidegate.telemetry import log


@dataclass(frozen=True, slots=True)
class Wiring:
    """What every channel needs to know of the gateway."""

    introduction: Introduction
    new_epoch: Callable[[], str]
    """Gives a random word of letters and digits: upstream ids of one attach begin with it."""


class RuntimeLauncher:
    """Launches workloads through a runtime."""

    def __init__(
        self,
        spec: ServerSpec,
        runtime: Runtime,
        wiring: Wiring,
        end_later: Callable[[Runtime, WorkloadIdentity], None],
    ) -> None:
        self.doing: str | None = None
        self._spec = spec
        self._runtime = runtime
        self._wiring = wiring
        self._end_later = end_later
        self._preparing = asyncio.Lock()
        self._prepared = False

    async def prepare(self) -> None:
        """Have the runtime prepare, once."""
        async with self._preparing:
            if self._prepared:
                return
            try:
                await self._runtime.prepare(self._spec, self._say)
            finally:
                self.doing = None
            self._prepared = True

    async def open(self, identity: WorkloadIdentity, events: ChannelEvents, known: Upstream | None) -> Opened:
        """Start, or attach to, a workload and shake hands."""
        return await self._open_stdio(identity, events, known)

    async def end(self, identity: WorkloadIdentity, grace: float) -> None:
        """End it; what cannot be ended now is tried again later."""
        try:
            await self._runtime.stop(identity, grace)
        except RuntimeFailure as error:
            log().warning("workload.stop_failed", workload=identity.id, reason=str(error))
            self._end_later(self._runtime, identity)

    async def _open_stdio(
        self, identity: WorkloadIdentity, events: ChannelEvents, known: Upstream | None
    ) -> Opened:
        spec, wiring = self._spec, self._wiring
        channel = StdioChannel(
            events, epoch=wiring.new_epoch(), bounds=StdioBounds(message=spec.limits.message)
        )
        begin = self._runtime.start if known is None else self._runtime.attach
        running = await begin(spec, identity, channel)
        try:
            await channel.open(
                running.stream, known, wiring.introduction, Patience(total=spec.timeouts.start)
            )
        except BaseException:
            await channel.close()
            raise
        return Opened(channel, running.facts)

    def _say(self, progress: Progress) -> None:
        share = ""
        if progress.done is not None and progress.total:
            share = f" {100 * progress.done // progress.total} %"
        self.doing = progress.what + share
