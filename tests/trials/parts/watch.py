"""What a process holds: memory, descriptors, threads; and what a gateway leaves on its host."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.integration.faults.contained import containers
from tests.integration.gateway.gateway import Gateway

_SETTLED = 90.0
"""Seconds within which all is to run again after the last fault."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a gateway's process holds at one moment."""

    rss: float
    """Megabytes."""
    descriptors: int
    threads: int
    children: int
    """Processes below it, running or not."""
    remembered: int
    """Workloads that are kept for the next gateway."""


def held(gateway: Gateway) -> Held:
    """Look at a gateway's process."""
    assert gateway.process is not None
    place = Path(f"/proc/{gateway.process.pid}")
    pages = int((place / "statm").read_text().split()[1])
    threads = len(list((place / "task").iterdir()))
    return Held(
        pages * os.sysconf("SC_PAGE_SIZE") / 1e6, len(list((place / "fd").iterdir())), threads,
        len(children(gateway.process.pid)), remembered(gateway),
    )  # fmt: skip


def children(pid: int) -> list[int]:
    """Give the processes directly below a process, those that ended and were not reaped among them."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(each) for each in (task / "children").read_text().split()]
    return found


def remembered(gateway: Gateway) -> int:
    """Count the workloads that the state store keeps."""
    store = sqlite3.connect(f"file:{gateway.state / 'state.sqlite'}?mode=ro", uri=True, timeout=5)
    try:
        query = "SELECT count(*) FROM entry WHERE key LIKE 'workload/%'"
        return int(store.execute(query).fetchone()[0])
    finally:
        store.close()


def left(gateway: Gateway, *, docker: bool) -> dict[str, int]:
    """Count what is left of a gateway that has stopped."""
    return {
        "containers": len(containers(gateway)) if docker else 0,
        "processes": len(gateway.pids()),
        "remembered workloads": remembered(gateway),
        "control sockets": int((gateway.state / "control.sock").exists()),
    }


async def settle(gateway: Gateway, servers: Sequence[str]) -> None:
    """Wait until every server is ready again, as it must come to be."""
    deadline = time.monotonic() + _SETTLED
    while True:
        try:
            await asyncio.to_thread(gateway.until_servers, **dict.fromkeys(servers, "ready"))
            return
        except AssertionError:
            if time.monotonic() > deadline:
                raise
