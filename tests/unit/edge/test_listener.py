"""A socket that strangers reach: slow, oversized, pipelined and truncated requests; TLS; an orderly end."""

from __future__ import annotations

import asyncio
import os
import ssl
import stat
from pathlib import Path

import pytest
import trustme

from tests.unit.edge.conftest import Listen
from tests.unit.edge.setting import EdgeSetting, Wire, modern, raw_post, tool
from tidegate.domain.errors import SettingsError
from tidegate.edge.connection import HttpBounds
from tidegate.edge.guard import Guard
from tidegate.edge.listener import Tls, server_context

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def echoes(edge: EdgeSetting) -> bool:
    """See that the gateway still answers others."""
    headers, body = tool("one__echo", text="still here")
    got = await edge.post(body, **{name.replace("-", "_"): value for name, value in headers.items()})
    return bool(got.json["result"]["content"][0]["text"] == "still here")


@pytest.mark.parametrize(
    "piece",
    [
        b"POST /mcp HT",
        b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nX-",
        raw_post(b"x" * 10, {"Content-Length": "100"}),
        b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    ],
)
async def test_a_client_that_takes_too_long_over_a_request_is_cut_off(listen: Listen, piece: bytes) -> None:
    edge = await listen()
    wire = await edge.connect()
    await wire.send(piece)
    await edge.time.advance(20)
    assert not wire.reader.at_eof()
    await edge.time.advance(15)
    await wire.ended()
    assert await echoes(edge)
    await wire.close()


async def test_a_client_that_drips_a_request_is_cut_off_all_the_same(listen: Listen) -> None:
    edge = await listen()
    wire = await edge.connect()
    await wire.send(b"POST /mcp HTTP/1.1\r\nHost: localhost\r\n")
    for number in range(12):
        if wire.writer.is_closing():
            break
        wire.writer.write(b"X-%d: y\r\n" % number)
        await edge.time.advance(3)
    await wire.ended()
    await wire.close()


async def test_a_slow_call_is_not_a_slow_request(listen: Listen) -> None:
    edge = await listen()
    server = edge.gateway.fleet.servers["one"]
    wire = await edge.connect()
    headers, body = tool("one__waits", text="done")
    await wire.send(raw_post(body, {**headers, "Accept": "application/json"}))
    await edge.time.until(lambda: server.calls)
    await edge.time.advance(45)
    server.release.set()
    assert (await wire.read()).json["result"]["content"][0]["text"] == "done"
    await wire.close()


async def test_an_idle_connection_is_kept_for_a_while_and_then_ended(listen: Listen) -> None:
    edge = await listen()
    wire = await edge.connect()
    assert (await wire.get("/healthz")).status == 200
    mute = await edge.connect()
    await edge.time.advance(60)
    assert (await wire.get("/healthz")).status == 200
    await edge.time.advance(90)
    assert await wire.ended() == await mute.ended() == b""
    await wire.close()
    await mute.close()


@pytest.mark.parametrize("one_line", [True, False])
async def test_headers_over_their_bound_are_431_and_nothing_more_is_read(
    listen: Listen, one_line: bool
) -> None:
    edge = await listen()
    wire = await edge.connect()
    filler = b"X-A: " + b"y" * 2_000_000 if one_line else b"X-A: y\r\n" * 250_000
    try:
        await wire.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + filler)
    except ConnectionError:
        pass
    answer = await wire.ended()
    assert answer == b"" or answer.startswith(b"HTTP/1.1 431 ")
    assert await echoes(edge)
    await wire.close()


async def test_headers_a_little_over_their_bound_are_told_so(listen: Listen) -> None:
    edge = await listen()
    wire = await edge.connect()
    await wire.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: " + b"y" * 66_000)
    got = await wire.read()
    assert got.status == 431
    assert got.json["error"]
    await wire.close()


@pytest.mark.parametrize(
    "junk",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 100,
        b"GET /healthz HTTP/9.9\r\nHost: x\r\n\r\n",
        b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /healthz HTTP/1.1\r\nHost : localhost\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\x00b\r\n\r\n",
    ],
)
async def test_what_is_no_request_of_http_is_400_or_cut_off_and_harms_nobody(
    listen: Listen, junk: bytes
) -> None:
    edge = await listen()
    wire = await edge.connect()
    await wire.send(junk)
    wire.writer.write_eof()
    answer = await wire.ended()
    assert not answer.startswith(b"HTTP/1.1 2")
    assert b"Traceback" not in answer
    assert await echoes(edge)
    await wire.close()


async def test_pipelined_requests_are_answered_in_order(listen: Listen) -> None:
    edge = await listen()
    wire = await edge.connect()
    raw = b""
    for number in range(6):
        headers, body = tool("one__echo", number, text=f"n{number}")
        raw += raw_post(body, headers)
    await wire.send(raw)
    answers = [await wire.read() for _ in range(6)]
    assert [each.json["id"] for each in answers] == list(range(6))
    assert [each.json["result"]["content"][0]["text"] for each in answers] == [f"n{n}" for n in range(6)]
    await wire.close()


async def test_a_pipelined_request_waits_for_the_slow_one_before_it(listen: Listen) -> None:
    edge = await listen()
    server = edge.gateway.fleet.servers["one"]
    wire = await edge.connect()
    first, second = tool("one__waits", 1, text="slow"), tool("one__echo", 2, text="quick")
    await wire.send(b"".join(raw_post(body, headers) for headers, body in (first, second)))
    await edge.time.until(lambda: server.calls)
    server.release.set()
    assert [(await wire.read()).json["id"] for _ in range(2)] == [1, 2]
    await wire.close()


async def test_a_client_that_pipelines_and_goes_leaves_nothing_behind(listen: Listen) -> None:
    edge = await listen()
    server = edge.gateway.fleet.servers["one"]
    wire = await edge.connect()
    requests = [tool("one__waits", number) for number in range(4)]
    await wire.send(b"".join(raw_post(body, headers) for headers, body in requests))
    await edge.time.until(lambda: server.calls)
    await wire.close()
    await edge.time.until(lambda: edge.gateway.limits.in_flight == 0)
    server.release.set()
    assert await echoes(edge)
    await edge.time.until(lambda: edge.listener.connections == 0)


async def test_one_connection_serves_many_requests(listen: Listen) -> None:
    edge = await listen()
    wire = await edge.connect()
    for number in range(20):
        headers, body = tool("one__echo", number, text="x" * number * 1000)
        await wire.send(raw_post(body, headers))
        assert (await wire.read()).json["id"] == number
    assert edge.listener.connections == 1
    await wire.close()


async def test_a_client_that_wants_the_connection_closed_gets_that(listen: Listen) -> None:
    edge = await listen()
    wire = await edge.connect()
    headers, body = tool("one__echo", text="x")
    await wire.send(raw_post(body, {**headers, "Connection": "close"}))
    got = await wire.read()
    assert got.headers["connection"] == "close"
    assert await wire.ended() == b""
    await wire.close()


async def test_a_client_of_http_1_0_is_answered(listen: Listen) -> None:
    edge = await listen()
    wire = await edge.connect()
    headers, body = modern("tools/call", name="one__echo", meta={"progressToken": 1})
    await wire.send(raw_post(body, headers).replace(b"HTTP/1.1", b"HTTP/1.0"))
    answer = await wire.ended()
    assert b" 200 OK\r\n" in answer
    assert b"resultType" in answer
    await wire.close()


async def test_a_client_that_asks_first_is_told_to_go_on(listen: Listen) -> None:
    edge = await listen()
    wire = await edge.connect()
    headers, body = tool("one__echo", text="x")
    raw = raw_post(body, {**headers, "Expect": "100-continue"})
    head, _, data = raw.partition(b"\r\n\r\n")
    await wire.send(head + b"\r\n\r\n")
    assert (await wire.head()).status == 100
    await wire.send(data)
    assert (await wire.read()).status == 200
    await wire.close()


async def test_a_client_that_reads_nothing_holds_up_nobody_and_no_memory(listen: Listen) -> None:
    edge = await listen()
    wire = await edge.connect()
    headers, body = tool("one__echo", 1, text="x" * 500_000)
    raw = raw_post(body, headers)
    wire.writer.write(raw * 10)
    assert await echoes(edge)
    await wire.close()
    await edge.time.until(lambda: edge.listener.connections == 0)


# -- the end ------------------------------------------------------------------------------------


async def test_an_end_waits_for_answers_that_are_under_way(listen: Listen) -> None:
    edge = await listen()
    server = edge.gateway.fleet.servers["one"]
    wire, idle = await edge.connect(), await edge.connect()
    headers, body = tool("one__waits", text="made it")
    await wire.send(raw_post(body, headers))
    await edge.time.until(lambda: server.calls)
    closing = asyncio.create_task(edge.listener.close(30.0))
    await edge.time.settle()
    assert await idle.ended() == b""
    with pytest.raises(ConnectionRefusedError):
        await edge.connect()
    server.release.set()
    assert (await wire.read()).json["result"]["content"][0]["text"] == "made it"
    await closing
    await wire.close()
    await idle.close()


async def test_an_end_does_not_wait_for_ever_and_says_why_a_call_was_cut(listen: Listen) -> None:
    edge = await listen()
    server = edge.gateway.fleet.servers["one"]
    wire = await edge.connect()
    headers, body = tool("one__waits")
    await wire.send(raw_post(body, headers))
    await edge.time.until(lambda: server.calls)
    edge.gateway.pipeline.draining = True
    closing = asyncio.create_task(edge.listener.close(10.0))
    await edge.time.settle()
    await edge.time.advance(11)
    await closing
    assert (await wire.read()).json["error"]["code"] == -31009
    assert edge.gateway.outcomes() == ["cancelled"]
    await wire.close()


# -- the control socket -------------------------------------------------------------------------


async def test_the_control_socket_is_for_its_owner_only(listen: Listen) -> None:
    edge = await listen()
    assert stat.S_IMODE(os.stat(edge.socket).st_mode) == 0o600
    assert stat.S_ISSOCK(os.stat(edge.socket).st_mode)


async def test_who_can_open_the_control_socket_may_call_as_the_operator(listen: Listen) -> None:
    edge = await listen()
    wire = await edge.control()
    headers, body = tool("one__echo", text="x")
    await wire.send(raw_post(body, {**headers, "Authorization": "-", "Host": "localhost"}))
    assert (await wire.read()).json["result"]["content"][0]["text"] == "x"
    (intent,) = edge.gateway.records("call.intent")
    assert intent["peer"] == "control"
    await wire.close()


# -- TLS ----------------------------------------------------------------------------------------


def certificate(authority: trustme.CA, place: Path) -> Tls:
    """Write a certificate and its key."""
    issued = authority.issue_cert("localhost")
    tls = Tls(place / "cert.pem", place / "key.pem")
    issued.private_key_pem.write_to_path(tls.key)
    chain = b"".join(each.bytes() for each in issued.cert_chain_pems)
    tls.certificate.write_bytes(chain)
    return tls


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """Give a client's context that trusts an authority."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def serial(edge: EdgeSetting, context: ssl.SSLContext) -> str:
    """Make a TLS connection, ask something, and give the certificate's serial number."""
    wire: Wire = await edge.connect(context)
    assert (await wire.get("/healthz")).status == 200
    shown: str = wire.writer.get_extra_info("ssl_object").getpeercert()["serialNumber"]
    await wire.close()
    return shown


async def test_a_changed_certificate_is_taken_and_an_unusable_one_is_not(
    listen: Listen, tmp_path: Path
) -> None:
    authority = trustme.CA()
    tls, context = certificate(authority, tmp_path), trusting(authority)
    edge = await listen(tls=tls)
    held: Wire = await edge.connect(context)
    first = await serial(edge, context)
    tls.certificate.write_text("not a certificate")
    os.utime(tls.certificate, (1, 1))
    await edge.time.advance(12)
    assert await serial(edge, context) == first
    certificate(authority, tmp_path)
    os.utime(tls.certificate, (2, 2))
    await edge.time.advance(12)
    assert await serial(edge, context) != first
    assert (await held.get("/healthz")).status == 200
    await held.close()


async def test_another_certificate_is_taken_and_one_that_cannot_be_changes_nothing(
    listen: Listen, tmp_path: Path
) -> None:
    authority = trustme.CA()
    edge = await listen(tls=certificate(authority, tmp_path))
    context = trusting(authority)
    first = await serial(edge, context)
    with pytest.raises(SettingsError, match=r"none\.pem"):
        edge.listener.become(HttpBounds(10), Tls(tmp_path / "none.pem", tmp_path / "key.pem"))
    assert await serial(edge, context) == first
    other = tmp_path / "other"
    other.mkdir()
    edge.listener.become(HttpBounds(), certificate(authority, other))
    assert await serial(edge, context) != first


async def test_another_guard_and_other_bounds_hold_for_the_next_request_of_an_open_connection(
    listen: Listen,
) -> None:
    edge = await listen()
    wire = await edge.connect()
    headers, body = tool("one__echo", text="x" * 2000)
    before = await wire.post(body, **{name.replace("-", "_"): value for name, value in headers.items()})
    assert before.status == 200
    edge.listener.become(HttpBounds(1024), None)
    after = await wire.post(body, **{name.replace("-", "_"): value for name, value in headers.items()})
    assert after.status == 413
    await wire.close()
    edge.listener.become(HttpBounds(), None)
    assert await echoes(edge)
    edge.listener.app.become({}, Guard(listen_host="10.0.0.1"), ask_for_pages=False)
    moved = await edge.post(body, Host="gateway.example")
    assert moved.status == 403
    edge.listener.app.become(
        {}, Guard(listen_host="10.0.0.1", hosts=["gateway.example"]), ask_for_pages=False
    )
    assert (await edge.post(body, Host="gateway.example")).status != 403


async def test_nothing_older_than_tls_1_3_is_spoken(listen: Listen, tmp_path: Path) -> None:
    authority = trustme.CA()
    edge = await listen(tls=certificate(authority, tmp_path))
    context = trusting(authority)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        await edge.connect(context)
    assert await serial(edge, trusting(authority))


async def test_a_client_without_tls_on_a_tls_port_is_cut_off(listen: Listen, tmp_path: Path) -> None:
    authority = trustme.CA()
    edge = await listen(tls=certificate(authority, tmp_path))
    wire = await edge.connect()
    await wire.send(HEALTH)
    assert not (await wire.ended()).startswith(b"HTTP/1.1 200")
    assert await serial(edge, trusting(authority))
    await wire.close()


@pytest.mark.parametrize("broken", ["missing", "mixed", "encrypted"])
def test_files_that_cannot_be_used_are_said_with_their_names(tmp_path: Path, broken: str) -> None:
    tls = certificate(trustme.CA(), tmp_path)
    if broken == "missing":
        tls.key.unlink()
    elif broken == "mixed":
        tls.key.write_bytes(trustme.CA().issue_cert("x").private_key_pem.bytes())
    else:
        from cryptography.hazmat.primitives import serialization as form

        key = form.load_pem_private_key(tls.key.read_bytes(), None)
        sealed = form.BestAvailableEncryption(b"secret")
        tls.key.write_bytes(key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, sealed))
    with pytest.raises(SettingsError) as caught:
        server_context(tls)
    assert "cert.pem" in str(caught.value)
    assert "\n" not in str(caught.value)
