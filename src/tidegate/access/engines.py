"""Engines: what policies say, asked within bounds and put together with the rules. What goes wrong denies."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tidegate.access.rules import NO_RULE
from tidegate.domain.errors import TidegateError
from tidegate.domain.principal import Principal
from tidegate.domain.target import Decision, Target
from tidegate.ports.policy import Policy, Verdict
from tidegate.telemetry import log

PATIENCE = 10.0
"""Seconds that an engine has to answer at most: it has a deadline of its own, which is shorter."""
_MOST_READS, _LONGEST_READ, LONGEST_NAME = 16, 200, 100
"""What is kept of what was read: it stands in the record of the call, whose room is bounded."""

_Found = TypeVar("_Found")
Said = tuple[Policy, "Sequence[Verdict] | None"]
"""What an engine said of some targets, in their order; None where it failed."""


@dataclass(frozen=True, slots=True)
class Combined:
    """What rules and engines say of one target together."""

    decision: Decision
    judges: tuple[Policy, ...] = ()
    """Those whose rules read arguments."""
    sure: Decision = NO_RULE
    """What is said whatever the arguments are."""
    failed: bool = False
    """Whether it is a denial for want of an engine that decides."""


def failure(policy: Policy) -> Decision:
    """Give the denial that an engine's failure is."""
    return Decision(False, f"{_name(policy)} could not decide")


async def verdicts(
    policy: Policy, principal: Principal, endpoint: str, targets: Sequence[Target]
) -> Sequence[Verdict] | None:
    """Ask an engine about targets; None where it failed."""
    found = await _within(policy, policy.decide(principal, endpoint, targets))
    if found is not None and len(found) != len(targets):
        log().error("policy.failed", policy=_name(policy), reason=f"{len(found)} verdicts of {len(targets)}")
        return None
    return found


async def judgement(
    policy: Policy, principal: Principal, endpoint: str, target: Target, arguments: object
) -> Verdict | None:
    """Have an engine judge a call; None where it failed."""
    return await _within(policy, policy.judge(principal, endpoint, target, arguments))


def combine(ruled: Decision, said: Sequence[tuple[Policy, Verdict | None]]) -> Combined:
    """Put together what the rules and each engine say: a denial overrides, and one has to allow it."""
    reads = _reads([verdict for _, verdict in said if verdict is not None])
    for policy, verdict in said:
        if verdict is None:
            return Combined(failure(policy), failed=True)
    known = [(policy, verdict) for policy, verdict in said if verdict is not None]
    for _, verdict in known:
        if verdict.allowed is False:
            return Combined(Decision(False, verdict.rule, False, reads, verdict.because))
    judges = tuple(policy for policy, verdict in known if verdict.arguments)
    sure, maybe = ruled, None
    for _, verdict in known:
        if verdict.allowed and not verdict.arguments and not sure.allowed:
            sure = Decision(True, verdict.rule)
        elif verdict.allowed and maybe is None:
            maybe = verdict
    if not sure.allowed and maybe is None:
        because = next((verdict.because for _, verdict in known if verdict.because), "")
        return Combined(Decision(False, NO_RULE.rule, False, reads, because) if reads or because else NO_RULE)
    if sure is ruled and sure.allowed and not judges and not reads:
        return Combined(sure)
    rule = sure.rule if sure.allowed or maybe is None else maybe.rule
    return Combined(Decision(True, rule, bool(judges), reads), judges, sure)


def judged(combined: Combined, said: Sequence[tuple[Policy, Verdict | None]]) -> Decision:
    """Give the decision of a call whose arguments were judged."""
    for policy, verdict in said:
        if verdict is None:
            return failure(policy)
    known = [verdict for _, verdict in said if verdict is not None]
    reads = _reads(known, combined.decision)
    for verdict in known:
        if verdict.allowed is False:
            return Decision(False, verdict.rule, False, reads, verdict.because)
    if combined.sure.allowed:
        return Decision(True, combined.sure.rule, True, reads)
    for verdict in known:
        if verdict.allowed:
            return Decision(True, verdict.rule, True, reads)
    because = next((verdict.because for verdict in known if verdict.because), "")
    return Decision(False, NO_RULE.rule, False, reads, because)


async def _within(policy: Policy, work: Awaitable[_Found]) -> _Found | None:
    try:
        async with asyncio.timeout(PATIENCE):
            return await work
    except Exception as error:  # noqa: BLE001 - whatever goes wrong in an engine, the answer must be no
        reason = "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
        if isinstance(error, TidegateError):
            reason = str(error)
        log().error("policy.failed", policy=_name(policy), reason=reason)
        return None


def _reads(verdicts: Sequence[Verdict], before: Decision = NO_RULE) -> dict[str, str]:
    found: dict[str, str] = {}
    for reads in (before.reads, *(verdict.reads for verdict in verdicts)):
        for name, value in reads.items():
            if len(found) < _MOST_READS or name in found:
                found[name[:LONGEST_NAME]] = value[:_LONGEST_READ]
    return found


def _name(policy: Policy) -> str:
    return policy.name[:LONGEST_NAME]
