"""`tidegate stop`, `tidegate stops`, `tidegate resume`: emergency stops, with the gateway running or not.

A gateway that runs does it, and records who asked; where none does, it is written where the next one finds it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidegate.cli.changes import alone
from tidegate.cli.options import DEFAULT_CONFIG, Config, Json, StateDir, places_of
from tidegate.cli.output import cell, out, say, table, write, write_json
from tidegate.cli.times import duration, moment
from tidegate.domain.errors import SettingsError, StateError, TidegateError
from tidegate.domain.stop import Stop, StopScope, mistake

if TYPE_CHECKING:
    from tidegate.access.stop_store import StopStore
    from tidegate.settings import Places

_LONGEST = 366 * 86400
"""Seconds for which a stop may be said to last."""
_Told = dict[str, Any]
"""What is told of stops, as the admin API has it."""

Why = Annotated[str, typer.Option("--reason", help="Why; whoever is refused is told.")]


def stop(
    reason: Why,
    tool: Annotated[
        str | None,
        typer.Option("--tool", metavar="SERVER__TOOL", help="A tool, or a pattern such as claims__get_*."),
    ] = None,
    server: Annotated[str | None, typer.Option("--server", help="All of a server.")] = None,
    principal: Annotated[
        str | None, typer.Option("--principal", help="Whoever has this subject, or key of 32 hex digits.")
    ] = None,
    issuer: Annotated[
        str, typer.Option("--issuer", help="With --principal: only where this issuer vouches for it.")
    ] = "",
    client: Annotated[str | None, typer.Option("--client", help="An OAuth client, or agent.")] = None,
    tenant: Annotated[str | None, typer.Option("--tenant", help="All of a tenant.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every call of everybody.")] = False,
    lasts: Annotated[
        str | None,
        typer.Option("--for", help='How long, such as "2h"; until it is resumed where absent.'),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask whether --all is meant.")] = False,
    config: Config = DEFAULT_CONFIG,
    state: StateDir = None,
    json: Json = False,
) -> None:
    """Stop calls at once: new ones are refused, those under way are cancelled. Workloads run on."""
    named = {
        StopScope.TOOL: tool,
        StopScope.SERVER: server,
        StopScope.PRINCIPAL: principal,
        StopScope.CLIENT: client,
        StopScope.TENANT: tenant,
        StopScope.ALL: "" if everything else None,
    }
    scope, name = _one({each: value for each, value in named.items() if value is not None})
    wrong = mistake(scope, name, reason, issuer)
    if wrong is not None:
        raise SettingsError(wrong)
    seconds = None if lasts is None else duration(lasts, "--for", _LONGEST, "a year")
    if scope is StopScope.ALL and not yes:
        _confirm()
    body = {"scope": scope.value, "name": name, "issuer": issuer, "reason": reason, "seconds": seconds}
    told = asyncio.run(_stop(places_of(config, state), body))
    if json:
        write_json(told)
    else:
        _tell(told)


def stops(config: Config = DEFAULT_CONFIG, state: StateDir = None, json: Json = False) -> None:
    """List what is stopped."""
    told = asyncio.run(_list(places_of(config, state)))
    if json:
        write_json(told)
        return
    if told["unknown"]:
        say(f"tidegate: it is not known what is stopped, so calls are refused: {told['unknown']}")
    if not told["stops"]:
        write("nothing is stopped")
        return
    rows = table("ID", "WHAT", "SINCE", "UNTIL", "BY", "REASON")
    for each in told["stops"]:
        until = "resumed" if each["until"] is None else moment(each["until"])
        what = f"{each['scope']} {each['name']}".strip() + (f" of {each['issuer']}" if each["issuer"] else "")
        row = (each["id"], what, moment(each["since"]), until, each["by"], each["reason"])
        rows.add_row(*(cell(value) for value in row))
    out().print(rows)


def resume(
    stop_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="The stop, as `tidegate stops` shows it.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that is stopped.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the journal.")] = "",
    config: Config = DEFAULT_CONFIG,
    state: StateDir = None,
    json: Json = False,
) -> None:
    """Take calls again that were stopped. What was cancelled is not begun anew."""
    if everything == (stop_id is not None):
        raise SettingsError("say which stop (tidegate stops lists them), or --all")
    lifted = asyncio.run(_resume(places_of(config, state), stop_id, reason))
    if json:
        write_json({"resumed": lifted})
    elif lifted:
        write(f"resumed: {', '.join(lifted)}")
    else:
        write("nothing was stopped")


def _one(named: Mapping[StopScope, str]) -> tuple[StopScope, str]:
    if len(named) != 1:
        raise SettingsError(
            "say what to stop: one of --tool, --server, --principal, --client, --tenant and --all"
        )
    return next(iter(named.items()))


def _confirm() -> None:
    try:
        typer.confirm("Refuse every call of everybody, and cancel those under way?", abort=True, err=True)
    except typer.Abort:
        raise TidegateError("nothing was stopped: --all has to be confirmed (--yes does)") from None


async def _stop(places: Places, body: _Told) -> _Told:
    from json import loads

    from tidegate.cli import control

    try:
        async with control.connect(places.state) as session:
            return {**loads(await control.operate(session, "/v1/stops", body)), "in_force": True}
    except StateError:  # no gateway runs
        await _note(places.state, "stop", **body)
    async with _store(places, make=True) as store:
        try:
            made = await store.add(
                StopScope(body["scope"]),
                body["name"],
                reason=body["reason"],
                by=_who(),
                seconds=body["seconds"],
                issuer=body["issuer"],
            )
        except ValueError as error:
            raise SettingsError(str(error)) from None
    return {"stop": _facts(made), "tools": None, "in_force": False}


async def _list(places: Places) -> _Told:
    from json import loads

    from tidegate.cli import control

    try:
        async with control.connect(places.state) as session:
            found: _Told = loads(await control.get(session, "/v1/stops"))
            return found
    except StateError:  # no gateway runs
        if not _exists(places):
            return {"stops": [], "unknown": None, "damaged": []}
    async with _store(places) as store:
        return {"stops": [_facts(each) for each in await store.list()], "unknown": None, "damaged": []}


async def _resume(places: Places, stop_id: str | None, reason: str) -> Sequence[str]:
    from json import loads

    from tidegate.cli import control

    try:
        async with control.connect(places.state) as session:
            told: _Told = loads(await control.get(session, "/v1/stops"))
            known = [*(each["id"] for each in told["stops"]), *told["damaged"]]
            meant = known if stop_id is None else [stop_id]
            for each in meant:
                await control.operate(session, f"/v1/stops/{control.word(each)}/resume", {"reason": reason})
            return meant
    except StateError:  # no gateway runs
        if not _exists(places):
            return _of(stop_id, [])
    async with _store(places) as store:
        meant = _of(stop_id, await store.ids())
        for each in meant:
            await _note(places.state, "resume", id=each, reason=reason)
            await store.lift(each)
        return meant


def _of(stop_id: str | None, known: Sequence[str]) -> Sequence[str]:
    if stop_id is not None and stop_id not in known:
        raise TidegateError(f"no stop {stop_id[:64]!r} is in force (tidegate stops lists them)")
    return known if stop_id is None else [stop_id]


async def _note(state: Path, event: str, **fields: object) -> None:
    told = {name: value for name, value in fields.items() if value not in (None, "")}
    await alone(state, {"event": event, **told})


def _exists(places: Places) -> bool:
    return (places.shared or places.state / "VERSION").exists()


@asynccontextmanager
async def _store(places: Places, *, make: bool = False) -> AsyncGenerator[StopStore]:
    from tidegate.assemble.stops import open_store
    from tidegate.extensions import table as extensions
    from tidegate.ports.extension import Surroundings
    from tidegate.state_directory import SharedDirectory, StateDirectory

    if places.shared is not None:  # what is stopped at gateways that are one to their clients
        around = Surroundings(SharedDirectory.open(places.shared).path, "")
    else:
        if make and not _exists(places):
            StateDirectory.open(places.state).close()
        directory = StateDirectory.look(places.state)
        around = Surroundings(directory.path, directory.instance)
    sqlite = extensions.resolve("state", "sqlite")
    async with sqlite.open(sqlite.settings(), around) as state:
        yield open_store(state)


def _who() -> str:
    from tidegate.extensions.identity.local import local_principal

    return f"{local_principal().subject[:64]} (command)"


def _facts(stop: Stop) -> _Told:
    return {**asdict(stop), "scope": stop.scope.value}


def _tell(told: _Told) -> None:
    made = told["stop"]
    what = f"{made['scope']} {made['name']}".strip()
    until = "" if made["until"] is None else f" until {moment(made['until'])}"
    write(f"stopped: {what}{until} (tidegate resume {made['id']} takes it back)")
    if not told["in_force"]:
        say("tidegate: no gateway runs here: it is in force from its next start")
    elif told["tools"] is not None:
        known = ", ".join(told["tools"])
        say(f"tidegate: of the tools known now, it is about {known}" if known else f"tidegate: {_NO_TOOL}")


_NO_TOOL = "no tool known now is called so by its server; one that comes is refused"
