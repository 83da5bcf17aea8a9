"""Endpoint: what a URL path serves: its view, its rules, and the way from a shown name to a target."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from functools import partial

from tidegate.access.authorize import ROLES, Authorizer
from tidegate.domain.endpoint import EndpointSpec, Names
from tidegate.domain.errors import InvalidParams
from tidegate.domain.principal import Principal
from tidegate.domain.target import Decision, Kind, Target
from tidegate.gateway import lists, offering
from tidegate.gateway.definitions import LISTS
from tidegate.gateway.lists import Pages
from tidegate.gateway.view import SERVERS, Entry, View, instructions, is_chosen
from tidegate.protocol import uris
from tidegate.protocol.capabilities import UI_EXTENSION
from tidegate.protocol.renaming import Renaming, uri_in

_ROLES_KEPT = 256
_FOUND = 1024
"""Entries of unlisted URIs that are kept, so that equal requests are for the very same target."""
_SEEN = 1024
"""URIs kept of each server that came in its results."""


class Endpoint:
    """An endpoint as it serves."""

    def __init__(self, spec: EndpointSpec, authorizer: Authorizer) -> None:
        self.spec = spec
        self.path = spec.path
        self.authorizer = authorizer
        self.view = View(spec)
        self.asked: Callable[[], None] = lambda: None
        """Told whenever a list is asked for."""
        self.holds: Callable[[Kind], int] = lambda _: 0
        """Gives for how many milliseconds a list holds."""
        self._pages = Pages()
        self._known: dict[frozenset[str], frozenset[str]] = {}
        self._offered: dict[tuple[frozenset[str], bool], dict[str, object]] = {}
        self._found: OrderedDict[tuple[Kind, str], Entry] = OrderedDict()
        self._seen: dict[str, OrderedDict[str, None]] = {name: OrderedDict() for name in spec.servers}
        self._prefixed = spec.names is Names.PREFIXED
        several = len(spec.servers) > 1
        self._renamings = {
            name: Renaming(name, prefixed=self._prefixed, seen=partial(self.seen, name) if several else None)
            for name in spec.servers
        }

    def show(self, view: View) -> None:
        """Serve a new view."""
        self.view = view
        self._pages.forget()
        self._known, self._offered = {}, {}
        self._found.clear()

    # -- names --------------------------------------------------------------------------------

    def resolve(self, principal: Principal, kind: Kind, shown: str) -> tuple[Entry, Decision]:
        """Give the entry of a shown name or URI and the rule that allows it. What is hidden looks unknown.

        A resource that is not listed is found too, where it shows whose it is: by its prefix, a template, a
        link that a server gave, or because one server only has resources.

        Raises:
            InvalidParams: it has none that it may see.
        """
        entry = self.view.of(kind).get(shown) or self._find(kind, shown)
        if entry is not None:
            decision = self.authorizer.decide(principal, entry.target)
            if decision.allowed:
                return entry, decision
        if kind is Kind.RESOURCE:
            raise InvalidParams(
                f"unknown resource: {shown[:128]}", data={"uri": shown[: uris.LONGEST]}
            )  # 2026-07-28, server/resources, error handling
        raise InvalidParams(f"unknown {kind}: {shown[:128]}")

    def renaming(self, server: str) -> Renaming:
        """Give what becomes of a server's URIs here."""
        return self._renamings[server]

    def uri_out(self, server: str, uri: str) -> str:
        """Give the URI that is shown for a server's own."""
        return self._renamings[server].uri_out(uri)

    def seen(self, server: str, uri: str) -> None:
        """Remember that a server gave a link: whoever asks for it asks that server."""
        links = self._seen[server]
        links[uri] = None
        links.move_to_end(uri)
        if len(links) > _SEEN:
            links.popitem(last=False)

    def _find(self, kind: Kind, shown: str) -> Entry | None:
        if kind is Kind.TOOL:
            return self.view.aliases.get(shown)
        if kind not in (Kind.RESOURCE, Kind.TEMPLATE) or not uris.is_sound(shown):
            return None
        key = kind, shown
        found = self._found.get(key)
        if found is not None:
            self._found.move_to_end(key)
            return found
        route = self._route(kind, shown)
        if route is None or not is_chosen(self.spec, route[0], kind, route[1]):
            return None
        listed = self.view.of(kind).get(self.uri_out(*route))
        if listed is not None and listed.target.server == route[0]:
            return listed
        found = self._found[key] = Entry(shown, Target(route[0], kind, route[1]), b"")
        if len(self._found) > _FOUND:
            self._found.popitem(last=False)
        return found

    def _route(self, kind: Kind, shown: str) -> tuple[str, str] | None:
        """Give the server, and its own URI, that an unlisted one is for."""
        servers = self.spec.servers
        if self._prefixed:
            named = uri_in(shown, self._renamings)
            if named is not None and self._may_have(named[0]):
                return named
        if kind is Kind.RESOURCE:
            for server, template in self.view.templates:
                if template.matches(shown):
                    return server, shown
            for server in servers:
                if shown in self._seen[server]:
                    return server, shown
        having = [name for name in servers if self._has_resources(name)]
        if len(servers) == 1 and self._may_have(servers[0]):
            having = list(servers)
        return (having[0], shown) if len(having) == 1 else None

    def _has_resources(self, server: str) -> bool:
        definitions = self.view.definitions.get(server)
        return definitions is not None and definitions.declares(Kind.RESOURCE)

    def _may_have(self, server: str) -> bool:
        return server not in self.view.definitions or self._has_resources(server)

    # -- what is told -------------------------------------------------------------------------

    def list(self, kind: Kind, principal: Principal, cursor: str | None, *, modern: bool) -> bytes:
        """Give the encoded result of a list from `cursor` on.

        Raises:
            InvalidParams: the cursor was never given.
        """
        offset = lists.offset_of(kind, cursor)
        self.asked()
        key = principal.roles, kind, offset, modern  # rules ask for roles only
        page = self._pages.get(key)
        if page is None:
            page = self._page(kind, principal, offset, modern)
            self._pages.put(key, page)
        if not modern:
            return page
        holds = 0 if self._missing(kind, principal) else self.holds(kind)
        return b'%b,"ttlMs":%d}' % (page, holds)

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
            may = self._known_to(principal)
            reached = [name for name in self.spec.servers if name in may]
            known = [name for name in reached if name in self.view.definitions]
            found = self._offered[key] = offering.merge(
                [(self.view.definitions[name], self._reached(principal, name)) for name in known],
                unknown=len(known) < len(reached),
                modern=modern,
            )
        return found

    def extension_server(self, principal: Principal, extensions: Collection[str]) -> str | None:
        """Give the server whose extension's methods a client means that has `extensions`, where it is one only."""
        shared = set(extensions) - {UI_EXTENSION, offering.TASKS_EXTENSION}
        known = self._known_to(principal)
        having = [
            name
            for name, definitions in self.view.definitions.items()
            if name in known and not shared.isdisjoint(definitions.part("extensions"))
        ]
        return having[0] if len(having) == 1 else None

    @property
    def kept(self) -> int:
        """Bytes of the encoded lists that are kept."""
        return self._pages.size

    def _page(self, kind: Kind, principal: Principal, offset: int, modern: bool) -> bytes:
        decide = self.authorizer.decide
        entries = self.view.of(kind).values()
        allowed = [entry.encoded for entry in entries if decide(principal, entry.target).allowed]
        rest: dict[str, object] = {}
        missing = self._missing(kind, principal)
        if missing:
            rest["_meta"] = {SERVERS: missing}
        if not modern:
            return lists.page(kind, allowed, offset, rest) + b"}"
        public = kind in self.view.public and self.authorizer.same_for_all and principal.roles & ROLES
        rest |= {"resultType": "complete", "cacheScope": "public" if public else "private"}
        return lists.page(kind, allowed, offset, rest)

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
        decide, listed, known = self.authorizer.decide, set[str](), set[str]()
        for entries in self.view.shown.values():
            for entry in entries.values():
                server = entry.target.server
                listed.add(server)
                if server not in known and decide(principal, entry.target).allowed:
                    known.add(server)
        others = (name for name in self.spec.servers if name not in listed or self._has_resources(name))
        return frozenset({*known, *(name for name in others if self._may_reach(principal, name, listed))})

    def _may_reach(self, principal: Principal, server: str, listed: Collection[str] = ()) -> bool:
        # What is not listed can be read of a server that lists something else.
        kind = Kind.RESOURCE if server in listed else None
        return self.authorizer.may_reach(principal, server, kind)

    def _reached(self, principal: Principal, server: str) -> Collection[str]:
        """Give the capabilities of lists that a server has and the rules leave a principal."""
        definitions = self.view.definitions[server]
        return {
            form.capability
            for kind, form in LISTS.items()
            if definitions.declares(kind) and self.authorizer.may_reach(principal, server, kind)
        }
