"""The attach as a conversation: bytes of an engine in, what the listener is told out."""

from __future__ import annotations

import asyncio
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.domain.errors import ChannelClosed, EngineUnavailable, RuntimeFailure
from tidegate.extensions.runtimes.docker.attach import Attachment

HEAD = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"


class Heard:
    def __init__(self) -> None:
        self.told: list[tuple[str, bytes]] = []

    def stdout(self, data: bytes) -> None:
        self.told.append(("out", data))

    def stderr(self, data: bytes) -> None:
        self.told.append(("err", data))

    def closed(self, reason: str) -> None:
        raise AssertionError("the attach itself never tells an end")

    def all_of(self, which: str) -> bytes:
        return b"".join(data for name, data in self.told if name == which)


class Wire(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += bytes(data)

    def get_write_buffer_size(self) -> int:
        return len(self.sent)

    def abort(self) -> None:
        self.aborted = True


def frame(kind: int, data: bytes) -> bytes:
    return struct.pack(">BxxxL", kind, len(data)) + data


async def opened() -> tuple[Attachment, Heard, Wire, list[Attachment]]:
    heard, wire, ended = Heard(), Wire(), list[Attachment]()
    attachment = Attachment(heard, ended.append)
    attachment.connection_made(wire)
    attachment.data_received(HEAD)
    await attachment.upgraded
    return attachment, heard, wire, ended


async def test_a_whole_frame_is_told_at_once() -> None:
    attachment, heard, _, _ = await opened()
    attachment.data_received(frame(1, b"hello\n"))
    attachment.data_received(frame(2, b"log\n"))
    assert heard.told == [("out", b"hello\n"), ("err", b"log\n")]


async def test_several_frames_in_one_read_stay_apart() -> None:
    attachment, heard, _, _ = await opened()
    attachment.data_received(frame(1, b"a") + frame(2, b"b") + frame(1, b"c"))
    assert heard.told == [("out", b"a"), ("err", b"b"), ("out", b"c")]


async def test_what_follows_the_head_in_the_same_read_is_not_lost() -> None:
    heard = Heard()
    attachment = Attachment(heard, lambda _: None)
    attachment.connection_made(Wire())
    attachment.data_received(HEAD + frame(1, b"first"))
    assert heard.told == [("out", b"first")]


@given(
    frames=st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=40)), max_size=8),
    cuts=st.lists(st.integers(min_value=1, max_value=60), min_size=1, max_size=20),
)
def test_frames_cut_anywhere_give_the_same_bytes(frames: list[tuple[int, bytes]], cuts: list[int]) -> None:
    async def run() -> None:
        heard = Heard()
        attachment = Attachment(heard, lambda _: None)
        attachment.connection_made(Wire())
        data = HEAD + b"".join(frame(kind, content) for kind, content in frames)
        turn = 0
        while data:
            piece, data = data[: cuts[turn % len(cuts)]], data[cuts[turn % len(cuts)] :]
            attachment.data_received(piece)
            turn += 1
        for kind, name in ((1, "out"), (2, "err")):
            assert heard.all_of(name) == b"".join(content for k, content in frames if k == kind)
        assert all(data for _, data in heard.told)

    asyncio.run(run())


async def test_a_refusal_is_told_with_its_status() -> None:
    attachment = Attachment(Heard(), lambda _: None)
    wire = Wire()
    attachment.connection_made(wire)
    attachment.data_received(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}")
    with pytest.raises(RuntimeFailure, match="404"):
        await attachment.upgraded
    assert wire.aborted


async def test_an_answer_without_an_end_is_bounded() -> None:
    attachment = Attachment(Heard(), lambda _: None)
    attachment.connection_made(Wire())
    for _ in range(20):
        attachment.data_received(b"x" * 1024)
    with pytest.raises(EngineUnavailable, match="too long"):
        await attachment.upgraded


async def test_a_stream_out_of_step_is_dropped_and_ends() -> None:
    attachment, heard, wire, ended = await opened()
    attachment.data_received(b"garbage that is no frame")
    assert wire.aborted
    assert ended == [attachment]
    attachment.connection_lost(None)
    assert ended == [attachment]
    assert heard.told == []


async def test_an_end_by_the_engine_is_told_once_and_then_nothing_can_be_written() -> None:
    attachment, _, _, ended = await opened()
    attachment.connection_lost(None)
    assert ended == [attachment]
    with pytest.raises(ChannelClosed) as caught:
        attachment.write(b"late")
    assert caught.value.sent is False


async def test_an_end_by_us_is_not_told_and_nothing_more_is_heard() -> None:
    attachment, heard, wire, ended = await opened()
    closing = asyncio.ensure_future(attachment.close())
    await asyncio.sleep(0)
    attachment.data_received(frame(1, b"late"))
    attachment.connection_lost(None)
    await closing
    assert wire.aborted
    assert (ended, heard.told) == ([], [])


async def test_the_backlog_is_what_the_engine_has_not_taken() -> None:
    attachment, _, wire, _ = await opened()
    attachment.write(b"12345")
    assert (wire.sent, attachment.backlog) == (b"12345", 5)
