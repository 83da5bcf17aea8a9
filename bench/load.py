"""The load: a closed loop of c connections, or calls at a fixed rate with latency from the intended time.

Failures are counted and named; their times are never among the latencies.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench.connection import Connection, Failed, connect
from bench.wire import Era, Requests, Target, fault
from bench.work import Echo, Work

GRACE = 10.0
"""Seconds that outstanding answers are waited for after the last request."""
clock = time.perf_counter


@dataclass(slots=True)
class Round:
    """What one round came to. Times in seconds."""

    seconds: float
    latencies: list[float] = field(default_factory=list[float])
    failures: Counter[str] = field(default_factory=Counter[str])

    @property
    def rate(self) -> float:
        """Right answers a second."""
        return len(self.latencies) / self.seconds

    def percentile(self, share: float) -> float:
        """Give a percentile of the latencies in milliseconds; not a number where there are none."""
        if not self.latencies:
            return float("nan")
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1e3


class Caller:
    """Calls one after the other on one connection for as long as it is told to."""

    def __init__(self, connection: Connection, work: Work) -> None:
        self._connection = connection
        self._work = work
        self._number = 1
        self._sent = 0.0
        self._round: Round | None = None
        self._until = 0.0
        self._rested: asyncio.Future[None] | None = None

    async def run(self, into: Round, until: float) -> None:
        """Call until that time, then wait for the last answer."""
        self._rested = asyncio.get_running_loop().create_future()
        self._round, self._until = into, until
        self._connection.answered = self._answered
        self._connection.lost = self._lost
        self._next()
        try:
            async with asyncio.timeout(max(0.0, until - clock()) + GRACE):
                await self._rested
        except TimeoutError:
            into.failures["no answer"] += 1
            raise Failed(f"no answer within {GRACE:g} s") from None

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _next(self) -> None:
        self._number += 1
        request = self._work.begin(self._number)
        self._sent = clock()
        self._connection.send(request)

    def _answered(self, status: int, body: bytes) -> None:
        now = clock()
        into = self._round
        if into is None:
            return
        wrong = self._work.take(status, body)
        if wrong is None:
            into.latencies.append(now - self._sent)
        elif isinstance(wrong, bytes):
            self._connection.send(wrong)
            return
        else:
            into.failures[wrong] += 1
        if now < self._until:
            self._next()
        else:
            self._rest()

    def _lost(self, reason: str) -> None:
        if self._round is not None:
            self._round.failures[reason] += 1
        self._rest()

    def _rest(self) -> None:
        self._round = None
        if self._rested is not None and not self._rested.done():
            self._rested.set_result(None)


def echo(connection: Connection, requests: Requests) -> Work:
    """Give the plain work: a call of echo."""
    return Echo(requests)


async def open_callers(
    target: Target, era: Era, count: int, work: Callable[[Connection, Requests], Work] = echo
) -> list[Caller]:
    """Open that many connections, each with a session of its own where the era has them."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(connect(target, era, number)) for number in range(count)]
    return [Caller(task.result()[0], work(*task.result())) for task in tasks]


async def closed_loop(callers: Sequence[Caller], seconds: float) -> Round:
    """Call on every connection at once for that long, each waiting for its answer before the next call."""
    began = clock()
    into = Round(seconds)
    async with asyncio.TaskGroup() as group:
        for caller in callers:
            group.create_task(caller.run(into, began + seconds))
    into.seconds = clock() - began
    return into


class FixedRate:
    """Calls at intended times, whatever became of the ones before; a free connection takes the next."""

    def __init__(
        self, connections: Sequence[tuple[Connection, Requests]], rate: float, seconds: float
    ) -> None:
        self.round = Round(seconds)
        self._rate = rate
        self._total = int(rate * seconds)
        self._free = deque(connections)
        self._due: deque[tuple[int, float]] = deque()
        self._settled = 0

    async def run(self) -> Round:
        """Send every call at its time, wait for the last answers, and give what came of it."""
        began, planned = clock(), 0
        while planned < self._total:
            ahead = planned / self._rate - (clock() - began)
            if ahead > 0:
                await asyncio.sleep(ahead)
            while planned < self._total and planned / self._rate <= clock() - began:
                self._due.append((planned, began + planned / self._rate))
                planned += 1
            self._send()
        deadline = clock() + GRACE
        while self._settled < self._total and clock() < deadline:
            await asyncio.sleep(0.01)
        if self._settled < self._total:
            self.round.failures["no answer"] += self._total - self._settled
        self.round.seconds = clock() - began
        return self.round

    def _send(self) -> None:
        while self._due and self._free:
            number, intended = self._due.popleft()
            connection, requests = self._free.popleft()
            words = requests.words(number)
            connection.answered = self._answered(connection, requests, number, intended)
            connection.lost = self._lost
            connection.send(requests.call(number, words))

    def _answered(
        self, connection: Connection, requests: Requests, number: int, intended: float
    ) -> Callable[[int, bytes], None]:
        def answered(status: int, body: bytes) -> None:
            wrong = fault(status, body, number, requests.words(number))
            if wrong is None:
                self.round.latencies.append(clock() - intended)
            else:
                self.round.failures[wrong] += 1
            self._settled += 1
            self._free.append((connection, requests))
            self._send()

        return answered

    def _lost(self, reason: str) -> None:
        self.round.failures[reason] += 1
        self._settled += 1


async def fixed_rate(target: Target, era: Era, rate: float, seconds: float, connections: int = 64) -> Round:
    """Call at a fixed rate; latency counts from the time a call should have gone out."""
    opened = [await connect(target, era, number) for number in range(connections)]
    try:
        return await FixedRate(opened, rate, seconds).run()
    finally:
        for connection, _ in opened:
            connection.close()
