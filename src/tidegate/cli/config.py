"""`tidegate reload` and `tidegate config`: the settings in force, the versions before, and the ways between them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, cast

import typer

from tidegate.cli.options import DEFAULT_CONFIG, Config, Json, StateDir, must_be_there, state_of
from tidegate.cli.output import cell, out, say, table, write, write_json
from tidegate.cli.times import moment
from tidegate.domain.errors import SettingsError, TidegateError

if TYPE_CHECKING:
    from pathlib import Path

    from tidegate.settings.versions import Version, Versions

app = typer.Typer(help="The settings in force, and the versions before.", no_args_is_help=True)

Number = Annotated[int, typer.Argument(min=1, help="The version, as `tidegate config history` numbers it.")]
_DEADLINE = 180.0
"""Seconds: secrets may be looked up elsewhere, and an engine asked."""


def reload(config: Config = DEFAULT_CONFIG, state: StateDir = None, json: Json = False) -> None:
    """Have the running gateway take its settings file as it stands, and show what has changed."""
    _show(asyncio.run(_ask(state_of(config, state), "/v1/reload")), json)


@app.command("rollback")
def rollback(
    number: Number, config: Config = DEFAULT_CONFIG, state: StateDir = None, json: Json = False
) -> None:
    """Put an earlier version in force. The file stays as it is, and is taken again once it changes."""
    told = asyncio.run(_ask(state_of(config, state), f"/v1/config/rollback?to={number}"))
    _show(told, json)
    if not json:
        say("the settings file stands as it did; `tidegate config diff` shows in what it differs")


@app.command("history")
def history(config: Config = DEFAULT_CONFIG, state: StateDir = None, json: Json = False) -> None:
    """List the versions that are kept; the last is in force, or was when the gateway last ran."""
    versions = _versions(state_of(config, state)).all()
    if json:
        write_json([_facts(version) for version in versions])
        return
    if not versions:
        write("no versions: no gateway has run with these settings yet")
        return
    rows = table("VERSION", "TIME", "BY", "CHANGES")
    for version in versions:
        by, changes = cell(version.who), cell(_words(version.changes))
        rows.add_row(str(version.number), moment(version.time), by, changes)
    out().print(rows)


@app.command("show")
def show(number: Number, config: Config = DEFAULT_CONFIG, state: StateDir = None) -> None:
    """Print the text of a version."""
    write(_versions(state_of(config, state)).get(number).text.removesuffix("\n"))


@app.command("diff")
def diff(
    config: Config = DEFAULT_CONFIG,
    state: StateDir = None,
    version: Annotated[
        int | None, typer.Option("--version", min=1, help="A version, in place of the one in force.")
    ] = None,
) -> None:
    """Show in what the settings file differs from the version in force. Exit status 1 where it does."""
    import difflib

    from tidegate.settings import read_text

    must_be_there(config)
    versions = _versions(state_of(config, state))
    found = versions.active() if version is None else versions.get(version)
    if found is None:
        raise SettingsError("there are no versions: no gateway has run with these settings yet")
    before, after = found.text.splitlines(), read_text(config).splitlines()
    lines = list(difflib.unified_diff(before, after, f"version {found.number}", str(config), lineterm=""))
    for line in lines:
        write(line)
    if lines:
        raise typer.Exit(1)


def _versions(state: Path) -> Versions:
    from tidegate.settings.versions import Versions
    from tidegate.state_directory import StateDirectory

    with StateDirectory.look(state) as directory:
        return Versions(directory.path)


def _facts(version: Version) -> Mapping[str, object]:
    return {
        "version": version.number,
        "time": version.time,
        "by": version.who,
        "file": version.file,
        "settings": version.digest,
        "changes": version.changes,
        "in_place_of_the_file": version.over is not None,
    }


async def _ask(state: Path, path: str) -> Mapping[str, object]:
    from json import loads

    from tidegate.cli import control

    async def post() -> tuple[int, bytes]:
        async with session.post(control.BASE + path) as response:
            return response.status, await control.bounded(response)

    async with control.connect(state) as session:
        status, body = await control.within(post(), _DEADLINE)
    try:
        told = cast("dict[str, object]", loads(body))
    except ValueError:
        raise TidegateError(f"the gateway answered with HTTP status {status}") from None
    if status == 422:
        raise SettingsError([str(each) for each in cast("list[object]", told.get("problems", []))])
    if status != 200:
        raise TidegateError(str(told.get("error", f"the gateway answered with HTTP status {status}")))
    return told


def _show(told: Mapping[str, object], json: bool) -> None:
    if json:
        write_json(told)
        return
    changes = cast("Mapping[str, list[str]]", told["changes"])
    if not changes:
        since = moment(cast("float", told["since"]))
        write(f"nothing has changed: version {told['version']} is in force since {since}, by {told['by']}")
        return
    write(f"version {told['version']} is in force")
    for what, names in changes.items():
        write(f"  {what}: {', '.join(names)}")


def _words(changes: Mapping[str, object]) -> str:
    return "; ".join(f"{what}: {', '.join(cast('list[str]', names))}" for what, names in changes.items())
