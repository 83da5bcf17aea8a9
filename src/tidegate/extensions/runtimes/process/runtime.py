"""Runtime: MCP servers as sandboxed processes of this machine (`tidegate.ports.runtime.Runtime`).

A server's process ends with the gateway that started it, so none is attached to again; what a crash
leaves (it should be nothing) is found by its record and can be stopped.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

from tidegate.domain.errors import RuntimeFailure
from tidegate.domain.server import Command, Limits, Package, ServerSpec
from tidegate.domain.workload import Observed, WorkloadIdentity
from tidegate.extensions.runtimes.process import (
    cgroups,
    environments,
    mounts,
    records,
    tree,
    usage,
)
from tidegate.extensions.runtimes.process.environments import Environment
from tidegate.extensions.runtimes.process.host import User
from tidegate.extensions.runtimes.process.ladder import Ladder, Rung, finish
from tidegate.extensions.runtimes.process.plan import Ground, Plan, plan, user_of
from tidegate.extensions.runtimes.process.records import Record
from tidegate.extensions.runtimes.process.settings import ProcessSettings
from tidegate.extensions.runtimes.process.spawn import spawn
from tidegate.extensions.runtimes.process.stream import ProcessStream
from tidegate.ports.extension import Surroundings
from tidegate.ports.runtime import Progress, Running, Usage
from tidegate.ports.stream import StreamEvents

_KILLED = 5.0
"""Seconds until what was killed must be gone."""
_LOOK = 0.02
_MOMENT = 1.0
"""Seconds for a server to end by itself once its standard input has."""


class ProcessRuntime:
    """See `tidegate.ports.runtime.Runtime`."""

    def __init__(self, settings: ProcessSettings, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self._settings = settings
        place = surroundings.state_dir / "runtime" / "process"
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._place = place.resolve()
        self._ladders: dict[User, Ladder] = {}
        self._live: dict[str, tuple[Record, ProcessStream]] = {}
        self._starting: set[str] = set()
        self._paused: set[str] = set()
        self._made: dict[tuple[Package, bool], Environment] = {}
        """Environments of packages (at a place of their own, or not) that this gateway has verified."""
        self._cgroups: cgroups.Cgroups | None = None
        self._limits = "cgroups are turned off"
        if settings.limits != "rlimits":
            self._cgroups, self._limits = cgroups.find(f"tidegate-{surroundings.instance}")
            if self._cgroups is None and settings.limits == "cgroup":
                raise RuntimeFailure(f"limits by cgroup cannot be had: {self._limits}")

    async def prepare(self, spec: ServerSpec, say: Callable[[Progress], None]) -> None:
        """Find the sandbox, fetch and install the package, and see that it could be started."""
        if isinstance(spec.launch, Package):
            for remapped in (True, False):
                self._made.pop((spec.launch, remapped), None)
        await self._plan(spec, self._place / "none", lambda what: say(Progress(spec.name, what)))

    async def start(self, spec: ServerSpec, identity: WorkloadIdentity, events: StreamEvents) -> Running:
        """Start a server in its sandbox."""
        name = records.checked(identity)
        if name in self._live or name in self._starting:
            raise RuntimeFailure(f"{name} runs already")
        self._starting.add(name)
        try:
            return await self._start(spec, identity, events, name)
        finally:
            self._starting.discard(name)

    async def _start(
        self, spec: ServerSpec, identity: WorkloadIdentity, events: StreamEvents, name: str
    ) -> Running:
        home = self._place / name
        planned = await self._plan(spec, home, lambda _: None)
        record = Record(identity, boot=records.boot(), facts=planned.facts)
        try:
            records.write(self._place, record)
            job = planned.job
            if self._cgroups is not None:
                job = replace(job, groups=self._cgroups.make(name, spec.limits))
            if job.rung in (Rung.LANDLOCK, Rung.NONE):
                _make_home(home, User(job.uid, job.gid))
            rung = Rung(job.rung)
            job = finish(job, rung, self._ladder(User(job.uid, job.gid)).program)
            transport, stream = await spawn(job, lambda: ProcessStream(events, lambda: self._why(name)))
        except (RuntimeFailure, OSError) as failure:
            await self._clear(name, record)
            text = failure.strerror if isinstance(failure, OSError) else str(failure)
            raise RuntimeFailure(f"{spec.name} cannot be started: {text}") from failure
        except BaseException:
            await asyncio.shield(self._clear(name, record))
            raise
        pid = transport.get_pid()
        seen = tree.look(pid)
        record = replace(record, pid=pid, started=seen.started if seen is not None else None)
        self._live[name] = (record, stream)
        records.write(self._place, record)
        return Running(identity, stream, facts=planned.facts)

    async def attach(self, spec: ServerSpec, identity: WorkloadIdentity, events: StreamEvents) -> Running:
        """Refuse: a process ends with the gateway that holds its pipes."""
        raise RuntimeFailure(f"{identity.id} cannot be attached to: a process ends with its gateway")

    async def stop(self, identity: WorkloadIdentity, grace: float) -> None:
        """End a server: its input first, SIGTERM after a moment, SIGKILL to all of it after `grace`."""
        name = records.checked(identity)
        record, stream = self._live.get(name, (records.read(self._place, name), None))
        if stream is not None:
            if name in self._paused:
                await self._let_go(name, record)  # what is stopped hears nothing
            await stream.close()
            stream.end_input()
            moment = min(_MOMENT, grace / 2)
            if not await _within(stream, moment) and record is not None and record.pid is not None:
                contained = record.facts.get("sandbox", "").startswith(("bubblewrap", "namespaces"))
                told = await asyncio.to_thread(tree.below, record.pid, 2 if contained else 1)
                tree.send(told, signal.SIGTERM)
                await _within(stream, grace - moment)
        await self._clear(name, record)
        if stream is not None:
            stream.release()
        self._live.pop(name, None)

    async def observe(self) -> Sequence[Observed]:
        """Find the workloads of this gateway by their records."""
        found: list[Observed] = []
        for record in records.every(self._place):
            if record.identity.instance == self._surroundings.instance:
                _, stream = self._live.get(record.identity.id, (None, None))
                running = (
                    not stream.exited.is_set()
                    if stream
                    else bool(await self._left(record.identity.id, record))
                )
                found.append(Observed(record.identity, running, facts=record.facts))
        return found

    async def pause(self, identity: WorkloadIdentity) -> None:
        """Freeze all of a server's processes (`Pauses`)."""
        name, record = self._of_live(identity)
        self._paused.add(name)
        await asyncio.to_thread(usage.freeze, self._cgroups, name, lambda: self._processes(name, record))

    async def resume(self, identity: WorkloadIdentity) -> None:
        """Let them go on."""
        await self._let_go(*self._of_live(identity))

    async def usage(self, identities: Sequence[WorkloadIdentity]) -> Mapping[str, Usage]:
        """Measure workloads (`Measures`)."""
        records = {each.id: self._live[each.id][0] for each in identities if each.id in self._live}
        return await asyncio.to_thread(self._measured, records)

    async def resize(self, identity: WorkloadIdentity, limits: Limits) -> None:
        """Set what a workload's group may use (`Resizes`)."""
        name, _ = self._of_live(identity)
        if self._cgroups is None:
            raise RuntimeFailure(f"{name}: its limits hold from its start on: {self._limits}")
        try:
            self._cgroups.limit(name, limits)
        except OSError as error:
            raise RuntimeFailure(f"{name} cannot have these limits now: {error.strerror}") from error

    async def close(self) -> None:
        """End everything, since nobody could attach to it again."""
        ended = await asyncio.gather(
            *(self.stop(record.identity, 0.0) for record, _ in list(self._live.values())),
            return_exceptions=True,
        )
        if self._cgroups is not None:
            for name in self._cgroups.names():
                self._cgroups.remove(name)
            self._cgroups.close()
        for failure in ended:
            if isinstance(failure, BaseException):
                raise failure

    async def _plan(self, spec: ServerSpec, home: Path, say: Callable[[str], None]) -> Plan:
        user = user_of(spec)
        bare = isinstance(spec.launch, Command) and spec.launch.unsandboxed
        rung = Rung.NONE if bare else await self._ladder(user).climb(_otherwise(spec))
        if isinstance(spec.launch, Package):
            made = await self._environment(spec.launch, rung, say)
        elif isinstance(spec.launch, Command):
            declared = [] if bare else mounts.binds(spec.mounts, self._surroundings.state_dir)
            made = environments.for_command(spec.launch, declared)
        else:
            raise RuntimeFailure(f"{spec.name} is neither a command nor a package: no process can be it")
        pids_held = self._cgroups is not None and "pids" in self._cgroups.holds
        tasks = 0 if pids_held else await asyncio.to_thread(tree.tasks_of, user.uid)
        # With a user namespace of its own a server's processes are counted apart.
        apart = rung is Rung.NAMESPACES and os.geteuid() != 0
        ground = Ground(
            rung, user, self._cgroups, self._limits, self._surroundings.state_dir, self._place,
            self._ladder(user).passed, 0 if apart else tasks,
        )  # fmt: skip
        return plan(spec, made, ground, home)

    async def _environment(self, package: Package, rung: Rung, say: Callable[[str], None]) -> Environment:
        key = (package, rung.remapped)
        if key not in self._made:
            self._made[key] = await environments.for_package(
                package, say, self._surroundings, remapped=rung.remapped
            )
        return self._made[key]

    def _ladder(self, user: User) -> Ladder:
        if user not in self._ladders:
            self._ladders[user] = Ladder(user, self._place)
            if self._settings.sandbox != "auto":
                self._ladders[user].candidates = (Rung(self._settings.sandbox),)
        return self._ladders[user]

    def _why(self, name: str) -> str | None:
        short = self._cgroups is not None and self._cgroups.out_of_memory(name)
        return "killed: out of memory" if short else None

    async def _left(self, name: str, record: Record | None) -> set[int]:
        # Reading all of /proc would hold up the loop where much is running.
        return await asyncio.to_thread(self._processes, name, record)

    def _of_live(self, identity: WorkloadIdentity) -> tuple[str, Record]:
        name = records.checked(identity)
        if name not in self._live:
            raise RuntimeFailure(f"{name} does not run")
        return name, self._live[name][0]

    async def _let_go(self, name: str, record: Record | None) -> None:
        self._paused.discard(name)
        await asyncio.to_thread(usage.thaw, self._cgroups, name, lambda: self._processes(name, record))

    def _measured(self, live: Mapping[str, Record]) -> dict[str, Usage]:
        groups, found = self._cgroups, dict[str, Usage]()
        for name, record in live.items():
            # Without a group a look at all of /proc is needed.
            pids = groups.processes(name) if groups is not None else set[int]()
            told = usage.measure(pids or self._processes(name, record), groups, name)
            if told is not None:
                found[name] = told
        return found

    def _processes(self, name: str, record: Record | None) -> set[int]:
        """Give what is left of a workload."""
        left = self._cgroups.processes(name) if self._cgroups is not None else set[int]()
        if record is None or record.pid is None or record.boot != records.boot():
            return left
        first = tree.look(record.pid)
        if first is not None and first.started != record.started:
            return left  # the id was given to a stranger, so nothing of the session is left
        return left | set(tree.below(record.pid, 0 if first is not None else 1))

    async def _clear(self, name: str, record: Record | None) -> None:
        """Kill what is left of a workload and remove what was kept of it."""
        seen: dict[int, int] = {}  # whose parent is gone is found no more, and yet may take a moment to end
        for _ in range(int(_KILLED / _LOOK)):
            left = await self._left(name, record) | tree.alive(seen)
            seen |= tree.starts(left)
            if not left and (self._cgroups is None or self._cgroups.remove(name)):
                break
            if self._cgroups is not None:
                self._cgroups.kill(name)
            # The first one last: it is the parent by whom the others are found.
            first = {record.pid} if record is not None else set[int | None]()
            tree.send(list(left - first or left), signal.SIGKILL)
            await asyncio.sleep(_LOOK)
        else:
            raise RuntimeFailure(
                f"{name} may still run: it was killed and did not end within {_KILLED:.0f} s"
            )
        await asyncio.to_thread(shutil.rmtree, self._place / name, True)
        records.forget(self._place, name)


def _otherwise(spec: ServerSpec) -> str:
    """Say what can be done about a server for which no sandbox can be had: a package has no way without one."""
    if isinstance(spec.launch, Package):
        return f"run {spec.name} in a container with `runtime: docker`"
    return f"declare `unsandboxed: true` for {spec.name}"


def _make_home(home: Path, user: User) -> None:
    for place in (home, home / "tmp"):
        place.mkdir(mode=0o700, exist_ok=True)
    if os.geteuid() == 0:
        for place in (home, home / "tmp"):
            os.chown(place, user.uid, user.gid)


async def _within(stream: ProcessStream, seconds: float) -> bool:
    """Whether the process ended within so long."""
    with suppress(TimeoutError):
        await asyncio.wait_for(stream.exited.wait(), max(seconds, 0.0))
    return stream.exited.is_set()


@asynccontextmanager
async def open_process(
    settings: ProcessSettings, surroundings: Surroundings
) -> AsyncGenerator[ProcessRuntime, None]:
    """Open the runtime; nothing it started outlives it."""
    runtime = ProcessRuntime(settings, surroundings)
    try:
        yield runtime
    finally:
        await asyncio.shield(runtime.close())
