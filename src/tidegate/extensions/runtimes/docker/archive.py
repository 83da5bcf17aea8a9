"""Archive: a volume's content as a tar, out and in, through a container that never runs.

The tar is what the engine makes of the directory: entries below `volume/`, with owners and modes. It is read and
written in pieces. What uses the volume stands still while it is read, so that the tar is of one moment; nothing may
use it while it is written. A tar that is put in is looked through first.
"""

from __future__ import annotations

import asyncio
import re
import tarfile
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import PurePosixPath
from typing import Any, BinaryIO, cast

from tidegate.domain.errors import RuntimeFailure
from tidegate.extensions.runtimes.docker.engine import Engine
from tidegate.extensions.runtimes.docker.volumes import PLACE, Kept, Volumes
from tidegate.ports.runtime import KeptVolume

Json = Mapping[str, Any]

_LONGEST = 4 * 3600.0
"""Seconds for a whole volume."""
_PIECE = 256 * 1024
_ENTRIES = 5_000_000
_WORD = "[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?"
_NAME = re.compile(f"(?P<server>{_WORD})/(?P<volume>{_WORD})(?:/(?P<key>[0-9a-f]{{16}}))?")


async def backup(engine: Engine, volumes: Volumes, name: str, into: BinaryIO) -> int:
    """Write a volume's tar to a file, and give its bytes. What runs on the volume is paused meanwhile.

    Raises:
        RuntimeFailure: the file is not whole.
    """
    written = 0

    async def take(piece: bytes) -> None:
        nonlocal written
        await asyncio.to_thread(into.write, piece)
        written += len(piece)

    async with volumes.carrier(name) as carrier, _still(engine, await volumes.users(name)):
        path = f"containers/{carrier}/archive"
        await engine.read(
            f"reading volume {name}", path, take, params={"path": f"/{PLACE}"}, seconds=_LONGEST
        )
    return written


async def restore(volumes: Volumes, kept: Kept, source: BinaryIO) -> None:
    """Make a volume anew of a tar that `backup` wrote. What was in it is gone.

    Raises:
        RuntimeFailure: it is used, or the tar is not one of a volume, or larger than the volume may be (nothing was
            changed); or it could not be written whole.
    """
    users = await volumes.users(kept.name)
    if users:
        raise RuntimeFailure(
            f"volume {told_as(kept)} is used by {names_of(users)}; only one that is not can be restored"
        )
    source.seek(0)
    held = await asyncio.to_thread(looked_through, source)
    if kept.size is not None and held > kept.size:
        raise RuntimeFailure(f"the file holds {held} bytes, more than the {kept.size} that the volume may")
    source.seek(0)
    await volumes.remove(kept.name)
    made = await volumes.make(kept.server, kept.volume, kept.key, kept.size)
    try:
        async with volumes.carrier(made.name) as carrier:
            await volumes.unpack(carrier, _pieces(source), _LONGEST)
    except RuntimeFailure as error:
        raise RuntimeFailure(f"volume {told_as(kept)} is not whole, restore it again: {error}") from error


def looked_through(source: BinaryIO) -> int:
    """Read a tar to its end and give the bytes of its files. Blocking.

    Raises:
        RuntimeFailure: it is none, or would put something elsewhere, or what no volume holds.
    """
    held = 0
    try:
        with tarfile.open(fileobj=source, mode="r|") as tar:
            for count, entry in enumerate(tar):
                if count > _ENTRIES:
                    raise RuntimeFailure(f"the file has more than {_ENTRIES} entries")
                _check(entry)
                held += entry.size if entry.isreg() else 0
                cast("Any", tar).members = []  # it would keep each
    except tarfile.TarError as error:
        raise RuntimeFailure(f"the file is no tar of a volume: {error}") from error
    return held


class Archive:
    """The volumes of one gateway, for people (`tidegate.ports.runtime.KeepsVolumes`)."""

    def __init__(self, engine: Engine, volumes: Volumes) -> None:
        self._engine = engine
        self._volumes = volumes

    async def list(self) -> list[KeptVolume]:
        """List them, with what they hold and who has them."""
        kept = await self._volumes.kept()
        held = await self._volumes.measure(kept)
        return [
            KeptVolume(
                told_as(one),
                one.server,
                one.size,
                held.get(one.name),
                tuple(names_of([user]) for user in await self._volumes.users(one.name)),
            )
            for one in kept
        ]

    async def backup(self, name: str, into: BinaryIO) -> int:
        """Write one as a tar."""
        return await backup(self._engine, self._volumes, (await self._found(name)).name, into)

    async def restore(self, name: str, source: BinaryIO) -> None:
        """Make one anew of a tar; one that is not there is made."""
        there = {told_as(one): one for one in await self._volumes.kept()}
        await restore(self._volumes, there.get(name) or self._volumes.told(*parted(name)), source)

    async def remove(self, name: str) -> None:
        """Remove one that nothing uses."""
        kept = await self._found(name)
        users = await self._volumes.users(kept.name)
        if users:
            raise RuntimeFailure(f"volume {name} is used by {names_of(users)}")
        await self._volumes.remove(kept.name)

    async def _found(self, name: str) -> Kept:
        for one in await self._volumes.kept():
            if told_as(one) == name:
                return one
        raise RuntimeFailure(f"there is no volume {name[:100]}")


def told_as(kept: Kept) -> str:
    """Give the name by which people know a volume."""
    return "/".join([kept.server, kept.volume, *([kept.key] if kept.key else [])])


def parted(name: str) -> tuple[str, str, str]:
    """Give server, volume and key of such a name.

    Raises:
        RuntimeFailure: it is none.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise RuntimeFailure(
            f"{name[:100]!r} is no name of a volume (server/volume, as tidegate volume list gives it)"
        )
    return match["server"], match["volume"], match["key"] or ""


def names_of(users: list[Json]) -> str:
    """Give the names of containers, for people."""
    names = [
        str((cast("list[str]", one.get("Names") or []) or [str(one.get("Id"))[:12]])[0]) for one in users
    ]
    return ", ".join(name.lstrip("/") for name in names[:4]) + (", …" if len(names) > 4 else "")


def _check(entry: tarfile.TarInfo) -> None:
    if not _inside(entry.name) or (entry.islnk() and not _inside(entry.linkname)):
        raise RuntimeFailure(f"the file has an entry outside {PLACE}/: {entry.name[:100]!r}")
    if not (entry.isreg() or entry.isdir() or entry.issym() or entry.islnk() or entry.isfifo()):
        raise RuntimeFailure(f"the file holds what no volume does (a device): {entry.name[:100]!r}")


def _inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and path.parts[:1] == (PLACE,)


@asynccontextmanager
async def _still(engine: Engine, users: list[Json]) -> AsyncGenerator[None]:
    """Pause the containers that run, and let them go on whatever happens."""
    paused: list[str] = []
    try:
        for one in users:
            if one.get("State") == "running":
                paused.append(str(one.get("Id")))
                await engine.pause(paused[-1])
        yield
    finally:
        for name in paused:
            with suppress(RuntimeFailure):  # it has ended meanwhile, or was not paused
                await asyncio.shield(engine.unpause(name))


async def _pieces(source: BinaryIO) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(source.read, _PIECE):
        yield piece
