"""Many are looked at again at one time, and one that is slow keeps no other waiting."""

from __future__ import annotations

import asyncio

import pytest

from tidegate.gateway.looks import AT_ONE_TIME, Looks


class Eyes:
    """Looks at names; at slow ones until they are let go of."""

    def __init__(self, *slow: str) -> None:
        self.slow = {each: asyncio.Event() for each in slow}
        self.seen: list[str] = []
        self.begun: list[str] = []
        self.looks = Looks(self.look, "eyes")

    async def look(self, name: str) -> None:
        self.begun.append(name)
        if name in self.slow:
            await self.slow[name].wait()
        self.seen.append(name)


async def test_one_that_is_slow_keeps_nobody_waiting_and_is_not_looked_at_twice_at_a_time() -> None:
    eyes = Eyes("slow")
    names = ["slow", *(f"n{number}" for number in range(2 * AT_ONE_TIME))]
    await eyes.looks.over(names)
    assert sorted(eyes.seen) == sorted(names[1:])
    await eyes.looks.over(names)
    assert eyes.begun.count("slow") == 1
    eyes.slow["slow"].set()
    async with asyncio.timeout(5):
        while "slow" not in eyes.seen:
            await asyncio.sleep(0)
    await asyncio.sleep(0)
    await eyes.looks.over(names)
    assert eyes.begun.count("slow") == 2


async def test_whoever_cannot_be_looked_at_is_no_others_matter(capsys: pytest.CaptureFixture[str]) -> None:
    eyes = Eyes()

    async def look(name: str) -> None:
        if name == "bad":
            raise RuntimeError("odd")
        await eyes.look(name)

    await Looks(look, "eyes").over(["bad", "good"])
    assert eyes.seen == ["good"]


async def test_what_is_slow_ends_with_the_looks() -> None:
    eyes = Eyes("slow")
    await eyes.looks.over(["slow"])
    eyes.looks.close()
    before = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.gather(*before, return_exceptions=True)
    assert eyes.seen == []


async def test_a_look_that_is_broken_off_leaves_nothing_behind() -> None:
    eyes = Eyes("slow")
    looking = asyncio.create_task(eyes.looks.over(["slow"]))
    while not eyes.begun:
        await asyncio.sleep(0)
    looking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await looking
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.gather(*rest, return_exceptions=True)
    assert eyes.seen == []
