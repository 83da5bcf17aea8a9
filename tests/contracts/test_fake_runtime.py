"""The runtime of the tests keeps the contract of runtimes, so that what is shown on it means something."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tidegate.domain.server import Command, ServerSpec
from tidegate.ports.runtime import Usage
from tidegate.testing import runtime_contract as contract
from tidegate.testing.fake_runtime import FakeRuntime, Pipes, Program
from tidegate.testing.live_contract import BUSY, LiveContract
from tidegate.testing.runtime_contract import Bench, RuntimeContract

INSTANCE = "fa4efa4efa4efa4e"


async def echo(pipes: Pipes) -> int:
    async def answer() -> None:
        while True:
            pipes.out(b"heard " + await pipes.line())

    async with asyncio.TaskGroup() as group:
        answering = group.create_task(answer())
        await pipes.closing.wait()  # it ends with its input, as a real one does
        answering.cancel()
    return 0


async def leave(pipes: Pipes) -> int:
    await pipes.line()
    return 7


async def both(pipes: Pipes) -> int:
    pipes.out(b"out\n")
    pipes.err(b"err\n")
    await pipes.closing.wait()
    return 0


async def flood(pipes: Pipes) -> int:
    while True:
        pipes.out(b"x" * 65536)
        await asyncio.sleep(0)


async def deaf(pipes: Pipes) -> int:
    pipes.out(b"up\n")
    await asyncio.Event().wait()
    return 0


async def sizes(pipes: Pipes) -> int:
    while True:
        line = await pipes.line()
        pipes.out(b"%d %b\n" % (len(line), b"y" * (len(line) - 1)))


async def busy(pipes: Pipes) -> int:
    pipes.out(b"up\n")
    while True:
        await pipes.line()
        pipes.out(b"done\n")


PROGRAMS: dict[str, Program] = {
    contract.ECHO: echo, contract.LEAVE: leave, contract.BOTH: both, contract.FLOOD: flood,
    contract.DEAF: deaf, contract.SIZES: sizes, BUSY: busy,
}  # fmt: skip


class TestFakeRuntime(LiveContract, RuntimeContract):
    @pytest.fixture
    async def bench(self) -> AsyncIterator[Bench]:
        def spec_of(program: str) -> ServerSpec:
            return ServerSpec("program", Command((program,)), "fake")

        runtime = FakeRuntime(INSTANCE, PROGRAMS)
        runtime.uses = Usage(1.0, 40 << 20, 40 << 20, 1)
        bench = Bench(runtime, INSTANCE, spec_of, reattaches=True)
        yield bench
        await bench.clean()
