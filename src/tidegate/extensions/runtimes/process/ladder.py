"""Ladder: the sandboxes a server can be put in, best first, each tried by really running something in it."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from tidegate.domain.errors import RuntimeFailure
from tidegate.extensions.runtimes.process import host, seccomp
from tidegate.extensions.runtimes.process.bwrap import bwrap_argv
from tidegate.extensions.runtimes.process.host import User
from tidegate.extensions.runtimes.process.launcher.job import Job
from tidegate.extensions.runtimes.process.spawn import spawn

_DEADLINE = 20.0
_TRUE = ("/usr/bin/true", "/bin/true")
_WORDS = 120
_MIB = 1024 * 1024


class Rung(StrEnum):
    """A way to confine a process."""

    BUBBLEWRAP = "bubblewrap"
    NAMESPACES = "namespaces"
    LANDLOCK = "landlock"
    NONE = "none"
    """Only where a server says `unsandboxed: true`."""

    @property
    def remapped(self) -> bool:
        """Whether it has a file system of its own."""
        return self in (Rung.BUBBLEWRAP, Rung.NAMESPACES)


def finish(job: Job, rung: Rung, program: str) -> Job:
    """Fill in what a job needs for its rung: the filter of system calls, bubblewrap's argv."""
    sockets = seccomp.Sockets.NAMESPACED
    if rung is Rung.LANDLOCK:
        sockets = seccomp.Sockets.INTERNET if job.network else seccomp.Sockets.NONE
    filled = replace(job, rung=rung.value)
    if rung is not Rung.NONE:
        filled = replace(filled, seccomp=seccomp.program(platform.machine(), sockets))
    if rung is Rung.BUBBLEWRAP:
        filled = replace(filled, bwrap=bwrap_argv(program, filled, staged=filled.uid != os.geteuid()))
    return filled


@dataclass(slots=True)
class Ladder:
    """Which rung holds on this machine. What held is remembered; what did not is tried again when asked."""

    user: User
    made: Path
    """Where made-up files are kept."""
    candidates: tuple[Rung, ...] = (Rung.BUBBLEWRAP, Rung.NAMESPACES, Rung.LANDLOCK)
    program: str = ""
    """The bubblewrap that was found."""
    found: Rung | None = None
    reasons: dict[Rung, str] = field(default_factory=dict[Rung, str])
    """Why a rung does not hold here."""
    _one: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def climb(self, otherwise: str) -> Rung:
        """Give the best rung that holds. `otherwise` says what can be done where none does, for people.

        Raises:
            RuntimeFailure: none does; says why, and what to install or do.
        """
        async with self._one:
            if self.found is None:
                self.program = shutil.which("bwrap", path="/usr/local/bin:/usr/bin:/bin") or ""
                for rung in self.candidates:
                    reason = await self._try(rung)
                    if reason is None:
                        self.found = rung
                        return rung
                    self.reasons[rung] = reason
                advice = f"install the package bubblewrap, or {otherwise}"
                raise RuntimeFailure(f"no sandbox can be had ({self.passed}): {advice}")
            return self.found

    @property
    def passed(self) -> str:
        """Why better rungs than the one that was found do not hold, for people."""
        return "; ".join(f"{rung.value}: {reason}" for rung, reason in self.reasons.items())

    async def _try(self, rung: Rung) -> str | None:
        """Run `true` in a sandbox; None, or why it could not be."""
        if not seccomp.knows(platform.machine()):
            return f"no filter of system calls is known for {platform.machine()}"
        if rung is Rung.BUBBLEWRAP and not self.program:
            return "bwrap is not installed"
        if rung is Rung.LANDLOCK and self.user.uid != os.geteuid():
            return "it cannot bring the state directory, closed to all but root, within another uid's reach"
        listener = _Listener()
        try:
            async with asyncio.timeout(_DEADLINE):
                transport, _ = await spawn(finish(self._probe(rung), rung, self.program), lambda: listener)
                try:
                    await listener.ended.wait()
                    status = transport.get_returncode()
                finally:
                    transport.close()
        except RuntimeFailure as failure:
            return str(failure)
        except TimeoutError:
            return f"it did not answer within {_DEADLINE:.0f} s"
        if status == 0:
            return None
        words = listener.words.partition("\n")[0].removeprefix("bwrap: ").strip()
        return words[:_WORDS] or f"it ended with status {status}"

    def _probe(self, rung: Rung) -> Job:
        binds, symlinks = host.in_place(network=False), list[tuple[str, str]]()
        if rung.remapped:
            binds, symlinks = host.remapped(self.user, network=False, made=self.made)
        program = next((path for path in _TRUE if os.path.exists(path)), _TRUE[0])
        return Job(
            rung=rung.value, argv=[program], env={}, cwd="/", uid=self.user.uid, gid=self.user.gid,
            groups=[], rlimits={}, binds=binds, symlinks=symlinks, tmp=_MIB, network=False,
            seccomp=b"", bwrap=[],
        )  # fmt: skip


class _Listener(asyncio.SubprocessProtocol):
    def __init__(self) -> None:
        self.words = ""
        self.ended = asyncio.Event()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.words = (self.words + data.decode(errors="replace"))[:500]

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()
