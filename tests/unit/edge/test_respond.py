"""A call's answer: alone, or after what is said before it; and when nothing can be said."""

from __future__ import annotations

import asyncio

import pytest

from tidegate.edge.exchange import Exchange, Request
from tidegate.edge.respond import Responder
from tidegate.gateway.call import Answer


class Wire:
    """A connection that notes what is written."""

    peer, keep = "", True

    def __init__(self, *, chunks: bool = True) -> None:
        self.gone = False
        self.chunks = chunks
        self.written = bytearray()
        self.reading = asyncio.Event()
        self.reading.set()

    def write(self, data: bytes) -> None:
        if not self.gone:
            self.written += data

    async def drained(self) -> None:
        await self.reading.wait()

    def finished(self, exchange: Exchange) -> None:
        """Nothing follows."""

    def abort(self) -> None:
        self.gone = True


def responder(wire: Wire, *, events: bool = True) -> Responder:
    made = Responder(Exchange(wire, Request(b"POST", "/mcp", {})), since=0.0)
    made.events = events
    return made


async def test_what_is_said_comes_before_the_answer_in_one_stream() -> None:
    wire = Wire()
    made = responder(wire)
    assert made.say(b'{"n":1}')
    assert made.say(b'{"n":2}')
    await made.finish(Answer(200, b'{"n":3}'))
    head, _, body = bytes(wire.written).partition(b"\r\n\r\n")
    assert b"text/event-stream" in head
    assert body.count(b"data: ") == 3
    assert body.index(b'{"n":1}') < body.index(b'{"n":2}') < body.index(b'{"n":3}')
    assert body.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize(
    ("events", "chunks", "gone"), [(False, True, False), (True, False, False), (True, True, True)]
)
async def test_a_client_that_takes_no_stream_or_is_gone_cannot_be_told(
    events: bool, chunks: bool, gone: bool
) -> None:
    wire = Wire(chunks=chunks)
    wire.gone = gone
    made = responder(wire, events=events)
    assert not made.say(b"{}")
    made.notify("notifications/x", {})
    made.keep_alive()
    assert wire.written == b""
    await made.finish(Answer(200, b"{}"))
    assert b"event-stream" not in wire.written


async def test_a_client_that_went_away_in_the_middle_cannot_be_told_more() -> None:
    wire = Wire()
    made = responder(wire)
    assert made.say(b'{"n":1}')
    await asyncio.sleep(0)
    wire.gone = True
    assert not made.say(b'{"n":2}')
    await made.finish(Answer(200, b'{"n":3}'))
    assert b'"n":3' not in wire.written


async def test_the_answer_waits_until_a_slow_client_has_read_what_was_said() -> None:
    wire = Wire()
    wire.reading.clear()
    made = responder(wire)
    made.say(b'{"n":1}')
    await asyncio.sleep(0)
    finishing = asyncio.create_task(made.finish(Answer(200, b'{"n":2}')))
    for _ in range(3):
        await asyncio.sleep(0)
    assert b'"n":2' not in wire.written
    wire.reading.set()
    async with asyncio.timeout(5):
        await finishing
    assert b'"n":2' in wire.written


async def test_what_comes_after_the_answer_is_not_taken_for_said() -> None:
    wire = Wire()
    made = responder(wire)
    await made.finish(Answer(200, b"{}"))
    written = bytes(wire.written)
    assert not made.say(b'{"n":1}')  # a late question then goes on the session's own stream
    await asyncio.sleep(0)
    assert bytes(wire.written) == written
