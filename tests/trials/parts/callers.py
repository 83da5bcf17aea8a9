"""Callers: clients of either era that call with texts nobody else sends, and keep what came of each call."""

from __future__ import annotations

import asyncio
import itertools
import random
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.integration.gateway.gateway import Gateway, Wire, read_answer

Json = dict[str, Any]
BROKEN_OFF = "broken off"
"""What came of a call whose gateway ended under it."""
NOBODY = "no gateway"
"""What came of a call while none listened."""


@dataclass(slots=True)
class Made:
    """One call, and what came of it."""

    trace: str
    server: str
    tool: str
    came: str
    """`ok`, `tool_error`, `wrong`, `broken off`, `no gateway`, or the error's code."""
    call_id: str | None = None
    """The gateway's, where an error said it."""
    note: str = ""
    began: float = 0.0
    ended: float = 0.0
    """On the loop's clock."""


@dataclass
class Caller:
    """One client over a connection of its own."""

    gateway: Gateway
    name: str
    modern: bool
    key: str | None = None
    pace: float = 0.02
    """Seconds between calls."""
    made: list[Made] = field(default_factory=list[Made])
    counters: dict[str, int] = field(default_factory=dict[str, int])

    async def run(self, until: float, call: Callable[[Caller, random.Random], Awaitable[None]]) -> None:
        """Call again and again until a moment of the loop's clock."""
        loop, dice = asyncio.get_running_loop(), random.Random(self.name)
        self.wire = Wire("", modern=self.modern, key=self.key)
        self.numbers = itertools.count()
        async with httpx2.AsyncClient(timeout=60) as self.http:
            while loop.time() < until:
                await call(self, dice)
                await pause(dice, self.pace)

    @staticmethod
    def loop_time() -> float:
        """Give the loop's time."""
        return asyncio.get_running_loop().time()

    async def echo(self, server: str, padding: int = 0) -> None:
        """Have a text said again, and see that it is the same."""
        text = f"{self.name}-{next(self.numbers)}-{secrets.token_hex(8)}" + "." * padding
        await self.call(server, "echo", {"text": text}, text)

    async def call(self, server: str, tool: str, arguments: Json, expected: str | None) -> str | None:
        """Call a tool and keep what came. Give the text of a result."""
        trace = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
        clock = asyncio.get_running_loop().time
        made = Made(trace, server, tool, BROKEN_OFF, began=clock())
        self.made.append(made)
        try:
            return await self._made(made, arguments, expected)
        finally:
            made.ended = clock()

    async def _made(self, made: Made, arguments: Json, expected: str | None) -> str | None:
        server, tool, trace = made.server, made.tool, made.trace
        text = None
        try:
            await self._open()
            params = {"name": f"{server}__{tool}", "arguments": arguments}
            message = await self._send("tools/call", params, trace)
        except (httpx2.TransportError, OSError) as error:
            made.note = type(error).__name__
            made.came = NOBODY if isinstance(error, httpx2.ConnectError) else BROKEN_OFF
            await asyncio.sleep(0.1)  # until another gateway listens
            return None
        if "error" in message:
            made.came = str(message["error"]["code"])
            made.call_id = (message["error"].get("data") or {}).get("id")
            made.note = message["error"]["message"]
            if made.came == "-32600":
                self.wire.session = None
        else:
            text = message["result"]["content"][0]["text"]
            made.came = "tool_error" if message["result"].get("isError") else "ok"
            if expected is not None and text != expected:
                made.came = "wrong"
                made.note = f"expected {(expected or '')[:80]!r}, got {text[:80]!r}"
        return text

    async def _open(self) -> None:
        self.wire.url = self.gateway.url()
        if self.modern or self.wire.session is not None:
            return
        params = {
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": self.name, "version": "1"},
        }  # fmt: skip
        headers, body = self.wire.request("initialize", params, 0)
        got = await self.http.post(self.wire.url, json=body, headers=headers)
        if got.status_code != 200:
            raise OSError(f"no session: {got.status_code}")
        self.wire.session = got.headers["mcp-session-id"]

    async def _send(self, method: str, params: Json, trace: str) -> Json:
        headers, body = self.wire.request(method, params, next(self.numbers) + 1)
        got = await self.http.post(self.wire.url, json=body, headers={**headers, "traceparent": trace})
        return read_answer(got)


async def pause(dice: random.Random, pace: float) -> None:
    """Wait as a client does between calls: `pace` seconds on average."""
    await asyncio.sleep(dice.uniform(0, 2 * pace))


def tally(callers: Sequence[Caller]) -> dict[str, int]:
    """Count what came of all calls, the most usual first."""
    counts: dict[str, int] = {}
    for caller in callers:
        for made in caller.made:
            counts[made.came] = counts.get(made.came, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))
