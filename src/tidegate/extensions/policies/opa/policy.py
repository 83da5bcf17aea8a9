"""Policy: OPA as an engine of `ports.policy`. Asks it, and remembers which arguments it wants to see.

What it decided is kept by whoever asked, until `version` changes: with OPA's policies and their data, or its revision.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from tidegate.domain.principal import Principal
from tidegate.domain.target import Kind, Target
from tidegate.extensions.policies.opa import OpaSettings, asked, said
from tidegate.extensions.policies.opa.api import Api, Trouble
from tidegate.extensions.policies.opa.asked import Claims, Document, Path
from tidegate.extensions.policies.opa.changes import Changes, Stamp, Unseen
from tidegate.extensions.policies.opa.said import Answer
from tidegate.ports.facts import Facts
from tidegate.ports.policy import Verdict
from tidegate.protocol.codec import encode

LOOK, LOOK_PATIENCE = 0.3, 0.7
"""Seconds from one look for changes to the next, and that one may take; where it takes longer, nothing from before it is
kept. So a change is in force within a second, or what it may change is asked about anew."""
BATCH = 64
"""Targets in one question."""
AT_ONCE, BATCHES = 8, 4
"""Questions of one list, about one target or many, that are under way or wait for a place, so that calls find one."""
LONGER = 4
"""Times the timeout that an answer about many may take."""
LARGEST_ARGUMENTS = 64 * 1024
"""Bytes of arguments that are judged."""
_MOST_KEPT = 16_384
"""Answers of which it is kept which arguments they want to see."""

_Key = tuple[bytes, str, Target]
_Given = TypeVar("_Given")
_Found = TypeVar("_Found")


class OpaPolicy:
    """See `tidegate.ports.policy.Policy`, and `Informed`, `Followed` and `Digested` of `tidegate.ports.facts`."""

    def __init__(self, settings: OpaSettings, api: Api, patience: float = LOOK_PATIENCE) -> None:
        """`patience`: seconds that a look for changes may take."""
        self._settings = settings
        self._patience = patience
        self._api = api
        self._changes = Changes(api, settings)
        self._told = None if settings.principal is None else frozenset(settings.principal)
        self._claims: Mapping[Target, Claims] = {}
        self._reads: dict[_Key, tuple[Path, ...]] = {}
        self._version = 1
        self._stamp: Stamp | None = None
        """What it was at the last look; None where that saw nothing."""
        self._last: Stamp = {}
        """What was seen last."""
        self._taken: Stamp = {}
        """What of it was recorded."""
        self._unseen: str | None = None
        self._given = False
        """Whether anything was decided since the version changed."""

    @property
    def name(self) -> str:
        """How it is called."""
        return "opa"

    @property
    def version(self) -> int:
        """Changes with what decides in OPA, and with what servers claim of their tools."""
        return self._version

    def reads(self) -> frozenset[str] | None:
        """Say what of a principal OPA is told: it can read no more."""
        return self._told

    async def decide(
        self, principal: Principal, endpoint: str, targets: Sequence[Target]
    ) -> Sequence[Verdict]:
        """Decide without arguments: in one request for many, where settings name a rule for that."""
        servers = self._settings.servers
        about = targets if servers is None else [each for each in targets if each.server in servers]
        if len(about) == len(targets):
            return await self._decided(principal, endpoint, targets)
        found = iter(await self._decided(principal, endpoint, about) if about else ())
        nothing = Verdict(None, said.NOBODY)
        return [next(found) if each.server in (servers or ()) else nothing for each in targets]

    async def _decided(
        self, principal: Principal, endpoint: str, targets: Sequence[Target]
    ) -> Sequence[Verdict]:
        self._see()
        who = asked.who(principal, self._told)
        if len(targets) > 1 and self._settings.batch is not None:
            chunks = [targets[at : at + BATCH] for at in range(0, len(targets), BATCH)]
            batches = await _all(lambda chunk: self._batch(who, endpoint, chunk), chunks, BATCHES)
            answers = [each for batch in batches for each in batch]
        else:
            answers = await _all(lambda target: self._one(who, endpoint, target), targets, AT_ONCE)
        self._given = True  # and not before: while it is away, nothing has to be let go of again and again
        record = asked.record(principal, self._told)
        key = encode(who)
        return [
            self._verdict((key, endpoint, target), answer, {**told, **record})
            for target, (answer, told) in zip(targets, answers, strict=True)
        ]

    async def judge(self, principal: Principal, endpoint: str, target: Target, arguments: object) -> Verdict:
        """Decide with those of the arguments that OPA said it reads."""
        who = asked.who(principal, self._told)
        key = encode(who), endpoint, target
        paths = self._reads.get(key)
        if paths is None:  # it was decided under another version, or others took its room
            (verdict,) = await self.decide(principal, endpoint, (target,))
            paths = self._reads.get(key)
            if paths is None:
                return verdict
        self._see()
        if meant := asked.misspelled(arguments, paths):
            why = f"there is an argument that differs only by case from {meant!r}, which is read"
            return Verdict(False, self.name, because=why)
        sent = asked.part({} if arguments is None else arguments, paths)
        document = {**self._question(who, endpoint, target), "arguments": sent}
        if len(encode(sent)) > LARGEST_ARGUMENTS:
            why = f"the arguments that it reads have more than {LARGEST_ARGUMENTS} bytes"
            return Verdict(False, self.name, because=why)
        answer, told = await self._asked(document)
        record = asked.record(principal, self._told)
        return answer.final(self._settings.path, {**told, **asked.record_arguments(sent), **record})

    # -- asking -------------------------------------------------------------------------------

    async def _one(self, who: Document, endpoint: str, target: Target) -> tuple[Answer, Mapping[str, str]]:
        return await self._asked(self._question(who, endpoint, target))

    async def _asked(self, document: Document) -> tuple[Answer, Mapping[str, str]]:
        path = self._settings.path
        told = await self._api.ask(path, document)
        return said.understood(told.value(), path), said.decision(told.decision_id)

    async def _batch(
        self, who: Document, endpoint: str, targets: Sequence[Target]
    ) -> Sequence[tuple[Answer, Mapping[str, str]]]:
        path = self._settings.batch or ""
        every = [asked.what(target, self._claims.get(target)) for target in targets]
        document = {"principal": who, "endpoint": endpoint, "targets": every}
        told = await self._api.ask(path, document, patience=LONGER * self._settings.timeout)
        record = said.decision(told.decision_id)
        return [
            (said.understood(each, f"{path}[{at}]"), record)
            for at, each in enumerate(said.many(told.value(), path, len(targets)))
        ]

    def _question(self, who: Document, endpoint: str, target: Target) -> Document:
        what = asked.what(target, self._claims.get(target))
        return {"principal": who, "endpoint": endpoint, "target": what}

    def _verdict(self, key: _Key, answer: Answer, reads: Mapping[str, str]) -> Verdict:
        verdict = answer.verdict(self._settings.path, reads)
        if not verdict.arguments:
            self._reads.pop(key, None)
        else:
            if len(self._reads) >= _MOST_KEPT:
                self._reads.clear()
            self._reads[key] = answer.reads
        return verdict

    def _see(self) -> None:
        """Raise where changes cannot be seen, and what is decided would hold for ever."""
        if self._unseen is not None:
            raise Trouble(self._unseen)

    # -- what changes -------------------------------------------------------------------------

    def learn(self, facts: Mapping[Target, Facts]) -> None:
        """Take what servers claim of their tools."""
        claims = {target: asked.claims_of(each) for target, each in facts.items() if target.kind is Kind.TOOL}
        if claims != self._claims:
            self._claims = claims
            self._let_go()

    async def review(self) -> Sequence[str]:
        """Say what is odd about what OPA has, as far as it lets that be seen."""
        from tidegate.extensions.policies.opa.offline import odd

        try:
            return await odd(self._api, self._settings)
        except Trouble:
            return ()  # it is told where that denies something

    @property
    def in_force(self) -> Stamp:
        """Digests of the policies that decide and of their data."""
        return self._taken

    @property
    def tried(self) -> Stamp:
        """The same: it takes whatever OPA has."""
        return self._taken

    def stamp(self) -> object:
        """Give what was seen last. It is in force already; this has it recorded."""
        return self._last

    async def renew(self) -> bool:
        """Tell whether what was seen last was not recorded yet."""
        before, self._taken = self._taken, self._last
        return before != self._taken

    async def follow(self) -> None:
        """Look for changes, and never end."""
        took = 0.0
        while True:
            await asyncio.sleep(max(LOOK - took, 0.05))
            began = time.monotonic()
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 - a supervisor: what cannot be followed must not be kept
                self._unseen = f"its changes cannot be followed ({type(error).__name__})"
                self._let_go()
            took = time.monotonic() - began

    async def look(self) -> None:
        """Look once whether anything may be decided otherwise than before. Where that cannot be told, it may be."""
        stamp, self._unseen = None, None
        try:
            async with asyncio.timeout(self._patience):
                stamp = await self._changes.stamp()
        except Unseen as error:
            self._unseen = str(error)
        except (Trouble, TimeoutError):
            pass  # it is away, which each question will meet
        if stamp != self._stamp or (stamp is None and self._given):
            self._stamp = stamp
            self._last = self._last if stamp is None else stamp
            self._let_go()

    def _let_go(self) -> None:
        self._version += 1
        self._reads.clear()
        self._given = False


async def _all(
    ask: Callable[[_Given], Awaitable[_Found]], every: Sequence[_Given], at_once: int
) -> Sequence[_Found]:
    """Ask about each, a few at a time, and give the answers in their order. The first trouble ends all of it."""
    if len(every) == 1:
        return [await ask(every[0])]
    found: dict[int, _Found] = {}
    left = iter(enumerate(every))

    async def work() -> None:
        for number, each in left:
            found[number] = await ask(each)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(at_once, len(every))):
                group.create_task(work())
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
    return [found[number] for number in range(len(every))]
