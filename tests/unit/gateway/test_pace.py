"""What a server says again and again is told at once, and then no more often than the gateway can bear."""

from __future__ import annotations

import asyncio

import pytest
from msgspec import Raw

from tidegate.gateway.pace import MOST, REST, SIZE, Pace
from tidegate.protocol.codec import Object
from tidegate.testing.loop_time import LoopTime


class Ears:
    """What was told."""

    def __init__(self) -> None:
        self.time = LoopTime()
        self.pace = Pace()
        self.heard: list[tuple[object, bytes]] = []
        self.deaf = False

    def say(self, thing: object, text: str) -> None:
        """Say something of a thing, as servers do."""

        def tell(params: Object) -> bool:
            self.heard.append((thing, bytes(params["text"])))
            return not self.deaf

        self.pace.tell(thing, {"text": Raw(text.encode())}, tell)


@pytest.fixture
async def ears() -> Ears:
    return Ears()


async def test_the_first_goes_at_once_and_what_follows_becomes_one_with_the_last_words(ears: Ears) -> None:
    for text in ("1", "2", "3"):
        ears.say("a", text)
    assert ears.heard == [("a", b"1")]
    await ears.time.advance(REST * 2, REST)
    assert ears.heard == [("a", b"1"), ("a", b"3")]
    await ears.time.advance(REST * 2, REST)
    assert len(ears.heard) == 2
    assert len(ears.pace) == 0


async def test_a_server_that_never_stops_is_told_of_ten_times_a_second_and_the_last_is_told_too(
    ears: Ears,
) -> None:
    for number in range(200):
        ears.say("a", str(number))
        await ears.time.advance(REST / 20, REST / 20)
    await ears.time.advance(REST * 2, REST)
    assert 5 <= len(ears.heard) <= 13
    assert ears.heard[-1] == ("a", b"199")


async def test_other_things_wait_for_none(ears: Ears) -> None:
    ears.say("a", "1")
    ears.say("b", "1")
    assert ears.heard == [("a", b"1"), ("b", b"1")]
    ears.pace.close()


async def test_what_nobody_hears_is_not_waited_with(ears: Ears) -> None:
    ears.deaf = True
    ears.say("a", "1")
    assert len(ears.pace) == 0


async def test_more_than_are_waited_with_are_told_early_and_none_is_lost(ears: Ears) -> None:
    for number in range(MOST + 5):
        ears.say(number, "1")
        ears.say(number, "2")
    assert len(ears.pace) == MOST
    assert [thing for thing, text in ears.heard if text == b"2"] == [0, 1, 2, 3, 4]
    await ears.time.advance(REST * 2, REST)
    assert len(ears.heard) == 2 * (MOST + 5)
    ears.pace.close()


async def test_what_is_large_is_not_kept_without_end(ears: Ears) -> None:
    for number in range(3):
        ears.say(number, "1")
        ears.say(number, "2" * (SIZE // 2 - 9))
    assert [thing for thing, _ in ears.heard] == [0, 1, 2, 0]
    ears.say(1, "2" * (SIZE + 1))
    assert [thing for thing, _ in ears.heard[4:]] == [1]
    ears.pace.close()


async def test_closing_tells_what_is_left_and_leaves_no_timer(ears: Ears) -> None:
    ears.say("a", "1")
    ears.say("a", "2")
    ears.pace.close()
    assert ears.heard == [("a", b"1"), ("a", b"2")]
    ears.say("a", "3")
    await asyncio.sleep(0)
    assert ears.heard[-1] == ("a", b"3")
    assert len(ears.pace) == 0
