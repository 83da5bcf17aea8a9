"""The application a listener serves: which path goes where."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping

from tidegate.domain.errors import Forbidden
from tidegate.edge import asgi, resources
from tidegate.edge.asgi import Application, Send
from tidegate.edge.exchange import Exchange
from tidegate.edge.guard import Guard
from tidegate.edge.mcp import McpEdge
from tidegate.protocol.codec import encode


class App:
    """Endpoints first, then fixed pages, then prefixes; else 404."""

    def __init__(
        self,
        mcp: McpEdge,
        pages: Mapping[str, Application],
        prefixes: Mapping[str, Application] | None = None,
        malformed: Callable[[str, str], None] | None = None,
        *,
        guard: Guard | None = None,
    ) -> None:
        """`malformed` is told peer and reason of what was no request. `guard` is asked about pages too: where
        they tell everyone on this machine something, a web page that is open on it must not be told.
        """
        self.mcp = mcp
        self._endpoints = mcp.endpoints
        self._pages = pages
        self._prefixes = prefixes or {}
        self._malformed = malformed
        self._guard = guard

    def become(self, pages: Mapping[str, Application], guard: Guard, *, ask_for_pages: bool) -> None:
        """Serve other pages behind another guard; `ask_for_pages` as the guard is where it is given at first."""
        self.mcp.guard_by(guard)
        self._pages = pages
        self._guard = guard if ask_for_pages else None

    def serve(self, exchange: Exchange) -> Coroutine[None, None, None]:
        """Answer a request. Gives the coroutine that does, since one more around it would cost every call."""
        endpoint = self._endpoints.get(exchange.request.path)
        return self._serve_page(exchange) if endpoint is None else self.mcp.serve(exchange, endpoint)

    def whose(self, exchange: Exchange) -> str:
        """Say who asks, as far as that is known before anything is read of it; else from where."""
        return self.mcp.whose(exchange)

    async def _serve_page(self, exchange: Exchange) -> None:
        path = exchange.request.path
        if path.startswith(resources.WELL_KNOWN):
            resources.serve(exchange, self.mcp.resources, self.mcp.guard)
            return
        page = self._pages.get(path) or next(
            (self._prefixes[prefix] for prefix in self._prefixes if path.startswith(prefix)), None
        )
        if page is None:
            exchange.respond(404, _JSON, b'{"error": "no such path"}')
        elif exchange.request.oversize:
            exchange.respond(413, _JSON, b'{"error": "the body is larger than is taken"}')
        elif exchange.request.query and resources.has_token(exchange.request.query):
            exchange.respond(400, _JSON, b'{"error": "a token is taken in the Authorization header only"}')
        elif not self._served(exchange):
            exchange.respond(403, _JSON, b'{"error": "this Host or Origin is not served here"}')
        else:
            await asgi.run(page, exchange)

    def _served(self, exchange: Exchange) -> bool:
        try:
            if self._guard is not None:
                self._guard.check(exchange.request.headers)
        except Forbidden:
            return False
        return True

    def malformed(self, peer: str, reason: str) -> None:
        """Pass on."""
        if self._malformed is not None:
            self._malformed(peer, reason)


_JSON = b"content-type: application/json\r\n"


async def send_json(send: Send, status: int, value: object) -> None:
    """Send a JSON answer."""
    await send_bytes(send, status, b"application/json", encode(value))


async def send_bytes(send: Send, status: int, kind: bytes, body: bytes) -> None:
    """Send a whole answer."""
    headers = [(b"content-type", kind), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
