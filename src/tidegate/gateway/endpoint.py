"""Endpoint: what a URL path serves: its view, its rules, and the way from a shown name to a target."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice

from tidegate.access.authorize import Authorizer
from tidegate.domain.endpoint import EndpointSpec, Names
from tidegate.domain.errors import InvalidParams
from tidegate.domain.principal import Principal
from tidegate.domain.target import Decision, Kind, Target
from tidegate.domain.workload import NO_OFFER
from tidegate.gateway import lists
from tidegate.gateway.own import Own, OwnLists
from tidegate.gateway.shown import Shown
from tidegate.gateway.view import Entry, View, is_chosen
from tidegate.protocol import uris
from tidegate.protocol.capabilities import Offer
from tidegate.protocol.renaming import Renaming, uri_in

_FOUND = 1024
"""Entries of unlisted URIs that are kept, so that equal requests are for the very same target."""
_SEEN = 1024
"""URIs kept of each server that came in its results."""
_FORMER = 1024
"""Servers whose names are kept, those that an endpoint has no more among them."""
_OWN = 64
"""Views kept of principals and sessions that are shown a list of their own."""


class Endpoint:
    """An endpoint as it serves."""

    def __init__(self, spec: EndpointSpec, authorizer: Authorizer) -> None:
        self.path = spec.path
        self.gone = False
        """Whether it is served no more: what is still open there is to end."""
        self.asked: Callable[[str], None] = lambda _: None
        """Told whenever a list is asked for, with the label of what the client offers."""
        self.holds: Callable[[str, Kind], int] = lambda _, __: 0
        """Gives for how many milliseconds a list holds for clients of a label."""
        self.pending: Callable[[str], bool] = lambda _: False
        """Tells whether something is being read that clients of a label would be shown."""
        self.own: OwnLists | None = None
        """What is listed to some principals and sessions alone."""
        self.renamings: Mapping[str, Renaming] = {}
        """By server. Those of servers that it has no more stay, for what is still under way."""
        self._owned: OrderedDict[tuple[tuple[Own, ...], Shown], Shown] = OrderedDict()
        """What is shown to those, by what they are shown else."""
        self._renewed = asyncio.Event()
        self._tools: Mapping[str, Entry] = {}
        """What all are shown alike, by its shown name."""
        self._wider: dict[str, Shown] = {}
        """By label: for clients to whom some legacy server lists something else, since they offer it more."""
        self._found: OrderedDict[tuple[Kind, str, frozenset[str]], Entry] = OrderedDict()
        self._seen: dict[str, OrderedDict[str, None]] = {}
        self.become(spec, authorizer, View(spec))

    def become(
        self,
        spec: EndpointSpec,
        authorizer: Authorizer,
        view: View,
        wider: Mapping[str, View] | None = None,
    ) -> None:
        """Serve another declaration, with its rules and views, from now on and in one step.

        Sessions, streams and calls keep the endpoint they came to, so its new rules are theirs at once.
        """
        self.spec = spec
        self.authorizer = authorizer
        self._prefixed = spec.names is Names.PREFIXED
        self._seen |= {name: OrderedDict() for name in spec.servers if name not in self._seen}
        several = len(spec.servers) > 1
        before = islice(self.renamings.items(), _FORMER)
        self.renamings = {
            name: Renaming(name, prefixed=self._prefixed, seen=partial(self.seen, name) if several else None)
            for name in spec.servers
        } | {name: each for name, each in before if name not in spec.servers}
        self.show(view, wider)

    @property
    def view(self) -> View:
        """What is shown to clients that offer nothing."""
        return self._shown.view

    @property
    def views(self) -> Mapping[str, View]:
        """All views, by the label of what clients offer."""
        return {NO_OFFER: self.view, **{label: shown.view for label, shown in self._wider.items()}}

    def show(self, view: View, wider: Mapping[str, View] | None = None) -> None:
        """Serve new views."""
        self._shown = Shown(view, self.authorizer)
        self._tools = view.of(Kind.TOOL)
        shown: dict[int, Shown] = {}  # many labels have the very same view
        self._wider = {
            label: shown.setdefault(id(each), Shown(each, self.authorizer))
            for label, each in (wider or {}).items()
        }
        self._found.clear()
        self._owned.clear()

    def renewed(self) -> None:
        """Have those look again who wait for something that is being read."""
        self._renewed.set()
        self._renewed = asyncio.Event()

    async def settled(self, offer: Offer, timeout: float) -> None:
        """Wait, at most `timeout` seconds, until what there is for a client is known as far as it can be now.

        A legacy client is told once what there is: without this the first ones after the first start of a
        server would be told of nothing that is only just being read.
        """
        label = offer.label
        self.asked(label)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self.pending(label):
                    await self._renewed.wait()
                    self.asked(label)

    async def prepare(
        self, principal: Principal, kind: Kind | None = None, *, offer: Offer = Offer.NONE, session: str = ""
    ) -> None:
        """Have decided, beside the loop where it is much, what a client is shown: the list of a kind, or all else."""
        label = NO_OFFER if kind is None else offer.label
        shown = self._shown_to(principal, session, label, self._wider.get(label, self._shown))
        await shown.prepare(principal, kind)

    # -- names --------------------------------------------------------------------------------

    def resolve(
        self, principal: Principal, kind: Kind, shown: str, *, session: str = "", offer: Offer = Offer.NONE
    ) -> tuple[Entry, Decision]:
        """Give the entry of a shown name or URI and the rule that allows it. What is hidden looks unknown.

        What is shown to this very client (`session`, `offer`) comes first: what it is shown is what it gets. A
        resource that is not listed is found too, where it shows whose it is: by its prefix, a template, a link that a
        server gave, or because one server only has resources. Session and offer matter only where it `varies`.

        Raises:
            InvalidParams: it has none that it may see.
            Undecided: whether it may has to be decided first, as in all that is asked here about a principal.
        """
        entry = self.find(principal, kind, shown, session=session, offer=offer)
        target = decision = None
        if entry is not None:
            target = entry.target
            decision = self.authorizer.decide(principal, target)
            if decision.allowed:
                return entry, decision
        # 2026-07-28, server/resources, error handling
        data: dict[str, object] | None = {"uri": shown[: uris.LONGEST]} if kind is Kind.RESOURCE else None
        raise InvalidParams(f"unknown {kind}: {shown[:128]}", data=data, target=target, decision=decision)

    def find(
        self, principal: Principal, kind: Kind, shown: str, *, session: str = "", offer: Offer = Offer.NONE
    ) -> Entry | None:
        """Give the entry of a shown name or URI, whoever may have it. No client is told; see `resolve`."""
        view = common = self._shown.view
        varies = self.varies if self._wider or self.own is not None else False
        if varies:
            label = offer.label
            view = self._shown_to(principal, session, label, self._wider.get(label, self._shown)).view
        entry = view.of(kind).get(shown)
        if entry is None and varies:
            entry = common.of(kind).get(shown) or next(self._shown_elsewhere(principal, kind, shown), None)
        if entry is not None and entry.target.server in self.authorizer.hidden(principal):
            return (
                self._find(principal, kind, shown, view) or entry
            )  # of one that is not there, unless it names another
        if entry is None:
            entry = self._find(principal, kind, shown, view)
        if entry is None and view is not common:
            entry = self._find(principal, kind, shown, common)
        return entry

    def tool(self, principal: Principal, shown: str) -> tuple[Entry, Decision] | None:
        """Give a tool that all are shown alike, where it may be called; None leaves it to `resolve`."""
        entry = self._tools.get(shown)
        if entry is None or self._wider or (self.own is not None and self.own.kept):
            return None
        decision = self.authorizer.decide(principal, entry.target)
        return (entry, decision) if decision.allowed else None

    def renaming(self, server: str) -> Renaming:
        """Give what becomes of a server's URIs here."""
        return self.renamings[server]

    def uri_out(self, server: str, uri: str) -> str:
        """Give the URI that is shown for a server's own."""
        return self.renamings[server].uri_out(uri)

    def seen(self, server: str, uri: str) -> None:
        """Remember that a server gave a link: whoever asks for it asks that server."""
        links = self._seen[server]
        links[uri] = None
        links.move_to_end(uri)
        if len(links) > _SEEN:
            links.popitem(last=False)

    def has(self, principal: Principal, target: Target, shown: str) -> bool:
        """Tell whether a principal may have a target under that name, whatever its clients offer."""
        with suppress(InvalidParams):
            if self.resolve(principal, target.kind, shown)[0].target == target:
                return True
        if not self.varies or not self.authorizer.decide(principal, target).allowed:
            return False
        return any(each.target == target for each in self._shown_elsewhere(principal, target.kind, shown))

    def _shown_elsewhere(self, principal: Principal, kind: Kind, shown: str) -> Iterator[Entry]:
        """Give what that names to clients that offer other things, and to other sessions of the principal.

        Whoever asks for it is no worse off: its server refuses it itself.
        """
        for each in self._wider.values():
            entry = each.view.of(kind).get(shown)
            if entry is not None:
                yield entry
        for own in () if self.own is None else self.own.all_of(self.spec.servers, principal.key):
            entry = self._overlaid((own,), self._shown).view.of(kind).get(shown)
            if entry is not None:
                yield entry

    def _find(self, principal: Principal, kind: Kind, shown: str, view: View) -> Entry | None:
        if kind is Kind.TOOL:
            return view.aliases.get(shown)
        if kind not in (Kind.RESOURCE, Kind.TEMPLATE) or not uris.is_sound(shown):
            return None
        hidden = self.authorizer.hidden(principal)
        key = kind, shown, hidden
        found = self._found.get(key)
        if found is not None and view is self.view:
            self._found.move_to_end(key)
            return found
        # What is another tenant's is no reason to take a URI for that server's, nor to doubt whose it is.
        servers = [each for each in self.spec.servers if each not in hidden] if hidden else self.spec.servers
        route = self._route(kind, shown, view, servers)
        if route is None or not is_chosen(self.spec, route[0], kind, route[1]):
            return None
        listed = view.of(kind).get(self.uri_out(*route))
        if listed is not None and listed.target.server == route[0]:
            return listed
        found = Entry(shown, Target(route[0], kind, route[1]), b"")
        if view is not self.view:
            return found  # nobody else finds what comes of a list of one's own
        self._found[key] = found
        if len(self._found) > _FOUND:
            self._found.popitem(last=False)
        return found

    def _route(self, kind: Kind, shown: str, view: View, servers: Sequence[str]) -> tuple[str, str] | None:
        """Give the one of these servers, and its own URI, that an unlisted one is for."""
        if self._prefixed:
            named = uri_in(shown, servers)
            if named is not None and self._may_have(named[0]):
                return named
        if kind is Kind.RESOURCE:
            for server, template in view.templates:
                if server in servers and template.matches(shown):
                    return server, shown
            for server in servers:
                if shown in self._seen[server]:
                    return server, shown
        if len(servers) < len(self.spec.servers):  # the one that is listed may be another tenant's
            listing = (name for name in servers if self._lists(name, kind, shown))
            if (first := next(listing, None)) is not None:
                return first, shown
        having = [name for name in servers if self.view.has_resources(name)]
        if len(servers) == 1 and self._may_have(servers[0]):
            having = list(servers)
        return (having[0], shown) if len(having) == 1 else None

    def _lists(self, server: str, kind: Kind, name: str) -> bool:
        """Tell whether a server lists something under a name that is shown as it is."""
        definitions = self.view.definitions.get(server)
        if definitions is None or self.uri_out(server, name) != name:
            return False
        return any(each.name == name for each in definitions.of(kind))

    def _may_have(self, server: str) -> bool:
        return server not in self.view.definitions or self.view.has_resources(server)

    # -- what is told -------------------------------------------------------------------------

    def list(
        self,
        kind: Kind,
        principal: Principal,
        cursor: str | None,
        *,
        modern: bool,
        offer: Offer = Offer.NONE,
        session: str = "",
    ) -> bytes:
        """Give the encoded result of a list from `cursor` on, to a client that offers servers `offer`.

        `session` is the key of its session, where it has one.

        Raises:
            InvalidParams: the cursor was never given.
        """
        offset = lists.offset_of(kind, cursor)
        label = offer.label
        self.asked(label)
        shown = self._shown_to(principal, session, label, self._wider.get(label, self._shown))
        return shown.page(kind, principal, offset, modern=modern, holds=partial(self.holds, label))

    def instructions(self, principal: Principal) -> str | None:
        """Give the merged instructions of the servers that a principal may know of."""
        return self._shown.instructions(principal)

    def capabilities(self, principal: Principal, *, modern: bool, session: str = "") -> dict[str, object]:
        """Give what the servers that a principal may reach can do."""
        shown = self._shown_to(principal, session, NO_OFFER, self._shown)
        return shown.capabilities(principal, modern=modern)

    def extension_server(self, principal: Principal, extensions: Collection[str]) -> str | None:
        """Give the server whose extension's methods a client means that has `extensions`, where it is one only."""
        return self._shown.extension_server(principal, extensions)

    @property
    def kept(self) -> int:
        """Bytes of the encoded lists that are kept."""
        return sum(shown.kept for shown in {self._shown, *self._wider.values(), *self._owned.values()})

    @property
    def has_own(self) -> bool:
        """Tell whether anybody at all is shown a list of their own."""
        return self.own is not None and bool(self.own.kept)

    @property
    def varies(self) -> bool:
        """Tell whether anybody at all is shown something else than others."""
        return bool(self._wider) or (self.own is not None and bool(self.own.kept))

    def _shown_to(self, principal: Principal, session: str, label: str, shown: Shown) -> Shown:
        """Give what a client is shown: `shown`, and what is listed to it alone."""
        if self.own is None or not self.own.kept:
            return shown
        found = self.own.of(self.spec.servers, principal.key, session, label)
        return self._overlaid(found, shown) if found else shown

    def _overlaid(self, own: tuple[Own, ...], shown: Shown) -> Shown:
        key = own, shown
        found = self._owned.get(key)
        if found is None:
            view = shown.view.otherwise({each.server: each.deltas for each in own})
            found = self._owned[key] = Shown(view, self.authorizer)
        self._owned.move_to_end(key)
        while len(self._owned) > _OWN or (
            len(self._owned) > 1 and sum(each.kept for each in self._owned.values()) > lists.LISTS_SIZE
        ):
            self._owned.popitem(last=False)
        return found
