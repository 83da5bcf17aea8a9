"""The contract of what only some runtimes can (`Pauses`, `Measures`, `Resizes`), as tests over a factory.

A test module makes a class of `LiveContract` with a fixture `bench`, as for `runtime_contract`.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from tidegate.domain.errors import RuntimeFailure
from tidegate.ports.runtime import Measures, Pauses, Resizes, Usage
from tidegate.testing.runtime_contract import ECHO, Bench

_MIB = 1024 * 1024
_STILL = 0.3
"""Seconds in which a server that is not frozen would have answered many times over."""
BUSY = (
    "import sys\n"
    "held = bytearray(b'x') * (32 << 20)\n"
    "print('up', flush=True)\n"
    "for line in sys.stdin:\n"
    "    sum(i * i for i in range(3_000_000))\n"
    "    print('done', flush=True)\n"
)


class LiveContract:
    """The tests. A subclass gives the fixture `bench`."""

    async def test_a_frozen_workload_answers_when_it_goes_on(self, bench: Bench) -> None:
        runtime = bench.runtime
        assert isinstance(runtime, Pauses)
        running, heard = await bench.run(ECHO)
        running.stream.write(b"one\n")
        await heard.until(lambda h: h.out == b"heard one\n")
        await runtime.pause(running.identity)
        await runtime.pause(running.identity)
        running.stream.write(b"two\n")
        try:
            await asyncio.wait_for(heard.until(lambda h: b"two" in h.out), _STILL)
        except TimeoutError:
            pass
        else:
            raise AssertionError("a frozen workload answered")
        seen = await bench.found(running.identity)
        assert seen is not None
        assert seen.running
        await runtime.resume(running.identity)
        await runtime.resume(running.identity)
        await heard.until(lambda h: h.out == b"heard one\nheard two\n")
        await runtime.pause(running.identity)
        async with asyncio.timeout(20):
            await runtime.stop(running.identity, 3)
        assert await bench.found(running.identity) is None

    async def test_what_a_workload_uses_is_told_and_grows_with_its_work(self, bench: Bench) -> None:
        runtime = bench.runtime
        assert isinstance(runtime, Measures)
        running, heard = await bench.run(BUSY)
        await heard.until(lambda h: h.out == b"up\n")
        first = await usage_of(runtime, bench, running.identity.id)
        running.stream.write(b"work\n")
        await heard.until(lambda h: h.out == b"up\ndone\n")
        second = await usage_of(runtime, bench, running.identity.id)
        assert 32 * _MIB <= second.memory <= 128 * _MIB
        assert second.memory_peak >= second.memory // 2
        assert 0.05 < second.cpu_seconds - first.cpu_seconds < 60
        assert second.pids >= 1

    async def test_what_is_not_there_is_not_measured(self, bench: Bench) -> None:
        assert isinstance(bench.runtime, Measures)
        assert await bench.runtime.usage([bench.identity(bench.spec_of(ECHO))]) == {}

    async def test_other_limits_hold_while_it_runs_or_it_is_said_that_they_cannot(self, bench: Bench) -> None:
        runtime = bench.runtime
        assert isinstance(runtime, Resizes)
        running, heard = await bench.run(ECHO)
        limits = bench.spec_of(ECHO).limits
        for factor in (2, 1):
            changed = replace(limits, memory=limits.memory * factor, cpus=0.5 * factor, pids=64 * factor)
            try:
                await runtime.resize(running.identity, changed)
            except RuntimeFailure as error:
                if "limits" in str(error):
                    return
                raise
            assert await self.memory_limit(bench, running.identity.id) in (None, changed.memory)
        running.stream.write(b"still there\n")
        await heard.until(lambda h: h.out == b"heard still there\n")

    async def memory_limit(self, bench: Bench, name: str) -> int | None:
        """Give the limit that the kernel or engine holds now; None where a suite has no way to see it."""
        return None


async def usage_of(runtime: Measures, bench: Bench, name: str) -> Usage:
    """Measure one workload, which there is."""
    identity = next(each for each in bench.started if each.id == name)
    return (await runtime.usage([identity]))[name]
