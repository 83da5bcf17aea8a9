"""Outlets: the sidecars of workloads: started before them, ended with them, taken up again.

An outlet that ends takes its workload's way out with it: the cable is gone with its name space. So nothing has to
be done in time; the workload is given up all the same, since it would only fail.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from tidegate.domain.errors import EngineUnavailable, RuntimeFailure
from tidegate.domain.server import ServerSpec
from tidegate.domain.workload import WorkloadIdentity
from tidegate.extensions.runtimes.docker.attach import Attachment, open_attachment
from tidegate.extensions.runtimes.docker.egress import parts
from tidegate.extensions.runtimes.docker.egress.hearing import AGAIN, Hearing
from tidegate.extensions.runtimes.docker.egress.image import SidecarImage
from tidegate.extensions.runtimes.docker.egress.own import own_addresses
from tidegate.extensions.runtimes.docker.egress.parts import Joins, Sidecars, cell_name, outlet_name
from tidegate.extensions.runtimes.docker.engine import Engine, EngineRefused
from tidegate.extensions.runtimes.docker.harden import SHARES
from tidegate.extensions.runtimes.docker.host import Abilities, read_abilities
from tidegate.extensions.runtimes.docker.images import Say
from tidegate.ports.runtime import Connection

Json = Mapping[str, Any]
_SANDBOXES = ("runsc", "gvisor", "kata")
"""Words in the names of runtimes whose containers have kernels of their own."""
Take = Callable[[WorkloadIdentity, Connection], bool]
Lose = Callable[[str, str], None]

_READY = 20.0
"""Seconds for the two to be connected; they need a quarter of one."""


class Outlets:
    """The sidecars of one gateway's workloads."""

    def __init__(self, engine: Engine, image: SidecarImage, resolvers: Sequence[str]) -> None:
        self._engine = engine
        self._image = image
        self._resolvers = tuple(resolvers)
        self._apparmor: bool | None = None
        self._heard: dict[str, Attachment] = {}
        self.take: Take = _nobody_records
        self.lose: Lose = _nobody_hears

    async def prepare(self, spec: ServerSpec, say: Say) -> None:
        """Make the image.

        Raises:
            RuntimeFailure: it cannot be made, or the engine's containers cannot share a network.
        """
        self._shares(read_abilities(await self._engine.info()))
        await self._image.bring(spec.name, say)

    async def start(self, spec: ServerSpec, identity: WorkloadIdentity, joins: Joins) -> str:
        """Start both and give the network mode of the workload.

        Raises:
            RuntimeFailure: they do not work; `stop` leaves nothing behind.
        """
        image = await self._image.have()
        if self._apparmor is None:
            abilities = read_abilities(await self._engine.info())
            self._shares(abilities)
            self._apparmor = abilities.apparmor
        own = await asyncio.to_thread(own_addresses)
        made = Sidecars(spec, identity, image.id, joins, self._apparmor, self._resolvers, own)
        outlet, cell = outlet_name(identity.id), cell_name(identity.id)
        await self._engine.create(outlet, parts.outlet(made))
        for name in joins.peers:
            body = {"Container": outlet, "EndpointConfig": {"Aliases": [parts.alias(spec.name)]}}
            await self._engine.ask(f"connecting {outlet}", f"networks/{name}/connect", "POST", body=body)
        hearing = await self._hear(identity)
        # Both to their ends: what is broken off may be carried out after all has been taken back.
        done = await asyncio.gather(
            self._engine.start(outlet), self._engine.create(cell, parts.cell(made)), return_exceptions=True
        )
        for one in done:
            if isinstance(one, BaseException):
                raise one
        await self._engine.start(cell)
        await self._until_ready(spec, identity, hearing)
        return f"{SHARES}{cell}"

    async def again(self, spec: ServerSpec, identity: WorkloadIdentity) -> None:
        """Hear an outlet that runs already.

        Raises:
            RuntimeFailure: one of the two does not run.
        """
        for name in (cell_name(identity.id), outlet_name(identity.id)):
            seen = await self._engine.inspect(name)
            if not seen.get("State", {}).get("Running"):
                raise RuntimeFailure(f"server {spec.name}: its network's sidecar {name} does not run")
        await self._drop(identity.id)
        hearing = await self._hear(identity)
        self._heard[identity.id].write(AGAIN)
        await self._until_ready(spec, identity, hearing)

    async def stop(self, workload: str) -> None:
        """Remove both. Idempotent.

        Raises:
            RuntimeFailure: one may still be there.
        """
        await self._drop(workload)
        await asyncio.gather(*(self._remove(name) for name in (cell_name(workload), outlet_name(workload))))

    async def address(self, workload: str, port: int) -> str | None:
        """Give the base URL of an HTTP workload: the port of its outlet on this machine's loopback."""
        seen = await self._engine.inspect(outlet_name(workload))
        network = cast("Json", seen.get("NetworkSettings") or {})
        published = cast("Mapping[str, list[Json] | None]", network.get("Ports") or {})
        found = published.get(f"{port}/tcp")
        return f"http://127.0.0.1:{found[0]['HostPort']}" if found else None

    def works(self, workload: str) -> bool:
        """Tell whether a workload's outlet is heard, so runs."""
        return workload in self._heard

    async def close(self) -> None:
        """Hear no more; the sidecars go on."""
        for workload in list(self._heard):
            await self._drop(workload)

    def _shares(self, abilities: Abilities) -> None:
        """See that containers can share the kernel's network and process name spaces: sandboxes have their own."""
        if any(word in abilities.runtime for word in _SANDBOXES):
            raise RuntimeFailure(
                f"the engine's default runtime {abilities.runtime} cannot have a sidecar hold a server's network"
            )

    async def _hear(self, identity: WorkloadIdentity) -> Hearing:
        hearing = Hearing(lambda seen: self.take(identity, seen))

        def ended(attachment: Attachment) -> None:
            if self._heard.get(identity.id) is attachment:
                del self._heard[identity.id]
                hearing.closed("it ended")
                self.lose(identity.id, f"its network's sidecar is gone: {hearing.failure}")

        seconds = self._engine.deadlines.call
        name = outlet_name(identity.id)
        try:
            async with asyncio.timeout(seconds):
                attachment = await open_attachment(self._engine.door, name, hearing, ended)
        except TimeoutError as error:
            raise EngineUnavailable(f"the engine did not answer within {seconds:g} s ({name})") from error
        self._heard[identity.id] = attachment
        hearing.stream = attachment
        return hearing

    async def _until_ready(self, spec: ServerSpec, identity: WorkloadIdentity, hearing: Hearing) -> None:
        gone = asyncio.ensure_future(self._engine.wait(outlet_name(identity.id), _READY))
        try:
            await asyncio.wait({gone, hearing.ready}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
        if not hearing.ready.done():
            reason = hearing.failure or f"no answer within {_READY:g} s"
            raise RuntimeFailure(f"server {spec.name}: its network's sidecar does not work: {reason}")

    async def _drop(self, workload: str) -> None:
        attachment = self._heard.pop(workload, None)
        if attachment is not None:
            await attachment.close()

    async def _remove(self, name: str) -> None:
        try:
            await self._engine.remove(name)
        except EngineRefused as error:
            if error.status == 409:
                await self._engine.wait(name, _READY, removed=True)
            elif error.status != 404:
                raise RuntimeFailure(f"the sidecar {name} may still be there: {error}") from error


def _nobody_records(_: WorkloadIdentity, __: Connection) -> bool:
    return False


def _nobody_hears(_: str, __: str) -> None:
    """Where nobody hears a workload, nobody waits for it."""
