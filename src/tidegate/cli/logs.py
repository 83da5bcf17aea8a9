"""`tidegate logs`: what a server wrote on its standard error."""

from __future__ import annotations

import asyncio
import codecs
import sys
from pathlib import Path
from typing import Annotated

import typer

from tidegate.cli.options import DEFAULT_CONFIG, Config, StateDir, state_of
from tidegate.cli.output import harmless


def logs(
    server: Annotated[str, typer.Argument(help="The server's name.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as more comes.")] = False,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, max=100_000, help="How many of the last lines.")
    ] = 200,
    config: Config = DEFAULT_CONFIG,
    state: StateDir = None,
) -> None:
    """Show what a server wrote on its standard error."""
    asyncio.run(_logs(state_of(config, state), server, lines, follow=follow))


async def _logs(state: Path, server: str, lines: int, *, follow: bool) -> None:
    from tidegate.cli import control

    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    async with control.connect(state) as session:
        async for piece in control.logs(session, server, lines, follow=follow):
            sys.stdout.write(harmless(decoder.decode(piece)))
            sys.stdout.flush()
