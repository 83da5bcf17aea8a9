"""Isolation: no answer reaches another call, and no principal's memory another principal.

Two principals with keys of their own, each with clients of both eras, call the same servers at the same time:
short calls, slow ones, long texts, calls that are given up half-way. Every text is sent once and must come
back to its own call; every count that a server keeps must be of its own principal's calls.
"""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
from pathlib import Path

from tests.integration.faults.contained import contained
from tests.integration.gateway.gateway import Gateway, marked, server
from tests.trials.parts import report
from tests.trials.parts.books import balance
from tests.trials.parts.callers import Caller, tally
from tests.trials.parts.watch import left

OWN = ("boxed", "local", "dual")
"""Servers of which each principal has a workload of its own."""
COMMON = ("shared", "boxed-shared")
"""Servers whose one workload serves all."""
PRINCIPALS = ("underwriter", "adjuster")
EACH = 6
"""Clients of each principal."""


def declared() -> dict[str, object]:
    """Declare the servers."""
    common = {"stateless": True, "sharing": "shared"}
    return {
        "boxed": contained("legacy_stdio"),
        "local": server("legacy_stdio"),
        "dual": server("dual_era"),
        "shared": server("dual_era", **common),
        "boxed-shared": contained("legacy_stdio", **common),
    }


class Principal:
    """One principal: its key, its clients, and how often they called each counter."""

    def __init__(self, gateway: Gateway, name: str) -> None:
        done = gateway.command("key", "create", "--name", name, "--json")
        assert done.returncode == 0, done.stderr
        key = json.loads(done.stdout)["key"]
        self.name = name
        self.counted: dict[str, list[int]] = {each: [] for each in OWN}
        self.given_up = 0
        self.callers = [
            Caller(gateway, f"{name}-{number}", modern=number % 2 == 0, key=key, pace=0.004)
            for number in range(EACH)
        ]

    async def one_call(self, caller: Caller, dice: random.Random) -> None:
        """Make one call of the mix."""
        kind = dice.random()
        if kind < 0.1:
            name = dice.choice(OWN)
            text = await caller.call(name, "counter", {}, None)
            if text is not None:
                self.counted[name].append(int(text))
        elif kind < 0.15:
            seconds = dice.uniform(0.01, 0.3)
            await caller.call(dice.choice(OWN + COMMON), "slow", {"seconds": seconds, "steps": 2}, "slept")
        elif kind < 0.2:
            await self._give_up(caller, dice)
        else:
            await caller.echo(dice.choice(OWN + COMMON), padding=dice.choice((0, 0, 0, 100, 5_000, 100_000)))

    async def _give_up(self, caller: Caller, dice: random.Random) -> None:
        """Break a call off half-way, as an impatient client does."""
        call = asyncio.create_task(
            caller.call(dice.choice(OWN + COMMON), "slow", {"seconds": 0.5, "steps": 5}, "slept")
        )
        await asyncio.wait([call], timeout=dice.uniform(0.01, 0.3))
        if not call.done():
            call.cancel()
            await asyncio.wait([call])
            self.given_up += 1

    def faults(self) -> list[str]:
        """Say which counts were not this principal's alone: each is given out once, and none is missing."""
        return [
            f"{self.name}: {name} counted {sorted(numbers)[-5:]} for {len(numbers)} calls"
            for name, numbers in self.counted.items()
            if sorted(numbers) != list(range(1, len(numbers) + 1))
        ]


async def trial(minutes: float) -> tuple[str, list[str]]:
    """Run it; give the report and what is wrong."""
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryDirectory(prefix="tg-isolation-") as directory:
        place = Path(directory)
        gateway = Gateway(place, marked({"auth": {"type": "keys"}, "servers": declared()}, place))
        try:
            await asyncio.to_thread(gateway.start)
            await asyncio.to_thread(gateway.until_servers, **dict.fromkeys(OWN + COMMON, "ready"))
            principals = [await asyncio.to_thread(Principal, gateway, name) for name in PRINCIPALS]
            callers = [caller for principal in principals for caller in principal.callers]
            until = loop.time() + minutes * 60
            async with asyncio.TaskGroup() as group:
                for principal in principals:
                    for caller in principal.callers:
                        group.create_task(caller.run(until, principal.one_call))
            workloads = {
                name: len(gateway.server(name)["workloads"]) for name in OWN + COMMON
            }  # each principal's own, and the one of all
            status = await asyncio.to_thread(gateway.stop)
            faults = [] if status == 0 else [f"the gateway ended with status {status}"]
            books = balance(callers, gateway.records())
            faults += books.faults + [fault for each in principals for fault in each.faults()]
            faults += [
                f"{caller.name}: {made.server}__{made.tool}: {made.came} {made.note}"
                for caller in callers for made in caller.made if made.came not in ("ok", "broken off")
            ]  # fmt: skip
            for name in OWN:
                if workloads[name] < len(PRINCIPALS):
                    faults.append(f"{name} had {workloads[name]} workloads for {len(PRINCIPALS)} principals")
            remains = await asyncio.to_thread(left, gateway, docker=True)
            faults += [f"{count} {what} left" for what, count in remains.items() if count]
            return written(minutes, principals, callers, workloads), faults
        finally:
            gateway.kill()
            await asyncio.to_thread(gateway.command, "clean")


def written(
    minutes: float, principals: list[Principal], callers: list[Caller], workloads: dict[str, int]
) -> str:
    """Write the report."""
    counts = {
        f"{each.name}: {name}": len(numbers) for each in principals for name, numbers in each.counted.items()
    }
    given_up = sum(each.given_up for each in principals)
    return f"""# Trial: isolation

{__doc__}
{minutes:g} minutes, {len(callers)} clients (half of each era) of {len(principals)} principals. {report.machine()}. Run
again with `scripts/trial isolation --minutes {minutes:g}`.

{report.counts("what came of a call", tally(callers))}
{report.counts("workloads of a server at the end", workloads)}
{report.counts("counts that were of the principal's own calls alone", counts)}
- {sum(len(caller.made) for caller in callers)} calls, {given_up} of them given up half-way by the client (counted as `broken off`).
- No text came back to another call than the one that sent it (`wrong` would stand above); no count was another
  principal's; every call and its outcome is in the journal, once.
"""


if __name__ == "__main__":
    chosen = report.options(__doc__, minutes=2)
    report.end(*asyncio.run(trial(chosen.minutes)))
