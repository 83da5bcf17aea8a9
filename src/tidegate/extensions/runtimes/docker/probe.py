"""Probe: whether a companion can be used yet, asked in its own container, and what it said last.

A command of the image, or `grep` over the kernel's table of sockets where a port is to be listened on: nothing from
outside reaches the companion's network.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, cast

from tidegate.domain.errors import RuntimeFailure
from tidegate.domain.server import Companion
from tidegate.extensions.runtimes.docker import facts
from tidegate.extensions.runtimes.docker.engine import Engine, EngineRefused

Json = Mapping[str, Any]

_FIRST, _LONGEST = 0.05, 1.0
"""Seconds between two probes, at first and at last."""
_LOOK = 0.02
_SAID = 64 * 1024
_LINES = 10
_LINE = 300
_NO_PROGRAM = (126, 127)
"""What a probe ends with whose program is not in the image (POSIX shell, and the engine)."""


async def until_ready(
    engine: Engine, name: str, companion: Companion, ends: float, go_on: Callable[[], None]
) -> None:
    """Wait until a companion can be used; `ends` is the loop's time at which that is given up.

    `go_on` is asked between two probes, and raises where nobody waits any more.

    Raises:
        RuntimeFailure: it ended, or cannot be used in time; the message goes on from its name.
    """
    argv = probe_of(companion)
    clock, pause, status = asyncio.get_running_loop().time, _FIRST, None
    while True:
        go_on()
        await _see_it_run(engine, name)
        if argv is None:
            return
        try:
            status = await _run(engine, name, argv, ends)
        except EngineRefused as error:
            await _see_it_run(engine, name)
            raise RuntimeFailure(f"cannot be probed: {error}") from error
        if status == 0:
            return
        if status in _NO_PROGRAM:
            raise RuntimeFailure(f"cannot be probed: its image has no {argv[0]!r} that could be run")
        if clock() + pause > ends:
            last = "did not end" if status is None else f"ended with status {status}"
            raise RuntimeFailure(f"could not be used in time: its probe {last}")
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, _LONGEST)


async def last_words(engine: Engine, name: str) -> list[str]:
    """Give the last lines that a container wrote; none where they cannot be had."""
    said = bytearray()

    async def take(piece: bytes) -> None:
        said.extend(piece)
        del said[_SAID:]

    try:
        asked = {"stdout": "1", "stderr": "1", "tail": str(_LINES)}
        seconds = engine.deadlines.call
        await engine.read(
            f"reading the log of {name}", f"containers/{name}/logs", take, params=asked, seconds=seconds
        )
    except RuntimeFailure:
        return []
    return [line[:_LINE] for line in unframed(bytes(said)).decode(errors="replace").splitlines()[-_LINES:]]


def probe_of(companion: Companion) -> tuple[str, ...] | None:
    """Give the command that tells whether a companion can be used."""
    if companion.probe is not None or companion.port is None:
        return companion.probe
    # `/proc/net/tcp` (proc(5)): number, local address and port in hex, remote, state (0A listens).
    line = f"^ *[0-9]*: [0-9A-F]*:{companion.port:04X} [0-9A-F]*:0000 0A "
    return ("grep", "-q", "-s", line, "/proc/net/tcp", "/proc/net/tcp6")


def unframed(stream: bytes) -> bytes:
    """Take the frames' headers out of what the engine sends of a container without a terminal."""
    out, at = bytearray(), 0
    while at + 8 <= len(stream):
        size = int.from_bytes(stream[at + 4 : at + 8], "big")
        out += stream[at + 8 : at + 8 + size]
        at += 8 + size
    return bytes(out)


async def _see_it_run(engine: Engine, name: str) -> None:
    seen = await engine.inspect(name)
    if not cast("Json", seen.get("State") or {}).get("Running"):
        raise RuntimeFailure(f"ended before it could be used: {facts.ending_of(seen)}")


async def _run(engine: Engine, name: str, argv: tuple[str, ...], ends: float) -> int | None:
    """Run a command in a container and give its status, or None where it has not ended in time."""
    what = f"probing {name}"
    made = await engine.ask(what, f"containers/{name}/exec", "POST", body={"Cmd": list(argv)})
    path = f"exec/{cast('Json', made)['Id']}"
    await engine.ask(what, f"{path}/start", "POST", body={"Detach": True})
    clock, pause = asyncio.get_running_loop().time, _LOOK
    while True:
        seen = cast("Json", await engine.ask(what, f"{path}/json"))
        if not seen.get("Running") and seen.get("ExitCode") is not None:
            return int(seen["ExitCode"])
        if clock() > ends:
            return None
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, _LONGEST)
