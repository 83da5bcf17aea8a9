"""Lister: keeps what is known of one server's definitions current, and says for how long it holds.

It reads when a workload becomes ready, when the server tells of a change, and, where a modern server tells
of none, when what it gave holds no longer and somebody has asked for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace

from tidegate.domain.server import ServerSpec, Sharing
from tidegate.domain.target import LISTED, Kind
from tidegate.domain.workload import NO_OFFER, SHARED, UNCLAIMED
from tidegate.fleet.fleet import Fleet
from tidegate.fleet.workload import Workload
from tidegate.gateway.definitions import LISTS, Definitions, DefinitionStore, Listed
from tidegate.gateway.listing import fetch, introduced
from tidegate.gateway.offers import Offers
from tidegate.telemetry import log

RELIST = 0.5
"""Seconds between two readings of one server: it may say as often as it likes that something changed."""
LIST_AGAIN = 30.0
"""Seconds after which what could not be read is asked for again."""
RENEW = 5.0
"""Least seconds between two readings of a list that nobody said has changed."""
_SHARE = 20.0
"""How many times as long as the last reading took there is rest before the next of that sort."""
_ASKED = 60.0
"""Seconds since somebody asked for a list, after which it is not renewed unasked."""
TOLD = 30_000
"""Milliseconds that a list of a legacy server holds which tells of changes. Not more, since clients that do
not listen learn of a change that late; where a server tells of none, nobody can say for how long a list holds."""
LONGEST = 300_000
"""Milliseconds that a list holds at most: what the gateway itself knows of a server changes too."""

CHANGES = {
    "notifications/tools/list_changed": (Kind.TOOL,),
    "notifications/prompts/list_changed": (Kind.PROMPT,),
    "notifications/resources/list_changed": (Kind.RESOURCE, Kind.TEMPLATE),
}
"""Notifications of a changed list, and what to read then."""


class Lister:
    """One server's definitions."""

    def __init__(
        self,
        spec: ServerSpec,
        fleet: Fleet,
        store: DefinitionStore,
        changed: Callable[[], None],
        *,
        one_principal: bool,
        random: Callable[[], float],
    ) -> None:
        """`random` gives numbers from 0 to 1, so that not everything is read at one time."""
        self.definitions: Definitions | None = None
        self.unread: dict[Kind, str] = {}
        """Why a kind could not be read, or not again."""
        self.spec = spec
        self._fleet = fleet
        self._store = store
        self._changed = changed
        self._one_principal = one_principal
        self._random = random
        self._time = asyncio.get_running_loop().time
        self._wanted: set[Kind] = set()
        self._wakened = asyncio.Event()
        self._read_at: dict[Kind, float] = {}
        self._due: dict[Kind, float] = {}
        """When what was read of a kind holds no longer, and may be read again where somebody asks."""
        self._retry: dict[Kind, float] = {}
        """When a kind that could not be read is tried again."""
        self._asked = float("-inf")
        self._read_next: asyncio.Future[None] | None = None
        self._tellers: dict[Kind, Workload] = {}
        """Which workload said that a kind is another one, and is to be read therefore."""
        self.claimed: Callable[[Workload, Collection[Kind]], None] = lambda _, __: None
        """Told of a workload that does not speak for all any more, now that it would be read."""
        self.offers = Offers(self, fleet, one_principal=one_principal)
        """What it lists otherwise to clients that offer it something."""

    async def load(self) -> None:
        """Take what was known before."""
        self.definitions = await self._store.load(self.spec)

    def turn(self, spec: ServerSpec) -> None:
        """Be the lister of another version of the server. What the one before listed is shown until this one is read."""
        other = spec.digest() != self.spec.digest()
        self.spec = spec
        if other:
            self.want()

    def want(self, kinds: Collection[Kind] = LISTED) -> None:
        """Have kinds read."""
        self._wanted.update(kinds)
        self._wakened.set()

    def speaks_for_all(self, workload: Workload) -> bool:
        """Tell whether what a workload lists is for everybody whose clients offer the same."""
        if workload.sharing.partition("+")[0] in (SHARED, UNCLAIMED):
            return True
        sharing = self.spec.sharing
        return sharing is Sharing.SHARED or (self._one_principal and sharing is Sharing.PRINCIPAL)

    def told(self, workload: Workload, kinds: Collection[Kind]) -> None:
        """Have a workload read that says that kinds are others. It is one that speaks for all."""
        if workload.offer != NO_OFFER:
            self.offers.told(workload)
            return
        self._tellers.update(dict.fromkeys(kinds, workload))
        self.want(kinds)

    async def reread(self, kind: Kind, workload: Workload | None = None) -> None:
        """Have a kind read, from one workload where it is named, and wait until it is, or could not be."""
        if workload is not None:
            self._tellers[kind] = workload
        if self._read_next is None:
            self._read_next = asyncio.get_running_loop().create_future()
        following = self._read_next
        self.want({kind})
        await asyncio.shield(following)

    def asked(self, label: str = NO_OFFER) -> None:
        """Learn that a client asked for a list of this server, and the label of what it offers servers."""
        self._asked = now = self._time()
        if self._due and min(self._due.values()) <= now:
            self._wakened.set()
        if label != NO_OFFER:
            self.offers.asked(label)

    def holds(self, kind: Kind, label: str = NO_OFFER) -> int:
        """Give for how many milliseconds what is known of a kind holds for clients of a label."""
        definitions = self.definitions
        listed = None if definitions is None else definitions.lists.get(kind)
        if definitions is None or listed is None or kind in self.unread or self.offers.lacks(label):
            return 0
        if not definitions.declares(kind):
            return LONGEST
        if definitions.has(LISTS[kind].capability, "listChanged"):
            return min(LONGEST, listed.ttl or 0) if definitions.modern else TOLD
        if listed.ttl is None or kind not in self._read_at:
            return 0
        left = self._read_at[kind] + listed.ttl / 1000 - self._time()
        return min(LONGEST, max(0, int(left * 1000)))

    async def keep(self) -> None:
        """Read whenever that is wanted, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience()):
                    await self._wakened.wait()
            kinds = self._take()
            following, self._read_next = self._read_next, None
            if kinds:
                try:
                    await self._read(kinds)
                except Exception as error:  # noqa: BLE001 - a supervisor: one server's oddity must not stop its list for good
                    log().error("supervisor.failed", server=self.spec.name, exc_info=error)
            if following is not None:
                following.set_result(None)
            await asyncio.sleep(RELIST)  # notices in the meantime become one

    def _patience(self) -> float | None:
        """Give the seconds until there is something to read unasked; None where there is nothing."""
        now = self._time()
        due = [*self._retry.values(), *(self._due.values() if now - self._asked <= _ASKED else ())]
        return max(0.0, min(due) - now) if due else None

    def _take(self) -> set[Kind]:
        now = self._time()
        kinds = self._wanted | {kind for kind, at in self._retry.items() if at <= now}
        if now - self._asked <= _ASKED:
            kinds |= {kind for kind, at in self._due.items() if at <= now}
        self._wanted = set()
        self._wakened.clear()
        return kinds

    async def _read(self, kinds: set[Kind]) -> None:
        """Read kinds where a workload of the server is ready; the next one that is has them read otherwise."""
        for kind in kinds:
            self._due.pop(kind, None)
            self._retry.pop(kind, None)
        for workload in {self._tellers[kind] for kind in kinds if kind in self._tellers}:
            own = {kind for kind in kinds if self._tellers.get(kind) is workload}
            for kind in own:
                del self._tellers[kind]
            if workload.channel is not None and self.speaks_for_all(workload):
                kinds = kinds - own
                await self._read_from(workload, own)
            elif workload.channel is not None:
                self.claimed(workload, own)
        asked, kinds = self._whom_to_ask(kinds)
        if asked is not None and kinds:
            await self._read_from(asked, kinds)

    async def _read_from(self, workload: Workload, kinds: set[Kind]) -> None:
        if workload.channel is None:
            return
        before, begun, sharing = self.definitions, self._time(), workload.sharing
        self.show(introduced(workload.channel, before))

        def took(kind: Kind, listed: Listed | str) -> None:
            if workload.sharing != sharing and self._is_known(kind) and not self.speaks_for_all(workload):
                self.claimed(workload, {kind})  # in the meantime: what it lists may be about its owner
            elif isinstance(listed, str):
                self._retry[kind] = self._time() + LIST_AGAIN
                log().warning("server.list_failed", server=self.spec.name, kind=kind.value, reason=listed)
                self._miss(kind, f"its {LISTS[kind].key} could not be read: {listed}")
            elif self.definitions is not None:
                self._note(kind, listed, begun)
                self._miss(kind, None)
                self.show(replace(self.definitions, lists={**self.definitions.lists, kind: listed}))

        offered = self.definitions
        declared = [kind for kind in LISTED if kind in kinds and offered and offered.declares(kind)]
        await fetch(workload.channel, declared, took)
        if self.definitions is not None:
            counts = {LISTS[kind].key: len(self.definitions.of(kind)) for kind in declared}
            log().info("server.listed", server=self.spec.name, **counts)
            if self.definitions != before:
                await self.save()

    def _whom_to_ask(self, kinds: set[Kind]) -> tuple[Workload | None, set[Kind]]:
        # Once they are known, no principal's own workload tells the others what a server offers.
        name = self.spec.name
        workload = self._fleet.to_ask(name, private=self._one_principal)
        if workload is not None:
            return workload, kinds
        if self.definitions is not None:
            kinds = kinds - self.definitions.lists.keys()
        return self._fleet.to_ask(name, private=True), kinds

    def _is_known(self, kind: Kind) -> bool:
        return self.definitions is not None and kind in self.definitions.lists

    def _note(self, kind: Kind, listed: Listed, begun: float) -> None:
        """Note when a kind was read, and when it is to be read again."""
        now = self._time()
        self._read_at[kind] = now
        definitions = self.definitions
        if definitions is None or not definitions.modern:
            return  # a legacy server either tells of changes or has none to tell of
        if not definitions.has(LISTS[kind].capability, "listChanged"):
            rest = max(RENEW, (listed.ttl or 0) / 1000, _SHARE * (now - begun))
            self._due[kind] = now + rest * (1 + self._random() / 10)

    def _miss(self, kind: Kind, reason: str | None) -> None:
        if self.unread.get(kind) == reason:
            return
        if reason is None:
            del self.unread[kind]
        else:
            self.unread[kind] = reason
        self._changed()

    def show(self, definitions: Definitions) -> None:
        """Have other definitions shown."""
        if self.definitions != definitions:
            self.definitions = definitions
            self._changed()

    def renew(self) -> None:
        """Have those look again who wait for what is being read."""
        self._changed()

    async def save(self) -> None:
        """Keep what is known for the next gateway."""
        if self.definitions is not None:
            await self._store.save(self.spec, self.definitions)
