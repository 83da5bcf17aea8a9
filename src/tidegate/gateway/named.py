"""Named: which target somebody means, for whoever looks into rights, and why a name is none. No client is told of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from tidegate.domain.endpoint import Names
from tidegate.domain.principal import Principal
from tidegate.domain.target import Kind, Target
from tidegate.gateway.endpoint import Endpoint
from tidegate.gateway.view import is_chosen
from tidegate.protocol import naming

_LONGEST = 200
"""Characters of a name that is told."""
_OTHERS = 8
"""Endpoints that are told."""


@dataclass(frozen=True, slots=True)
class Named:
    """What is asked for: by the name that an endpoint shows, or by a server and its own name for it."""

    endpoint: str
    kind: Kind
    name: str
    server: str = ""
    """Where it is given, `name` is that server's own."""


@dataclass(frozen=True, slots=True)
class Found:
    """The target that is meant, where there is one."""

    target: Target | None
    shown: str
    """The name that the endpoint shows."""
    why: str = ""
    """Why there is none; or that nobody knows yet whether there is."""


def find(
    endpoints: Mapping[str, Endpoint], named: Named, principal: Principal, *, within: bool = False
) -> Found:
    """Find what is meant at an endpoint, which has to be there, whether or not the principal may have it.

    `within` its tenant: what is another tenant's is not there, as it is to the principal itself.
    """
    endpoint = endpoints[named.endpoint]
    hidden = endpoint.authorizer.hidden(principal) if within else frozenset[str]()
    if named.server:
        target = Target(named.server, named.kind, named.name)
        shown = _shown(endpoint, target, hidden)
        why = _why_not(endpoint, target, hidden)
        return Found(target if why is None or why == _UNREAD else None, shown, why or "")
    entry = endpoint.find(principal, named.kind, named.name)
    if entry is not None and entry.target.server not in hidden:
        return Found(entry.target, named.name)
    elsewhere = _elsewhere(endpoints, endpoint, named, principal if within else None)
    guessed = _guess(endpoint, named)
    if guessed is not None:
        why = _why_not(endpoint, guessed, hidden)
        if why == _UNREAD:
            return Found(guessed, named.name, why)
        if why is not None:
            return Found(None, named.name, why + elsewhere)
    entries = endpoint.view.of(named.kind).items()
    known = [shown for shown, each in entries if each.target.server not in hidden]
    why = f"the endpoint {named.endpoint} has no such {named.kind}{_like(named.name, known)}"
    return Found(None, named.name, why + elsewhere)


_UNREAD = "its server has not told yet what it has: this is what would hold if it has it"


def _guess(endpoint: Endpoint, named: Named) -> Target | None:
    """Give what a name could stand for, by how the endpoint makes names."""
    if endpoint.spec.names is Names.PREFIXED:
        server, _, own = named.name.partition(naming.SEPARATOR)
        if own and named.kind in (Kind.TOOL, Kind.PROMPT):
            return Target(server, named.kind, own)
    elif len(endpoint.spec.servers) == 1:
        return Target(endpoint.spec.servers[0], named.kind, named.name)
    return None


def _why_not(endpoint: Endpoint, target: Target, hidden: Collection[str]) -> str | None:
    """Say why an endpoint does not have a target; None where it has, or may have, it."""
    server, kind, name = target
    spec = endpoint.spec
    if server not in spec.servers or server in hidden:
        return f"the endpoint {spec.path} does not have the server {server[:64]}"
    if not is_chosen(spec, server, kind, name):
        patterns = {Kind.TOOL: "tools", Kind.PROMPT: "prompts"}.get(kind, "resources")
        return f"the endpoint's `{patterns}` leave it out"
    definitions = endpoint.view.definitions.get(server)
    if definitions is None or (kind not in definitions.lists and definitions.declares(kind)):
        return _UNREAD
    if any(entry.target == target for entry in endpoint.view.of(kind).values()):
        return None
    if kind is Kind.RESOURCE and definitions.declares(kind):
        return None  # what a server with resources does not list can be read too
    begins = f"{server}: {kind} {name!r} is left out: "
    left = next((each for each in endpoint.view.dropped if each.startswith(begins)), None)
    if left is not None:
        taken = any(left.startswith(f"{begins}{other} has ") for other in hidden)
        return f"{begins}its name is taken" if taken else left
    known = [each.name for each in definitions.of(kind)]
    return f"the server {server} lists no such {kind}{_like(name, known)}"


def _elsewhere(
    endpoints: Mapping[str, Endpoint], endpoint: Endpoint, named: Named, within: Principal | None
) -> str:
    """Say which other endpoints have it; of what is of another tenant than a principal's, nothing."""
    others: list[str] = []
    for path, each in endpoints.items():
        entry = None if each is endpoint else each.view.of(named.kind).get(named.name)
        hidden = frozenset[str]() if within is None else each.authorizer.hidden(within)
        if entry is not None and entry.target.server not in hidden:
            others.append(path)
    return f"; {', '.join(sorted(others)[:_OTHERS])} has it" if others else ""


def _like(name: str, known: list[str]) -> str:
    close = get_close_matches(name[:_LONGEST], known[:10_000], 1)
    return f"; did you mean {close[0][:_LONGEST]}?" if close else ""


def _shown(endpoint: Endpoint, target: Target, hidden: Collection[str]) -> str:
    is_there = target.server not in hidden
    for shown, entry in endpoint.view.of(target.kind).items() if is_there else ():
        if entry.target == target:
            return shown
    if target.kind in (Kind.TOOL, Kind.PROMPT) and endpoint.spec.names is Names.PREFIXED:
        return naming.shown(target.server, target.name)
    if is_there and target.server in endpoint.renamings:
        return endpoint.uri_out(target.server, target.name) if "://" in target.name else target.name
    return target.name
