"""A fleet over coroutines: real pools, channels and handshakes, in time that a test turns."""

from __future__ import annotations

import itertools
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec import Raw

from tidegate.channels.channel import Outbound
from tidegate.domain.server import Command, ServerSpec, Sharing, Timeouts
from tidegate.domain.workload import Upstream, WorkloadIdentity, WorkloadKey
from tidegate.extensions.state.memory import MemoryState
from tidegate.fleet.fleet import Caps, Fleet
from tidegate.fleet.launch import RuntimeLauncher, Wiring
from tidegate.fleet.losses import Asker
from tidegate.fleet.pool import Lease
from tidegate.fleet.workload import Workload
from tidegate.protocol.client import introduce
from tidegate.protocol.codec import Object, decode_value, encode
from tidegate.telemetry import Metrics
from tidegate.testing.fake_runtime import FakeRuntime, World
from tidegate.testing.loop_time import LoopTime
from tidegate.testing.memory_server import MemoryServer
from tidegate.testing.records import KeptRecords
from tidegate.testing.stream import FreeIntent

INSTANCE = "0123456789abcdef"
TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
EPOCH = 1_800_000_000.0


def spec(name: str, *, sharing: Sharing = Sharing.PRINCIPAL, program: str = "", **more: Any) -> ServerSpec:
    """Declare a server that runs the program of its name."""
    return ServerSpec(name, Command((program or name,)), "fake", sharing=sharing, **more)


class HeardFleet:
    """Fleet events, kept."""

    def __init__(self) -> None:
        self.ready: list[str] = []
        self.changed: list[str] = []
        self.notified: list[tuple[str, str]] = []
        self.workloads: list[str] = []

    def server_ready(self, server: str) -> None:
        self.ready.append(server)

    def server_changed(self, server: str) -> None:
        self.changed.append(server)

    def workload_ready(self, workload: Workload) -> None:
        self.workloads.append(workload.identity.id)

    def server_notified(self, server: str, workload: Workload, method: str, params: Object) -> None:
        self.notified.append((server, method))


@dataclass
class Setting:
    """One gateway's fleet; `again` gives the next one on the same world and state."""

    specs: Sequence[ServerSpec]
    servers: dict[str, MemoryServer]
    time: LoopTime
    world: World = field(default_factory=World)
    state: MemoryState = field(default_factory=MemoryState)
    starts: int = 8
    caps: Caps = field(default_factory=Caps)
    alone: bool = False

    def __post_init__(self) -> None:
        self.runtime = FakeRuntime(INSTANCE, self.servers, self.world)
        self.records = KeptRecords()
        self.heard = HeardFleet()
        self.metrics = Metrics()
        numbers = itertools.count(1)
        prefix = len(self.world.processes)
        self.fleet = Fleet(
            {"fake": self.runtime}, self.state, self.records, self.metrics,
            instance=INSTANCE, starts=self.starts, caps=self.caps,
            new_id=lambda: f"{prefix}{next(numbers):07x}", now=self.now, key=bytes(32), alone=self.alone,
        )  # fmt: skip
        self.fleet.events = self.heard
        epochs = itertools.count(1)
        self.wiring = Wiring(introduce("test"), lambda: f"e{prefix}x{next(epochs)}", TLS)
        self.fleet.rollouts.launcher_for = self.launcher
        for each in self.specs:
            self.fleet.declare(each, self.launcher(each))

    def launcher(self, spec: ServerSpec) -> RuntimeLauncher:
        """Give what launches a server."""
        presence = self.fleet.presence_of("fake")
        return RuntimeLauncher(spec, self.runtime, self.wiring, self.fleet.end_later, presence)

    async def apply(self, *specs: ServerSpec) -> None:
        """Have exactly these servers, and let what comes of it at once happen."""
        await self.fleet.apply(specs, self.launcher)
        await self.time.settle()

    async def abandon(self) -> None:
        """End this gateway as a kill does: what runs goes on, and the state is as it was."""
        rows = await self.state.scan("")
        self.runtime.unavailable = "the gateway was killed"
        await self.fleet.close()
        self.state = MemoryState()
        for key, value in rows:
            await self.state.put(key, value)

    def now(self) -> float:
        """Give Unix seconds."""
        return EPOCH + self.time()

    async def begin(self) -> Setting:
        """Start the fleet and let it settle."""
        self.fleet.begin()
        await self.time.settle()
        return self

    def state_of(self, server: str) -> str:
        """Give a server's state."""
        return self.fleet.pools[server].state()[0]

    def reason_of(self, server: str) -> str:
        """Give the reason of a server's state."""
        return self.fleet.pools[server].state()[1] or ""

    def asker(self, session: str) -> Asker:
        """Give a session that begins now."""
        return Asker(session, self.now())

    async def lease(self, server: str, sharing: str = "a" * 32, asker: Asker | None = None) -> Lease:
        """Get a place."""
        return await self.fleet.lease(server, sharing, asker, 30.0)

    async def text(
        self, server: str, tool: str, sharing: str = "a" * 32, asker: Asker | None = None, **arguments: Any
    ) -> str:
        """Call a tool on whichever workload one gets, and give its text."""
        with await self.lease(server, sharing, asker) as lease:
            return await said(lease, tool, **arguments)

    async def leave_running(
        self, declared: ServerSpec, sharing: str, labelled: str | None = None, offer: str = "none"
    ) -> str:
        """Have a workload run as a gateway before this one would have left it: with an open handshake."""
        identity = WorkloadIdentity(
            f"tg-{declared.name}-left{len(self.world.processes)}",
            INSTANCE,
            WorkloadKey(declared.name, declared.digest(), labelled or sharing, offer),
        )

        class Nobody:
            def stdout(self, data: bytes) -> None: ...
            def stderr(self, data: bytes) -> None: ...
            def closed(self, reason: str) -> None: ...

        running = await self.runtime.start(declared, identity, Nobody())
        await running.stream.close()
        return identity.id


async def said(lease: Lease, tool: str, **arguments: Any) -> str:
    """Call a tool on a place that one has."""
    params = {"name": Raw(encode(tool)), "arguments": Raw(encode(arguments))}
    reply = await lease.channel.call(FreeIntent(), Outbound("tools/call", params))
    assert reply.result is not None
    result: Any = decode_value(reply.result)
    text: str = result["content"][0]["text"]
    return text


KNOWN = Upstream("legacy", "2025-11-25", b"{}", b'{"tools":{}}')
"""What the handshake with a memory server settles."""

QUICK = Timeouts(start=10.0, call=5.0, idle=60.0)
