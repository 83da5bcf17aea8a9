"""Much work is done in one thread beside the loop, piece by piece, and ends with who waits for it."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tidegate.access.beside import Lane, Pace, here
from tidegate.testing.scripted import until


async def test_work_is_done_in_another_thread_and_what_is_little_on_the_loops_own() -> None:
    def thread(_: Pace) -> int:
        return threading.get_ident()

    assert await Lane().run(thread) != threading.get_ident()
    assert await here(thread) == threading.get_ident()


async def test_pieces_are_done_one_after_the_other_in_the_order_they_were_wanted() -> None:
    lane, under_way, most, order = Lane(), 0, 0, list[int]()

    def piece(number: int) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        order.append(number)
        under_way -= 1

    await asyncio.gather(*(lane.run(lambda _, number=number: piece(number)) for number in range(50)))
    assert (most, order) == (1, list(range(50)))


async def test_work_that_nobody_waits_for_ends_before_the_next_begins() -> None:
    lane, begun, over = Lane(), threading.Event(), threading.Event()

    def endless(pace: Pace) -> None:
        begun.set()
        try:
            while True:
                pace.rest()
        finally:
            over.set()

    waiting = asyncio.create_task(lane.run(endless))
    await until(begun.is_set)
    following = asyncio.create_task(lane.run(lambda _: over.is_set()))
    waiting.cancel()
    assert await following
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_work_that_fails_fails_for_who_wanted_it_and_for_nobody_else() -> None:
    lane = Lane()

    def wrong(_: Pace) -> None:
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        await lane.run(wrong)
    assert await lane.run(lambda _: 1) == 1
