"""Turns and rests: one that asks for hundreds at a time keeps nobody waiting; refused all the time, it is answered later."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.edge.conftest import Listen
from tests.unit.edge.setting import Wire, raw_post, tool
from tests.unit.fleet.setting import spec
from tidegate.domain.server import Sharing
from tidegate.edge.connection import HttpBounds, Server
from tidegate.edge.exchange import Exchange, Request
from tidegate.edge.rests import FREE, LONGEST, PER_SECOND, Rests
from tidegate.edge.turns import AT_ONCE, FEW, Turns
from tidegate.ports.identity import Credentials
from tidegate.testing.clock import VirtualClock


class Served:
    """A site that keeps what it was asked."""

    def __init__(self) -> None:
        self.served: list[Exchange] = []

    async def serve(self, exchange: Exchange) -> None:
        """Keep it."""
        self.served.append(exchange)

    def malformed(self, peer: str, reason: str) -> None:
        """Take no notice."""


class Cut:
    """A connection that nothing comes of."""

    peer, chunks, keep = "192.0.2.1", True, True
    certificate: bytes | None = None
    credentials: Credentials | None = None

    def __init__(self) -> None:
        self.gone = False
        self.finished_with: list[Exchange] = []

    def write(self, data: bytes) -> None:
        """Send nothing."""

    async def drained(self) -> None:
        """Wait for nothing."""

    def finished(self, exchange: Exchange) -> None:
        """Keep it."""
        self.finished_with.append(exchange)

    def abort(self) -> None:
        """Do nothing."""


class Asked:
    """Requests that wait for their turn, and the order in which they are begun."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self._names: dict[int, str] = {}
        self._kept: list[Exchange] = []
        self._under_way: list[Exchange] = []
        self._task = asyncio.current_task()
        self.turns = Turns(asyncio.get_running_loop(), self._begin, self._whose)

    def ask(self, who: str, times: int = 1) -> None:
        """Ask so often; who asks is before the colon."""
        for number in range(times):
            exchange = Exchange(None, Request(b"POST", "/mcp", {}))  # pyright: ignore[reportArgumentType]
            self._kept.append(exchange)
            self._names[id(exchange)] = f"{who}:{number}"
            self.turns.add(exchange)

    def end(self) -> None:
        """Have the oldest that is under way end."""
        self.turns.ended(self._under_way.pop(0))

    def _begin(self, exchange: Exchange) -> None:
        self.begun.append(self._names[id(exchange)])
        self._under_way.append(exchange)
        exchange.task = self._task

    def _whose(self, exchange: Exchange) -> str:
        return self._names[id(exchange)].partition(":")[0]


async def test_those_who_ask_take_turns_each_in_its_own_order() -> None:
    asked = Asked()
    asked.ask("greedy", 5)
    asked.ask("ann", 2)
    asked.ask("ben")
    while asked.turns.waiting:
        await asyncio.sleep(0)
    expected = ["greedy:0", "ann:0", "ben:0", "greedy:1", "ann:1", "greedy:2", "greedy:3", "greedy:4"]
    assert asked.begun == expected


async def test_a_few_are_begun_in_each_turn_of_the_loop_and_who_comes_meanwhile_is_next() -> None:
    asked = Asked()
    asked.ask("greedy", 300)
    for number in range(1, 11):
        await asyncio.sleep(0)
        assert len(asked.begun) == AT_ONCE * number
    asked.ask("ann")
    await asyncio.sleep(0)
    assert asked.begun[AT_ONCE * 10 :] == ["ann:0"]
    await asyncio.sleep(0)
    assert asked.turns.waiting == 300 - AT_ONCE * 10  # of the greedy one enough are under way now


async def test_of_many_who_ask_a_few_have_their_turn_at_once_each_with_one() -> None:
    asked = Asked()
    for number in range(3 * AT_ONCE):
        asked.ask(f"p{number}", 2)
    await asyncio.sleep(0)
    assert asked.begun == [f"p{number}:0" for number in range(AT_ONCE)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(asked.begun) == len(set(asked.begun)) == 3 * AT_ONCE
    assert all(each.endswith(":0") for each in asked.begun)


async def test_while_others_ask_one_with_a_few_under_way_goes_on_as_they_end() -> None:
    asked = Asked()
    asked.ask("ann")
    asked.ask("greedy", 30)
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(asked.begun) == 1 + FEW
    for _ in range(3):
        asked.end()
    await asyncio.sleep(0)
    asked.ask("ann")
    for _ in range(5):
        await asyncio.sleep(0)
    assert asked.begun[1 + FEW :].count("greedy:8") == 1
    assert len(asked.begun) == 1 + FEW + 2 + 1
    assert asked.begun.count("ann:0") == 2


async def test_one_whose_calls_are_slow_goes_on_all_the_same() -> None:
    asked = Asked()
    asked.ask("ann")
    asked.ask("greedy", FEW + 5)
    async with asyncio.timeout(5):
        while len(asked.begun) < 1 + FEW + 5:
            await asyncio.sleep(0.002)


async def test_nobody_is_remembered_who_has_nothing_here() -> None:
    asked = Asked()
    asked.ask("ann", 3)
    asked.ask("greedy", 5)
    while asked.turns.waiting:
        await asyncio.sleep(0)
    for _ in range(8):
        asked.end()
    assert not asked.turns.begun
    assert not asked.turns._askers  # pyright: ignore[reportPrivateUsage]


async def test_at_the_end_all_that_wait_are_begun() -> None:
    asked = Asked()
    asked.ask("greedy", 20)
    asked.turns.all_now()
    assert len(asked.begun) == 20
    await asyncio.sleep(0)
    assert len(asked.begun) == 20


async def test_one_call_of_another_is_answered_before_most_of_many(listen: Listen) -> None:
    edge = await listen(spec("one", sharing=Sharing.SHARED))
    wires = [await edge.connect() for _ in range(5 * AT_ONCE)]
    other = await edge.connect()
    headers, body = tool("one__echo", text="x")
    assert (await other.post(body, Authorization="ben", **_named(headers))).status == 200
    order: list[str] = []

    async def answered(wire: Wire, who: str) -> None:
        assert (await wire.read()).status == 200
        order.append(who)

    for wire in wires:
        wire.writer.write(raw_post(body, headers))
    other.writer.write(raw_post(body, {**headers, "Authorization": "ben"}))
    async with asyncio.TaskGroup() as group:
        for wire in wires:
            group.create_task(answered(wire, "ann"))
        group.create_task(answered(other, "ben"))
    assert order.index("ben") < 3 * AT_ONCE
    assert len(order) == 5 * AT_ONCE + 1
    for wire in (*wires, other):
        await wire.close()


@pytest.mark.parametrize("gone", [False, True])
async def test_a_request_whose_client_went_away_before_its_turn_is_not_begun(*, gone: bool) -> None:
    site, wire = Served(), Cut()
    server = Server(site, HttpBounds())
    wire.gone = gone
    exchange = Exchange(wire, Request(b"POST", "/mcp", {}))
    server.turns.add(exchange)
    while server.turns.waiting or server.active:
        await asyncio.sleep(0)
    assert len(site.served) == (0 if gone else 1)
    assert wire.finished_with == [exchange]
    assert server.fresh == 0


def test_few_refusals_wait_for_nothing_and_many_more_and_more() -> None:
    clock = VirtualClock()
    rests = Rests(clock)
    assert [rests.after("ann") for _ in range(FREE)] == [0.0] * FREE
    waits = [rests.after("ann") for _ in range(int(PER_SECOND * LONGEST * 2))]
    assert waits[0] == pytest.approx(1 / PER_SECOND)
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST
    assert rests.after("ben") == 0.0
    clock.advance(LONGEST + FREE / PER_SECOND)
    assert rests.after("ann") == 0.0


def test_no_more_refusals_a_second_go_out_than_said() -> None:
    clock = VirtualClock(0.0)
    rests, connections, answered = Rests(clock), [0.0] * 300, 0
    while clock() < 10.0:  # each asks anew when it is answered
        for number, free in enumerate(connections):
            if free <= clock():
                answered += 1
                connections[number] = clock() + rests.after("greedy")
        clock.advance(0.005)
    assert answered <= FREE + 300 + 10.5 * PER_SECOND


def _named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("-", "_"): value for name, value in headers.items()}
