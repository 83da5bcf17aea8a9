"""Whatever a peer sends is refused with an error of ours, or read as any other reader reads it.

The checks and the kept inputs are in `tests/corpus`; the trial `fuzz` runs the same checks for as long as one likes.
"""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.corpus import second
from tests.corpus.compare import Differs, same
from tests.corpus.damage import TOKENS, damaged
from tests.corpus.kept import inputs
from tests.corpus.readers import READERS

BOUNDED = settings(
    max_examples=100,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
KEYS = st.sampled_from(
    ["jsonrpc", "id", "method", "params", "result", "error", "_meta", "name", "arguments", "Name", "paramſ", "a",
     "uri", "taskId", "content", "", 'q"\\/', "ä\u2028", "\x7f"]
)  # fmt: skip
WORDS = st.sampled_from(["", "x", "2.0", "a://b", 'q"\\/', "ä", "\u2028\x7f", "\U0001f600", "\ud800", "-0"])


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    """Write JSON by hand: odd spaces, escapes, keys twice, numbers of every spelling."""

    def blank() -> str:
        return draw(st.sampled_from(["", "", "", " ", "\n", "\r\t"]))

    def word(text: str) -> str:
        escaped = draw(st.booleans())
        return json.dumps(text, ensure_ascii=escaped).replace("/", draw(st.sampled_from(["/", "\\/"])))

    def value(depth: int) -> str:
        kind = draw(st.sampled_from("nsobal" if depth else "ns"))
        if kind in "ob":
            members = [
                f"{blank()}{word(draw(KEYS))}{blank()}:{blank()}{value(depth - 1)}"
                for _ in range(draw(st.integers(0, 4)))
            ]
            return "{" + ",".join(members) + blank() + "}"
        if kind in "al":
            return "[" + ",".join(value(depth - 1) for _ in range(draw(st.integers(0, 3)))) + blank() + "]"
        if kind == "s":
            return word(draw(WORDS))
        return draw(
            st.sampled_from(["0", "-0", "1.50", "1E+2", "9" * 30, "true", "null", "1e999", "01", "1.", "tru"])
        )

    inner = value(3)
    shape = draw(
        st.sampled_from(
            ["%s", '{"jsonrpc":"2.0","id":1,"method":"x","params":%s}', '{"id":1,"result":%s}', "[%s]"]
        )
    )
    return (blank() + shape.replace("%s", inner) + blank()).encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("reader", READERS)
def test_every_kept_input_is_read_as_it_must_be(reader: str) -> None:
    for data in inputs(reader):
        READERS[reader](data)


@pytest.mark.parametrize("reader", READERS)
@BOUNDED
@given(data=st.binary(max_size=120) | st.lists(st.sampled_from(TOKENS), max_size=24).map(b"".join))
def test_any_bytes_are_read_as_they_must_be(reader: str, data: bytes) -> None:
    READERS[reader](data)


@BOUNDED
@given(data=texts())
def test_any_text_like_json_is_read_as_another_reader_reads_it(data: bytes) -> None:
    for reader in ("message", "server", "batch", "introduction", "result", "params"):
        READERS[reader](data)


@pytest.mark.parametrize("reader", list(READERS))
def test_kept_inputs_that_were_damaged_are_read_as_they_must_be(reader: str) -> None:
    chance = random.Random(reader)
    whole = inputs(reader)
    for _ in range(400):
        READERS[reader](damaged(chance, chance.choice(whole), whole))


def test_a_reading_that_differs_would_be_found() -> None:
    """The second reader is no echo of ours: it reads JSON strictly, and equal things only are the same."""
    for bad in (b"NaN", b"[1,]", b'"\\q"', b'"\xff"', b"{} {}", b"\xef\xbb\xbf1", b"01"):
        with pytest.raises(second.Unread):
            second.read(bad)
    assert second.read(b'{"a":1,"a":2}').keys_twice
    one: Any = second.read(b"1.0")
    with pytest.raises(Differs):
        same(one, second.read(b"1"), "a number")
    assert second.events(b"data: a\r\ndata: b\n\nid: 3\n\n")[0].data == "a\nb"
