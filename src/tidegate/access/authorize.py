"""Whether a principal may have a target: an endpoint's rules, the grants of roles and the policies, put together.

Deny overrides, none means deny, a failure denies. What was decided is kept, bounded, for all principals who are
alike in what is read, until a policy changes; only calls whose arguments are read are judged one by one.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from tidegate.access import engines, rules
from tidegate.access.beside import Lane, Over, Pace, Run, Work, here
from tidegate.access.classes import LONGEST_NAME, Class, Classes, closed
from tidegate.access.engines import Combined, Failed, Said
from tidegate.access.outage import Outage
from tidegate.access.rules import NO_RULE, ROLES, Rules, Scopes
from tidegate.access.weigh import Weighed, weigh
from tidegate.domain.endpoint import EndpointSpec
from tidegate.domain.errors import TidegateError
from tidegate.domain.principal import Principal
from tidegate.domain.role import Role
from tidegate.domain.target import Decision, Kind, Target, is_reaching, reaching
from tidegate.domain.tenant import NO_TENANTS, Tenants
from tidegate.ports.policy import Policy
from tidegate.protocol.uris import is_plain

__all__ = ["FAILED", "LONGEST_NAME", "NO_RULE", "ROLES", "Authorizer", "Grants", "Undecided"]

FAILED = Decision(False, "the rules could not be applied")
CHANGING = Decision(False, "the policies keep changing")
ODD = Decision(
    False, "no policy judges such a URI", because="its URI would have to be written in the one usual way"
)
FEW = 256
"""Targets that are decided at once; more are decided beside the loop."""
_CHUNK = 512
"""Targets that an engine is asked about at one time."""
_FAILED_FOR = 1.0
"""Seconds that a denial holds for want of an engine that decides."""
_READINGS = 16
"""Resources that are judged in a turn of the loop."""
_TRIES = 3
"""Times that something is decided anew since the policies changed meanwhile."""
_versions = itertools.count(1)
_Made = TypeVar("_Made")


class Undecided(TidegateError):
    """No engine was asked about these targets yet. Have it `settled`, and go on."""

    def __init__(self, authorizer: Authorizer, principal: Principal, targets: Sequence[Target]) -> None:
        super().__init__(f"{len(targets)} targets are not decided yet")
        self.targets = targets
        self._authorizer = authorizer
        self._principal = principal

    async def settled(self) -> None:
        """Have the engines asked."""
        await self._authorizer.know(self._principal, self.targets)


@dataclass(frozen=True, slots=True)
class Grants:
    """What decides beside the rules of an endpoint, the same for all endpoints."""

    roles: tuple[Role, ...] = ()
    policies: tuple[Policy, ...] = ()
    tenants: Tenants = NO_TENANTS
    lane: Lane = field(default_factory=Lane, compare=False, repr=False)
    """Where much is decided: one for all endpoints."""

    def at(self, endpoint: EndpointSpec) -> Authorizer:
        """Give what decides at an endpoint."""
        return Authorizer(endpoint, self.roles, self.policies, tenants=self.tenants, lane=self.lane)


class Authorizer:
    """What decides at one endpoint."""

    def __init__(
        self,
        endpoint: EndpointSpec,
        roles: Sequence[Role] = (),
        policies: Sequence[Policy] = (),
        *,
        tenants: Tenants = NO_TENANTS,
        clock: Callable[[], float] = time.monotonic,
        lane: Lane | None = None,
    ) -> None:
        """`clock` gives seconds and never goes back; `lane` is where much is decided."""
        self._path = endpoint.path
        self._rules = Rules(endpoint, roles, tenants)
        self._scopes = Scopes(endpoint.scopes) if endpoint.scopes else None
        self._policies = tuple(policies)
        self._clock = clock
        self._lane = lane or Lane()
        self._forget()

    @property
    def same_for_all(self) -> bool:
        """Whether every principal with a built-in role gets the same answers."""
        return not self._policies and self._rules.same_for_all

    @property
    def asks(self) -> bool:
        """Whether there are engines to ask."""
        return bool(self._policies)

    @property
    def version(self) -> int:
        """A number that is another one when what was decided before may no longer hold."""
        self._is_current()
        return self._version

    def decide(self, principal: Principal, target: Target) -> Decision:
        """Allow or deny, with the rule that says so.

        Raises:
            Undecided: an engine has to be asked first.
        """
        found = self._classes.of.get(principal.basis)
        if found is not None:
            decision = found.decisions.get(target)
            if decision is not None and (not self._policies or self._is_current()):
                return decision
        return self._decide(principal, target)

    def may_reach(self, principal: Principal, server: str, kind: Kind | None = None) -> bool:
        """Tell whether a principal may have something (of a kind) of a server of which nothing is known.

        Raises:
            Undecided: an engine has to be asked first.
        """
        ruled = rules.reach(self._class(principal).rules, server, kind)
        if ruled is False or not self._policies:
            return ruled is True
        decision = self._decide(principal, reaching(server))
        return decision.allowed or (ruled is True and decision.rule == NO_RULE.rule)

    def sees(self, principal: Principal) -> Class:
        """Give what stands for all who are shown the same now: what is kept for them is kept by it."""
        self._is_current()
        return self._class(principal)

    def hidden(self, principal: Principal) -> frozenset[str]:
        """Give the servers that are of other tenants than a principal: for it they are not there at all."""
        return self._rules.hidden(principal)

    def missing_scopes(self, target: Target, held: frozenset[str]) -> frozenset[str]:
        """Give the scopes that a token lacks for a target."""
        return frozenset() if self._scopes is None else self._scopes.missing(target, held)

    # -- explaining ---------------------------------------------------------------------------

    async def weigh(self, principal: Principal, target: Target, arguments: object | None = None) -> Weighed:
        """Decide anew as a call is decided, keep nothing, and tell what each part says."""
        roles = self._rules.roles_of(principal)
        found = Class(None, principal, self._rules.of(roles, principal.tenant))
        (ruled,) = await here(partial(self._ruled, found, (target,)))
        return await weigh(ruled, self._policies, self._told(principal), (self._path, target), arguments)

    @property
    def rules(self) -> Rules:
        """The rules of the endpoint, and the grants of roles there."""
        return self._rules

    # -- engines ------------------------------------------------------------------------------

    async def know(self, principal: Principal, targets: Sequence[Target]) -> Sequence[Decision]:
        """Decide about targets, asking engines about those that are not known, beside the loop where they are many."""
        for _ in range(_TRIES):
            version = self.version
            found = self._class(principal)
            if len(targets) > FEW:
                async with found.lock:
                    known = await self._known(found, targets, self._lane.run)
            else:
                known = await self._known(found, targets, here)
            if self.version == version:
                return known
        return [CHANGING for _ in targets]

    async def judge(self, principal: Principal, target: Target, arguments: object) -> Decision:
        """Decide about a call by its arguments, as they are decoded from JSON. Only those engines are asked that read them."""
        for _ in range(_TRIES):
            version = self.version
            (decision,) = await self.know(principal, (target,))
            if not decision.allowed or not decision.arguments:
                return decision
            found = self._class(principal)
            combined = found.judges.get(target)
            if combined is None:  # others took its room meanwhile
                self._classes.drop(found, target)
            else:
                told = self._told(principal)
                decision, _ = await self._judged(told, target, arguments, combined)
                if self.version == version:
                    return decision if decision.reads else found.share(decision)
        return CHANGING

    async def beside(self, work: Work[_Made]) -> _Made:
        """Have something made of many decisions, beside the loop."""
        return await self._lane.run(work)

    async def recovered(self) -> bool:
        """Tell, once, that engines decide again that could not: what was made meanwhile may be too little."""
        asked = self._outage.due(self._clock())
        if asked is None:
            return False
        principal, target = asked
        for policy in self._policies:
            if isinstance(await engines.verdicts(policy, principal, self._path, (target,)), Failed):
                self._outage.goes_on(self._clock())
                return False
        self._outage.ended(self._clock())
        return True

    async def _judged(
        self, principal: Principal, target: Target, arguments: object, combined: Combined
    ) -> tuple[Decision, bool]:
        """Decide by arguments; tell, too, whether it is a denial since an engine failed."""
        said = [
            (policy, await engines.judgement(policy, principal, self._path, target, arguments))
            for policy in combined.judges
        ]
        return engines.judged(combined, said), any(isinstance(verdict, Failed) for _, verdict in said)

    async def _known(self, found: Class, targets: Sequence[Target], run: Run) -> Sequence[Decision]:
        """Decide about targets; `run` does the work, here or beside the loop."""
        known, unknown = await run(partial(_apart, found, targets, self._clock()))
        for at in range(0, len(unknown), _CHUNK):
            known |= await self._learn(found, unknown[at : at + _CHUNK], run)
        return await run(partial(_in_order, known, targets))

    async def _learn(self, found: Class, targets: Sequence[Target], run: Run) -> Mapping[Target, Decision]:
        """Decide about targets of which nothing is known, and keep it."""
        ruled = await run(partial(self._ruled, found, targets))
        combined = await self._asked(found, targets, ruled, run) if self._policies else None
        until = self._clock() + _FAILED_FOR
        learned = await run(partial(_learned, found, targets, combined or ruled, until))
        self._classes.keep_all(found, learned.decisions)
        found.judges.update(learned.judges)
        for target, each in learned.long:
            self._classes.keep(found, target, each.decision)
            if each.judges:
                found.judges[target] = each
        if learned.failed:
            found.fail(learned.failed, until)
            self._outage.met((found.principal, next(iter(learned.failed))), self._clock())
        return learned.all

    async def _asked(
        self, found: Class, targets: Sequence[Target], ruled: Sequence[Decision], run: Run
    ) -> Sequence[Combined]:
        """Ask the engines about those targets that the rules do not deny."""
        asked = await run(partial(_open_of, targets, ruled))
        said: list[Said] = []
        async with self._lane.asking if len(asked) > FEW else nullcontext():
            for policy in self._policies if asked else ():
                said.append((policy, await engines.verdicts(policy, found.principal, self._path, asked)))
        combined = await run(partial(_combined, ruled, said))
        readings = 0
        for at, each in enumerate(combined):
            if each.judges and targets[at].kind is Kind.RESOURCE:  # it has no arguments: it is judged at once
                judged, failed = await self._judged(found.principal, targets[at], {}, each)
                decision = Decision(judged.allowed, judged.rule, False, judged.reads, judged.because)
                combined[at] = Combined(decision, failed=failed)
                readings += 1
                if readings % _READINGS == 0:
                    await asyncio.sleep(0)  # an engine in this process may answer without a pause
        return combined

    # -- what is kept -------------------------------------------------------------------------

    def _decide(self, principal: Principal, target: Target) -> Decision:
        self._is_current()
        found = self._class(principal)
        decision = found.knows(target, self._clock())
        if decision is not None:
            return decision
        try:
            decision = self._rule(found, target)
        except Exception:  # noqa: BLE001 - whatever goes wrong in here, the answer must be no
            return FAILED
        if self._policies and (decision.allowed or decision is NO_RULE):
            raise Undecided(self, principal, (target,))
        if len(target.name) <= LONGEST_NAME or self._policies:
            self._classes.keep(found, target, decision)
        return decision

    def _rule(self, found: Class, target: Target) -> Decision:
        if not self._policies:
            return rules.decide(found.rules, target)
        if is_reaching(target):
            return NO_RULE  # of it engines alone are asked
        if target.kind in (Kind.RESOURCE, Kind.TEMPLATE) and not is_plain(target.name):
            return ODD
        return rules.decide(found.rules, target)

    def _ruled(self, found: Class, targets: Sequence[Target], pace: Pace) -> Sequence[Decision]:
        ruled: list[Decision] = []
        try:
            for target in targets:
                pace.rest()
                ruled.append(self._rule(found, target))
        except Over:
            raise
        except Exception:  # noqa: BLE001 - as above
            return [FAILED for _ in targets]
        return ruled

    def _told(self, principal: Principal) -> Principal:
        """Give a principal as engines are told of it: with the roles that theirs include."""
        roles = self._rules.roles_of(principal)
        return principal if roles == principal.roles else replace(principal, roles=roles)

    def _class(self, principal: Principal) -> Class:
        return self._classes.find(principal, self._clock())

    def _is_current(self) -> bool:
        """Tell whether the policies are those that decided what is kept. It goes where they are not."""
        for policy, version in self._seen:
            if policy.version != version:
                self._forget()
                return False
        return True

    def _forget(self) -> None:
        self._seen = tuple((policy, policy.version) for policy in self._policies)
        self._outage = Outage()
        self._version = next(_versions)
        self._classes = Classes(self._rules, closed([policy.reads() for policy in self._policies]))


# -- work, here or beside the loop ----------------------------------------------------------------


@dataclass(slots=True)
class _Learned:
    """What was decided about some targets, ready to be kept."""

    all: dict[Target, Decision] = field(default_factory=dict[Target, Decision])
    decisions: dict[Target, Decision] = field(default_factory=dict[Target, Decision])
    judges: dict[Target, Combined] = field(default_factory=dict[Target, Combined])
    long: list[tuple[Target, Combined]] = field(default_factory=list[tuple[Target, Combined]])
    """About long names, which are kept apart."""
    failed: dict[Target, tuple[Decision, float]] = field(default_factory=dict[Target, tuple[Decision, float]])


def _apart(
    found: Class, targets: Sequence[Target], now: float, pace: Pace
) -> tuple[dict[Target, Decision], Sequence[Target]]:
    """Give what is known of targets, and those of which nothing is, each once."""
    known, unknown = dict[Target, Decision](), dict[Target, None]()
    for target in targets:
        pace.rest()
        decision = found.knows(target, now)
        if decision is None:
            unknown[target] = None
        else:
            known[target] = decision
    return known, list(unknown)


def _open_of(targets: Sequence[Target], ruled: Sequence[Decision], pace: Pace) -> Sequence[Target]:
    """Give those that engines are asked about."""
    return [target for target, each in zip(targets, ruled, strict=True) if _is_open(each)]


def _combined(ruled: Sequence[Decision], said: Sequence[Said], pace: Pace) -> list[Combined]:
    """Put together what the rules say of each target, and engines of those that are open."""
    combined: list[Combined] = []
    at = 0
    for decision in ruled:
        pace.rest()
        if _is_open(decision):
            each = [(policy, found if isinstance(found, Failed) else found[at]) for policy, found in said]
            combined.append(engines.combine(decision, each))
            at += 1
        else:
            combined.append(Combined(decision))
    return combined


def _learned(
    found: Class, targets: Sequence[Target], combined: Sequence[Combined | Decision], until: float, pace: Pace
) -> _Learned:
    """Sort what was decided by how it is kept."""
    made = _Learned()
    for target, given in zip(targets, combined, strict=True):
        pace.rest()
        each = (
            Combined(given)
            if isinstance(given, Decision)
            else replace(given, decision=found.share(given.decision))
        )
        decision = made.all[target] = each.decision
        if each.failed or decision is FAILED:
            made.failed[target] = decision, until
        elif len(target.name) > LONGEST_NAME:
            made.long.append((target, each))
        else:
            made.decisions[target] = decision
            if each.judges:
                made.judges[target] = each
    return made


def _in_order(known: Mapping[Target, Decision], targets: Sequence[Target], pace: Pace) -> Sequence[Decision]:
    decisions: list[Decision] = []
    for target in targets:
        pace.rest()
        decisions.append(known[target])
    return decisions


def _is_open(ruled: Decision) -> bool:
    """Tell whether engines are asked about what the rules say this of."""
    return ruled.allowed or ruled is NO_RULE
