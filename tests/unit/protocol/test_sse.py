"""Server-sent events: the same whatever the cuts and line ends, bounded, and round again."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.protocol.sse import Event, EventParser, encode_comment, encode_event, encode_retry

LINES = st.sampled_from(
    [b"data: a", b"data:b", b"data", b"event: endpoint", b"id: 7", b"id: \0", b"id", b"retry: 20",
     b"retry: x", b": comment", b"", b"", b"nonsense", b"data: \xff", b"data: " + b"y" * 30]
)  # fmt: skip
ENDS = st.sampled_from([b"\n", b"\r", b"\r\n"])
STREAMS = st.lists(st.tuples(LINES, ENDS).map(b"".join), max_size=30).map(b"".join)


def parse(data: bytes, limit: int = 1000) -> list[Event]:
    return EventParser(limit).feed(data)


@given(STREAMS, st.lists(st.integers(0, 400), max_size=12), st.integers(1, 60))
def test_any_cut_gives_the_same_events(data, cuts, limit):
    whole, pieced = EventParser(limit), EventParser(limit)
    expected = whole.feed(data)
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    found = [e for a, b in itertools.pairwise(edges) for e in pieced.feed(data[a:b])]
    assert found == expected
    assert (pieced.overflowed, pieced.last_id, pieced.retry) == (
        whole.overflowed,
        whole.last_id,
        whole.retry,
    )


@given(STREAMS, st.integers(1, 60))
def test_byte_by_byte_is_the_same_as_at_once(data, limit):
    whole, pieced = EventParser(limit), EventParser(limit)
    expected = whole.feed(data)
    assert [e for byte in data for e in pieced.feed(bytes([byte]))] == expected
    assert pieced.overflowed == whole.overflowed


@given(st.lists(LINES, max_size=20), ENDS)
def test_line_ends_of_every_kind_mean_the_same(lines, end):
    assert parse(end.join([*lines, b""])) == parse(b"\n".join([*lines, b""]))


def test_line_ends_may_be_mixed_in_one_stream():
    assert parse(b"data: a\rdata: b\r\ndata: c\n\r\ndata: d\r\r") == [Event(b"a\nb\nc"), Event(b"d")]


def test_an_event_of_several_lines_is_joined_and_has_its_name_and_id():
    assert parse(b"event: x\nid: 3\ndata: a\ndata:b\ndata\n\n") == [Event(b"a\nb\n", "x", "3")]


def test_an_id_lasts_and_a_name_does_not():
    events = parse(b"id: 1\nevent: x\ndata: a\n\ndata: b\n\nid\ndata: c\n\n")
    assert events == [Event(b"a", "x", "1"), Event(b"b", "message", "1"), Event(b"c", "message", "")]


def test_a_priming_event_has_empty_data_and_its_id():
    assert parse(b"id: s1-0\ndata:\n\n") == [Event(b"", "message", "s1-0")]


def test_a_block_without_data_gives_no_event_but_its_id_and_retry_count():
    parser = EventParser(100)
    assert parser.feed(b"id: 9\nretry: 250\n\n") == []
    assert (parser.last_id, parser.retry) == ("9", 250)


def test_an_id_with_a_zero_and_a_retry_that_is_no_number_are_ignored():
    parser = EventParser(100)
    parser.feed(b"id: a\0b\nretry: 1.5\nretry: -1\n\n")
    assert (parser.last_id, parser.retry) == (None, None)


def test_comments_and_a_byte_order_mark_are_dropped():
    assert parse(b"\xef\xbb\xbfdata: a\n: keep-alive\n\n\xef\xbb\xbfdata: b\n\n") == [Event(b"a")]


def test_an_unfinished_event_is_not_given():
    assert parse(b"data: a\n") == []


@pytest.mark.parametrize(
    "stream", [b"data: " + b"x" * 100, b"data: xxxx\n" * 30, b": " + b"x" * 100, b"event: " + b"x" * 100]
)
def test_an_event_over_the_bound_ends_it(stream: bytes):
    parser = EventParser(50)
    assert parser.feed(b"data: first\n\n" + stream) == [Event(b"first")]
    assert parser.overflowed
    assert parser.feed(b"\n\ndata: more\n\n") == []


def test_many_small_events_are_never_over_the_bound():
    parser = EventParser(20)
    assert len(parser.feed(b"data: a\n\n" * 1000)) == 1000
    assert not parser.overflowed


FIELD = st.text(st.characters(exclude_characters="\r\n\0", codec="utf-8"), min_size=1, max_size=10)


@given(st.binary(max_size=40), FIELD, FIELD)
def test_what_is_encoded_is_parsed_again(raw, event, ident):
    lines = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    assert parse(encode_event(raw, event=event, id=ident)) == [Event(lines, event, ident)]


def test_comments_and_retry_are_encoded_and_give_no_event():
    parser = EventParser(100)
    assert parser.feed(encode_comment() + encode_comment("hi") + encode_retry(1500)) == []
    assert parser.retry == 1500


@pytest.mark.parametrize("bad", ["a\nb", "a\rb", "a\0"])
def test_a_field_with_a_line_end_is_refused(bad: str):
    with pytest.raises(ValueError, match="line end"):
        encode_event(b"", event=bad)
    with pytest.raises(ValueError, match="line end"):
        encode_event(b"", id=bad)
