"""`tidegate secret`: keep secrets in the encrypted store, with the gateway running or not.

A value comes from standard input or is typed without being shown; it is never an argument, and never printed.
"""

from __future__ import annotations

import asyncio
import getpass
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tidegate.cli.changes import record
from tidegate.cli.options import DEFAULT_CONFIG, Config, Json, StateDir, state_of
from tidegate.cli.output import cell, out, say, table, write, write_json
from tidegate.domain.errors import SettingsError, TidegateError

if TYPE_CHECKING:
    from tidegate.extensions.secrets.store_file import Entry, StoreFile

app = typer.Typer(help="Keep secrets in the encrypted store.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Its name: `${secret:NAME}` in the settings.")]
KeyPath = Annotated[
    Path | None,
    typer.Option(
        "--store-key",
        help="The file that holds the store's key, as `secrets.secret.key_file` says. Else the variable TIDEGATE_SECRET_KEY, where set.",
    ),
]


@app.command("set")
def set_secret(
    name: Name,
    config: Config = DEFAULT_CONFIG,
    state: StateDir = None,
    store_key: KeyPath = None,
    json: Json = False,
) -> None:
    """Keep a secret: its value comes from standard input, without a line break at its end."""
    from tidegate.extensions.secrets.store_file import check_name

    check_name(name)
    store, value = _store(config, state, store_key, make=True), _value(name)
    asyncio.run(record(state_of(config, state), "secret_set", name))
    entry = store.set(name, value)
    if json:
        write_json(_facts(entry))
    else:
        write(f"kept {entry.name} (version {entry.version})")


@app.command("list")
def list_secrets(config: Config = DEFAULT_CONFIG, state: StateDir = None, json: Json = False) -> None:
    """List the secrets by name; no value is shown, and no key is needed."""
    entries = _store(config, state, None).entries()
    if json:
        write_json([_facts(entry) for entry in entries])
        return
    if not entries:
        write("no secrets")
        return
    rows = table("NAME", "VERSION", "CHANGED")
    for entry in entries:
        rows.add_row(cell(entry.name), str(entry.version), _date(entry.changed))
    out().print(rows)


@app.command("rm")
def remove(name: Name, config: Config = DEFAULT_CONFIG, state: StateDir = None) -> None:
    """Remove a secret. Servers that have it keep it until they are started anew."""
    store = _store(config, state, None)
    there = any(entry.name == name for entry in store.entries())
    if there:
        asyncio.run(record(state_of(config, state), "secret_rm", name))
    if not there or not store.remove(name):
        raise TidegateError(f"there is no secret {name[:127]} (tidegate secret list shows them)")
    write(f"removed {name}")


@app.command("rotate-key")
def rotate_key(
    config: Config = DEFAULT_CONFIG,
    state: StateDir = None,
    store_key: KeyPath = None,
    new_key: Annotated[
        Path | None,
        typer.Option(
            "--new-key",
            help="A file that holds the new key, where the key is kept outside the state directory.",
        ),
    ] = None,
) -> None:
    """Seal every secret with another key."""
    from tidegate.extensions.secrets.store_key import read_key

    try:
        key = read_key(new_key) if new_key is not None else None
    except FileNotFoundError:
        raise SettingsError(f"--new-key: there is no file {new_key}") from None
    store = _store(config, state, store_key)
    asyncio.run(record(state_of(config, state), "secret_rotate_key"))
    count = store.rotate(key)
    write(f"sealed {count} {'secret' if count == 1 else 'secrets'} with another key")
    if new_key is not None:
        say(
            f"the store now needs the key in {new_key}: put it where the old one is, then start the gateway anew"
        )


def _store(config: Path, state: Path | None, key: Path | None, *, make: bool = False) -> StoreFile:
    from tidegate.extensions.secrets.store import StoreSettings, store_in
    from tidegate.state_directory import StateDirectory

    place = state_of(config, state)
    if make and not (place / "VERSION").exists():
        StateDirectory.open(place).close()
    directory = StateDirectory.look(place)
    if key is None and state is None:
        key = _key_file(config)
    return store_in(directory.path, StoreSettings(key_file=str(key.absolute()) if key is not None else None))


def _key_file(config: Path) -> Path | None:
    """Give the key's file that the settings name. They need not be right otherwise."""
    from tidegate.settings.load import secret_key_file

    return secret_key_file(config) if config.exists() else None


def _value(name: str) -> str:
    from tidegate.secret_text import MAX_SECRET, from_bytes

    if sys.stdin.isatty():
        try:
            first = getpass.getpass(f"{name}: ", stream=sys.stderr)
            again = getpass.getpass(f"{name}, once more: ", stream=sys.stderr)
        except EOFError:
            raise TidegateError("nothing was typed") from None
        if first != again:
            raise TidegateError("the two are not the same; nothing was kept")
        data = first.encode(errors="surrogateescape")
    else:
        data = sys.stdin.buffer.read(MAX_SECRET + 3)
    try:
        return from_bytes(data, "the value")
    except ValueError as error:
        raise TidegateError(str(error)) from None


def _facts(entry: Entry) -> dict[str, object]:
    return {"name": entry.name, "version": entry.version, "changed": entry.changed}


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
