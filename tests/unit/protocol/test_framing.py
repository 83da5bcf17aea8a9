"""Lines out of bytes: the same whatever the cuts, and bounded."""

from __future__ import annotations

import itertools
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.protocol.framing import CutLines, Lines
from tidegate.protocol.sse import EventParser

PIECES = st.lists(st.binary(max_size=12) | st.just(b"\n") | st.just(b"a" * 9), max_size=20)


def _cut(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@given(PIECES, st.lists(st.integers(0, 500), max_size=12), st.integers(1, 20))
def test_any_cut_gives_the_same_lines_and_the_same_end(pieces, cuts, limit):
    data = b"".join(pieces)
    whole, pieced = Lines(limit), Lines(limit)
    expected = whole.feed(data)
    assert [line for piece in _cut(data, cuts) for line in pieced.feed(piece)] == expected
    assert pieced.overflowed == whole.overflowed
    assert all(len(line) <= limit for line in expected)


@given(st.lists(st.binary(max_size=8).filter(lambda line: b"\n" not in line), max_size=10))
def test_what_was_joined_by_line_ends_comes_apart_again(lines):
    assert Lines(8).feed(b"".join(line + b"\n" for line in lines)) == lines


def test_a_line_as_long_as_the_bound_is_taken_and_one_longer_is_not():
    lines = Lines(3)
    assert lines.feed(b"abc\nab") == [b"abc"]
    assert lines.feed(b"c\n") == [b"abc"]
    assert not lines.overflowed
    assert lines.feed(b"ok\nabcd\nok\n") == [b"ok"]
    assert lines.overflowed
    assert lines.feed(b"ok\n") == []


def test_a_line_that_never_ends_is_given_up_at_the_bound():
    lines = Lines(1000)
    for _ in range(1000):
        assert lines.feed(b"x") == []
    assert not lines.overflowed
    assert lines.feed(b"x") == []
    assert lines.overflowed


@given(PIECES, st.lists(st.integers(0, 500), max_size=12), st.integers(1, 20))
def test_log_lines_are_cut_the_same_whatever_the_pieces(pieces, cuts, limit):
    data = b"".join(pieces)
    lines = CutLines(limit)
    found = [line for piece in _cut(data, cuts) for line in lines.feed(piece)]
    expected = [line[:limit].rstrip(b"\r") for line in data.split(b"\n")]
    assert found == [line for line in expected[:-1] if line]
    assert lines.rest() == expected[-1]
    assert lines.rest() == b""


@pytest.mark.parametrize("ends", [b"\n", b"\r\n"])
def test_log_lines_come_without_their_ends(ends: bytes):
    assert CutLines(10).feed(b"one" + ends + ends + b"two" + ends) == [b"one", b"two"]


@pytest.mark.parametrize("parser", [Lines, EventParser])
def test_what_comes_in_crumbs_takes_little_more_room_than_it_has(parser: type[Lines | EventParser]) -> None:
    """Whoever writes two bytes at a time must not have each kept as an object of its own."""
    taken = parser(1 << 20)
    tracemalloc.start()
    try:
        for _ in range(100_000):
            taken.feed(b"xy")
        assert tracemalloc.get_traced_memory()[0] < 500_000
    finally:
        tracemalloc.stop()
