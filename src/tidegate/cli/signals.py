"""`tidegate signal`: signals from outside, by which servers have more replicas while they are on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tidegate.cli.options import DEFAULT_CONFIG, Config, Json, StateDir, state_of
from tidegate.cli.output import cell, out, table, write, write_json
from tidegate.cli.times import duration, moment
from tidegate.domain.errors import SettingsError, TidegateError

if TYPE_CHECKING:
    from tidegate.cli.control import SignalStatus

_LONGEST = 30 * 86400
"""Seconds for which a signal may be said to hold."""


def signal(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="The signal; all of them, where absent.")
    ] = None,
    to: Annotated[
        Literal["on", "off"] | None,
        typer.Argument(metavar="[STATE]", help="What it is to be; where absent, it is only shown."),
    ] = None,
    lasts: Annotated[
        str | None,
        typer.Option("--for", help='How long it is on, such as "2h"; until it is turned off where absent.'),
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the journal.")] = "",
    config: Config = DEFAULT_CONFIG,
    state: StateDir = None,
    json: Json = False,
) -> None:
    """Show the signals from outside that servers have replicas by, or turn one on or off."""
    if lasts is not None and to != "on":
        raise SettingsError("--for: only what is turned on lasts (tidegate signal NAME on --for 2h)")
    seconds = None if lasts is None else duration(lasts, "--for", _LONGEST, "30 days")
    place = state_of(config, state)
    if name is None or to is None:
        found = asyncio.run(_list(place))
        found = found if name is None else _only(found, name)
        if json:
            write_json({"signals": [_facts(each) for each in found]})
        else:
            _show(found)
        return
    done = asyncio.run(_turn(place, name, {"on": to == "on", "seconds": seconds, "reason": reason}))
    if json:
        write_json(_facts(done))
    else:
        _tell(done)


async def _list(state: Path) -> list[SignalStatus]:
    from tidegate.cli import control

    async with control.connect(state) as session:
        return await control.signals(session)


async def _turn(state: Path, name: str, body: dict[str, Any]) -> SignalStatus:
    from tidegate.cli import control

    async with control.connect(state) as session:
        return await control.turn(session, name, body)


def _only(found: Sequence[SignalStatus], name: str) -> list[SignalStatus]:
    meant = [each for each in found if each.signal == name]
    if not meant:
        known = ", ".join(each.signal for each in found) or "none"
        raise TidegateError(f"no server is told by a signal {name[:64]!r} (known: {known})")
    return meant


def _facts(one: SignalStatus) -> dict[str, object]:
    return {"signal": one.signal, "on": one.on, "until": one.until, "servers": one.servers}


def _tell(done: SignalStatus) -> None:
    state = "off" if not done.on else "on" if done.until is None else f"on until {moment(done.until)}"
    write(f"{done.signal} is {state}: {', '.join(done.servers) or 'no server is told by it now'}")


def _show(found: Sequence[SignalStatus]) -> None:
    if not found:
        write("no signals: no server has replicas by one (scaling.signals)")
        return
    rows = table("SIGNAL", "STATE", "UNTIL", "SERVERS")
    for each in found:
        until = moment(each.until) if each.until is not None else "turned off" if each.on else "-"
        shown = "[yellow]on[/]" if each.on else "off"
        rows.add_row(cell(each.signal), shown, until, cell(", ".join(each.servers) or "-"))
    out().print(rows)
