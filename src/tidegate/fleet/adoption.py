"""Adoption: what runs already, found at the start and looked for ever after.

What is wanted is attached to, the rest is removed; what should run and is not there any more is brought up
again. A runtime that does not answer is waited for, and said.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from tidegate.domain.errors import JournalUnavailable, RuntimeFailure
from tidegate.domain.record import RecordKind
from tidegate.domain.server import Remote, Sharing
from tidegate.domain.workload import SHARED, UNCLAIMED, Observed, WorkloadIdentity, WorkloadState
from tidegate.fleet.balance import base
from tidegate.fleet.kept import Kept, Memory
from tidegate.fleet.pool import Pool
from tidegate.ports.recorder import Recorder
from tidegate.ports.runtime import Runtime
from tidegate.telemetry import log

RETRY = 5.0
"""Seconds between attempts to list what a runtime has."""
LOOK = 30.0
"""Seconds between looks at what a runtime has, once it was listed. Streams tell sooner of nearly everything."""


class Finder(Protocol):
    """For whom is looked: the fleet."""

    def everything(self) -> Iterable[Pool]:
        """Give the pools there are, those that only drain among them."""
        ...

    def adopted(self, pool: Pool) -> None:
        """What runs of this server is adopted: more may be started now."""
        ...

    def outage_changed(self, server: str) -> None:
        """This server cannot be had, since its runtime cannot."""
        ...

    async def end(self, runtime: Runtime, identity: WorkloadIdentity) -> None:
        """End a workload, now or later."""
        ...


class Adoption:
    """Compares what runtimes have with what the pools want."""

    def __init__(
        self,
        pools: Mapping[str, Pool],
        memory: Memory,
        recorder: Recorder,
        finder: Finder,
    ) -> None:
        self._finder = finder
        self._pools = pools
        self._memory = memory
        self._recorder = recorder
        self._known: set[str] = set()
        """Runtimes that have been listed."""
        self._odd: dict[str, set[str]] = {}
        """By runtime: workloads that were not as they should be at the last look."""

    async def keep(self, name: str, runtime: Runtime) -> None:
        """Adopt and remove before anything is started, so that nothing runs twice; then look now and then."""
        observed = await self._first(name, runtime)
        await self._memory.recall_learned(self._of(name))
        await self._adopt(name, runtime, observed)
        self._known.add(name)
        for pool in self._of(name):
            self._finder.adopted(pool)
        while True:
            await asyncio.sleep(LOOK)
            try:
                await self.look(name, runtime)
            except RuntimeFailure as error:
                self._odd.pop(name, None)
                log().warning("runtime.unavailable", runtime=name, reason=str(error))

    async def _first(self, name: str, runtime: Runtime) -> Sequence[Observed]:
        said = False
        while True:
            try:
                return await runtime.observe()
            except RuntimeFailure as error:
                if not said:
                    log().warning("runtime.unavailable", runtime=name, reason=str(error))
                    said = True
                for pool in self._of(name):
                    pool.outage = str(error)
                    self._finder.outage_changed(pool.spec.name)
                await asyncio.sleep(RETRY)

    def _of(self, runtime: str) -> Sequence[Pool]:
        return [pool for pool in self._pools.values() if pool.spec.runtime == runtime]

    async def _adopt(self, name: str, runtime: Runtime, observed: Sequence[Observed]) -> None:
        kept = await self._memory.recall()
        ours = {w.identity.id for pool in self._finder.everything() for w in pool.workloads.values()}
        for found in observed:
            if found.identity.id in ours:
                kept.pop(found.identity.id, None)
                continue  # a call came before we looked, and it was started for that
            identity, known = found.identity, kept.pop(found.identity.id, None)
            pool = self._pools.get(identity.key.server)
            wanted = found.running and pool is not None and _is_made_of(pool, identity.key.spec)
            if wanted and pool is not None and known is not None and _free(pool, known):
                log().info("workload.adopted", workload=identity.id)
                pool.adopt(identity, _key(pool, known), known.upstream)
                continue
            if pool is not None and known is not None:
                _note_loss(pool, known)
            await self._remove(runtime, identity)
        for workload_id, known in kept.items():
            pool = self._pools.get(known.server)
            if workload_id not in ours and (pool is None or pool.spec.runtime == name):
                self._memory.forget(workload_id)
                if pool is not None:
                    _note_loss(pool, known)

    def is_known(self, runtime: str) -> bool:
        """Tell whether workloads may be started there: what runs already has been looked for."""
        return runtime in self._known

    async def look(self, name: str, runtime: Runtime) -> None:
        """Compare once more. Only what is odd at two looks is acted on: between them it was just coming or going.

        Raises:
            RuntimeFailure: the runtime cannot list what it has.
        """
        observed = {found.identity.id: found for found in await runtime.observe()}
        ours = {w.identity.id: w for pool in self._finder.everything() for w in pool.workloads.values()}
        unknown = observed.keys() - ours.keys()
        lost = {
            workload.identity.id
            for workload in ours.values()
            if workload.spec.runtime == name
            and workload.state is WorkloadState.READY
            and not (workload.identity.id in observed and observed[workload.identity.id].running)
        }
        odd, self._odd[name] = self._odd.get(name, set()), unknown | lost
        for identity in sorted(unknown & odd):
            await self._remove(runtime, observed[identity].identity)
        for identity in sorted(lost & odd):
            ours[identity].replace("it is there no more: somebody removed it, or its engine lost it")

    async def begin_remotes(self) -> None:
        """Go on with the sessions that a gateway before us had with remote servers."""
        pools = [pool for pool in self._pools.values() if isinstance(pool.spec.launch, Remote)]
        await self._memory.recall_learned(pools)
        kept = await self._memory.recall() if pools else {}
        ours = {w.identity.id for pool in pools for w in pool.workloads.values()}
        for pool in pools:
            for workload_id, known in kept.items():
                if known.server != pool.spec.name or workload_id in ours:
                    continue
                if not _is_made_of(pool, known.spec) or not _free(pool, known):
                    self._memory.forget(
                        workload_id
                    )  # its id is for the server that gave it, and for no other URL
                    _note_loss(pool, known)
                else:
                    track = next(track for track in pool.tracks if track.digest == known.spec)
                    key = _key(pool, known)
                    identity = pool.identity_for(key, known.offer, track)
                    pool.adopt(replace(identity, id=workload_id), key, known.upstream)
            self._finder.adopted(pool)
        self._known.add("remote")

    async def _remove(self, runtime: Runtime, identity: WorkloadIdentity) -> None:
        log().info("workload.removed", workload=identity.id)
        fields = {"event": "removed", "server": identity.key.server, "workload": identity.id}
        try:
            self._recorder.event(RecordKind.WORKLOAD, fields)
        except JournalUnavailable as error:
            log().error("journal.unavailable", reason=str(error))
        await self._finder.end(runtime, identity)
        self._memory.forget(identity.id)


def _is_made_of(pool: Pool, digest: str) -> bool:
    return any(track.digest == digest for track in pool.tracks)


def _note_loss(pool: Pool, known: Kept) -> None:
    if known.used and pool.spec.remembers:
        pool.losses.note(known.sharing)


def _free(pool: Pool, known: Kept) -> bool:
    """Tell whether a workload can be adopted for whom it is kept: for somebody who has no other, or for all."""
    return known.sharing != UNCLAIMED and (known.sharing not in pool.workloads or _is_shared(pool, known))


def _key(pool: Pool, known: Kept) -> str:
    """Give the key under which it is adopted. Replicas found before it may have moved up to its own."""
    return known.sharing if known.sharing not in pool.workloads else pool.replicas.next_key(known.sharing)


def _is_shared(pool: Pool, known: Kept) -> bool:
    return pool.spec.sharing is Sharing.SHARED and base(known.sharing).partition("+")[0] == SHARED
