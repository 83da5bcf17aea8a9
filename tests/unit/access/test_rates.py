"""Rates: never more than the rate gives in any time, and the burst on top; nobody waits longer than told."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tidegate.access.rates import AtOnce, Bound, Bucket, Rate, Table

PAUSES = st.lists(st.floats(0, 30, allow_nan=False), min_size=1, max_size=200)


@given(PAUSES, st.integers(1, 50), st.sampled_from([1.0, 60.0, 3600.0]), st.integers(1, 20))
def test_no_window_has_more_than_the_rate_gives_and_the_burst(
    pauses: list[float], calls: int, period: float, burst: int
) -> None:
    rate, now, taken = Rate(calls / period, burst), 1000.0, list[float]()
    bucket = Bucket(rate)
    for pause in pauses:
        now += pause
        for _ in range(burst + 1):
            if not bucket.wait(now):
                bucket.take(now)
                taken.append(now)
    for first, begin in enumerate(taken):
        for last in range(first, len(taken)):
            allowed = burst + (taken[last] - begin) * rate.per_second
            assert last - first + 1 <= allowed + 1e-6


@given(PAUSES, st.integers(1, 100), st.integers(1, 10))
def test_whoever_waits_as_told_gets_in(pauses: list[float], calls: int, burst: int) -> None:
    bucket, now = Bucket(Rate(calls / 60.0, burst)), 5.0
    for pause in pauses:
        now += pause
        now += bucket.wait(now)
        assert bucket.wait(now) == 0.0
        bucket.take(now)


def test_after_a_pause_the_burst_is_there_and_no_more() -> None:
    bucket = Bucket(Rate(10.0, 3))
    for now in (100.0, 1000.0):
        for _ in range(3):
            assert not bucket.wait(now)
            bucket.take(now)
        assert 0.09 < bucket.wait(now) <= 0.1


def test_another_rate_begins_with_what_is_used() -> None:
    rate = Rate(1.0, 10)
    bucket = Bucket(rate)
    for _ in range(8):
        bucket.take(50.0)
    rate.burst = 5
    assert bucket.wait(50.0) == 4.0
    rate.per_second = 4.0
    assert bucket.wait(50.0) == 1.0
    assert bucket.used(51.0) == 4.0


def test_so_many_are_under_way_and_one_more_when_one_has_left() -> None:
    use = AtOnce(Bound(2))
    use.take(0.0)
    use.take(0.0)
    assert use.wait(0.0) == 1.0
    use.leave()
    assert use.wait(0.0) == 0.0
    assert not use.idle(0.0)
    use.leave()
    assert use.idle(0.0)


def test_of_too_many_keys_the_oldest_with_nothing_in_them_go_first() -> None:
    rate = Rate(1.0, 5)
    table = Table(lambda of: Bucket(rate, of), most=3)
    for key in "abc":
        table.find(key, key, 0.0)
    table.find("a", "a", 0.0).take(0.0)
    table.find("d", "d", 0.5)
    assert list(table.uses) == ["a", "d"]
    assert table.find("a", "a", 0.5).used(0.5) == 0.5
    assert table.dropped == 2


def test_where_all_are_in_use_the_oldest_go() -> None:
    rate = Rate(0.001, 5)
    table = Table(lambda of: Bucket(rate, of), most=100)
    for number in range(101):
        table.find(str(number), "", 0.0).take(0.0)
    assert len(table.uses) <= 100
    assert "100" in table.uses
    assert "0" not in table.uses
