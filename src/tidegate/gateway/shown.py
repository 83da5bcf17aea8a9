"""Shown: one view as its clients get it: pages, instructions and capabilities, kept for all who see the same."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import compress, islice

from tidegate.access.authorize import FEW, ROLES, Authorizer, Undecided
from tidegate.access.beside import Pace, here
from tidegate.access.classes import Class
from tidegate.domain.principal import Principal
from tidegate.domain.target import Decision, Kind, Target, is_reaching, reaching
from tidegate.gateway import lists, offering
from tidegate.gateway.definitions import LISTS
from tidegate.gateway.lists import Pages
from tidegate.gateway.view import SERVERS, View, instructions
from tidegate.protocol.capabilities import UI_EXTENSION

_CLASSES_KEPT = 256
_ALLOWED_KEPT = 1_000_000
"""Definitions in the lists kept of what classes are shown: some 8 MB."""


_CARRIED = frozenset({UI_EXTENSION, offering.TASKS_EXTENSION})
"""Extensions that have no methods of their own, or such that are routed by what they name."""


class Shown:
    """A view under an endpoint's rules. What is kept here goes with the view, and with what was decided."""

    def __init__(self, view: View, authorizer: Authorizer) -> None:
        self.view = view
        self._authorizer = authorizer
        self._version = authorizer.version
        self._listed: Sequence[Target] | None = None
        self._having: Collection[str] | None = None
        self._making: dict[Class, asyncio.Lock] = {}
        """Of who has made what principals are shown."""
        self._forget()

    @property
    def _targets(self) -> Sequence[Target]:
        """All that is shown, kind by kind, and what stands for knowing of each server."""
        if self._listed is None:
            shown = [entry.target for entries in self.view.shown.values() for entry in entries.values()]
            self._listed = [*shown, *(reaching(server) for server in self.view.spec.servers)]
        return self._listed

    @property
    def _servers(self) -> Collection[str]:
        """The servers of which something is shown."""
        if self._having is None:
            shown = self.view.shown.values()
            self._having = {entry.target.server for entries in shown for entry in entries.values()}
        return self._having

    @property
    def kept(self) -> int:
        """Bytes of the encoded pages that are kept."""
        return self._pages.size

    async def prepare(self, principal: Principal, kind: Kind | None = None) -> None:
        """Have decided, beside the loop where it is much, what a principal is shown: all else here then is quick.

        `kind` is that of the list that is asked for, if one is.
        """
        seen = self._seen(principal)
        if self._is_made(seen, kind) or (not self._authorizer.asks and len(self._targets) <= FEW):
            return
        making = self._making.setdefault(seen, asyncio.Lock())
        async with making:  # whoever comes meanwhile finds it made
            if self._seen(principal) is not seen or self._is_made(seen, kind):
                return
            try:
                await self._make(principal, seen)
            finally:
                self._making.pop(seen, None)

    def _is_made(self, seen: Class, kind: Kind | None) -> bool:
        return seen in self._known and (kind is None or (seen, kind) in self._allowed)

    async def _make(self, principal: Principal, seen: Class) -> None:
        run = self._authorizer.beside if len(self._targets) > FEW else here
        decisions = await self._authorizer.know(principal, self._targets)
        made = await run(partial(_made, self.view, self._targets, decisions))
        await asyncio.sleep(0)
        if self._seen(principal) is not seen:
            return  # it holds no more: whoever asks for it finds out
        try:
            self._keep_known(seen, principal, made.servers)
        except Undecided:
            return
        self._keep_kinds(seen, made.kinds)
        for kind, found in made.lists.items():
            self._keep_allowed((seen, kind), found)

    def page(
        self, kind: Kind, principal: Principal, offset: int, *, modern: bool, holds: Callable[[Kind], int]
    ) -> bytes:
        """Give the encoded result of a list from `offset` on; `holds` says for how many milliseconds it holds.

        Raises:
            Undecided: it has to be decided first what a principal is shown; as in all that is asked here.
        """
        seen = self._seen(principal)
        key = seen, kind, offset, modern
        page = self._pages.get(key)
        if page is None:
            page = self._page(kind, principal, seen, offset, modern)
            self._pages.put(key, page)
        if not modern:
            return page
        short = seen.fails or self._missing(kind, principal, seen)
        return b'%b,"ttlMs":%d}' % (page, 0 if short else holds(kind))

    def instructions(self, principal: Principal) -> str | None:
        """Give the merged instructions of the servers that a principal may know of."""
        if not self.view.said:
            return None
        return instructions(self.view, self._known_to(principal, self._seen(principal)))

    def capabilities(self, principal: Principal, *, modern: bool) -> dict[str, object]:
        """Give what the servers that a principal may reach can do."""
        seen = self._seen(principal)
        key = seen, modern
        found = self._offered.get(key)
        if found is None:
            if len(self._offered) >= _CLASSES_KEPT:
                self._offered.clear()
            reached, known = self._known_to(principal, seen), self.view.definitions
            listed = self._listed_to(principal, seen)
            found = self._offered[key] = offering.merge(
                [
                    (known[name], self._reached(principal, name, listed))
                    for name in self.view.spec.servers
                    if name in reached and name in known
                ],
                unknown=not reached <= known.keys(),
                modern=modern,
            )
        return found

    def extension_server(self, principal: Principal, extensions: Collection[str]) -> str | None:
        """Give the server whose extension's methods a client means, where it is one only.

        One whose extensions the client has too, else one that has any: what it makes of a client that did not
        declare its extension is for the server to say.
        """
        if not any(set(each.part("extensions")) - _CARRIED for each in self.view.definitions.values()):
            return None
        seen = self._seen(principal)
        if len(self._targets) > FEW and seen not in self._known and seen not in self._sent_away:
            if len(self._sent_away) >= _CLASSES_KEPT:
                self._sent_away.clear()
            self._sent_away.add(seen)
            raise Undecided(self._authorizer, principal, self._targets)  # so much is not decided on the loop
        known = self._known_to(principal, seen)
        own = {
            name: set(definitions.part("extensions")) - _CARRIED
            for name, definitions in self.view.definitions.items()
            if name in known
        }
        shared = [name for name, found in own.items() if not found.isdisjoint(extensions)]
        having = shared or [name for name, found in own.items() if found]
        return having[0] if len(having) == 1 else None

    def _page(self, kind: Kind, principal: Principal, seen: Class, offset: int, modern: bool) -> bytes:
        allowed = self._allowed_to(kind, principal, seen)
        rest: dict[str, object] = {}
        missing = self._missing(kind, principal, seen)
        if missing:
            rest["_meta"] = {SERVERS: missing}
        if not modern:
            return lists.page(kind, allowed, offset, rest) + b"}"
        public = (
            kind in self.view.public
            and self._authorizer.same_for_all
            and not principal.roles.isdisjoint(ROLES)
        )
        rest |= {"resultType": "complete", "cacheScope": "public" if public else "private"}
        return lists.page(kind, allowed, offset, rest)

    def _allowed_to(self, kind: Kind, principal: Principal, seen: Class) -> Sequence[bytes]:
        """Give what a principal is shown of a kind; one page is seldom asked for alone."""
        key = seen, kind
        found = self._allowed.get(key)
        if found is None:
            entries = self.view.of(kind).values()
            allowed = self._decide(principal, [entry.target for entry in entries])
            found = [entry.encoded for entry in compress(entries, allowed)]
            self._keep_allowed(key, found)
        else:
            self._allowed.move_to_end(key)
        return found

    def _missing(self, kind: Kind, principal: Principal, seen: Class) -> dict[str, object]:
        missing = self.view.missing.get(kind)
        if not missing:
            return {}
        known = self._known_to(principal, seen)
        return {server: why for server, why in missing.items() if server in known}

    def _known_to(self, principal: Principal, seen: Class) -> frozenset[str]:
        """Give the servers of which a principal may have something; the others look as if they were not."""
        found = self._known.get(seen)
        if found is None:
            allowed = self._decide(principal, self._targets)
            found = self._keep_known(seen, principal, _servers(compress(self._targets, allowed)))
        return found

    def _keep_known(self, seen: Class, principal: Principal, known: set[str]) -> frozenset[str]:
        listed = self._servers
        others = (name for name in self.view.spec.servers if name not in known)
        found = frozenset({*known, *(name for name in others if self._may_reach(principal, name, listed))})
        if len(self._known) >= _CLASSES_KEPT:
            self._known.clear()
        self._known[seen] = found
        return found

    def _keep_allowed(self, key: tuple[Class, Kind], found: Sequence[bytes]) -> None:
        if key not in self._allowed:
            self._size += len(found)
        self._allowed[key] = found
        self._allowed.move_to_end(key)
        while len(self._allowed) > 1 and (
            self._size > _ALLOWED_KEPT or len(self._allowed) > _CLASSES_KEPT * len(LISTS)
        ):
            _, gone = self._allowed.popitem(last=False)
            self._size -= len(gone)

    def _may_reach(self, principal: Principal, server: str, listed: Collection[str]) -> bool:
        if server not in listed:
            return self._authorizer.may_reach(principal, server)
        # What a server with resources does not list can be read too.
        return self.view.has_resources(server) and self._authorizer.may_reach(
            principal, server, Kind.RESOURCE
        )

    def _reached(
        self, principal: Principal, server: str, listed: Collection[tuple[str, Kind]]
    ) -> Collection[str]:
        """Give the capabilities of lists that a server has and of which something is, or may be, for a principal."""
        definitions = self.view.definitions[server]
        return {
            form.capability
            for kind, form in LISTS.items()
            if definitions.declares(kind)
            and ((server, kind) in listed or self._authorizer.may_reach(principal, server, kind))
        }

    def _listed_to(self, principal: Principal, seen: Class) -> Collection[tuple[str, Kind]]:
        """Give the servers and kinds of which something that is listed is for a principal."""
        if not self._authorizer.asks:
            return ()  # rules alone say it, without looking at each
        found = self._kinds.get(seen)
        if found is None:
            allowed = self._decide(principal, self._targets)
            found = {(target.server, target.kind) for target in compress(self._targets, allowed)}
            self._keep_kinds(seen, found)
        return found

    def _keep_kinds(self, seen: Class, found: Collection[tuple[str, Kind]]) -> None:
        if len(self._kinds) >= _CLASSES_KEPT:
            self._kinds.clear()
        self._kinds[seen] = found

    def _decide(self, principal: Principal, targets: Sequence[Target]) -> Sequence[bool]:
        """Decide about all of them, or none: what is not known yet is told of together."""
        decide, undecided = self._authorizer.decide, list[Target]()
        allowed: list[bool] = []
        for target in targets:
            try:
                allowed.append(decide(principal, target).allowed)
            except Undecided:
                undecided.append(target)
        if undecided:
            raise Undecided(self._authorizer, principal, undecided)
        return allowed

    def _seen(self, principal: Principal) -> Class:
        """Give what stands for all who see what this principal does. What was seen before a change is let go of."""
        seen = self._authorizer.sees(principal)
        if self._authorizer.version != self._version:
            self._version = self._authorizer.version
            self._forget()
        return seen

    def _forget(self) -> None:
        self._pages = Pages()
        self._allowed: OrderedDict[tuple[Class, Kind], Sequence[bytes]] = OrderedDict()
        self._size = 0
        self._known: dict[Class, frozenset[str]] = {}
        self._kinds: dict[Class, Collection[tuple[str, Kind]]] = {}
        """Of which servers something of which kinds is for whom."""
        self._sent_away: set[Class] = set()
        """For whom much had to be decided elsewhere first."""
        self._offered: dict[tuple[Class, bool], dict[str, object]] = {}


def _servers(targets: Iterable[Target]) -> set[str]:
    """Give the servers that something is of."""
    return {target.server for target in targets if not is_reaching(target)}


@dataclass(slots=True)
class _Made:
    """What those are shown of a view who are alike."""

    servers: set[str] = field(default_factory=set[str])
    """Of which they may have something."""
    kinds: set[tuple[str, Kind]] = field(default_factory=set[tuple[str, Kind]])
    lists: dict[Kind, Sequence[bytes]] = field(default_factory=dict[Kind, Sequence[bytes]])


def _made(view: View, targets: Sequence[Target], decisions: Sequence[Decision], pace: Pace) -> _Made:
    """Make what is shown of a view by what was decided about its targets, in their order."""
    made, at = _Made(), 0
    for kind, entries in view.shown.items():
        found: list[bytes] = []
        for entry, decision in zip(entries.values(), islice(decisions, at, at + len(entries)), strict=True):
            pace.rest()
            if decision.allowed:
                found.append(entry.encoded)
                made.servers.add(entry.target.server)
                made.kinds.add((entry.target.server, kind))
        made.lists[kind] = found
        at += len(entries)
    rest = zip(targets[at:], decisions[at:], strict=True)
    made.kinds |= {(target.server, target.kind) for target, decision in rest if decision.allowed}
    return made
