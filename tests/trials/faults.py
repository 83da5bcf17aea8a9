"""Faults: all that can befall a fleet, under steady load: containers and processes killed and paused, the engine
restarted, killed and hung, the network to a remote server cut, the journal's disk full, the clock set forward and back, the
gateway killed.

Clients of both eras call servers with one replica, with two, with memory and by URL all the while. At the end what was
declared runs again, every call that was refused or failed is accounted for in the journal, and nothing is left over.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import unused_port
from tests.integration.faults.contained import contained, containers, image
from tests.integration.faults.own_engine import OwnEngine, own_engine
from tests.integration.gateway.gateway import Gateway, marked, server
from tests.integration.real.images import docker
from tests.servers.launch import listening
from tests.trials.parts import report
from tests.trials.parts.books import Books, balance
from tests.trials.parts.callers import Caller, Made, tally
from tests.trials.parts.sdk import SdkCaller
from tests.trials.parts.watch import Held, held, left, settle

SERVERS = ("pair", "twins", "one", "keeps", "far")
PAIRS = ("pair", "twins")
"""Those with two replicas: in containers, and as processes."""
CLIENTS, SDK_CLIENTS = 6, 2
BETWEEN = (5.0, 15.0)
"""Seconds between faults."""
SHORT = 5
"""Minutes up to which clients call as fast as they can; in longer ones they take their time, or the journal is too large
to be compared with what they heard."""
DISK = 64
"""Megabytes of disk that the journal has, and `A_MINUTE` more for each minute."""
A_MINUTE = 16
AFTERMATH = 3.0
"""Seconds after a fault of the engine or the gateway that count as part of it."""


def declared(url: str) -> dict[str, object]:
    """Declare the servers."""
    shared: dict[str, object] = {"stateless": True, "sharing": "shared", "timeouts": {"call": 5}}
    two = {"min": 2, "max": 3}
    return {
        "pair": contained("legacy_stdio", replicas=two, **shared),
        "twins": server("dual_era", replicas=two, **shared),
        "one": contained("legacy_stdio", **shared),
        "keeps": contained("legacy_stdio", timeouts={"call": 5}),
        "far": {"url": url, **shared},
    }


async def one_call(caller: Caller, dice: random.Random) -> None:
    """Make one call of the mix: mostly short, some slow, some long."""
    name, kind = dice.choice(SERVERS), dice.random()
    if kind < 0.03:
        await caller.call(name, "slow", {"seconds": dice.uniform(0.1, 0.5), "steps": 1}, "slept")
    else:
        await caller.echo(name, padding=dice.choice((0, 0, 0, 10_000, 200_000)) if kind < 0.3 else 0)


class Wire:
    """The way to the remote server, which can be cut."""

    def __init__(self, to: int) -> None:
        self.cut = False
        self._to = to
        self._open: set[asyncio.StreamWriter] = set()

    async def serve(self) -> asyncio.Server:
        """Listen on a port of loopback."""
        return await asyncio.start_server(self._take, "127.0.0.1", 0)

    def part(self) -> None:
        """Cut it: what is open breaks off, what comes is dropped."""
        self.cut = True
        for each in self._open:
            each.transport.abort()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.cut:
            writer.transport.abort()
            return
        self._open.add(writer)
        try:
            with contextlib.suppress(OSError):
                there, to_there = await asyncio.open_connection("127.0.0.1", self._to)
                self._open.add(to_there)
                await asyncio.gather(_pipe(reader, to_there), _pipe(there, writer))
                self._open.discard(to_there)
        finally:
            self._open.discard(writer)
            writer.close()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


@dataclass
class Faults:
    """Breaks something now and then, and remembers when the engine or the gateway was away."""

    engine: OwnEngine
    wire: Wire
    clock: Path | None
    """File that holds by how much the gateway's clock is off, where that can be."""
    between: tuple[float, float]
    """Seconds."""
    gateway: Gateway = field(init=False)
    done: Counter[str] = field(default_factory=Counter[str])
    away: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    """From when to when the engine or the gateway was away, on the loop's clock."""
    full: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    """From when to when the journal's disk had no room."""
    back: list[float] = field(default_factory=list[float])
    """Seconds from the engine's return until a server in containers answered."""
    restarts: list[float] = field(default_factory=list[float])
    began: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    """When each fault began, on the loop's clock, and which it is."""
    dice: random.Random = field(default_factory=lambda: random.Random(23))

    async def run(self, until: float) -> None:
        """Go on until a moment of the loop's clock."""
        ways: list[Callable[[], Awaitable[None]]] = [
            self.container, self.container, self.container, self.pause, self.process, self.process,
            self.network, self.disk, self.crash, self.restart_engine, self.kill_engine, self.hang_engine,
        ]  # fmt: skip
        if self.clock is not None:
            ways.append(self.jump)
        while asyncio.get_running_loop().time() < until:
            await asyncio.sleep(self.dice.uniform(*self.between))
            way = self.dice.choice(ways)
            name = str(getattr(way, "__name__", ""))
            self.began.append((asyncio.get_running_loop().time(), name.replace("_", " ")))
            report.say(f"{time.strftime('%H:%M:%S')} {name}")
            await way()

    async def container(self) -> None:
        await self._docker("kill", "container killed")

    async def pause(self) -> None:
        await self._docker("pause", "container paused by hand")

    async def _docker(self, word: str, what: str) -> None:
        with contextlib.suppress(RuntimeError, subprocess.TimeoutExpired):  # it may be gone, or not run yet
            found = await asyncio.to_thread(containers, self.gateway, "--host", self.engine.url)
            if found:
                await asyncio.to_thread(docker, "--host", self.engine.url, word, self.dice.choice(found))
                self.done[what] += 1

    async def process(self) -> None:
        found = sorted(self.gateway.pids())
        if found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.dice.choice(found), signal.SIGKILL)
                self.done["process killed"] += 1

    async def network(self) -> None:
        self.wire.part()
        await asyncio.sleep(self.dice.uniform(0.5, 3.0))
        self.wire.cut = False
        self.done["network to the remote server cut"] += 1

    async def disk(self) -> None:
        ballast = self.gateway.state / "ballast"
        clock = asyncio.get_running_loop().time
        began = clock()
        await asyncio.to_thread(fill, ballast)
        await asyncio.sleep(self.dice.uniform(0.5, 2.0))
        await asyncio.to_thread(ballast.unlink, missing_ok=True)
        self.full.append((began, clock() + 1.0))
        self.done["disk of the journal full"] += 1

    async def jump(self) -> None:
        assert self.clock is not None
        self.clock.write_text(self.dice.choice(("+1h", "-30m", "+2d", "+0")) + "\n")
        self.done["clock set"] += 1

    async def crash(self) -> None:
        async with self._away():
            await asyncio.to_thread(self.gateway.kill)
            began = time.monotonic()
            await asyncio.to_thread(self.gateway.start)
            self.restarts.append(time.monotonic() - began)
        self.done["gateway killed (SIGKILL)"] += 1

    async def restart_engine(self) -> None:
        await self._engine(signal.SIGTERM, "engine restarted")

    async def kill_engine(self) -> None:
        await self._engine(signal.SIGKILL, "engine killed (SIGKILL)")

    async def _engine(self, number: int, what: str) -> None:
        async with self._away():
            await asyncio.to_thread(self.engine.end, number)
            await asyncio.to_thread(self.engine.start)
            await self._answers_again()
        self.done[what] += 1

    async def hang_engine(self) -> None:
        async with self._away():
            self.engine.freeze()
            await asyncio.sleep(self.dice.uniform(2, 6))
            self.engine.thaw()
            await self._answers_again()
        self.done["engine hung"] += 1

    async def _answers_again(self) -> None:
        """Wait until a server in containers is ready again."""
        began = time.monotonic()
        with contextlib.suppress(AssertionError):
            await asyncio.to_thread(self.gateway.until_servers, pair="ready")
            self.back.append(time.monotonic() - began)

    @contextlib.asynccontextmanager
    async def _away(self):
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            yield
        finally:
            self.away.append((began, clock() + AFTERMATH))


def fill(ballast: Path) -> None:
    """Take all the room there is, and with it what comes free for a moment."""
    with ballast.open("ab", buffering=0) as to:
        for size in (1024 * 1024, 65536, 4096):
            with contextlib.suppress(OSError):
                while to.write(b"x" * size) == size:
                    pass


def counted(callers: Sequence[Caller], faults: Faults, name: str) -> list[Made]:
    """Give a server's calls while engine and gateway were there and the disk had room."""
    apart = (*faults.away, *faults.full)
    return [
        each
        for caller in callers
        for each in caller.made
        if each.server == name and not any(begin <= each.ended and each.began <= end for begin, end in apart)
    ]


def availability(callers: Sequence[Caller], faults: Faults, name: str) -> tuple[int, int]:
    """Count those calls, and those of them that failed."""
    made = counted(callers, faults, name)
    return len(made), sum(each.came != "ok" for each in made)


def afterwards(callers: Sequence[Caller], faults: Faults, name: str) -> str:
    """Say what the failed ones got, and which fault came last before each began or while it went on."""
    kinds: Counter[str] = Counter()
    for each in counted(callers, faults, name):
        if each.came != "ok":
            before = [what for when, what in faults.began if when <= each.ended]
            kinds[f"{each.came} ({before[-1] if before else 'none yet'})"] += 1
    return ", ".join(f"{kind}: {count}" for kind, count in kinds.most_common(12))


@contextmanager
def small_disk(state: Path, megabytes: int) -> Iterator[None]:
    """Give the state directory a small disk of its own."""
    state.mkdir(mode=0o700)
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "tmpfs", str(state)]
    subprocess.run(command, check=True, timeout=20)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(state)], check=False, timeout=20)


@contextmanager
def false_clock(place: Path) -> Iterator[Path | None]:
    """Have the gateway read its clock from a file, where libfaketime is installed."""
    found = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    if found is None:
        yield None
        return
    offset = place / "clock"
    offset.write_text("+0\n")
    os.environ.update(
        LD_PRELOAD=str(found), FAKETIME_TIMESTAMP_FILE=str(offset), FAKETIME_DONT_FAKE_MONOTONIC="1",
        FAKETIME_NO_CACHE="1",
    )  # fmt: skip
    try:
        yield offset
    finally:
        for name in (
            "LD_PRELOAD",
            "FAKETIME_TIMESTAMP_FILE",
            "FAKETIME_DONT_FAKE_MONOTONIC",
            "FAKETIME_NO_CACHE",
        ):
            del os.environ[name]


async def trial(
    minutes: float, between: tuple[float, float] = BETWEEN, *, judged: bool = True
) -> tuple[str, list[str]]:
    """Run it; give the report and what is wrong. `judged`: whether it is long enough to speak of availability."""
    with tempfile.TemporaryDirectory(prefix="tg-faults-") as directory, contextlib.ExitStack() as stack:
        place = Path(directory)
        name = await asyncio.to_thread(image)
        engine = stack.enter_context(own_engine(live_restore=False))
        await asyncio.to_thread(engine.load, name, place / "python.tar")
        stack.enter_context(small_disk(place / ".tidegate", DISK + int(A_MINUTE * minutes)))
        port = unused_port()
        async with listening("legacy_http", "--port", str(port)):
            wire = Wire(port)
            listener = await wire.serve()
            url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/mcp"
            try:
                with false_clock(place) as clock:
                    return await under_load(place, Faults(engine, wire, clock, between), url, minutes, judged)
            finally:
                listener.close()


async def under_load(
    place: Path, faults: Faults, url: str, minutes: float, judged: bool
) -> tuple[str, list[str]]:
    """Start the gateway and its clients, break things, and look at what came of it."""
    loop, clock, engine = asyncio.get_running_loop(), faults.clock, faults.engine
    settings = marked({"servers": declared(url)}, place)
    settings["runtimes"] = {"docker": {"socket": engine.url, "deadlines": {"call": 3}}}
    settings["journal"] = {"segment_size": "1MiB"}
    gateway = faults.gateway = Gateway(place, settings)
    try:
        await asyncio.to_thread(gateway.start)
        await settle(gateway, SERVERS)
        pace = 0.005 if minutes < SHORT else 0.05
        callers = [Caller(gateway, f"c{n}", modern=n % 2 == 0, pace=pace) for n in range(CLIENTS)]
        callers += [SdkCaller(gateway, f"s{n}", modern=n % 2 == 0, pace=pace) for n in range(SDK_CLIENTS)]
        until = loop.time() + minutes * 60
        async with asyncio.TaskGroup() as group:
            group.create_task(faults.run(until - 15))
            for caller in callers:
                group.create_task(caller.run(until, one_call))
        if clock is not None:
            clock.write_text("+0\n")
        wrong: list[str] = []
        try:
            await settle(gateway, SERVERS)
        except AssertionError as error:
            wrong.append(f"what was declared does not run again: {error}")
        at_end = await asyncio.to_thread(held, gateway)
        status = await asyncio.to_thread(gateway.stop)
        if status != 0:
            wrong.append(f"the gateway ended with status {status}")
        books = balance(callers, gateway.records())
        remains = await asyncio.to_thread(left, gateway, docker=False)
        remains["containers"] = len(containers(gateway, "--host", engine.url))
        wrong += books.faults + [f"{count} {what} left" for what, count in remains.items() if count]
        wrong += [
            each for each in gateway.said().splitlines() if "Traceback" in each or "supervisor.failed" in each
        ]
        verified = await asyncio.to_thread(gateway.command, "audit", "verify")
        if verified.returncode != 0:
            wrong.append(f"the journal does not verify: {verified.stdout[-500:]}")
        for name in PAIRS if judged else ():
            made, failed = availability(callers, faults, name)
            if failed > made / 1000:
                wrong.append(f"{name}: {failed} of {made} calls failed while engine and gateway were there")
        return written(minutes, faults, callers, books, at_end), wrong
    finally:
        gateway.kill()
        await asyncio.to_thread(gateway.command, "clean")


def written(minutes: float, faults: Faults, callers: list[Caller], books: Books, at_end: Held) -> str:
    """Write the report."""
    rows = []
    for name in SERVERS:
        made, failed = availability(callers, faults, name)
        available = f"{100 * (1 - failed / made):.2f} %" if made else "-"
        rows.append((name, made, failed, available, afterwards(callers, faults, name)))
    head = ("server", "calls", "failed", "available", "what the failed ones got (the last fault by then)")
    here = report.table(head, rows)
    clock = (
        "" if faults.clock is not None else "\nThe clock was not set: libfaketime is not installed here.\n"
    )
    return f"""# Trial: faults

{__doc__}
{minutes:g} minutes, {CLIENTS + SDK_CLIENTS} clients (half of each era; {SDK_CLIENTS} of them are the Python SDK's). *pair* and *twins* have two replicas (containers, processes), *one* has one
container, *keeps* one container for each principal, with memory, *far* is reached by URL. {report.machine()}. Run again with
`scripts/trial faults --minutes {minutes:g}`.
{clock}
{report.counts("what was broken", dict(faults.done.most_common()))}
While the engine and the gateway were there ({AFTERMATH:g} s after their return count as away) and the disk had room:

{here}
All of the time:

{report.counts("what came of a call", tally(callers))}
{report.counts("outcome in the journal", dict(books.outcomes.most_common()))}
- Calls made: {books.calls}; intents in the journal: {books.intents}; broken off before anything was recorded: {books.never_arrived}.
- Every intent has exactly one outcome; every call is in the journal, and everything in the journal is a call; no answer was
  another call's; the journal verifies.
- After the engine's return a server in containers was ready within {report.spread(faults.back)}; a gateway that was killed answered
  again after {report.spread(faults.restarts)}.
- At the end the last gateway held {at_end.rss:.0f} MB, {at_end.descriptors} descriptors and {at_end.threads} threads; after its
  stop no container, process, remembered workload or socket of it was left.
"""


if __name__ == "__main__":
    chosen = report.options(__doc__, minutes=4)
    if shutil.which("dockerd") is None or os.geteuid() != 0:
        raise SystemExit("this trial starts an engine of its own: it needs root and dockerd")
    report.end(*asyncio.run(trial(chosen.minutes)))
