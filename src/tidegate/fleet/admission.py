"""Admission: how a call that finds no place at once comes to one, or is refused. Every wait is bounded."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tidegate.channels.channel import Asked, Channel, Party
from tidegate.domain.errors import ServerUnavailable
from tidegate.domain.server import Sharing
from tidegate.fleet.balance import base, number
from tidegate.fleet.group import Group
from tidegate.fleet.lease import Lease
from tidegate.fleet.losses import Asker
from tidegate.fleet.turns import Turns
from tidegate.fleet.vitals import EJECTED
from tidegate.fleet.workload import HOPELESS, Workload
from tidegate.protocol.capabilities import Offer

if TYPE_CHECKING:
    from tidegate.fleet.pool import Pool


class Admission:
    """One call's way to a place on a workload."""

    def __init__(
        self,
        pool: Pool,
        sharing: str,
        asker: Asker | None,
        timeout: float,
        holder: str,
        offer: Offer,
        principal: str,
    ) -> None:
        self._pool = pool
        self._principal = principal
        self._key = sharing
        self._asker = asker
        self._holder = holder
        self._offer = offer
        self._began = pool.clock()
        self._ends = self._began + timeout
        self._made: Workload | None = None
        """What was claimed or made for this call."""

    async def lease(self, asked: Asked | None) -> Lease:
        """Come to a place. Raises as `Pool.lease` does."""
        pool = self._pool
        party = None if asked is None else Party(self._holder, asked)
        self._entry = pool.queue.enter(self._principal, pool.spec.queue, pool.pace)
        served = False
        try:
            lease = await self._come(party)
            served = True
            return lease
        except BaseException as error:
            if self._made is not None and pool.spec.sharing is Sharing.CALL:
                pool.discard(self._made)  # it was for this call alone, which does not come any more
            if isinstance(error, asyncio.CancelledError) and self._entry.is_alone():
                why = "more of your calls wait for it than of anybody's, and all places are taken"
                raise pool.queue.refusal(why, *pool.pace()) from None
            raise
        finally:
            pool.queue.leave(self._entry, served=served)

    async def _come(self, party: Party | None) -> Lease:
        pool = self._pool
        while True:
            if pool.blame.refused:
                pool.blame.check(self._principal)
            workload = await self._workload()
            if workload is None:
                continue
            if workload.channel is None:
                await self._wait_ready(workload, party)
                continue
            turns = await self._take_turn(workload)
            channel = self._channel(workload)  # another one, or none, where a turn was waited for
            if channel is None or (turns is not workload.turns and self._holder):
                if turns is not None:
                    turns.leave()
                continue
            try:
                pool.tell_loss(self._key, self._asker)
            except BaseException:
                if turns is not None:
                    turns.leave()
                raise
            lease = Lease(workload, channel, pool, self._holder != "", turns, party).take()
            if workload.health == EJECTED:
                workload.vitals.begin_trial(lease)
            return lease

    async def _workload(self) -> Workload | None:
        """Give the workload to go to, ready or not; None where it is to be looked for again."""
        pool = self._pool
        group = pool.groups.get(self._key)
        if group is None:
            found = pool.workloads.get(self._key)
            if found is None and "~" in self._key:  # that one is gone, or is the first
                first = base(self._key)
                if number(self._key) == 1 and first in pool.workloads:
                    return pool.workloads[first]
                self._key = first
                return None
            return found or self._make()
        if pool.queue.has(self._key) and self._entry.ticket is None:
            return await self._queue(group)  # others were here before
        picked = group.pick()
        if picked is not None:
            return picked
        return await self._none_free(group)

    async def _none_free(self, group: Group) -> Workload | None:
        pool = self._pool
        coming = group.waits_for()
        there = [w for w in group.members if w.channel is not None and not w.held and not w.draining]
        if there:
            ejected = group.ejected_for(pool.clock())
            if ejected is None:
                return await self._queue(group)
            if coming is None:
                seconds, reason = ejected
                raise ServerUnavailable(
                    f"server {pool.spec.name} is not available: {reason}; nothing was called; "
                    f"try again in {seconds:.0f} s",
                    data={"retryAfter": int(seconds)},
                )
        if coming is not None:
            return coming
        failed = next((w for w in group.members if w.state in HOPELESS and not w.draining), None)
        return failed or self._make()

    async def _queue(self, group: Group) -> Workload | None:
        """Wait until a workload that is only busy may take one more."""
        pool, bounds = self._pool, self._pool.spec.queue
        ends = min(self._ends, self._began + bounds.wait)
        if not await pool.queue.wait(group.key, pool.queue.ticket(self._entry), ends):
            waited = pool.clock() - self._began
            raise pool.queue.refusal(f"no place was free for {waited:.0f} s", *pool.pace(group))
        return None

    def _make(self) -> Workload:
        label = self._offer.label
        self._made = self._pool.replicas.claim(self._key, label) or self._pool.begin_key(self._key, label)
        return self._made

    @staticmethod
    def _channel(workload: Workload) -> Channel | None:
        return workload.channel

    async def _take_turn(self, workload: Workload) -> Turns | None:
        turns = workload.turns if self._holder else None
        if turns is not None and not turns.enter(self._holder):
            await turns.wait(self._holder, self._pool.spec.name, self._ends - self._pool.clock())
        return turns

    async def _wait_ready(self, workload: Workload, party: Party | None) -> None:
        if party is not None:
            workload.callers.append(party)
        try:
            await workload.wait_ready(max(0.0, self._ends - self._pool.clock()))
        except ServerUnavailable:
            group = self._pool.groups.get(self._key)
            others = [] if group is None else [w for w in group.members if w is not workload]
            if self._pool.clock() >= self._ends or all(w.state in HOPELESS or w.draining for w in others):
                raise
        finally:
            if party is not None:
                workload.callers.remove(party)
