"""Handover: a workload's secret files, on a tmpfs of its own at /run/secrets, through the engine's API alone.

The tmpfs is a volume of the engine's, which it mounts while somebody uses it and empties when nobody does. Files can
be put into it by way of a container that is not running, but not by way of one that is being started. So a second
container over the same volume, a box that is never started, takes the files and keeps the tmpfs mounted, since the
archive that is sent to it does not end until the workload has started. No value is in a body that the engine
keeps or shows, and none is on a disk. [tried on Docker Engine 20.10]
"""

from __future__ import annotations

import asyncio
import io
import tarfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any

from tidegate.domain.errors import EngineUnavailable, RuntimeFailure
from tidegate.domain.server import ServerSpec
from tidegate.domain.workload import WorkloadIdentity
from tidegate.extensions.runtimes.docker.engine import Engine, EngineRefused
from tidegate.extensions.runtimes.docker.harden import Made

PLACE = "/run/secrets"
LABEL = "dev.tidegate.secrets-of"
"""On the box and the volume: the workload they belong to."""

_PAGE = 4096
_SPARE = 64 * 1024
_BLOCK = 512
_WHOLE = 946684800
"""Time of change of every file. An engine sets it last, so that a file which has it is whole."""
_LOOK = 0.02

Own = Callable[[Coroutine[None, None, Any]], asyncio.Task[Any]]


class Handover:
    """Gives workloads of one gateway their secret files."""

    def __init__(self, engine: Engine, own: Own) -> None:
        """`own` runs what must be seen to its end, whoever asked for it."""
        self._engine = engine
        self._own = own
        self._boxes: dict[str, asyncio.Task[Any]] = {}
        """Creations of boxes, by workload."""
        self._without: set[str] = set()
        """Workloads that are known to have no secret files."""

    def know(self, spec: ServerSpec, identity: WorkloadIdentity) -> None:
        """Learn what a workload was started with, so that its end asks the engine no more than it must."""
        if not spec.secrets:
            self._without.add(identity.id)

    @asynccontextmanager
    async def filled(
        self, spec: ServerSpec, identity: WorkloadIdentity, made: Made, user: str
    ) -> AsyncGenerator[None]:
        """Hold a created workload's tmpfs with its files in it; a container started meanwhile keeps it.

        Raises:
            RuntimeFailure: the engine did not take them.
        """
        self.know(spec, identity)
        if not spec.secrets:
            yield
            return
        self._boxes[identity.id] = creating = self._own(
            self._engine.create(box_name(identity), box(spec, identity, made))
        )
        await asyncio.shield(creating)
        started = asyncio.Event()
        sending = self._own(self._send(identity, files(spec, user), started))
        try:
            await self._until_whole(identity, list(spec.secrets)[-1], sending)
            yield
        finally:
            started.set()
        await sending
        await self._remove_box(identity)

    async def forget(self, identity: WorkloadIdentity) -> None:
        """Remove what there is of a workload's files, once its container is gone. Idempotent.

        Raises:
            RuntimeFailure: something may still be there.
        """
        if identity.id in self._without:
            self._without.discard(identity.id)
            return
        await self._remove_box(identity)
        try:
            await self._engine.ask(
                f"removing the secrets of {identity.id}", f"volumes/{volume_name(identity)}", "DELETE"
            )
        except EngineRefused as error:
            if error.status != 404:
                raise RuntimeFailure(
                    f"the secrets of {identity.id} may still be in memory: {error}"
                ) from error

    async def _remove_box(self, identity: WorkloadIdentity) -> None:
        creating = self._boxes.pop(identity.id, None)
        if creating is not None:
            await asyncio.wait([creating])
        try:
            await self._engine.remove(box_name(identity))
        except EngineRefused as error:
            if error.status not in (404, 409):  # 409: its removal is under way
                raise

    async def _send(self, identity: WorkloadIdentity, tar: bytes, started: asyncio.Event) -> None:
        deadlines = self._engine.deadlines
        seconds = deadlines.call + deadlines.start

        async def pieces() -> AsyncIterator[bytes]:
            yield tar
            await started.wait()
            yield bytes(2 * _BLOCK)  # the end of an archive

        await self._engine.send(
            f"giving {identity.id} its secrets",
            f"containers/{box_name(identity)}/archive",
            pieces(),
            params={"path": PLACE},
            seconds=seconds,
        )

    async def _until_whole(self, identity: WorkloadIdentity, last: str, sending: asyncio.Task[Any]) -> None:
        """Wait until the last file is as it will be, as the workload's own container has it."""
        seconds = self._engine.deadlines.call
        try:
            async with asyncio.timeout(seconds):
                while not await self._is_whole(identity, last):
                    await asyncio.wait([sending], timeout=_LOOK)
                    if sending.done():
                        sending.result()
                        raise RuntimeFailure(f"the engine did not keep the secrets of {identity.id}")
        except TimeoutError as error:
            raise EngineUnavailable(
                f"the container engine did not take the secrets of {identity.id} within {seconds:g} s"
            ) from error

    async def _is_whole(self, identity: WorkloadIdentity, name: str) -> bool:
        heard = bytearray()

        async def take(piece: bytes) -> None:
            heard.extend(piece)

        try:
            await self._engine.read(
                f"looking at the secrets of {identity.id}",
                f"containers/{identity.id}/archive",
                take,
                params={"path": f"{PLACE}/{name}"},
                seconds=self._engine.deadlines.call,
            )
        except EngineRefused as error:
            if error.status == 404:
                return False
            raise
        try:
            with tarfile.open(fileobj=io.BytesIO(heard)) as tar:
                return all(int(member.mtime) == _WHOLE for member in tar.getmembers())
        except tarfile.TarError:
            return False


def volume_name(identity: WorkloadIdentity) -> str:
    """Name a workload's tmpfs."""
    return f"{identity.id}-secrets"


def box_name(identity: WorkloadIdentity) -> str:
    """Name the container by way of which it is filled."""
    return f"{identity.id}-box"


def mounts(spec: ServerSpec, identity: WorkloadIdentity) -> tuple[Mapping[str, object], ...]:
    """Give the mount of the workload's own container, with which the engine makes the volume."""
    return (_mount(spec, identity, read_only=True),) if spec.secrets else ()


def box(spec: ServerSpec, identity: WorkloadIdentity, made: Made) -> dict[str, object]:
    """Give the body of "create a container" for the box."""
    return {
        "Image": made.image,
        "Entrypoint": ["never-started"],
        "Labels": {LABEL: identity.id},
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": {
            "NetworkMode": "none",
            "Mounts": [_mount(spec, identity, read_only=False)],
            # What the image declares as a volume would be made as one, and its files copied.
            "Tmpfs": dict.fromkeys((path for path in made.volumes if path != PLACE), ""),
            "LogConfig": {"Type": "none", "Config": {}},
        },
    }


def files(spec: ServerSpec, user: str) -> bytes:
    """Give the files as an archive without its end: readable by `user` (`uid:gid`) alone."""
    uid, _, gid = user.partition(":")
    packed = bytearray()
    for name, secret in spec.secrets.items():
        data = secret.reveal().encode()
        member = tarfile.TarInfo(name)
        member.size, member.mode, member.mtime = len(data), 0o400, _WHOLE
        member.uid, member.gid = int(uid), int(gid)
        packed += member.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % _BLOCK)
    return bytes(packed)


def _mount(spec: ServerSpec, identity: WorkloadIdentity, *, read_only: bool) -> Mapping[str, object]:
    pages = sum(-(-len(secret.reveal().encode()) // _PAGE) for secret in spec.secrets.values())
    options = f"size={pages * _PAGE + _SPARE},mode=0755,nosuid,nodev,noexec"
    return {
        "Type": "volume",
        "Source": volume_name(identity),
        "Target": PLACE,
        "ReadOnly": read_only,
        "VolumeOptions": {
            # What the image has at that place stays there.
            "NoCopy": True,
            "Labels": {LABEL: identity.id},
            "DriverConfig": {"Name": "local", "Options": {"type": "tmpfs", "device": "tmpfs", "o": options}},
        },
    }
