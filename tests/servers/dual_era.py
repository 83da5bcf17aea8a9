"""A server of both eras on the official SDK, over stdio or Streamable HTTP.

With `--http` it says `URL http://…` on stdout when it listens. Needs the package `mcp` (2.x).

    python dual_era.py [--http [--port 0] [--json] [--stateless]] [--name NAME] [--instructions TEXT]
"""

from __future__ import annotations

import argparse
import asyncio
import socket
from typing import Annotated

import anyio
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from pydantic import Field


def build(name: str, instructions: str | None) -> MCPServer:
    """Make the server with its tools."""
    server = MCPServer(name, instructions=instructions, version="1.0", log_level="WARNING")
    counted = 0

    @server.tool()
    def echo(text: Annotated[str, Field(description="what to say")]) -> str:
        """Say it again."""
        return text

    @server.tool()
    def add(a: float, b: float) -> float:
        """Add two numbers."""
        return a + b

    @server.tool()
    async def slow(seconds: float, ctx: Context, steps: int = 1) -> str:
        """Sleep, telling progress; ends early when cancelled."""
        for step in range(steps):
            await ctx.report_progress(step, steps, f"step {step}")
            await anyio.sleep(seconds / steps)
        await ctx.report_progress(steps, steps, "done")
        return "slept"

    @server.tool()
    def big(size: int) -> str:
        """Give a text of that many characters."""
        return "x" * size

    @server.tool()
    def counter() -> int:
        """Count the calls of this process."""
        nonlocal counted
        counted += 1
        return counted

    @server.tool()
    def raises() -> str:
        """Fail, always."""
        raise ValueError("this tool always fails")

    return server


async def listen(server: MCPServer, chosen: argparse.Namespace) -> None:
    """Serve Streamable HTTP on loopback."""
    import uvicorn

    app = server.streamable_http_app(json_response=chosen.json, stateless_http=chosen.stateless)
    with socket.create_server(("127.0.0.1", chosen.port), backlog=256) as listener:
        print(f"URL http://127.0.0.1:{listener.getsockname()[1]}/mcp", flush=True)
        config = uvicorn.Config(app, log_level="warning", lifespan="on", timeout_graceful_shutdown=1)
        await uvicorn.Server(config).serve(sockets=[listener])


def main() -> None:
    """Serve until ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="dual-era")
    parser.add_argument("--instructions")
    parser.add_argument("--http", action="store_true")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="answer with JSON instead of SSE")
    parser.add_argument("--stateless", action="store_true")
    chosen = parser.parse_args()
    server = build(chosen.name, chosen.instructions)
    if chosen.http:
        asyncio.run(listen(server, chosen))
    else:
        server.run("stdio")


if __name__ == "__main__":
    main()
