"""Volumes: the named volumes of servers and companions: made, given an owner, measured, listed, removed.

None is ever removed but by `remove`, which a person asks for. Where the engine can hold a size (project quotas of
xfs or ext4) it does; elsewhere `watch` measures. What is in them is carried by `archive`.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import secrets
import tarfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, cast

from tidegate.domain.errors import RuntimeFailure
from tidegate.domain.server import Volume
from tidegate.domain.workload import UNCLAIMED, WorkloadKey
from tidegate.extensions.runtimes.docker.engine import Engine, EngineRefused
from tidegate.extensions.runtimes.docker.scales import Scales

Json = Mapping[str, Any]

INSTANCE = "dev.tidegate.instance"
SERVER = "dev.tidegate.server"
VOLUME = "dev.tidegate.volume"
KEY = "dev.tidegate.key"
SIZE = "dev.tidegate.size"
BOUND = "dev.tidegate.bound"
"""Label of what the engine holds to its size (`quota`); elsewhere this gateway measures."""
CARRIER = "dev.tidegate.carrier"
"""Label of containers that are never started: a volume is reached through them."""
SHORT, LONG = "short", "long"
"""What a carrier is for: a moment, so that one which is found later was left; or to be read or written whole."""
PLACE = "volume"
"""Where a carrier has it, below its root."""

_EMPTY = "tidegate/empty:1"
"""Image with nothing in it: carriers are made of it."""
_MOST_ID = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Kept:
    """A volume that is there."""

    name: str
    """The engine's."""
    server: str
    volume: str
    key: str
    """Digest of the sharing key whose it is; empty where it is the server's."""
    size: int | None
    """That the engine holds it to; in what is watched, that it is held to by measuring."""
    bound: str
    place: str
    """Directory on the engine's machine."""


def volume_name(instance: str, server: str, volume: str, key: str) -> str:
    """Give the engine's name. Points part what may hold hyphens itself."""
    return ".".join(["tg-" + instance, server, volume, *([key] if key else [])])


def base_key(sharing: str) -> str:
    """Give the key without what tells its replicas and its clients' offers apart: they share its data."""
    return sharing.partition("+")[0].partition("~")[0]


def key_of(volume: Volume, key: WorkloadKey) -> str:
    """Give the digest of the sharing key that a volume belongs to, or nothing where it is the server's."""
    return hashlib.sha256(base_key(key.sharing).encode()).hexdigest()[:16] if volume.each else ""


def scratch(volume: Volume, key: WorkloadKey) -> bool:
    """Tell whether it is only memory this time: a workload that is nobody's yet has nobody's data."""
    return volume.each and base_key(key.sharing) == UNCLAIMED


def mount(name: str, target: str) -> dict[str, object]:
    """Give one mount of a volume; nothing of the image is copied into it."""
    return {
        "Type": "volume",
        "Source": name,
        "Target": target,
        "ReadOnly": False,
        "VolumeOptions": {"NoCopy": True},
    }


class Volumes:
    """The volumes of one gateway's servers."""

    def __init__(self, engine: Engine, instance: str) -> None:
        self._engine = engine
        self._instance = instance
        self.scales = Scales(engine)
        self._quota: bool | None = None
        self._trying = asyncio.Lock()
        self._measured = False
        self._owned: set[tuple[str, str]] = set()
        """Volumes, and the users they were given to since this process began."""

    async def ensure(self, server: str, volume: Volume, key: str, user: str) -> Kept:
        """Make a volume where there is none, and see that a user may write to it.

        Raises:
            RuntimeFailure: it is somebody else's, or was made with another size that only a new one can have.
        """
        name = volume_name(self._instance, server, volume.name, key)
        made = kept_of(await self._create(name, self._labels(server, volume.name, key), volume.size))
        if made is None or (made.server, made.volume, made.key) != (server, volume.name, key):
            raise RuntimeFailure(f"volume {name} is there already, and not of server {server}")
        if made.bound == "quota" and made.size != volume.size:
            raise RuntimeFailure(
                f"volume {server}/{volume.name} was made with a size of {made.size} bytes, which the engine holds "
                "for good: back it up, remove it and restore it to give it another"
            )
        if (name, user) not in self._owned:
            await self._own(made, user)
            self._owned.add((name, user))
        return made

    async def make(self, server: str, volume: str, key: str, size: int | None) -> Kept:
        """Make a volume anew, for what is to be put into it."""
        name = volume_name(self._instance, server, volume, key)
        made = kept_of(await self._create(name, self._labels(server, volume, key), size))
        if made is None:
            raise RuntimeFailure(f"volume {name} is there already, and not of server {server}")
        return made

    def told(self, server: str, volume: str, key: str) -> Kept:
        """Give what one would be that is not there."""
        return Kept(volume_name(self._instance, server, volume, key), server, volume, key, None, "", "")

    async def kept(self) -> list[Kept]:
        """List the volumes of this gateway."""
        found = await self._engine.ask("listing volumes", "volumes", params=_labelled(self._instance))
        volumes = cast("list[Json]", cast("Json", found).get("Volumes") or [])
        return sorted((one for one in map(kept_of, volumes) if one is not None), key=lambda one: one.name)

    async def remove(self, name: str) -> None:
        """Remove a volume that no container uses; a carrier of a command that was killed is none.

        Raises:
            RuntimeFailure: it is used.
        """
        for one in await self._having(name):
            if CARRIER in (one.get("Labels") or {}):
                await self._engine.remove(str(one.get("Id")))
        try:
            await self._engine.ask(f"removing volume {name}", f"volumes/{name}", "DELETE")
        except EngineRefused as error:
            if error.status != 404:
                raise
        self._owned = {one for one in self._owned if one[0] != name}

    async def users(self, name: str) -> list[Json]:
        """List the containers that have a volume, running or not."""
        return [one for one in await self._having(name) if CARRIER not in (one.get("Labels") or {})]

    async def _having(self, name: str) -> list[Json]:
        found = await self._engine.ask(
            f"listing who has {name}",
            "containers/json",
            params={"all": "1", "filters": '{"volume": ["' + name + '"]}'},
        )
        return cast("list[Json]", found)

    async def measure(self, volumes: Iterable[Kept]) -> dict[str, int]:
        """Tell how many bytes each holds on the disk; one that cannot be measured is left out."""
        sizes: dict[str, int] = {}
        for volume in volumes:
            with suppress(RuntimeFailure):
                sizes[volume.name] = (await self.scales.weigh(volume.name, volume.place)).held
        return sizes

    async def see_they_can_be_measured(self) -> None:
        """See that what volumes hold can be told here, with one that is made for it. Asked once, where it can.

        Raises:
            RuntimeFailure: it cannot; says why.
        """
        async with self._trying:
            if self._measured:
                return
            name = f"tg-{self._instance}.tried"
            made = await self._create(name, {INSTANCE: self._instance}, None)
            try:
                await self.scales.weigh(name, str(made.get("Mountpoint") or ""))
            finally:
                with suppress(RuntimeFailure):  # the next who tries has it, and removes it
                    await asyncio.shield(self.remove(name))
            self._measured = True

    @asynccontextmanager
    async def carrier(self, name: str, lasts: str = LONG) -> AsyncGenerator[str]:
        """Make a container that has a volume and never runs: the engine reads and writes it through that."""
        await self._empty()
        carrier = f"{name}.{secrets.token_hex(4)}"
        body: dict[str, object] = {
            "Image": _EMPTY,
            "Cmd": ["/never"],
            "Labels": {INSTANCE: self._instance, CARRIER: lasts},
            "NetworkDisabled": True,
            "HostConfig": {"NetworkMode": "none", "Mounts": [mount(name, f"/{PLACE}")]},
        }
        try:
            yield await self._engine.create(carrier, body)
        finally:
            with suppress(RuntimeFailure):  # it is found by its label, and removed with the leftovers
                await asyncio.shield(self._engine.remove(carrier))

    async def _create(self, name: str, labels: Mapping[str, str], size: int | None) -> Json:
        """Create, or get what is there: the engine makes no difference."""
        what, path = f"creating volume {name}", "volumes/create"
        if size is not None and self._quota is not False:
            body = {
                "Name": name,
                "Labels": {**labels, SIZE: str(size), BOUND: "quota"},
                "DriverOpts": {"size": str(size)},
            }
            try:
                made = cast("Json", await self._engine.ask(what, path, "POST", body=body))
            except EngineRefused as error:
                if "quota" not in str(error):
                    raise
                self._quota = False
            else:
                self._quota = True
                return made
        # What is measured may be given another size at any time, so none is written down here.
        made = await self._engine.ask(what, path, "POST", body={"Name": name, "Labels": dict(labels)})
        return cast("Json", made)

    def _labels(self, server: str, volume: str, key: str) -> dict[str, str]:
        return {INSTANCE: self._instance, SERVER: server, VOLUME: volume, KEY: key}

    async def _own(self, volume: Kept, user: str) -> None:
        """Give the volume's directory to a user: as an entry of a tar, since no process in it may be root."""
        uid, _, gid = user.partition(":")
        entry = tarfile.TarInfo(f"{PLACE}/")
        entry.type, entry.mode = tarfile.DIRTYPE, 0o700
        entry.uid, entry.gid = min(int(uid), _MOST_ID), min(int(gid or uid), _MOST_ID)
        async with self.carrier(volume.name, SHORT) as carrier:
            await self.unpack(carrier, _whole(tar_of(entry)), self._engine.deadlines.call)

    async def unpack(self, carrier: str, tar: AsyncIterator[bytes], seconds: float) -> None:
        """Put a tar into a carrier; its entries are below `volume/`."""
        await self._engine.send(
            f"writing to {carrier[:12]}",
            f"containers/{carrier}/archive",
            tar,
            params={"path": "/"},
            seconds=seconds,
        )

    async def _empty(self) -> None:
        if await self._engine.image(_EMPTY) is None:
            name, _, tag = _EMPTY.partition(":")
            await self._engine.send(
                f"making {_EMPTY}",
                "images/create",
                _whole(tar_of()),
                method="POST",
                params={"fromSrc": "-", "repo": name, "tag": tag},
                seconds=self._engine.deadlines.start,
            )


def kept_of(found: Json) -> Kept | None:
    """Read the engine's description of a volume, or None where it is none of ours."""
    labels = cast("Mapping[str, str]", found.get("Labels") or {})
    if VOLUME not in labels or SERVER not in labels:
        return None
    size = labels.get(SIZE, "")
    return Kept(
        name=str(found.get("Name")),
        server=labels[SERVER],
        volume=labels[VOLUME],
        key=labels.get(KEY, ""),
        size=int(size) if size.isdigit() else None,
        bound=labels.get(BOUND, ""),
        place=str(found.get("Mountpoint") or ""),
    )


def tar_of(*entries: tarfile.TarInfo) -> bytes:
    """Give a tar of entries that have no content."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for entry in entries:
            tar.addfile(entry)
    return packed.getvalue()


async def _whole(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _labelled(instance: str) -> dict[str, str]:
    return {"filters": '{"label": ["' + f"{INSTANCE}={instance}" + '"]}'}
