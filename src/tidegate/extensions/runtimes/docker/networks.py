"""Networks: a bridge of its own for each server that has a network at all.

A stdio server without an open network has none. Workloads of one server share their bridge (the engine's
address pools end at about thirty), but may not reach each other over it.
"""

from __future__ import annotations

import asyncio
from typing import cast

from tidegate.domain.errors import RuntimeFailure
from tidegate.domain.server import Network, ServerSpec, Transport
from tidegate.domain.workload import WorkloadIdentity
from tidegate.extensions.runtimes.docker.engine import Engine, EngineRefused

_INSTANCE, _SERVER = "dev.tidegate.instance", "dev.tidegate.server"


class Networks:
    """The networks of one gateway's workloads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._changing = asyncio.Lock()
        self._users: dict[str, set[str]] = {}
        """Workloads that have, or are about to have, a place on a network."""

    async def ensure(self, spec: ServerSpec, identity: WorkloadIdentity) -> str | None:
        """Make the network that a workload needs and give its name, or None where it needs none."""
        if spec.transport is Transport.STDIO and spec.network is Network.NONE:
            return None
        name = f"tidegate-{identity.instance[:8]}-{spec.name}-{spec.network.value}"
        async with self._changing:
            labelled = await self._engine.networks(f"{_INSTANCE}={identity.instance}")
            if not any(one.get("Name") == name for one in labelled):
                await self._engine.create_network(network(name, spec, identity))
            self._users.setdefault(name, set()).add(identity.id)
        return name

    async def release(self, identity: WorkloadIdentity) -> None:
        """Give a workload's place back, and remove what nobody uses any more. Idempotent."""
        async with self._changing:
            for users in self._users.values():
                users.discard(identity.id)
            labelled = await self._engine.networks(f"{_INSTANCE}={identity.instance}")
            for one in labelled:
                name = str(one.get("Name"))
                mine = cast("dict[str, str]", one.get("Labels") or {}).get(_SERVER) == identity.key.server
                if mine and not self._users.get(name):
                    await self._remove(name)

    async def _remove(self, name: str) -> None:
        self._users.pop(name, None)
        try:
            await self._engine.remove_network(name)
        except EngineRefused as error:
            # 403: a workload that this process did not start is still on it; the last one removes it.
            if error.status != 403:
                raise RuntimeFailure(f"network {name} may still be there: {error}") from error


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
