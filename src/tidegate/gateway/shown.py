"""Shown: one view as its clients get it: pages, instructions and capabilities, kept for all who see the same."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from tidegate.access.authorize import ROLES, Authorizer
from tidegate.domain.principal import Principal
from tidegate.domain.target import Kind
from tidegate.gateway import lists, offering
from tidegate.gateway.definitions import LISTS
from tidegate.gateway.lists import Pages
from tidegate.gateway.view import SERVERS, View, instructions
from tidegate.protocol.capabilities import UI_EXTENSION

_ROLES_KEPT = 256
_ALLOWED_KEPT = 16


_CARRIED = frozenset({UI_EXTENSION, offering.TASKS_EXTENSION})
"""Extensions that have no methods of their own, or such that are routed by what they name."""


class Shown:
    """A view under an endpoint's rules. What is kept here goes with the view."""

    def __init__(self, view: View, authorizer: Authorizer) -> None:
        self.view = view
        self._authorizer = authorizer
        self._pages = Pages()
        self._allowed: dict[tuple[frozenset[str], Kind], Sequence[bytes]] = {}
        self._known: dict[frozenset[str], frozenset[str]] = {}
        self._offered: dict[tuple[frozenset[str], bool], dict[str, object]] = {}

    @property
    def kept(self) -> int:
        """Bytes of the encoded pages that are kept."""
        return self._pages.size

    def page(
        self, kind: Kind, principal: Principal, offset: int, *, modern: bool, holds: Callable[[Kind], int]
    ) -> bytes:
        """Give the encoded result of a list from `offset` on; `holds` says for how many milliseconds it holds."""
        key = principal.roles, kind, offset, modern  # rules ask for roles only
        page = self._pages.get(key)
        if page is None:
            page = self._page(kind, principal, offset, modern)
            self._pages.put(key, page)
        if not modern:
            return page
        return b'%b,"ttlMs":%d}' % (page, 0 if self._missing(kind, principal) else holds(kind))

    def instructions(self, principal: Principal) -> str | None:
        """Give the merged instructions of the servers that a principal may know of."""
        return instructions(self.view, self._known_to(principal)) if self.view.said else None

    def capabilities(self, principal: Principal, *, modern: bool) -> dict[str, object]:
        """Give what the servers that a principal may reach can do."""
        key = principal.roles, modern
        found = self._offered.get(key)
        if found is None:
            if len(self._offered) >= _ROLES_KEPT:
                self._offered.clear()
            reached, known = self._known_to(principal), self.view.definitions
            found = self._offered[key] = offering.merge(
                [
                    (known[name], self._reached(principal, name))
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
        known = self._known_to(principal)
        own = {
            name: set(definitions.part("extensions")) - _CARRIED
            for name, definitions in self.view.definitions.items()
            if name in known
        }
        shared = [name for name, found in own.items() if not found.isdisjoint(extensions)]
        having = shared or [name for name, found in own.items() if found]
        return having[0] if len(having) == 1 else None

    def _page(self, kind: Kind, principal: Principal, offset: int, modern: bool) -> bytes:
        allowed = self._allowed_to(kind, principal)
        rest: dict[str, object] = {}
        missing = self._missing(kind, principal)
        if missing:
            rest["_meta"] = {SERVERS: missing}
        if not modern:
            return lists.page(kind, allowed, offset, rest) + b"}"
        public = kind in self.view.public and self._authorizer.same_for_all and principal.roles & ROLES
        rest |= {"resultType": "complete", "cacheScope": "public" if public else "private"}
        return lists.page(kind, allowed, offset, rest)

    def _allowed_to(self, kind: Kind, principal: Principal) -> Sequence[bytes]:
        """Give what a principal is shown of a kind; one page is seldom asked for alone."""
        key = principal.roles, kind
        found = self._allowed.get(key)
        if found is None:
            if len(self._allowed) >= _ALLOWED_KEPT:
                self._allowed.clear()
            decide, entries = self._authorizer.decide, self.view.of(kind).values()
            found = self._allowed[key] = [
                entry.encoded for entry in entries if decide(principal, entry.target).allowed
            ]
        return found

    def _missing(self, kind: Kind, principal: Principal) -> dict[str, object]:
        missing = self.view.missing.get(kind)
        if not missing:
            return {}
        known = self._known_to(principal)
        return {server: why for server, why in missing.items() if server in known}

    def _known_to(self, principal: Principal) -> frozenset[str]:
        """Give the servers of which a principal may have something; the others look as if they were not."""
        found = self._known.get(principal.roles)
        if found is None:
            if len(self._known) >= _ROLES_KEPT:
                self._known.clear()
            found = self._known[principal.roles] = self._find_known(principal)
        return found

    def _find_known(self, principal: Principal) -> frozenset[str]:
        decide, listed, known = self._authorizer.decide, set[str](), set[str]()
        for entries in self.view.shown.values():
            for entry in entries.values():
                server = entry.target.server
                listed.add(server)
                if server not in known and decide(principal, entry.target).allowed:
                    known.add(server)
        others = (name for name in self.view.spec.servers if name not in known)
        return frozenset({*known, *(name for name in others if self._may_reach(principal, name, listed))})

    def _may_reach(self, principal: Principal, server: str, listed: Collection[str]) -> bool:
        if server not in listed:
            return self._authorizer.may_reach(principal, server)
        # What a server with resources does not list can be read too.
        return self.view.has_resources(server) and self._authorizer.may_reach(
            principal, server, Kind.RESOURCE
        )

    def _reached(self, principal: Principal, server: str) -> Collection[str]:
        """Give the capabilities of lists that a server has and the rules leave a principal."""
        definitions = self.view.definitions[server]
        return {
            form.capability
            for kind, form in LISTS.items()
            if definitions.declares(kind) and self._authorizer.may_reach(principal, server, kind)
        }
