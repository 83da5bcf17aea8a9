"""Renewal: workloads of a pool that go, with those that follow them, and without a call that fails for it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING

from tidegate.domain.errors import Overloaded, ServerUnavailable
from tidegate.domain.server import Sharing
from tidegate.domain.workload import UNCLAIMED, WorkloadState
from tidegate.fleet.balance import base
from tidegate.fleet.track import Track
from tidegate.fleet.workload import HOPELESS, Workload
from tidegate.telemetry import log

if TYPE_CHECKING:
    from tidegate.fleet.pool import Pool

_QUIET = 5.0
"""Seconds without a call after which a key counts as idle: those that belong together come faster."""
_LATELY = 60.0
"""Seconds within which a key was called whose next call is not to wait for a start."""
_LOOK = 0.25
"""Seconds between looks at whether a key is idle."""


class Renewal:
    """Drains and replaces the workloads of one pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._one = asyncio.Lock()
        """One is replaced at a time."""
        self._tasks: set[asyncio.Task[None]] = set()

    def leave(self, workload: Workload, reason: str, seconds: float | None = None) -> None:
        """Give it no more calls, and end it with the last of those under way, after `seconds` at the latest."""
        pool = self._pool
        if workload.draining:
            return
        if workload.channel is None:
            workload.reason = reason
            pool.discard(workload)
            return
        pool.replicas.step_aside(workload)
        workload.drain(reason)
        pool.replicas.regroup(workload.sharing)
        limit = pool.spec.rollout.drain if seconds is None else seconds
        self._spawn(self._see_off(workload, limit), f"drain {workload.identity.id}")

    async def drain(self, track: Track, seconds: float) -> None:
        """Take the workloads of a version out, as `Pool.drain` says."""
        pool = self._pool
        ends = pool.clock() + seconds
        async with asyncio.TaskGroup() as drains:
            for workload in [w for w in pool.workloads.values() if w.track is track]:
                drains.create_task(self._drain(workload, ends))
        left = [w for w in pool.workloads.values() if w.track is track and w.draining]
        await self._wait_gone(left)
        pool.ensure_warm()

    async def restart(self, reason: str) -> None:
        """Replace each workload, one at a time."""
        pool = self._pool
        for workload in list(pool.workloads.values()):
            if workload.draining or workload.held or workload.sharing not in pool.workloads:
                continue
            if base(workload.sharing) == UNCLAIMED or workload.channel is None:
                self._again(workload, reason)
            else:
                await self._succeed(workload, reason, pool.spec.rollout.drain)

    async def close(self) -> None:
        """Stop, leaving what is there to whoever closes."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    # -- inside -------------------------------------------------------------------------------

    def _again(self, workload: Workload, reason: str) -> None:
        """Have one that nobody has a call on begin anew."""
        if workload.state in (WorkloadState.FAILED, WorkloadState.QUARANTINED):
            workload.release()
        sharing, offer = workload.sharing, workload.offer
        workload.reason = reason
        self._pool.discard(workload)
        if sharing not in self._pool.workloads:
            with suppress(Overloaded):  # whoever calls next is told
                self._pool.replicas.create(sharing, offer)

    async def _drain(self, workload: Workload, ends: float) -> None:
        pool, reason = self._pool, "another version follows it"
        if base(workload.sharing) == UNCLAIMED:
            pool.discard(workload)
        elif pool.spec.sharing is Sharing.CALL:
            return  # it ends with its call
        elif pool.spec.sharing is Sharing.SHARED:
            if self._has_other(workload):
                self.leave(workload, reason, ends - pool.clock())
            else:
                await self._succeed(workload, reason, ends - pool.clock())
        else:
            await self._drain_keyed(workload, reason, ends)

    async def _drain_keyed(self, workload: Workload, reason: str, ends: float) -> None:
        """Let one that belongs to somebody go when that somebody does not use it."""
        pool = self._pool
        if workload.spec.remembers:
            while pool.clock() < ends and not self._is_quiet(workload):  # noqa: ASYNC110 - time makes it so, nobody tells
                await asyncio.sleep(_LOOK)
        if pool.workloads.get(workload.sharing) is not workload:
            return
        if workload.channel is not None and pool.clock() - workload.last_used < _LATELY:
            await self._succeed(workload, reason, max(ends - pool.clock(), _QUIET))
        else:
            pool.retire(workload, reason)

    async def _succeed(self, workload: Workload, reason: str, seconds: float) -> None:
        """Have another one ready, then let this one go."""
        pool, sharing = self._pool, workload.sharing
        key = base(sharing)
        try:
            async with self._one:
                if pool.workloads.get(workload.sharing) is not workload or workload.draining:
                    return
                new = pool.replicas.create(pool.replicas.next_key(key), workload.offer, held=True)
                try:
                    await new.wait_ready(pool.spec.timeouts.start)
                except BaseException:
                    pool.discard(new)
                    raise
                self._follow(workload, new, reason, seconds)
        except (Overloaded, ServerUnavailable) as error:
            log().warning("workload.not_followed", workload=workload.identity.id, reason=str(error))
            if isinstance(error, Overloaded) and pool.workloads.get(workload.sharing) is workload:
                pool.retire(workload, reason)  # there is no room for two

    def _follow(self, workload: Workload, new: Workload, reason: str, seconds: float) -> None:
        pool = self._pool
        is_first = workload.sharing == base(workload.sharing)
        if pool.spec.remembers and workload.calls:
            pool.losses.note(base(workload.sharing))
            new.calls += 1  # it is somebody's, as the one before was
        new.held = False
        self.leave(workload, reason, seconds)
        if is_first and base(workload.sharing) not in pool.workloads:
            pool.replicas.move(new, base(workload.sharing))
        pool.replicas.regroup(new.sharing)
        pool.watcher.pool_changed(pool, new)

    def _has_other(self, workload: Workload) -> bool:
        return any(
            w.track is not workload.track and w.channel is not None and not w.draining
            for w in self._pool.replicas.of(workload.sharing)
        )

    def _is_quiet(self, workload: Workload) -> bool:
        idle = not workload.in_flight and not workload.waiting
        return workload.state in HOPELESS or (
            idle and (not workload.calls or self._pool.clock() - workload.last_used >= _QUIET)
        )

    async def _see_off(self, workload: Workload, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await workload.drained.wait()
        self._pool.discard(workload)

    async def _wait_gone(self, workloads: list[Workload]) -> None:
        for workload in workloads:
            await workload.gone.wait()

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
