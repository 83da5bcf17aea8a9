"""Quotas: which of them concern a call, and whether it may go out by all of them. Asked for each call; never waits.

What concerns a principal at a target is found once and kept, so that a call costs no more than to look at its buckets.
A call counts in all of them or in none.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from math import ceil

from msgspec import Struct

from tidegate.access.budgets import Budget, Budgets, Count
from tidegate.access.rates import AtOnce, Bound, Bucket, Rate, Table, Use
from tidegate.domain.errors import LimitExceeded, StateRefused
from tidegate.domain.principal import Principal
from tidegate.domain.quota import Per, Quota
from tidegate.domain.target import Kind, Target
from tidegate.ports.state import State

MOST_FOUND = 65_536
"""Principals at targets for whom it is kept what concerns them."""
_LABEL = 200
"""Characters of a key as people see it."""

_Known = tuple[str, str, Target]


class _Found(Struct, frozen=True):
    """What concerns a principal at a target."""

    uses: tuple[tuple[Use, Quota], ...]
    places: tuple[AtOnce, ...]
    """Those of the uses that a call gives back when it is over."""
    held: tuple[tuple[Use, Quota], ...]
    """Those of the uses that have such places."""


class InForce:
    """One quota in force, with what is used of it."""

    def __init__(self, quota: Quota, budget: Budget | None) -> None:
        self.quota = quota
        self.budget = budget
        self.rate = Rate(1.0, 1)
        self.bound = Bound(1)
        self.buckets: Table[Bucket] = Table(lambda of: Bucket(self.rate, of))
        self.under_way: Table[AtOnce] = Table(lambda of: AtOnce(self.bound, of))
        self.become(quota, budget)

    def become(self, quota: Quota, budget: Budget | None) -> None:
        """Be another one of the same name. What is used stays."""
        self.quota, self.budget = quota, budget
        if quota.at_once:
            self.bound.most = quota.at_once
        elif budget is None:
            self.rate.per_second, self.rate.burst = quota.rate, quota.burst

    @property
    def uses(self) -> Mapping[str, Use]:
        """What is used, by keys."""
        return self._table().uses

    def _table(self) -> Table[Bucket] | Table[AtOnce] | Table[Count]:
        if self.budget is not None:
            return self.budget.table
        return self.under_way if self.quota.at_once else self.buckets

    @property
    def dropped(self) -> int:
        """How many uses were forgotten."""
        return self._table().dropped

    def concerns(self, principal: Principal, endpoint: str, target: Target) -> bool:
        """Tell whether such a call counts."""
        quota = self.quota
        if quota.tools and not (
            target.kind is Kind.TOOL and _one(f"{target.server}__{target.name}", quota.tools)
        ):
            return False
        return (
            (not quota.roles or not quota.roles.isdisjoint(principal.roles))
            and (not quota.tenants or _one(principal.tenant, quota.tenants))
            and (not quota.endpoints or _one(endpoint, quota.endpoints))
            and (not quota.servers or _one(target.server, quota.servers))
        )

    def find(self, principal: Principal, endpoint: str, target: Target, now: float) -> Use:
        """Give what such a call counts in."""
        key, of = self._key(principal, endpoint, target)
        if self.budget is not None:
            return self.budget.find(key, of)
        return self.under_way.find(key, of, now) if self.quota.at_once else self.buckets.find(key, of, now)

    def look(self, principal: Principal, endpoint: str, target: Target) -> Use | None:
        """Give what such a call would count in, where anything of it is used."""
        return self.uses.get(self._key(principal, endpoint, target)[0])

    def _key(self, principal: Principal, endpoint: str, target: Target) -> tuple[str, str]:
        """Give the key of what such a call counts in, and how people see it."""
        parts = [_part(each, principal, endpoint, target) for each in self.quota.per]
        told = [self.quota.per, [key for key, _ in parts]]
        key = hashlib.sha256(json.dumps(told).encode("utf-8", "surrogatepass")).hexdigest()[:32]
        return key, ", ".join(label for _, label in parts)[:_LABEL] or "all"


class Quotas:
    """The quotas in force. `any` is looked at first, and is all that it costs where there are none."""

    def __init__(
        self,
        quotas: Sequence[Quota] = (),
        *,
        clock: Callable[[], float],
        now: Callable[[], float],
        state: State | None = None,
    ) -> None:
        """`clock` gives seconds and never goes back, `now` Unix seconds. `state` keeps the budgets of days."""
        self.any = False
        self.in_force: Sequence[InForce] = ()
        self.refused: defaultdict[str, int] = defaultdict(int)
        """Calls that were refused, by the names of quotas."""
        self.budgets = Budgets(state, now=now)
        self._clock = clock
        self._found: dict[_Known, _Found] = {}
        self.change(quotas)

    def change(self, quotas: Sequence[Quota]) -> None:
        """Have these in force, and no others. What is used of one that stays, by its name and kind, is used."""
        self.budgets.change(quota for quota in quotas if quota.daily)
        before = {(each.quota.name, _sort(each.quota), each.quota.per): each for each in self.in_force}
        after: list[InForce] = []
        for quota in quotas:
            budget = self.budgets.all.get(quota.name) if quota.daily else None
            same = before.get((quota.name, _sort(quota), quota.per))
            if same is None:
                same = InForce(quota, budget)
            else:
                same.become(quota, budget)
            after.append(same)
        self.in_force, self.any = tuple(after), bool(after)
        self._found.clear()

    def admit(
        self, principal: Principal, endpoint: str, target: Target, *, again: bool = False
    ) -> Sequence[AtOnce]:
        """Count a call, in all quotas that concern it or in none. What is given has to `leave` when the call is over.

        `again` is for what goes on with a call that was counted: it is under way, but no further call.

        Raises:
            LimitExceeded: one of them is used.
            StateRefused: it is not known how much is used.
        """
        found = self._found.get((principal.basis, endpoint, target)) or self._find(
            principal, endpoint, target
        )
        uses = found.held if again else found.uses
        now = self._clock()
        for use, _ in uses:
            if use.wait(now):
                raise self._refusal(uses, now, target)
        for use, _ in uses:
            use.take(now)
        return found.places

    def _find(self, principal: Principal, endpoint: str, target: Target) -> _Found:
        now = self._clock()
        dropped = sum(each.dropped for each in self.in_force)
        uses = tuple(
            (each.find(principal, endpoint, target, now), each.quota)
            for each in self.in_force
            if each.concerns(principal, endpoint, target)
        )
        if len(self._found) >= MOST_FOUND or dropped != sum(each.dropped for each in self.in_force):
            self._found.clear()  # it may hold what was dropped, and would count in it unseen
        held = tuple((use, quota) for use, quota in uses if isinstance(use, AtOnce))
        places = tuple(use for use, _ in held)
        found = self._found[principal.basis, endpoint, target] = _Found(uses, places, held)
        return found

    def _refusal(self, uses: Sequence[tuple[Use, Quota]], now: float, target: Target) -> LimitExceeded:
        """Give the refusal by the one that has to be waited for longest: another would only refuse the next try."""
        wait, quota = max(((use.wait(now), quota) for use, quota in uses), key=lambda each: each[0])
        self.refused[quota.name] += 1
        after = max(1, ceil(wait))
        return LimitExceeded(
            f"the limit {quota.name} is reached ({quota.words}): nothing was called; try again in {after} s",
            data={"retryAfter": after, "limit": quota.name},
            target=target,
        )

    def look(
        self, principal: Principal, endpoint: str, target: Target
    ) -> Sequence[tuple[Quota, float, float, str | None]]:
        """Say what a call would count in, and count nothing: how much is used, seconds until there is room for one
        more, and why it is not known, where such a call is refused for that.
        """
        now = self._clock()
        found: list[tuple[Quota, float, float, str | None]] = []
        for each in self.in_force:
            if each.concerns(principal, endpoint, target):
                use, budget = each.look(principal, endpoint, target), each.budget
                wait = 0.0 if use is None else _waits(use, now)  # which begins a new day, where it is one
                used = 0.0 if use is None else use.used(now)
                unknown = budget.unknown if budget is not None and each.quota.closed else None
                found.append((each.quota, used, wait, unknown))
        return found

    def told(self, most: int) -> list[tuple[InForce, list[tuple[str, float, float]]]]:
        """Give each quota with what is used of it now, most first: of whom, how much, and seconds until there is more."""
        now = self._clock()
        found: list[tuple[InForce, list[tuple[str, float, float]]]] = []
        for each in self.in_force:
            used = [(use.used(now), use) for use in each.uses.values()]
            top = sorted(((n, use) for n, use in used if n), key=lambda one: -one[0])[:most]
            found.append((each, [(use.of, n, _waits(use, now)) for n, use in top]))
        return found


def leave(places: Sequence[AtOnce]) -> None:
    """Give places back."""
    for place in places:
        place.leave()


def _sort(quota: Quota) -> str:
    return "at once" if quota.at_once else "day" if quota.daily else "rate"


def _one(word: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(word, pattern) for pattern in patterns)


def _waits(use: Use, now: float) -> float:
    try:
        return use.wait(now)
    except StateRefused:
        return 0.0


def _part(per: Per, principal: Principal, endpoint: str, target: Target) -> tuple[list[str], str]:
    """Give what of a call makes its key, and how people see it."""
    match per:
        case Per.PRINCIPAL:
            return [principal.key], f"{principal.subject[:80]} ({principal.issuer[:60]})"
        case Per.TENANT:
            return [principal.tenant], principal.tenant
        case Per.CLIENT if principal.client:
            return [principal.tenant, principal.issuer, principal.client], principal.client[:80]
        case Per.CLIENT:
            return [principal.key], principal.subject[:80]
        case Per.TOOL if target.kind is Kind.TOOL:
            return [target.server, target.name], f"{target.server}__{target.name[:80]}"
        case Per.TOOL:  # each URI by itself would be no bound at all
            return [target.server, "", target.kind.value], f"{target.server} {target.kind.value}s"
        case Per.SERVER:
            return [target.server], target.server
        case Per.ENDPOINT:
            return [endpoint], endpoint
