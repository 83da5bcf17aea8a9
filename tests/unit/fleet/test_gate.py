"""How many may start at once becomes another number while some are starting."""

from __future__ import annotations

import asyncio

from tidegate.fleet.gate import Gate
from tidegate.testing.loop_time import LoopTime


class Starting:
    """Starts that go on until they are let go."""

    def __init__(self, gate: Gate, count: int) -> None:
        self.now = 0
        self.end = asyncio.Event()
        self._gate = gate
        self.tasks = [asyncio.create_task(self._start()) for _ in range(count)]

    async def _start(self) -> None:
        async with self._gate.place(lambda: False):
            self.now += 1
            await self.end.wait()
            self.now -= 1


async def test_more_places_let_in_those_who_wait() -> None:
    time, gate = LoopTime(), Gate(1)
    starting = Starting(gate, 4)
    await time.settle()
    assert starting.now == 1
    gate.resize(3)
    await time.settle()
    assert starting.now == 3
    starting.end.set()
    await asyncio.wait(starting.tasks)


async def test_fewer_places_let_in_nobody_until_enough_have_left() -> None:
    time, gate = LoopTime(), Gate(3)
    first = Starting(gate, 3)
    await time.settle()
    gate.resize(1)
    then = Starting(gate, 2)
    await time.settle()
    assert (first.now, then.now) == (3, 0)
    first.end.set()
    await time.settle()
    assert (first.now, then.now) == (0, 1)
    then.end.set()
    await asyncio.wait([*first.tasks, *then.tasks])
