"""Gateways that share a state store reach each other, within bounds, and know who is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.unit.gateway.stream_setting import settled
from tidegate.domain.errors import GatewayUnreachable, InvalidParams, StateError
from tidegate.extensions.state.memory import MemoryState
from tidegate.extensions.state.sqlite import SQLITE, SqliteSettings
from tidegate.gateway.mail import ALIVE, LARGEST, Mail, Take
from tidegate.ports.extension import Surroundings
from tidegate.ports.state import State
from tidegate.testing.loop_time import LoopTime

Open = Callable[..., Mail]


@pytest.fixture
async def time() -> LoopTime:
    return LoopTime()


@pytest.fixture
async def state(time: LoopTime) -> MemoryState:
    return MemoryState(clock=time)


@pytest.fixture
async def running() -> AsyncIterator[dict[str, asyncio.Task[None]]]:
    tasks: dict[str, asyncio.Task[None]] = {}
    yield tasks
    for task in tasks.values():
        task.cancel()
    await asyncio.wait(tasks.values())


@pytest.fixture
async def opened(state: MemoryState, running: dict[str, asyncio.Task[None]]) -> Open:
    def make(boot: str, shared: State = state) -> Mail:
        mail = Mail(shared, boot)
        mail.on("echo", echo)
        running[boot] = asyncio.create_task(mail.run())
        return mail

    return make


async def echo(sender: str, payload: bytes) -> bytes:
    return b"%b says %b" % (sender.encode(), payload)


async def test_a_request_is_answered_by_the_gateway_that_is_named(opened: Open) -> None:
    one, two = opened("one"), opened("two")
    opened("three")
    await settled(lambda: True)
    for mail in (one, two):
        await mail.announce()
    assert await one.request("two", "echo", b"hello", 5) == b"one says hello"
    assert await two.request("one", "echo", b"", 5) == b"two says "


async def test_letters_come_in_the_order_of_their_sender_and_once(opened: Open, state: MemoryState) -> None:
    one, two, came = opened("one"), opened("two"), list[bytes]()

    async def take(sender: str, payload: bytes) -> bytes:
        came.append(payload)
        return b""

    two.on("note", take)
    await two.announce()
    for number in range(100):
        assert one.post("two", "note", b"%d" % number)
    await settled(lambda: len(came) == 100)
    assert came == [b"%d" % number for number in range(100)]
    assert await state.scan("mail/") == []


async def test_a_letter_to_all_comes_to_every_other_gateway(opened: Open) -> None:
    mails, came = [opened(boot) for boot in ("one", "two", "three")], list[str]()

    def taking(boot: str) -> Take:
        async def take(sender: str, payload: bytes) -> bytes:
            came.append(boot)
            return b""

        return take

    for mail in mails:
        mail.on("note", taking(mail.boot))
        await mail.announce()
    assert mails[0].post_all("note", b"x")
    await settled(lambda: len(came) == 2)
    assert sorted(came) == ["three", "two"]


async def test_everyone_else_is_asked_and_those_that_do_not_answer_are_left_out(
    opened: Open, state: MemoryState, time: LoopTime
) -> None:
    one, two = opened("one"), opened("two")
    await two.announce()
    await Mail(state, "dead").announce()  # one that was killed a moment ago
    asking = asyncio.create_task(one.request_all("echo", b"x", 2.0))
    await time.until(asking.done)
    assert asking.result() == {"two": b"one says x"}


async def test_a_gateway_is_known_to_be_gone_at_once_when_it_stops_and_soon_when_it_is_killed(
    opened: Open, running: dict[str, asyncio.Task[None]], state: MemoryState, time: LoopTime
) -> None:
    one = opened("one")
    opened("two")
    killed = Mail(state, "killed")
    await killed.announce()
    await time.settle()
    assert await one.alive("one")
    assert sorted(await one.others()) == ["killed", "two"]
    running["two"].cancel()
    await asyncio.wait([running["two"]])
    assert not await one.alive("two")
    await time.advance(ALIVE + 1)
    assert await one.others() == []
    with pytest.raises(GatewayUnreachable, match="no gateway 'killed' runs"):
        await one.request("killed", "echo", b"", 5)


async def test_a_request_that_is_not_answered_fails_in_time(opened: Open, time: LoopTime) -> None:
    one, silent = opened("one"), opened("silent")
    silent.on("never", never)
    await silent.announce()
    asking = asyncio.create_task(one.request("silent", "never", b"", 30))
    assert 29 < await time.until(asking.done, 32) < 31.5
    assert isinstance(asking.exception(), GatewayUnreachable)


async def test_a_request_to_a_gateway_that_dies_meanwhile_waits_no_longer(
    opened: Open, state: MemoryState, time: LoopTime
) -> None:
    one = opened("one")
    await Mail(state, "killed").announce()
    asking = asyncio.create_task(one.request("killed", "echo", b"", 60))
    assert await time.until(asking.done, 60) < ALIVE + 2
    assert isinstance(asking.exception(), GatewayUnreachable)


async def never(sender: str, payload: bytes) -> bytes:
    await asyncio.Event().wait()
    return b""


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("unknown", "takes no such letter"),
        ("refuses", "not like this"),
        ("breaks", "fault of its own"),
        ("much", "too large"),
    ],
)
async def test_a_failure_there_is_told_here_and_harms_no_other_letter(
    opened: Open, kind: str, said: str
) -> None:
    async def refuse(sender: str, payload: bytes) -> bytes:
        raise InvalidParams("not like this")

    async def fail(sender: str, payload: bytes) -> bytes:
        raise ZeroDivisionError

    async def much(sender: str, payload: bytes) -> bytes:
        return bytes(LARGEST + 1)

    one, two = opened("one"), opened("two")
    for name, take in (("refuses", refuse), ("breaks", fail), ("much", much)):
        two.on(name, take)
    await two.announce()
    with pytest.raises(GatewayUnreachable, match=said):
        await one.request("two", kind, b"", 5)
    assert await one.request("two", "echo", b"x", 5) == b"one says x"


async def test_a_letter_over_the_bound_is_refused_and_one_at_it_arrives(opened: Open) -> None:
    one, two = opened("one"), opened("two")
    two.on("size", size)
    await two.announce()
    assert await one.request("two", "size", bytes(LARGEST), 5) == b"%d" % LARGEST
    with pytest.raises(StateError, match="too large for another gateway"):
        one.post("two", "size", bytes(LARGEST + 1))
    with pytest.raises(StateError, match="too large for another gateway"):
        await one.request("two", "size", bytes(LARGEST + 1), 5)


async def size(sender: str, payload: bytes) -> bytes:
    return b"%d" % len(payload)


async def test_nothing_is_kept_for_a_gateway_that_is_gone(
    opened: Open, state: MemoryState, time: LoopTime
) -> None:
    one = opened("one")
    for _ in range(100):
        one.post("gone", "echo", b"x")
    await time.settle()
    assert await state.scan("mail/") == []


async def test_what_waits_to_be_sent_is_bounded(state: MemoryState) -> None:
    mail = Mail(state, "one")
    sent = [mail.post("two", "echo", b"x") for _ in range(1100)]
    assert sent.count(True) == 1024


async def test_it_works_between_processes_that_share_a_file(tmp_path: Path) -> None:
    around = Surroundings(tmp_path, "")
    async with (
        SQLITE.open(SqliteSettings(), around) as first,
        SQLITE.open(SqliteSettings(), around) as second,
    ):
        one, two = Mail(first, "one"), Mail(second, "two")
        two.on("echo", echo)
        tasks = [asyncio.create_task(each.run()) for each in (one, two)]
        await two.announce()
        assert await one.request("two", "echo", b"hello", 5) == b"one says hello"
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert await one.others() == []


async def test_what_clients_can_send_to_all_leaves_room_for_what_is_waited_for(state: MemoryState) -> None:
    mail = Mail(state, "one")  # nothing is delivered yet
    sent = sum(mail.post_all("echo", b"") for _ in range(2000))
    assert 0 < sent < sum(mail.post("two", "echo", b"") for _ in range(2000)) + sent == 1024
