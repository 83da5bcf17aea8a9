"""A policy engine that says what a test has it say, and counts what it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from tidegate.domain.principal import Principal
from tidegate.domain.target import Target
from tidegate.ports.policy import Verdict

NOTHING = Verdict(None, "nothing is said")
Says = Callable[[Principal, Target], Verdict]
Judges = Callable[[Principal, Target, object], Verdict]


class Engine:
    """A policy. Change what it `says` with `change`, so that its version is another one."""

    def __init__(
        self,
        says: Says = lambda _principal, _target: NOTHING,
        judges: Judges = lambda _principal, _target, _arguments: NOTHING,
        *,
        name: str = "engine",
        reads: frozenset[str] | None = frozenset({"roles"}),
    ) -> None:
        self.name = name
        self.version = 1
        self.asked: list[Target] = []
        self.told: list[Principal] = []
        self.judged: list[object] = []
        self.failing: Exception | None = None
        self.open = asyncio.Event()
        """While it is clear, the engine does not answer."""
        self.open.set()
        self._says, self._judges, self._reads = says, judges, reads

    def change(self, says: Says | None = None, judges: Judges | None = None) -> None:
        """Have other policies from now on."""
        self._says, self._judges = says or self._says, judges or self._judges
        self.version += 1

    def reads(self) -> frozenset[str] | None:
        """Say what of a principal matters."""
        return self._reads

    async def decide(
        self, principal: Principal, endpoint: str, targets: Sequence[Target]
    ) -> Sequence[Verdict]:
        """Decide without arguments."""
        self.told.append(principal)
        self.asked += targets
        await self.open.wait()
        if self.failing is not None:
            raise self.failing
        return [self._says(principal, target) for target in targets]

    async def judge(self, principal: Principal, endpoint: str, target: Target, arguments: object) -> Verdict:
        """Decide with them."""
        self.judged.append(arguments)
        await self.open.wait()
        if self.failing is not None:
            raise self.failing
        return self._judges(principal, target, arguments)
