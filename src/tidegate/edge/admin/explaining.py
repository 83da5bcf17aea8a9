"""Explaining: what would become of a call, and what became of one, for administrators. Each is recorded with who asks.

Nothing is called for it, and nothing counted: what is decided is decided in `gateway/explain`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tidegate.audit.find import find, is_id
from tidegate.audit.records import kept_for
from tidegate.domain.principal import Principal
from tidegate.edge.admin.door import Actor
from tidegate.edge.admin.explained import ExplanationShape, RecalledShape, explained, recalled
from tidegate.edge.admin.problem import Problem
from tidegate.edge.admin.sight import EVERYTHING, Sight
from tidegate.gateway.explain import Explainer, Explanation, Part, Question, Step
from tidegate.gateway.recalled import RIGHTS, Recalled, recall

if TYPE_CHECKING:
    from tidegate.edge.admin.bodies import ExplainBody

Recording = Callable[..., None]
"""Records an event with its fields for an actor, or raises JournalRefused."""
_PATIENCE, _SEARCH = 60.0, 30.0
"""Seconds that a search in the journal is waited for, with those before it; and that one takes at most."""


@dataclass(frozen=True, slots=True)
class Speaker:
    """A principal that something here speaks for."""

    principal: Principal
    by: str
    """What does: `key ab…`."""
    usable: bool = True
    scopes: frozenset[str] | None = None
    """Those of its token, where it has one."""


class Known(Protocol):
    """Who is known here beside what is said of them."""

    async def by_key(self, key: str) -> Speaker | None:
        """Give whom an API key speaks for, by its id; None where there is no such key."""
        ...

    async def named(self, tenant: str, issuer: str, subject: str) -> Sequence[Speaker]:
        """Give those who are known by a name."""
        ...


class Explaining:
    """What administrators can have explained."""

    def __init__(self, explainer: Explainer, known: Known, journal: Path, record: Recording) -> None:
        """`journal` is the directory of its files."""
        self._explainer = explainer
        self._known = known
        self._journal = journal
        self._record = record
        self._searching = asyncio.Lock()

    async def explain(self, body: ExplainBody, actor: Actor, sight: Sight = EVERYTHING) -> ExplanationShape:
        """Tell what would become of a call; administrators of a tenant, of a call of its principals.

        Raises:
            Problem: there is no such endpoint or key, it is not clear who is meant, or it is another tenant's.
            JournalRefused: it cannot be recorded who asks.
        """
        self._check(body.endpoint)
        named = body.named()
        speaker, notes = await self._speaker(body, sight)
        principal = speaker.principal
        self._record(
            actor, "explain", subject=principal.subject, issuer=principal.issuer, tenant=principal.tenant,
            endpoint=named.endpoint, target=named.kind.value, name=named.name, of=named.server,
        )  # fmt: skip
        scopes = speaker.scopes if body.scopes is None else frozenset(body.scopes)
        return explained(await self._ask(Question(principal, named, body.arguments, scopes), sight), notes)

    async def _ask(self, question: Question, sight: Sight) -> Explanation:
        told = await self._explainer.explain(question, within=sight.tenant is not None)
        if sight.tenant is None:
            return told
        rule = told.rule if sight.may_hold(told.rule) else OPERATORS
        return replace(told, rule=rule, steps=tuple(veiled(told.steps, sight)))

    async def recall(self, call: str, actor: Actor, sight: Sight = EVERYTHING) -> RecalledShape:
        """Tell what became of a call, by the id that its error or record has, and what would now.

        Raises:
            Problem: the journal has no such call.
            JournalUnavailable: it cannot be read.
            JournalRefused: it cannot be recorded who asks.
        """
        if not is_id(call):
            raise Problem(404, "unknown_call", "that is not the id of a call")
        self._record(actor, "explain", id=call)
        told = await self._find(call, sight)
        question = told.question()
        if question is None or told.endpoint not in self._explainer.endpoints:
            gone = question is not None
            why = f"the endpoint {told.endpoint[:100]} is served no more" if gone else _TOO_LITTLE
            return recalled(told, None, False, (why,))
        now = await self._ask(question, sight)
        notes = [*told.notes(now)]
        if told.reason and told.reason not in RIGHTS:
            notes.insert(0, f"it was not refused for want of a right, but as {told.reason}")
        return recalled(told, now, _differs(told, now), notes)

    async def _find(self, call: str, sight: Sight) -> Recalled:
        try:
            async with asyncio.timeout(_PATIENCE), self._searching:
                end = time.monotonic() + _SEARCH
                kept = await asyncio.to_thread(find, self._journal, call, lambda: time.monotonic() > end)
        except TimeoutError:
            raise Problem(503, "overloaded", "the journal is searched for others; try again") from None
        if kept is not None and sight.tenant is not None:
            kept = kept_for(kept, sight.tenant, sight.servers)
        told = None if kept is None else recall(call, kept)
        if told is not None and not sight.may_hold(f"{told.rule} {told.because}"):
            told = replace(told, rule=OPERATORS, because="")
        if told is None:
            raise Problem(
                404, "unknown_call",
                f"the journal has no call {call}: it may be another gateway's, or was refused before it was known who "
                "asked, of which samples are kept only",
            )  # fmt: skip
        return told

    async def _speaker(self, body: ExplainBody, sight: Sight) -> tuple[Speaker, Sequence[str]]:
        """Give who is meant, and how that is known."""
        tenant = sight.whom(body.tenant)
        if body.key:
            speaker = await self._known.by_key(body.key)
            if speaker is None or sight.tenant not in (None, speaker.principal.tenant):
                raise Problem(404, "unknown_key", "there is no such API key (tidegate key ls shows the ids)")
            return speaker, _said(speaker)
        said = Principal(
            tenant, body.issuer or "key", body.subject, frozenset(body.roles), frozenset(body.groups),
            body.client, dict(body.attributes),
        )  # fmt: skip
        if body.roles or body.groups or body.attributes or body.client:
            return Speaker(said, ""), ()
        speakers = await self._known.named(tenant, body.issuer, body.subject)
        if not speakers:
            return Speaker(said, ""), ("nothing is known here of who that is: it is taken to have no roles",)
        first = speakers[0]
        if any(each.principal != first.principal for each in speakers):
            keys = ", ".join(each.by for each in speakers[:8])
            raise Problem(409, "ambiguous_principal", f"several speak for that name: {keys}; say which")
        return first, _said(first)

    def _check(self, endpoint: str) -> None:
        if endpoint not in self._explainer.endpoints:
            known = ", ".join(self._explainer.endpoints)[:2000] or "none"
            raise Problem(404, "unknown_endpoint", f"no endpoint {endpoint[:100]!r} (known: {known})")


OPERATORS = "a policy of the operator"
"""What is told in place of a rule that names what is another tenant's."""


def veiled(steps: Sequence[Step], sight: Sight) -> Sequence[Step]:
    """Give steps as an administrator may read them: policies are for all tenants, and may name any."""
    found: list[Step] = []
    for step in steps:
        if step.part is Part.NAME:
            found.append(step)  # what was asked for, and what is the tenant's
            continue
        rule = step.rule if sight.may_hold(step.rule) else OPERATORS
        why = step.why if sight.may_hold(step.why) else f"{OPERATORS} says so, which is not told"
        help_ = tuple(each for each in step.help if sight.may_hold(each))
        found.append(
            replace(step, rule=rule, why=why, help=help_ or (("the operator knows",) if step.help else ()))
        )
    return found


_TOO_LITTLE = "too little is kept of it to say what would become of it now"


def _said(speaker: Speaker) -> Sequence[str]:
    found = [f"roles are those of {speaker.by}"]
    if not speaker.usable:
        found.append(f"{speaker.by} was revoked or has expired: with it nothing at all is answered")
    return found


def _differs(told: Recalled, now: Explanation) -> bool:
    """Tell whether what would become of it now is something else, as far as rights are concerned."""
    if told.reason and told.reason not in RIGHTS:
        return not now.allowed and not now.depends
    return told.allowed != now.allowed and not now.depends
