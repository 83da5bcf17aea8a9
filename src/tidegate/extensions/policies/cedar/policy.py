"""Policy: Cedar as an engine of `ports.policy`: asked off the loop, made anew when its files change.

Holds the book in force, and swaps it whole. Decides nothing itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext

from tidegate.domain.principal import Principal
from tidegate.domain.target import Target
from tidegate.extensions.policies.cedar.asked import Subject
from tidegate.extensions.policies.cedar.book import Book, Plan, Question
from tidegate.extensions.policies.cedar.case import Case
from tidegate.extensions.policies.cedar.check import Checked, check, review
from tidegate.extensions.policies.cedar.engine import CedarFailure
from tidegate.extensions.policies.cedar.files import Files
from tidegate.extensions.policies.cedar.known import Known
from tidegate.extensions.policies.cedar.schema import AttributeType
from tidegate.extensions.policies.cedar.values import Unsayable
from tidegate.extensions.policies.cedar.words import CLAIMED, VOUCHED
from tidegate.ports.facts import Facts
from tidegate.ports.policy import Verdict

_SLICE, _REST = 0.001, 0.0005
"""Seconds: how long the interpreter is held at a time, and how long it is then left to the loop."""
_MOST_AT_ONCE = 64
_FEW = 16
"""Targets that are decided without waiting for others' many."""


class CedarPolicy:
    """See `tidegate.ports.policy.Policy`, and `Informed`, `Followed` and `Digested` of `tidegate.ports.facts`."""

    def __init__(self, name: str, files: Files, attributes: Mapping[str, AttributeType]) -> None:
        """Read the files.

        Raises:
            SettingsError: one line for each mistake in them.
        """
        self._name = name
        self._files = files
        self._attributes = attributes
        self._known = Known({})
        self._version = 1
        self._texts = files.read()
        self._tried: Mapping[str, str] = self._texts
        self._checked = check(self._texts, attributes, self._known)
        self._book = Book(self._checked.written, attributes, self._known)
        self._much = asyncio.Lock()

    @property
    def name(self) -> str:
        """How it is called."""
        return self._name

    @property
    def version(self) -> int:
        """Changes with the files, and with what is known of targets."""
        return self._version

    @property
    def notes(self) -> Sequence[str]:
        """What is odd about the policies in force, though not wrong by itself: `file:line: …`."""
        return self._checked.notes

    @property
    def in_force(self) -> Mapping[str, str]:
        """Digests of the files that are in force."""
        return _digests(self._texts)

    @property
    def tried(self) -> Mapping[str, str]:
        """Digests of the files as they were last read."""
        return _digests(self._tried)

    def reads(self) -> frozenset[str] | None:
        """Say what of a principal the policies read."""
        reads = self._book.reads
        if reads.everything:
            return None
        found = {name for name in reads.principal if name in self._attributes or name in VOUCHED}
        found |= {"tenant", "issuer", "subject"} if reads.user or reads.users else set()
        found |= {"roles"} if reads.roles else set()
        found |= {"groups"} if reads.groups else set()
        return frozenset(found)

    async def decide(
        self, principal: Principal, endpoint: str, targets: Sequence[Target]
    ) -> Sequence[Verdict]:
        """Decide without arguments; in a thread, unless all of it is known."""
        book = self._book
        try:
            who = book.subject(principal)
        except Unsayable as error:
            return [_unsayable(error)] * len(targets)
        if len(targets) <= 1 and all(book.at_hand(who, each) for each in targets):
            plans = _plans(book, who, endpoint, targets)
        else:
            # Many at a time in one thread alone: with each further one the loop waits longer for the interpreter.
            async with self._much if len(targets) > _FEW else nullcontext():
                plans = await asyncio.to_thread(_plans, book, who, endpoint, targets)
        return [plan.verdict for plan in plans]

    async def judge(self, principal: Principal, endpoint: str, target: Target, arguments: object) -> Verdict:
        """Decide with arguments, by those policies only that can matter for them."""
        book = self._book
        case = book.case_of(principal, endpoint, target)
        if case is None:
            case = await asyncio.to_thread(_case, book, principal, endpoint, target)
        return case if isinstance(case, Verdict) else case.judge(arguments)

    def learn(self, facts: Mapping[Target, Facts]) -> None:
        """Take what servers say of their targets."""
        if facts == self._known.facts:
            return
        self._known = Known(facts)
        reads = self._book.reads
        self._put(self._checked, decides=reads.everything or not reads.resource.isdisjoint(CLAIMED))

    async def review(self) -> Sequence[str]:
        """Say what is wrong or odd about the policies in force by what is known now. It keeps none from being so."""
        return await asyncio.to_thread(review, self._checked.written, self._attributes, self._known)

    def stamp(self) -> object:
        """Tell the files, as they stand, from what they were."""
        return self._files.stamp()

    async def renew(self) -> bool:
        """Take the files as they stand, whole or not at all."""
        self._tried = {}
        texts = self._tried = await asyncio.to_thread(self._files.read)
        if texts == self._texts:
            return False
        checked = await asyncio.to_thread(check, texts, self._attributes, self._known)
        self._texts = texts
        self._put(checked)
        return True

    def _put(self, checked: Checked, *, decides: bool = True) -> None:
        """Put a book in force. `decides`: whether what was decided without arguments may be otherwise by it."""
        self._checked = checked
        self._book = Book(checked.written, self._attributes, self._known)
        if decides:
            self._version += 1


def _plans(book: Book, who: Subject, endpoint: str, targets: Sequence[Target]) -> Sequence[Plan]:
    """Answer for each target, with rests: the interpreter is one, and the loop needs it."""
    held = _Held()
    plans: list[Plan | None] = []
    asked: dict[Question, list[int]] = {}
    for at, target in enumerate(targets):
        held.rest()
        try:
            question = book.question(who, endpoint, target)
        except CedarFailure as error:
            plans.append(Plan(_failed(error)))
            continue
        found = question if isinstance(question, Plan) else book.plan(question)
        plans.append(found)
        if found is None and not isinstance(question, Plan):
            asked.setdefault(question, []).append(at)
    by_policies: dict[tuple[int, ...], list[Question]] = {}
    for question in asked:
        by_policies.setdefault(question.numbers, []).append(question)
    for questions in by_policies.values():
        for question, plan in zip(questions, _ask(book, questions, held), strict=True):
            for at in asked[question]:
                plans[at] = plan
    return [Plan(Verdict(False, "cedar", because="not decided")) if plan is None else plan for plan in plans]


def _case(book: Book, principal: Principal, endpoint: str, target: Target) -> Case | Verdict:
    """Make ready what is to be judged; a verdict where arguments do not matter."""
    try:
        who = book.subject(principal)
        question = book.question(who, endpoint, target)
        if isinstance(question, Plan):
            return question.verdict
        plan = book.plan(question) or book.ask([question])[0]
        if not plan.judged:
            return plan.verdict
        return book.case(question, plan, target, endpoint)
    except Unsayable as error:
        return _unsayable(error)
    except CedarFailure as error:
        return _failed(error)


def _ask(book: Book, questions: Sequence[Question], held: _Held) -> Sequence[Plan]:
    """Ask about as many at a time as take about the time that the interpreter may be held."""
    found: list[Plan] = []
    size = 1
    while len(found) < len(questions):
        held.rest(now=True)
        began = time.perf_counter()
        part = questions[len(found) : len(found) + size]
        found += book.ask(part)
        took = time.perf_counter() - began
        size = max(1, min(_MOST_AT_ONCE, 2 * size, int(len(part) * _SLICE / max(took, 1e-6))))
    return found


class _Held:
    """Counts how long the interpreter has been held by a thread beside the loop's."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    def rest(self, *, now: bool = False) -> None:
        """Leave the interpreter to others for a moment, if it has been held for long."""
        if now or time.perf_counter() - self._since > _SLICE:
            time.sleep(_REST)
            self._since = time.perf_counter()


def _digests(texts: Mapping[str, str]) -> Mapping[str, str]:
    return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}


def _unsayable(error: Unsayable) -> Verdict:
    return Verdict(False, "cedar", because=f"{error}, so that no policy can be asked")


def _failed(error: CedarFailure) -> Verdict:
    return Verdict(False, "cedar", because=f"Cedar could not decide it: {error}")
