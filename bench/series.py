"""What is measured: one series is one thing in front of one upstream, at each era and number of connections."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import statistics
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path

from bench import gateway
from bench.connection import Connection, Failed, connect
from bench.gateway import Mode
from bench.load import GRACE, Round, closed_loop, echo, fixed_rate, open_callers
from bench.process import Program, floor, http_upstream
from bench.wire import Era, Requests, Target, fault
from bench.work import Work

FIRST_CALL = 90.0
"""Seconds for the first right answer: a container may have to be made, a package fetched."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how wide."""

    eras: Sequence[Era]
    connections: Sequence[int]
    rounds: int
    seconds: float
    warm_up: float
    rate: float | None = None
    """Calls a second of the fixed-rate mode, beside the closed loop; None leaves it out."""


@dataclass(slots=True)
class Row:
    """What came of one series at one era and width: medians over the rounds."""

    series: str
    upstream: str
    era: Era
    load: str
    """`c=16`, or `500/s` at a fixed rate."""
    rate: float
    p50: float
    p99: float
    cpu: float | None
    """Microseconds of the gateway's CPU per call."""
    rss: float | None
    failures: Counter[str] = field(default_factory=Counter[str])


@dataclass(slots=True)
class Outcome:
    """A series: its rows, or why there are none."""

    series: str
    rows: list[Row] = field(default_factory=list[Row])
    skipped: str | None = None
    stall: float | None = None
    started: float | None = None

    def row(self, era: Era, load: str) -> Row | None:
        """Give the row of an era and a load."""
        return next((row for row in self.rows if row.era is era and row.load == load), None)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of work, and what stands before the connections in its rows."""

    label: str
    work: Callable[[Connection, Requests], Work]


PLAIN = Kind("", echo)


@dataclass(slots=True)
class Subject:
    """What stands in front of the load, and what the load is."""

    target: Target
    program: Program | None = None
    gateway: gateway.Gateway | None = None
    kind: Kind = PLAIN


@dataclass(frozen=True, slots=True)
class Series:
    """A thing to measure."""

    name: str
    upstream: str
    open: Callable[[Path], AbstractAsyncContextManager[Subject]]
    eras: Sequence[Era] = tuple(Era)


@contextlib.asynccontextmanager
async def open_direct(place: Path) -> AsyncIterator[Subject]:
    """Nothing in between."""
    async with http_upstream(place) as url:
        yield Subject(Target(url))


@contextlib.asynccontextmanager
async def open_floor(place: Path) -> AsyncIterator[Subject]:
    """A relay that does only what any gateway must."""
    async with http_upstream(place) as url, floor(place, url) as (program, own):
        yield Subject(Target(own), program)


def through_http(mode: Mode, **settings: object) -> Callable[[Path], AbstractAsyncContextManager[Subject]]:
    """The gateway in front of the HTTP upstream; `settings` replace those of its file."""

    @contextlib.asynccontextmanager
    async def opened(place: Path) -> AsyncIterator[Subject]:
        async with (
            http_upstream(place) as url,
            gateway.serving(mode, gateway.remote(url), **settings) as running,
        ):
            yield Subject(running.target, running.program, running)

    return opened


def through_stdio(
    mode: Mode, server: Callable[[], gateway.Settings]
) -> Callable[[Path], AbstractAsyncContextManager[Subject]]:
    """The gateway in front of the stdio upstream, as `server` declares it."""

    @contextlib.asynccontextmanager
    async def opened(place: Path) -> AsyncIterator[Subject]:
        async with gateway.serving(mode, server()) as running:
            yield Subject(running.target, running.program, running)

    return opened


async def measure(series: Series, plan: Plan, place: Path, tell: Callable[[str], None]) -> Outcome:
    """Measure one series; what stands in the way of it is its `skipped`."""
    outcome = Outcome(series.name)
    try:
        async with series.open(place) as subject:
            for era in [era for era in plan.eras if era in series.eras]:
                await first_answer(subject, era)
                for count in plan.connections:
                    outcome.rows.append(await widths(series, subject, era, count, plan, subject.kind))
                    tell(f"{series.name} {era} c={count}")
                if plan.rate:
                    outcome.rows.append(await paced(series, subject, era, plan))
                    tell(f"{series.name} {era} {plan.rate:g}/s")
            if subject.gateway is not None:
                outcome.stall = await subject.gateway.stall()
                outcome.started = subject.gateway.started
    except* Failed as problems:
        outcome.skipped = first_reason(problems)
    return outcome


def first_reason(problems: ExceptionGroup[Failed]) -> str:
    """Give the first of several reasons."""
    first = problems.exceptions[0]
    return first_reason(first) if isinstance(first, ExceptionGroup) else str(first)


async def first_answer(subject: Subject, era: Era) -> None:
    """Call until an answer is right: a workload may still be starting.

    Raises:
        Failed: none was.
    """
    wrong = "nothing was asked"
    try:
        async with asyncio.timeout(FIRST_CALL):
            for attempt in range(1, 1_000_000):
                if subject.program is not None:
                    subject.program.check()
                wrong = await one_call(subject.target, era, attempt)
                if wrong is None:
                    return
                await asyncio.sleep(0.1)
    except TimeoutError:
        pass
    raise Failed(f"no right answer within {FIRST_CALL:g} s; the last was: {wrong}")


async def one_call(target: Target, era: Era, number: int) -> str | None:
    """Open, call once, close; say what was wrong, or None."""
    try:
        connection, requests = await connect(target, era, number)
    except Failed as problem:
        return str(problem)
    try:
        words = requests.words(number)
        status, body = await connection.ask(requests.call(number, words))
        return fault(status, body, number, words)
    except Failed as problem:
        return str(problem)
    finally:
        connection.close()


async def widths(
    series: Series, subject: Subject, era: Era, count: int, plan: Plan, kind: Kind = PLAIN
) -> Row:
    """Measure the closed loop with that many connections."""
    callers = await open_callers(subject.target, era, count, kind.work)
    try:
        await closed_loop(callers, plan.warm_up)
        rounds: list[Round] = []
        cpu: list[float] = []
        for _ in range(plan.rounds):
            with unpaused():
                before = subject.program.cpu() if subject.program else 0.0
                rounds.append(await closed_loop(callers, plan.seconds))
                used = (subject.program.cpu() if subject.program else 0.0) - before
            cpu.append(each(used, rounds[-1]))
    finally:
        for caller in callers:
            caller.close()
    return combined(series, subject, era, f"{kind.label}c={count}", rounds, cpu)


async def paced(series: Series, subject: Subject, era: Era, plan: Plan) -> Row:
    """Measure at a fixed rate; latency counts from the time a call should have gone out."""
    before = subject.program.cpu() if subject.program else 0.0
    with unpaused():
        came = await asyncio.wait_for(
            fixed_rate(subject.target, era, plan.rate or 1.0, plan.seconds * plan.rounds),
            plan.seconds * plan.rounds + 2 * GRACE,
        )
    used = (subject.program.cpu() if subject.program else 0.0) - before
    return combined(
        series, subject, era, f"{plan.rate:g}/s", [came], [used / max(1, len(came.latencies)) * 1e6]
    )


def each(used: float, came: Round) -> float:
    """Give the microseconds for each right answer; not a number where there was none."""
    return used / len(came.latencies) * 1e6 if came.latencies else float("nan")


def combined(
    series: Series, subject: Subject, era: Era, load: str, rounds: Sequence[Round], cpu: Sequence[float]
) -> Row:
    """Take the median of each measure over the rounds, and all their failures."""
    return Row(
        series=series.name,
        upstream=series.upstream,
        era=era,
        load=load,
        rate=statistics.median(one.rate for one in rounds),
        p50=statistics.median(one.percentile(0.50) for one in rounds),
        p99=statistics.median(one.percentile(0.99) for one in rounds),
        cpu=statistics.median(cpu) if subject.program else None,
        rss=subject.program.memory() if subject.program else None,
        failures=sum((one.failures for one in rounds), Counter()),
    )


@contextlib.contextmanager
def unpaused() -> Iterator[None]:
    """Keep the load generator's own garbage collection out of the latencies."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
