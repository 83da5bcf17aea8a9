"""Kept: what the next gateway process needs to know of workloads and servers, in the state store.

Written in order and off the callbacks that say so. Decides nothing of what becomes of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from tidegate.domain.errors import StateError
from tidegate.domain.workload import NO_OFFER, UNCLAIMED, Upstream
from tidegate.fleet.pool import Pool
from tidegate.fleet.workload import Workload
from tidegate.ports.state import State
from tidegate.telemetry import log

_REMEMBERED, _LEARNED, _SEEN = "workload/", "pool/", "usage/"
_SEEN_FOR = 14 * 24 * 3600.0
"""Seconds for which it is kept what a server used that nobody looks at any more: by then it weighs nothing."""


class Kept(msgspec.Struct, frozen=True):
    """What is kept of a workload."""

    server: str
    sharing: str
    used: bool
    upstream: Upstream
    spec: str = ""
    """Digest of the ServerSpec. A session of a remote server goes on only with the very one it was opened by."""
    offer: str = NO_OFFER
    """Label of what its handshake offered."""


class Learned(msgspec.Struct, frozen=True):
    """What is kept of a server."""

    spec: str
    """Digest of the ServerSpec it was learned of."""
    era: str | None = None
    exclusive: bool = False


class KeptSketch(msgspec.Struct, frozen=True):
    """A sketch at one moment."""

    count: int
    weights: list[tuple[int, float]]
    """Of each bucket, at that moment."""


class KeptSeen(msgspec.Struct, frozen=True):
    """What is kept of what the workloads of a server used: some kilobytes at most."""

    time: float
    """Unix seconds of that moment."""
    memory: KeptSketch
    cpus: KeptSketch
    killed: list[tuple[str, int, float]]
    """Workload, its limit of memory in bytes, and Unix seconds."""


class Memory:
    """Keeps it, and gives what the gateway before kept."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._to_keep: asyncio.Queue[tuple[str, bytes | None, float | None]] = asyncio.Queue()
        """Key, value, and for how many seconds where not for good."""

    def learned(self, pool: Pool) -> None:
        """Keep what was learned of a server."""
        learned = Learned(pool.spec.digest(), pool.era, pool.exclusive)
        self._to_keep.put_nowait((_LEARNED + pool.spec.name, msgspec.json.encode(learned), None))

    def remember(self, workload: Workload) -> None:
        """Keep what a workload is, once it is somebody's.

        One that is kept as nobody's could be claimed and called, and the gateway end before that is
        written; the next gateway would give what it was told to somebody else.
        """
        if workload.channel is None or workload.sharing == UNCLAIMED:
            return
        spec = workload.spec
        upstream = workload.channel.upstream
        kept = Kept(spec.name, workload.sharing, True, upstream, spec.digest(), workload.offer)
        self._to_keep.put_nowait((_REMEMBERED + workload.identity.id, msgspec.json.encode(kept), None))

    def forget(self, workload_id: str) -> None:
        """Keep nothing of a workload any more."""
        self._to_keep.put_nowait((_REMEMBERED + workload_id, None, None))

    def forget_server(self, server: str) -> None:
        """Keep nothing of a server any more."""
        self._to_keep.put_nowait((_LEARNED + server, None, None))
        self._to_keep.put_nowait((_SEEN + server, None, None))

    def saw(self, server: str, seen: KeptSeen) -> None:
        """Keep what the workloads of a server used, for a time."""
        self._to_keep.put_nowait((_SEEN + server, msgspec.json.encode(seen), _SEEN_FOR))

    async def recall_seen(self) -> dict[str, KeptSeen]:
        """Give what is kept of what servers used, by their names."""
        found: dict[str, KeptSeen] = {}
        for key, value in await self._scan(_SEEN):
            with suppress(msgspec.DecodeError, msgspec.ValidationError):
                found[key.removeprefix(_SEEN)] = msgspec.json.decode(value, type=KeptSeen)
        return found

    async def recall(self) -> dict[str, Kept]:
        """Give what is kept of workloads, by their ids."""
        found: dict[str, Kept] = {}
        for key, value in await self._scan(_REMEMBERED):
            with suppress(msgspec.DecodeError, msgspec.ValidationError):
                found[key.removeprefix(_REMEMBERED)] = msgspec.json.decode(value, type=Kept)
        return found

    async def recall_learned(self, pools: Sequence[Pool]) -> None:
        """Have pools know what was learned of their servers."""
        rows = dict(await self._scan(_LEARNED)) if pools else {}
        for pool in pools:
            value = rows.get(_LEARNED + pool.spec.name)
            with suppress(msgspec.DecodeError, msgspec.ValidationError):
                learned = None if value is None else msgspec.json.decode(value, type=Learned)
                if learned is not None and learned.spec == pool.spec.digest():
                    pool.era = pool.era or learned.era
                    if learned.exclusive:
                        pool.make_exclusive()

    async def run(self) -> None:
        """Write what is to be kept. Never ends by itself."""
        while True:
            key, value, expires = await self._to_keep.get()
            try:
                await self._state.put(key, value, expires=expires)
            except StateError as error:
                log().error("state.failed", reason=str(error))
            finally:
                self._to_keep.task_done()

    async def written(self) -> None:
        """Wait until all of it is written."""
        await self._to_keep.join()

    async def _scan(self, prefix: str) -> Sequence[tuple[str, bytes]]:
        try:
            return await self._state.scan(prefix)
        except StateError as error:
            log().error("state.failed", reason=str(error))
            return ()
