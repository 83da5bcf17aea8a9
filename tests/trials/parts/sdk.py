"""Callers that are the published Python SDK's clients: what they make of a gateway that goes away is the SDK's own."""

from __future__ import annotations

import contextlib
import itertools
import random
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from tests.trials.parts.callers import Caller, pause

Json = dict[str, Any]
_OURS = range(-31999, -31000)
"""Codes that the gateway alone gives."""


class SdkCaller(Caller):
    """One client of the SDK, that connects anew when its connection is of no more use."""

    async def run(self, until: float, call: Callable[[Caller, random.Random], Awaitable[None]]) -> None:
        """Call again and again until a moment of the loop's clock."""
        self.numbers = itertools.count()
        self.opened: contextlib.AsyncExitStack | None = None
        self.trace = ""
        dice = random.Random(self.name)
        try:
            while self.loop_time() < until:
                await call(self, dice)
                await pause(dice, self.pace)
        finally:
            await self._leave()

    async def _open(self) -> None:
        if self.opened is not None:
            return
        stack = contextlib.AsyncExitStack()
        try:
            http = await stack.enter_async_context(
                httpx2.AsyncClient(timeout=30, event_hooks={"request": [self._mark]})
            )
            transport = streamable_http_client(self.gateway.url(), http_client=http, terminate_on_close=False)
            mode = "2026-07-28" if self.modern else "legacy"
            client = Client(transport, mode=mode, read_timeout_seconds=30, cache=None)
            self.client = await stack.enter_async_context(client)
        except BaseException as error:
            await _close(stack)
            if isinstance(error, Exception):
                raise OSError(f"not connected: {error!r}"[:200]) from error
            raise
        self.opened = stack

    async def _send(self, method: str, params: Json, trace: str) -> Json:
        self.trace = trace
        try:
            result = await self.client.call_tool(params["name"], params["arguments"])
        except MCPError as error:
            if error.error.code in _OURS:
                return {"error": error.error.model_dump()}
            await self._leave()
            raise OSError(f"broken off: {error}"[:200]) from error
        except Exception as error:  # whatever the SDK makes of a connection that breaks
            await self._leave()
            raise OSError(f"broken off: {error!r}"[:200]) from error
        finally:
            self.trace = ""
        return {"result": result.model_dump()}

    async def _mark(self, request: httpx2.Request) -> None:
        if self.trace and b'"tools/call"' in request.content:
            request.headers["traceparent"] = self.trace

    async def _leave(self) -> None:
        stack, self.opened = self.opened, None
        if stack is not None:
            await _close(stack)


async def _close(stack: contextlib.AsyncExitStack) -> None:
    with contextlib.suppress(Exception):  # what is broken is closed as well as it can be
        await stack.aclose()
