"""Weigh: a decision made anew for whoever wants it explained, with what each part says. Keeps nothing of it.

Rules and engines are asked as a call asks them; what they say is put together by `engines`, not here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tidegate.access import engines
from tidegate.access.engines import Combined, Failed
from tidegate.access.rules import NO_RULE
from tidegate.domain.principal import Principal
from tidegate.domain.target import Decision, Kind, Target
from tidegate.ports.policy import Policy, Verdict


@dataclass(frozen=True, slots=True)
class Voice:
    """What one engine says by itself."""

    engine: str
    allowed: bool | None
    """None where no rule of it is about the target."""
    rule: str
    arguments: bool = False
    """Whether it depends on arguments."""
    reads: Mapping[str, str] = field(default_factory=dict[str, str])
    because: str = ""
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Weighed:
    """A decision and its parts."""

    ruled: Decision
    """What the endpoint's rules and the grants of roles say."""
    voices: tuple[Voice, ...]
    """What each engine says without arguments; none where the rules deny, since none is asked then."""
    shown: Decision
    """What is decided without arguments: whether it is shown."""
    judged: tuple[Voice, ...] = ()
    """What each engine whose rules read arguments says of these."""
    final: Decision = NO_RULE
    """What is decided with them; as `shown` where none reads any, or none were given."""


async def weigh(
    ruled: Decision,
    policies: Sequence[Policy],
    principal: Principal,
    at: tuple[str, Target],
    arguments: object | None,
) -> Weighed:
    """Ask engines of a target `at` an endpoint, as calls are decided. `arguments` is None where none are known."""
    endpoint, target = at
    if not policies or not (ruled.allowed or ruled is NO_RULE):
        return Weighed(ruled, (), ruled, (), ruled)
    said: list[tuple[Policy, Verdict | Failed]] = []
    for policy in policies:
        verdicts = await engines.verdicts(policy, principal, endpoint, (target,))
        said.append((policy, verdicts if isinstance(verdicts, Failed) else verdicts[0]))
    combined = engines.combine(ruled, said)
    voices = tuple(_voice(policy, verdict) for policy, verdict in said)
    shown = combined.decision
    reading = target.kind is Kind.RESOURCE  # it has no arguments: it is judged at once
    if not combined.judges or (arguments is None and not reading):
        return Weighed(ruled, voices, shown, (), shown)
    judged, final = await _judge(combined, principal, at, {} if arguments is None else arguments)
    if reading:
        shown = final = Decision(final.allowed, final.rule, False, final.reads, final.because)
    return Weighed(ruled, voices, shown, judged, final)


async def _judge(
    combined: Combined, principal: Principal, at: tuple[str, Target], arguments: object
) -> tuple[tuple[Voice, ...], Decision]:
    endpoint, target = at
    said = [
        (policy, await engines.judgement(policy, principal, endpoint, target, arguments))
        for policy in combined.judges
    ]
    return tuple(_voice(policy, verdict) for policy, verdict in said), engines.judged(combined, said)


def _voice(policy: Policy, verdict: Verdict | Failed) -> Voice:
    name = policy.name[: engines.LONGEST_NAME]
    if isinstance(verdict, Failed):
        failure = engines.failure(policy, verdict)
        return Voice(name, False, failure.rule, because=failure.because, failed=True)
    return Voice(name, verdict.allowed, verdict.rule, verdict.arguments, verdict.reads, verdict.because)
