"""Rules: what an endpoint's rules and the grants of roles say of a target. Asks no engine, and reads no argument."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from tidegate.domain.endpoint import Effect, EndpointSpec, Rule, Scope, Selection
from tidegate.domain.principal import Principal
from tidegate.domain.role import BUILT_IN, Role, implied
from tidegate.domain.target import Decision, Kind, Target
from tidegate.domain.tenant import NO_TENANTS, Tenant, Tenants
from tidegate.protocol.uris import is_plain

NO_RULE = Decision(False, "no rule")
ROLES = frozenset(BUILT_IN)
"""The roles that there are without being declared."""

_Match = Callable[[str], object]
_URIS = (Kind.RESOURCE, Kind.TEMPLATE)
_NOBODYS = frozenset[str]()


@dataclass(frozen=True, slots=True)
class _Selected:
    """A selection, made ready."""

    servers: _Match | None
    names: Mapping[Kind, _Match]
    """By kind; empty where it is about everything."""

    def concerns(self, server: str) -> bool:
        return self.servers is None or bool(self.servers(server))

    def covers(self, target: Target, *, odd: bool) -> bool:
        """Tell whether a target is meant; `odd`: also where it only may be, as nobody can tell what it comes to."""
        if not self.concerns(target.server):
            return False
        if not self.names:
            return True
        if target.kind is Kind.EXTENSION:
            return odd  # it may read or do, by another method, just what is meant
        matches = self.names.get(target.kind)
        if matches is None:
            return False
        if target.kind in _URIS and not is_plain(target.name):
            return odd  # a URI written oddly fits every denial and no permission
        return bool(matches(target.name))


@dataclass(frozen=True, slots=True)
class Compiled:
    """One rule, made ready."""

    decision: Decision
    roles: frozenset[str]
    """Of whom it is, where it is not of all."""
    selected: _Selected

    def applies(self, target: Target) -> bool:
        """Tell whether it is about a target."""
        return self.selected.covers(target, odd=not self.decision.allowed)

    def may_allow(self, kind: Kind | None) -> bool:
        """Tell whether it allows anything of a kind."""
        names = self.selected.names
        return self.decision.allowed and (not names or kind is None or kind in names)


@dataclass(frozen=True, slots=True)
class _Tenancy:
    """What holds for the principals of one tenant."""

    rules: tuple[Compiled, ...]
    """The grants of its own roles."""
    all: tuple[Compiled, ...]
    """All that is about any of them: what is others' first, then denials."""
    implied: Mapping[str, frozenset[str]]
    hidden: frozenset[str]
    """Servers of which they must not know."""


class Rules:
    """The rules of one endpoint and the grants that roles have there: deny overrides, none means deny.

    What is another tenant's is denied before anything else is looked at.
    """

    def __init__(
        self, endpoint: EndpointSpec, roles: Sequence[Role] = (), tenants: Tenants = NO_TENANTS
    ) -> None:
        compiled = [
            Compiled(
                Decision(rule.effect is Effect.ALLOW, f"{endpoint.path} rules[{number}]"),
                rule.roles,
                _selected(rule),
            )
            for number, rule in enumerate(endpoint.rules)
        ]
        compiled += [each for role in roles for each in _grants(endpoint.path, role)]
        self._rules = sorted(compiled, key=lambda rule: rule.decision.allowed)
        self._implied = implied(tuple(roles))
        self._tenants = {
            name: _tenancy(endpoint, self._rules, roles, tenants.own(name), tenants)
            for name in tenants.names
            if tenants
        }
        self._unknown = _nothing_for(endpoint) if tenants else None
        own = chain.from_iterable(each.rules for each in self._tenants.values())
        self.named = frozenset(role for rule in chain(self._rules, own) for role in rule.roles)
        """The roles that make a difference here."""
        self.same_for_all = not tenants and all(not rule.roles or rule.roles >= ROLES for rule in self._rules)
        """Whether every principal with a built-in role gets the same answers."""

    def roles_of(self, principal: Principal) -> frozenset[str]:
        """Give a principal's roles, with those that they include."""
        roles, tenancy = principal.roles, self._tenancy(principal.tenant)
        implying = self._implied if tenancy is None else tenancy.implied
        if roles.isdisjoint(implying):
            return roles
        return roles.union(*(implying.get(role, ()) for role in roles))

    def of(self, roles: frozenset[str], tenant: str = "") -> tuple[Compiled, ...]:
        """Give the rules that are about whoever has these roles and is of that tenant, denials first."""
        tenancy = self._tenancy(tenant)
        rules = self._rules if tenancy is None else tenancy.all
        return tuple(rule for rule in rules if not rule.roles or not rule.roles.isdisjoint(roles))

    def whose(self, principal: Principal) -> str:
        """Give the tenant of a principal, where it makes a difference."""
        return principal.tenant if self._unknown is not None else ""

    def hidden(self, principal: Principal) -> frozenset[str]:
        """Give the servers of the endpoint that are not of a principal's tenant, nor for all."""
        tenancy = self._tenancy(principal.tenant)
        return _NOBODYS if tenancy is None else tenancy.hidden

    def _tenancy(self, tenant: str) -> _Tenancy | None:
        """Give what holds for a tenant; None where there are none. One that is not declared has nothing."""
        return None if self._unknown is None else self._tenants.get(tenant, self._unknown)

    def grants_on(self, target: Target, tenant: str = "") -> Sequence[tuple[str, str]]:
        """Give the roles that are allowed a target, each with the rule that says so; denials are not looked at."""
        found: dict[str, str] = {}
        tenancy = self._tenancy(tenant)
        for rule in self._rules if tenancy is None else (*self._rules, *tenancy.rules):
            if rule.decision.allowed and rule.applies(target):
                for role in sorted(rule.roles):
                    found.setdefault(role, rule.decision.rule)
        return tuple(found.items())

    def roles_in(self, decision: Decision) -> frozenset[str]:
        """Give the roles that the rule of a decision is about; none where it is about everybody, or no rule's."""
        own = chain.from_iterable(each.rules for each in self._tenants.values())
        for rule in chain(self._rules, own):
            if rule.decision is decision:
                return rule.roles
        return frozenset()


def decide(rules: Sequence[Compiled], target: Target) -> Decision:
    """Give what the first of them that is about a target says."""
    for rule in rules:
        if rule.applies(target):
            return rule.decision
    return NO_RULE


def reach(rules: Sequence[Compiled], server: str, kind: Kind | None) -> bool | None:
    """Tell whether a rule may allow something (of a kind) of a server of which nothing is known; None: none says so.

    False where all of the server is denied.
    """
    for rule in rules:  # denials come first
        if not rule.selected.concerns(server):
            continue
        if rule.may_allow(kind):
            return True
        if not rule.decision.allowed and not rule.selected.names:
            return False
    return None


class Scopes:
    """Which scopes a token has to have for what, at one endpoint."""

    def __init__(self, declared: Sequence[Scope]) -> None:
        self._declared = [(scope.name, _selected(scope.covers)) for scope in declared]

    def missing(self, target: Target, held: frozenset[str]) -> frozenset[str]:
        """Give the scopes that a token lacks for a target: one that covers it, the first, where several do.

        Where nobody can tell what it comes to (a method of an extension, a URI written oddly), all that may cover it.
        """
        covering = [name for name, selected in self._declared if selected.covers(target, odd=True)]
        if target.kind is Kind.EXTENSION or (target.kind in _URIS and not is_plain(target.name)):
            return frozenset(covering) - held
        if not covering or not held.isdisjoint(covering):
            return frozenset()
        return frozenset(covering[:1])


def _tenancy(
    endpoint: EndpointSpec, rules: Sequence[Compiled], roles: Sequence[Role], own: Tenant, tenants: Tenants
) -> _Tenancy:
    """Make what holds at an endpoint for the principals of a declared tenant; `rules` and `roles` are everybody's."""
    granted = [each for role in own.roles for each in _grants(endpoint.path, role, f"tenants.{own.name}.")]
    denied: list[Compiled] = []
    hidden: set[str] = set()
    for other in tenants:
        is_others = endpoint.path in other.endpoints
        named = frozenset(endpoint.servers if is_others else other.servers)
        if other.name != own.name and (named or is_others):
            denied.append(_denied(f"tenants.{other.name}", other.name, None if is_others else named))
            hidden |= named
    implying = implied((*roles, *own.roles))
    ruled = sorted((*rules, *granted), key=lambda rule: rule.decision.allowed)
    return _Tenancy(tuple(granted), (*denied, *ruled), implying, frozenset(hidden))


def _nothing_for(endpoint: EndpointSpec) -> _Tenancy:
    """Make what holds for principals of a tenant that is not declared."""
    return _Tenancy((), (_denied("tenants", "", None),), {}, frozenset(endpoint.servers))


def _denied(rule: str, tenant: str, servers: frozenset[str] | None) -> Compiled:
    """Make the denial of what is a tenant's; of everything, where no servers are given."""
    who = f"of the tenant {tenant}" if tenant else "of a tenant that is declared"
    decision = Decision(False, rule, because=f"whoever asks would have to be {who}")
    return Compiled(decision, frozenset(), _Selected(None if servers is None else servers.__contains__, {}))


def _grants(path: str, role: Role, at: str = "") -> list[Compiled]:
    found: list[Compiled] = []
    for grant in role.grants:
        matches = _patterns(grant.endpoints)
        if matches is None or matches(path):
            rule = f"{at}roles.{role.name} {grant.effect.value}[{grant.number}]"
            decision = Decision(grant.effect is Effect.ALLOW, rule)
            found.append(Compiled(decision, frozenset({role.name}), _selected(grant.selection)))
    return found


def _selected(given: Rule | Selection) -> _Selected:
    resources = _patterns(given.resources)
    patterns = {
        Kind.TOOL: _patterns(given.tools),
        Kind.PROMPT: _patterns(given.prompts),
        Kind.RESOURCE: resources,
        Kind.TEMPLATE: resources,
    }
    names = {kind: matches for kind, matches in patterns.items() if matches is not None}
    return _Selected(_patterns(given.servers), names)


def _patterns(patterns: tuple[str, ...]) -> _Match | None:
    """Give a test for any of the shell-style patterns, case and all; None where any name will do."""
    if not patterns:
        return None
    return re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns)).match
