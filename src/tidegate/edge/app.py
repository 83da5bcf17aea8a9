"""The application a listener serves: which path goes where."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from tidegate.edge.mcp import McpEdge
from tidegate.edge.respond import Receive, Scope, Send
from tidegate.protocol.codec import encode

Page = Callable[[Scope, Receive, Send], Awaitable[None]]
"""Serves one path."""


class App:
    """Endpoints first, then fixed pages, then prefixes; else 404."""

    def __init__(
        self, mcp: McpEdge, pages: Mapping[str, Page], prefixes: Mapping[str, Page] | None = None
    ) -> None:
        self.mcp = mcp
        self._pages = pages
        self._prefixes = prefixes or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            return
        path = scope["path"]
        if self.mcp.serves(path):
            await self.mcp(scope, receive, send)
        elif (page := self._pages.get(path)) is not None:
            await page(scope, receive, send)
        elif (prefix := next((p for p in self._prefixes if path.startswith(p)), None)) is not None:
            await self._prefixes[prefix](scope, receive, send)
        else:
            await send_json(send, 404, {"error": "no such path"})


async def send_json(send: Send, status: int, value: object) -> None:
    """Send a JSON answer."""
    await send_bytes(send, status, b"application/json", encode(value))


async def send_bytes(send: Send, status: int, kind: bytes, body: bytes) -> None:
    """Send a whole answer."""
    headers = [
        (b"content-type", kind),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
