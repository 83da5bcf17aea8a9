"""Leaks: workloads are started and stopped over and over, and nothing of them stays.

Two servers give every call a workload of its own (`sharing: call`), one as a process, one as a container; a third
gives every session one, and every session is ended. What the gateway holds is looked at after a warm-up and at
the end, each time when nothing is under way.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import httpx2

from tests.integration.faults.contained import contained, containers
from tests.integration.gateway.gateway import Gateway, marked, server
from tests.trials.parts import report
from tests.trials.parts.books import balance
from tests.trials.parts.callers import Caller, tally
from tests.trials.parts.watch import Held, held, left

SERVERS = ("process", "box", "session")
CLIENTS = 3
MORE = {"rss": 12.0, "descriptors": 4, "threads": 2, "children": 2, "remembered": 2}
"""How much more than after the warm-up the gateway may hold at the end."""


def declared() -> dict[str, object]:
    """Declare the servers."""
    return {
        "process": server("legacy_stdio", sharing="call"),
        "box": contained("legacy_stdio", sharing="call"),
        "session": server("legacy_stdio", sharing="session"),
    }


async def one_call(caller: Caller, dice: random.Random) -> None:
    """Call once, on a workload of its own; a session is ended after its call."""
    name = dice.choices(SERVERS, (5, 2, 4))[0]
    if name == "session" and caller.modern:
        name = "process"
    await caller.echo(name)
    if name == "session" and caller.wire.session is not None:
        headers, _ = caller.wire.request("ping", {}, 1)
        async with httpx2.AsyncClient() as http:
            await http.delete(caller.wire.url, headers=headers)
        caller.wire.session = None


async def quiet(gateway: Gateway) -> Held:
    """Wait until only what always runs does, and look at what is held."""
    deadline = time.monotonic() + 60
    while True:
        servers = gateway.status()["servers"]
        settled = all(
            len(each["workloads"]) == 1 and each["workloads"][0]["state"] == "ready"
            for each in servers
            if each["name"] != "session"
        )
        if settled and len(await asyncio.to_thread(containers, gateway)) == 1:
            await asyncio.sleep(1.0)  # what ends in the background has ended by then, or is a leak
            return await asyncio.to_thread(held, gateway)
        if time.monotonic() > deadline:
            raise AssertionError(f"it does not come to rest: {servers}")
        await asyncio.sleep(0.2)


async def load(gateway: Gateway, name: str, seconds: float) -> list[Caller]:
    """Call for so long."""
    until = asyncio.get_running_loop().time() + seconds
    callers = [Caller(gateway, f"{name}{n}", modern=n == 0, pace=0.0) for n in range(CLIENTS)]
    async with asyncio.TaskGroup() as group:
        for caller in callers:
            group.create_task(caller.run(until, one_call))
    return callers


def grown(before: Held, after: Held) -> list[str]:
    """Say what there is too much of."""
    return [
        f"{what} grew from {getattr(before, what):.0f} to {getattr(after, what):.0f}"
        for what, more in MORE.items()
        if getattr(after, what) > getattr(before, what) + more
    ]


async def trial(minutes: float) -> tuple[str, list[str]]:
    """Run it; give the report and what is wrong."""
    with tempfile.TemporaryDirectory(prefix="tg-leaks-") as directory:
        place = Path(directory)
        gateway = Gateway(place, marked({"servers": declared()}, place))
        try:
            await asyncio.to_thread(gateway.start)
            await asyncio.to_thread(gateway.until_servers, process="ready", box="ready")
            callers = await load(gateway, "warm", min(20.0, minutes * 15))
            looks = [("after the warm-up", len_of(callers), await quiet(gateway))]
            for part in range(3):
                callers += await load(gateway, f"part{part}-", minutes * 20)
                looks.append((f"after part {part + 1} of 3", len_of(callers), await quiet(gateway)))
                report.say(str(looks[-1]))
            faults = grown(looks[0][2], looks[-1][2])
            status = await asyncio.to_thread(gateway.stop)
            faults += [] if status == 0 else [f"the gateway ended with status {status}"]
            records = gateway.records()
            faults += balance(callers, records).faults
            faults += [
                f"{made.server}: {made.came} {made.note}"
                for caller in callers for made in caller.made if made.came != "ok"
            ]  # fmt: skip
            remains = await asyncio.to_thread(left, gateway, docker=True)
            faults += [f"{count} {what} left" for what, count in remains.items() if count]
            events = [each["data"]["event"] for each in records if each["kind"] == "workload"]
            started, stopped = events.count("started"), events.count("stopped")
            if started != stopped:
                faults.append(f"{started} workloads were started and {stopped} stopped")
            return written(minutes, callers, looks, started), faults
        finally:
            gateway.kill()
            await asyncio.to_thread(gateway.command, "clean")


def len_of(callers: Sequence[Caller]) -> int:
    """Count the calls."""
    return sum(len(caller.made) for caller in callers)


def written(
    minutes: float, callers: Sequence[Caller], looks: Sequence[tuple[str, int, Held]], started: int
) -> str:
    """Write the report."""
    head = (
        "",
        "calls so far",
        "resident MB",
        "descriptors",
        "threads",
        "child processes",
        "remembered workloads",
    )
    rows = [
        (when, calls, f"{at.rss:.1f}", at.descriptors, at.threads, at.children, at.remembered)
        for when, calls, at in looks
    ]
    return f"""# Trial: leaks

{__doc__}
{minutes:g} minutes, {CLIENTS} clients. {report.machine()}. Run again with `scripts/trial leaks --minutes {minutes:g}`.

{report.table(head, rows)}
{report.counts("what came of a call", tally(callers))}
- {started} workloads were started, and as many stopped, by the journal.
- After the stop no container, process, remembered workload or socket of the gateway was left.
"""


if __name__ == "__main__":
    chosen = report.options(__doc__, minutes=3)
    report.end(*asyncio.run(trial(chosen.minutes)))
