"""Whether a principal may have a target, by an endpoint's rules. Reads no argument and no result."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable
from dataclasses import dataclass

from tidegate.domain.endpoint import Effect, EndpointSpec, Rule
from tidegate.domain.principal import Principal
from tidegate.domain.target import Decision, Kind, Target

NO_RULE = Decision(False, "no rule")
FAILED = Decision(False, "the rules could not be applied")
MAX_ROLE_SETS = 256
MAX_TARGETS = 16384
"""Decisions kept for one set of roles: more than an endpoint has targets."""

_Match = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class _Compiled:
    decision: Decision
    roles: frozenset[str]
    servers: _Match | None
    tools: _Match | None

    def concerns(self, roles: frozenset[str], server: str) -> bool:
        if self.roles and self.roles.isdisjoint(roles):
            return False
        return self.servers is None or bool(self.servers(server))

    def applies(self, roles: frozenset[str], target: Target) -> bool:
        if not self.concerns(roles, target.server):
            return False
        if self.tools is None:
            return True
        return target.kind is Kind.TOOL and bool(self.tools(target.name))


class Authorizer:
    """The rules of one endpoint: deny overrides, none means deny, a failure denies."""

    def __init__(self, endpoint: EndpointSpec) -> None:
        compiled = [_compile(endpoint.path, number, rule) for number, rule in enumerate(endpoint.rules)]
        self._rules = sorted(compiled, key=lambda rule: rule.decision.allowed)
        self._kept: dict[frozenset[str], dict[Target, Decision]] = {}

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

    def may_reach(self, principal: Principal, server: str) -> bool:
        """Tell whether a rule may allow a principal some tool of a server whose tools are not known."""
        for rule in self._rules:
            if rule.concerns(principal.roles, server):
                if rule.decision.allowed:
                    return True
                if rule.tools is None:
                    return False
        return False

    def _decide(self, roles: frozenset[str], target: Target) -> Decision:
        for rule in self._rules:
            if rule.applies(roles, target):
                return rule.decision
        return NO_RULE

    def _keep(self, roles: frozenset[str], target: Target, decision: Decision) -> None:
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
    return _Compiled(decision, rule.roles, _patterns(rule.servers), _patterns(rule.tools))


def _patterns(patterns: tuple[str, ...]) -> _Match | None:
    """Give a test for any of the shell-style patterns, case and all; None where any name will do."""
    if not patterns:
        return None
    return re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns)).match
