"""`tidegate volume`: list, back up, restore and remove the volumes of servers, with the gateway running or not."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from tidegate.cli.changes import record
from tidegate.cli.options import DEFAULT_CONFIG, Config, Json, load_settings
from tidegate.cli.output import out, say, table, write, write_json
from tidegate.domain.errors import SettingsError, TidegateError

if TYPE_CHECKING:
    from tidegate.ports.runtime import KeptVolume
    from tidegate.settings import Settings

app = typer.Typer(help="List, back up, restore and remove the volumes of servers.", no_args_is_help=True)

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="server/volume, as `tidegate volume list` shows it.")
]


@app.command("list")
def list_volumes(config: Config = DEFAULT_CONFIG, json: Json = False) -> None:
    """List the volumes, also those of servers that are declared no more."""
    settings = load_settings(config)
    found = asyncio.run(_list(settings))
    declared = {spec.name for spec in settings.servers}
    sizes = _declared_sizes(settings)
    if json:
        write_json([_facts(one, declared, sizes) for one in found])
        return
    if not found:
        write("no volumes")
        return
    rows = table("NAME", "HOLDS", "SIZE", "USED BY")
    for one in found:
        used = ", ".join(one.used_by) or (
            "nothing" if one.server in declared else "nothing; its server is gone"
        )
        rows.add_row(one.name, _size(one.held), _size(_bound(one, sizes)), used)
    out().print(rows)


@app.command("backup")
def backup(
    name: Name,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The tar to write; only you can read it.")],
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    config: Config = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """Write a volume's content to a file. What uses it is paused meanwhile, so that the file is of one moment."""
    if file.exists() and not force:
        raise SettingsError(f"{file} is there already (--force writes over it)")
    written = asyncio.run(_backup(load_settings(config), name, file))
    if json:
        write_json({"name": name, "file": str(file), "bytes": written})
    else:
        write(f"wrote {_size(written)} of {name} to {file}")


@app.command("restore")
def restore(
    name: Name,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A tar that `tidegate volume backup` wrote.")],
    config: Config = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """Put a file's content in place of a volume's. Nothing may use it: quarantine its server before, or stop the gateway."""
    asyncio.run(_restore(load_settings(config), name, file))
    if json:
        write_json({"name": name, "file": str(file)})
    else:
        write(f"restored {name} from {file}")


@app.command("rm")
def remove(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="The volumes to remove.")] = None,
    gone: Annotated[
        bool, typer.Option("--gone", help="Remove those too whose server is declared no more.")
    ] = False,
    config: Config = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """Remove volumes with what is in them, for good. Nothing else ever removes one."""
    if not names and not gone:
        raise SettingsError("which volumes? (NAME, or --gone)")
    settings = load_settings(config)
    removed = asyncio.run(_remove(settings, names or [], gone))
    if json:
        write_json({"removed": removed})
    else:
        write(f"removed {', '.join(removed) or 'nothing'}")


async def _list(settings: Settings) -> Sequence[KeptVolume]:
    from tidegate.assemble.volumes import open_volumes

    async with open_volumes(settings) as volumes:
        return await volumes.volumes()


async def _backup(settings: Settings, name: str, file: Path) -> int:
    from tidegate.assemble.volumes import open_volumes

    # A name that nobody can have taken before: the file is ours, and ours alone.
    part = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    async with open_volumes(settings) as volumes:
        with _opened(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, "wb") as into:
            try:
                written = await volumes.backup(name, into)
                into.flush()
                await asyncio.to_thread(os.fsync, into.fileno())
            except BaseException:
                with suppress(OSError):
                    part.unlink()
                raise
    part.replace(file)
    return written


async def _restore(settings: Settings, name: str, file: Path) -> None:
    from tidegate.assemble.volumes import open_volumes

    with _opened(file, os.O_RDONLY, "rb") as source:
        async with open_volumes(settings) as volumes:
            await record(settings.state, "volume_restore", name)
            await volumes.restore(name, source)


async def _remove(settings: Settings, names: Sequence[str], gone: bool) -> list[str]:
    from tidegate.assemble.volumes import open_volumes

    declared = {spec.name for spec in settings.servers}
    removed: list[str] = []
    async with open_volumes(settings) as volumes:
        wanted = list(names)
        if gone:
            wanted += [one.name for one in await volumes.volumes() if one.server not in declared]
        for name in dict.fromkeys(wanted):
            await record(settings.state, "volume_rm", name)
            await volumes.remove_volume(name)
            say(f"removed {name}")
            removed.append(name)
    return removed


def _opened(path: Path, flags: int, mode: str) -> BinaryIO:
    try:
        return os.fdopen(os.open(path, flags | os.O_CLOEXEC, 0o600), mode)  # type: ignore[return-value]
    except OSError as error:
        raise TidegateError(f"{path} cannot be opened: {error.strerror}") from None


def _declared_sizes(settings: Settings) -> dict[str, int | None]:
    """Give the sizes that volumes are declared with, by `server/volume`."""
    return {
        f"{spec.name}/{volume.name}": volume.size
        for spec in settings.servers
        for volume in (*spec.volumes, *(kept for one in spec.companions for kept in one.volumes))
    }


def _bound(one: KeptVolume, sizes: Mapping[str, int | None]) -> int | None:
    return one.size or sizes.get("/".join(one.name.split("/")[:2]))


def _facts(one: KeptVolume, declared: set[str], sizes: Mapping[str, int | None]) -> dict[str, object]:
    return {
        "name": one.name,
        "server": one.server,
        "declared": one.server in declared,
        "held": one.held,
        "size": _bound(one, sizes),
        "used_by": list(one.used_by),
    }


def _size(number: int | None) -> str:
    if number is None:
        return "-"
    size = float(number)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
