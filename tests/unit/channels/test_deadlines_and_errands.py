"""Many deadlines on one timer, and small requests that nobody waits for."""

from __future__ import annotations

import asyncio

import pytest

from tidegate.channels.deadlines import LONGEST_PAUSE, Deadlines, Pauses
from tidegate.channels.errands import Errands
from tidegate.channels.inbox import id_prefix
from tidegate.testing.scripted import until


class Item:
    def __init__(self, after: float, expired: list[Item]) -> None:
        self.deadline = asyncio.get_running_loop().time() + after
        self._expired = expired

    def expire(self) -> None:
        self._expired.append(self)


async def test_each_deadline_passes_once_and_in_time_whatever_the_order_they_were_given_in():
    expired: list[Item] = []
    deadlines = Deadlines(asyncio.get_running_loop())
    late, soon, never, later = (Item(after, expired) for after in (0.03, 0.01, 60, 0.05))
    for item in (late, soon, never, later):
        deadlines.add(item)
    await until(lambda: len(expired) == 3)
    assert expired == [soon, late, later]
    deadlines.close()


async def test_what_is_discarded_does_not_expire():
    expired: list[Item] = []
    deadlines = Deadlines(asyncio.get_running_loop())
    gone, stays = Item(0.01, expired), Item(0.02, expired)
    deadlines.add(gone)
    deadlines.add(stays)
    deadlines.discard(gone)
    deadlines.discard(gone)
    await until(lambda: bool(expired))
    assert expired == [stays]


async def test_what_is_added_while_another_expires_is_watched_too():
    expired: list[Item] = []
    deadlines = Deadlines(asyncio.get_running_loop())

    class Adding(Item):
        def expire(self) -> None:
            super().expire()
            deadlines.add(Item(0.01, expired))

    deadlines.add(Adding(0.01, expired))
    await until(lambda: len(expired) == 2)


async def test_a_deadline_that_is_never_needs_no_timer():
    deadlines = Deadlines(asyncio.get_running_loop())
    deadlines.add(Item(float("inf"), []))
    expired: list[Item] = []
    deadlines.add(Item(0.01, expired))
    await until(lambda: bool(expired))


async def test_errands_run_up_to_their_bound():
    gate = asyncio.Event()
    done: list[int] = []

    async def errand(number: int) -> None:
        await gate.wait()
        done.append(number)

    errands = Errands(most=2)
    assert [errands.run(errand(number)) for number in range(3)] == [True, True, False]
    gate.set()
    await until(lambda: done == [0, 1])
    assert errands.run(errand(3))
    await errands.close(5)
    assert done == [0, 1, 3]
    assert not errands.run(errand(4))


async def test_closing_waits_no_longer_than_it_may():
    stopped = asyncio.Event()

    async def stuck() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    errands = Errands()
    errands.run(stuck())
    await asyncio.wait_for(errands.close(0.01), 5)
    assert stopped.is_set()


@pytest.mark.parametrize("epoch", ["", "a-b", 'a"b', "ü"])
def test_an_epoch_that_could_be_mistaken_is_refused(epoch: str):
    with pytest.raises(ValueError, match="letters and digits"):
        id_prefix(epoch)


def test_a_deadline_is_put_off_by_the_time_that_questions_were_open_and_questions_at_once_count_once():
    pauses = Pauses()
    assert pauses.more(5) == 0
    pauses.begin(10)
    pauses.begin(12)
    pauses.end(15)
    pauses.end(20)
    pauses.begin(30)
    pauses.end(35)
    assert pauses.more(60) == 15
    assert pauses.more(75) == 0
    assert pauses.granted == 15


def test_while_a_question_is_open_there_is_always_more_time_but_not_for_ever():
    pauses, now, ends = Pauses(), 100.0, 100.5
    pauses.begin(now)
    looks = 0
    while more := pauses.more(ends):
        ends += more
        looks += 1
    assert LONGEST_PAUSE <= ends - now <= LONGEST_PAUSE + 2
    assert looks <= LONGEST_PAUSE + 1
