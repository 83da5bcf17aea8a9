"""`tidegate servers` and `tidegate logs`: what a running gateway says of its servers."""

from __future__ import annotations

import asyncio
import codecs
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tidegate.cli.options import DEFAULT_CONFIG, Config, Json, StateDir, state_of
from tidegate.cli.output import cell, harmless, out, table, write, write_json

if TYPE_CHECKING:
    from rich.table import Table

    from tidegate.cli.control import ServerStatus, Status, WorkloadStatus

_COLOURS = {"ready": "green", "failed": "red", "stopped": "dim"}
_SUMMARY = ("sandbox", "limits")
"""Facts that are shown in any case, and first."""
_WIDE = 126
"""Columns from which on what holds for a workload has room beside it."""


def servers(
    config: Config = DEFAULT_CONFIG,
    state: StateDir = None,
    facts: Annotated[
        bool,
        typer.Option(
            "--facts", help="Show all that holds for each workload, not its sandbox and limits only."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Show the servers of the running gateway: state, reason, what holds for them."""
    told, body = asyncio.run(_ask(state_of(config, state)))
    if json:
        from json import loads

        write_json(loads(body))
    else:
        _show(told, facts=facts)


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


async def _ask(state: Path) -> tuple[Status, bytes]:
    from tidegate.cli import control

    async with control.connect(state) as session:
        return await control.status(session)


async def _logs(state: Path, server: str, lines: int, *, follow: bool) -> None:
    from tidegate.cli import control

    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    async with control.connect(state) as session:
        async for piece in control.logs(session, server, lines, follow=follow):
            sys.stdout.write(harmless(decoder.decode(piece)))
            sys.stdout.flush()


def _show(told: Status, *, facts: bool) -> None:
    health = "draining" if told.draining else "ready" if told.ready else "not ready"
    since = f", up {_span(time.time() - told.started)}" if told.started else ""
    write(f"tidegate {told.version} at {told.url}: {health}{since}")
    for endpoint in told.endpoints:
        write(f"  {endpoint.path}: {', '.join(endpoint.servers) or 'no servers'} (names: {endpoint.names})")
    if not told.servers:
        write("no servers are declared")
        return
    out().print(_servers(told.servers))
    for server in told.servers:
        if server.reason or server.retry_in:
            write(f"  {server.name}: {_reason(server)}")
    workloads = [each for server in told.servers for each in server.workloads]
    if not workloads:
        return
    write("")
    if out().width >= _WIDE and not facts:
        out().print(_workloads(workloads, holds=True))
        return
    out().print(_workloads(workloads, holds=False))
    write("")
    out().print(_holds(workloads, facts=facts))


def _servers(servers: list[ServerStatus]) -> Table:
    rows = table("SERVER", "STATE", "TOOLS", "RUNTIME", "SHARING", "LAUNCH")
    for server in servers:
        colour = _COLOURS.get(server.state, "yellow")
        runtime = f"{server.runtime}, {server.transport}" if server.transport else server.runtime
        cells = [server.name, server.state, str(server.tools), runtime, server.sharing, server.launch]
        name, state, *rest = (cell(each) for each in cells)
        rows.add_row(name, f"[{colour}]{state}[/]", *rest)
    return rows


def _workloads(workloads: list[WorkloadStatus], *, holds: bool) -> Table:
    rows = table("WORKLOAD", "STATE", "AGE", "CALLS", "IN FLIGHT", "RESTARTS", *(["HOLDS"] if holds else []))
    for workload in workloads:
        colour = _COLOURS.get(workload.state, "yellow")
        age = _span(time.time() - workload.started) if workload.started else "-"
        counts = (str(workload.calls), str(workload.in_flight), str(workload.restarts))
        last = [_lines(workload, facts=False)] if holds else []
        rows.add_row(cell(workload.id), f"[{colour}]{cell(workload.state)}[/]", age, *counts, *last)
    return rows


def _holds(workloads: list[WorkloadStatus], *, facts: bool) -> Table:
    rows = table("WORKLOAD", "HOLDS")
    for workload in workloads:
        rows.add_row(cell(workload.id), _lines(workload, facts=facts))
    return rows


def _lines(workload: WorkloadStatus, *, facts: bool) -> str:
    """Say what holds for a workload: the reason of its state, its sandbox and limits, and all else if asked."""
    told = workload.facts
    lines = [workload.reason, *(told.get(name) for name in _SUMMARY)]
    if facts:
        lines += [f"{name}: {value}" for name, value in sorted(told.items()) if name not in _SUMMARY]
    return cell("\n".join(line for line in lines if line)) or "-"


def _reason(server: ServerStatus) -> str:
    again = f"tried again in {_span(server.retry_in)}" if server.retry_in else ""
    return "; ".join(part for part in (server.reason, again) if part)


def _span(seconds: float) -> str:
    whole = max(0, round(seconds))
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if whole >= 2 * size:
            return f"{whole // size} {unit}"
    return f"{whole} s"
