"""Classes of principals: those who are alike in all that rules and policies read are decided once, and kept bounded.

Kept here is what was decided; deciding is not.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Collection, Hashable, Mapping
from dataclasses import replace

from tidegate.access.engines import Combined
from tidegate.access.rules import Compiled, Rules
from tidegate.domain.principal import Principal
from tidegate.domain.target import Decision, Target

MAX_CLASSES = 16_384
"""Classes that are known: some 12 MB where each is of one principal. With one more the first is found anew."""
MAX_PRINCIPALS = 65_536
"""Principals whose class is known."""
MAX_TARGETS = 32_768
"""Decisions kept for one class: more than an endpoint has targets."""
MAX_DECISIONS = 500_000
"""Decisions kept for all classes: some 50 MB. Beyond it what was kept for longest of a class goes."""
MAX_LONG = 256
"""Decisions kept for one class about names longer than `LONGEST_NAME`: clients make up URIs."""
LONGEST_NAME = 256
"""Characters of a name or URI that is kept among the others."""
_MAX_SHARED = 4096


class Class:
    """Principals who are alike, and what was decided for them."""

    __slots__ = (
        "decisions", "failed", "judges", "key", "lock", "long", "principal", "rules", "shared", "until",
    )  # fmt: skip

    def __init__(self, key: Hashable, principal: Principal, rules: tuple[Compiled, ...]) -> None:
        self.key = key
        self.principal = principal
        """One of them, with the roles that theirs include."""
        self.rules = rules
        """Those that are about them."""
        self.decisions: dict[Target, Decision] = {}
        self.long: dict[Target, Decision] = {}
        """About long names."""
        self.judges: dict[Target, Combined] = {}
        """What of the decisions depends on arguments."""
        self.failed: dict[Target, tuple[Decision, float]] = {}
        """Denials for want of an engine that decides, and until when each holds."""
        self.shared: dict[Hashable, Decision] = {}
        """Decisions by what they say, so that equal ones are one object."""
        self.until = math.inf
        """Until when what was made of these decisions may be kept."""
        self.lock = asyncio.Lock()
        """Of who has much decided for them: the next one finds it known."""

    @property
    def fails(self) -> bool:
        """Whether something was denied for want of an engine: what is shown to them may be too little."""
        return self.until < math.inf

    def knows(self, target: Target, now: float) -> Decision | None:
        """Give what was decided, and holds."""
        found = self.decisions.get(target) or self.long.get(target)
        if found is None and self.failed:
            failed = self.failed.get(target)
            if failed is not None and now < failed[1]:
                return failed[0]
        return found

    def fail(self, denials: Mapping[Target, tuple[Decision, float]], until: float) -> None:
        """Keep denials for a moment, each with the time that it holds until."""
        if len(self.failed) + len(denials) > MAX_TARGETS:
            self.failed.clear()
        self.failed.update(denials)
        self.until = min(self.until, until)

    def share(self, decision: Decision) -> Decision:
        """Give the one object that says this."""
        key = (
            decision.allowed, decision.rule, decision.arguments, tuple(decision.reads.items()), decision.because,
        )  # fmt: skip
        found = self.shared.get(key)
        if found is None:
            if len(self.shared) >= _MAX_SHARED:
                self.shared.clear()
            found = self.shared[key] = decision
        return found


class Classes:
    """The classes that are known, and whose each principal is. All of it is let go of together."""

    def __init__(self, rules: Rules, reads: Collection[str] | None) -> None:
        """`reads`: names of what policies read of a principal; None stands for all of it."""
        self.of: dict[str, Class] = {}
        """By principals' `basis`."""
        self._rules = rules
        self._reads = None if reads is None else sorted(reads)
        self._known: OrderedDict[Hashable, Class] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return len(self._known)

    @property
    def count(self) -> int:
        """How many decisions are kept, at most."""
        return self._count

    def find(self, principal: Principal, now: float) -> Class:
        """Give the class of a principal. One whose decisions held for a moment is another one after it."""
        found = self.of.get(principal.basis)
        if found is not None and now < found.until:
            return found
        roles = self._rules.roles_of(principal)
        key = self._project(principal, roles)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= MAX_CLASSES:
                _, gone = self._known.popitem(last=False)
                self._empty(gone)
                gone.until = -math.inf  # whoever has it still finds another one
            one = principal if roles == principal.roles else replace(principal, roles=roles)
            found = self._known[key] = Class(key, one, self._rules.of(roles, principal.tenant))
        elif now >= found.until:
            before, found = found, Class(key, found.principal, found.rules)
            found.decisions, found.long = before.decisions, before.long
            found.judges, found.shared = before.judges, before.shared
            self._known[key] = found
        if len(self.of) >= MAX_PRINCIPALS:
            self.of.clear()
        self.of[principal.basis] = found
        return found

    def keep(self, found: Class, target: Target, decision: Decision) -> None:
        """Keep a decision, and make room for it."""
        if len(target.name) > LONGEST_NAME:
            if len(found.long) >= MAX_LONG:
                for each in found.long:
                    found.judges.pop(each, None)
                found.long.clear()
            found.long[target] = decision
            return
        if len(found.decisions) >= MAX_TARGETS:
            self._empty(found)
        found.decisions[target] = decision
        self._count += 1
        if self._count > MAX_DECISIONS:
            self._make_room(found)

    def keep_all(self, found: Class, decisions: Mapping[Target, Decision]) -> None:
        """Keep decisions about names that are not long, and make room for them. Costs little for each."""
        if len(found.decisions) + len(decisions) > MAX_TARGETS:
            self._empty(found)
        before = len(found.decisions)
        found.decisions.update(decisions)
        self._count += len(found.decisions) - before
        if self._count > MAX_DECISIONS:
            self._make_room(found)

    def drop(self, found: Class, target: Target) -> None:
        """Let go of one decision."""
        found.long.pop(target, None)
        if found.decisions.pop(target, None) is not None:
            self._count -= 1

    def _empty(self, found: Class) -> None:
        self._count -= len(found.decisions)
        found.decisions.clear()
        found.long.clear()
        found.judges.clear()

    def _make_room(self, for_this: Class) -> None:
        """Let go of what was decided for the class that was found first, and count anew."""
        for each in list(self._known.values()):
            if each is not for_this and each.decisions:
                self._empty(each)
                self._known.move_to_end(each.key)
                break
        self._count = sum(len(each.decisions) for each in self._known.values())
        if self._count > MAX_DECISIONS:
            self._empty(for_this)

    def _project(self, principal: Principal, roles: frozenset[str]) -> Hashable:
        """Give what of a principal makes a difference."""
        named = roles & self._rules.named
        if self._reads is None:
            return principal.basis, named
        if not self._reads:
            return self._rules.whose(principal), named
        # An attribute may have the name of what every principal has; and `True` is `1` to Python, not to a policy.
        had = {
            "roles": tuple(sorted(roles)), "groups": tuple(sorted(principal.groups)), "client": principal.client,
            "subject": (principal.issuer, principal.subject), "issuer": principal.issuer,
        }  # fmt: skip
        read = tuple((repr(had.get(name)), repr(principal.attributes.get(name))) for name in self._reads)
        return principal.tenant, named, read


def closed(reads: Collection[frozenset[str] | None]) -> frozenset[str] | None:
    """Give what several policies read, together."""
    found: frozenset[str] = frozenset()
    for each in reads:
        if each is None:
            return None
        found |= each
    return found
