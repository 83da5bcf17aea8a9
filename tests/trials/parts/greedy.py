"""A client that takes all it can get: hundreds of connections, each asks anew as soon as it is answered, whatever with.

A program of its own, so that its work is not the work of who measures. The key comes by the environment. It gives way to
everybody else on the machine, as if it were on another: what it takes of the gateway is what is looked at.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import Counter

import uvloop
from bench.connection import Connection, connect
from bench.wire import Era, Requests, Target

KEY = "GREEDY_KEY"
KINDS = ("calls", "lists", "unknown")
_CODE = b'"code":'


class Greedy:
    """All of its connections."""

    def __init__(self, url: str, kind: str) -> None:
        self.counts: Counter[str] = Counter()
        tool = "desk__nothing" if kind == "unknown" else "desk__echo"
        self._target = Target(url, tool, os.environ.get(KEY))
        self._lists = kind == "lists"
        self._open: list[Connection] = []

    async def begin(self, number: int) -> None:
        """Have one more connection ask and ask."""
        connection, requests = await connect(self._target, Era.MODERN, number)
        self._open.append(connection)
        calls = 0

        def answered(status: int, body: bytes) -> None:
            nonlocal calls
            place = body.find(_CODE)
            self.counts["ok" if place < 0 else body[place + 7 : place + 13].decode().strip(', "}')] += 1
            calls += 1
            connection.send(self._request(requests, calls))

        def lost(reason: str) -> None:
            self.counts["lost"] += 1

        connection.answered, connection.lost = answered, lost
        connection.send(self._request(requests, calls))

    def _request(self, requests: Requests, number: int) -> bytes:
        return requests.list_tools() if self._lists else requests.call(number, requests.words(number))

    def close(self) -> None:
        """End them all."""
        for connection in self._open:
            connection.close()


async def main(url: str, connections: int, kind: str) -> None:
    """Be greedy until told to end; say then what it got."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    greedy = Greedy(url, kind)
    for number in range(connections):
        await greedy.begin(number)
    print("BEGUN", flush=True)
    greedy.counts.clear()
    await ended.wait()
    print(json.dumps(greedy.counts), flush=True)
    greedy.close()


if __name__ == "__main__":
    os.nice(10)
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
