"""`tidegate rollout`: how changes of servers come in, and what may be done about one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tidegate.cli.options import DEFAULT_CONFIG, Config, Json, StateDir, state_of
from tidegate.cli.output import cell, out, table, write, write_json
from tidegate.cli.times import moment
from tidegate.domain.errors import TidegateError

if TYPE_CHECKING:
    from tidegate.cli.control import Standing

app = typer.Typer(help="Follow how changes of servers come in, and steer them.", no_args_is_help=True)

Server = Annotated[
    str | None, typer.Argument(metavar="[SERVER]", help="The server's name; the only one, where absent.")
]
_COLOURS = {
    "done": "green",
    "rolled_back": "red",
    "taking_back": "red",
    "quarantined": "red",
    "superseded": "dim",
}
_UNDER_WAY = frozenset({"under_way", "undoing", "draining", "taking_back"})


@app.command("status")
def status(
    server: Annotated[str | None, typer.Argument(metavar="[SERVER]", help="The server's name.")] = None,
    config: Config = DEFAULT_CONFIG,
    state: StateDir = None,
    json: Json = False,
) -> None:
    """Show the rollouts that are under way, and how the last one of each server ended."""
    found, plain = asyncio.run(_ask(state_of(config, state), server))
    if json:
        write_json(plain)
    elif not found:
        write("no rollouts" if server is None else f"no rollout of {server}")
    else:
        _print(found)


@app.command("pause")
def pause(
    server: Server = None, config: Config = DEFAULT_CONFIG, state: StateDir = None, json: Json = False
) -> None:
    """Have a rollout stay at the step where it is."""
    _do(state_of(config, state), server, "pause", json=json)


@app.command("promote")
def promote(
    server: Server = None, config: Config = DEFAULT_CONFIG, state: StateDir = None, json: Json = False
) -> None:
    """Have a rollout go on without waiting or judging; or try again the change that was taken back or quarantined."""
    _do(state_of(config, state), server, "promote", json=json)


@app.command("undo")
def undo(
    server: Server = None, config: Config = DEFAULT_CONFIG, state: StateDir = None, json: Json = False
) -> None:
    """Take a rollout back; where it is done or in quarantine, bring in the version before it."""
    _do(state_of(config, state), server, "undo", json=json)


async def _ask(state: Path, server: str | None) -> tuple[Sequence[Standing], object]:
    from tidegate.cli import control

    async with control.connect(state) as session:
        return await control.rollouts(session, server)


def _do(state: Path, server: str | None, what: str, *, json: bool) -> None:
    found, plain = asyncio.run(_steer(state, server, what))
    if json:
        write_json(plain)
    else:
        _print(found)


async def _steer(state: Path, server: str | None, what: str) -> tuple[Sequence[Standing], object]:
    from tidegate.cli import control

    async with control.connect(state) as session:
        if server is None:
            found, _ = await control.rollouts(session, None)
            server = _only(found, what)
        await control.operate(session, f"/v1/rollouts/{control.word(server)}/{what}", {})
        return await control.rollouts(session, server)


def _only(found: Sequence[Standing], what: str) -> str:
    """Give the server that can only be meant.

    Raises:
        TidegateError: there is none, or more than one.
    """
    under_way = [each.server for each in found if each.state in _UNDER_WAY]
    meant = under_way or [each.server for each in found]
    if len(meant) != 1:
        which = f"which of {', '.join(meant)}?" if meant else "there are no rollouts"
        raise TidegateError(f"rollout {what}: {which}")
    return meant[0]


def _print(found: Sequence[Standing]) -> None:
    rows = table("SERVER", "STATE", "STRATEGY", "STEP", "SHARE", "READY", "CALLS", "FAILED", "P95", "SINCE")
    rows.columns[1].no_wrap = True  # the word that matters most stays whole
    for each in found:
        colour = _COLOURS.get(each.state)
        state = "paused" if each.paused else each.state
        told = [each.step or "", "" if each.share is None else f"{each.share:.0%}"]
        if each.versions:
            old, new = each.versions[0], each.versions[-1]
            told += [f"{new.ready} of {new.of}", f"{new.calls} (old: {old.calls})"]
            told += [f"{new.failures} (old: {old.failures})", f"{_ms(new.p95)} (old: {_ms(old.p95)})"]
        else:
            told += ["", "", "", ""]
        shown = f"[{colour}]{cell(state)}[/]" if colour else cell(state)
        rows.add_row(cell(each.server), shown, cell(each.strategy), *map(cell, told), moment(each.changed))
    out().print(rows)
    for each in found:
        versions = f"{each.old} -> {each.new}"
        write(f"  {each.server}: {versions}" + (f": {each.reason}" if each.reason else ""))


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.0f} ms"
