"""Reaper: holds a server's processes together where no process namespace does.

It is the parent whom the kernel gives every orphan of the server's. When the server ends, or the
gateway does, it kills what is left and ends; nothing can leave it but by the reaper's own death.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from . import kernel
from .job import Job

_PR_SET_CHILD_SUBREAPER = 36
_ROUNDS = 1000


def run(job: Job, status: int, enter: Callable[[Job], NoReturn], parent: int) -> NoReturn:
    """Start the server by `enter`, wait for it, and leave nothing behind."""
    kernel.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    alive, held = os.pipe2(os.O_CLOEXEC)
    server = os.fork()
    if server == 0:
        os.close(held)
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        if select.select([alive], [], [], 0)[0]:  # the one before us ended meanwhile
            os._exit(126)
        enter(job)
    os.close(status)
    nothing = os.open("/dev/null", os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)

    def ended(number: int, frame: object) -> None:
        _kill_all()
        os._exit(128 + signal.SIGKILL)

    signal.signal(signal.SIGTERM, ended)
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        ended(signal.SIGTERM, None)
    how = _wait_for(server)
    _kill_all()
    os._exit(128 + os.WTERMSIG(how) if os.WIFSIGNALED(how) else os.WEXITSTATUS(how))


def _wait_for(server: int) -> int:
    while True:
        ended, how = os.wait()
        if ended == server:
            return how


def _kill_all() -> None:
    """Kill all descendants, again and again until none is left: they may be forking."""
    for _ in range(_ROUNDS):
        for pid in _descendants():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return


def _descendants() -> list[int]:
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError, ValueError), open(f"/proc/{name}/stat", "rb") as opened:
                text = opened.read(4096)
                parents[int(name)] = int(text[text.rindex(b")") + 2 :].split()[1])
    found: list[int] = []
    generation = {os.getpid()}
    while generation:
        generation = {pid for pid, parent in parents.items() if parent in generation}
        found += generation
    return found
