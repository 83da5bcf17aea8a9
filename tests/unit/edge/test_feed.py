"""What is kept of what happened, for whom, and for how long."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict

import pytest

from tidegate.domain.errors import StreamsFull
from tidegate.edge.admin.feed import COUNT, KEPT, QUIET, Feed, Follower
from tidegate.testing.loop_time import LoopTime


def numbers(text: bytes) -> list[int]:
    """Give the numbers that events carry."""
    lines = [line for line in text.decode().split("\n") if line.startswith("data: ")]
    return [json.loads(line.removeprefix("data: "))["n"] for line in lines]


@pytest.fixture
def feed() -> Feed:
    return Feed("boot", lambda: 5.0)


async def read(follower: Follower, pieces: int) -> bytes:
    """Give so many pieces of what a follower is sent."""
    found = b""
    reading = follower.pieces()
    for _ in range(pieces):
        found += await anext(reading)
    await reading.aclose()
    return found


async def test_an_event_has_an_id_a_kind_a_time_and_is_one_line_of_json(feed: Feed) -> None:
    feed.tell("server", {"n": 1, "reason": "two\nlines\r"}, "one")
    told = feed.follow(recent=1).so_far()
    assert told == (
        b'id: boot-1\nevent: server\ndata: {"time":5.0,"server":"one","n":1,"reason":"two\\nlines\\r"}\n\n'
    )


async def test_the_last_thousand_are_kept_and_what_went_before_is_said_to_be_lost(feed: Feed) -> None:
    for number in range(1, KEPT + 11):
        feed.tell("server", {"n": number})
    assert numbers(feed.follow(recent=KEPT).so_far()) == list(range(11, KEPT + 11))
    assert numbers(feed.follow("boot-1000").so_far()) == list(range(1001, KEPT + 11))
    assert numbers(feed.follow("boot-10").so_far()) == list(range(11, KEPT + 11))
    lost = feed.follow("boot-9").so_far()
    assert lost.startswith(b"event: lost\n")


@pytest.mark.parametrize(
    "last", ["boot-99", "boot-", "boot-x", "other-1", "", "boot-\u0661", "boot-" + "9" * 60]
)
async def test_an_id_that_is_none_of_ours_is_answered_with_lost(feed: Feed, last: str) -> None:
    feed.tell("server", {"n": 1})
    told = feed.follow(last).so_far()
    assert told.startswith(b"event: lost\n")
    assert told.count(b"event: server\n") == 1


async def test_who_asked_for_much_again_has_room_for_what_comes_meanwhile(feed: Feed) -> None:
    for number in range(KEPT):
        feed.tell("server", {"n": number})
    follower = feed.follow(recent=KEPT)
    for number in range(KEPT, KEPT + 256):
        feed.tell("server", {"n": number})
    assert numbers(await read(follower, 2)) == list(range(KEPT + 256))
    assert feed.followers == 0


async def test_a_silent_stream_is_kept_alive_and_ended_at_a_stop(feed: Feed) -> None:
    time = LoopTime()
    follower = feed.follow()
    reading = follower.pieces()
    assert await anext(reading) == b"retry: 2000\n\n"
    coming = asyncio.ensure_future(anext(reading))
    await time.advance(QUIET + 1)
    assert await coming == b": \n\n"
    feed.close()
    assert (await anext(reading)).startswith(b"event: end\n")
    with pytest.raises(StopAsyncIteration):
        await anext(reading)
    with pytest.raises(StreamsFull):
        feed.follow()


async def test_refusals_are_counted_together_while_somebody_follows(feed: Feed) -> None:
    time = LoopTime()
    refusals: defaultdict[str, int] = defaultdict(int, {"denied": 7})
    counting = asyncio.ensure_future(feed.count(refusals))
    await time.settle()
    refusals["denied"] += 1
    await time.advance(COUNT + 1)  # nobody follows: nobody is told
    follower = feed.follow()
    refusals["denied"] += 2
    refusals["too_large"] += 1
    await time.advance(COUNT + 1)
    assert b'"reasons":{"denied":2,"too_large":1}' in follower.so_far()
    counting.cancel()
    await asyncio.wait([counting])
