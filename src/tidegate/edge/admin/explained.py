"""Explained: what is told of a decision, as the control socket and the admin API give it.

No secret has a place in it, and no argument but what was read for the decision.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict  # pydantic reads those of `typing` from Python 3.12 on only

from tidegate.domain.principal import Principal
from tidegate.gateway.explain import Explanation, Step
from tidegate.gateway.recalled import Recalled

_TOLD = ConfigDict(use_attribute_docstrings=True)


@with_config(_TOLD)
class WhoShape(TypedDict):
    """Who asks. What attributes hold is told where they are read only."""

    tenant: str
    issuer: str
    subject: str
    client: str
    roles: list[str]
    groups: list[str]
    attributes: list[str]
    """Their names."""


@with_config(_TOLD)
class StepShape(TypedDict):
    """What one part says."""

    part: str
    """`name`, `rules` (of the endpoint, and grants of roles), `policy`, `stop`, `scope`, `arguments` or `quota`."""
    says: str
    """`allow`, `deny`, `nothing` or `depends` (on arguments)."""
    rule: str
    """Which rule, role, policy, stop, scope or quota; empty where none is about it."""
    why: str
    reads: dict[str, str]
    """What it read, with the values as JSON."""
    help: list[str]
    """Where it denies: what would have allowed it."""


@with_config(_TOLD)
class ExplanationShape(TypedDict):
    """What would become of a call."""

    who: WhoShape
    endpoint: str
    kind: str
    name: str
    """As the endpoint shows it."""
    server: str
    """Empty where there is no such thing."""
    own: str
    """The server's own name for it."""
    allowed: bool
    depends: bool
    """Whether it is for the arguments to decide, which were not given."""
    visible: bool
    """Whether it is listed; what is not is answered as if it were not there."""
    answer: str
    """The `reason` of the error that a client would get; empty where it gets none."""
    part: str
    """The part that decides."""
    rule: str
    reads: dict[str, str]
    help: list[str]
    """What would have allowed it; every part that denies has to be satisfied."""
    steps: list[StepShape]
    """Every part, in the order of a call's path; the first that denies decides."""
    notes: list[str]


@with_config(_TOLD)
class RecalledShape(TypedDict):
    """What the journal has of a call, and what would become of it now."""

    id: str
    time: float
    """Unix seconds."""
    writer: str
    """The gateway that recorded it."""
    who: WhoShape | None
    """None where that was not known yet."""
    peer: str
    method: str
    endpoint: str
    name: str
    kind: str
    server: str
    own: str
    allowed: bool
    reason: str
    """The word of the error; empty where it was not refused."""
    rule: str
    reads: dict[str, str]
    because: str
    message: str
    outcome: str
    """What came of it where it went out."""
    now: ExplanationShape | None
    """What would become of it now; None where too little is kept of it."""
    differs: bool
    """Whether that is something else than what became of it."""
    notes: list[str]


def explained(told: Explanation, notes: Sequence[str] = ()) -> ExplanationShape:
    """Give an explanation in its shape."""
    named, target = told.question.named, told.target
    return {
        "who": who(told.question.principal),
        "endpoint": named.endpoint,
        "kind": named.kind.value,
        "name": told.shown,
        "server": "" if target is None else target.server,
        "own": "" if target is None else target.name,
        "allowed": told.allowed,
        "depends": told.depends,
        "visible": told.visible,
        "answer": told.answer,
        "part": told.part.value,
        "rule": told.rule,
        "reads": dict(told.reads),
        "help": list(told.help),
        "steps": [_step(each) for each in told.steps],
        "notes": list(notes),
    }


def recalled(
    told: Recalled, now: Explanation | None, differs: bool, notes: Sequence[str] = ()
) -> RecalledShape:
    """Give what is recalled in its shape."""
    return {
        "id": told.call,
        "time": told.time,
        "writer": told.writer,
        "who": None if told.principal is None else who(told.principal),
        "peer": told.peer,
        "method": told.method,
        "endpoint": told.endpoint,
        "name": told.name,
        "kind": "" if told.kind is None else told.kind.value,
        "server": told.server,
        "own": told.own,
        "allowed": told.allowed,
        "reason": told.reason,
        "rule": told.rule,
        "reads": dict(told.reads),
        "because": told.because,
        "message": told.message,
        "outcome": told.outcome,
        "now": None if now is None else explained(now),
        "differs": differs,
        "notes": list(notes),
    }


def who(principal: Principal) -> WhoShape:
    """Give who asks in its shape."""
    return {
        "tenant": principal.tenant,
        "issuer": principal.issuer,
        "subject": principal.subject,
        "client": principal.client,
        "roles": sorted(principal.roles),
        "groups": sorted(principal.groups),
        "attributes": sorted(principal.attributes),
    }


def _step(step: Step) -> StepShape:
    return {
        "part": step.part.value,
        "says": step.says.value,
        "rule": step.rule,
        "why": step.why,
        "reads": dict(step.reads),
        "help": list(step.help),
    }
