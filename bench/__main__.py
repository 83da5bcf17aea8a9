"""The command line of the benchmark. See docs/benchmark.md."""

from __future__ import annotations

import argparse
import datetime
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop
from rich.console import Console

from bench import access, container, gateway, instructions, peers, report, results, shapes
from bench.connection import Failed
from bench.gateway import Mode
from bench.series import Outcome, Plan, Series, measure, open_direct, open_floor, through_http, through_stdio
from bench.single import MEASURES, Single, single
from bench.wire import Era
from bench.yardstick import open_haproxy

FULL = Plan(tuple(Era), (1, 16, 64), rounds=3, seconds=1.0, warm_up=0.4)
QUICK = Plan((Era.LEGACY,), (1, 16), rounds=2, seconds=0.5, warm_up=0.2)
WIDTH = 120
NAMES = (
    "direct",
    "haproxy",
    "floor",
    "minimal",
    "governed",
    "policies",
    "principals",
    "fsync",
    "process",
    "container",
)
SHAPES = tuple(shape.name for shape in shapes.SHAPES)
QUICK_NAMES = ("direct", "haproxy", "floor", "minimal", "governed", "process", "container")


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measure what a call costs.")
    parser.add_argument(
        "--quick", action="store_true", help="legacy era, c=1 and 16, short rounds; under 40 s"
    )
    known = (*NAMES, *SHAPES, *MEASURES)
    parser.add_argument("--only", action="append", choices=known, help="only this; may be given again")
    parser.add_argument("--json", action="store_true", help="one last line of JSON")
    parser.add_argument(
        "--budgets",
        action="store_true",
        help="status 1 when a budget is broken, or what was chosen could not be measured",
    )
    parser.add_argument(
        "--peers", action="store_true", help="also other gateways, installed where they can be had"
    )
    parser.add_argument(
        "--keep", action="store_true", help="write this run into docs/benchmark.md as its results"
    )
    parser.add_argument(
        "--rate", type=float, help="also at this many calls a second, from the intended times"
    )
    parser.add_argument("--rounds", type=int, help="rounds of each measurement; the median counts")
    parser.add_argument("--seconds", type=float, help="seconds of a round")
    parser.add_argument(
        "--instructions",
        action="store_true",
        help="only count the machine instructions of a call, by valgrind: the same however busy the machine is",
    )
    parser.add_argument("--unsandboxed", action="store_true", help="the process series without its sandbox")
    return parser.parse_args()


def plan(chosen: argparse.Namespace) -> Plan:
    """Give the plan that was asked for, bounded."""
    base = QUICK if chosen.quick else FULL
    return Plan(
        eras=base.eras,
        connections=base.connections,
        rounds=min(20, max(1, chosen.rounds or base.rounds)),
        seconds=min(60.0, max(0.1, chosen.seconds or base.seconds)),
        warm_up=base.warm_up,
        rate=chosen.rate,
    )


def all_series(unsandboxed: bool) -> list[Series]:
    """Give the series in the order they are measured."""
    return [
        Series("direct", "HTTP", open_direct),
        Series("haproxy", "HTTP", open_haproxy, eras=(Era.LEGACY,)),
        Series("floor", "HTTP", open_floor, eras=(Era.LEGACY,)),
        Series("minimal", "HTTP", through_http(Mode.MINIMAL)),
        Series("governed", "HTTP", through_http(Mode.GOVERNED)),
        *access.all_series(),
        Series(
            "fsync", "HTTP", through_http(Mode.GOVERNED, journal={"durability": "fsync"}), eras=(Era.LEGACY,)
        ),
        Series(
            "process", "stdio process", through_stdio(Mode.GOVERNED, lambda: gateway.process(unsandboxed))
        ),
        Series("container", "stdio container", through_stdio(Mode.GOVERNED, container.declared)),
    ]


async def run(chosen: argparse.Namespace, console: Console) -> tuple[list[Outcome], list[Single]]:
    """Measure what was chosen, one after the other."""
    how, wanted = plan(chosen), chosen.only or (QUICK_NAMES if chosen.quick else (*NAMES, *SHAPES, *MEASURES))
    outcomes: list[Outcome] = []
    singles: list[Single] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as directory, console.status("") as status:
        place = Path(directory)
        for series in all_series(chosen.unsandboxed):
            if series.name in wanted:
                status.update(f"{series.name} …")
                outcomes.append(await measure(series, how, place, lambda said: status.update(f"{said} done")))
        chosen_shapes = [shape for shape in shapes.SHAPES if shape.name in wanted]
        outcomes += await shapes.measure(
            chosen_shapes, shapes.shorter(how), place, lambda said: status.update(f"{said} done")
        )
        for name in [name for name in MEASURES if name in wanted]:
            status.update(f"{name} …")
            singles.append(await single(name, place))
        if chosen.peers:
            for series in peers.all_series():
                status.update(f"{series.name} …")
                outcomes.append(await measure(series, how, place, lambda said: status.update(f"{said} done")))
    return outcomes, singles


def verdict(
    chosen: argparse.Namespace,
    outcomes: Sequence[Outcome],
    singles: Sequence[Single],
    held: Sequence[report.Budget],
) -> int:
    """Give the exit status: 1 when nothing came back, or, asked for budgets, when one is broken or was in vain."""
    if outcomes and not any(outcome.rows for outcome in outcomes):
        return 1
    in_vain = any(each.skipped for each in (*outcomes, *singles))
    return 1 if chosen.budgets and (in_vain or any(each.broken for each in held)) else 0


def terminal() -> Console:
    """Give where the tables go: wide enough for them, also into a file."""
    console = Console()
    return Console(width=max(console.width, WIDTH))


def main() -> int:
    """Run the benchmark."""
    chosen, console = options(), terminal()
    began = time.monotonic()
    try:
        if chosen.instructions:
            for name, counted in uvloop.run(instructions.count()).items():
                print(f"{name}: {counted:,.0f} instructions a call")
            return 0
        outcomes, singles = uvloop.run(run(chosen, console))
    except Failed as problem:
        console.print(f"bench: {problem}", markup=False)
        return 2
    except KeyboardInterrupt:
        return 130
    held = report.tell_all(console, outcomes, singles)
    console.print(f"measured in {time.monotonic() - began:.0f} s", highlight=False)
    if chosen.keep:
        results.keep(outcomes, singles, held, datetime.date.today().isoformat())
    if chosen.json:
        print(report.json_line(outcomes))
    return verdict(chosen, outcomes, singles, held)


if __name__ == "__main__":
    raise SystemExit(main())
