"""Bandwidth: what a container may send and receive a second, held by the kernel's traffic control.

It takes root on the engine's own machine: a container may not hold itself to anything, and has no right to. Both
ends of each of its interfaces get a token bucket: the inner one bounds what it sends, the outer what it receives.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from tidegate.domain.errors import RuntimeFailure
from tidegate.extensions.runtimes.docker.engine import Engine
from tidegate.extensions.runtimes.docker.usage import elsewhere

_TOOLS = ("tc", "nsenter")
_LEAST_BURST = 64 * 1024
"""Bytes that may go at once: a packet that the kernel has put together may be as large."""
_BURSTS = 50
"""So many buckets are emptied in a second; the kernel fills them at its own clock's pace (tc-tbf(8))."""
_LATENCY = "200ms"
"""For which a packet may wait before it is dropped."""
_SECONDS = 10.0


async def see_it_can_be_held(engine: Engine) -> None:
    """See that this process can hold a container to a bandwidth.

    Raises:
        RuntimeFailure: it cannot; says why.
    """
    if os.geteuid() != 0:
        raise RuntimeFailure("limits.bandwidth cannot be held here: it takes root on the engine's machine")
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        raise RuntimeFailure(f"limits.bandwidth cannot be held here: {' and '.join(missing)} not found")
    ours = await asyncio.to_thread(Path("/proc/meminfo").read_text, "ascii")
    if not engine.door.url.startswith("unix://") or elsewhere(await engine.info(), ours):
        raise RuntimeFailure("limits.bandwidth cannot be held here: the engine is on another machine")


async def hold(engine: Engine, container: str, rate: int) -> None:
    """Hold a running container to `rate` bytes a second, in each direction.

    Raises:
        RuntimeFailure: it is not held.
    """
    pid = await _pid(engine, container)
    with _namespace(pid) as (inner, links):
        if await _pid(engine, container) != pid:
            raise RuntimeFailure(f"{container} ended before its bandwidth was held")
        for name, link in links.items():
            outer = await asyncio.to_thread(_named, link)
            if outer is None:
                raise RuntimeFailure(
                    f"limits.bandwidth cannot be held: interface {name} has no other end here"
                )
            within = ("nsenter", f"--net=/proc/self/fd/{inner}")
            await _run((*within, *shape(name, rate)), inner)
            await _run(shape(outer, rate))


def shape(interface: str, rate: int) -> tuple[str, ...]:
    """Give the command that bounds what leaves by an interface."""
    burst = max(_LEAST_BURST, rate // _BURSTS)
    bucket = ("tbf", "rate", f"{rate * 8}bit", "burst", f"{burst}b", "latency", _LATENCY)
    return ("tc", "qdisc", "replace", "dev", interface, "root", *bucket)


async def _pid(engine: Engine, container: str) -> int:
    state = cast("Mapping[str, Any]", (await engine.inspect(container)).get("State") or {})
    pid = int(state.get("Pid") or 0) if state.get("Running") else 0
    if pid <= 1:
        raise RuntimeFailure(f"{container} ended before its bandwidth was held")
    return pid


@contextmanager
def _namespace(pid: int) -> Generator[tuple[int, dict[str, int]]]:
    """Open a process's network, and give its interfaces with the numbers of their other ends."""
    try:
        inner = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise RuntimeFailure(f"limits.bandwidth cannot be held: {error.strerror}") from error
    try:
        # A number that was given to another process meanwhile must not shape this machine's own network.
        if os.fstat(inner).st_ino == os.stat("/proc/self/ns/net").st_ino:
            raise RuntimeFailure("limits.bandwidth cannot be held: it is on this machine's own network")
        yield inner, _links(pid)
    finally:
        os.close(inner)


def _links(pid: int) -> dict[str, int]:
    place = Path("/proc", str(pid), "root", "sys", "class", "net")
    try:
        # The engine's are named so. Another's far end has a number of a network that is not this machine's.
        names = [
            name
            for name in os.listdir(place)
            if name.startswith("eth") and (place / name / "iflink").exists()
        ]
        return {name: int((place / name / "iflink").read_text()) for name in names}
    except (OSError, ValueError) as error:
        raise RuntimeFailure(f"limits.bandwidth cannot be held: {error}") from error


def _named(number: int) -> str | None:
    for found in Path("/sys/class/net").iterdir():
        try:
            if int((found / "ifindex").read_text()) == number:
                return found.name
        except (OSError, ValueError):
            continue
    return None


async def _run(argv: tuple[str, ...], *kept: int) -> None:
    process = await asyncio.create_subprocess_exec(
        *argv,
        pass_fds=kept,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_SECONDS):
            _, said = await process.communicate()
    except TimeoutError as error:
        process.kill()
        await process.wait()
        raise RuntimeFailure("limits.bandwidth cannot be held: tc did not end") from error
    if process.returncode != 0:
        why = " ".join(said.decode(errors="replace").split())[:200]
        raise RuntimeFailure(f"limits.bandwidth cannot be held: {why}")
