"""The HTTP client against a server of exact bytes: pool, bounds, breaks, streams."""

from __future__ import annotations

import asyncio
import socket
import socketserver
import threading
from contextlib import asynccontextmanager

import pytest

from tidegate.channels.http.address import read_address
from tidegate.channels.http.messages import HttpBounds, HttpRequest
from tidegate.channels.http.origin import HttpOrigin
from tidegate.domain.errors import (
    ChannelClosed,
    ChannelFailure,
    ChannelTimeout,
    UpstreamProtocolError,
)
from tidegate.testing.scripted import Peer, Server, serving, until


@asynccontextmanager
async def origin_of(server: Server, **bounds):
    origin = HttpOrigin(read_address(server.url), bounds=HttpBounds(**bounds))
    try:
        yield origin
    finally:
        await origin.close()


def post(body: bytes = b"{}", **parts) -> HttpRequest:
    return HttpRequest(
        b"POST", b"/mcp", b"Content-Type: application/json\r\n", body, **{"timeout": 5, **parts}
    )


def answering(*pieces: bytes, close: bool = False):
    """Give a script that answers every request of a connection with the same pieces."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(*pieces)
            if close:
                return

    return script


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n1;ext=1\r\n \r\n6\r\nworld!\r\n0\r\nTrailer: x\r\n\r\n"
)


async def test_a_request_is_sent_as_it_was_given():
    got = []

    async def script(peer):
        got.append(await peer.request())
        await peer.answer(b"[1]", "201 Created", "X-One: a")

    async with serving(script) as server, origin_of(server) as origin:
        response = await origin.request(HttpRequest(b"POST", b"/mcp?x=1", b"X-Two: b\r\n", b"body"))
    assert (response.status, response.body, response.headers[b"x-one"]) == (201, b"[1]", b"a")
    assert response.content_type() == b"application/json"
    (request,) = got
    assert (request.method, request.target, request.body) == ("POST", "/mcp?x=1", b"body")
    assert request.headers == {
        "host": f"127.0.0.1:{server.port}",
        "accept-encoding": "identity",
        "x-two": "b",
        "content-length": "4",
    }


async def test_a_connection_is_kept_and_used_again():
    async with serving(answering(OK)) as server, origin_of(server) as origin:
        for _ in range(5):
            assert (await origin.request(post())).body == b"{}"
        assert server.connections == 1


async def test_requests_at_once_get_connections_of_their_own_up_to_the_bound():
    inside = 0
    most = 0
    open_the_gate = asyncio.Event()

    async def script(peer):
        nonlocal inside, most
        while True:
            await peer.request()
            inside += 1
            most = max(most, inside)
            await open_the_gate.wait()
            inside -= 1
            await peer.send(OK)

    async with serving(script) as server, origin_of(server, connections=3) as origin:
        requests = [asyncio.ensure_future(origin.request(post())) for _ in range(8)]
        await until(lambda: inside == 3)
        open_the_gate.set()
        assert all(response.status == 200 for response in await asyncio.gather(*requests))
        assert most == 3
        assert server.connections == 3


async def test_one_request_too_many_in_the_queue_is_refused_before_it_is_sent():
    async with serving(lambda peer: peer.reader.read()) as server:
        async with origin_of(server, connections=1, waiting=1) as origin:
            first = asyncio.ensure_future(origin.request(post()))
            await until(lambda: server.connections == 1)
            second = asyncio.ensure_future(origin.request(post()))
            await asyncio.sleep(0)
            with pytest.raises(ChannelFailure, match="wait for a connection") as failure:
                await origin.request(post())
            assert not failure.value.sent
        for request in (first, second):
            with pytest.raises(ChannelClosed):
                await request


@pytest.mark.parametrize("stream", [OK, CHUNKED], ids=["length", "chunked"])
async def test_an_answer_may_be_split_at_every_byte(stream: bytes):
    expected = b"{}" if stream is OK else b"hello world!"
    pieces = [bytes([byte]) for byte in stream]
    async with serving(answering(*pieces)) as server, origin_of(server) as origin:
        for _ in range(2):
            assert (await origin.request(post())).body == expected
        assert server.connections == 1


@pytest.mark.parametrize("at", range(1, len(CHUNKED), 7))
async def test_an_answer_in_two_pieces_is_the_same(at: int):
    async with serving(answering(CHUNKED[:at], CHUNKED[at:])) as server, origin_of(server) as origin:
        assert (await origin.request(post())).body == b"hello world!"


async def test_an_answer_without_a_length_ends_with_the_connection():
    script = answering(b"HTTP/1.1 200 OK\r\n\r\nto the end", close=True)
    async with serving(script) as server, origin_of(server) as origin:
        assert (await origin.request(post())).body == b"to the end"
        assert (await origin.request(post())).body == b"to the end"
        assert server.connections == 2


async def test_interim_answers_are_passed_over():
    script = answering(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", OK)
    async with serving(script) as server, origin_of(server) as origin:
        response = await origin.request(post())
        assert (response.status, response.body) == (200, b"{}")
        assert b"link" not in response.headers
        assert (await origin.request(post())).status == 200
        assert server.connections == 1


@pytest.mark.parametrize("status", [202, 204, 301, 307, 404, 500])
async def test_every_status_is_given_and_no_redirect_followed(status: int):
    head = f"HTTP/1.1 {status} X\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n".encode()
    async with serving(answering(head)) as server, origin_of(server) as origin:
        assert (await origin.request(post())).status == status
        assert (await origin.request(post())).status == status


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        (b"SSH-2.0-OpenSSH_9\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nab", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "not HTTP"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nab", "compressed"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 2000 + b"\r\n\r\n", "head larger than 1000"),
        (b"HTTP/1.1 200 OK\r\n" + b"X" * 2000, "head larger than 1000"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 400 + b"\r\n", "head larger than 1000"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2001\r\n\r\n" + b"x" * 2001, "answer larger than 2000"),
        (OK + OK, "answered twice"),
    ],
)
async def test_what_is_not_http_or_too_much_fails_and_closes(stream: bytes, said: str):
    async with serving(answering(stream)) as server, origin_of(server, head=1000, body=2000) as origin:
        with pytest.raises(UpstreamProtocolError, match=said):
            await origin.request(post())
        await until(lambda: origin.connections == 0)


async def test_a_body_over_the_bound_fails_before_it_has_come_whole():
    async def script(peer):
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await peer.send(b"400\r\n" + b"x" * 1024 + b"\r\n")

    async with serving(script) as server, origin_of(server, body=10_000) as origin:
        with pytest.raises(UpstreamProtocolError, match="larger than 10000"):
            await origin.request(post())


@pytest.mark.parametrize("stream", [b"HTTP/1.1 20", OK[:-1], CHUNKED[:-3]])
async def test_an_answer_that_breaks_off_fails_as_sent(stream: bytes):
    async with serving(answering(stream, close=True)) as server, origin_of(server) as origin:
        with pytest.raises(ChannelClosed, match="broke off") as failure:
            await origin.request(post(repeatable=True))
        assert failure.value.sent


async def test_a_server_that_closes_without_an_answer_fails_a_first_request():
    async with serving(answering(close=True)) as server, origin_of(server) as origin:
        with pytest.raises(ChannelClosed, match="without an answer"):
            await origin.request(post(repeatable=True))


async def _once_then_close(peer: Peer) -> None:
    """Answer once; close upon the second request without a byte."""
    await peer.request()
    await peer.send(OK)
    await peer.request()


async def test_a_repeatable_request_goes_out_again_where_an_idle_connection_broke():
    async with serving(_once_then_close) as server, origin_of(server) as origin:
        await origin.request(post())
        assert (await origin.request(post(repeatable=True))).status == 200
        assert server.connections == 2


async def test_any_other_request_is_never_sent_twice():
    async with serving(_once_then_close) as server, origin_of(server) as origin:
        await origin.request(post())
        with pytest.raises(ChannelClosed, match="without an answer") as failure:
            await origin.request(post())
        assert failure.value.sent
        assert server.connections == 1


async def test_a_connection_that_the_server_closed_while_idle_is_not_used():
    async def script(peer):
        await peer.request()
        await peer.send(OK)

    async with serving(script) as server, origin_of(server) as origin:
        for number in range(3):
            assert (await origin.request(post())).status == 200
            await until(lambda: origin.connections == 0)
            assert server.connections == number + 1


async def test_a_connection_that_was_idle_for_a_while_is_looked_at_and_used():
    async with serving(answering(OK)) as server, origin_of(server) as origin:
        await origin.request(post())
        later = origin.loop.time() + 0.1
        await until(lambda: origin.loop.time() > later)
        await origin.request(post())
        assert server.connections == 1


async def test_a_connection_that_was_closed_while_nobody_looked_is_not_used():
    closed = threading.Event()

    class Once(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65536)
            self.request.sendall(OK)

        def finish(self) -> None:
            self.request.shutdown(socket.SHUT_RDWR)
            self.request.close()
            closed.set()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Once) as listener:
        thread = threading.Thread(target=listener.serve_forever, args=(0.01,))
        thread.start()
        origin = HttpOrigin(read_address(f"http://127.0.0.1:{listener.server_address[1]}"))
        try:
            for _ in range(2):
                assert (await origin.request(post())).status == 200
                assert closed.wait(5)  # the loop stands still meanwhile and cannot have been told
                closed.clear()
                began = origin.loop.time()
                while origin.loop.time() < began + 0.06:
                    pass
        finally:
            await origin.close()
            listener.shutdown()
            thread.join()


async def test_a_connection_on_which_the_server_speaks_unasked_is_not_used():
    speak = asyncio.Event()

    async def script(peer):
        await peer.request()
        await peer.send(OK)
        await speak.wait()
        await peer.send(OK)
        await peer.reader.read()

    async with serving(script) as server, origin_of(server) as origin:
        await origin.request(post())
        assert origin.connections == 1
        speak.set()
        await until(lambda: origin.connections == 0)


@pytest.mark.parametrize("extra", [b"Connection: close\r\n", b""])
async def test_a_connection_is_not_kept_where_the_server_does_not(extra: bytes):
    version = b"HTTP/1.1" if extra else b"HTTP/1.0"
    answer = version + b" 200 OK\r\nContent-Length: 2\r\n" + extra + b"\r\n{}"
    async with serving(answering(answer)) as server, origin_of(server) as origin:
        await origin.request(post())
        await origin.request(post())
        assert server.connections == 2


async def test_an_idle_connection_is_closed_after_its_time():
    async with serving(answering(OK)) as server, origin_of(server, idle=0.02) as origin:
        await origin.request(post())
        assert origin.connections == 1
        await until(lambda: origin.connections == 0)


async def test_a_slow_answer_times_out_and_its_connection_is_closed():
    gone = asyncio.Event()

    async def script(peer):
        await peer.request()
        await peer.send(OK)
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        await peer.reader.read()
        gone.set()

    async with serving(script) as server, origin_of(server) as origin:
        await origin.request(post())  # so that the next has a connection at once
        with pytest.raises(ChannelTimeout, match=r"127\.0\.0\.1") as failure:
            await origin.request(post(timeout=0.03))
        assert failure.value.sent
        await asyncio.wait_for(gone.wait(), 5)
        assert origin.connections == 0


async def test_cancelling_closes_the_connection():
    gone = asyncio.Event()

    async def script(peer):
        await peer.request()
        await peer.reader.read()
        gone.set()

    async with serving(script) as server, origin_of(server) as origin:
        request = asyncio.ensure_future(origin.request(post()))
        await until(lambda: origin.connections == 1)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        await asyncio.wait_for(gone.wait(), 5)


async def test_no_connection_fails_as_not_sent_and_says_where():
    async with serving(answering(OK)) as server:
        pass
    async with origin_of(server) as origin:
        with pytest.raises(ChannelClosed, match=f"127.0.0.1:{server.port}: ") as failure:
            await origin.request(post())
        assert not failure.value.sent


async def test_a_closed_origin_takes_nothing():
    async with serving(answering(OK)) as server:
        async with origin_of(server) as origin:
            await origin.request(post())
        with pytest.raises(ChannelClosed) as failure:
            await origin.request(post())
        assert not failure.value.sent


# Events

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"


async def test_events_come_one_by_one_while_the_answer_goes_on():
    go_on = asyncio.Event()

    async def script(peer):
        await peer.request()
        await peer.send(STREAM + b"\r\nid: 1\nretry: 30\nda", b"ta: one\r\n", b"\r\n: hush\r")
        await go_on.wait()
        await peer.send(b"data: two\r\rdata: unfinished")

    events = []
    async with serving(script) as server, origin_of(server) as origin:
        request = asyncio.ensure_future(origin.request(post(on_event=lambda e: bool(events.append(e)))))
        await until(lambda: len(events) == 1)
        go_on.set()
        response = await request
    assert [event.data for event in events] == [b"one", b"two"]
    assert (response.streamed, response.enough, response.last_id, response.retry) == (True, False, "1", 30)


async def test_a_request_is_over_when_it_has_enough_and_its_connection_is_kept():
    async def script(peer):
        while True:
            await peer.request()
            await peer.send(STREAM + b"Transfer-Encoding: chunked\r\n\r\n")
            await peer.send(b"e\r\ndata: answer\n\n\r\n", b"c\r\ndata: more\n\n\r\n", b"0\r\n\r\n")

    events = []

    def enough(event):
        events.append(event.data)
        return event.data == b"answer"

    async with serving(script) as server, origin_of(server) as origin:
        for _ in range(3):
            assert (await origin.request(post(on_event=enough))).enough
            await until(lambda: len(origin._idle) == 1)
        assert events == [b"answer"] * 3
        assert server.connections == 1


async def test_a_stream_that_goes_on_after_it_was_enough_is_given_up():
    gone = asyncio.Event()

    async def script(peer):
        await peer.request()
        await peer.send(STREAM + b"\r\ndata: answer\n\n")
        await peer.reader.read()
        gone.set()

    async with serving(script) as server, origin_of(server) as origin:
        assert (await origin.request(post(on_event=lambda _: True))).enough
        await asyncio.wait_for(gone.wait(), 5)
        await until(lambda: origin.connections == 0)


async def test_a_stream_that_breaks_off_is_given_with_where_it_stood():
    script = answering(
        STREAM + b"Transfer-Encoding: chunked\r\n\r\n", b"12\r\nid: 7\ndata: one\n\n\n\r\n", close=True
    )
    async with serving(script) as server, origin_of(server) as origin:
        response = await origin.request(post(on_event=lambda _: False))
    assert (response.enough, response.last_id) == (False, "7")


async def test_an_event_over_the_bound_fails():
    script = answering(STREAM + b"\r\ndata: " + b"x" * 2000)
    async with serving(script) as server, origin_of(server, body=1000) as origin:
        with pytest.raises(UpstreamProtocolError, match="event larger than 1000"):
            await origin.request(post(on_event=lambda _: False))
