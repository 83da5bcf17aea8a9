"""`tidegate events`: what happens in the running gateway, as it happens."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from tidegate.cli.options import DEFAULT_CONFIG, Config, Json, StateDir, state_of
from tidegate.cli.output import harmless

_FIRST = ("time", "server", "workload", "event", "state")
"""What stands first in a line, in this order; the rest follows by name."""


def events(
    server: Annotated[str | None, typer.Option("--server", help="Of this server only.")] = None,
    recent: Annotated[
        int, typer.Option("--recent", "-n", min=0, max=1000, help="How many of the past to begin with.")
    ] = 20,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Go on as more happens.", show_default=True)
    ] = True,
    config: Config = DEFAULT_CONFIG,
    state: StateDir = None,
    json: Json = False,
) -> None:
    """Show what happens: changes of workloads, reloads, rollouts, refusals, and who changed what."""
    asyncio.run(_events(state_of(config, state), server, recent, follow=follow, json=json))


async def _events(state: Path, server: str | None, recent: int, *, follow: bool, json: bool) -> None:
    from tidegate.cli import control

    async with control.connect(state) as session:
        async for kind, data in control.events(session, server, recent, follow=follow):
            sys.stdout.write(_json(kind, data) if json else _line(kind, data))
            sys.stdout.flush()


def _json(kind: str, data: dict[str, Any]) -> str:
    from json import dumps

    return (
        dumps({"event": kind, **{f"{name}" if name != "event" else "what": data[name] for name in data}})
        + "\n"
    )


def _line(kind: str, data: dict[str, Any]) -> str:
    at = data.get("time")
    when = time.strftime("%H:%M:%S", time.localtime(at)) if isinstance(at, int | float) else "--:--:--"
    told = [str(data[name]) for name in _FIRST[1:] if data.get(name)]
    rest = [
        f"{name}={_short(value)}"
        for name, value in data.items()
        if name not in _FIRST and value not in (None, "")
    ]
    return " ".join(harmless(f"{when}  {kind:<9} {' '.join([*told, *rest])}").split("\n")) + "\n"


def _short(value: Any) -> str:
    from json import dumps

    return value if isinstance(value, str) else dumps(value)
