"""Policy: says whether a principal may have a target, and with which arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tidegate.domain.principal import Principal
from tidegate.domain.target import Target


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one policy engine says of a principal and a target."""

    allowed: bool | None
    """True where a rule allows it, False where one denies it (which overrides), None where none is about it."""
    rule: str
    """Which rule: the name that people gave it (`claims.cedar#pay-limit`); for None, a word."""
    arguments: bool = False
    """Whether a rule reads the call's arguments, so that each call has to be judged. `allowed` is then True where
    some arguments may be allowed: it is shown, and `judge` decides."""
    reads: Mapping[str, str] = field(default_factory=dict[str, str])
    """What the rules that decided it read (`principal.region`, `context.arguments.amount`), with the values as JSON,
    each at most 200 characters. For the record and for people."""
    because: str = ""
    """What would have to be otherwise, in a sentence, where that can be told."""


class Policy(Protocol):
    """An engine that decides. What it raises, or does not answer within its own deadline, denies."""

    @property
    def name(self) -> str:
        """How it is called in settings and records."""
        ...

    @property
    def version(self) -> int:
        """A number that changes when what was decided before may no longer hold."""
        ...

    def reads(self) -> frozenset[str] | None:
        """Say what of a principal its rules read (`roles`, `groups`, `client`, `subject`, names of attributes).

        Principals that are alike in these are decided once. None: anything.
        """
        ...

    async def decide(
        self, principal: Principal, endpoint: str, targets: Sequence[Target]
    ) -> Sequence[Verdict]:
        """Decide without arguments: one verdict for each target, in their order. May be asked of hundreds.

        A target that `is_reaching` (`domain.target`) stands for knowing of a server at all.
        """
        ...

    async def judge(self, principal: Principal, endpoint: str, target: Target, arguments: object) -> Verdict:
        """Decide a call whose arguments matter. `arguments` is what was sent, decoded from JSON."""
        ...
