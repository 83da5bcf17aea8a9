"""Policies: the engines that decide, by the settings; opened beside those in force, and put in their place in one step.

What they are made of beside the settings (files) is followed here, and what servers say of their tools is told to them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

from tidegate.assemble.entries import Entries, Opened
from tidegate.assemble.policy_changes import Changed, PolicyChange, say
from tidegate.domain.errors import SettingsError
from tidegate.domain.target import Target
from tidegate.extensions import table
from tidegate.gateway.definitions import Definitions
from tidegate.gateway.facts import facts_of
from tidegate.ports.extension import Surroundings
from tidegate.ports.facts import Digested, Facts, Followed, Informed
from tidegate.ports.policy import Policy
from tidegate.settings.policies import KIND, PolicySettings
from tidegate.telemetry import log

LOOK, REST = 0.4, 0.1
"""Seconds between looks; and from one that sees a change to the next: two that see the same are rest."""
_NOTES = 20


@dataclass(slots=True, eq=False)
class Engine:
    """The engine that an entry of `policies` stands for."""

    policy: Policy
    reviewed: object = None
    """What it was when it was last looked at for what is odd, and what that was."""
    notes: Sequence[str] = ()
    seen: object = None
    before: object = None
    """Stamps of what it is made of: as it was taken, and as it was at the last look. It is looked at once more after it
    was opened: it may have changed meanwhile."""


Prepared = Sequence[Opened[PolicySettings, Engine]]


@dataclass(slots=True, eq=False)
class _Told:
    """What engines were told that servers say."""

    definitions: Mapping[str, Definitions] = field(default_factory=dict[str, Definitions])
    facts: Mapping[str, Mapping[Target, Facts]] = field(default_factory=dict[str, "Mapping[Target, Facts]"])


class Policies:
    """Those in force. Entries that stay the same over a reload stay open."""

    def __init__(self, around: Surroundings, changed: Changed | None = None) -> None:
        self._around = around
        self._changed = changed or say
        self._entries: Entries[PolicySettings, Engine] = Entries(self._opening)
        self._told = _Told()

    @property
    def engines(self) -> tuple[Policy, ...]:
        """Those in force, in their order."""
        return tuple(each.policy for each in self._engines)

    @property
    def _engines(self) -> Sequence[Engine]:
        return [each.it for each in self._entries.in_force]

    async def prepare(self, entries: Sequence[PolicySettings]) -> Prepared:
        """Open what is not open yet, and take the files of what is as they stand.

        Raises:
            SettingsError: one cannot be opened, or its policies are wrong.
        """
        return await self._entries.prepare(entries, self._renew)

    def prepared(self, entries: Sequence[PolicySettings]) -> AbstractAsyncContextManager[Prepared]:
        """Open what is not open yet, and at the end close whatever is not in force then.

        Raises:
            SettingsError: as `prepare`.
        """
        return self._entries.prepared(entries, self._renew)

    def adopt(self, prepared: Prepared) -> None:
        """Put them in force, in one step; at the end of `prepared` those that were are closed."""
        before = self._engines
        self._entries.adopt(prepared)
        for each in self._engines:
            if each not in before:
                self._changed(PolicyChange(each.policy.name, "settings", {}, _in_force(each.policy)))
        for each in self._engines:
            self._inform(each.policy)  # servers may have said something since it was opened

    async def close(self) -> None:
        """Close all."""
        await self._entries.close()

    # -- what changes beside the settings -----------------------------------------------------

    async def follow(
        self, definitions: Callable[[], Mapping[str, Definitions]], files: Callable[[], bool]
    ) -> None:
        """Keep engines current, and never end. `files` tells whether these are followed, or only told of reloads."""
        while True:
            resting = True
            try:
                learned = await self.learn(definitions())
                if files():
                    resting = await self.look()
                if resting and not learned:
                    await self.review()
            except Exception as error:  # noqa: BLE001 - a supervisor: the next change must be seen too
                log().error("supervisor.failed", task="policy watch", exc_info=error)
            await asyncio.sleep(LOOK if resting else REST)

    async def look(self) -> bool:
        """Look once whether what engines are made of has changed and rests, and take it; tell whether all rests."""
        resting = True
        for each in self._engines:
            if isinstance(each.policy, Followed):
                stamp = await asyncio.to_thread(each.policy.stamp)
                if stamp != each.seen and stamp == each.before:
                    await self._try(each, stamp)
                resting = resting and stamp in (each.seen, each.before)
                each.before = stamp
        return resting

    async def learn(self, definitions: Mapping[str, Definitions]) -> bool:
        """Tell engines what servers say, where that is something else than before; tell whether it was."""
        told = self._told
        if _same(told.definitions, definitions):
            return False
        kept = dict(definitions)
        facts = await asyncio.to_thread(_facts, kept, told)
        self._told = _Told(kept, facts)
        if _same(told.facts, facts):
            return False
        for each in self._engines:
            self._inform(each.policy)
        return True

    async def review(self) -> None:
        """Tell of what is odd about policies in force, each once: mostly what servers turn out to list."""
        if not self._told.facts:
            return  # nothing has been listed yet
        for each in self._engines:
            now = (each.policy.version, self._told)
            if isinstance(each.policy, Informed) and each.reviewed != now:
                found = await each.policy.review()
                each.reviewed = now
                if found and found != each.notes:
                    log().warning("policy.doubtful", policy=each.policy.name, notes=list(found)[:_NOTES])
                each.notes = found

    def _inform(self, policy: Policy) -> None:
        if isinstance(policy, Informed):
            policy.learn(
                {target: facts for each in self._told.facts.values() for target, facts in each.items()}
            )

    async def _try(self, each: Engine, stamp: object) -> None:
        """Take what a policy is made of; where it is wrong, the one in force stays until there is another."""
        each.seen = stamp
        before = _in_force(each.policy)
        try:
            renewed = await cast("Followed", each.policy).renew()
        except SettingsError as error:
            self._changed(PolicyChange(each.policy.name, "file", before, _tried(each.policy), error.problems))
        else:
            if renewed:
                self._changed(PolicyChange(each.policy.name, "file", before, _in_force(each.policy)))

    async def _renew(self, each: Engine) -> None:
        if isinstance(each.policy, Followed):
            stamp = await asyncio.to_thread(each.policy.stamp)
            before = _in_force(each.policy)
            if await each.policy.renew():
                self._changed(PolicyChange(each.policy.name, "reload", before, _in_force(each.policy)))
            each.seen = each.before = stamp

    # -- opening ------------------------------------------------------------------------------

    @asynccontextmanager
    async def _opening(self, entry: PolicySettings) -> AsyncGenerator[Engine]:
        extension = table.resolve(KIND, entry.type)
        async with extension.open(entry.settings, self._around) as opened:
            policy = cast("Policy", opened)
            self._inform(policy)
            yield Engine(policy)


@asynccontextmanager
async def open_policies(
    entries: Sequence[PolicySettings], around: Surroundings
) -> AsyncGenerator[tuple[Policy, ...]]:
    """Open policies that are not followed, such as for a command.

    Raises:
        SettingsError: one cannot be opened, or its policies are wrong.
    """
    policies = Policies(around)
    try:
        policies.adopt(await policies.prepare(entries))
        yield policies.engines
    finally:
        await policies.close()


def _same(one: Mapping[str, object], other: Mapping[str, object]) -> bool:
    """Tell whether two mappings have the same objects."""
    return len(one) == len(other) and all(other.get(name) is each for name, each in one.items())


def _one(name: str, definitions: Definitions, told: _Told) -> Mapping[Target, Facts]:
    before = told.facts.get(name)
    if before is not None and told.definitions.get(name) is definitions:
        return before
    found = facts_of(name, definitions)
    return before if before == found and before is not None else found


def _facts(definitions: Mapping[str, Definitions], told: _Told) -> Mapping[str, Mapping[Target, Facts]]:
    return {name: _one(name, each, told) for name, each in definitions.items()}


def _in_force(policy: Policy) -> Mapping[str, str]:
    return policy.in_force if isinstance(policy, Digested) else {}


def _tried(policy: Policy) -> Mapping[str, str]:
    return policy.tried if isinstance(policy, Digested) else {}
