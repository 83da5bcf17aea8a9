"""Leaks: workloads are started and stopped by the thousand, and nothing of them stays.

Every call and every session has a workload of its own, which ends with it: sandboxed processes, containers, containers
with a list of destinations (two sidecars each), containers with a companion (and a network), containers
with a volume. What the gateway holds, and what the engine and the host have of it, is looked at after a warm-up and
three times more, each time when nothing is under way.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

from tests.integration.docker.data import DATABASE
from tests.integration.faults.contained import SERVERS as SCRIPTS
from tests.integration.faults.contained import contained, image
from tests.integration.gateway.gateway import Gateway, marked
from tests.trials.parts import report
from tests.trials.parts.books import balance
from tests.trials.parts.callers import Caller, tally
from tests.trials.parts.watch import Held, There, held, left, there

SHARES = {"process": 8, "session": 6, "box": 6, "kept": 3, "outlet": 3, "beside": 3}
"""The servers, and how often each is called."""
KINDS = {
    "process": "a sandboxed process for each call",
    "session": "a sandboxed process for each session",
    "box": "a container for each call",
    "kept": "a container with a volume, for each call",
    "outlet": "a container with a list of destinations: two sidecars, for each call",
    "beside": "a container with a companion and a network, for each call",
}
READY = 2
"""Workloads of each server that are kept ready for calls; those of sessions are made when they come."""
AT_REST = There(containers=READY * (1 + 1 + 3 + 2), networks=1 + READY, volumes=1, groups=-1, files=-1)
"""What there is to be when nothing is under way: exactly this (outlets share a network). -1: as after the warm-up."""
CLIENTS = 3
LOOKS = 6
"""A second apart, of which the least counts."""
MORE = {"rss": 24.0, "descriptors": 4, "threads": 2, "tasks": 2, "children": 0, "zombies": 0, "remembered": 0}
"""How much more than after the warm-up the gateway may hold at the end."""


def declared() -> dict[str, Any]:
    """Declare the servers."""
    local = {
        "command": [sys.executable, "-u", "/servers/legacy_stdio.py"],
        "mounts": [{"source": str(SCRIPTS), "target": "/servers"}],
        "env": {"PYTHONDONTWRITEBYTECODE": "1"},
    }
    own: dict[str, Any] = {"sharing": "call", "replicas": {"min": READY, "max": READY}}
    database = {
        "image": image(), "entrypoint": ["python3"], "args": ["-u", "-c", DATABASE], "env": {"WORD": "leaks"}, "port": 5000,
    }  # fmt: skip
    return {
        "process": {**local, **own},
        "session": {**local, "sharing": "session"},
        "box": contained("legacy_stdio", **own),
        "kept": contained("legacy_stdio", volumes={"notes": {"target": "/notes", "size": "16MiB"}}, **own),
        "outlet": contained("legacy_stdio", network={"egress": ["192.0.2.7:443"]}, **own),
        "beside": contained("legacy_stdio", companions={"db": database}, **own),
    }


async def one_call(caller: Caller, dice: random.Random) -> None:
    """Call once, on a workload of its own, and use what it has; a session is ended after its call."""
    (name,) = dice.choices(list(SHARES), list(SHARES.values()))
    if name == "session" and caller.modern:
        name = "process"
    if name == "outlet":  # refused, told to the gateway and recorded
        await caller.call(name, "connect", {"address": "192.0.2.8:443"}, None)
    elif name == "beside":
        await caller.call(name, "connect", {"address": "db:5000"}, "connected")
    elif name == "kept":
        await caller.call(name, "write", {"path": "/notes/last", "text": caller.name}, "written")
    else:
        await caller.echo(name)
    if name == "session" and caller.wire.session is not None:
        headers, _ = caller.wire.request("ping", {}, 1)
        await caller.http.delete(caller.wire.url, headers=headers)
        caller.wire.session = None


async def quiet(gateway: Gateway) -> tuple[Held, There]:
    """Wait until only what always runs does, and look at what is held and what is there."""
    deadline = time.monotonic() + 90
    while True:
        seen = await asyncio.to_thread(there, gateway)
        servers = (await asyncio.to_thread(gateway.status))["servers"]
        states = [each["state"] for one in servers for each in one["workloads"]]  # of a session there is none
        idle = states == ["ready"] * READY * (len(servers) - 1)
        if idle and (seen.containers, seen.networks) == (AT_REST.containers, AT_REST.networks):
            return await least(gateway), await asyncio.to_thread(there, gateway)
        if time.monotonic() > deadline:
            raise AssertionError(f"it does not come to rest: {seen}, {states}")
        await asyncio.sleep(0.2)


async def least(gateway: Gateway) -> Held:
    """Look for some seconds: what comes and goes (a probe, a look at volumes) is no leak, what is always there may be."""
    looks: list[Held] = []
    for _ in range(LOOKS):
        await asyncio.sleep(1.0)
        looks.append(await asyncio.to_thread(held, gateway))
    return Held(*map(min, zip(*map(astuple, looks), strict=True)))


async def load(gateway: Gateway, name: str, seconds: float) -> list[Caller]:
    """Call for so long."""
    until = asyncio.get_running_loop().time() + seconds
    callers = [Caller(gateway, f"{name}{n}", modern=n == 0, pace=0.0) for n in range(CLIENTS)]
    async with asyncio.TaskGroup() as group:
        for caller in callers:
            group.create_task(caller.run(until, one_call))
    return callers


def grown(before: tuple[Held, There], after: tuple[Held, There]) -> list[str]:
    """Say what there is too much of."""
    faults = [
        f"{what} grew from {getattr(before[0], what):.0f} to {getattr(after[0], what):.0f}"
        for what, more in MORE.items()
        if getattr(after[0], what) > getattr(before[0], what) + more
    ]
    for each in fields(There):
        expected, found = getattr(AT_REST, each.name), getattr(after[1], each.name)
        if expected == -1:
            expected = getattr(before[1], each.name)
        if found != expected:
            faults.append(f"{found} {each.name} where {expected} are to be")
    return faults


async def trial(minutes: float) -> tuple[str, list[str]]:
    """Run it; give the report and what is wrong."""
    with tempfile.TemporaryDirectory(prefix="tg-leaks-") as directory:
        place = Path(directory)
        servers = await asyncio.to_thread(declared)
        settings = {"runtimes": {"docker": {"bootstrap": True}}, "servers": servers}
        gateway = Gateway(place, marked(settings, place))
        try:
            await asyncio.to_thread(gateway.start)
            await until_ready(gateway, len(servers))
            callers = await load(gateway, "warm", min(30.0, minutes * 15))
            looks = [("after the warm-up", len_of(callers), *await quiet(gateway))]
            for part in range(3):
                callers += await load(gateway, f"part{part}-", minutes * 20)
                looks.append((f"after part {part + 1} of 3", len_of(callers), *await quiet(gateway)))
                report.say(str(looks[-1]))
            faults = grown(looks[0][2:], looks[-1][2:])
            status = await asyncio.to_thread(gateway.stop)
            faults += [] if status == 0 else [f"the gateway ended with status {status}"]
            faults += await asyncio.to_thread(afterwards, gateway)
            faults += balance(callers, gateway.records()).faults
            faults += [
                f"{made.server}: {made.came} {made.note}"
                for caller in callers for made in caller.made
                if made.came not in (("ok", "tool_error") if made.server == "outlet" else ("ok",))
            ]  # fmt: skip
            started, more = cycles(gateway)
            return written(minutes, callers, looks, started), faults + more
        finally:
            gateway.kill()
            await asyncio.to_thread(gateway.command, "clean")
            await asyncio.to_thread(gateway.command, "volume", "rm", "kept/notes")


async def until_ready(gateway: Gateway, count: int) -> None:
    """Wait until every server is known; the sidecar's image may have to be made."""
    deadline = time.monotonic() + 300
    while True:
        states = [each["state"] for each in (await asyncio.to_thread(gateway.status))["servers"]]
        if states.count("ready") == count:
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"not all are ready: {gateway.said()[-2000:]}")
        await asyncio.sleep(0.5)


def afterwards(gateway: Gateway) -> list[str]:
    """Say what is left after the gateway's stop; a volume is to stay until it is removed, and then go."""
    faults = [f"{count} {what} left" for what, count in left(gateway, docker=True).items() if count]
    found = there(gateway)
    if (found.networks, found.volumes, found.groups) != (0, 1, 0):
        faults.append(f"left after the stop: {found}")
    gateway.command("volume", "rm", "kept/notes")
    if there(gateway).volumes:
        faults.append("the volume is there after it was removed")
    faults += [
        line for line in gateway.said().splitlines() if "Traceback" in line or "supervisor.failed" in line
    ]
    return faults


def cycles(gateway: Gateway) -> tuple[Counter[str], list[str]]:
    """Count by server, from the journal, what was started; say where as many were not stopped."""
    events: dict[str, Counter[str]] = {"started": Counter(), "stopped": Counter()}
    for each in gateway.records():
        if each["kind"] == "workload" and each["data"]["event"] in events:
            events[each["data"]["event"]][each["data"]["server"]] += 1
    started, stopped = events["started"], events["stopped"]
    faults = [
        f"{started[name]} workloads of {name} were started and {stopped[name]} stopped"
        for name in SHARES
        if started[name] != stopped[name]
    ]
    return started, faults


def len_of(callers: Sequence[Caller]) -> int:
    """Count the calls."""
    return sum(len(caller.made) for caller in callers)


def written(
    minutes: float,
    callers: Sequence[Caller],
    looks: Sequence[tuple[str, int, Held, There]],
    started: Counter[str],
) -> str:
    """Write the report."""
    heads = (
        "calls so far", "resident MB", "descriptors", "threads", "tasks", "child processes", "of them zombies",
        "remembered workloads", "containers", "networks", "volumes", "cgroups", "files in the state directory",
    )  # fmt: skip
    seen = [
        [calls, f"{held.rss:.1f}", *astuple(held)[1:], *astuple(there)] for _, calls, held, there in looks
    ]
    rows = [(head, *(each[at] for each in seen)) for at, head in enumerate(heads)]
    kinds = [(KINDS[name], started[name]) for name in SHARES]
    return f"""# Trial: leaks

{__doc__}
{minutes:g} minutes of calls, {CLIENTS} clients. {report.machine()}. Run again with `scripts/trial leaks --minutes {minutes:g}`.

{report.table(("workload", "started and stopped"), [*kinds, ("all", sum(started.values()))])}
{report.table(("", *(when for when, *_ in looks)), rows)}
{report.counts("what came of a call", tally(callers))}
- Calls of the one with a list try to reach what is not on it: they fail (`tool_error`), or are cut off when they are through.
- Of each server but the one of sessions {READY} workloads are kept ready, so the containers and networks at rest are theirs;
  the volume is one that all containers of a server share.
- As many workloads as were started were stopped, by the journal, of each server.
- After the stop no container, network, process, cgroup, remembered workload or socket of the gateway was left; the volume was,
  as it is to be, and went with `tidegate volume rm`.
- What the gateway keeps of the past is bounded (the last events, what befell each server, beginnings of records), and fills
  up in the meantime: memory may grow by {MORE["rss"]:g} MB, everything else not at all, or by as much as what comes and goes.
- Files in the state directory are counted without the journal, which keeps what it is for.
"""


if __name__ == "__main__":
    chosen = report.options(__doc__ or "", minutes=13)
    report.end(*asyncio.run(trial(chosen.minutes)))
