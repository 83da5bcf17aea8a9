"""Programs that the benchmark starts, what CPU time and memory they took, and their end.

CPU and memory are read from /proc for the program's own process: its threads count, its children do not.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from bench.connection import Failed

ROOT = Path(__file__).resolve().parent.parent
TICKS = os.sysconf("SC_CLK_TCK")
START_DEADLINE = 60.0
STOP_DEADLINE = 15.0


class Program:
    """A running program whose output goes to a file."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self.log = log

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def cpu(self) -> float:
        """Give the seconds of CPU it took so far, user and system, without its children."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory(self) -> float:
        """Give its resident memory in megabytes."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(kilobytes) / 1024

    def said(self, lines: int = 15) -> str:
        """Give the end of its output."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def check(self) -> None:
        """Raise where it has ended.

        Raises:
            Failed: with its status and the end of its output.
        """
        if self.process.returncode is not None:
            raise Failed(f"ended with status {self.process.returncode}:\n{self.said()}")


@contextlib.asynccontextmanager
async def running(
    argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> AsyncIterator[Program]:
    """Run a program until the end of the block, then ask it to end, and kill it when it does not."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=env, cwd=cwd
        )
    try:
        yield Program(process, log)
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_DEADLINE)
        except TimeoutError:
            process.kill()
            await process.wait()


@contextlib.asynccontextmanager
async def http_upstream(place: Path, tools: int = 1) -> AsyncIterator[str]:
    """Run the HTTP upstream and give its URL."""
    argv = [sys.executable, "-m", "bench.upstream_http", "--tools", str(tools)]
    async with running(argv, place / f"upstream-{tools}.log", cwd=ROOT) as program:
        yield await said_url(program)
        program.check()


@contextlib.asynccontextmanager
async def floor(place: Path, url: str) -> AsyncIterator[tuple[Program, str]]:
    """Run the floor in front of a URL and give it with its own."""
    async with running([sys.executable, "-m", "bench.floor", url], place / "floor.log", cwd=ROOT) as program:
        yield program, await said_url(program)
        program.check()


async def said_url(program: Program) -> str:
    """Wait until a program has said `URL …`.

    Raises:
        Failed: it ended before, or took too long.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(START_DEADLINE):
            while True:
                for line in program.log.read_text(errors="replace").splitlines():
                    if line.startswith("URL "):
                        return line.removeprefix("URL ").strip()
                program.check()
                await asyncio.sleep(0.02)
    raise Failed(f"did not listen within {START_DEADLINE:g} s:\n{program.said()}")
