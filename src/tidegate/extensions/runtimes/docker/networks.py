"""Networks: what network a workload is on, and how it is reached.

A stdio server without a network has none. One with an open network has a bridge of its own, which its workloads
share (the engine's address pools end at about thirty), but on which they do not reach each other. One that may
reach what a list names, and an HTTP server without a network, stands behind sidecars (`egress`): over an internal
bridge it would still reach this machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from tidegate.domain.errors import EngineUnavailable, RuntimeFailure
from tidegate.domain.server import Network, ServerSpec, Transport
from tidegate.domain.workload import Observed, WorkloadIdentity
from tidegate.extensions.runtimes.docker import facts, harden
from tidegate.extensions.runtimes.docker.egress import parts
from tidegate.extensions.runtimes.docker.egress.outlets import Outlets
from tidegate.extensions.runtimes.docker.engine import Engine, EngineRefused
from tidegate.extensions.runtimes.docker.images import Say
from tidegate.ports.runtime import Connection

Json = Mapping[str, Any]

_INSTANCE, _SERVER = "dev.tidegate.instance", "dev.tidegate.server"
_TAKE_BACK = 30.0


class Networks:
    """The networks of one gateway's workloads."""

    def __init__(self, engine: Engine, outlets: Outlets, *, bridged: bool) -> None:
        """`bridged`: an HTTP server without a network is reached over an internal bridge, not by a sidecar."""
        self._engine = engine
        self._outlets = outlets
        self._bridged = bridged
        self._changing = asyncio.Lock()
        self._users: dict[str, set[str]] = {}
        """Workloads that have, or are about to have, a place on a network."""
        self._behind: set[str] = set()
        """Workloads behind sidecars."""
        self._tasks: set[asyncio.Task[Any]] = set()

    def tell(self, lose: Callable[[str, str], None]) -> None:
        """Say who is told of a workload whose way out is gone."""
        self._outlets.lose = lose

    def tell_connections(self, take: Callable[[WorkloadIdentity, Connection], bool]) -> None:
        """Say who is told of connections."""
        self._outlets.take = take

    async def prepare(self, spec: ServerSpec, say: Say) -> None:
        """Make the image of the sidecars where a server needs them.

        Raises:
            RuntimeFailure: it cannot be had.
        """
        if parts.wanted(spec, self._bridged):
            try:
                await self._outlets.prepare(spec, say)
            except EngineUnavailable:
                raise
            except RuntimeFailure as error:
                if spec.network is Network.ALLOWED:
                    raise
                hint = "runtimes.docker.private_http: bridge does without a sidecar"
                raise RuntimeFailure(f"{error}; {hint}") from error

    async def ensure(self, spec: ServerSpec, identity: WorkloadIdentity, made: harden.Made) -> str | None:
        """Make what a workload needs and give its network mode, or None where it has none but its companions'.

        Raises:
            RuntimeFailure: it cannot be made; nothing is left behind.
        """
        if parts.wanted(spec, self._bridged):
            return await self._behind_sidecars(spec, identity, made)
        if spec.transport is Transport.STDIO and spec.network is Network.NONE:
            return None
        name = f"tidegate-{identity.instance[:8]}-{spec.name}-{spec.network.value}"
        await self._join(network(name, spec, identity), identity)
        return name

    async def again(self, spec: ServerSpec, identity: WorkloadIdentity) -> None:
        """Take up again what a workload has that runs already.

        Raises:
            RuntimeFailure: its sidecars do not work.
        """
        if parts.wanted(spec, self._bridged):
            self._behind.add(identity.id)
            await self._outlets.again(spec, identity)

    async def address(self, identity: WorkloadIdentity, container: Json) -> str | None:
        """Give the base URL of an HTTP workload that runs.

        Raises:
            RuntimeFailure: its sidecars do not work.
        """
        if identity.id not in self._behind:
            return facts.address_of(container)
        if not self._outlets.works(identity.id):
            raise RuntimeFailure(f"workload {identity.id}: its network's sidecar has ended")
        port = container.get("Config", {}).get("Labels", {}).get(facts.PORT_LABEL)
        return await self._outlets.address(identity.id, int(port)) if port else None

    def reaching(self, identity: WorkloadIdentity) -> tuple[str, ...]:
        """Give the containers by whose interfaces a workload reaches others: its own lead to companions at least."""
        return (identity.id, *self.outlets([identity.id]).values())

    def outlets(self, workloads: Iterable[str]) -> dict[str, str]:
        """Give the outlets of those workloads that have one."""
        return {each: parts.outlet_name(each) for each in workloads if each in self._behind}

    async def release(self, identity: WorkloadIdentity) -> None:
        """Give a workload's place back, and remove what nobody uses any more. Idempotent.

        Raises:
            RuntimeFailure: something may still be there.
        """
        if identity.id in self._behind:
            await self._outlets.stop(identity.id)
            self._behind.discard(identity.id)
        async with self._changing:
            for users in self._users.values():
                users.discard(identity.id)
            for one in await self._engine.networks(f"{_INSTANCE}={identity.instance}"):
                name, labels = str(one.get("Name")), cast("dict[str, str]", one.get("Labels") or {})
                mine = labels.get(_SERVER) == identity.key.server or facts.PART_LABEL in labels
                if mine and name.startswith("tidegate-") and not self._users.get(name):
                    await self._remove(name)

    async def sweep(self, instance: str) -> None:
        """Remove networks that a gateway before this one left with nobody on them."""
        async with self._changing:
            for one in await self._engine.networks(f"{_INSTANCE}={instance}"):
                name = str(one.get("Name"))
                if name.startswith("tidegate-") and not self._users.get(name):
                    await self._remove(name)

    def observed(self, listed: Sequence[Json], workloads: Sequence[Observed]) -> list[Observed]:
        """Add what is known of sidecars: whether they run, where they are reached, and which are left alone."""
        found: dict[str, dict[str, Json]] = {}
        for one in listed:
            labels = cast("dict[str, str]", one.get("Labels") or {})
            if facts.PART_LABEL in labels:
                found.setdefault(labels.get(parts.WORKLOAD, ""), {})[labels[facts.PART_LABEL]] = one
        self._behind.update(found)
        seen = [_with_sidecars(one, found.pop(one.identity.id, None)) for one in workloads]
        alone = (WorkloadIdentity.from_labels(next(iter(left.values()))["Labels"]) for left in found.values())
        return [*seen, *(Observed(identity, running=False) for identity in alone if identity is not None)]

    async def close(self) -> None:
        """Hear the sidecars no more, and let what is being taken back end."""
        await self._outlets.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_TAKE_BACK)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _behind_sidecars(self, spec: ServerSpec, identity: WorkloadIdentity, made: harden.Made) -> str:
        self._behind.add(identity.id)
        # What is broken off may be carried out all the same, so it is seen to its end and taken back then.
        starting = self._own(self._start(spec, identity, made))
        try:
            return await asyncio.shield(starting)
        except BaseException:
            await asyncio.wait([self._own(self._undo(starting, identity))], timeout=_TAKE_BACK)
            raise

    async def _start(self, spec: ServerSpec, identity: WorkloadIdentity, made: harden.Made) -> str:
        out = parts.outlets_network(identity.instance)
        await self._join(out, identity)
        peers: dict[str, str] = {}
        for peer in spec.peers:
            wanted = parts.peers_network(identity.instance, spec.name, peer.partition(":")[0])
            peers[str(wanted["Name"])] = await self._join(wanted, identity)
        joins = parts.Joins(str(out["Name"]), peers, made.companions, made.hosts)
        return await self._outlets.start(spec, identity, joins)

    async def _undo(self, starting: asyncio.Task[str], identity: WorkloadIdentity) -> None:
        await asyncio.wait([starting])
        await self.release(identity)

    async def _join(self, wanted: dict[str, object], identity: WorkloadIdentity) -> str:
        """Have a network, with a place on it for a workload; give its subnet."""
        name = str(wanted["Name"])
        async with self._changing:
            for _ in range(2):
                for one in await self._engine.networks(f"{_INSTANCE}={identity.instance}"):
                    if one.get("Name") == name:
                        self._users.setdefault(name, set()).add(identity.id)
                        return _subnet(one)
                await self._engine.create_network(wanted)
        raise RuntimeFailure(f"network {name} was made and is not there")

    async def _remove(self, name: str) -> None:
        self._users.pop(name, None)
        try:
            await self._engine.remove_network(name)
        except EngineRefused as error:
            # 403: a workload that this process did not start is still on it; the last one removes it.
            if error.status != 403:
                raise RuntimeFailure(f"network {name} may still be there: {error}") from error

    def _own(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waited for it was told; what is left is found by `observe`


def network(name: str, spec: ServerSpec, identity: WorkloadIdentity) -> dict[str, object]:
    """Give the body of "create a network"."""
    return {
        "Name": name,
        "CheckDuplicate": True,
        "Driver": "bridge",
        # An internal bridge has no route out; this machine still reaches what is on it.
        "Internal": spec.network is Network.NONE,
        "Attachable": False,
        "EnableIPv6": False,
        "Options": {"com.docker.network.bridge.enable_icc": "false"},
        "Labels": {_INSTANCE: identity.instance, _SERVER: identity.key.server},
    }


def _with_sidecars(workload: Observed, sidecars: Mapping[str, Json] | None) -> Observed:
    if sidecars is None:
        return workload
    states = [sidecars.get(part, {}).get("State") for part in (parts.CELL, parts.OUTLET)]
    published = cast("list[Json]", sidecars.get(parts.OUTLET, {}).get("Ports") or [])
    port = next((one["PublicPort"] for one in published if one.get("PublicPort")), None)
    running = workload.running and states == ["running", "running"]
    return replace(
        workload, running=running, address=f"http://127.0.0.1:{port}" if port and running else None
    )


def _subnet(listed: Json) -> str:
    configured = cast("list[Json]", cast("Json", listed.get("IPAM") or {}).get("Config") or [])
    return str(configured[0].get("Subnet")) if configured else "0.0.0.0/32"
