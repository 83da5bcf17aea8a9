"""Whatever bytes a stranger sends: an answer of HTTP or a closed connection, and nobody else notices."""

from __future__ import annotations

import random

import pytest

from tests.unit.edge.conftest import Listen
from tests.unit.edge.setting import EdgeSetting, raw_post, tool

WORDS = [
    b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"\x00", b"\xff", b":", b" ", b"POST /mcp HTTP/1.1\r\n", b"GET / HTTP/1.0\r\n",
    b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: upgrade\r\n",
    b"Upgrade: h2c\r\n", b"Expect: 100-continue\r\n", b"Host: localhost\r\n", b"0\r\n\r\n", b"5\r\nhello\r\n", b"{", b"}",
    b'"jsonrpc":"2.0"', b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"CONNECT a:1 HTTP/1.1\r\n", b"OPTIONS * HTTP/1.1\r\n",
    b"GET http://[::1 HTTP/1.1\r\n", b"GET /%zz?%00#x HTTP/1.1\r\n", b"Mcp-Session-Id: \xff\r\n", b"DELETE /mcp HTTP/1.1\r\n",
]  # fmt: skip


def damaged(chance: random.Random) -> bytes:
    """Give a request with something wrong, or no request at all."""
    headers, body = tool("one__echo", text="x")
    data = bytearray(raw_post(body, headers) * chance.choice((1, 1, 3)))
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data))
        match chance.randrange(5):
            case 0:
                data[at] = chance.randrange(256)
            case 1:
                del data[at : at + chance.randint(1, 40)]
            case 2:
                data[at:at] = chance.choice(WORDS)
            case 3:
                del data[at + 1 :]
            case _:
                data = bytearray(b"".join(chance.choices(WORDS, k=chance.randint(1, 12))))
    return bytes(data)


async def alive(edge: EdgeSetting) -> bool:
    """See that a good client is still served."""
    headers, body = tool("one__echo", text="alive")
    got = await edge.post(body, **{name.replace("-", "_"): value for name, value in headers.items()})
    return bool(got.json["result"]["content"][0]["text"] == "alive")


async def test_any_bytes_are_answered_or_cut_off(listen: Listen, capfd: pytest.CaptureFixture[str]) -> None:
    edge = await listen()
    chance = random.Random(20261122)
    for turn in range(400):
        sent = damaged(chance)
        wire = await edge.connect()
        try:
            await wire.send(sent)
            wire.writer.write_eof()
            answer = await wire.ended()
        except ConnectionError:
            answer = b""
        assert not answer or answer.startswith(b"HTTP/1."), (turn, sent)
        assert b"Traceback" not in answer
        await wire.close()
    assert await alive(edge)
    await edge.time.until(lambda: edge.listener.connections == 0)
    assert edge.gateway.limits.in_flight == 0
    said = capfd.readouterr()
    assert "edge.failed" not in said.out
    assert "Traceback" not in said.out + said.err
