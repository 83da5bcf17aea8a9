"""Explain: what would become of a call, part by part in the order of a call's path, and what would have allowed it.

A dry evaluation: nothing is sent, counted or kept. What a call meets decides it (`pipeline`, `deciding`); here is told
what that would be, by the very same rules, engines, stops and quotas.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import ceil

from tidegate.access.quotas import Quotas
from tidegate.access.rules import NO_RULE
from tidegate.access.stops import Stops
from tidegate.access.weigh import Voice, Weighed
from tidegate.domain.errors import InvalidParams
from tidegate.domain.principal import Principal
from tidegate.domain.quota import Per
from tidegate.domain.target import Decision, Kind, Target
from tidegate.gateway import spelling
from tidegate.gateway.endpoint import Endpoint
from tidegate.gateway.named import Named, find

MOST_TRIED = 8
"""Roles that are tried for whether they would allow it."""
SPELLING = "spelling"
"""The rule where an argument could be read as another (`gateway/spelling`)."""
_ONES_OWN = frozenset({Per.PRINCIPAL, Per.TENANT})
"""What quotas count by that count no other tenant's calls."""
_MOST_TOLD = 64
"""Roles of a principal that are told."""


class Part(StrEnum):
    """The parts that decide, in the order of a call's path."""

    NAME = "name"
    RULES = "rules"
    POLICY = "policy"
    STOP = "stop"
    SCOPE = "scope"
    ARGUMENTS = "arguments"
    QUOTA = "quota"


class Says(StrEnum):
    """What a part says."""

    ALLOW = "allow"
    DENY = "deny"
    NOTHING = "nothing"
    """None of it is about this."""
    DEPENDS = "depends"
    """That is for the arguments to decide."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be explained."""

    principal: Principal
    named: Named
    arguments: Mapping[str, object] | None = None
    """Of the call; where absent, it is explained whether it is shown."""
    scopes: frozenset[str] | None = None
    """Of the token; None where nothing is known of one."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one part says."""

    part: Part
    says: Says
    rule: str = ""
    """Which rule, role, policy, stop, scope or quota."""
    why: str = ""
    """In a sentence."""
    reads: Mapping[str, str] = field(default_factory=dict[str, str])
    """What it read, with the values as JSON."""
    help: tuple[str, ...] = ()
    """Where it denies: what would have allowed it."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What would become of a call."""

    question: Question
    target: Target | None
    shown: str
    visible: bool
    """Whether it is listed; what is not looks unknown."""
    allowed: bool
    depends: bool
    """Whether it is for the arguments to decide, which were not given."""
    rule: str
    """Which one decides."""
    part: Part
    answer: str
    """The word of the error that a client gets; empty where it gets none."""
    steps: tuple[Step, ...]

    @property
    def help(self) -> tuple[str, ...]:
        """Give what would have allowed it: each part that denies has to be satisfied."""
        return tuple(each for step in self.steps if step.says is Says.DENY for each in step.help)

    @property
    def reads(self) -> Mapping[str, str]:
        """Give all that was read."""
        return {name: value for step in self.steps for name, value in step.reads.items()}


_ANSWERS = {
    Part.NAME: "invalid_params", Part.RULES: "invalid_params", Part.POLICY: "invalid_params", Part.STOP: "stopped",
    Part.SCOPE: "insufficient_scope", Part.ARGUMENTS: "denied", Part.QUOTA: "limit_exceeded",
}  # fmt: skip


class Explainer:
    """Explains what is decided at endpoints."""

    def __init__(self, endpoints: Mapping[str, Endpoint], stops: Stops, quotas: Quotas) -> None:
        self.endpoints = endpoints
        self._stops = stops
        self._quotas = quotas

    async def explain(self, question: Question, *, within: bool = False) -> Explanation:
        """Explain a call at an endpoint, which has to be there.

        `within` the principal's tenant: nothing is told of other tenants, nor of how much others use.
        """
        named, principal = question.named, question.principal
        endpoint = self.endpoints[named.endpoint]
        found = find(self.endpoints, named, principal, within=within)
        if found.target is None:
            nothing = Step(Part.NAME, Says.DENY, "no such name", found.why, help=(found.why,))
            return _told(question, None, found.shown, False, (nothing,))
        target = found.target
        name = Step(Part.NAME, Says.NOTHING if found.why else Says.ALLOW, "", found.why)
        weighed = await endpoint.authorizer.weigh(principal, target, question.arguments)
        steps = [name, *await _ruled(endpoint, question, target, weighed)]
        judged = await _judged(endpoint, question, target, weighed)
        if target.kind is Kind.RESOURCE:  # without arguments, it is judged with the rest
            steps += [replace(step, part=Part.POLICY) for step in judged]
            judged = ()
        steps += self._stopped(principal, target, within=within)
        steps += _scoped(endpoint, target, question)
        steps += judged
        steps += self._counted(question, target, within=within)
        return _told(question, target, found.shown, weighed.shown.allowed, tuple(steps), weighed)

    def _stopped(self, principal: Principal, target: Target, *, within: bool) -> Sequence[Step]:
        if self._stops.unknown is not None:
            why = f"it is not known what is stopped, so every call is refused: {self._stops.unknown}"
            return [Step(Part.STOP, Says.DENY, "unknown", why, help=("the state store has to answer again",))]
        stop = self._stops.check(principal, target)
        if stop is None:
            return [Step(Part.STOP, Says.NOTHING)]
        by = stop.by if not within or stop.tenant == principal.tenant else "another administrator"
        why = f"{stop.words} is stopped by {by}: {stop.reason}"
        return [Step(Part.STOP, Says.DENY, f"stop {stop.id}", why, help=(f"tidegate resume {stop.id}",))]

    def _counted(self, question: Question, target: Target, *, within: bool) -> Sequence[Step]:
        steps: list[Step] = []
        path, tenant = question.named.endpoint, question.principal.tenant
        for quota, used, wait, unknown in self._quotas.look(question.principal, path, target):
            theirs = quota.tenants == (tenant,) or not _ONES_OWN.isdisjoint(quota.per)
            told = quota.words if within and not theirs else f"{used:.0f} used of {quota.words}"
            if unknown is not None:
                why = f"it is not known how much is used: {unknown}"
                steps.append(
                    Step(
                        Part.QUOTA, Says.DENY, quota.name, why, help=("the state store has to answer again",)
                    )
                )
            elif wait:
                after = f"waiting {max(1, ceil(wait))} s"
                steps.append(Step(Part.QUOTA, Says.DENY, quota.name, told, help=(after,)))
            else:
                steps.append(Step(Part.QUOTA, Says.ALLOW, quota.name, told))
        return steps or [Step(Part.QUOTA, Says.NOTHING)]


def _told(
    question: Question,
    target: Target | None,
    shown: str,
    visible: bool,
    steps: tuple[Step, ...],
    weighed: Weighed | None = None,
) -> Explanation:
    denying = next((step for step in steps if step.says is Says.DENY), None)
    if denying is not None:
        answer = _ANSWERS[denying.part]
        if denying.rule == "unknown" or denying.why.startswith("it is not known"):
            answer = "state_unavailable"
        elif denying.rule == SPELLING:
            answer = "invalid_params"
        return Explanation(
            question, target, shown, visible, False, False, denying.rule, denying.part, answer, steps
        )
    final = NO_RULE if weighed is None else weighed.final
    depends = final.arguments and weighed is not None and not weighed.judged
    saying = [step for step in steps if step.rule == final.rule]
    part = saying[-1].part if saying else Part.RULES
    return Explanation(question, target, shown, visible, not depends, depends, final.rule, part, "", steps)


# -- rules, roles and policies --------------------------------------------------------------------


async def _ruled(endpoint: Endpoint, question: Question, target: Target, weighed: Weighed) -> Sequence[Step]:
    """Tell what rules and roles say, and each engine without arguments. One of them has to allow it."""
    rules, ruled = endpoint.authorizer.rules, weighed.ruled
    roles = sorted(rules.roles_of(question.principal))[:_MOST_TOLD]
    reads = {"principal.roles": json.dumps(roles, ensure_ascii=False)}
    voices = [_voice(each) for each in weighed.voices]
    if ruled.allowed:
        return [Step(Part.RULES, Says.ALLOW, ruled.rule, reads=reads), *voices]
    about = sorted(rules.roles_in(ruled))
    if ruled is not NO_RULE:
        whom = f"whoever has the role {' or '.join(about[:MOST_TRIED])}" if about else "everybody"
        why = ruled.because or f"it denies it to {whom}, and a denial overrides"
        return [Step(Part.RULES, Says.DENY, ruled.rule, why, reads, _without(about, why)), *voices]
    if weighed.shown.allowed or weighed.judged or any(each.says is Says.DENY for each in voices):
        return [Step(Part.RULES, Says.NOTHING, "", "no rule and no role says anything of it", reads), *voices]
    help_ = (
        *await _roles(endpoint, question, target),
        *(each.because for each in weighed.voices if each.because),
    )
    why = "no rule, no role" + (" and no policy" if weighed.voices else "") + " allows it"
    return [
        Step(Part.RULES, Says.DENY, NO_RULE.rule, why, reads, help_ or ("no role is allowed it here",)),
        *voices,
    ]


def _without(about: Sequence[str], why: str) -> tuple[str, ...]:
    if about:
        return (f"not having the role {' or '.join(about[:MOST_TRIED])}",)
    return (why,)


async def _roles(endpoint: Endpoint, question: Question, target: Target) -> Sequence[str]:
    """Say with which further role it would be allowed, as far as is known."""
    found: list[str] = []
    principal = question.principal
    for role, rule in endpoint.authorizer.rules.grants_on(target, principal.tenant)[:MOST_TRIED]:
        other = replace(principal, roles=principal.roles | {role})
        weighed = await endpoint.authorizer.weigh(other, target, question.arguments)
        if weighed.final.allowed:
            found.append(f"the role {role} ({rule})")
        elif weighed.shown.allowed:
            found.append(f"the role {role} ({rule}), with other arguments")
    return found


def _voice(voice: Voice) -> Step:
    return Step(Part.POLICY, _says(voice), voice.rule, voice.because, voice.reads, _help(voice))


def _says(voice: Voice) -> Says:
    if voice.allowed is None:
        return Says.NOTHING
    if not voice.allowed:
        return Says.DENY
    return Says.DEPENDS if voice.arguments else Says.ALLOW


def _help(voice: Voice) -> tuple[str, ...]:
    if voice.failed:
        return (f"{voice.engine} has to answer: the log says why it does not (policy.failed)",)
    return (voice.because,) if voice.because else (f"{voice.rule} would have to say otherwise",)


async def _judged(endpoint: Endpoint, question: Question, target: Target, weighed: Weighed) -> Sequence[Step]:
    """Tell what policies say of the arguments."""
    if not weighed.shown.arguments and not weighed.judged:
        return []
    if not weighed.judged:
        why = "policies read the arguments, which were not given"
        return [Step(Part.ARGUMENTS, Says.DEPENDS, weighed.shown.rule, why)]
    try:
        spelling.check(question.arguments, _definition(endpoint, target))
    except InvalidParams as error:
        return [
            Step(
                Part.ARGUMENTS,
                Says.DENY,
                SPELLING,
                str(error),
                help=("it would have to be written otherwise",),
            )
        ]
    steps = [replace(_voice(each), part=Part.ARGUMENTS) for each in weighed.judged]
    final = weighed.final
    if not final.allowed and not any(step.says is Says.DENY for step in steps):
        because = (each.because for each in weighed.judged if each.because)
        help_ = (*await _roles(endpoint, question, target), *because)
        steps.append(_nobody(final, help_))
    return steps


def _definition(endpoint: Endpoint, target: Target) -> bytes:
    """Give what is shown of a target; nothing where it is not shown to all."""
    shown = endpoint.view.of(target.kind).values()
    return next((entry.encoded for entry in shown if entry.target == target), b"")


def _nobody(final: Decision, help_: tuple[str, ...]) -> Step:
    why = "no rule, no role and no policy allows it with these arguments"
    return Step(Part.ARGUMENTS, Says.DENY, final.rule, why, final.reads, help_)


# -- scopes ---------------------------------------------------------------------------------------


def _scoped(endpoint: Endpoint, target: Target, question: Question) -> Sequence[Step]:
    wanted = sorted(endpoint.authorizer.missing_scopes(target, frozenset()))
    if not wanted:
        return [Step(Part.SCOPE, Says.NOTHING)]
    if question.scopes is None:
        why = f"a token with scopes would need {', '.join(wanted)}; what has none is not held to any"
        return [Step(Part.SCOPE, Says.NOTHING, "", why)]
    missing = sorted(endpoint.authorizer.missing_scopes(target, question.scopes))
    reads = {"token.scopes": json.dumps(sorted(question.scopes)[:_MOST_TOLD], ensure_ascii=False)}
    if not missing:
        return [Step(Part.SCOPE, Says.ALLOW, "", "the token was issued for it", reads)]
    why = f"the token lacks a scope for this: {', '.join(missing)}"
    return [
        Step(
            Part.SCOPE,
            Says.DENY,
            ", ".join(missing),
            why,
            reads,
            (f"a token with the scope {', '.join(missing)}",),
        )
    ]
