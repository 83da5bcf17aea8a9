"""What is counted of calls, and for how long it is known."""

from __future__ import annotations

from tidegate.fleet.history import KEPT, Happening, History
from tidegate.fleet.meter import Meter


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def pass_with(self, meter: Meter, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1
            meter.turn()


def test_calls_are_known_for_as_long_as_is_asked_about() -> None:
    clock = Clock()
    meter = Meter(clock)
    for took in (0.1, 0.2, 0.3):
        meter.took(took)
    meter.failures += 1
    assert (meter.last(60).calls, meter.last(60).failures, list(meter.last(60).times)) == (
        3,
        1,
        [0.1, 0.2, 0.3],
    )
    clock.pass_with(meter, 50)
    meter.took(5.0)
    assert meter.last(60).calls == 4
    clock.pass_with(meter, 20)
    assert (meter.last(60).calls, list(meter.last(60).times)) == (1, [5.0])
    clock.pass_with(meter, 70)
    assert meter.last(60).calls == 0
    assert (meter.ever().calls, meter.ever().failures) == (4, 1)


def test_many_calls_keep_a_bounded_sample_that_is_like_them() -> None:
    clock = Clock()
    meter = Meter(clock)
    for number in range(20_000):
        meter.took(number / 20_000)
    clock.pass_with(meter, 6)
    found = meter.last(60)
    assert found.calls == 20_000
    assert len(found.times) <= 256
    assert abs(found.times[int(0.95 * len(found.times))] - 0.95) < 0.02


def test_history_is_bounded_told_once_and_outlives_who_listens_badly() -> None:
    history, told = History(lambda: 5.0), list[Happening]()

    def bad(happening: Happening) -> None:
        raise RuntimeError(happening.state)

    leave = history.subscribe(bad)
    history.subscribe(told.append)
    history.add("w1", "ready")
    history.add("w1", "ready")
    history.add("w1", "failed", "it broke")
    leave()
    assert [(each.time, each.state, each.reason) for each in told] == [
        (5.0, "ready", None),
        (5.0, "failed", "it broke"),
    ]
    for number in range(2 * KEPT):
        history.add(f"w{number}", "ready")
    assert len(history) == KEPT
    assert [each.workload for each in history][-1] == f"w{2 * KEPT - 1}"
