"""The load generator counts right answers only, and measures from the time a call was meant to go out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from bench.connection import Connection, Failed, connect
from bench.load import Round, closed_loop, fixed_rate, open_callers
from bench.process import http_upstream
from bench.wire import Era, Requests, Target, decode_list, fault

DEADLINE = 20.0


@asynccontextmanager
async def answering(make: Callable[[int, bytes], bytes]) -> AsyncIterator[Target]:
    """Run a server that answers the n-th request on a connection with what `make` gives."""
    writers: list[asyncio.StreamWriter] = []

    async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        number = 0
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                body = await reader.readexactly(length)
                number += 1
                answer = make(number, body)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(answer), answer))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass

    server = await asyncio.start_server(exchange, "127.0.0.1", 0)
    async with server:
        yield Target(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp")
        for writer in writers:
            writer.close()
            await writer.wait_closed()


@pytest.mark.parametrize("era", list(Era))
async def test_every_call_to_the_http_upstream_is_answered_with_its_own_words(
    tmp_path: Path, era: Era
) -> None:
    async with http_upstream(tmp_path) as url:
        callers = await open_callers(Target(url), era, 4)
        came = await closed_loop(callers, 0.2)
        for caller in callers:
            caller.close()
    assert came.failures.total() == 0
    assert len(came.latencies) > 20
    assert 0 < came.percentile(0.5) <= came.percentile(0.99)


async def test_a_session_that_the_upstream_does_not_know_is_a_failure(tmp_path: Path) -> None:
    async with http_upstream(tmp_path) as url:
        connection, requests = await connect(Target(url), Era.LEGACY, 0)
        requests.in_session("made-up")
        status, body = await connection.ask(requests.call(2, requests.words(2)))
        connection.close()
    assert status == 404
    assert fault(status, body, 2, requests.words(2)) is not None


async def test_the_upstream_lists_as_many_tools_as_it_was_told_to(tmp_path: Path) -> None:
    async with http_upstream(tmp_path, 300) as url:
        connection, requests = await connect(Target(url), Era.MODERN, 0)
        _, body = await connection.ask(requests.list_tools())
        connection.close()
    listed = decode_list(body).result
    assert listed is not None
    assert len(listed.tools) == 300


async def test_wrong_answers_are_counted_by_their_kind_and_none_is_a_latency() -> None:
    answer = b'{"jsonrpc":"2.0","id":%d,"result":{"content":[{"type":"text","text":"of another call"}]}}'
    async with answering(lambda number, _: answer % (number + 1)) as target:
        callers = await open_callers(target, Era.MODERN, 1)
        came = await closed_loop(callers, 0.05)
        callers[0].close()
    assert came.latencies == []
    assert list(came.failures) == ["the words of another call, or none"]


async def test_a_target_that_closes_the_connection_is_a_failure_not_a_hang() -> None:
    listening = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with listening:
        target = Target(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/mcp")
        with pytest.raises(Failed, match=r"connection lost|closed by the target"):
            await asyncio.wait_for(connect(target, Era.LEGACY, 0), DEADLINE)


async def test_at_a_fixed_rate_a_stall_is_counted_in_the_calls_that_waited_for_it() -> None:
    """With one connection and 20 ms a call, 200 calls a second queue up: the wait is part of the latency."""

    def slow(number: int, body: bytes) -> bytes:
        _block(0.02)
        identity = body.partition(b'"id":')[2].partition(b",")[0]
        words = body.partition(b'"text":"')[2].partition(b'"')[0]
        return b'{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":"%s"}]}}' % (
            identity,
            words,
        )

    async with answering(slow) as target:
        came = await fixed_rate(target, Era.MODERN, rate=200, seconds=0.2, connections=1)
    assert (len(came.latencies), came.failures.total()) == (40, 0)
    assert came.percentile(0.95) > 200


def _block(seconds: float) -> None:
    import threading

    threading.Event().wait(seconds)


def test_percentiles_are_of_the_latencies_in_milliseconds() -> None:
    came = Round(1.0, [number / 1000 for number in range(1, 101)])
    assert (came.percentile(0.5), came.percentile(0.99), came.rate) == (51.0, 100.0, 100.0)


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (500, b"oops", "status 500, no JSON-RPC"),
        (200, b"oops", "status 200, no JSON-RPC"),
        (
            200,
            b'{"id":8,"result":{"content":[{"type":"text","text":"w"}]}}',
            "answer to request 8 instead of 7",
        ),
        (200, b'{"id":7,"error":{"code":1,"message":"no"}}', "status 200, error 1: no"),
        (200, b'{"id":7,"result":{"content":[],"isError":true}}', "tool error: "),
        (500, b'{"id":7,"result":{"content":[{"type":"text","text":"w"}]}}', "status 500 with a result"),
        (200, b'{"id":7,"result":{"content":[{"type":"text","text":"x"}]}}', "the words of another call"),
        (200, b'{"id":7,"result":{"content":[]}}', "the words of another call"),
    ],
)
def test_what_is_not_the_answer_is_named(status: int, body: bytes, reason: str) -> None:
    assert (fault(status, body, 7, "w") or "").startswith(reason)


@pytest.mark.parametrize(
    "frame", [b"%s", b"event: message\ndata: %s\n\n", b": hello\n\ndata: {}\n\ndata: %s\n\n"]
)
def test_a_right_answer_counts_as_json_and_as_sse(frame: bytes) -> None:
    assert fault(200, frame % b'{"id":7,"result":{"content":[{"type":"text","text":"w"}]}}', 7, "w") is None


def test_no_two_calls_carry_the_same_arguments() -> None:
    target = Target("http://127.0.0.1:1/mcp")
    requests = [Requests(target, Era.LEGACY, connection) for connection in range(4)]
    words = {each.words(number) for each in requests for number in range(500)}
    assert len(words) == 2000


def test_a_connection_that_was_never_made_says_so_at_the_first_request() -> None:
    connection, said = Connection(), list[str]()
    connection.lost = said.append
    connection.send(b"POST / HTTP/1.1\r\n\r\n")
    assert said == ["connection closed by the target"]
