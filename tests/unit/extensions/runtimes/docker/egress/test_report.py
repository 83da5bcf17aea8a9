"""What an outlet tells the gateway, and what the gateway makes of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tidegate.extensions.runtimes.docker.egress.hearing import Hearing
from tidegate.extensions.runtimes.docker.egress.sidecar.report import WINDOW, Report
from tidegate.ports.runtime import Connection


@dataclass
class Pipe:
    """An outlet's report, with a clock that the test sets, and where it goes."""

    read: int
    report: Report
    clock: list[float]

    def said(self) -> bytes:
        """Give what was written since it was last asked."""
        try:
            return os.read(self.read, 1 << 20)
        except BlockingIOError:
            return b""


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    read, write = os.pipe()
    os.set_blocking(read, False)
    clock = [0.0]
    yield Pipe(read, Report(write, lambda: clock[0]), clock)
    os.close(read)
    os.close(write)


@dataclass
class Ear:
    """A gateway that records, or does not."""

    records: bool = True
    seen: list[Connection] = field(default_factory=list[Connection])
    answers: bytes = b""

    def take(self, connection: Connection) -> bool:
        if self.records:
            self.seen.append(connection)
        return self.records

    # Stream
    def write(self, data: bytes) -> None:
        self.answers += data

    @property
    def backlog(self) -> int:
        return 0

    def rest(self, seconds: float) -> None:
        """Nothing is read."""

    async def close(self) -> None:
        """Nothing is open."""

    def hearing(self) -> Hearing:
        hearing = Hearing(self.take)
        hearing.stream = self
        return hearing


def connect(report: Report, times: int = 1) -> int:
    return sum(report.connected("a.example", "192.0.2.1", 443, 1000) for _ in range(times))


async def test_a_connection_is_told_recorded_and_acknowledged(pipe: Pipe) -> None:
    ear = Ear()
    hearing = ear.hearing()
    pipe.report.ready()
    assert connect(pipe.report) == 1
    pipe.report.refused("because", 1001, protocol="udp", address="192.0.2.2", port=53)
    said = pipe.said()
    hearing.stdout(said[:30])
    hearing.stdout(said[30:])
    assert hearing.ready.done()
    assert ear.seen == [
        Connection("a.example", "192.0.2.1", 443, "tcp", True, at=1000),
        Connection("", "192.0.2.2", 53, "udp", False, "because", at=1001),
    ]
    assert ear.answers.endswith(b"2\n")


def test_no_connection_is_made_while_too_many_wait_to_be_recorded(pipe: Pipe) -> None:
    for _ in range(4):
        pipe.clock[0] += 100.0
        connect(pipe.report, 100)
        pipe.said()
    assert pipe.report.full
    assert connect(pipe.report) == 0
    pipe.report.heard(b"10\n")
    pipe.clock[0] += 100.0
    assert connect(pipe.report, 20) == 10
    assert pipe.report.full


def test_what_was_not_acknowledged_is_said_again_to_the_next_gateway(pipe: Pipe) -> None:
    connect(pipe.report, 3)
    first = pipe.said()
    pipe.report.heard(b"1\nag")
    pipe.report.heard(b"ain\n")
    again = pipe.said()
    assert again.startswith(b'{"ready":true}\n')
    assert again.partition(b"\n")[2] == b"".join(first.splitlines(keepends=True)[1:])


async def test_what_cannot_be_recorded_is_not_acknowledged_nor_is_what_follows(pipe: Pipe) -> None:
    ear = Ear(records=False)
    hearing = ear.hearing()
    connect(pipe.report, 2)
    hearing.stdout(pipe.said())
    ear.records = True
    connect(pipe.report)
    hearing.stdout(pipe.said())
    assert (ear.seen, ear.answers) == ([], b"")


def test_refusals_over_a_rate_are_counted(pipe: Pipe) -> None:
    for _ in range(1000):
        pipe.report.refused("because", 1, address="192.0.2.1", port=1)
    pipe.report.tick(2)
    lines = pipe.said().splitlines()
    assert len(lines) == 61
    assert b'"count": 940' in lines[-1]


def test_connections_over_a_rate_are_not_made(pipe: Pipe) -> None:
    made = connect(pipe.report, 1000)
    assert 0 < made <= WINDOW
    pipe.clock[0] += 0.1
    pipe.report.heard(b"1000\n")
    assert connect(pipe.report, 1000) == 2


def test_an_outlet_that_nobody_reads_does_not_wait(pipe: Pipe) -> None:
    for _ in range(20):
        pipe.clock[0] += 100.0
        connect(pipe.report, 50)
        pipe.report.heard(b"0\n")
    pipe.report.refused("x" * 10_000, 1, name="y" * 10_000)
    assert max(map(len, pipe.said().splitlines())) < 4096


@pytest.mark.parametrize(
    "line", [b"", b"[]", b"nonsense", b'{"n":"1"}', b'{"n":-1}', b'{"n":true}', b"\xff\xfe", b"{" * 5000]
)
async def test_what_makes_no_sense_is_passed_over(line: bytes) -> None:
    ear = Ear()
    hearing = ear.hearing()
    hearing.stdout(line + b"\n")
    assert (ear.seen, ear.answers) == ([], b"")
    hearing.stdout(b'{"n":5,"name":["x"],"address":7,"port":"x","count":-3}\n')
    assert ear.seen == [Connection("", "", 0, "tcp", False)]
    assert ear.answers == b"5\n"


async def test_the_reason_of_a_failure_is_the_outlets_own() -> None:
    hearing = Ear().hearing()
    hearing.stdout(b'{"failed":"the network cannot be furnished"}\n')
    hearing.stderr(b"Traceback\nOSError: x\n")
    hearing.closed("it ended")
    assert hearing.failure == "the network cannot be furnished"
