"""The Docker runtime: one hardened container for each workload.

Puts the parts of this package into the order that `tidegate.ports.runtime` asks for. What a container is
made of is in `harden`, how the engine is spoken to in `engine`, the path of a call in `attach`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, TypeVar

from tidegate.domain.errors import EngineUnavailable, RuntimeFailure
from tidegate.domain.server import Limits, Network, ServerSpec
from tidegate.domain.workload import Observed, WorkloadIdentity
from tidegate.extensions.runtimes.docker import facts, handover, harden
from tidegate.extensions.runtimes.docker.attach import Attachment, open_attachment
from tidegate.extensions.runtimes.docker.data import Data
from tidegate.extensions.runtimes.docker.egress.parts import reached
from tidegate.extensions.runtimes.docker.engine import Engine, EngineRefused
from tidegate.extensions.runtimes.docker.host import Abilities, demand, read_abilities
from tidegate.extensions.runtimes.docker.mounts import allowed_mounts
from tidegate.extensions.runtimes.docker.networks import Networks
from tidegate.extensions.runtimes.docker.settings import Need
from tidegate.extensions.runtimes.docker.supply import Supplied, Supply
from tidegate.extensions.runtimes.docker.usage import Live
from tidegate.ports.runtime import Connection, KeptVolume, Progress, Running, Usage
from tidegate.ports.stream import StreamEvents

T = TypeVar("T")

_ENDING = 3.0
"""Seconds that the reason of an ending may take to learn; the calls on the channel wait for it."""
_TAKE_BACK = 30.0
"""Seconds for taking back a start that failed; over it the next `observe` finds what was left."""


@dataclass(frozen=True, slots=True)
class Place:
    """What the runtime knows of where it runs."""

    instance: str
    user: str
    """`uid:gid` of workloads whose spec names none."""
    forbidden: tuple[str, ...]
    """Paths that no workload gets."""
    accept_missing: frozenset[Need] = frozenset()


class DockerRuntime:
    """Starts and stops containers. Implements `tidegate.ports.runtime.Runtime`."""

    def __init__(self, engine: Engine, supply: Supply, networks: Networks, data: Data, place: Place) -> None:
        self._engine = engine
        self._supply = supply
        self._networks = networks
        self._data = data
        data.tell(self._lose)
        networks.tell(self._lose)
        self._place = place
        self._live = Live(engine)
        self._abilities: Abilities | None = None
        self._open: dict[str, Attachment] = {}
        self._hearing: dict[str, StreamEvents] = {}
        """Who hears the streams that are open."""
        self._telling: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._handover = handover.Handover(engine, self._own)

    async def prepare(self, spec: ServerSpec, say: Callable[[Progress], None]) -> None:
        """Pull or build the image, and see that the spec may be run at all."""
        await self._able()
        harden.user(spec, self._place.user)
        allowed_mounts(spec, self._place.forbidden)
        await self._supply.prepare(spec, say)
        await self._data.prepare(spec, say)
        await self._networks.prepare(spec, say)

    async def start(self, spec: ServerSpec, identity: WorkloadIdentity, events: StreamEvents) -> Running:
        """Create, attach and start a container."""
        abilities = await self._able()
        supplied = await self._supply.find(spec)
        made = self._made(spec, supplied, abilities)
        harden.user(spec, self._place.user)
        made = replace(made, data=(*made.data, *handover.mounts(spec, identity)))

        def log(line: str) -> None:
            events.stderr(f"{line}\n".encode())

        try:
            # The companions first: a sidecar that is on their network is given their names.
            made = await self._data.ready(spec, identity, made, log)
            made = harden.on_network(made, await self._networks.ensure(spec, identity, made))
        except BaseException:
            await self._networks.release(identity)
            await self._data.release(identity)
            raise
        # A request that is broken off may be carried out all the same, so a creation is always seen to its end.
        creating = self._own(self._engine.create(identity.id, harden.container(spec, identity, made)))
        try:
            await asyncio.shield(creating)
        except EngineRefused as error:
            # Among them: a container of that name is there already, and is not this start's to remove.
            await self._networks.release(identity)
            if error.status != 409:
                await self._handover.forget(identity)
                await self._data.release(identity)
            raise
        except BaseException:
            await self._take_back(identity, creating)
            raise
        try:
            await self._data.created(identity, made)
            attachment = await self._attach(spec, identity, events)
            user = harden.user(spec, self._place.user)
            async with self._handover.filled(spec, identity, made, user):
                await self._engine.start(identity.id)
            await self._data.started(spec, identity, self._networks.reaching(identity))
            return await self._running(identity, attachment)
        except BaseException:
            await self._take_back(identity, creating)
            raise

    async def attach(self, spec: ServerSpec, identity: WorkloadIdentity, events: StreamEvents) -> Running:
        """Attach to a container that runs already."""
        seen = await self._engine.inspect(identity.id)
        if not seen.get("State", {}).get("Running"):
            raise RuntimeFailure(f"workload {identity.id} does not run")
        if seen["State"].get("Paused"):
            await self._live.resume(identity.id)
        await self._drop(identity.id)
        await self._data.again(spec, identity)
        await self._networks.again(spec, identity)
        self._handover.know(spec, identity)
        attachment = await self._attach(spec, identity, events)
        try:
            return await self._running(identity, attachment)
        except BaseException:
            await self._drop(identity.id)
            raise

    async def stop(self, identity: WorkloadIdentity, grace: float) -> None:
        """Close the stream, then stop and remove the container."""
        await self._drop(identity.id)
        if grace > 0:
            try:
                await self._engine.stop(identity.id, math.ceil(grace))
            except EngineRefused:
                pass  # gone, or never started: the removal tells
            except EngineUnavailable:
                pass  # the removal kills, and tells if it cannot
        await self._remove(identity)

    async def observe(self) -> Sequence[Observed]:
        """List this gateway's containers."""
        found = await self._engine.containers(f"dev.tidegate.instance={self._place.instance}")
        workloads = [one for one in map(facts.observed, found) if one is not None]
        workloads = self._networks.observed(found, workloads)
        await self._networks.sweep(self._place.instance)
        return [*workloads, *await self._data.leftovers(found)]

    def tell_connections(self, take: Callable[[WorkloadIdentity, Connection], bool]) -> None:
        """Say who is told what workloads open (`TellsConnections`)."""
        self._networks.tell_connections(take)

    async def pause(self, identity: WorkloadIdentity) -> None:
        """Freeze a container (`Pauses`)."""
        await self._live.pause(identity.id)

    async def resume(self, identity: WorkloadIdentity) -> None:
        """Let it go on."""
        await self._live.resume(identity.id)

    async def usage(self, identities: Sequence[WorkloadIdentity]) -> Mapping[str, Usage]:
        """Measure containers (`Measures`)."""
        found = await self._live.usage(identities)
        return await self._live.whole(found, self._networks.outlets(found), self._data.beside(found))

    async def resize(self, identity: WorkloadIdentity, limits: Limits) -> None:
        """Set what a running container may use (`Resizes`)."""
        await self._live.resize(identity.id, limits)

    async def memory(self) -> int | None:
        """Give the memory of the engine's machine where it is not this one (`Houses`)."""
        return await self._live.memory()

    async def volumes(self) -> Sequence[KeptVolume]:
        """List the volumes that are kept (`KeepsVolumes`)."""
        return await self._data.archive.list()

    async def backup(self, name: str, into: BinaryIO) -> int:
        """Write a volume as a tar."""
        return await self._data.archive.backup(name, into)

    async def restore(self, name: str, source: BinaryIO) -> None:
        """Make a volume anew of a tar."""
        await self._data.archive.restore(name, source)

    async def remove_volume(self, name: str) -> None:
        """Remove a volume."""
        await self._data.archive.remove(name)

    async def close(self) -> None:
        """Drop every stream; the containers go on."""
        for name in {*self._open, *self._telling}:
            await self._drop(name)
        if self._tasks:
            # Starts that are being taken back; over the time, the next `observe` finds what was left.
            await asyncio.wait(self._tasks, timeout=_TAKE_BACK)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._data.close()
        await self._networks.close()

    # --- parts of a start

    async def _able(self) -> Abilities:
        if self._abilities is None:
            abilities = read_abilities(await self._engine.info())
            demand(abilities, self._place.accept_missing)
            self._abilities = abilities
        return self._abilities

    def _made(self, spec: ServerSpec, supplied: Supplied, abilities: Abilities) -> harden.Made:
        image = supplied.image
        labels = {
            facts.IMAGE_LABEL: image.name,
            facts.DIGEST_LABEL: image.digest,
            facts.SANDBOX_LABEL: abilities.sandbox,
        }
        if spec.network is not Network.OPEN:
            labels[facts.NETWORK_LABEL] = reached(spec)
        port = harden.listens_on(spec)
        if port is not None:
            labels[facts.PORT_LABEL] = str(port)
        return harden.Made(
            image=image.id,
            user=self._place.user,
            argv=supplied.args,
            entrypoint=supplied.entrypoint,
            mounts=allowed_mounts(spec, self._place.forbidden),
            apparmor=abilities.apparmor,
            volumes=image.volumes,
            labels=labels,
        )

    async def _attach(self, spec: ServerSpec, identity: WorkloadIdentity, events: StreamEvents) -> Attachment:
        def ended(attachment: Attachment) -> None:
            if self._open.get(identity.id) is attachment:
                del self._open[identity.id], self._hearing[identity.id]
            telling = self._own(self._tell_ending(identity.id, events))
            self._telling[identity.id] = telling
            telling.add_done_callback(lambda _: self._told(identity.id, telling))

        inputs = harden.listens_on(spec) is None
        seconds = self._engine.deadlines.call
        try:
            async with asyncio.timeout(seconds):
                attachment = await open_attachment(
                    self._engine.door, identity.id, events, ended, inputs=inputs
                )
        except TimeoutError as error:
            raise EngineUnavailable(
                f"the container engine at {self._engine.door.url} did not answer within {seconds:g} s "
                f"(attaching to {identity.id})"
            ) from error
        self._open[identity.id] = attachment
        self._hearing[identity.id] = events
        return attachment

    async def _running(self, identity: WorkloadIdentity, attachment: Attachment) -> Running:
        seen = await self._engine.inspect(identity.id)
        address = await self._networks.address(identity, seen)
        return Running(identity, attachment, address, facts.facts_of(seen))

    async def _tell_ending(self, name: str, events: StreamEvents) -> None:
        """Learn why a stream ended, where the engine tells soon, and hand it on."""
        reason = "the stream ended, and the engine did not say why"
        try:
            async with asyncio.timeout(_ENDING):
                await self._engine.wait(name, _ENDING)
                reason = facts.ending_of(await self._engine.inspect(name))
                reason = await self._data.why(name) or reason
        except (RuntimeFailure, TimeoutError):
            pass
        events.closed(reason)

    # --- parts of an end

    def _told(self, name: str, telling: asyncio.Task[None]) -> None:
        if self._telling.get(name) is telling:
            del self._telling[name]

    async def _drop(self, name: str) -> None:
        """Close a stream. Of an end that comes from here, or that a start tells by failing, nothing is told."""
        telling = self._telling.pop(name, None)
        if telling is not None:
            telling.cancel()
        attachment = self._open.pop(name, None)
        self._hearing.pop(name, None)
        if attachment is not None:
            await attachment.close()

    def _lose(self, name: str, reason: str) -> None:
        """End what may not go on: whoever hears it is told why, and stops it."""
        events = self._hearing.get(name)
        if events is not None:
            self._own(self._tell(name, reason, events))

    async def _tell(self, name: str, reason: str, events: StreamEvents) -> None:
        await self._drop(name)
        events.closed(reason)

    async def _remove(self, identity: WorkloadIdentity) -> None:
        """Remove the container and see that it is gone, then give its place on a network back."""
        try:
            await self._engine.remove(identity.id)
        except EngineRefused as error:
            # 404: gone. 409: somebody else's removal is under way.
            if error.status == 409:
                await self._until_removed(identity.id)
            elif error.status != 404:
                raise RuntimeFailure(f"workload {identity.id} may still be there: {error}") from error
        await self._handover.forget(identity)
        await self._networks.release(identity)
        await self._data.release(identity)

    async def _until_removed(self, name: str) -> None:
        try:
            await self._engine.wait(name, _TAKE_BACK, removed=True)
        except EngineRefused as error:
            if error.status != 404:
                raise RuntimeFailure(f"workload {name} may still be there: {error}") from error

    async def _take_back(self, identity: WorkloadIdentity, creating: asyncio.Task[str]) -> None:
        """Leave nothing of a start that failed, even where it was cancelled.

        What an engine creates after its deadline is found by `observe`.
        """

        async def undo() -> None:
            await self._drop(identity.id)
            await asyncio.wait([creating])
            await self.stop(identity, 0)

        undoing = self._own(undo())
        await asyncio.wait([undoing], timeout=_TAKE_BACK)

    def _own(self, work: Coroutine[None, None, T]) -> asyncio.Task[T]:
        """Run something that must not end with whoever asked for it; `close` ends it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waited for it was told; where nobody did, a start's own failure was
