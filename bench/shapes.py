"""Other work than a short call: lists, a session for each call, streamed results, payloads of several sizes.

Each shape is measured with nothing in between and through the gateway with everything on.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import gateway
from bench.connection import Connection, Failed
from bench.gateway import Mode
from bench.process import http_upstream
from bench.series import Kind, Outcome, Plan, Series, Subject, first_answer, first_reason, widths
from bench.wire import Era, Requests, Target
from bench.work import Echo, ListAll, SessionCall, Stream, Work

SHORT_LIST, LONG_LIST = 50, 10_000


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind of work, what it needs, and how wide it is measured."""

    name: str
    label: str
    work: Callable[[Connection, Requests], Work]
    connections: int = 16
    eras: Sequence[Era] = tuple(Era)
    tools: int = SHORT_LIST
    """How many tools the upstream has."""

    @property
    def kind(self) -> Kind:
        """What its rows say."""
        return Kind(f"{self.label}, ", self.work)


def _session(connection: Connection, requests: Requests) -> Work:
    connection.read_headers(True)  # a session's id is in them
    return SessionCall(requests, connection.headers)


def _words(size: int) -> Callable[[Connection, Requests], Work]:
    return lambda connection, requests: Echo(requests, size)


def _list(tools: int) -> Callable[[Connection, Requests], Work]:
    return lambda connection, requests: ListAll(requests, tools)


SHAPES = (
    Shape("list-50", "list of 50", _list(SHORT_LIST)),
    Shape("session", "session a call", _session, eras=(Era.LEGACY,)),
    Shape("stream", "10 × progress", lambda connection, requests: Stream(requests)),
    Shape("1kB", "1 kB", _words(1_000)),
    Shape("20kB", "20 kB", _words(20_000)),
    Shape("1MB", "1 MB", _words(1_000_000), connections=4),
    Shape("list-10000", "list of 10,000", _list(LONG_LIST), tools=LONG_LIST),
)


@contextlib.asynccontextmanager
async def open_direct(place: Path, tools: int) -> AsyncIterator[Subject]:
    """Nothing in between."""
    async with http_upstream(place, tools) as url:
        yield Subject(Target(url))


@contextlib.asynccontextmanager
async def open_governed(place: Path, tools: int) -> AsyncIterator[Subject]:
    """The gateway with everything on."""
    async with (
        http_upstream(place, tools) as url,
        gateway.serving(Mode.GOVERNED, gateway.remote(url)) as running,
    ):
        yield Subject(running.target, running.program, running)


SUBJECTS = {"direct": open_direct, "governed": open_governed}


async def measure(
    shapes: Sequence[Shape], plan: Plan, place: Path, tell: Callable[[str], None]
) -> list[Outcome]:
    """Measure shapes: all that need the same upstream in front of one, directly and through one gateway."""
    outcomes: list[Outcome] = []
    for tools in dict.fromkeys(shape.tools for shape in shapes):
        chosen = [shape for shape in shapes if shape.tools == tools]
        for name in SUBJECTS:
            outcomes += await _measured(name, chosen, plan, place, tell)
    return outcomes


async def _measured(
    name: str, shapes: Sequence[Shape], plan: Plan, place: Path, tell: Callable[[str], None]
) -> list[Outcome]:
    outcomes = [Outcome(f"{shape.name} {name}") for shape in shapes]
    series = Series(name, "HTTP", lambda place: SUBJECTS[name](place, shapes[0].tools))
    try:
        async with series.open(place) as subject:
            for shape, outcome in zip(shapes, outcomes, strict=True):
                await _shaped(series, subject, shape, outcome, plan)
                tell(f"{shape.name} {name}")
    except* Failed as problems:
        for outcome in outcomes:
            if not outcome.rows:
                outcome.skipped = outcome.skipped or first_reason(problems)
    return outcomes


async def _shaped(series: Series, subject: Subject, shape: Shape, outcome: Outcome, plan: Plan) -> None:
    """Measure one shape; what stands in its way keeps none of the others from being measured."""
    try:
        for era in [era for era in plan.eras if era in shape.eras]:
            await first_answer(subject, era)
            outcome.rows.append(await widths(series, subject, era, shape.connections, plan, shape.kind))
    except* Failed as problems:
        outcome.skipped = first_reason(problems)


def shorter(plan: Plan) -> Plan:
    """Give the plan for the shapes: as many rounds, but shorter ones, since there are many shapes."""
    return dataclasses.replace(
        plan, seconds=min(plan.seconds, 0.6), warm_up=min(plan.warm_up, 0.3), rate=None
    )
