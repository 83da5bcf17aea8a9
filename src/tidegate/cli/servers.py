"""`tidegate servers`: the table of a running gateway's servers, once or live."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tidegate.cli.options import DEFAULT_CONFIG, Config, Json, StateDir, state_of
from tidegate.cli.output import out, write_json

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tidegate.cli.control import Status


def servers(
    config: Config = DEFAULT_CONFIG,
    state: StateDir = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Go on, with the table as it is each time.")
    ] = False,
    every: Annotated[
        float, typer.Option("--every", min=0.2, max=3600, help="Seconds between two looks with --watch.")
    ] = 1.0,
    facts: Annotated[
        bool, typer.Option("--facts", help="Show every workload too, and all that holds for it.")
    ] = False,
    advice: Annotated[
        bool,
        typer.Option(
            "--advice", help="Show instead what each server should be given, by what it was seen to use."
        ),
    ] = False,
    apply: Annotated[
        str | None,
        typer.Option(
            "--apply", metavar="SERVER", help="Give the workloads of this server what is advised, now."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Show the servers of the running gateway: state, replicas, calls, what they use, how long they have run."""
    place = state_of(config, state)
    if advice or apply is not None:
        from tidegate.cli.advice import apply_advice, show_advice

        if apply is not None:
            apply_advice(place, apply, json=json)
        else:
            show_advice(place, json=json)
        return
    if watch:
        asyncio.run(_watch(place, every, facts=facts, json=json))
        return
    told, body = asyncio.run(_ask(place))
    if json:
        _write_json(body)
    else:
        out().print(_shown(told, facts=facts))


async def _ask(state: Path) -> tuple[Status, bytes]:
    from tidegate.cli import control

    async with control.connect(state) as session:
        return await control.status(session)


async def _watch(state: Path, every: float, *, facts: bool, json: bool) -> None:
    """Look again and again: in place at a terminal, else one table, or line of JSON, after the other."""
    from rich.live import Live

    from tidegate.cli import control

    console = out()
    async with control.connect(state) as session:
        if json or not console.is_terminal:
            while True:
                told, body = await control.status(session)
                if json:
                    sys.stdout.write(body.decode() + "\n")
                else:
                    console.print(_shown(told, facts=facts))
                    console.print()
                sys.stdout.flush()
                await asyncio.sleep(every)
        with Live(console=console, auto_refresh=False, screen=True, vertical_overflow="crop") as live:
            while True:
                told, _ = await control.status(session)
                live.update(_shown(told, facts=facts), refresh=True)
                await asyncio.sleep(every)


def _shown(told: Status, *, facts: bool) -> RenderableType:
    from tidegate.cli.fleet_table import whole

    return whole(told, out().width, facts=facts)


def _write_json(body: bytes) -> None:
    from json import loads

    write_json(loads(body))
