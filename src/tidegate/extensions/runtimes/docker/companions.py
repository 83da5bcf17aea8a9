"""Companions: the containers that servers need beside them, as sets on a private network each.

A set is what one ServerSpec declares, for one scope: the whole server where everybody shares it, a principal where
the set keeps data, else one workload. Its containers are made by `harden` like any workload's, on an internal network
of which the engine's machine has no address itself, and find each other by names in their hosts files: no resolver
is asked. Why so is in `docs/decisions/0017-companions.md`. What becomes of a set that breaks is told by `watch`.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import weakref
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, cast

from tidegate.domain.errors import RuntimeFailure
from tidegate.domain.server import Companion, Image, ServerSpec
from tidegate.domain.workload import WorkloadIdentity, WorkloadKey
from tidegate.extensions.runtimes.docker import bandwidth, facts, harden, probe, volumes
from tidegate.extensions.runtimes.docker.engine import Engine, EngineRefused
from tidegate.extensions.runtimes.docker.images import Pulls, Resolved, Say
from tidegate.extensions.runtimes.docker.sets import (
    COMPANION,
    SCOPE,
    SET,
    Joined,
    Set,
    address_in,
    body_of,
    label_of,
    labels_of,
    network,
    runs,
    set_of,
    subnet_of,
)
from tidegate.extensions.runtimes.docker.volumes import INSTANCE, SERVER, Volumes

Json = Mapping[str, Any]
Own = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]
"""Runs something to its end, whoever goes away meanwhile."""

_GRACE = 5
"""Seconds for a companion to end by itself: a database writes what it holds."""
_TAKE_BACK = 30.0
_BUDGET = 0.9
"""Share of a server's time to start that its companions may take, so that the reason is theirs."""
_TRIES = 64
_REPLACED = "its companions were replaced by those of another version of the server"
_SET_NAME = re.compile(r"tg-.*-c[0-9a-f]{16}", re.DOTALL)
"""A workload that stands for what is left is ended by this name: nobody else's container may be."""
_LEFT = WorkloadKey("", "", "left")


class Companions:
    """The sets of one gateway."""

    def __init__(self, engine: Engine, pulls: Pulls, kept: Volumes, user: str, own: Own) -> None:
        self._engine = engine
        self._pulls = pulls
        self._volumes = kept
        self._user = user
        self._own = own
        self._users: dict[str, set[str]] = {}
        """Workloads that use, or are about to use, a set."""
        self._joined: set[str] = set()
        """Of these, those whose set was whole."""
        self._containers: dict[str, tuple[str, ...]] = {}
        """The companions of each set that is used."""
        self._locks = weakref.WeakValueDictionary[str, asyncio.Lock]()
        self._replaced: dict[str, str] = {}
        """Sets whose volumes went to another one, and which; while that is used, they may not be started."""
        self.lose: Callable[[str, str], None] = _nobody
        """Is told of a workload whose set is gone, and why."""
        self.broken: dict[str, str] = {}
        """Sets of which a companion ended, and why; until they are raised again."""
        self.ending: set[str] = set()
        """Companions that are being ended by us."""

    async def prepare(self, spec: ServerSpec, say: Say) -> None:
        """Pull the images."""
        for companion in spec.companions:
            image = await self._pulls.bring(companion.image, spec.name, say)
            self._runs_as(spec, companion, image)

    async def ensure(
        self, spec: ServerSpec, identity: WorkloadIdentity, log: Callable[[str], None]
    ) -> Joined:
        """Start what is not there of a workload's set, one after the other, each once the one before can be used.

        Raises:
            RuntimeFailure: one cannot be started, or cannot be used in time; nothing was left behind.
        """
        wanted = set_of(spec, identity)
        raised: list[Joined] = []

        async def run() -> None:
            raised.append(await self._raise(wanted, log))

        self._users.setdefault(wanted.name, set()).add(identity.id)
        raising = self._own(run())
        try:
            await asyncio.shield(raising)
        except BaseException:
            # Where it was broken off, the raising sees that nobody wants it any more, and stops.
            await asyncio.wait([self._own(self.release(identity))], timeout=_TAKE_BACK)
            raise
        self._joined.add(identity.id)
        return raised[0]

    async def again(self, spec: ServerSpec, identity: WorkloadIdentity) -> None:
        """Take a set up again that a workload uses which runs already.

        Raises:
            RuntimeFailure: it does not run whole.
        """
        wanted = set_of(spec, identity)
        async with self._lock(wanted.name):
            there = await self._there(wanted.name)
            lost = [one.name for one in spec.companions if not runs(there.get(wanted.container(one)))]
            if lost:
                raise RuntimeFailure(f"companion {lost[0]} of server {spec.name} does not run")
            self._users.setdefault(wanted.name, set()).add(identity.id)
            self._containers[wanted.name] = tuple(there)
            self._joined.add(identity.id)

    async def release(self, identity: WorkloadIdentity) -> None:
        """Give a workload's set back, and end what nobody uses any more. Idempotent."""
        mine = [name for name, users in self._users.items() if identity.id in users]
        for name in mine:
            self._users[name].discard(identity.id)
        self._joined.discard(identity.id)
        if not mine:
            # It was started by a gateway before this one, or stands for what that left.
            listed = await self._listed(identity.instance)
            used = {label_of(one, SET) for one in listed if COMPANION not in labels_of(one)}
            mine = sorted({label_of(one, SET) for one in listed} - used)
            if _SET_NAME.fullmatch(identity.id):
                mine.append(identity.id)
        for name in dict.fromkeys(mine):
            async with self._lock(name):
                if not self._users.get(name) and not await self._used(name, identity.id):
                    await self._end(name)

    def users(self, name: str) -> set[str]:
        """Give the workloads that use a set."""
        return set(self._users.get(name, ()))

    def used_by(self, workload: str) -> str | None:
        """Give the set that a workload uses."""
        return next((name for name, users in self._users.items() if workload in users), None)

    def names(self, workloads: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Give the containers that run beside workloads, those of each set once."""
        found: dict[str, tuple[str, ...]] = {}
        seen: set[str] = set()
        for workload in sorted(workloads) if self._containers else ():
            used = self.used_by(workload)
            if used is not None and used not in seen:
                seen.add(used)
                found[workload] = self._containers.get(used, ())
        return found

    async def why(self, workload: str) -> str | None:
        """Say which companion of a workload has ended, and how."""
        used = self.used_by(workload)
        if used is None or used in self.broken:
            return self.broken.get(used or "")
        for name, one in (await self._there(used)).items():
            if not runs(one) and name not in self.ending:
                ending = facts.ending_of(await self._engine.inspect(name))
                return f"companion {label_of(one, COMPANION)} {ending}"
        return None

    async def leftovers(self, instance: str) -> list[Set]:
        """Find the sets of a gateway before this one that no workload uses."""
        listed = await self._listed(instance)
        used = {label_of(one, SET) for one in listed if COMPANION not in labels_of(one)}
        found = {label_of(one, SET): labels_of(one) for one in listed}
        for one in await self._engine.networks(SET):
            labels = labels_of(one)
            if labels.get(INSTANCE) == instance:
                found.setdefault(labels[SET], labels)
        return [
            Set(
                name,
                ServerSpec(labels.get(SERVER, ""), Image(""), ""),
                instance,
                _LEFT,
                labels.get(SCOPE, ""),
            )
            for name, labels in found.items()
            if name not in used and not self._users.get(name) and _SET_NAME.fullmatch(name)
        ]

    async def _raise(self, wanted: Set, log: Callable[[str], None]) -> Joined:
        async with self._lock(wanted.name):
            successor = self._replaced.get(wanted.name)
            if successor is not None and self._users.get(successor):
                raise RuntimeFailure(_REPLACED)
            self._replaced.pop(wanted.name, None)
            await self._take_over(wanted)
            subnet = await self._network(wanted)
            there = await self._there(wanted.name)
            whole = all(runs(there.get(wanted.container(one))) for one in wanted.spec.companions)
            if not whole:
                for workload in self.users(wanted.name) & self._joined:
                    self.lose(workload, self.broken.get(wanted.name, "a companion of it ended"))
                for name in there:
                    await self._remove(name)
            self.broken.pop(wanted.name, None)
            hosts = tuple(
                f"{one.name}:{address_in(subnet, place)}" for place, one in enumerate(wanted.spec.companions)
            )
            ends = asyncio.get_running_loop().time() + wanted.spec.timeouts.start * _BUDGET
            for companion, host in zip(wanted.spec.companions, hosts, strict=True):
                self._still_wanted(wanted)
                if not whole:
                    await self._start(wanted, companion, hosts, host.rpartition(":")[2])
                await self._ready(wanted, companion, ends, log)
            self._containers[wanted.name] = tuple(map(wanted.container, wanted.spec.companions))
        return Joined(wanted.name, hosts)

    async def _ready(
        self, wanted: Set, companion: Companion, ends: float, log: Callable[[str], None]
    ) -> None:
        name = wanted.container(companion)

        def go_on() -> None:
            self._still_wanted(wanted)

        try:
            await probe.until_ready(self._engine, name, companion, ends, go_on)
        except RuntimeFailure as error:
            for line in await probe.last_words(self._engine, name):
                log(f"companion {companion.name}: {line}")
            raise RuntimeFailure(
                f"companion {companion.name} of server {wanted.spec.name} {error}"
            ) from error

    def _still_wanted(self, wanted: Set) -> None:
        if not self._users.get(wanted.name):
            raise RuntimeFailure(f"nobody waits for the companions of server {wanted.spec.name} any more")
        if wanted.name in self._replaced:
            raise RuntimeFailure(_REPLACED)

    async def _start(self, wanted: Set, companion: Companion, hosts: tuple[str, ...], address: str) -> None:
        image = await self._pulls.have(companion.image)
        if image is None:
            raise RuntimeFailure(f"server {wanted.spec.name}: image {companion.image} is not on the engine")
        user = self._runs_as(wanted.spec, companion, image)
        mounts: list[Mapping[str, object]] = []
        memory: dict[str, int] = {}
        for volume in companion.volumes:
            if volumes.scratch(volume, wanted.key):
                memory[volume.target] = volume.size or companion.limits.tmp
                continue
            key = volumes.key_of(volume, wanted.key)
            kept = await self._volumes.ensure(wanted.spec.name, volume, key, user)
            mounts.append(volumes.mount(kept.name, volume.target))
        made = harden.Made(
            image=image.id,
            user=user,
            argv=companion.args,
            entrypoint=companion.entrypoint,
            volumes=image.volumes,
            network=wanted.name,
            data=tuple(mounts),
            scratch=memory,
            hosts=hosts,
        )
        await self._engine.create(wanted.container(companion), body_of(wanted, companion, made, address))
        await self._engine.start(wanted.container(companion))
        if companion.limits.bandwidth is not None:
            await bandwidth.hold(self._engine, wanted.container(companion), companion.limits.bandwidth)

    def _runs_as(self, spec: ServerSpec, companion: Companion, image: Resolved) -> str:
        """Say as whom: as told, else as the image says where that is no root, else as nobody."""
        for said in (companion.user, image.user, self._user):
            if said:
                try:
                    return harden.user(replace(spec, user=said), self._user)
                except RuntimeFailure:
                    if said == companion.user:
                        raise
        return harden.NOBODY

    # --- what a set is on

    async def _network(self, wanted: Set) -> str:
        """Make the set's network where there is none, and give its addresses (`198.18.5.0/25`)."""
        found = [
            one
            for one in await self._engine.networks(f"{SET}={wanted.name}")
            if one.get("Name") == wanted.name
        ]
        if found:
            return str(found[0]["IPAM"]["Config"][0]["Subnet"])
        first = int(hashlib.sha256(wanted.name.encode()).hexdigest(), 16)
        for attempt in range(_TRIES):
            subnet = subnet_of(first + attempt)
            try:
                await self._engine.create_network(network(wanted, subnet))
            except EngineRefused as error:
                if "overlaps" not in str(error):
                    raise
            else:
                return subnet
        raise RuntimeFailure(f"no network is free for the companions of server {wanted.spec.name}")

    async def _take_over(self, wanted: Set) -> None:
        """End the set of another version that has the volumes which this one needs: no two may open them."""
        needed = {
            volumes.volume_name(
                wanted.instance, wanted.spec.name, volume.name, volumes.key_of(volume, wanted.key)
            )
            for one in wanted.spec.companions
            for volume in one.volumes
        }
        for one in await self._listed(wanted.instance) if needed else ():
            other = label_of(one, SET)
            held = {str(mounted.get("Name")) for mounted in cast("list[Json]", one.get("Mounts") or [])}
            if other == wanted.name or COMPANION not in labels_of(one) or not needed & held:
                continue
            self._replaced[other] = wanted.name
            for workload in self.users(other):
                self.lose(workload, _REPLACED)
            for name in await self._there(other):
                await self._remove(name)

    # --- what is there

    async def _listed(self, instance: str) -> list[Json]:
        found = await self._engine.containers(SET)
        return [one for one in found if labels_of(one).get(INSTANCE) == instance]

    async def _there(self, name: str) -> dict[str, Json]:
        """Give the companions of a set that are there, by their names."""
        found = await self._engine.containers(f"{SET}={name}")
        return {
            str(cast("list[str]", one["Names"])[0]).lstrip("/"): one
            for one in reversed(found)
            if COMPANION in labels_of(one)
        }

    async def _used(self, name: str, but: str) -> bool:
        """Tell whether a workload that this process knows nothing of uses a set."""
        found = await self._engine.containers(f"{SET}={name}")
        return any(
            COMPANION not in labels_of(one) and label_of(one, "dev.tidegate.workload") != but for one in found
        )

    async def _end(self, name: str) -> None:
        """Remove a set: the last that was started first."""
        for companion in reversed(await self._there(name)):
            await self._remove(companion)
        try:
            await self._engine.remove_network(name)
        except EngineRefused as error:
            if error.status != 403:  # somebody is still on it, and removes it
                raise RuntimeFailure(f"network {name} may still be there: {error}") from error
        self._users.pop(name, None)
        self._containers.pop(name, None)
        self.broken.pop(name, None)
        self._replaced = {old: new for old, new in self._replaced.items() if new != name}

    async def _remove(self, name: str) -> None:
        self.ending.add(name)
        try:
            with suppress(EngineRefused):  # it was never started, or is gone: the removal tells
                await self._engine.stop(name, _GRACE)
            await self._engine.remove(name)
        except EngineRefused as error:
            if error.status != 404:
                raise RuntimeFailure(f"companion {name} may still be there: {error}") from error
        finally:
            self.ending.discard(name)

    def _lock(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())


def _nobody(workload: str, reason: str) -> None:
    """Stand in until somebody wants to be told."""
