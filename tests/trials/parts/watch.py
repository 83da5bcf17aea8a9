"""What a process holds: memory, descriptors, threads; and what a gateway leaves on its host."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from tests.integration.faults.contained import containers
from tests.integration.gateway.gateway import Gateway
from tests.integration.real.images import docker

_SETTLED = 90.0
"""Seconds within which all is to run again after the last fault."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a gateway's process holds at one moment."""

    rss: float
    """Megabytes."""
    descriptors: int
    threads: int
    tasks: int
    """Of its event loop."""
    children: int
    """Processes directly below it, running or not."""
    zombies: int
    """Those of them that ended and were not reaped."""
    remembered: int
    """Workloads that are kept for the next gateway."""


@dataclass(frozen=True, slots=True)
class There:
    """What there is of a gateway on its engine and its host at one moment."""

    containers: int
    networks: int
    volumes: int
    groups: int
    """Cgroups of processes."""
    files: int
    """In its state directory, the journal aside."""


def held(gateway: Gateway) -> Held:
    """Look at a gateway's process."""
    assert gateway.process is not None
    place, below = Path(f"/proc/{gateway.process.pid}"), children(gateway.process.pid)
    pages = int((place / "statm").read_text().split()[1])
    return Held(
        rss=pages * os.sysconf("SC_PAGE_SIZE") / 1e6,
        descriptors=len(list((place / "fd").iterdir())),
        threads=len(list((place / "task").iterdir())),
        tasks=int(metric(gateway, "tidegate_tasks")),
        children=len(below),
        zombies=sum(zombie(pid) for pid in below),
        remembered=remembered(gateway),
    )


def there(gateway: Gateway) -> There:
    """Look at what the engine and the host have of a gateway, which may have ended."""
    instance = (gateway.state / "instance").read_text().strip()
    label = f"label=dev.tidegate.instance={instance}"
    return There(
        containers=len(containers(gateway)),
        networks=len(docker("network", "ls", "--quiet", "--filter", label).split()),
        volumes=len(docker("volume", "ls", "--quiet", "--filter", label).split()),
        groups=sum(f"tidegate-{instance}" in place for place, _, _ in os.walk("/sys/fs/cgroup")),
        files=sum(len(files) for place, _, files in os.walk(gateway.state) if "/journal" not in place),
    )


def metric(gateway: Gateway, name: str) -> float:
    """Give the value of a metric without labels."""
    with urlopen(f"{gateway.base}/metrics", timeout=10) as page:
        text = page.read().decode()
    found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    assert found is not None, name
    return float(found[1])


def cpu(pid: int) -> float:
    """Give the seconds of CPU that a process took."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def zombie(pid: int) -> bool:
    """Tell whether a process has ended and was not reaped."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return False


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
