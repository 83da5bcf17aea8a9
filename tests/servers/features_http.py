"""The server of all features on the official SDK, over Streamable HTTP of one era or HTTP+SSE.

The SDK carries and checks (sessions, envelopes, headers, both transports); a middleware gives every request
to `features` before the SDK's models see it, so that nothing is dropped. It says `URL http://…` when it
listens.

    python features_http.py legacy|modern|sse [--port 0]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
from typing import Any

import uvicorn
from features import LEGACY, MODERN, OWN, SERVER, UNKNOWN, UNSUPPORTED, Connection, Features, Message, Refused
from features_tools import input_schema
from mcp.server.lowlevel import Server
from mcp.server.runner import serve_loop
from mcp.server.sse import SseServerTransport
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from pydantic import BaseModel, ConfigDict
from starlette.types import Receive, Scope, Send


class Raw(BaseModel):
    """Any message or result, as it is."""

    model_config = ConfigDict(extra="allow")


class Caller:
    """The client, as one request through the SDK sees it."""

    def __init__(self, context: Any, connection: Connection | None) -> None:
        self._session, self._id = context.session, context.request_id
        meta = (context.params or {}).get("_meta", {})
        known = connection.client if connection else {
            "capabilities": meta[f"{OWN}clientCapabilities"], "clientInfo": meta.get(f"{OWN}clientInfo"),
        }  # fmt: skip
        self.capabilities: Message = known.get("capabilities") or {}
        self.client_info: Message = known.get("clientInfo") or {}
        self.headers = dict(context.request.headers) if context.request is not None else None
        self.connection = connection

    async def notify(self, method: str, params: Message) -> None:
        """Send a notification on this request's stream."""
        await self._session.send_notification(raw(method, params), self._id)

    async def request(self, method: str, params: Message) -> Message:
        """Ask the client on this request's stream."""
        metadata = ServerMessageMetadata(related_request_id=self._id)
        try:
            answer = await self._session.send_request(raw(method, params), Raw, metadata=metadata)
        except MCPError as problem:
            error = problem.error
            raise Refused(error.code, f"the client refused: {error.message}", error.data) from None
        return answer.model_dump(mode="json")


class Carried:
    """The middleware: gives requests to the features, and keeps what lasts of legacy clients."""

    def __init__(self, features: Features) -> None:
        self.features = features

    async def __call__(self, context: Any, call_next: Any) -> Any:
        """Answer a request, or let the SDK do what is its own."""
        if context.method == "initialize":
            return await self._initialize(context, call_next)
        connection = None if self.features.modern else self._connection(context)
        if context.request_id is None:
            if connection is not None and context.method == "notifications/roots/list_changed":
                connection.roots_changed += 1
            return await call_next(context)
        if context.method == "ping":
            return await call_next(context)
        caller = Caller(context, connection)
        message = {"id": context.request_id, "method": context.method, "params": dict(context.params or {})}
        try:
            return await self.features.answer(caller, message)
        except Refused as problem:
            raise MCPError(problem.code, problem.message, problem.data) from None

    async def _initialize(self, context: Any, call_next: Any) -> Any:
        if self.features.modern:
            raise MCPError(UNSUPPORTED, "this server has no handshake", {"supported": [MODERN]})
        answered = dict(await call_next(context))
        self._connection(context).client = dict(context.params)
        return {**answered, "capabilities": self.features.capabilities(), "serverInfo": SERVER}

    def _connection(self, context: Any) -> Connection:
        lasting = context.session._connection
        found: Connection | None = lasting.state.get("features")
        if found is None:
            session = context.session

            async def tell(method: str, params: Message) -> None:
                await session.send_notification(raw(method, params))

            found = lasting.state["features"] = Connection(tell)
            self.features.connections.append(found)
            lasting.exit_stack.callback(self.features.connections.remove, found)
        return found


def raw(method: str, params: Message) -> Any:
    """Give a message as the SDK sends it; without params where there are none."""
    return Raw.model_validate({"method": method} | ({"params": params} if params else {}))


class OneEra:
    """The SDK's app, which serves both eras, held to one."""

    def __init__(self, app: Any, modern: bool) -> None:
        self._app, self._modern = app, modern

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse what is of the other era as a server that knows one only does."""
        if scope["type"] == "http":
            version = dict(scope["headers"]).get(b"mcp-protocol-version", b"").decode()
            if self._modern and scope["method"] != "POST":
                return await _refuse(send, 405, UNKNOWN, "only POST", None)
            if self._modern and version != MODERN:
                data = {"supported": [MODERN], "requested": version}
                return await _refuse(send, 400, UNSUPPORTED, "unsupported protocol version", data)
            if not self._modern and version > LEGACY:
                return await _refuse(send, 400, -32600, f"Bad Request: unknown version {version}", None)
        await self._app(scope, receive, send)


async def _refuse(send: Send, status: int, code: int, message: str, data: Any) -> None:
    error = {"code": code, "message": message} | ({} if data is None else {"data": data})
    body = json.dumps({"jsonrpc": "2.0", "id": None, "error": error}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Sse:
    """HTTP+SSE of 2024-11-05, with sessions of later revisions inside."""

    def __init__(self, server: Server[Any]) -> None:
        self._server = server
        self._transport = SseServerTransport("/messages")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Keep a stream, or take a message for one."""
        if scope["type"] != "http":
            return
        if scope["method"] == "POST" and scope["path"] == "/messages":
            await self._transport.handle_post_message(scope, receive, send)
        elif scope["method"] == "GET" and scope["path"] == "/sse":
            async with self._transport.connect_sse(scope, receive, send) as (read, write):
                await serve_loop(self._server, read, write, lifespan_state={})
        else:
            await _refuse(send, 405 if scope["path"] == "/sse" else 404, UNKNOWN, "not here", None)


def build(form: str) -> Any:
    """Make the ASGI app of a form."""
    features = Features(form == "modern")
    server: Server[Any] = Server(
        SERVER["name"], version=SERVER["version"], instructions="Try everything once.", get_tool_input_schema=input_schema
    )  # fmt: skip
    server.middleware = [Carried(features)]
    if form == "sse":
        return Sse(server)
    return OneEra(server.streamable_http_app(), form == "modern")


async def main() -> None:
    """Serve until ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("form", choices=("legacy", "modern", "sse"))
    parser.add_argument("--port", type=int, default=0)
    chosen = parser.parse_args()
    path = "/sse" if chosen.form == "sse" else "/mcp"
    lifespan: Any = "off" if chosen.form == "sse" else "on"
    # asyncio sends without delay only on sockets made as TCP by number; create_server's are not
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", chosen.port))
        listener.listen(256)
        print(f"URL http://127.0.0.1:{listener.getsockname()[1]}{path}", flush=True)
        config = uvicorn.Config(
            build(chosen.form), log_level="warning", lifespan=lifespan, timeout_graceful_shutdown=1
        )
        await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    asyncio.run(main())
