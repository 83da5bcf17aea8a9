"""ASGI over an exchange: how applications other than the MCP endpoints are served."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from tidegate.edge.exchange import Exchange

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


async def run(application: Application, exchange: Exchange) -> None:
    """Have an ASGI application answer an exchange."""
    talk = _Talk(exchange)
    await application(talk.scope(), talk.receive, talk.send)


def exchange_of(scope: Scope) -> Exchange:
    """Give the exchange that an application of ours answers."""
    exchange: Exchange = scope["extensions"][_EXCHANGE]
    return exchange


_EXCHANGE = "tidegate.exchange"


class _Talk:
    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._read = False
        self._start: MutableMapping[str, Any] | None = None
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        exchange.when_lost = self._lose

    def scope(self) -> Scope:
        request = self._exchange.request
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": request.method.decode("latin-1"),
            "scheme": "http",
            "path": request.path,
            "raw_path": request.path.encode("latin-1"),
            "root_path": "",
            "query_string": request.query,
            "headers": list(request.headers.items()),
            "client": (self._exchange.peer, 0) if self._exchange.peer else None,
            "server": None,
            "extensions": {_EXCHANGE: self._exchange},
        }

    async def receive(self) -> MutableMapping[str, Any]:
        if not self._read:
            self._read = True
            return {"type": "http.request", "body": self._exchange.request.body, "more_body": False}
        await self._lost
        return {"type": "http.disconnect"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        body: bytes = message.get("body", b"")
        if self._start is not None:
            status = int(self._start["status"])
            headers = b"".join(
                b"%b: %b\r\n" % (name, value)
                for name, value in self._start["headers"]
                if name.lower() not in (b"content-length", b"transfer-encoding", b"connection")
            )
            self._start = None
            if not message.get("more_body"):
                self._exchange.respond(status, headers, body)
                return
            self._exchange.begin(status, headers)
        if message.get("more_body"):
            await self._exchange.send(body)
        else:
            self._exchange.end(body)

    def _lose(self) -> None:
        if not self._lost.done():
            self._lost.set_result(None)
