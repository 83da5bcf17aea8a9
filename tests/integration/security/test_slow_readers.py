"""What waits for a client that does not read."""

from __future__ import annotations

import asyncio

from msgspec import Raw

from tidegate.edge.exchange import Exchange, Request
from tidegate.edge.respond import Responder
from tidegate.gateway.call import Answer
from tidegate.protocol.codec import encode


class Stuck:
    """A connection whose client reads nothing until it is let."""

    gone, peer, chunks, keep = False, "", True, True

    def __init__(self) -> None:
        self.reads = asyncio.Event()
        self.sent: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    async def drained(self) -> None:
        await self.reads.wait()

    def finished(self, exchange: Exchange) -> None: ...

    def abort(self) -> None: ...


async def test_large_notices_that_wait_for_a_client_are_few_and_the_answer_is_not_lost() -> None:
    """A server may say a megabyte a time, as often as it likes."""
    wire = Stuck()
    responder = Responder(Exchange(wire, Request(b"POST", "/mcp", {})), since=0.0, events=True)
    for number in range(1000):
        text = Raw(encode("x" * 300_000))
        responder.notify("notifications/progress", {"progress": Raw(encode(number)), "message": text})
        await asyncio.sleep(0)
    wire.reads.set()
    async with asyncio.timeout(10):
        await responder.finish(Answer(200, b'{"jsonrpc":"2.0","id":1,"result":{}}'))
    assert sum(map(len, wire.sent)) < 3_000_000
    assert b'"progress":999' in b"".join(wire.sent)
    assert b'"result":{}' in wire.sent[-1]
