"""Usage: what a server's processes use together, and how all of them are frozen.

By the workload's cgroup where there is one, else process by process. Nothing here ends a process.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from tidegate.domain.errors import RuntimeFailure
from tidegate.extensions.runtimes.process import tree
from tidegate.extensions.runtimes.process.cgroups import Cgroups
from tidegate.ports.runtime import Usage

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_ROUNDS = 20
"""Looks at a tree that is being stopped; one that goes on making processes for so long is not frozen."""


def measure(pids: Iterable[int], groups: Cgroups | None, name: str) -> Usage | None:
    """Give what a workload uses, or None where nothing of it is left. Reads files only; for a thread."""
    there = [pid for pid in pids if tree.look(pid) is not None]
    if not there:
        return None
    told = _of_processes(there)
    if groups is None:
        return told
    memory, peak = _memory(groups, name)
    spent = _spent(groups, name)
    return Usage(
        cpu_seconds=told.cpu_seconds if spent is None else spent,
        memory=told.memory if memory is None else memory,
        memory_peak=max(told.memory, memory or 0) if peak is None else peak,
        pids=told.pids,
        read=told.read,
        written=told.written,
    )


def freeze(groups: Cgroups | None, name: str, pids: Callable[[], set[int]]) -> None:
    """Stop all of a workload's processes. Those that start while it is done are stopped too.

    Raises:
        RuntimeFailure: they do not all stand still, and go on.
    """
    if groups is not None and groups.version == 2 and _set(groups, name, "cgroup.freeze", "1"):
        return
    for _ in range(_ROUNDS):
        moving = [pid for pid in pids() if (seen := tree.look(pid)) is not None and seen.state not in "Tt"]
        if not moving:
            return
        # The oldest first: what it would make afterwards is not made.
        tree.send(sorted(moving), signal.SIGSTOP)
    thaw(groups, name, pids)
    raise RuntimeFailure(f"{name} goes on making processes, and cannot be paused")


def thaw(groups: Cgroups | None, name: str, pids: Callable[[], set[int]]) -> None:
    """Let them go on."""
    if groups is not None and groups.version == 2:
        _set(groups, name, "cgroup.freeze", "0")
    tree.send(sorted(pids(), reverse=True), signal.SIGCONT)


def _of_processes(pids: list[int]) -> Usage:
    spent, memory, read, written = 0, 0, 0, 0
    for pid in pids:
        with suppress(OSError, ValueError, IndexError):
            text = Path(f"/proc/{pid}/stat").read_bytes()
            words = text[text.rindex(b")") + 2 :].split()
            # utime, stime, and those of children that were waited for (proc_pid_stat(5)).
            spent += sum(int(word) for word in words[11:15])
            resident, shared = Path(f"/proc/{pid}/statm").read_text("ascii").split()[1:3]
            memory += (int(resident) - int(shared)) * _PAGE
            moved = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text("ascii").splitlines())
            read, written = read + int(moved["read_bytes"]), written + int(moved["write_bytes"])
    return Usage(spent / _TICKS, memory, memory, len(pids), read=read, written=written)


def _memory(groups: Cgroups, name: str) -> tuple[int | None, int | None]:
    """Give (now, most) of a group, without pages of files that could be had back at once."""
    second = groups.version == 2
    text = _read(groups, name, "memory", "memory.stat")
    now = _number(_read(groups, name, "memory", "memory.current" if second else "memory.usage_in_bytes"))
    if text is None or now is None:
        return None, None
    stat = dict(line.split() for line in text.splitlines())
    cache = int(stat.get("inactive_file" if second else "total_inactive_file", "0"))
    held = max(0, now - cache)
    return held, held


def _spent(groups: Cgroups, name: str) -> float | None:
    """Give the seconds of processor that a group has used, where its controller counts them."""
    if groups.version == 2:
        for line in (_read(groups, name, "cpu", "cpu.stat") or "").splitlines():
            if line.startswith("usage_usec "):
                return int(line.split()[1]) / 1e6
        return None
    used = _number(_read(groups, name, "cpu", "cpuacct.usage"))
    return None if used is None else used / 1e9


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.strip().isdigit() else None


def _read(groups: Cgroups, name: str, controller: str, file: str) -> str | None:
    place = groups.place(name, controller)
    with suppress(OSError):
        return None if place is None else (place / file).read_text(encoding="ascii")
    return None


def _set(groups: Cgroups, name: str, file: str, text: str) -> bool:
    place = groups.place(name, "memory")
    try:
        if place is not None and (place / file).exists():
            (place / file).write_text(text, encoding="ascii")
            return True
    except OSError:
        return False
    return False
