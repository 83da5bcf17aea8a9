"""Scaling: load rises, falls and stops; replicas come, go, rest and come back, with no failed call.

One server in containers, `replicas: {min: 0, max: 4}`, at most two calls at once at one of them. Callers make calls
of a third of a second, one after the other; how many there are changes. Then nobody calls: the last replica is
paused, called, and stopped, called again from nothing, and at last a signal from outside and a known peak raise
the floor while nobody calls.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import httpx2

from tests.integration.faults.contained import contained, containers
from tests.integration.gateway.gateway import Gateway, Wire, marked
from tests.trials.parts import report
from tests.trials.parts.books import Books, balance
from tests.trials.parts.callers import Caller, tally
from tests.trials.parts.watch import left

Json = dict[str, Any]

SECONDS = 0.33
"""That each call takes."""
AT_ONE = 2
"""Calls meant for one replica, and most that it is given."""
UP, DOWN, PAUSE, IDLE = 2.0, 10.0, 4.0, 14.0
LOADS = ((1, 8.0), (8, 25.0), (4, 20.0), (1, 28.0))
"""Callers, and for how long."""
MOST, STORM, RUSH = 4, 3, 2
LOOK = 0.25
PATIENCE = 60.0
PEAK = 150.0
"""Seconds after the begin, or up to a minute later, at which the known peak begins."""
RETURN = 1.0
"""Seconds that a first call may take beyond the server's own start."""


def declared(peak: float) -> Json:
    """Declare the server; its known peak begins at `peak` (Unix seconds) and lasts two minutes."""
    begin, end = (time.strftime("%H:%M", time.gmtime(peak + more)) for more in (0, 120))
    return contained(
        "legacy_stdio", sharing="shared", stateless=True,
        replicas={"min": 0, "max": MOST}, queue={"in_flight": AT_ONE}, timeouts={"idle": IDLE},
        scaling={
            "in_flight": AT_ONE, "up_after": UP, "down_after": DOWN, "pause_after": PAUSE,
            "signals": {"storm": STORM},
            "schedules": [{"name": "rush", "from": begin, "to": end, "min": RUSH}],
        },
    )  # fmt: skip


@dataclass(slots=True)
class Look:
    """The server at one moment."""

    at: float
    """Seconds since the begin."""
    callers: int
    states: Counter[str]
    wanted: int
    in_flight: int
    waiting: int
    p95: float | None


@dataclass
class Trace:
    """Everything that was looked at."""

    gateway: Gateway
    began: float = field(default_factory=time.monotonic)
    callers: int = 0
    looks: list[Look] = field(default_factory=list[Look])
    events: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])

    def now(self) -> float:
        """Give the seconds since the begin."""
        return time.monotonic() - self.began

    def note(self, text: str) -> None:
        """Note what is done."""
        self.events.append((self.now(), text))
        report.say(f"{self.now():6.1f} {text}")

    async def run(self) -> None:
        """Look again and again."""
        while True:
            told = await asyncio.to_thread(self.gateway.server, "boxed")
            states = Counter(str(each["state"]) for each in told["workloads"])
            wanted = int(told["replicas"]["wanted"])
            now = Look(
                self.now(), self.callers, states, wanted, told["in_flight"], told["waiting"], told["p95"]
            )
            if not self.looks or _shown(now) != _shown(self.looks[-1]):
                report.say(f"{now.at:6.1f} {now.callers} callers, wanted {wanted}, {dict(states)}")
            self.looks.append(now)
            await asyncio.sleep(LOOK)

    async def until(self, condition: Callable[[Look], bool], what: str) -> float:
        """Wait for something to be seen; give how many seconds that took."""
        began = self.now()
        while True:
            if self.looks and self.looks[-1].at >= began and condition(self.looks[-1]):
                return self.looks[-1].at - began
            if self.now() - began > PATIENCE:
                raise AssertionError(f"waited in vain for {what}; last seen: {self.looks[-1:]}")
            await asyncio.sleep(0.02)


@dataclass
class Found:
    """What was measured, in seconds."""

    own_start: float = 0.0
    from_nothing: list[float] = field(default_factory=list[float])
    from_pause: list[float] = field(default_factory=list[float])
    reactions: list[tuple[str, float]] = field(default_factory=list[tuple[str, float]])


async def one_call(caller: Caller, dice: random.Random) -> None:
    """Make one call of the load."""
    await caller.call("boxed", "slow", {"seconds": SECONDS, "steps": 1}, "slept")


async def load(gateway: Gateway, trace: Trace, callers: list[Caller]) -> None:
    """Let the load rise and fall."""
    loop = asyncio.get_running_loop()
    for count, seconds in LOADS:
        trace.note(f"{count} callers for {seconds:g} s")
        trace.callers = count
        mine = [Caller(gateway, f"l{len(callers) + n}", modern=n % 2 == 0, pace=0.0) for n in range(count)]
        callers += mine
        until = loop.time() + seconds
        async with asyncio.TaskGroup() as group:
            for caller in mine:
                group.create_task(caller.run(until, one_call))
    trace.callers = 0


async def first_call(gateway: Gateway, callers: list[Caller]) -> float:
    """Make one call alone, and give how long it took."""
    caller = Caller(gateway, f"f{len(callers)}", modern=True)
    callers.append(caller)
    caller.wire, caller.numbers = Wire("", modern=True), itertools.count()
    async with httpx2.AsyncClient(timeout=60) as caller.http:
        await caller.echo("boxed")
    (made,) = caller.made
    return made.ended - made.began


async def own_start(gateway: Gateway) -> float:
    """Give how long the server itself takes from its start to its first answer, inside a running container."""
    hello = {
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
    }  # fmt: skip
    name = (await asyncio.to_thread(containers, gateway))[0]

    def taken(*command: str, given: str = "") -> float:
        began = time.monotonic()
        subprocess.run(
            ["docker", "exec", "-i", name, *command], input=given, text=True, check=True, capture_output=True, timeout=30
        )  # fmt: skip
        return time.monotonic() - began

    def measure() -> float:
        whole = [
            taken("python3", "-u", "/servers/legacy_stdio.py", given=json.dumps(hello) + "\n")
            for _ in range(3)
        ]
        nothing = [taken("true") for _ in range(3)]
        return max(0.0, median(whole) - median(nothing))

    return await asyncio.to_thread(measure)


async def course(gateway: Gateway, trace: Trace, callers: list[Caller], found: Found) -> None:
    """Go through it all."""
    await trace.until(lambda look: _ready(look) == 1, "the server to be known")
    found.own_start = await own_start(gateway)
    await load(gateway, trace, callers)
    trace.note("nobody calls")
    found.reactions.append(("from the last call to the pause", await trace.until(_paused, "the pause")))
    trace.note("a call to the paused one")
    found.from_pause.append(await first_call(gateway, callers))
    idle = trace.now()
    await trace.until(_nothing, "nothing to be left")
    while await asyncio.to_thread(containers, gateway):
        if trace.now() - idle > PATIENCE:
            raise AssertionError("a container was left of a server that nobody calls")
    found.reactions.append(("from the last call to no container", trace.now() - idle))
    trace.note("a call, from nothing")
    found.from_nothing.append(await first_call(gateway, callers))
    trace.note(f"signal storm: {STORM} replicas")
    await signal(gateway, on=True)
    ready = await trace.until(lambda look: _up(look) >= STORM, "the storm's replicas")
    found.reactions.append((f"from the signal to {STORM} ready", ready))
    await signal(gateway, on=False)
    trace.note("signal storm is off")
    fewer = await trace.until(lambda look: _up(look) < STORM, "the storm's replicas to go")
    found.reactions.append(("from its end to the first that goes", fewer))


async def signal(gateway: Gateway, *, on: bool) -> None:
    """Turn the signal on or off."""
    body = json.dumps({"on": on, "seconds": 60})
    await asyncio.to_thread(
        gateway.ask, "/v1/signals/storm", "POST", body, {"Content-Type": "application/json"}
    )


async def known_peak(trace: Trace, found: Found, peak: float) -> None:
    """See that the known peak finds its replicas, and not before it begins."""
    if time.time() >= peak:
        raise AssertionError("everything before took so long that the known peak has begun")
    await trace.until(lambda look: not look.wanted or time.time() >= peak, "the floor to be gone")
    while time.time() < peak:
        await asyncio.sleep(LOOK)
    trace.note("the known peak begins")
    ready = await trace.until(lambda look: _up(look) >= RUSH, "the peak's replicas")
    found.reactions.append((f"from the begin of the peak to {RUSH} ready", ready))


def reactions(trace: Trace, found: Found) -> None:
    """Read the times to react from the trace."""
    high = next(look for look in trace.looks if look.callers == LOADS[1][0])
    for count in range(2, MOST + 1):
        seen = next((look for look in trace.looks if look.at >= high.at and _ready(look) >= count), None)
        if seen is None:
            raise AssertionError(f"never {count} replicas under the highest load")
        found.reactions.append((f"from {LOADS[1][0]} callers to {count} ready replicas", seen.at - high.at))
    for callers, count in ((LOADS[2][0], 2), (LOADS[3][0], 1)):
        low = next(look for look in trace.looks if look.callers == callers and look.at > high.at)
        seen = next((look for look in trace.looks if look.at >= low.at and look.wanted <= count), None)
        if seen is None:
            raise AssertionError(f"never down to {count} replicas with {callers} callers")
        found.reactions.append((f"from so few as {callers} callers to {count} wanted", seen.at - low.at))


async def trial() -> tuple[str, list[str]]:
    """Run it; give the report and what is wrong."""
    peak = (time.time() + PEAK) // 60 * 60 + 60
    with tempfile.TemporaryDirectory(prefix="tg-scaling-") as directory:
        place = Path(directory)
        gateway = Gateway(place, marked({"servers": {"boxed": declared(peak)}}, place))
        callers: list[Caller] = []
        found = Found()
        await asyncio.to_thread(gateway.start)
        trace = Trace(gateway)
        watching = asyncio.create_task(trace.run())
        try:
            await course(gateway, trace, callers, found)
            trace.note("waiting for the known peak")
            await known_peak(trace, found, peak)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            status = await asyncio.to_thread(gateway.stop)
        reactions(trace, found)
        books = balance(callers, gateway.records())
        faults = _faults(gateway, found, books, callers)
        if status:
            faults.append(f"the gateway ended with status {status}")
        remains = await asyncio.to_thread(left, gateway, docker=True)
        faults += [f"{count} {what} left" for what, count in remains.items() if count]
        return written(trace, found, callers, books), faults


def _faults(gateway: Gateway, found: Found, books: Books, callers: list[Caller]) -> list[str]:
    faults = list(books.faults)
    came = tally(callers)
    faults += [f"{count} calls came to {what}" for what, count in came.items() if what != "ok"]
    late = [taken for taken in found.from_nothing if taken > found.own_start + RETURN]
    faults += [f"a call from nothing took {taken:.2f} s, own start {found.own_start:.2f} s" for taken in late]
    faults += [f"a call to a paused one took {taken:.2f} s" for taken in found.from_pause if taken > 0.5]
    faults += [
        line for line in gateway.said().splitlines() if "Traceback" in line or "supervisor.failed" in line
    ]
    return faults


def _ready(look: Look) -> int:
    return look.states["ready"]


def _up(look: Look) -> int:
    return look.states["ready"] + look.states["paused"]


def _paused(look: Look) -> bool:
    return look.states["paused"] > 0 and not look.states["ready"]


def _nothing(look: Look) -> bool:
    return not look.states


def _shown(look: Look) -> tuple[object, ...]:
    return look.callers, look.wanted, tuple(sorted(look.states.items()))


def rows(trace: Trace) -> list[list[object]]:
    """Give the trace: each change, and what was done."""
    found: list[tuple[float, list[object]]] = [
        (at, [f"{at:.1f}", "", f"*{what}*", "", "", "", ""]) for at, what in trace.events
    ]
    last: tuple[object, ...] = ()
    for look in trace.looks:
        if _shown(look) == last:
            continue
        last = _shown(look)
        states = ", ".join(f"{count} {state}" for state, count in sorted(look.states.items())) or "none"
        p95 = f"{look.p95:.2f} s" if look.p95 else ""
        found.append(
            (
                look.at,
                [f"{look.at:.1f}", look.callers, states, look.wanted, look.in_flight, look.waiting, p95],
            )
        )
    return [row for _, row in sorted(found, key=lambda each: each[0])]


def decisions(trace: Trace) -> list[list[object]]:
    """Give what the gateway decided, and why, as its log has it."""
    found: list[list[object]] = []
    for line in trace.gateway.said().splitlines():
        if '"server.scaled"' in line:
            told = json.loads(line)
            found.append([told["timestamp"][11:21], f"{told['before']} to {told['wanted']}", told["reason"]])
    return found


def written(trace: Trace, found: Found, callers: list[Caller], books: Books) -> str:
    """Write the report."""
    loads = ", ".join(f"{count} for {seconds:g} s" for count, seconds in LOADS)
    beyond = max(found.from_nothing) - found.own_start
    looked = report.table(
        ("seconds", "callers", "replicas", "wanted", "in flight", "waiting", "p95 of a minute"), rows(trace)
    )
    return f"""# Trial: scaling

{__doc__}
Load (callers at once): {loads}; each call takes {SECONDS:g} s. Thresholds: `in_flight: {AT_ONE}`, `up_after: {UP:g}`,
`down_after: {DOWN:g}`, `pause_after: {PAUSE:g}`, `timeouts.idle: {IDLE:g}`, `queue.in_flight: {AT_ONE}`; signal `storm`
{STORM}, known peak {RUSH} replicas. {report.machine()}. Run again with `scripts/trial scaling`.

## Time to react

{report.table(("what", "seconds"), [[what, f"{seconds:.1f}"] for what, seconds in found.reactions])}
- A first call from nothing took {", ".join(f"{each:.2f} s" for each in found.from_nothing)}; the server's own start takes
  {found.own_start:.2f} s (in a running container), so the way to it at most {beyond:.2f} s beyond it.
- A first call to the paused one took {", ".join(f"{each * 1000:.0f} ms" for each in found.from_pause)}.

## Calls

{report.counts("what came of a call", tally(callers))}
- Calls made: {books.calls}; intents in the journal: {books.intents}. Every intent has exactly one outcome, and the
  journal says of each call what its client saw.

## What was decided

{report.table(("time", "wanted", "why"), decisions(trace))}
## Trace

{looked}
After the gateway's stop no container, process, remembered workload or socket of it was left.
"""


if __name__ == "__main__":
    report.options(__doc__ or "", minutes=4)
    report.end(*asyncio.run(trial()))
