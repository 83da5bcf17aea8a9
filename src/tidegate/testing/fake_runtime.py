"""FakeRuntime: a runtime whose workloads are coroutines. It passes the contract suite of runtimes.

What runs lives in a `World`, so that a second runtime finds what a first one left behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tidegate.domain.errors import ChannelClosed, EngineUnavailable, RuntimeFailure
from tidegate.domain.server import Command, Limits, ServerSpec
from tidegate.domain.workload import Observed, WorkloadIdentity
from tidegate.ports.runtime import Progress, Running, Usage
from tidegate.ports.stream import StreamEvents

_FACTS = {"sandbox": "none: a coroutine", "limits": "none"}


class Pipes:
    """A program's side of its streams."""

    def __init__(self, identity: WorkloadIdentity) -> None:
        self.identity = identity
        self.events: StreamEvents | None = None
        """Who is attached; output that nobody takes is dropped."""
        self.closing = asyncio.Event()
        """Set when the program is asked to end."""
        self.input_broken = False
        """While set, writing to the program fails, though nobody was told that it ended."""
        self.frozen = False
        """Whether the program is paused: it is given nothing to read."""
        self._buffer = bytearray()
        self._more = asyncio.Event()

    @property
    def backlog(self) -> int:
        """Bytes that were not read."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take bytes for standard input."""
        self._buffer += data
        self._more.set()

    async def line(self) -> bytes:
        """Read one line, with its end."""
        while self.frozen or (end := self._buffer.find(b"\n")) < 0:
            self._more.clear()
            await self._more.wait()
        line = bytes(self._buffer[: end + 1])
        del self._buffer[: end + 1]
        return line

    def thaw(self) -> None:
        """Let the program go on."""
        self.frozen = False
        self._more.set()

    def out(self, data: bytes) -> None:
        """Write to standard output."""
        if self.events is not None:
            self.events.stdout(data)

    def err(self, data: bytes) -> None:
        """Write to standard error."""
        if self.events is not None:
            self.events.stderr(data)


Program = Callable[[Pipes], Awaitable[int]]
"""Runs until it gives its exit status, or is cancelled as by a kill."""


class _Process:
    def __init__(self, identity: WorkloadIdentity, program: Program) -> None:
        self.pipes = Pipes(identity)
        self.task = asyncio.create_task(self._run(program), name=f"fake {identity.id}")

    async def _run(self, program: Program) -> None:
        reason = "killed"
        try:
            await asyncio.sleep(0)  # whoever started it is attached before the first byte
            reason = f"exited with status {await program(self.pipes)}"
        finally:
            events, self.pipes.events = self.pipes.events, None
            if events is not None:
                events.closed(reason)

    @property
    def running(self) -> bool:
        return not self.task.done()

    async def end(self, grace: float) -> None:
        self.pipes.thaw()
        self.pipes.events = None
        self.pipes.closing.set()
        if grace > 0 and self.running:
            await asyncio.wait([self.task], timeout=grace)
        self.task.cancel()
        await asyncio.wait([self.task])


class _FakeStream:
    def __init__(self, process: _Process, events: StreamEvents) -> None:
        self._process = process
        self._events = events
        self._closed = False
        process.pipes.events = events

    def write(self, data: bytes) -> None:
        if self._closed or not self._process.running or self._process.pipes.input_broken:
            raise ChannelClosed("stream has ended", sent=False)
        self._process.pipes.feed(data)

    @property
    def backlog(self) -> int:
        return self._process.pipes.backlog

    def rest(self, seconds: float) -> None:
        """Do nothing: what is in memory costs nobody else anything."""

    async def close(self) -> None:
        self._closed = True
        if self._process.pipes.events is self._events:
            self._process.pipes.events = None


@dataclass
class World:
    """What runs, whoever started it."""

    processes: dict[str, _Process] = field(default_factory=dict[str, _Process])

    @property
    def running(self) -> set[str]:
        """Ids of the workloads that run."""
        return {ident for ident, process in self.processes.items() if process.running}

    def kill(self, workload: str) -> None:
        """End a workload as a kill from outside does."""
        self.processes[workload].task.cancel()


class FakeRuntime:
    """Runs `Command(argv=(name,))` as the program of that name. Attributes play what can go wrong."""

    def __init__(self, instance: str, programs: Mapping[str, Program], world: World | None = None) -> None:
        self.world = world or World()
        self.unavailable: str | None = None
        """While set, the engine does not answer, and this is why."""
        self.prepare_fails: str | None = None
        self.stops_to_fail = 0
        """How many further stops fail and leave the workload."""
        self.prepared: list[str] = []
        self.starting = 0
        """How many starts are under way."""
        self.most_starting = 0
        self.started: list[str] = []
        """Servers in the order in which workloads of them were started."""
        self.hold: asyncio.Event | None = None
        """While set and not set off, starts wait for it."""
        self.uses = Usage(0.0, 0)
        """What each workload uses; processor grows by as much with each look."""
        self.looks = 0
        self.limits: dict[str, Limits] = {}
        """What workloads were given while they ran."""
        self._instance = instance
        self._programs = programs

    async def prepare(self, spec: ServerSpec, say: Callable[[Progress], None]) -> None:
        """Note it."""
        self._check()
        if self.prepare_fails is not None:
            raise RuntimeFailure(self.prepare_fails)
        say(Progress(spec.name, f"preparing {spec.name}", 1, 2))
        self.prepared.append(spec.name)

    async def start(self, spec: ServerSpec, identity: WorkloadIdentity, events: StreamEvents) -> Running:
        """Start the program."""
        self._check()
        if identity.id in self.world.processes:
            raise RuntimeFailure(f"{identity.id} is there already")
        launch = spec.launch
        program = self._programs.get(launch.argv[0]) if isinstance(launch, Command) else None
        if program is None:
            raise RuntimeFailure(f"no program for server {spec.name}")
        self.starting += 1
        self.most_starting = max(self.most_starting, self.starting)
        self.started.append(spec.name)
        try:
            if self.hold is not None:
                await self.hold.wait()
        finally:
            self.starting -= 1
        process = self.world.processes[identity.id] = _Process(identity, program)
        return Running(identity, _FakeStream(process, events), facts=_FACTS)

    async def attach(self, spec: ServerSpec, identity: WorkloadIdentity, events: StreamEvents) -> Running:
        """Attach to what runs."""
        self._check()
        process = self.world.processes.get(identity.id)
        if process is None or not process.running:
            raise RuntimeFailure(f"{identity.id} does not run")
        return Running(identity, _FakeStream(process, events), facts=_FACTS)

    async def stop(self, identity: WorkloadIdentity, grace: float) -> None:
        """End it."""
        self._check()
        if self.stops_to_fail:
            self.stops_to_fail -= 1
            raise RuntimeFailure(f"{identity.id} cannot be stopped")
        process = self.world.processes.get(identity.id)
        if process is not None:
            await process.end(grace)
            self.world.processes.pop(identity.id, None)

    async def pause(self, identity: WorkloadIdentity) -> None:
        """Freeze the program (`Pauses`)."""
        self._process(identity).pipes.frozen = True

    async def resume(self, identity: WorkloadIdentity) -> None:
        """Let it go on."""
        self._process(identity).pipes.thaw()

    async def usage(self, identities: Sequence[WorkloadIdentity]) -> Mapping[str, Usage]:
        """Give what was said to be used (`Measures`)."""
        self._check()
        self.looks += 1
        told = replace(self.uses, cpu_seconds=self.uses.cpu_seconds * self.looks)
        return {each.id: told for each in identities if each.id in self.world.running}

    async def resize(self, identity: WorkloadIdentity, limits: Limits) -> None:
        """Note the limits (`Resizes`)."""
        self._process(identity)
        self.limits[identity.id] = limits

    async def observe(self) -> Sequence[Observed]:
        """List what is there."""
        self._check()
        processes = list(self.world.processes.values())
        return [
            Observed(process.pipes.identity, process.running, facts=_FACTS)
            for process in processes
            if process.pipes.identity.instance == self._instance
        ]

    def _process(self, identity: WorkloadIdentity) -> _Process:
        self._check()
        process = self.world.processes.get(identity.id)
        if process is None or not process.running:
            raise RuntimeFailure(f"{identity.id} does not run")
        return process

    def _check(self) -> None:
        if self.unavailable is not None:
            raise EngineUnavailable(self.unavailable)
