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


@dataclass(frozen=True, slots=True)
class Failed:
    """An engine did not decide: what it was asked is denied."""

    because: str


Said = tuple[Policy, "Sequence[Verdict] | Failed"]
"""What an engine said of some targets, in their order."""


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


def failure(policy: Policy, failed: Failed) -> Decision:
    """Give the denial that an engine's failure is."""
    return Decision(False, f"{_name(policy)} could not decide", because=failed.because)


async def verdicts(
    policy: Policy, principal: Principal, endpoint: str, targets: Sequence[Target]
) -> Sequence[Verdict] | Failed:
    """Ask an engine about targets."""
    found = await _within(policy, policy.decide(principal, endpoint, targets))
    if not isinstance(found, Failed) and len(found) != len(targets):
        return _failed(policy, f"{len(found)} verdicts of {len(targets)}")
    return found


async def judgement(
    policy: Policy, principal: Principal, endpoint: str, target: Target, arguments: object
) -> Verdict | Failed:
    """Have an engine judge a call."""
    return await _within(policy, policy.judge(principal, endpoint, target, arguments))


def combine(ruled: Decision, said: Sequence[tuple[Policy, Verdict | Failed]]) -> Combined:
    """Put together what the rules and each engine say: a denial overrides, and one has to allow it."""
    known: list[tuple[Policy, Verdict]] = []
    for policy, verdict in said:
        if isinstance(verdict, Failed):
            return Combined(failure(policy, verdict), failed=True)
        known.append((policy, verdict))
    reads = _reads([verdict for _, verdict in known])
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


def judged(combined: Combined, said: Sequence[tuple[Policy, Verdict | Failed]]) -> Decision:
    """Give the decision of a call whose arguments were judged."""
    known: list[Verdict] = []
    for policy, verdict in said:
        if isinstance(verdict, Failed):
            return failure(policy, verdict)
        known.append(verdict)
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


async def _within(policy: Policy, work: Awaitable[_Found]) -> _Found | Failed:
    try:
        async with asyncio.timeout(PATIENCE):
            return await work
    except Exception as error:  # noqa: BLE001 - whatever goes wrong in an engine, the answer must be no
        reason = "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
        if isinstance(error, TidegateError):
            reason = str(error)
        return _failed(policy, reason)


def _failed(policy: Policy, reason: str) -> Failed:
    log().error("policy.failed", policy=_name(policy), reason=reason)
    return Failed(reason[:_LONGEST_READ])


def _reads(verdicts: Sequence[Verdict], before: Decision = NO_RULE) -> dict[str, str]:
    found: dict[str, str] = {}
    for reads in (before.reads, *(verdict.reads for verdict in verdicts)):
        for name, value in reads.items():
            if len(found) < _MOST_READS or name in found:
                found[name[:LONGEST_NAME]] = value[:_LONGEST_READ]
    return found


def _name(policy: Policy) -> str:
    return policy.name[:LONGEST_NAME]
