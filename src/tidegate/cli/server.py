"""`tidegate server`: one server of the running gateway, and what may be done about it."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidegate.cli.options import DEFAULT_CONFIG, Config, Json, StateDir, state_of
from tidegate.cli.output import cell, harmless, out, say, table, write, write_json
from tidegate.cli.times import moment
from tidegate.domain.errors import SettingsError

if TYPE_CHECKING:
    from tidegate.cli.control import ServerDetail

app = typer.Typer(help="Look at one server of the running gateway, and operate it.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="SERVER", help="The server's name.")]
Why = Annotated[str, typer.Option("--reason", help="Why, for the journal and for those who look.")]
_SCALE = re.compile(r"(\d{1,4})(?::(\d{1,4}))?")
_SHOWN = 20
"""Happenings that are shown."""


@app.command("show")
def show(server: Name, config: Config = DEFAULT_CONFIG, state: StateDir = None, json: Json = False) -> None:
    """Show all there is to tell of a server: workloads, health, demand, versions, what happened."""
    found, body = asyncio.run(_show(state_of(config, state), server))
    if json:
        _write_json(body)
    else:
        _print(found)


@app.command("restart")
def restart(
    server: Name,
    reason: Why = "",
    wait: Annotated[
        float, typer.Option("--wait", min=0, max=600, help="Seconds to wait for the end; it goes on after.")
    ] = 60.0,
    config: Config = DEFAULT_CONFIG,
    state: StateDir = None,
    json: Json = False,
) -> None:
    """Replace each workload of a server, one at a time, each when its calls have ended."""
    body = _do(state_of(config, state), server, "restart", {"reason": reason, "wait": wait})
    _tell(
        body, f"restarted {server}", f"{server} is being restarted; tidegate events shows how it goes", json
    )


@app.command("scale")
def scale(
    server: Name,
    replicas: Annotated[
        str, typer.Argument(metavar="MIN[:MAX]", help="How many workloads: so many, or between the two.")
    ],
    reason: Why = "",
    config: Config = DEFAULT_CONFIG,
    state: StateDir = None,
    json: Json = False,
) -> None:
    """Set how many workloads a shared server has, until the gateway ends or its settings change."""
    found = _SCALE.fullmatch(replicas)
    if found is None:
        raise SettingsError(f"{replicas!r}: should be a number, or two with a colon between them")
    most = None if found[2] is None else int(found[2])
    body = _do(
        state_of(config, state), server, "scale", {"min": int(found[1]), "max": most, "reason": reason}
    )
    _tell(body, f"{server} is to have {replicas} workloads", "", json)


@app.command("quarantine")
def quarantine(
    server: Name,
    reason: Annotated[str, typer.Option("--reason", help="Why; whoever calls the server is told.")],
    config: Config = DEFAULT_CONFIG,
    state: StateDir = None,
    json: Json = False,
) -> None:
    """Take a server out of use: it is not started again until it is released."""
    body = _do(state_of(config, state), server, "quarantine", {"reason": reason})
    _tell(body, f"{server} is in quarantine", "", json)


@app.command("release")
def release(
    server: Name,
    reason: Why = "",
    config: Config = DEFAULT_CONFIG,
    state: StateDir = None,
    json: Json = False,
) -> None:
    """Take a server out of quarantine: it is started again."""
    body = _do(state_of(config, state), server, "release", {"reason": reason})
    _tell(body, f"{server} is out of quarantine", "", json)


async def _show(state: Path, server: str) -> tuple[ServerDetail, bytes]:
    from tidegate.cli import control

    async with control.connect(state) as session:
        return await control.server(session, server)


def _do(state: Path, server: str, what: str, body: dict[str, Any]) -> bytes:
    from tidegate.cli import control

    async def ask() -> bytes:
        async with control.connect(state) as session:
            return await control.operate(session, f"/v1/servers/{control.word(server)}/{what}", body)

    return asyncio.run(ask())


def _tell(body: bytes, done: str, not_yet: str, json: bool) -> None:
    from json import loads

    told = loads(body)
    if json:
        write_json(told)
    elif not_yet and not told.get("done"):
        say(f"tidegate: {not_yet}")
    else:
        write(done)


def _print(found: ServerDetail) -> None:
    from tidegate.cli.fleet_table import holds_table, latency, reason, servers_table, workloads_table

    out().print(servers_table([found], out().width))
    if said := reason(found):
        write(f"  {said}")
    write("")
    write(
        f"{found.launch} ({found.runtime}, {found.transport}); sharing: {found.sharing}; {found.tools} tools"
    )
    asked = found.demand
    write(
        f"last minute: {asked.calls} calls, {asked.failures} broke, {asked.errors} errors;"
        f" waited for a place: {latency(asked.wait)} (p95)"
    )
    if len(found.versions) > 1:
        rows = table("VERSION", "SHARE", "CALLS", "BROKE", "ERRORS", "P95")
        for each in found.versions:
            name = f"{each.digest} (current)" if each.current else each.digest
            counts = (str(each.calls), str(each.failures), str(each.errors), latency(each.p95))
            rows.add_row(cell(name), f"{each.share:.0%}", *counts)
        out().print(rows)
    if found.workloads:
        write("")
        out().print(workloads_table(found.workloads))
        write("")
        out().print(holds_table(found.workloads))
    for each in found.history[-_SHOWN:]:
        when = moment(each.time)
        why = f": {each.reason}" if each.reason else ""
        write(harmless(f"{when}  {each.workload or found.name} {each.state}{why}").replace("\n", " "))


def _write_json(body: bytes) -> None:
    from json import loads

    write_json(loads(body))
