"""A runtime that runs packages from PyPI as plain child processes, with no sandbox at all.

An example of an extension, told step by step in `docs/extensions.md`. It must not be used for a server that you
would not start by hand.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

from pydantic import BaseModel, ConfigDict, Field

from tidegate.domain.errors import ChannelClosed, RuntimeFailure
from tidegate.domain.server import Package, Secret, ServerSpec
from tidegate.domain.workload import Observed, WorkloadIdentity
from tidegate.ports.extension import Extension, Surroundings
from tidegate.ports.runtime import Progress, Running, Runtime
from tidegate.ports.stream import Stream, StreamEvents


class BareSettings(BaseModel):
    """`runtimes.bare` in the settings file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    install_seconds: float = Field(300.0, gt=0, le=3600)
    """How long the installation of a package may take."""


class _Pipes(asyncio.SubprocessProtocol):
    """Hands on what a process writes, as it comes, and how it ended. Is the Stream to it as well."""

    def __init__(self, events: StreamEvents) -> None:
        self.events = events
        self.ended = asyncio.Event()
        self.closing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.SubprocessTransport", transport)
        self.stdin = cast("asyncio.WriteTransport", self.transport.get_pipe_transport(0))

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if not self.closing:
            (self.events.stdout if fd == 1 else self.events.stderr)(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called when the process has ended and its pipes are read to their end."""
        self.transport.close()
        self.ended.set()
        if not self.closing:
            self.closing = True
            self.events.closed(f"exited with status {self.transport.get_returncode()}")

    def write(self, data: bytes) -> None:
        if self.closing or self.stdin.is_closing():
            raise ChannelClosed("the process has ended", sent=False)
        self.stdin.write(data)

    @property
    def backlog(self) -> int:
        return self.stdin.get_write_buffer_size()

    def rest(self, seconds: float) -> None:
        for fd in (1, 2):
            pipe = self.transport.get_pipe_transport(fd)
            if pipe is not None and pipe.is_reading():
                pipe.pause_reading()
                asyncio.get_running_loop().call_later(seconds, pipe.resume_reading)

    async def close(self) -> None:
        self.closing = True
        self.stdin.close()


class BareRuntime:
    """Starts and stops plain child processes."""

    def __init__(self, settings: BareSettings, surroundings: Surroundings) -> None:
        self._settings = settings
        self._place = surroundings.state_dir / "runtime" / "bare"
        self._alive: dict[str, tuple[WorkloadIdentity, _Pipes]] = {}

    async def prepare(self, spec: ServerSpec, say: Callable[[Progress], None]) -> None:
        package = _package(spec)
        place = self._environment(package)
        if place.exists():
            return
        say(Progress(spec.name, f"installing {package.name}"))
        self._place.mkdir(parents=True, exist_ok=True)
        scratch = place.with_name(place.name + ".new")
        wanted = [f"{package.name}=={package.version}", *package.extras]
        await self._run(sys.executable, "-m", "venv", "--clear", str(scratch))
        await self._run(str(scratch / "bin/python"), "-m", "pip", "install", "--quiet", *wanted)
        scratch.rename(place)

    async def start(self, spec: ServerSpec, identity: WorkloadIdentity, events: StreamEvents) -> Running:
        package = _package(spec)
        place = self._environment(package)
        program = package.executable or package.name
        if not (place / "bin" / program).is_file():
            raise RuntimeFailure(f"server {spec.name}: {package.name} has no program {program}")
        declared = {name: v.reveal() if isinstance(v, Secret) else v for name, v in spec.env.items()}
        argv = [str(place / "bin/python"), str(place / "bin" / program), *package.args]
        try:
            _, pipes = await asyncio.get_running_loop().subprocess_exec(
                lambda: _Pipes(events), *argv, env={"PATH": os.defpath} | declared
            )
        except OSError as error:
            raise RuntimeFailure(f"server {spec.name}: {error.strerror}") from error
        self._alive[identity.id] = (identity, pipes)
        stream: Stream = pipes
        return Running(identity, stream, facts={"sandbox": "none", "pid": str(pipes.transport.get_pid())})

    async def attach(self, spec: ServerSpec, identity: WorkloadIdentity, events: StreamEvents) -> Running:
        raise RuntimeFailure("a plain process cannot be attached to again")

    async def stop(self, identity: WorkloadIdentity, grace: float) -> None:
        _, pipes = self._alive.pop(identity.id, (identity, None))
        if pipes is None or pipes.ended.is_set():
            return
        await pipes.close()
        pipes.transport.terminate()
        try:
            await asyncio.wait_for(pipes.ended.wait(), grace)
        except TimeoutError:
            pipes.transport.kill()
            await pipes.ended.wait()

    async def observe(self) -> Sequence[Observed]:
        return [Observed(identity, not pipes.ended.is_set()) for identity, pipes in self._alive.values()]

    def _environment(self, package: Package) -> Path:
        return self._place / f"{package.name}-{package.version}"

    async def _run(self, *argv: str) -> None:
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL
        )
        try:
            status = await asyncio.wait_for(process.wait(), self._settings.install_seconds)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise RuntimeFailure(f"{argv[0]} did not end in {self._settings.install_seconds:.0f} s") from None
        if status:
            raise RuntimeFailure(f"{argv[0]} ended with status {status}")


def _package(spec: ServerSpec) -> Package:
    if not isinstance(spec.launch, Package) or spec.launch.index != "pypi":
        raise RuntimeFailure(f"server {spec.name}: the bare runtime runs packages from PyPI only")
    return spec.launch


@asynccontextmanager
async def open_bare(settings: BareSettings, surroundings: Surroundings) -> AsyncGenerator[Runtime]:
    """Open the runtime; whatever it still runs at the end is stopped."""
    runtime = BareRuntime(settings, surroundings)
    try:
        yield runtime
    finally:
        for found in await runtime.observe():
            await runtime.stop(found.identity, grace=2.0)


BARE: Extension[BareSettings, Runtime] = Extension(BareSettings, open_bare)
