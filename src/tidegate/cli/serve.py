"""`tidegate serve`: run the gateway."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Annotated, Literal

import typer

from tidegate.cli.options import DEFAULT_CONFIG, Config, must_be_there


def serve(
    config: Config = DEFAULT_CONFIG,
    listen: Annotated[str | None, typer.Option("--listen", help="host:port, in place of the file's.")] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", min=0, max=65535, help="Port, in place of the file's; 0 takes a free one."),
    ] = None,
    log_format: Annotated[
        Literal["console", "json"] | None, typer.Option("--log-format", help="In place of the file's.")
    ] = None,
) -> None:
    """Run the gateway until it is interrupted."""
    overrides: dict[str, object] = {}
    if listen is not None:
        overrides["listen"] = listen
    if log_format is not None:
        overrides["logs.format"] = log_format
    must_be_there(config)
    from tidegate.assemble import SettingsFile
    from tidegate.assemble import serve as serve_gateway

    run(serve_gateway(SettingsFile(config, overrides, port)))


def run(main: Coroutine[None, None, None]) -> None:
    """Run a coroutine on uvloop where there is one."""
    if sys.platform == "win32":
        asyncio.run(main)
        return
    import uvloop

    uvloop.run(main)
