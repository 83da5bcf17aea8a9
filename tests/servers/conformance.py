"""The server that the conformance suite of the Model Context Protocol asks for, on the official SDK.

It has every tool, prompt and resource by the name that the suite uses, the tasks extension (SEP-2663), and
skills (SEP-2640); both eras over Streamable HTTP or stdio. With `--http` it says `URL http://…` on stdout when
it listens. Needs the package `mcp` (2.x).

    python conformance.py [--http [--port 0]]
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import warnings
from typing import Any

import conformance_skills as skills
from conformance_content import Content
from conformance_tasks import Jobs
from conformance_tools import Tools
from mcp.server.caching import CacheHint
from mcp.server.lowlevel import Server
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler
from mcp.shared.exceptions import MCPDeprecationWarning
from mcp.types import JSONRPCMessage, SubscriptionsListenRequestParams

_NAME = "tidegate-conformance-fixture"
_RETRY_MS = 100
_EVENTS = 10_000
_CACHED = ("tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read")


class Events(EventStore):
    """A bounded store of what went over the streams, so that they can be resumed (SEP-1699)."""

    def __init__(self) -> None:
        self.count = 0
        self.held: dict[str, tuple[str, JSONRPCMessage | None]] = {}

    async def store_event(self, stream_id: str, message: JSONRPCMessage | None) -> str:
        """Keep an event and give its id."""
        self.count += 1
        self.held[str(self.count)] = (stream_id, message)
        if len(self.held) > _EVENTS:
            del self.held[next(iter(self.held))]
        return str(self.count)

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        """Send again what came on the event's stream after it, and give the stream."""
        if last_event_id not in self.held:
            return None
        stream = self.held[last_event_id][0]
        later = [(name, held) for name, held in self.held.items() if int(name) > int(last_event_id)]
        for name, (of, message) in later:
            if of == stream and message is not None:
                await send_callback(EventMessage(message, name))
        return stream


def build() -> Server[Any]:
    """Make the server with everything in it."""
    bus = InMemorySubscriptionBus()
    content, jobs = Content(bus), Jobs(bus)
    tools = Tools(bus, content, jobs)
    server: Server[Any] = Server(
        _NAME,
        version="1.0",
        instructions="Answers what the conformance suite asks.",
        get_tool_input_schema=tools.schema,
        cache_hints={method: CacheHint(ttl_ms=0, scope="private") for method in _CACHED},
    )
    server.middleware.append(RequestStateBoundary(RequestStateSecurity.ephemeral(), default_audience=_NAME))
    server.add_request_handler("subscriptions/listen", SubscriptionsListenRequestParams, ListenHandler(bus))
    for part in (tools, content, jobs):
        part.register(server)
    skills.register(server)
    return server


async def listen(server: Server[Any], port: int) -> None:
    """Serve Streamable HTTP on loopback."""
    import uvicorn

    app = server.streamable_http_app(event_store=Events(), retry_interval=_RETRY_MS)
    with socket.create_server(("127.0.0.1", port), backlog=256) as listener:
        print(f"URL http://127.0.0.1:{listener.getsockname()[1]}/mcp", flush=True)
        # httptools leaves blanks around header values (RFC 9110, section 5.5), h11 does not.
        config = uvicorn.Config(
            app, http="h11", log_level="warning", lifespan="on", timeout_graceful_shutdown=1
        )
        await uvicorn.Server(config).serve(sockets=[listener])


async def talk(server: Server[Any]) -> None:
    """Serve stdio."""
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


def main() -> None:
    """Serve until ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--http", action="store_true")
    parser.add_argument("--port", type=int, default=0)
    chosen = parser.parse_args()
    warnings.simplefilter("ignore", MCPDeprecationWarning)
    server = build()
    asyncio.run(listen(server, chosen.port) if chosen.http else talk(server))


if __name__ == "__main__":
    main()
