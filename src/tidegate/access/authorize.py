"""Whether a principal may have a target, by an endpoint's rules. Reads no argument and no result."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tidegate.domain.endpoint import Effect, EndpointSpec, Rule
from tidegate.domain.principal import Principal
from tidegate.domain.target import Decision, Kind, Target
from tidegate.protocol.uris import is_plain

NO_RULE = Decision(False, "no rule")
FAILED = Decision(False, "the rules could not be applied")
MAX_ROLE_SETS = 256
MAX_TARGETS = 16384
"""Decisions kept for one set of roles: more than an endpoint has targets."""
LONGEST_NAME = 256
"""Characters of a name or URI whose decisions are kept: clients make up URIs."""
ROLES = frozenset({"user", "admin"})
"""The roles there are."""

_Match = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class _Compiled:
    decision: Decision
    roles: frozenset[str]
    servers: _Match | None
    names: Mapping[Kind, _Match]
    """By kind; empty where the rule is about everything."""

    def concerns(self, roles: frozenset[str], server: str) -> bool:
        if self.roles and self.roles.isdisjoint(roles):
            return False
        return self.servers is None or bool(self.servers(server))

    def applies(self, roles: frozenset[str], target: Target) -> bool:
        if not self.concerns(roles, target.server):
            return False
        if not self.names:
            return True
        if target.kind is Kind.EXTENSION:
            return not self.decision.allowed  # it may read or do, by another method, just what is denied
        matches = self.names.get(target.kind)
        if matches is None:
            return False
        if target.kind in (Kind.RESOURCE, Kind.TEMPLATE) and not is_plain(target.name):
            return not self.decision.allowed  # a URI written oddly fits every denial and no permission
        return bool(matches(target.name))

    def may_allow(self, kind: Kind | None) -> bool:
        return self.decision.allowed and (not self.names or kind is None or kind in self.names)


class Authorizer:
    """The rules of one endpoint: deny overrides, none means deny, a failure denies."""

    def __init__(self, endpoint: EndpointSpec) -> None:
        compiled = [_compile(endpoint.path, number, rule) for number, rule in enumerate(endpoint.rules)]
        self._rules = sorted(compiled, key=lambda rule: rule.decision.allowed)
        self._kept: dict[frozenset[str], dict[Target, Decision]] = {}

    @property
    def same_for_all(self) -> bool:
        """Whether every role gets the same answers."""
        return all(not rule.roles or rule.roles >= ROLES for rule in self._rules)

    def decide(self, principal: Principal, target: Target) -> Decision:
        """Allow or deny, with the rule that says so. Rules ask for roles only, so decisions are kept by them."""
        kept = self._kept.get(principal.roles)
        if kept is not None:
            decision = kept.get(target)
            if decision is not None:
                return decision
        try:
            decision = self._decide(principal.roles, target)
        except Exception:  # noqa: BLE001 - whatever goes wrong in here, the answer must be no
            return FAILED
        self._keep(principal.roles, target, decision)
        return decision

    def may_reach(self, principal: Principal, server: str, kind: Kind | None = None) -> bool:
        """Tell whether a rule may allow a principal something (of a kind) of a server of which nothing is known."""
        for rule in self._rules:
            if rule.concerns(principal.roles, server):
                if rule.may_allow(kind):
                    return True
                if not rule.decision.allowed and not rule.names:
                    return False
        return False

    def _decide(self, roles: frozenset[str], target: Target) -> Decision:
        for rule in self._rules:
            if rule.applies(roles, target):
                return rule.decision
        return NO_RULE

    def _keep(self, roles: frozenset[str], target: Target, decision: Decision) -> None:
        if len(target.name) > LONGEST_NAME:
            return
        kept = self._kept.get(roles)
        if kept is None:
            if len(self._kept) >= MAX_ROLE_SETS:
                self._kept.clear()
            kept = self._kept[roles] = {}
        if len(kept) >= MAX_TARGETS:
            kept.clear()
        kept[target] = decision


def _compile(path: str, number: int, rule: Rule) -> _Compiled:
    decision = Decision(rule.effect is Effect.ALLOW, f"{path} rules[{number}]")
    resources = _patterns(rule.resources)
    given = {
        Kind.TOOL: _patterns(rule.tools),
        Kind.PROMPT: _patterns(rule.prompts),
        Kind.RESOURCE: resources,
        Kind.TEMPLATE: resources,
    }
    names = {kind: matches for kind, matches in given.items() if matches is not None}
    return _Compiled(decision, rule.roles, _patterns(rule.servers), names)


def _patterns(patterns: tuple[str, ...]) -> _Match | None:
    """Give a test for any of the shell-style patterns, case and all; None where any name will do."""
    if not patterns:
        return None
    return re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns)).match
