"""Fair: beside one greedy client the others' calls take hardly longer than when they are alone.

A modest client calls a tool now and then; its times are taken alone, and beside another principal's client that has
hundreds of requests at once, each asked anew as soon as it is answered: calls, lists, and what is refused all the time (an
unknown tool, a quota that is used up, no key at all). The p99 beside it has to stay within twice what it is alone.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench.connection import Connection, connect
from bench.process import ROOT, Program, http_upstream, running
from bench.wire import Era, Requests, Target, fault

from tests.integration.gateway.gateway import Gateway
from tests.integration.gateway.test_access import make_key
from tests.trials.parts import report
from tests.trials.parts.greedy import KEY

MODEST = 4
"""Connections of the modest client."""
PACE = 0.025
"""Seconds between two calls of one of them."""
WITHIN = 2.0
"""Times what it is alone: what the p99 may be."""
FLOOR = 0.001
"""Seconds: a p99 below it counts as this, since a busy machine adds as much by itself."""


@dataclass(frozen=True)
class Kind:
    """One way to be greedy: what of, at which path, with a key or without."""

    asks: str
    path: str = "/mcp"
    keyed: bool = True


KINDS = {
    "calls": Kind("calls"),
    "lists": Kind("lists"),
    "refused: unknown tool": Kind("unknown"),
    "refused: quota": Kind("calls", "/bounded"),
    "refused: no key": Kind("calls", keyed=False),
}


@dataclass
class Taken:
    """What was measured in one way: the p99s of its rounds and of the alone before each, and what the greedy one got."""

    beside: list[float] = field(default_factory=list[float])
    alone: list[float] = field(default_factory=list[float])
    got: Counter[str] = field(default_factory=Counter[str])

    @property
    def times(self) -> float:
        """Give how many times longer."""
        return max(FLOOR, median(self.beside)) / max(FLOOR, median(self.alone))


class Modest:
    """A client that calls now and then, on connections that stay open."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._open: list[tuple[Connection, Requests]] = []
        self._number = 0
        self.faults: list[str] = []

    async def open(self) -> None:
        """Open its connections."""
        self._open = [await connect(self._target, Era.MODERN, number) for number in range(MODEST)]

    async def measure(self, seconds: float) -> list[float]:
        """Call for so long; give the times in seconds, sorted."""
        loop, found = asyncio.get_running_loop(), list[float]()
        until = loop.time() + seconds

        async def one(connection: Connection, requests: Requests, first: float) -> None:
            await asyncio.sleep(first)
            while (began := loop.time()) < until:
                self._number += 1
                number = self._number
                words = requests.words(number)
                status, body = await connection.ask(requests.call(number, words))
                found.append(loop.time() - began)
                if wrong := fault(status, body, number, words):
                    self.faults.append(wrong)
                await asyncio.sleep(max(0.0, began + PACE - loop.time()))

        async with asyncio.TaskGroup() as group:
            for place, (connection, requests) in enumerate(self._open):
                group.create_task(one(connection, requests, place * PACE / MODEST))
        return sorted(found)


def p99(times: Sequence[float]) -> float:
    """Give the 99th percentile."""
    return times[int(0.99 * (len(times) - 1))]


@asynccontextmanager
async def greedy(
    url: str, kind: Kind, key: str, connections: int, place: Path, got: Counter[str]
) -> AsyncIterator[None]:
    """Have a greedy client beside what is done meanwhile."""
    argv = [sys.executable, "-m", "tests.trials.parts.greedy", url + kind.path, str(connections), kind.asks]
    env = {**os.environ, KEY: key} if kind.keyed else dict(os.environ)
    log = place / "greedy.log"
    async with running(argv, log, env, ROOT) as program:
        await _said(program, "BEGUN")
        yield
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.startswith("{")]
    got.update(json.loads(lines[-1]) if lines else {"said nothing": 1})


async def _said(program: Program, word: str) -> None:
    async with asyncio.timeout(60):
        while word not in program.log.read_text(errors="replace"):
            program.check()
            await asyncio.sleep(0.02)


def settings(upstream: str) -> dict[str, object]:
    """Give the settings of the gateway."""
    return {
        "listen": "127.0.0.1:0",
        "auth": {"type": "keys"},
        "servers": {"desk": {"url": upstream, "sharing": "shared", "stateless": True}},
        "endpoints": {"/mcp": {}, "/bounded": {}},
        "quotas": [{"per": "principal", "calls": "1/h", "endpoints": ["/bounded"]}],
    }


async def trial(seconds: float, rounds: int, connections: int, kinds: Sequence[str]) -> tuple[str, list[str]]:
    """Run it. Give the report, and what is wrong."""
    taken = {name: Taken() for name in kinds}
    with tempfile.TemporaryDirectory(prefix="fair-") as directory:
        place = Path(directory)
        async with http_upstream(place) as upstream:
            gateway = Gateway(place, settings(upstream))
            try:
                await asyncio.to_thread(gateway.start)
                await asyncio.to_thread(gateway.until_servers, desk="ready")
                (_, mine), (_, other) = [
                    await asyncio.to_thread(make_key, gateway, each) for each in ("ann", "ben")
                ]
                modest = Modest(Target(gateway.url(), "desk__echo", mine))
                await modest.open()
                await modest.measure(1.0)
                for number in range(rounds):
                    for name in kinds:
                        one = taken[name]
                        one.alone.append(p99(await modest.measure(seconds)))
                        async with greedy(gateway.base, KINDS[name], other, connections, place, one.got):
                            await modest.measure(min(1.0, seconds))
                            one.beside.append(p99(await modest.measure(seconds)))
                        report.say(
                            f"{number + 1}/{rounds} {name}: {one.alone[-1] * 1e3:.2f} ms, {one.beside[-1] * 1e3:.2f} ms beside"
                        )
                status = await asyncio.to_thread(gateway.stop)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    gateway.kill()
    faults = [] if status == 0 else [f"the gateway ended with status {status}"]
    faults += [f"a modest call failed: {each}" for each in modest.faults[:10]]
    faults += [
        f"{name}: the p99 is {each.times:.1f} times what it is alone"
        for name, each in taken.items()
        if each.times > WITHIN
    ]
    return written(seconds, rounds, connections, taken), faults


def written(seconds: float, rounds: int, connections: int, taken: dict[str, Taken]) -> str:
    """Write the report."""
    rows = [
        (
            name, f"{median(each.alone) * 1e3:.2f} ms", f"{median(each.beside) * 1e3:.2f} ms", f"{each.times:.2f}",
            f"{sum(each.got.values()) / (rounds * (seconds + min(1.0, seconds))):,.0f}", ", ".join(f"{count} {what}" for what, count in each.got.most_common(3)),
        )
        for name, each in taken.items()
    ]  # fmt: skip
    head = (
        "the greedy client's",
        "p99 alone",
        "p99 beside it",
        "times",
        "its answers a second",
        "what it got",
    )
    return f"""# Trial: fair

{__doc__}
{rounds} rounds of {seconds:g} s alone and {seconds:g} s beside each, medians; {MODEST} modest connections that call every {PACE * 1e3:g} ms, {connections} greedy
ones. The greedy client gives way to the others on the machine, as if it were on another. {report.machine()}. Run again with
`scripts/trial fair --seconds {seconds:g} --rounds {rounds}`.

{report.table(head, rows)}"""


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of one measurement")
    parser.add_argument("--rounds", type=int, default=3, help="of each")
    parser.add_argument("--connections", type=int, default=300, help="of the greedy client")
    parser.add_argument("--only", action="append", choices=list(KINDS), help="only this; may be given again")
    return parser.parse_args()


if __name__ == "__main__":
    chosen = _options()
    report.end(
        *asyncio.run(trial(chosen.seconds, chosen.rounds, chosen.connections, chosen.only or list(KINDS)))
    )
