"""Many: sixty published servers in containers at once, for twenty principals; then three hundred declared that start when
they are called.

The sixty are started twice: the first time their image may have to be made, and what they offer is unknown; the second
time both are there, and all but the first line is measured then. Each of the three hundred is started once to have its
tools read; then the gateway is started anew, and has to list them all without starting one. Beside it what people do
without a gateway: a process of the same server for each user and server.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import httpx2

from tests.integration.faults.contained import containers
from tests.integration.gateway.gateway import Gateway, Wire
from tests.trials.parts import report
from tests.trials.parts.memory import each_its_own, inside, proportional, resident
from tests.trials.parts.watch import cpu, metric

PACKAGE = "mcp-server-time==2026.10.19"
TIME = {"package": f"pypi:{PACKAGE}", "args": ["--local-timezone", "UTC"]}
SHARED = {"stateless": True, "sharing": "shared"}
UP, LISTED, ENDED = 600.0, 1200.0, 300.0
"""Seconds at most until all are ready, images made among them; until all are listed; until all have ended."""
REST = 20.0
"""Seconds over which the gateway at rest is watched."""
SAMPLE = 60
"""Processes that are measured side by side; that each of twenty times sixty is as large is assumed, and said."""
FIRST_CALLS = 20
STALL, AGAIN = 100.0, 10.0
"""Longest that the loop may stand still, in milliseconds, and that a known list may take after a restart, in seconds."""
Json = dict[str, Any]


@dataclass(slots=True)
class Found:
    """What was measured of one gateway. Times in seconds, sizes in megabytes."""

    servers: int
    since: int = 0
    """Where its log begins in what the gateways of one place said."""
    first: float = 0.0
    """Until the first server was ready, from the start of the gateway."""
    every: float = 0.0
    """Until all were ready, or listed."""
    started: int = 0
    """Workloads until then."""
    rest: float = 0.0
    """CPU, of one processor, in per cent."""
    rss: float = 0.0
    stall: float = 0.0
    """Longest, in milliseconds, from start to end."""
    listed: float = 0.0
    """Milliseconds for the list of tools, p50."""
    size: int = 0
    """Bytes of it."""
    calls: list[float] = field(default_factory=list[float])
    memory: float = 0.0
    """Of the servers' containers together."""


def declared(servers: Json) -> Json:
    """Give the settings."""
    return {
        "runtime": "docker",
        "runtimes": {"docker": {"bootstrap": True}},
        "limits": {"workloads": 400, "starts": 4},
        "servers": servers,
    }


async def asked(gateway: Gateway, method: str, params: Json) -> tuple[float, int]:
    """Ask the endpoint over a connection of its own; give the seconds it took, and the bytes of the answer."""
    wire = Wire(gateway.url(), modern=True)
    headers, body = wire.request(method, params, 1)
    async with httpx2.AsyncClient(timeout=60) as http:
        await http.get(f"{gateway.base}/healthz")  # the connection is there
        began = time.monotonic()
        got = await http.post(gateway.url(), json=body, headers=headers)
        took = time.monotonic() - began
    message = got.json()
    if "error" in message:
        raise AssertionError(message["error"])
    return took, len(got.content)


async def called(gateway: Gateway, name: str) -> float:
    """Call a server's tool; give the seconds it took."""
    params = {"name": f"{name}__get_current_time", "arguments": {"timezone": "UTC"}}
    took, _ = await asked(gateway, "tools/call", params)
    return took


async def listed(gateway: Gateway) -> int:
    """Count the servers of which the endpoint lists a tool."""
    wire = Wire(gateway.url(), modern=True)
    found: set[str] = set()
    cursor: Json = {}
    async with httpx2.AsyncClient(timeout=60) as http:
        while True:
            headers, body = wire.request("tools/list", cursor, 1)
            result = (await http.post(gateway.url(), json=body, headers=headers)).json()["result"]
            found |= {each["name"].partition("__")[0] for each in result["tools"]}
            if "nextCursor" not in result:
                return len(found)
            cursor = {"cursor": result["nextCursor"]}


async def until(gateway: Gateway, condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait for a condition, asked in a thread."""
    deadline = time.monotonic() + seconds
    while not await asyncio.to_thread(condition):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain for {what}: {gateway.said()[-2000:]}")
        await asyncio.sleep(0.2)


async def up(gateway: Gateway, found: Found) -> None:
    """Start the gateway; measure until the first server was ready, and until all were."""
    found.since, began = len(gateway.said()) if gateway.process else 0, time.monotonic()
    await asyncio.to_thread(gateway.start)
    while True:
        states = [each["state"] for each in (await asyncio.to_thread(gateway.status))["servers"]]
        ready, now = states.count("ready"), time.monotonic() - began
        if ready and not found.first:
            found.first = now
        if ready == found.servers:
            found.every, found.started = now, started(gateway, found)
            return
        if now > UP:
            raise AssertionError(f"{ready} of {found.servers} servers are ready: {gateway.said()[-2000:]}")
        await asyncio.sleep(0.05)


async def known(gateway: Gateway, found: Found, between: float) -> None:
    """Start the gateway; measure until tools of all servers are listed, asking so often."""
    found.since, began = len(gateway.said()) if gateway.process else 0, time.monotonic()
    told = began
    await asyncio.to_thread(gateway.start)
    while (servers := await listed(gateway)) < found.servers:
        if time.monotonic() - began > LISTED:
            raise AssertionError(f"tools of {servers} of {found.servers} servers are listed")
        if time.monotonic() - told > 30:
            told = time.monotonic()
            report.say(f"{servers} of {found.servers} are listed after {told - began:.0f} s")
        await asyncio.sleep(between)
    found.every, found.started = time.monotonic() - began, started(gateway, found)


def started(gateway: Gateway, found: Found) -> int:
    """Count the workloads that the gateway that runs now has started, by its log."""
    return gateway.said()[found.since :].count('"workload.started"')


async def at_rest(gateway: Gateway, found: Found) -> None:
    """Measure what the gateway takes when nobody calls, and what a list costs."""
    assert gateway.process is not None
    await asyncio.sleep(3)
    before = cpu(gateway.process.pid)
    await asyncio.sleep(REST)
    found.rest = (cpu(gateway.process.pid) - before) / REST * 100
    lists = [await asked(gateway, "tools/list", {}) for _ in range(20)]
    found.listed, found.size = median(took for took, _ in lists) * 1e3, lists[0][1]


def at_end(gateway: Gateway, found: Found) -> None:
    """Measure what it came to."""
    assert gateway.process is not None
    found.rss = resident(gateway.process.pid)
    found.stall = metric(gateway, "tidegate_loop_stall_seconds_max") * 1e3


async def end(gateway: Gateway) -> float:
    """End the gateway and all that it runs; give the seconds that took."""
    if gateway.process is None:
        return 0.0
    began = time.monotonic()
    gateway.process.send_signal(signal.SIGTERM)
    await asyncio.to_thread(gateway.process.wait, ENDED)
    return time.monotonic() - began


async def sixty(place: Path, count: int) -> tuple[Found, Found, float]:
    """Run them all at once, twice; give what was measured of each, and the seconds of the last end."""
    servers = {f"s{n:02}": {**TIME, **SHARED} for n in range(count)}
    gateway = Gateway(place, declared(servers))
    made, found = Found(count), Found(count)
    try:
        report.say("making the image where it is not there, and starting")
        await up(gateway, made)
        report.say(f"{count} ready after {made.every:.1f} s")
        await end(gateway)
        await up(gateway, found)
        report.say(f"and again after {found.every:.1f} s")
        await at_rest(gateway, found)
        found.calls = [await called(gateway, name) for name in servers]
        found.calls = [await called(gateway, name) for name in servers]  # the second of each
        found.memory = await asyncio.to_thread(lambda: proportional(inside(gateway)))
        at_end(gateway, found)
    finally:
        took = await end(gateway)
    return made, found, took


async def to_zero(place: Path, count: int) -> tuple[Found, Found]:
    """Declare very many that start when they are called; give what was measured before and after a restart."""
    more = {"replicas": {"min": 0, "max": 1}, "timeouts": {"idle": 5}}
    servers = {f"z{n:03}": {**TIME, **SHARED, **more} for n in range(count)}
    gateway = Gateway(place, declared(servers))
    first, again = Found(count), Found(count)
    try:
        await known(gateway, first, 2.0)
        report.say(f"{count} are listed after {first.every:.0f} s")
        await until(gateway, lambda: not containers(gateway), ENDED, "the idle ones to end")
        await at_rest(gateway, first)
        at_end(gateway, first)
        await end(gateway)
        await known(gateway, again, 0.02)
        report.say(f"and again after {again.every:.2f} s, {again.started} started")
        await at_rest(gateway, again)
        again.started = started(gateway, again)
        chosen = list(servers)[:: max(1, count // FIRST_CALLS)]
        again.calls = [await called(gateway, name) for name in chosen]
        at_end(gateway, again)
    finally:
        await end(gateway)
    return first, again


def judge(found: Sequence[Found], again: Found) -> list[str]:
    """Say what is not as it has to be."""
    wrong = [
        f"{each.stall:.0f} ms: the loop stood still for too long" for each in found if each.stall > STALL
    ]
    if again.started:
        wrong.append(f"{again.started} servers were started to have their tools listed that were known")
    if again.every > AGAIN:
        wrong.append(f"the list was whole {again.every:.1f} s after the restart")
    return wrong


async def trial(count: int, many: int, principals: int) -> tuple[str, list[str]]:
    """Run it; give the report and what is wrong."""
    with tempfile.TemporaryDirectory(prefix="tg-many-") as directory:
        place = Path(directory)
        for name in ("sixty", "zero"):
            (place / name).mkdir()
        made, found, ending = await sixty(place / "sixty", count)
        first, again = await to_zero(place / "zero", many)
        program = ("mcp-server-time", *TIME["args"])
        alone = await asyncio.to_thread(each_its_own, place, PACKAGE, program, SAMPLE)
    text = written(made, found, ending, first, again, alone, principals)
    return text, judge((found, first, again), again)


def rows(made: Found, found: Found, first: Found, again: Found) -> list[Sequence[object]]:
    """Give the table."""
    three = (found, first, again)
    p50 = [f"{median(each.calls) * 1e3:.1f}" if each.calls else "-" for each in three]
    return [
        ("the first time, all ready, s", f"{made.every:.1f}", "-", "-"),
        ("first server ready, s", f"{found.first:.2f}", "-", "-"),
        ("all ready, s", f"{found.every:.1f}", "-", "-"),
        ("all listed, s", "-", f"{first.every:.1f}", f"{again.every:.2f}"),
        ("workloads started for it", *(each.started for each in three)),
        ("CPU of the gateway at rest, % of one", *(f"{each.rest:.2f}" for each in three)),
        ("memory of the gateway, MB", *(f"{each.rss:.0f}" for each in three)),
        ("longest stall of its loop, ms", *(f"{each.stall:.1f}" for each in three)),
        ("`tools/list`, p50 ms", *(f"{each.listed:.1f} ({each.size / 1000:.0f} kB)" for each in three)),
        ("a call, p50 ms", p50[0], p50[1], f"{p50[2]} (from nothing)"),
    ]


def written(
    made: Found, found: Found, ending: float, first: Found, again: Found, alone: float, principals: int
) -> str:
    """Write the report."""
    with_us, without = found.memory + found.rss, alone * found.servers * principals
    head = (
        "",
        f"{found.servers} at once",
        f"{first.servers} declared, the first time",
        "and after a restart",
    )
    compared = [
        (f"{found.servers} containers and the gateway, whoever asks", f"{with_us:,.0f}"),
        (
            f"{found.servers} servers × {principals} principals, a process each ({alone:.1f} MB, measured of {SAMPLE} at once)",
            f"{without:,.0f}",
        ),
        ("less", f"{100 * (1 - with_us / without):.0f} %"),
    ]
    return f"""# Trial: many

{__doc__}
{report.machine()}. The server is `mcp-server-time`, in hardened containers, `sharing: shared`; at most four start at a time. Run
again with `scripts/trial many`.

{report.table(head, rows(made, found, first, again))}
- Times are from the start of the gateway's process. A call of the sixty is the second to its server, one after the other.
- To end the {found.servers} in order, and the gateway, took {ending:.1f} s.
- A first call from nothing took {min(again.calls):.2f} to {max(again.calls):.2f} s (median {median(again.calls):.2f} s, of {len(again.calls)}):
  container, Python and the server's own start.
- After the restart no server was started to have its tools listed: what they offer is kept by the digest of what declares them.

## Against one process for each user and server

{report.table(("", "memory, MB"), compared)}
Memory is PSS: what processes share is counted once. The processes' is measured of {SAMPLE} running at once, and multiplied.
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
