"""Case: one principal, or all who are like it, and one target, ready for calls whose arguments matter.

All that is the same for each call is made once. A call costs what saying its arguments and asking Cedar costs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tidegate.extensions.policies.cedar import engine, told
from tidegate.extensions.policies.cedar.asked import Subject, Thing, request
from tidegate.extensions.policies.cedar.engine import Answer, CedarFailure
from tidegate.extensions.policies.cedar.tree import Condition
from tidegate.extensions.policies.cedar.types import Type
from tidegate.extensions.policies.cedar.values import Sayer, Unsayable, branches
from tidegate.extensions.policies.cedar.written import Written
from tidegate.ports.policy import Verdict

if TYPE_CHECKING:
    import cedarpy

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, check_circular=False).encode


class Case:
    """See above. `policies` are those that can matter; `otherwise` says why nothing is allowed where none of them allows."""

    def __init__(
        self,
        policies: Mapping[str, Written],
        asked: tuple[Subject, Thing, str],
        type: Type | None,
        prepared: cedarpy.PolicySet,
        otherwise: str,
    ) -> None:
        """Make it ready. Costs as much as ten calls.

        Raises:
            CedarFailure: it cannot be asked about.
        """
        who, thing, endpoint = asked
        self._policies = policies
        self._type = type
        self._otherwise = otherwise
        self._branches = branches({path for each in policies.values() for path in each.reads.arguments})
        self._set = prepared
        self._entities = engine.entities([who.entity(), *thing.entities().values()])
        self._request = request(who, thing, "")
        self._before = f'{{"endpoint":{_encode(endpoint)},"arguments":'
        self._reads = {name: told.values(each, who, thing, endpoint) for name, each in self._policies.items()}
        self._parts: tuple[Mapping[str, tuple[Written, Condition]], cedarpy.PolicySet] | None = None

    def judge(self, sent: object) -> Verdict:
        """Decide a call."""
        try:
            arguments = Sayer().arguments(sent, self._branches, self._type)
            answer = self._ask(arguments, self._set)
        except Unsayable as error:
            name = self._reader(sent)
            return Verdict(False, name, because=f"{error}, and {name} reads it")
        except CedarFailure as error:
            name = next(iter(self._policies.values())).name
            return Verdict(False, name, because=f"Cedar could not decide it: {error}")
        verdict = said(answer, self._policies)
        if verdict is None:
            allowing = [name for name, each in self._policies.items() if each.permits]
            because = failures(answer, self._policies) or self._missed(arguments)
            return Verdict(None, told.NO_RULE, reads=self._values(allowing, arguments), because=because)
        name, allowed, because = verdict
        deciding = [each for each in self._policies if each in answer.reasons] or [name]
        reads = self._values(deciding, arguments)
        if not allowed and not because:
            because = told.denied_by(self._policies[name], reads)
        return Verdict(allowed, self._policies[name].name, reads=reads, because=because)

    def _ask(self, arguments: Mapping[str, object], policies: cedarpy.PolicySet) -> Answer:
        context = f"{self._before}{_encode(arguments)}}}"
        return engine.ask([{**self._request, "context": context}], policies, self._entities)[0]

    def _values(self, names: Sequence[str], arguments: Mapping[str, object]) -> Mapping[str, str]:
        found: dict[str, str] = {}
        for name in names:
            found.update(self._reads[name])
            found.update(told.argument_values(self._policies[name], arguments))
            if len(found) >= told.MOST:
                break
        return found

    def _reader(self, sent: object) -> str:
        """Give the first policy that reads what cannot be said."""
        for each in self._policies.values():
            try:
                Sayer().arguments(sent, branches(each.reads.arguments), self._type)
            except Unsayable:
                if each.dynamic:
                    return each.name
        return next(each.name for each in self._policies.values() if each.dynamic)

    def _missed(self, arguments: Mapping[str, object]) -> str:
        """Say which conditions of those that would allow it do not hold, each asked by itself."""
        if self._parts is None:
            self._parts = self._conditions()
        parts, policies = self._parts
        if not parts:
            return self._otherwise
        answer = self._ask(arguments, policies)
        failing: dict[str, tuple[Written, list[Condition]]] = {}
        for name, (each, part) in parts.items():
            if name not in answer.reasons:
                failing.setdefault(each.name, (each, []))[1].append(part)
        names = [name for name, each in self._policies.items() if each.permits]
        return told.missed(list(failing.values()), self._values(names, arguments)) or self._otherwise

    def _conditions(self) -> tuple[Mapping[str, tuple[Written, Condition]], cedarpy.PolicySet]:
        """Make a policy of each condition of what allows."""
        every = [(each, part) for each in self._policies.values() if each.permits for part in each.conditions]
        parts = {f"c{number}": pair for number, pair in enumerate(every)}
        trees = {name: each.with_conditions([part]) for name, (each, part) in parts.items()}
        return parts, engine.policy_set(trees)


def said(answer: Answer, policies: Mapping[str, Written]) -> tuple[str, bool, str] | None:
    """Give what some of the policies say in an answer, if anything: which one, whether it allows, and what went wrong.

    What denies and could not be evaluated denies. Cedar itself would pass over it.
    """
    reasons = [name for name in policies if name in answer.reasons]
    if reasons and not answer.permitted:
        return reasons[0], False, ""
    for name, each in policies.items():
        if not each.permits and name in answer.errors:
            return name, False, told.failed(each, answer.errors[name])
    return (reasons[0], True, "") if reasons else None


def failures(answer: Answer, policies: Mapping[str, Written]) -> str:
    """Say what could not be evaluated."""
    found = [
        told.failed(each, answer.errors[name]) for name, each in policies.items() if name in answer.errors
    ]
    return "; ".join(found[:2])
