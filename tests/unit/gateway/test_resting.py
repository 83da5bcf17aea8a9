"""Streams kept for clients that come back: whose go first where there are too many, and when each does."""

from __future__ import annotations

from tidegate.gateway.resting import BROKEN, DONE, IN_ALL, OF_ONE, Resting
from tidegate.gateway.stream import Stream


def kept(resting: Resting, who: str, number: int, *, done: bool = False, since: float = 0.0) -> Stream:
    stream = Stream(prefix=b"tag.")
    stream.key, stream.number, stream.quiet_since = who, number, since
    resting.add(stream, done=done)
    return stream


def test_a_principal_with_too_many_loses_its_own_and_first_what_was_written_whole() -> None:
    resting = Resting()
    kept(resting, "bob", 0)
    first = kept(resting, "ann", 1)
    for number in range(2, OF_ONE):
        kept(resting, "ann", number)
    done = kept(resting, "ann", OF_ONE, done=True)
    assert resting.surplus("ann") is None
    kept(resting, "ann", OF_ONE + 1)
    assert resting.surplus("ann") is done
    resting.discard(done)
    assert resting.surplus("ann") is None
    assert resting.first_of("ann") is first


def test_where_all_have_too_many_who_has_most_loses_one() -> None:
    resting = Resting()
    number = 0
    for who in range(IN_ALL // 500 - 1):
        for _ in range(500):
            kept(resting, f"n{who}", number := number + 1)
    oldest = kept(resting, "most", number := number + 1)
    for _ in range(500):
        kept(resting, "most", number := number + 1)
    assert len(resting) == IN_ALL + 1
    assert resting.surplus("n0") is oldest
    resting.discard(oldest)
    assert resting.surplus("n0") is None


def test_each_is_kept_for_its_time_and_counted_once() -> None:
    resting = Resting()
    broken, done = kept(resting, "ann", 1), kept(resting, "ann", 2, done=True)
    late = kept(resting, "bob", 3, done=True, since=DONE)
    resting.add(broken, done=False)
    assert len(resting) == 3
    assert list(resting.outlived(DONE - 1)) == []
    assert list(resting.outlived(DONE)) == [done]
    assert list(resting.outlived(BROKEN)) == [broken, done, late]
    for each in resting.outlived(BROKEN):
        resting.discard(each)
    assert len(resting) == 0
    assert resting.first_of("ann") is resting.first_of("bob") is None
