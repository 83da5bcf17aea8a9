"""Broken: what a server that is broken costs the others.

Two good servers, one in a container and one as a sandboxed process, are called at a steady rate: alone, and beside a
third in a container that hangs, floods, eats memory until the kernel kills it, forks without end, or ends. The third is
called all the while too, and is kept from being put aside: neither ejected nor quarantined, so that it goes on
being what it is. Each case has a gateway of its own.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.integration.faults.contained import SERVERS as SCRIPTS
from tests.integration.faults.contained import contained
from tests.integration.gateway.gateway import Gateway, marked
from tests.trials.parts import report
from tests.trials.parts.books import balance
from tests.trials.parts.callers import Caller, tally
from tests.trials.parts.watch import cpu, left, metric

GOOD = ("near", "boxed")
CALLERS, PACE = 4, 0.02
"""Of the good servers, and the seconds that each waits between calls."""
AT_BAD = 2
FACTOR, FLOOR, SHARE = 5.0, 0.05, 0.5
"""A good server's p99 is at most so many times what it is alone, or so many seconds; its calls a second at least that share."""
SETTLE = 5.0
"""Seconds of the same load before what is measured: the broken one has begun by then."""
NEVER = 1000
"""Failures and restarts after which it would be put aside."""


@dataclass(frozen=True, slots=True)
class Case:
    """One broken server."""

    name: str
    script: str = ""
    arguments: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict[str, Any])


AFTER = ("--after", "3")
"""Handshake and list are answered; it begins with the first call."""
CASES = (
    Case("nobody"),
    Case("one that hangs and reads no more", "broken", ("deaf", *AFTER)),
    Case("one that reads, and never answers", "broken", ("silent", *AFTER)),
    Case("one that floods messages that nobody waits for", "broken", ("floods-lines", *AFTER)),
    Case("one that floods bytes without a newline", "broken", ("floods-bytes", *AFTER)),
    Case("one that floods its log (standard error)", "broken", ("floods-stderr", *AFTER)),
    Case(
        "one that eats memory until the kernel kills it", "broken", ("eats-memory", *AFTER),
        {"limits": {"memory": "96MiB"}},
    ),
    Case("one that forks without end", "forks", ("forks", *AFTER)),
    Case("one that ends with each call", "broken", ("exits", *AFTER)),
    Case("one that ends at once", "broken", ("exits",)),
    Case("nobody, again"),
)  # fmt: skip


@dataclass(slots=True)
class Found:
    """What one case came to. Times in seconds, memory in megabytes."""

    case: str
    good: list[float]
    """Of each call of a good server."""
    failed: int
    rate: float
    cpu: float
    """Of one processor, in per cent."""
    peak: float
    """Of the gateway's memory."""
    stall: float
    bad: dict[str, int]
    restarts: int

    def at(self, share: float) -> float:
        """Give a percentile of the good calls."""
        ordered = sorted(self.good)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def declared(case: Case) -> dict[str, Any]:
    """Declare the good servers and the broken one."""
    shared = {"stateless": True, "sharing": "shared"}
    servers: dict[str, Any] = {
        "near": {
            "command": [sys.executable, "-u", "/servers/legacy_stdio.py"],
            "mounts": [{"source": str(SCRIPTS), "target": "/servers"}],
            "env": {"PYTHONDONTWRITEBYTECODE": "1"},
            **shared,
        },
        "boxed": contained("legacy_stdio", **shared),
    }
    if case.script:
        servers["bad"] = contained(
            case.script, *case.arguments, **shared, **case.settings,
            timeouts={"call": 3, "start": 10}, health={"failures": NEVER, "restarts": NEVER},
        )  # fmt: skip
    return servers


async def good_call(caller: Caller, dice: random.Random) -> None:
    """Call a good server."""
    await caller.echo(dice.choice(GOOD))


async def bad_call(caller: Caller, dice: random.Random) -> None:
    """Call the broken one."""
    await caller.call("bad", "echo", {"text": "x"}, None)


@dataclass
class Peak:
    """Watches the gateway's memory."""

    gateway: Gateway
    most: float = 0.0

    async def run(self, until: float) -> None:
        """Look until a moment of the loop's clock."""
        assert self.gateway.process is not None
        place = Path(f"/proc/{self.gateway.process.pid}/statm")
        while asyncio.get_running_loop().time() < until:
            self.most = max(self.most, int(place.read_text().split()[1]) * 4096 / 1e6)
            await asyncio.sleep(0.1)


async def one(case: Case, seconds: float) -> tuple[Found, list[str]]:
    """Try one case; give also what is wrong whatever the numbers."""
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryDirectory(prefix="tg-broken-") as directory:
        place = Path(directory)
        servers = await asyncio.to_thread(declared, case)
        gateway = Gateway(place, marked({"servers": servers}, place))
        try:
            await asyncio.to_thread(gateway.start)
            await asyncio.to_thread(gateway.until_servers, **dict.fromkeys(GOOD, "ready"))
            assert gateway.process is not None
            good = [Caller(gateway, f"good{n}", modern=n % 2 == 0, pace=PACE) for n in range(CALLERS)]
            bad = [
                Caller(gateway, f"bad{n}", modern=True, pace=PACE)
                for n in range(AT_BAD if case.script else 0)
            ]
            peak, began = Peak(gateway), loop.time() + SETTLE
            until = began + seconds
            async with asyncio.TaskGroup() as group:
                group.create_task(peak.run(until))
                for caller in good:
                    group.create_task(caller.run(until, good_call))
                for caller in bad:
                    group.create_task(caller.run(until, bad_call))
                await asyncio.sleep(SETTLE)
                before = cpu(gateway.process.pid)
                await asyncio.sleep(seconds)
                used = cpu(gateway.process.pid) - before
            made = [each for caller in good for each in caller.made if each.began >= began]
            took = [each.ended - each.began for each in made if each.came == "ok"]
            found = Found(
                case.name, took, sum(each.came != "ok" for caller in good for each in caller.made),
                len(took) / seconds, used / seconds * 100, peak.most, metric(gateway, "tidegate_loop_stall_seconds_max"),
                tally(bad), gateway.server("bad")["restarts"] if case.script else 0,
            )  # fmt: skip
            status = await asyncio.to_thread(gateway.stop)
            faults = [] if status == 0 else [f"the gateway ended with status {status}"]
            faults += balance([*good, *bad], gateway.records()).faults
            remains = await asyncio.to_thread(left, gateway, docker=True)
            faults += [f"{count} {what} left" for what, count in remains.items() if count]
            faults += [
                each
                for each in gateway.said().splitlines()
                if "Traceback" in each or "supervisor.failed" in each
            ]
            return found, [f"beside {case.name}: {fault}" for fault in faults]
        finally:
            gateway.kill()
            await asyncio.to_thread(gateway.command, "clean")


def judge(found: Sequence[Found]) -> list[str]:
    """Say what a broken one cost the others too much."""
    alone = [each for each in found if not each.bad]
    slowest, rate = max(each.at(0.99) for each in alone), min(each.rate for each in alone)
    allowed = max(FACTOR * slowest, FLOOR)
    faults: list[str] = []
    for each in found:
        if each.failed:
            faults.append(f"beside {each.case}: {each.failed} calls of good servers failed")
        if each.at(0.99) > allowed:
            faults.append(
                f"beside {each.case}: p99 {each.at(0.99) * 1e3:.1f} ms, {slowest * 1e3:.1f} ms alone"
            )
        if each.rate < SHARE * rate:
            faults.append(f"beside {each.case}: {each.rate:.0f} calls a second, {rate:.0f} alone")
    return faults


async def trial(seconds: float, cases: Sequence[Case] = CASES) -> tuple[str, list[str]]:
    """Run it; give the report and what is wrong."""
    found: list[Found] = []
    faults: list[str] = []
    for case in cases:
        each, wrong = await one(case, seconds)
        report.say(f"{case.name}: {row(each)}")
        found.append(each)
        faults += wrong
    return written(seconds, found), faults + judge(found)


def row(found: Found) -> list[object]:
    """Give a line of the table."""
    return [
        found.case, len(found.good), found.failed, f"{found.at(0.5) * 1e3:.1f}", f"{found.at(0.99) * 1e3:.1f}",
        f"{max(found.good) * 1e3:.0f}", f"{found.rate:.0f}", f"{found.cpu:.1f}", f"{found.peak:.0f}",
        f"{found.stall * 1e3:.0f}",
    ]  # fmt: skip


def written(seconds: float, found: Sequence[Found]) -> str:
    """Write the report."""
    head = (
        "beside", "calls of the good", "failed", "p50 ms", "p99 ms", "longest ms", "calls/s", "gateway CPU, % of one",
        "gateway MB at most", "longest stall ms",
    )  # fmt: skip
    bad = [
        (each.case, ", ".join(f"{what}: {count}" for what, count in each.bad.items()), each.restarts)
        for each in found
        if each.bad
    ]
    return f"""# Trial: broken

{__doc__}
{CALLERS} clients (half of each era) of the good servers, each with {PACE * 1e3:.0f} ms between calls on average; {AT_BAD} of the broken one, whose
calls have 3 s. {seconds:g} s a case, after {SETTLE:g} s of the same. {report.machine()}: clients, gateway, engine and servers share
them. Run again with `scripts/trial broken`.

{report.table(head, [row(each) for each in found])}
It would have failed had one call of a good server failed, had their p99 been over {FACTOR:g} times what it is alone (and over
{FLOOR * 1e3:.0f} ms), or their calls a second under {SHARE:.0%} of what they are alone. The gateway's CPU is that of all calls together, those
of the broken server too.

What came of the broken one's own calls (`ok` or the [error's code](../errors.md)), and how often it was started again:

{report.table(("", "calls", "restarts"), bad)}
Every call of any of them is in the journal, with the outcome that its client saw. After each stop no container, process,
remembered workload or socket of the gateway was left.
"""


if __name__ == "__main__":
    chosen = report.options(__doc__ or "", minutes=len(CASES) * 20 / 60)
    report.end(*asyncio.run(trial(chosen.minutes * 60 / len(CASES))))
