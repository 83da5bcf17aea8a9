"""The contract that every runtime keeps (`tidegate.ports.runtime`), as tests over a factory.

A test module makes a class of `RuntimeContract` with a fixture `bench`, which opens the runtime and says how
it runs a Python program:

    class TestProcess(RuntimeContract):
        @pytest.fixture
        async def bench(self, tmp_path): ... yield Bench(runtime, instance, spec_of)

What a runtime cannot do it declares in `Bench`; the test then sees that it says so.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from tidegate.domain.errors import ChannelClosed, RuntimeFailure
from tidegate.domain.server import ServerSpec
from tidegate.domain.workload import Observed, WorkloadIdentity, WorkloadKey
from tidegate.ports.runtime import Progress, Running, Runtime

_DEADLINE = 20.0
"""Seconds until a condition that a test waits for counts as never coming."""
_KEPT = 4 * 1024 * 1024
"""Bytes of an output that are kept; a flood is only counted."""

ECHO = "import sys\nfor line in sys.stdin:\n    sys.stdout.write('heard ' + line)\n    sys.stdout.flush()\n"
LEAVE = "import sys\nsys.stdin.readline()\nsys.exit(7)\n"
BOTH = "import sys\nprint('out', flush=True)\nprint('err', file=sys.stderr, flush=True)\nsys.stdin.read()\n"
FLOOD = "import os\nwhile True:\n    os.write(1, b'x' * 65536)\n"
DEAF = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up', flush=True)\ntime.sleep(600)\n"
SIZES = (
    "import sys\n"
    "for line in sys.stdin:\n"
    "    sys.stdout.write('%d ' % len(line) + 'y' * (len(line) - 1) + '\\n')\n"
    "    sys.stdout.flush()\n"
)


class Heard:
    """Keeps what a stream tells, up to a bound. A `StreamEvents`."""

    def __init__(self) -> None:
        self._out = bytearray()
        self._err = bytearray()
        self.count = 0
        """Bytes heard on standard output, kept or not."""
        self.reasons: list[str] = []
        self._changed = asyncio.Event()

    def stdout(self, data: bytes) -> None:
        """Keep it."""
        self.count += len(data)
        if len(self._out) < _KEPT:
            self._out += data
        self._changed.set()

    def stderr(self, data: bytes) -> None:
        """Keep it."""
        if len(self._err) < _KEPT:
            self._err += data
        self._changed.set()

    def closed(self, reason: str) -> None:
        """Keep it."""
        self.reasons.append(reason)
        self._changed.set()

    @property
    def out(self) -> bytes:
        """What came on standard output."""
        return bytes(self._out)

    @property
    def err(self) -> bytes:
        """What came on standard error."""
        return bytes(self._err)

    async def until(self, condition: Callable[[Heard], bool], seconds: float = _DEADLINE) -> None:
        """Wait until a condition holds; fail with what was heard when it does not come."""
        try:
            async with asyncio.timeout(seconds):
                while not condition(self):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            heard = f"out {self.out[-300:]!r}, err {self.err[-300:]!r}, closed {self.reasons}"
            raise AssertionError(f"never came; {heard}") from None


def nothing_said(progress: Progress) -> None:
    """Take progress and do nothing with it."""


@dataclass
class Bench:
    """A runtime under test."""

    runtime: Runtime
    instance: str
    spec_of: Callable[[str], ServerSpec]
    """Gives the spec of a stdio server that runs this Python program, which needs nothing but Python."""
    reattaches: bool
    """Whether a workload whose stream was dropped can be attached to again."""
    started: list[WorkloadIdentity] = field(default_factory=list[WorkloadIdentity])

    def identity(self, spec: ServerSpec) -> WorkloadIdentity:
        """Give a fresh identity for a spec, to be stopped at the end."""
        key = WorkloadKey(spec.name, spec.digest(), "shared")
        identity = WorkloadIdentity(f"tg-{spec.name}-{secrets.token_hex(4)}", self.instance, key)
        self.started.append(identity)
        return identity

    async def run(self, program: str) -> tuple[Running, Heard]:
        """Prepare and start a program."""
        spec, heard = self.spec_of(program), Heard()
        await self.runtime.prepare(spec, nothing_said)
        return await self.runtime.start(spec, self.identity(spec), heard), heard

    async def found(self, identity: WorkloadIdentity) -> Observed | None:
        """Give what `observe` says of a workload."""
        return next((one for one in await self.runtime.observe() if one.identity.id == identity.id), None)

    async def clean(self) -> None:
        """Stop whatever the test started."""
        for identity in self.started:
            await self.runtime.stop(identity, 0)


class RuntimeContract:
    """The tests. A subclass gives the fixture `bench`."""

    async def test_a_started_workload_answers_on_its_stream(self, bench: Bench) -> None:
        running, heard = await bench.run(ECHO)
        running.stream.write(b"one\n")
        running.stream.write(b"two\n")
        await heard.until(lambda h: h.out == b"heard one\nheard two\n")
        assert not heard.reasons

    async def test_the_first_bytes_of_a_workload_are_not_lost_and_streams_stay_apart(
        self, bench: Bench
    ) -> None:
        _, heard = await bench.run(BOTH)
        await heard.until(lambda h: h.out == b"out\n" and h.err == b"err\n")

    async def test_a_line_of_a_mebibyte_arrives_whole_in_both_directions(self, bench: Bench) -> None:
        running, heard = await bench.run(SIZES)
        size = 1024 * 1024
        running.stream.write(b"x" * (size - 1) + b"\n")
        await heard.until(lambda h: h.out.endswith(b"\n"))
        assert heard.out == b"%d " % size + b"y" * (size - 1) + b"\n"
        assert running.stream.backlog == 0

    async def test_an_exit_is_told_once_with_its_status(self, bench: Bench) -> None:
        running, heard = await bench.run(LEAVE)
        running.stream.write(b"go\n")
        await heard.until(lambda h: bool(h.reasons))
        assert heard.reasons == ["exited with status 7"]

    async def test_writing_to_a_stream_that_ended_says_so(self, bench: Bench) -> None:
        running, heard = await bench.run(LEAVE)
        running.stream.write(b"go\n")
        await heard.until(lambda h: bool(h.reasons))
        try:
            running.stream.write(b"more\n")
        except ChannelClosed:
            return
        raise AssertionError("a stream that ended took bytes")

    async def test_closing_the_stream_is_not_told_as_an_end_and_leaves_the_workload(
        self, bench: Bench
    ) -> None:
        running, heard = await bench.run(ECHO)
        await running.stream.close()
        await running.stream.close()
        seen = await bench.found(running.identity)
        assert heard.reasons == []
        if bench.reattaches:
            assert seen is not None
            assert seen.running

    async def test_a_dropped_workload_is_taken_up_again_or_the_runtime_says_it_cannot(
        self, bench: Bench
    ) -> None:
        running, _ = await bench.run(ECHO)
        spec, again = bench.spec_of(ECHO), Heard()
        await running.stream.close()
        try:
            taken = await bench.runtime.attach(spec, running.identity, again)
        except RuntimeFailure:
            assert not bench.reattaches
            return
        assert bench.reattaches
        taken.stream.write(b"still there\n")
        await again.until(lambda h: h.out.endswith(b"heard still there\n"))

    async def test_attaching_to_an_unknown_workload_fails(self, bench: Bench) -> None:
        spec = bench.spec_of(ECHO)
        try:
            await bench.runtime.attach(spec, bench.identity(spec), Heard())
        except RuntimeFailure:
            return
        raise AssertionError("attached to nothing")

    async def test_a_running_workload_is_observed_with_its_identity(self, bench: Bench) -> None:
        running, _ = await bench.run(ECHO)
        seen = await bench.found(running.identity)
        assert seen is not None
        assert seen.running
        assert seen.identity == running.identity

    async def test_a_stopped_workload_is_gone_and_stopping_again_is_no_error(self, bench: Bench) -> None:
        running, heard = await bench.run(ECHO)
        await bench.runtime.stop(running.identity, 5)
        assert await bench.found(running.identity) is None
        await bench.runtime.stop(running.identity, 5)
        assert heard.reasons == []

    async def test_stopping_an_unknown_workload_is_no_error(self, bench: Bench) -> None:
        await bench.runtime.stop(bench.identity(bench.spec_of(ECHO)), 1)

    async def test_a_workload_that_ended_by_itself_can_be_stopped(self, bench: Bench) -> None:
        running, heard = await bench.run(LEAVE)
        running.stream.write(b"go\n")
        await heard.until(lambda h: bool(h.reasons))
        await bench.runtime.stop(running.identity, 5)
        assert await bench.found(running.identity) is None

    async def test_a_workload_that_ignores_its_end_is_killed_after_the_grace(self, bench: Bench) -> None:
        running, heard = await bench.run(DEAF)
        await heard.until(lambda h: h.out == b"up\n")
        async with asyncio.timeout(_DEADLINE):
            await bench.runtime.stop(running.identity, 1)
        assert await bench.found(running.identity) is None

    async def test_a_flood_of_output_does_not_hold_up_a_stop(self, bench: Bench) -> None:
        running, heard = await bench.run(FLOOD)
        await heard.until(lambda h: h.count > 1024 * 1024)
        async with asyncio.timeout(_DEADLINE):
            await bench.runtime.stop(running.identity, 1)
        assert await bench.found(running.identity) is None

    async def test_what_holds_for_a_workload_is_told_to_people(self, bench: Bench) -> None:
        running, _ = await bench.run(ECHO)
        assert running.facts["sandbox"]
        assert running.facts["limits"]

    async def test_a_second_start_under_one_identity_fails_and_leaves_the_first(self, bench: Bench) -> None:
        running, heard = await bench.run(ECHO)
        try:
            await bench.runtime.start(bench.spec_of(ECHO), running.identity, Heard())
        except RuntimeFailure:
            running.stream.write(b"one\n")
            await heard.until(lambda h: h.out == b"heard one\n")
            return
        raise AssertionError("two workloads under one identity")
