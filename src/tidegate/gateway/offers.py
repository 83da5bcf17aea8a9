"""Offers: what a legacy server lists otherwise to clients that offer it something.

Such a server decides at its handshake what there is: a tool that asks its user something need not be there
for a client that shows no forms. So that every client is shown what there is for it, a client's first list
has a workload started that is offered the same; nobody's calls go to it, and it is ended when it was read.
What it said is kept as the difference from what all others are shown.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Protocol

from tidegate.channels.channel import Channel
from tidegate.domain.errors import ChannelFailure, Refusal
from tidegate.domain.server import ServerSpec, Sharing
from tidegate.domain.target import LISTED, Kind
from tidegate.domain.workload import NO_OFFER, SHARED, UNCLAIMED
from tidegate.fleet.fleet import Fleet
from tidegate.fleet.workload import Workload
from tidegate.gateway.definitions import Definitions, Delta, Listed
from tidegate.gateway.listing import fetch, introduced
from tidegate.protocol.capabilities import parse
from tidegate.telemetry import log

MOST = 32
"""Labels that are learned of one server: each costs a start. There are seven things to offer, and clients of a
few sorts."""
AGAIN = 60.0
"""Least seconds between two readings for one label that nobody said has changed."""
_REST = 0.5
"""Least seconds between two readings."""


class Known(Protocol):
    """Who keeps what is known of the server."""

    @property
    def spec(self) -> ServerSpec:
        """The server."""
        ...

    @property
    def definitions(self) -> Definitions | None:
        """What it lists to all."""
        ...

    def show(self, definitions: Definitions) -> None:
        """Have other definitions shown."""
        ...

    def renew(self) -> None:
        """Have those look again who wait for what is being read."""
        ...

    async def save(self) -> None:
        """Keep what is known for the next gateway."""
        ...


class Offers:
    """What one server lists to clients of each label."""

    def __init__(self, known: Known, fleet: Fleet, *, one_principal: bool) -> None:
        self._known = known
        self._fleet = fleet
        self._one_principal = one_principal
        self._time = asyncio.get_running_loop().time
        self._wanted: dict[str, None] = {}
        self._wakened = asyncio.Event()
        self._tried: dict[str, float] = {}
        self._tellers: dict[str, Workload] = {}
        """By label: the workload that is to be read for it."""

    def lacks(self, label: str) -> bool:
        """Tell whether it is still to be learned what clients of a label are shown."""
        definitions = self._known.definitions
        if label == NO_OFFER or definitions is None or definitions.modern:
            return False  # a modern server is told with each request, and lists the same for all
        return label not in definitions.offers and len(definitions.offers) < MOST

    def asked(self, label: str) -> None:
        """Learn that a client of a label asked for a list."""
        if self.lacks(label) and self._time() - self._tried.get(label, -AGAIN) >= AGAIN:
            self._want(label)

    def is_learning(self, label: str) -> bool:
        """Tell whether it is being learned now."""
        return label in self._wanted and self.lacks(label)

    def told(self, workload: Workload) -> None:
        """Have a workload read that told of a change. It is one that answers for all who offer the same."""
        if self._is_due(workload.offer):
            self._tellers[workload.offer] = workload
            self._want(workload.offer)

    def came_up(self, workload: Workload) -> None:
        """Have a workload read that is ready, as `told`: it may have told of changes before, and be another now."""
        definitions = self._known.definitions
        known = definitions is not None and workload.offer in definitions.offers
        if known and workload.offer not in self._wanted:
            self.told(workload)

    async def keep(self) -> None:
        """Learn whenever that is wanted, until cancelled."""
        while True:
            await self._wakened.wait()
            self._wakened.clear()
            while self._wanted:
                label = next(iter(self._wanted))
                if not self._is_due(label):
                    del self._wanted[label]
                    self._tellers.pop(label, None)
                    continue
                self._tried[label] = self._time()
                try:
                    await self._learn(label)
                except (Refusal, ChannelFailure) as error:
                    log().warning(
                        "server.list_failed", server=self._known.spec.name, offer=label, reason=str(error)
                    )
                except Exception as error:  # noqa: BLE001 - a supervisor: one server's oddity must not stop it for good
                    log().error("supervisor.failed", server=self._known.spec.name, exc_info=error)
                self._wanted.pop(label, None)
                self._known.renew()  # those who wait for it need not wait any longer
                await asyncio.sleep(_REST)  # notices in the meantime become one

    def _is_due(self, label: str) -> bool:
        definitions = self._known.definitions
        return self.lacks(label) or (definitions is not None and label in definitions.offers)

    def _want(self, label: str) -> None:
        if len(self._tried) > 4 * MOST:
            self._tried.clear()
        self._wanted[label] = None
        self._wakened.set()

    def _common(self, label: str) -> Channel | None:
        found = self._fleet.to_ask(self._known.spec.name, private=self._one_principal, offer=label)
        return None if found is None else found.channel

    async def _learn(self, label: str) -> None:
        """Read what clients of a label are shown.

        Raises:
            Refusal: no workload can be had for it.
            ChannelFailure: what it was asked it did not answer as it should.
        """
        teller = self._tellers.pop(label, None)
        channel = None if teller is None else teller.channel
        channel = self._common(label) if channel is None else channel
        if channel is not None:
            await self._note(label, channel)
            return
        spec, offer = self._known.spec, parse(label)
        shared = spec.sharing is Sharing.SHARED
        sharing = (SHARED if shared else UNCLAIMED) + offer.suffix
        lease = await self._fleet.lease(spec.name, sharing, None, spec.timeouts.start, offer=offer)
        try:
            await self._note(label, lease.channel)
        finally:
            lease.release()
            if not shared:
                self._fleet.pools[spec.name].discard(lease.workload)

    async def _note(self, label: str, channel: Channel) -> None:
        found: dict[Kind, Listed] = {}
        failed: list[str] = []

        def took(kind: Kind, listed: Listed | str) -> None:
            if isinstance(listed, str):
                failed.append(listed)
            else:
                found[kind] = listed

        offered = introduced(channel, None)
        await fetch(channel, [kind for kind in LISTED if offered.declares(kind)], took)
        if failed:
            raise ChannelFailure(failed[0])
        common = self._known.definitions
        if common is None or common.modern:
            return
        deltas = {
            kind: _delta(common, kind, listed) for kind, listed in found.items() if kind in common.lists
        }
        self._known.show(replace(common, offers={**common.offers, label: deltas}))
        further = sum(len(delta.more) for delta in deltas.values())
        log().info("server.listed", server=self._known.spec.name, offer=label, further=further)
        await self._known.save()


def _delta(common: Definitions, kind: Kind, listed: Listed) -> Delta:
    return Delta.between(common.of(kind), listed.items)
