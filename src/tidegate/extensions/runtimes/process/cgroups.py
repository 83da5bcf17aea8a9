"""Cgroups: limits that hold for all of a server's processes together, where a group can be made.

Version 2 below our own group where that was delegated to us, as root beside or at the top; version 1
below our own, as root. Nothing here starts or watches a process.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tidegate.domain.server import Limits

OVERHEAD = 2
"""Processes of the sandbox itself that are counted with the server's."""
_PERIOD = 100_000
_CONTROLLERS = ("memory", "pids", "cpu")
_LEAST_CPU = 1000


@dataclass(frozen=True, slots=True)
class Cgroups:
    """Where groups for workloads can be made: one directory (version 2), or one for each controller."""

    version: int
    bases: tuple[tuple[str, Path], ...]
    """(controllers, directory)."""

    @property
    def holds(self) -> tuple[str, ...]:
        """Which of memory, pids and cpu are limited."""
        return tuple(name for names, _ in self.bases for name in names.split())

    def make(self, name: str, limits: Limits) -> list[str]:
        """Make a workload's group with its limits; gives the files that take its first process's id.

        Raises:
            OSError: the kernel refuses.
        """
        files: list[str] = []
        for controllers, base in self.bases:
            group = base / name
            group.mkdir(parents=True, exist_ok=True)
            _write_all(group, _settings(self.version, controllers.split(), limits))
            files.append(str(group / "cgroup.procs"))
        return files

    def limit(self, name: str, limits: Limits) -> None:
        """Give a workload's group other limits.

        Raises:
            OSError: the kernel refuses; those before it hold already.
        """
        for controllers, base in self.bases:
            changes = list(_settings(self.version, controllers.split(), limits))
            try:
                _write_all(base / name, changes)
            except OSError:
                # Version 1: memory may not go over memory with swap, nor that below it, so the order turns.
                _write_all(base / name, changes[::-1])

    def place(self, name: str, controller: str) -> Path | None:
        """Give the directory of a workload's group for a controller, or None where that is not limited."""
        for controllers, base in self.bases:
            if controller in controllers.split():
                return base / name
        return None

    def processes(self, name: str) -> set[int]:
        """Give the processes in a workload's group."""
        found: set[int] = set()
        for _, base in self.bases:
            with suppress(OSError):
                found |= {int(line) for line in (base / name / "cgroup.procs").read_text().split()}
        return found

    def kill(self, name: str) -> None:
        """Kill everything in a workload's group. To be repeated until nothing is left."""
        for _, base in self.bases:
            with suppress(OSError):
                _write(base / name / "cgroup.kill", "1")
        for pid in self.processes(name):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def out_of_memory(self, name: str) -> bool:
        """Whether the kernel killed in a workload's group for want of memory."""
        file = "memory.events" if self.version == 2 else "memory.oom_control"
        for controllers, base in self.bases:
            if "memory" in controllers:
                with suppress(OSError):
                    told = dict(line.split() for line in (base / name / file).read_text().splitlines())
                    return int(told.get("oom_kill", "0")) > 0
        return False

    def remove(self, name: str) -> bool:
        """Remove a workload's group; whether it is gone (it is not while something runs in it)."""
        for _, base in self.bases:
            with suppress(OSError):
                (base / name).rmdir()
        return not any((base / name).exists() for _, base in self.bases)

    def names(self) -> set[str]:
        """Give the groups that are there."""
        found: set[str] = set()
        for _, base in self.bases:
            with suppress(OSError):
                found |= {entry.name for entry in base.iterdir() if entry.is_dir()}
        return found

    def close(self) -> None:
        """Remove our own directories where no workload's is left."""
        for _, base in self.bases:
            with suppress(OSError):
                base.rmdir()


def _write_all(group: Path, changes: Iterable[tuple[str, str, bool]]) -> None:
    for file, text, needed in changes:
        try:
            _write(group / file, text)
        except OSError:
            if needed:
                raise


def _settings(version: int, controllers: list[str], limits: Limits) -> Iterator[tuple[str, str, bool]]:
    """Yield (file, text, whether it must be there)."""
    quota = max(int(limits.cpus * _PERIOD), _LEAST_CPU)
    if "memory" in controllers and version == 2:
        yield "memory.max", str(limits.memory), True
        yield "memory.swap.max", "0", False
        yield "memory.oom.group", "1", False
    elif "memory" in controllers:
        yield "memory.limit_in_bytes", str(limits.memory), True
        yield "memory.memsw.limit_in_bytes", str(limits.memory), False
    if "pids" in controllers:
        yield "pids.max", str(limits.pids + OVERHEAD), True
    if "cpu" in controllers and version == 2:
        yield "cpu.max", f"{quota} {_PERIOD}", True
    elif "cpu" in controllers:
        yield "cpu.cfs_period_us", str(_PERIOD), True
        yield "cpu.cfs_quota_us", str(quota), True


def find(name: str, mounts: str | None = None, own: str | None = None) -> tuple[Cgroups | None, str]:
    """Find where groups can be made, or None, with the reason in a few words.

    `name` names our directory; `mounts` and `own` are the texts of /proc/self/mountinfo and
    /proc/self/cgroup.
    """
    mounted = _mounted(mounts if mounts is not None else Path("/proc/self/mountinfo").read_text())
    groups = _groups(own if own is not None else Path("/proc/self/cgroup").read_text())
    reasons: list[str] = []
    if "" in mounted:
        made = _version_2(name, mounted[""], groups.get("", "/"), reasons)
        if made is not None:
            return made, "cgroup v2"
    bases: list[tuple[str, Path]] = []
    for controller in _CONTROLLERS:
        if controller in mounted:
            below = mounted[controller] / groups.get(controller, "/").lstrip("/")
            base = (below if below.is_dir() else mounted[controller]) / name
            try:
                base.mkdir(exist_ok=True)
                _write_probe(base)
            except OSError as error:
                reasons.append(f"{controller}: {error.strerror}")
            else:
                bases.append((controller, base))
    if bases:
        return Cgroups(1, tuple(bases)), "cgroup v1"
    return None, "; ".join(reasons) or "no cgroup is mounted"


def _mounted(text: str) -> dict[str, Path]:
    """Give controller to mount point; the empty name is version 2 (proc_pid_mountinfo(5))."""
    found: dict[str, Path] = {}
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        place, (kind, _, options) = Path(before.split()[4]), after.split(" ", 2)
        if kind == "cgroup2":
            found.setdefault("", place)
        elif kind == "cgroup":
            for controller in set(options.split(",")) & set(_CONTROLLERS):
                found.setdefault(controller, place)
    return found


def _groups(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        found |= dict.fromkeys(controllers.split(","), path)
    return found


def _version_2(name: str, top: Path, own: str, reasons: list[str]) -> Cgroups | None:
    """Try to make our directory with the controllers on, where the kernel's rules allow it.

    A group with processes in it cannot hand controllers to groups below (cgroups(7), "no internal
    processes"), save the top one; so beside our own as root, or below it with ourselves moved aside.
    """
    ours = top / own.lstrip("/")
    parents = [ours] if os.geteuid() != 0 or ours == top else [ours.parent, top]
    for parent in parents:
        try:
            available = set((parent / "cgroup.controllers").read_text().split())
            wanted = [controller for controller in _CONTROLLERS if controller in available]
            if "memory" not in wanted:
                reasons.append(f"{parent}: its memory controller is not ours to use")
                continue
            if parent == ours and ours != top:
                aside = ours / "tidegate-gateway"
                aside.mkdir(exist_ok=True)
                _write(aside / "cgroup.procs", str(os.getpid()))
            _turn_on(parent, wanted)
            base = parent / name
            base.mkdir(exist_ok=True)
            _turn_on(base, wanted)
        except OSError as error:
            reasons.append(f"{parent}: {error.strerror}")
        else:
            return Cgroups(2, ((" ".join(wanted), base),))
    return None


def _turn_on(group: Path, controllers: list[str]) -> None:
    for controller in controllers:
        _write(group / "cgroup.subtree_control", f"+{controller}")


def _write_probe(base: Path) -> None:
    """See that a group below can be made, before it is needed."""
    probe = base / "probe"
    probe.mkdir(exist_ok=True)
    probe.rmdir()


def _write(file: Path, text: str) -> None:
    # Never O_CREAT: what is not there is not a control file.
    descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
