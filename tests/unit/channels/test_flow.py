"""A workload that says more than it is asked for is read more slowly; what answers a call is never counted."""

from __future__ import annotations

from tests.unit.channels.stdio_setting import Setting
from tidegate.channels.flow import BURST, LONGEST, MESSAGE, RATE, Flow


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_is_read_at_once_and_what_comes_after_it_at_the_rate() -> None:
    clock = Clock()
    flow = Flow(clock)
    assert flow.take(BURST) == 0.0
    assert 0 < flow.take(RATE // 10) <= 0.1
    taken, begun = 0, clock.now
    while clock.now < begun + 20:
        taken += 65536
        clock.now += flow.take(65536)
    assert 0.9 * 20 * RATE < taken < 1.1 * 20 * RATE


def test_no_rest_is_long_and_whoever_is_quiet_for_a_while_may_burst_again() -> None:
    clock = Clock()
    flow = Flow(clock)
    assert flow.take(100 * BURST) == LONGEST
    clock.now += 100 * BURST / RATE
    assert flow.take(1) == 0.0
    assert flow.take(BURST - 1) == 0.0


async def test_a_flood_on_standard_error_is_read_slowly() -> None:
    it = await Setting().open()
    for _ in range(BURST // 65536 + 2):
        it.channel.stderr(b"x" * 65536)
    assert it.stream.rests
    assert 0 < sum(it.stream.rests) <= LONGEST * len(it.stream.rests)


async def test_notifications_and_late_answers_without_end_are_read_slowly() -> None:
    it = await Setting().open()
    told = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x"}}
    late = {"jsonrpc": "2.0", "id": "nobody's", "result": {}}
    for message in (told, late):
        it.stream.rests.clear()
        for _ in range(BURST // MESSAGE // 100 + 1):
            it.stream.say(*[message] * 100)
        assert it.stream.rests


async def test_answers_however_large_are_read_as_fast_as_they_come() -> None:
    it = await Setting().open()
    for _ in range(12):
        call = it.call()
        it.stream.answer(await it.stream.hear(), {"text": "x" * (BURST // 10)})
        await call
    assert it.stream.rests == []
