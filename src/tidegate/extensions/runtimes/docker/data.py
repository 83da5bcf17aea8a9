"""Data: what a workload has beside its container, for the runtime: volumes, companions, bandwidth.

Puts `volumes`, `companions`, `watch` and `bandwidth` into the order of a workload's life. A spec that declares
nothing of it costs no call to the engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tidegate.domain.errors import EngineUnavailable, RuntimeFailure
from tidegate.domain.server import Limits, ServerSpec, Volume
from tidegate.domain.workload import Observed, WorkloadIdentity, WorkloadKey
from tidegate.extensions.runtimes.docker import bandwidth, facts, harden, volumes
from tidegate.extensions.runtimes.docker.archive import Archive
from tidegate.extensions.runtimes.docker.companions import Companions
from tidegate.extensions.runtimes.docker.engine import Engine, EngineRefused
from tidegate.extensions.runtimes.docker.images import Pulls, Say
from tidegate.extensions.runtimes.docker.sets import Set, labels_of, on_set
from tidegate.extensions.runtimes.docker.volumes import Kept, Volumes
from tidegate.extensions.runtimes.docker.watch import Bounded, Watch, watched

_TAKE_BACK = 30.0


class Data:
    """The volumes and companions of one gateway's workloads."""

    def __init__(self, engine: Engine, pulls: Pulls, instance: str, user: str) -> None:
        """`user` runs what names no other, here and in its image."""
        self.volumes = Volumes(engine, instance)
        self.archive = Archive(engine, self.volumes)
        self._engine = engine
        self._instance = instance
        self._user = user
        self._tasks: set[asyncio.Task[None]] = set()
        self._companions = Companions(engine, pulls, self.volumes, user, self._own)
        self._watch = Watch(engine, instance, self._companions, self.volumes)
        self._watching: list[asyncio.Task[None]] = []
        self.lost: dict[str, str] = {}
        """Workloads that may not go on, and why, until they are ended."""
        self._alone: set[str] = set()
        """Workloads that are known to have no companions: no engine has to be asked for them."""
        self._told: Callable[[str, str], None] | None = None

    def tell(self, told: Callable[[str, str], None]) -> None:
        """Say who is to be told of a workload that may not go on."""
        self._told = told
        self._companions.lose = self._watch.lose = self._lose

    async def prepare(self, spec: ServerSpec, say: Say) -> None:
        """Pull what runs beside it, and see that its limits can be held."""
        if spec.limits.bandwidth is not None or any(one.limits.bandwidth for one in spec.companions):
            await bandwidth.see_it_can_be_held(self._engine)
        await self._see_sizes_hold(spec)
        await self._companions.prepare(spec, say)

    async def ready(
        self, spec: ServerSpec, identity: WorkloadIdentity, made: harden.Made, log: Callable[[str], None]
    ) -> harden.Made:
        """Make its volumes and start its companions; give what it is made of with them.

        Raises:
            RuntimeFailure: one cannot be had, or holds too much; `release` leaves nothing behind.
        """
        if not spec.companions:
            self._alone.add(identity.id)
        if not spec.volumes and not spec.companions:
            return made
        user = harden.user(spec, made.user)
        own = [await self._keep(spec.name, one, identity.key, user) for one in spec.volumes]
        made = self._with_volumes(spec, identity, made, own)
        reason = await self._watch.over(await self._bounded(spec, identity.key))
        if reason is not None:
            raise RuntimeFailure(f"server {spec.name} is not started: {reason}")
        if spec.companions:
            made = on_set(made, await self._companions.ensure(spec, identity, log))
        self._watch.bound(identity.id, await self._bounded(spec, identity.key))
        self._begin()
        return made

    async def created(self, identity: WorkloadIdentity, made: harden.Made) -> None:
        """Put a container that was created on its companions' network too, where it has one of its own."""
        if made.companions and made.network and not made.network.startswith(harden.SHARES):
            what, path = f"connecting {identity.id}", f"networks/{made.companions}/connect"
            await self._engine.ask(what, path, "POST", body={"Container": identity.id})

    async def started(self, spec: ServerSpec, identity: WorkloadIdentity, reaching: Sequence[str]) -> None:
        """Hold a container that runs to its bandwidth, and see that what it needs did not end meanwhile.

        `reaching` are the containers whose interfaces it reaches others by.
        """
        for container in reaching if spec.limits.bandwidth is not None else ():
            await bandwidth.hold(self._engine, container, spec.limits.bandwidth or 0)
        broken = self._companions.broken.get(self._companions.used_by(identity.id) or "")
        reason = self.lost.get(identity.id) or broken
        if reason is not None:
            raise RuntimeFailure(reason)

    async def again(self, spec: ServerSpec, identity: WorkloadIdentity) -> None:
        """Take up again what a workload has that runs already.

        Raises:
            RuntimeFailure: it may not go on.
        """
        if identity.id in self.lost:
            raise RuntimeFailure(self.lost[identity.id])
        if spec.companions:
            await self._companions.again(spec, identity)
        else:
            self._alone.add(identity.id)
        if spec.volumes or spec.companions:
            self._watch.bound(identity.id, await self._bounded(spec, identity.key))
            self._begin()

    async def why(self, workload: str) -> str | None:
        """Say what ended beside a workload that ended too: it is the reason more often than not.

        Raises:
            RuntimeFailure: it cannot be told.
        """
        return self.lost.get(workload) or await self._companions.why(workload)

    async def release(self, identity: WorkloadIdentity) -> None:
        """End what is only a workload's, once it is gone itself. Its volumes stay. Idempotent."""
        self._watch.forget(identity.id)
        self.lost.pop(identity.id, None)
        if identity.id in self._alone:
            self._alone.discard(identity.id)
        else:
            await self._companions.release(identity)

    def beside(self, workloads: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Give the companions' containers of workloads; those of a set that several use with the first of them."""
        return self._companions.names(workloads)

    async def leftovers(self, listed: Sequence[Mapping[str, Any]]) -> list[Observed]:
        """Find what a gateway before this one left, as workloads that do not run: ending them removes it."""
        for one in listed:
            if labels_of(one).get(volumes.CARRIER) == volumes.SHORT:
                await self._remove(str(one.get("Id")))
        return [
            Observed(_standing_for(one), running=False)
            for one in await self._companions.leftovers(self._instance)
        ]

    async def close(self) -> None:
        """Stop watching, and let what is being ended end."""
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_TAKE_BACK)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- parts of them

    async def _see_sizes_hold(self, spec: ServerSpec) -> None:
        told = next(_sizes(spec), None)
        if told is None:
            return
        try:
            await self.volumes.see_they_can_be_measured()
        except EngineUnavailable:
            raise
        except RuntimeFailure as error:
            raise RuntimeFailure(
                f"server {spec.name}: {told} cannot be held here: {error}. Leave it out, run the gateway as root on "
                "the engine's machine, or let the engine measure (GET /system/df)"
            ) from error

    async def _keep(self, server: str, volume: Volume, key: WorkloadKey, user: str) -> Kept | None:
        if volumes.scratch(volume, key):
            return None
        return await self.volumes.ensure(server, volume, volumes.key_of(volume, key), user)

    def _with_volumes(
        self, spec: ServerSpec, identity: WorkloadIdentity, made: harden.Made, own: list[Kept | None]
    ) -> harden.Made:
        mounts = list[Mapping[str, object]]()
        scratch: dict[str, int] = {}
        words: list[str] = []
        for volume, kept in zip(spec.volumes, own, strict=True):
            if kept is None:
                scratch[volume.target] = volume.size or spec.limits.tmp
                words.append(f"{volume.name} (in memory: it is nobody's yet)")
            else:
                mounts.append(volumes.mount(kept.name, volume.target))
                words.append(f"{volume.name} {_held_by(volume, kept, spec.limits)}")
        labels = {**made.labels, facts.VOLUMES_LABEL: ", ".join(words)} if words else made.labels
        return replace(made, data=(*made.data, *mounts), scratch=scratch, labels=labels)

    async def _bounded(self, spec: ServerSpec, key: WorkloadKey) -> list[Bounded]:
        """Give what is to be watched of the volumes that are there."""
        parts = ((spec.volumes, spec.limits), *((one.volumes, one.limits) for one in spec.companions))
        if not any(limits.disk or any(one.size for one in declared) for declared, limits in parts):
            return []
        kept = {one.name: one for one in await self.volumes.kept()}
        found: list[Bounded] = []
        for declared, limits in parts:
            there: list[Kept] = []
            for volume in declared:
                name = volumes.volume_name(
                    self._instance, spec.name, volume.name, volumes.key_of(volume, key)
                )
                if name in kept and not volumes.scratch(volume, key):
                    there.append(replace(kept[name], size=volume.size))
            if there and (limits.disk is not None or any(map(watched, there))):
                found.append(Bounded(tuple(there), limits.disk))
        return found

    def _lose(self, workload: str, reason: str) -> None:
        self.lost[workload] = reason
        if self._told is not None:
            self._told(workload, reason)

    def _begin(self) -> None:
        if not self._watching or any(task.done() for task in self._watching):
            for task in self._watching:
                task.cancel()
            loop = asyncio.get_running_loop()
            self._watching = [loop.create_task(self._watch.hear()), loop.create_task(self._watch.measure())]

    def _own(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something that must not end with whoever asked for it; `close` waits for it, and ends it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waited for it was told

    async def _remove(self, container: str) -> None:
        try:
            await self._engine.remove(container)
        except EngineRefused as error:
            if error.status not in (404, 409):
                raise


def _sizes(spec: ServerSpec) -> Iterator[str]:
    """Name the settings that say how much volumes hold."""
    parts = (
        ("", spec.volumes, spec.limits),
        *((f"companions.{one.name}.", one.volumes, one.limits) for one in spec.companions),
    )
    for where, declared, limits in parts:
        yield from (f"{where}volumes.{volume.name}.size" for volume in declared if volume.size is not None)
        if declared and limits.disk is not None:
            yield f"{where}limits.disk"


def _held_by(volume: Volume, kept: Kept, limits: Limits) -> str:
    if volume.size is None:
        return "(as large as limits.disk lets it)" if limits.disk is not None else "(without a size)"
    return f"{volume.size} bytes ({'held by the engine' if kept.bound == 'quota' else 'measured'})"


def _standing_for(left: Set) -> WorkloadIdentity:
    return WorkloadIdentity(left.name, left.instance, WorkloadKey(left.spec.name, "", left.scope))
