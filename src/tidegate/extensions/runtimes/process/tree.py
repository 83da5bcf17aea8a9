"""Tree: which processes belong to a workload, read from /proc, and signals to them.

A process id is only trusted together with its start time, since ids are used again.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Process:
    """A process as /proc/PID/stat has it (proc_pid_stat(5))."""

    pid: int
    state: str
    parent: int
    session: int
    started: int
    """Clock ticks since the machine started."""


def look(pid: int) -> Process | None:
    """Give a process, or None where there is none (a dead one that nobody waited for counts as none)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as opened:
            text = opened.read(4096)
    except OSError:
        return None
    # The name in brackets may hold anything, so count from the last bracket.
    words = text[text.rindex(b")") + 2 :].split()
    found = Process(pid, words[0].decode(), int(words[1]), int(words[3]), int(words[19]))
    return None if found.state in "ZX" else found


def everything() -> dict[int, Process]:
    """Give all processes that can be seen."""
    found: dict[int, Process] = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (process := look(int(name))) is not None:
            found[process.pid] = process
    return found


def below(top: int, least_depth: int = 1) -> list[int]:
    """Give the descendants of `top` that are at least so many generations away, and its session's others."""
    processes = everything()
    depth = {top: 0}
    rest = [process for process in processes.values() if process.pid != top]
    grown = True
    while grown:
        grown = False
        for process in rest:
            if process.pid not in depth and process.parent in depth:
                depth[process.pid] = depth[process.parent] + 1
                grown = True
    for process in rest:
        if process.session == top and process.pid not in depth:
            depth[process.pid] = least_depth
    return [pid for pid, generations in depth.items() if generations >= least_depth]


def starts(pids: Iterable[int]) -> dict[int, int]:
    """Give when each of them started, which tells it from a later one of the same id."""
    return {pid: process.started for pid in pids if (process := look(pid)) is not None}


def alive(started: Mapping[int, int]) -> set[int]:
    """Give those that are still there, by id and start."""
    return {pid for pid, start in starts(started).items() if start == started[pid]}


def send(pids: list[int], number: signal.Signals) -> None:
    """Signal those of `pids` that are still there."""
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def tasks_of(uid: int) -> int:
    """Count the processes and threads of a user, as RLIMIT_NPROC does."""
    count = 0
    for name in os.listdir("/proc"):
        with suppress(OSError):
            if name.isdigit() and os.stat(f"/proc/{name}").st_uid == uid:
                count += len(os.listdir(f"/proc/{name}/task"))
    return count
