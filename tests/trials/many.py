"""Many: sixty published servers in containers at once, for twenty principals; then three hundred declared that start when
they are called.

Beside it what people do without a gateway: a process of the same server for each user and server.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import httpx2

from tests.integration.faults.contained import containers
from tests.integration.gateway.gateway import Gateway, Wire
from tests.integration.real.images import docker
from tests.trials.parts import report

TIME = {"package": "pypi:mcp-server-time==2026.10.19", "args": ["--local-timezone", "UTC"]}
SHARED = {"stateless": True, "sharing": "shared"}
UP = 600.0
"""Seconds until all are ready at most, images built among them."""
REST = 20.0
"""Seconds over which the gateway at rest is watched."""
SAMPLE = 60
"""Processes that are measured side by side; that each of twenty times sixty is as large is assumed, and said."""
Json = dict[str, Any]


@dataclass(slots=True)
class Found:
    """What was measured. Times in seconds, sizes in megabytes."""

    servers: int
    first: float
    every: float
    rest_cpu: float
    """Of one processor, in per cent."""
    rss: float
    stall: float
    """Longest, in milliseconds, from start to end."""
    listed: float
    """Milliseconds for the whole list of tools, p50."""
    size: int
    call: float
    """Milliseconds of a call, p50, one at a time over all servers."""
    memory: float
    """Of the servers' containers together."""


async def until_ready(gateway: Gateway, count: int) -> tuple[float, float]:
    """Give the seconds until the first server was ready, and until all were."""
    began, first = time.monotonic(), 0.0
    while True:
        states = [each["state"] for each in gateway.status()["servers"]]
        ready = states.count("ready")
        if ready and not first:
            first = time.monotonic() - began
        if ready == count:
            return first, time.monotonic() - began
        if time.monotonic() - began > UP:
            raise AssertionError(f"{ready} of {count} servers are ready: {gateway.said()[-2000:]}")
        await asyncio.sleep(0.05)


def cpu(pid: int) -> float:
    """Give the seconds of CPU that a process took."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> float:
    """Give what a process holds in memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]


def proportional(pids: Sequence[int]) -> float:
    """Give what processes hold, what they share counted once (PSS)."""
    kilobytes = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            kilobytes += int(re.search(r"^Pss:\s+(\d+)", rollup, re.MULTILINE)[1])  # type: ignore[index]
    return kilobytes / 1024


def inside(gateway: Gateway) -> list[int]:
    """Give the processes in the gateway's containers."""
    found: list[int] = []
    for name in containers(gateway):
        with contextlib.suppress(RuntimeError):
            said = docker("top", name, "-eo", "pid").splitlines()[1:]
            found += [int(each) for each in said]
    return found


async def asked(gateway: Gateway, method: str, params: Json) -> tuple[float, int]:
    """Ask the endpoint; give the milliseconds it took, and the bytes of the answer."""
    wire = Wire(gateway.url(), modern=True)
    headers, body = wire.request(method, params, 1)
    async with httpx2.AsyncClient(timeout=60) as http:
        await http.post(gateway.url(), json=body, headers=headers)  # the connection, and what is first
        began = time.monotonic()
        got = await http.post(gateway.url(), json=body, headers=headers)
        took = time.monotonic() - began
    message = got.json()
    if "error" in message:
        raise AssertionError(message["error"])
    return took * 1e3, len(got.content)


def stall(gateway: Gateway) -> float:
    """Give the longest stall of the gateway's loop so far, in milliseconds."""
    with httpx2.Client() as http:
        text = http.get(f"{gateway.base}/metrics").text
    return (
        float(re.search(r"^tidegate_loop_stall_seconds_max(?:\{[^}]*\})? (\S+)$", text, re.MULTILINE)[1])
        * 1e3
    )  # type: ignore[index]


async def sixty(place: Path, count: int) -> Found:
    """Run them all at once."""
    servers = {f"s{n:02}": {**TIME, **SHARED} for n in range(count)}
    gateway = Gateway(place, declared(servers))
    try:
        await asyncio.to_thread(gateway.start)
        assert gateway.process is not None
        report.say("preparing the image, and starting")
        first, every = await until_ready(gateway, count)
        report.say(f"{count} ready after {every:.1f} s")
        await asyncio.sleep(3)
        before = cpu(gateway.process.pid)
        await asyncio.sleep(REST)
        rest = (cpu(gateway.process.pid) - before) / REST * 100
        listed = [await asked(gateway, "tools/list", {}) for _ in range(20)]
        called = [
            (
                await asked(
                    gateway,
                    "tools/call",
                    {"name": f"{name}__get_current_time", "arguments": {"timezone": "UTC"}},
                )
            )[0]
            for name in servers
        ]
        memory = await asyncio.to_thread(lambda: proportional(inside(gateway)))
        return Found(
            count, first, every, rest, resident(gateway.process.pid), stall(gateway),
            median(took for took, _ in listed), listed[0][1], median(called), memory,
        )  # fmt: skip
    finally:
        await asyncio.to_thread(gateway.stop)


async def to_zero(place: Path, count: int) -> tuple[Found, list[float]]:
    """Declare very many that start when they are called; give also what first calls took, in seconds."""
    more = {"replicas": {"min": 0, "max": 1}, "timeouts": {"idle": 5}}
    servers = {f"z{n:03}": {**TIME, **SHARED, **more} for n in range(count)}
    gateway = Gateway(place, declared(servers))
    try:
        await asyncio.to_thread(gateway.start)
        assert gateway.process is not None
        began = time.monotonic()
        while (tools := len(await listed(gateway))) < count:  # what one build offers, all of them do
            if time.monotonic() - began > UP:
                raise AssertionError(f"{tools} tools of {count} servers are listed")
            await asyncio.sleep(0.5)
        known = time.monotonic() - began
        while len(containers(gateway)) > 0:
            if time.monotonic() - began > UP:
                raise AssertionError("idle servers are not ended")
            await asyncio.sleep(0.5)
        before = cpu(gateway.process.pid)
        await asyncio.sleep(REST)
        rest = (cpu(gateway.process.pid) - before) / REST * 100
        took: list[float] = []
        for number in range(0, count, max(1, count // 20)):
            began = time.monotonic()
            arguments = {"name": f"z{number:03}__get_current_time", "arguments": {"timezone": "UTC"}}
            await asked(gateway, "tools/call", arguments)
            took.append(time.monotonic() - began)
        lists = [await asked(gateway, "tools/list", {}) for _ in range(20)]
        found = Found(
            count, 0.0, known, rest, resident(gateway.process.pid), stall(gateway),
            median(each for each, _ in lists), lists[0][1], median(took) * 1e3, 0.0,
        )  # fmt: skip
        return found, took
    finally:
        await asyncio.to_thread(gateway.stop)


async def listed(gateway: Gateway) -> set[str]:
    """Give the servers of which the endpoint lists a tool."""
    wire = Wire(gateway.url(), modern=True)
    found: set[str] = set()
    cursor: Json = {}
    async with httpx2.AsyncClient(timeout=60) as http:
        while True:
            headers, body = wire.request("tools/list", cursor, 1)
            result = (await http.post(gateway.url(), json=body, headers=headers)).json()["result"]
            found |= {each["name"].partition("__")[0] for each in result["tools"]}
            if "nextCursor" not in result:
                return found
            cursor = {"cursor": result["nextCursor"]}


def declared(servers: Json) -> Json:
    """Give the settings."""
    limits = {"workloads": 400, "starts": 4}
    return {
        "runtime": "docker",
        "runtimes": {"docker": {"bootstrap": True}},
        "limits": limits,
        "servers": servers,
    }


def each_its_own(place: Path, count: int) -> float:
    """Run so many processes of the server, as clients do, and give what one of them holds in memory (PSS)."""
    venv = place / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True, timeout=120)
    pip = [str(venv / "bin" / "pip"), "install", "--quiet", "mcp-server-time==2026.10.19"]
    subprocess.run(pip, check=True, timeout=300)
    program = [str(venv / "bin" / "mcp-server-time"), "--local-timezone", "UTC"]
    running: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(count):
            running.append(
                subprocess.Popen(
                    program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
                )
            )
            ask = b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}\n'
            assert running[-1].stdin is not None
            assert running[-1].stdout is not None
            running[-1].stdin.write(ask)
            running[-1].stdin.flush()
            running[-1].stdout.readline()
        return proportional([each.pid for each in running]) / count
    finally:
        for each in running:
            each.kill()
            each.wait()
            for stream in (each.stdin, each.stdout):
                if stream is not None:
                    stream.close()


async def trial(count: int, many: int, principals: int) -> tuple[str, list[str]]:
    """Run it; give the report and what is wrong."""
    with tempfile.TemporaryDirectory(prefix="tg-many-") as directory:
        place = Path(directory)
        for name in ("sixty", "zero"):
            (place / name).mkdir()
        found = await sixty(place / "sixty", count)
        zero, took = await to_zero(place / "zero", many)
        alone = await asyncio.to_thread(each_its_own, place, SAMPLE)
    wrong = [
        f"{each:.0f} ms: the loop stood still for too long"
        for each in (found.stall, zero.stall)
        if each > 100
    ]
    return written(found, zero, took, alone, principals), wrong


def written(found: Found, zero: Found, took: list[float], alone: float, principals: int) -> str:
    """Write the report."""
    with_us, without = found.memory + found.rss, alone * found.servers * principals
    rows = [
        ("first server ready, s", f"{found.first:.1f}", "-"),
        ("all ready (all listed), s", f"{found.every:.1f}", f"{zero.every:.1f}"),
        ("CPU of the gateway at rest, % of one", f"{found.rest_cpu:.2f}", f"{zero.rest_cpu:.2f}"),
        ("memory of the gateway, MB", f"{found.rss:.0f}", f"{zero.rss:.0f}"),
        ("longest stall of its loop, ms", f"{found.stall:.1f}", f"{zero.stall:.1f}"),
        (
            "`tools/list`, p50 ms",
            f"{found.listed:.1f} ({found.size / 1000:.0f} kB)",
            f"{zero.listed:.1f} ({zero.size / 1000:.0f} kB)",
        ),
        ("a call, p50 ms", f"{found.call:.1f}", f"{zero.call:.0f} (from nothing)"),
    ]
    return f"""# Trial: many

{__doc__}
{
        report.machine()
    }. The server is `mcp-server-time`, in hardened containers, `sharing: shared`. Run again with `scripts/trial many`.

{report.table(("", f"{found.servers} at once", f"{zero.servers} declared, none running"), rows)}
The first time is from the start of the gateway, with the image's build in it where there is none.
A first call from nothing took {min(took):.2f} to {max(took):.2f} s (median {
        median(took):.2f} s): container, Python and the server's own start.

## Against one process for each user and server

{
        report.table(
            ("", "memory, MB"),
            [
                (f"{found.servers} containers and the gateway, whoever asks", f"{with_us:,.0f}"),
                (
                    f"{found.servers} servers × {principals} principals, a process each ({alone:.1f} MB, measured of {SAMPLE} at once)",
                    f"{without:,.0f}",
                ),
                ("less", f"{100 * (1 - with_us / without):.0f} %"),
            ],
        )
    }
Memory is PSS: what processes share is counted once. The processes' is measured of {
        SAMPLE
    } running at once, and multiplied.
"""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--servers", type=int, default=60)
    parser.add_argument("--declared", type=int, default=300)
    parser.add_argument("--principals", type=int, default=20)
    parser.add_argument(
        "--minutes", type=float, default=0, help="taken, and of no use: it goes on until it is done"
    )
    chosen = parser.parse_args()
    report.end(*asyncio.run(trial(chosen.servers, chosen.declared, chosen.principals)))
