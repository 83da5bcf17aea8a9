"""Book: a set of policies, ready to be asked. What it was asked is kept, by just what Cedar was told.

Decides nothing by itself: whether something is allowed is always what Cedar said of the policies whose scopes fit.
Where Cedar could not evaluate a policy that denies, that denies; one that allows then allows nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from tidegate.domain.principal import Principal
from tidegate.domain.target import Target, is_reaching
from tidegate.extensions.policies.cedar import engine, told
from tidegate.extensions.policies.cedar.asked import NOBODY, Subject, Thing, request, subject, thing
from tidegate.extensions.policies.cedar.case import Case, failures, said
from tidegate.extensions.policies.cedar.engine import Answer, CedarFailure, Tree
from tidegate.extensions.policies.cedar.known import Known, arguments_type
from tidegate.extensions.policies.cedar.reach import reach
from tidegate.extensions.policies.cedar.schema import AttributeType
from tidegate.extensions.policies.cedar.slices import Index
from tidegate.extensions.policies.cedar.tree import Reads
from tidegate.extensions.policies.cedar.words import Reference
from tidegate.extensions.policies.cedar.written import Written
from tidegate.ports.policy import Verdict

if TYPE_CHECKING:
    import cedarpy

_SLICES, _PLANS, _CASES, _SUBJECTS = 1024, 16_384, 4096, 65_536
"""Kept, at most; when there would be more, all are made anew as they are needed."""


class Question(NamedTuple):
    """All that Cedar is told where arguments are not. Who asks the same gets the same answer."""

    subject: Subject
    thing: Thing
    endpoint: str
    numbers: tuple[int, ...]
    """The policies that are about it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The answer to a question, and which policies have to be asked again with arguments."""

    verdict: Verdict
    judged: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class _Slice:
    reads: Reads
    heads: cedarpy.PolicySet
    """Those that read no arguments as `p1`, and of the others, as `h2`, a permission where arguments matter."""


class Book:
    """Policies of one moment, with what is known of targets. Never changes, save for what it keeps."""

    def __init__(
        self, written: Sequence[Written], attributes: Mapping[str, AttributeType], known: Known
    ) -> None:
        self.written = written
        self.reads = Reads()
        for each in written:
            self.reads.add(each.reads)
        self._declared = attributes
        self._known = known
        self._index = Index([each.tree for each in written])
        self._slices: dict[tuple[int, ...], _Slice] = {}
        self._plans: dict[Question, Plan] = {}
        self._subjects: dict[str, Subject] = {}
        self._sets: dict[tuple[int, ...], cedarpy.PolicySet] = {}
        self._cases: dict[tuple[Subject, str, Target], Case] = {}
        self._reached: dict[tuple[Subject, str, str], Plan] = {}
        self._same: dict[tuple[object, ...], Plan] = {}
        self._nothing: dict[frozenset[int], Plan] = {}

    def subject(self, principal: Principal) -> Subject:
        """Say who asks.

        Raises:
            Unsayable: it cannot be said.
        """
        found = self._subjects.get(principal.basis)
        if found is None:
            found = subject(principal, self.reads, self._declared)
            _keep(self._subjects, principal.basis, found, _SUBJECTS)
        return found

    def question(self, who: Subject, endpoint: str, target: Target) -> Question | Plan:
        """Say what is asked, or the answer where no policy is about it."""
        if is_reaching(target):
            return self._reach(who, endpoint, target)
        about = self._index.about(target)
        numbers = tuple(sorted(about & self._index.of(who)))
        if not numbers:
            return self._without(about)
        reads = self._slice(numbers).reads
        asked = thing(target, self._known.of(target), reads)
        return Question(who, asked, endpoint if reads.endpoint else "", numbers)

    def plan(self, question: Question) -> Plan | None:
        """Give the answer to a question, if it is kept."""
        return self._plans.get(question)

    def case_of(self, principal: Principal, endpoint: str, target: Target) -> Case | None:
        """Give what was made ready for calls of those like a principal, if it is kept."""
        who = self._subjects.get(principal.basis)
        return None if who is None else self._cases.get((who, endpoint, target))

    def at_hand(self, who: Subject, target: Target) -> bool:
        """Tell whether the policies about it have been made ready, so that asking is a matter of microseconds."""
        if is_reaching(target) or not self._index.knows(who, target):
            return False  # with thousands of policies, looking through their scopes takes milliseconds
        numbers = tuple(sorted(self._index.about(target) & self._index.of(who)))
        return not numbers or numbers in self._slices

    def ask(self, questions: Sequence[Question]) -> Sequence[Plan]:
        """Have questions answered that are about the same policies and come from one subject."""
        try:
            answers = self._ask(questions)
        except CedarFailure as error:
            if len(questions) == 1:
                return [Plan(Verdict(False, "cedar", because=f"Cedar could not decide it: {error}"))]
            return [plan for each in questions for plan in self.ask([each])]
        plans = [
            self._shared(self._plan(each, answer)) for each, answer in zip(questions, answers, strict=True)
        ]
        for each, plan in zip(questions, plans, strict=True):
            _keep(self._plans, each, plan, _PLANS)
        return plans

    def case(self, question: Question, plan: Plan, target: Target, endpoint: str) -> Case:
        """Make ready what is to be judged, and keep it.

        Raises:
            CedarFailure: it cannot be asked about.
        """
        policies = self._named("p", plan.judged)
        prepared = self._sets.get(plan.judged)
        if prepared is None:
            prepared = engine.policy_set({name: each.tree for name, each in policies.items()})
            _keep(self._sets, plan.judged, prepared, _SLICES)
        case = Case(
            policies,
            (question.subject, question.thing, endpoint),
            arguments_type(self._known.type(target)),
            prepared,
            self._not_allowed(question.numbers),
        )
        _keep(self._cases, (question.subject, endpoint, target), case, _CASES)
        return case

    def _ask(self, questions: Sequence[Question]) -> Sequence[Answer]:
        who = questions[0].subject
        entities: dict[Reference, Tree] = {}
        requests: list[Tree] = []
        for number, each in enumerate(questions):
            kind, name = each.thing.own
            # Where no policy reads what it is called, several have one name, and Cedar would take them for one.
            known = each.thing if name != NOBODY else replace(each.thing, own=(kind, f"{NOBODY}{number}"))
            entities.update(known.entities())
            requests.append(request(who, known, {"endpoint": each.endpoint, "arguments": {}}))
        found = engine.entities([who.entity(), *entities.values()])
        return engine.ask(requests, self._slice(questions[0].numbers).heads, found)

    def _plan(self, question: Question, answer: Answer) -> Plan:
        static = self._named("p", (number for number in question.numbers if not self.written[number].dynamic))
        heads = self._named("h", (number for number in question.numbers if self.written[number].dynamic))
        decided = said(answer, static)
        if decided is not None and not decided[1]:
            return Plan(self._verdict(question, decided, [static[decided[0]]]))
        for name, each in heads.items():
            if name in answer.errors and not each.permits:  # it would be evaluated so far with any arguments
                because = told.failed(each, answer.errors[name])
                return Plan(self._verdict(question, (name, False, because), [each]))
        open_ = {name: each for name, each in heads.items() if name in answer.reasons}
        denying = {name: each for name, each in open_.items() if not each.permits}
        if decided is not None:
            allowing = {name: each for name, each in static.items() if name in answer.reasons}
            verdict = self._verdict(question, decided, list(allowing.values()))
            return _judged(verdict, [*denying, decided[0]]) if denying else Plan(verdict)
        because = failures(answer, {**static, **heads}) or self._not_allowed(question.numbers, question)
        if not open_:
            return Plan(Verdict(None, told.NO_RULE, because=because))
        if len(denying) == len(open_):
            verdict = Verdict(None, told.NO_RULE, because=because)
        else:
            verdict = self._verdict(question, (next(iter(open_)), True, ""), list(open_.values()))
        return _judged(verdict, list(open_))

    def _shared(self, plan: Plan) -> Plan:
        """Give the one object that says this: most targets have one of a few answers."""
        verdict = plan.verdict
        key = (
            verdict.allowed, verdict.rule, verdict.arguments, verdict.because, plan.judged,
            tuple(verdict.reads.items()),
        )  # fmt: skip
        found = self._same.get(key)
        if found is None:
            found = plan
            _keep(self._same, key, found, _SLICES)
        return found

    def _named(self, letter: str, numbers: Iterable[int]) -> Mapping[str, Written]:
        return {f"{letter}{number}": self.written[number] for number in numbers}

    def _verdict(
        self, question: Question, said: tuple[str, bool, str], policies: Sequence[Written]
    ) -> Verdict:
        name, allowed, because = said
        reads: dict[str, str] = {}
        for each in policies:
            if len(reads) < told.MOST:
                reads.update(told.values(each, question.subject, question.thing, question.endpoint))
        if not allowed and not because:
            because = told.denied_by(policies[0], reads)
        return Verdict(allowed, self.written[int(name[1:])].name, reads=reads, because=because)

    def _slice(self, numbers: tuple[int, ...]) -> _Slice:
        found = self._slices.get(numbers)
        if found is not None:
            return found
        reads = Reads()
        heads: dict[str, Tree] = {}
        for number in numbers:
            each = self.written[number]
            reads.add(each.reads)
            if each.dynamic:
                heads[f"h{number}"] = each.with_conditions(each.head(), "permit")
            else:
                heads[f"p{number}"] = each.tree
        found = _Slice(reads, engine.policy_set(heads))
        _keep(self._slices, numbers, found, _SLICES)
        return found

    def _reach(self, who: Subject, endpoint: str, target: Target) -> Plan:
        key = (who, endpoint if self.reads.endpoint else "", target.server)
        found = self._reached.get(key)
        if found is None:
            found = Plan(reach(self.written, who, endpoint, target))
            _keep(self._reached, key, found, _SLICES)
        return found

    def _without(self, about: frozenset[int]) -> Plan:
        """Give the answer where none of the policies about a target is about who asks."""
        found = self._nothing.get(about)
        if found is None:
            found = Plan(Verdict(None, told.NO_RULE, because=self._not_allowed(sorted(about))))
            _keep(self._nothing, about, found, _SLICES)
        return found

    def _not_allowed(self, numbers: Iterable[int], question: Question | None = None) -> str:
        policies = [each for number in numbers if (each := self.written[number]).permits]
        if question is None:
            return told.not_allowed(policies)
        reads: dict[str, str] = {}
        for each in policies[: told.SHOWN]:
            reads.update(told.values(each, question.subject, question.thing, question.endpoint))
        return told.not_allowed(policies, reads)


def _judged(verdict: Verdict, names: Sequence[str]) -> Plan:
    return Plan(replace(verdict, arguments=True), tuple(sorted(int(name[1:]) for name in names)))


def _keep(kept: dict[Any, Any], key: object, value: object, most: int) -> None:
    if len(kept) >= most:
        kept.clear()
    kept[key] = value
