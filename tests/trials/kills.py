"""Kills: containers, processes, a remote server and the gateway itself are killed under steady load.

Clients of both eras call servers of both eras all the while. At the end every call is accounted for in the
journal, no answer was another call's, and nothing is left over.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.conftest import unused_port
from tests.integration.faults.contained import contained, containers
from tests.integration.gateway.gateway import Gateway, marked, server
from tests.integration.real.images import docker
from tests.servers.launch import listening
from tests.trials.parts import report
from tests.trials.parts.books import Books, balance
from tests.trials.parts.callers import Caller, tally
from tests.trials.parts.watch import Held, held, left, settle

SERVERS = ("boxed", "keeps", "both", "local", "far")
CLIENTS = 8
BETWEEN = (1.5, 4.0)
"""Seconds between kills."""


def declared(url: str) -> dict[str, object]:
    """Declare the servers: containers with and without memory, processes of both eras, one by URL."""
    shared = {"stateless": True, "sharing": "shared"}
    return {
        "boxed": contained("legacy_stdio", timeouts={"call": 5}, **shared),
        "keeps": contained("legacy_stdio", timeouts={"call": 5}),
        "both": server("dual_era", **shared),
        "local": server("legacy_stdio"),
        "far": {"url": url, **shared},
    }


async def one_call(caller: Caller, dice: random.Random) -> None:
    """Make one call of the mix: mostly short, some slow, some long."""
    name = dice.choice(SERVERS)
    kind = dice.random()
    if kind < 0.1:
        await caller.call(name, "slow", {"seconds": dice.uniform(0.1, 1.0), "steps": 1}, "slept")
    else:
        await caller.echo(name, padding=dice.choice((0, 0, 0, 10_000, 200_000)) if kind < 0.3 else 0)


class Killer:
    """Breaks something now and then."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.done: Counter[str] = Counter()
        self.restarts: list[float] = []
        """Seconds that a gateway took to answer again."""
        self.stops: list[float] = []
        """Seconds that a gateway took to stop in order, under load."""
        self.dice = random.Random(11)
        self.remote = asyncio.Event()
        """Set to have the remote server restarted."""

    async def run(self, until: float) -> None:
        """Go on until a moment of the loop's clock."""
        ways = [self.container, self.container, self.pause, self.process, self.far, self.crash, self.stop]
        while asyncio.get_running_loop().time() < until:
            await asyncio.sleep(self.dice.uniform(*BETWEEN))
            way = self.dice.choice(ways)
            await way()
            report.say(f"{time.strftime('%H:%M:%S')} {way.__name__}")

    async def container(self) -> None:
        await self._docker("kill", "container killed")

    async def pause(self) -> None:
        await self._docker("pause", "container paused")

    async def _docker(self, word: str, what: str) -> None:
        found = await asyncio.to_thread(containers, self.gateway)
        if found:
            with contextlib.suppress(RuntimeError):  # it may be gone, or not run yet
                await asyncio.to_thread(docker, word, self.dice.choice(found))
                self.done[what] += 1

    async def process(self) -> None:
        found = sorted(self.gateway.pids())
        if found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.dice.choice(found), signal.SIGKILL)
                self.done["process killed"] += 1

    async def far(self) -> None:
        self.remote.set()
        self.done["remote server restarted"] += 1

    async def crash(self) -> None:
        await asyncio.to_thread(self.gateway.kill)
        self.done["gateway killed (SIGKILL)"] += 1
        await self._again()

    async def stop(self) -> None:
        began = time.monotonic()
        status = await asyncio.to_thread(self.gateway.stop)
        self.stops.append(time.monotonic() - began)
        if status != 0:
            raise AssertionError(f"the gateway ended with status {status}: {self.gateway.said()[-2000:]}")
        self.done["gateway stopped (SIGTERM)"] += 1
        await self._again()

    async def _again(self) -> None:
        began = time.monotonic()
        await asyncio.to_thread(self.gateway.start)
        self.restarts.append(time.monotonic() - began)


async def keep_remote(port: int, again: asyncio.Event, up: asyncio.Event) -> None:
    """Run the remote server, and restart it whenever it is asked for."""
    while True:
        async with listening("legacy_http", "--port", str(port)):
            up.set()
            await again.wait()
            again.clear()


async def trial(minutes: float) -> tuple[str, list[str]]:
    """Run it; give the report and what is wrong."""
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryDirectory(prefix="tg-kills-") as directory:
        place, port = Path(directory), unused_port()
        gateway = Gateway(place, marked({"servers": declared(f"http://127.0.0.1:{port}/mcp")}, place))
        killer, up = Killer(gateway), asyncio.Event()
        remote = asyncio.create_task(keep_remote(port, killer.remote, up))
        await up.wait()
        try:
            await asyncio.to_thread(gateway.start)
            await asyncio.to_thread(gateway.until_servers, **dict.fromkeys(SERVERS, "ready"))
            callers = [Caller(gateway, f"c{n}", modern=n % 2 == 0) for n in range(CLIENTS)]
            until = loop.time() + minutes * 60
            async with asyncio.TaskGroup() as group:
                group.create_task(killer.run(until - 10))
                for caller in callers:
                    group.create_task(caller.run(until, one_call))
            await settle(gateway, SERVERS)
            at_end = await asyncio.to_thread(held, gateway)
            status = await asyncio.to_thread(gateway.stop)
            faults = [] if status == 0 else [f"the gateway ended with status {status}"]
            books = balance(callers, gateway.records())
            remains = await asyncio.to_thread(left, gateway, docker=True)
            faults += books.faults + [f"{count} {what} left" for what, count in remains.items() if count]
            faults += [
                line
                for line in gateway.said().splitlines()
                if "Traceback" in line or "supervisor.failed" in line
            ]
            verified = await asyncio.to_thread(gateway.command, "audit", "verify")
            if verified.returncode != 0:
                faults.append(f"the journal does not verify: {verified.stdout[-500:]}")
            return written(minutes, killer, callers, books, at_end), faults
        finally:
            remote.cancel()
            await asyncio.gather(remote, return_exceptions=True)
            gateway.kill()
            await asyncio.to_thread(gateway.command, "clean")


def written(minutes: float, killer: Killer, callers: list[Caller], books: Books, at_end: Held) -> str:
    """Write the report."""
    return f"""# Trial: kills

{__doc__}
{minutes:g} minutes, {CLIENTS} clients (half of each era), servers: two kinds of containers, two processes, one
by URL. {report.machine()}. Run again with `scripts/trial kills --minutes {minutes:g}`.

{report.counts("what was broken", dict(killer.done.most_common()))}
{report.counts("what came of a call", tally(callers))}
{report.counts("outcome in the journal", dict(books.outcomes.most_common()))}
- Calls made: {books.calls}; intents in the journal: {books.intents}; broken off before anything was recorded:
  {books.never_arrived}.
- Every intent has exactly one outcome; every call is in the journal, and everything in the journal is a call; no
  answer was another call's; the journal verifies.
- A gateway that was started again answered after {report.spread(killer.restarts)}; one that was stopped under load had ended
  after {report.spread(killer.stops)}.
- At the end the last gateway held {at_end.rss:.0f} MB, {at_end.descriptors} descriptors and {at_end.threads} threads; after its
  stop no container, process, remembered workload or socket of it was left.

Codes: `-31001` not available, nothing was called; `-31002` failed during the call; `-31004` timed out; `-31005` memory
lost, said once; `-31009` the gateway was stopping; `broken off`: it ended under the call; `no gateway`:
none listened while it was started again.
"""


if __name__ == "__main__":
    chosen = report.options(__doc__, minutes=4)
    report.end(*asyncio.run(trial(chosen.minutes)))
