"""`tidegate key`: make, list and revoke API keys, with the gateway running or not."""

from __future__ import annotations

import asyncio
import getpass
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tidegate.cli.options import DEFAULT_CONFIG, Config, Json, StateDir, places_of
from tidegate.cli.output import out, say, table, write, write_json
from tidegate.cli.times import duration
from tidegate.domain.errors import SettingsError, TidegateError

if TYPE_CHECKING:
    from tidegate.extensions.identity.keys import KeyRecord, KeyStore
    from tidegate.settings import Places

_LONGEST = 100 * 366 * 86400
"""Seconds that a key may hold at most."""

app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)


@app.command("create")
def create(
    name: Annotated[
        str | None, typer.Option("--name", help="Whom it speaks for; your login name where absent.")
    ] = None,
    role: Annotated[
        str, typer.Option("--role", help="What it may do: user, admin, or a role of the settings.")
    ] = "user",
    tenant: Annotated[str, typer.Option("--tenant", help="The tenant of that name.")] = "default",
    expires: Annotated[
        str | None,
        typer.Option("--expires", help='After how long it ends, such as "90d"; never where absent.'),
    ] = None,
    config: Config = DEFAULT_CONFIG,
    state: StateDir = None,
    json: Json = False,
) -> None:
    """Make a key and show it, once."""
    end = None
    if expires is not None:
        end = time.time() + duration(expires, "--expires", _LONGEST, "a hundred years")
    _refuse_unknown(tenant, config)
    _warn_of_unknown(role, tenant, config)
    record, secret = asyncio.run(_create(places_of(config, state), name or _login(), role, tenant, end))
    if json:
        write_json({"key": secret, **_facts(record)})
        return
    ends = f", ends {_date(record.expires)}" if record.expires else ""
    say(
        f"key {record.id} for {record.name} ({', '.join(sorted(record.roles))}{ends}); it is not shown again:"
    )
    write(secret)


@app.command("ls")
def ls(config: Config = DEFAULT_CONFIG, state: StateDir = None, json: Json = False) -> None:
    """List the keys, revoked and expired ones too; no key itself is shown."""
    records = asyncio.run(_list(places_of(config, state)))
    if json:
        write_json([_facts(record) for record in records])
        return
    if not records:
        write("no keys")
        return
    rows = table("ID", "NAME", "TENANT", "ROLES", "CREATED", "EXPIRES", "STATE")
    for record in records:
        ends = _date(record.expires) if record.expires else "never"
        roles = " ".join(sorted(record.roles))
        rows.add_row(
            record.id, record.name, record.tenant, roles, _date(record.created), ends, _standing(record)
        )
    out().print(rows)


@app.command("revoke")
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `tidegate key ls` shows it.")],
    config: Config = DEFAULT_CONFIG,
    state: StateDir = None,
    json: Json = False,
) -> None:
    """Make a key useless for good; a running gateway learns of it within a second."""
    record = asyncio.run(_revoke(places_of(config, state), key_id))
    if record is None:
        # Whoever gives the whole key by mistake finds no part of its secret in an error.
        raise TidegateError("there is no key of that id (tidegate key ls shows the ids)")
    if json:
        write_json(_facts(record))
    else:
        write(f"revoked {record.id} of {record.name}")


@asynccontextmanager
async def _keys(places: Places, *, make: bool = False) -> AsyncGenerator[KeyStore]:
    from tidegate.extensions import table as extensions
    from tidegate.extensions.identity.keys import KeyStore
    from tidegate.ports.extension import Surroundings
    from tidegate.state_directory import SharedDirectory, StateDirectory

    if places.shared is not None:  # the keys of gateways that are one to their clients
        around = Surroundings(SharedDirectory.open(places.shared).path, "")
    else:
        if make and not (places.state / "VERSION").exists():
            StateDirectory.open(places.state).close()
        directory = StateDirectory.look(places.state)
        around = Surroundings(directory.path, directory.instance)
    sqlite = extensions.resolve("state", "sqlite")
    async with sqlite.open(sqlite.settings(), around) as store:
        yield KeyStore(store)


async def _create(
    places: Places, name: str, role: str, tenant: str, end: float | None
) -> tuple[KeyRecord, str]:
    async with _keys(places, make=True) as keys:
        try:
            return await keys.create(name=name, roles=[role], tenant=tenant, expires=end)
        except ValueError as error:
            raise SettingsError(str(error)) from None


async def _list(places: Places) -> list[KeyRecord]:
    async with _keys(places) as keys:
        return await keys.list()


async def _revoke(places: Places, key_id: str) -> KeyRecord | None:
    async with _keys(places) as keys:
        return await keys.revoke(key_id)


def _refuse_unknown(tenant: str, config: Path) -> None:
    """See that the settings have such a tenant, where they have any: who is of no declared one is let in nowhere.

    Raises:
        SettingsError: they have others.
    """
    from tidegate.settings.load import declared_tenants

    known: tuple[str, ...] = ()
    with suppress(SettingsError):
        known = declared_tenants(config)
    if known and tenant not in known:
        raise SettingsError(f"--tenant: the settings declare no tenant {tenant} ({', '.join(known)})")


def _warn_of_unknown(role: str, tenant: str, config: Path) -> None:
    """Say so where the settings have no such role: it may be declared later."""
    from tidegate.settings.load import declared_roles

    with suppress(SettingsError):
        known = declared_roles(config, tenant)
        if role not in known:
            say(
                f"the settings declare no role {role}: the key may do nothing until they do ({', '.join(known)})"
            )


def _facts(record: KeyRecord) -> dict[str, object]:
    return {
        "id": record.id,
        "name": record.name,
        "tenant": record.tenant,
        "roles": sorted(record.roles),
        "created": record.created,
        "expires": record.expires,
        "revoked": record.revoked,
        "state": _standing(record),
    }


def _standing(record: KeyRecord) -> str:
    if record.revoked is not None:
        return "revoked"
    return "usable" if record.usable(time.time()) else "expired"


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise SettingsError("--name: is needed, since this user has no login name") from None
