"""Reconcile: what is declared against what there is, and the difference made good.

Desired state comes in whole, as often as anybody likes; what is there already is left alone. Which server is
declared how is all that is compared here: what runs of it is the pools' to keep, and `adoption`'s to find.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tidegate.domain.errors import ServerUnavailable
from tidegate.domain.server import ServerSpec
from tidegate.fleet.launcher import Launcher
from tidegate.fleet.pool import Pool

LauncherFor = Callable[[ServerSpec], Launcher]


@dataclass(frozen=True, slots=True)
class Diff:
    """Names of the servers in which two declarations differ, each once."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    """Their workloads are made of something else."""
    adjusted: tuple[str, ...] = ()
    """Only the gateway's part differs: timeouts, replicas, scaling, queue, health, rollout."""

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed or self.adjusted)

    def plain(self) -> dict[str, list[str]]:
        """Give what there is of it, for the journal and for people."""
        named = {
            "added": self.added,
            "removed": self.removed,
            "changed": self.changed,
            "adjusted": self.adjusted,
        }
        return {what: list(names) for what, names in named.items() if names}


def compare(before: Iterable[ServerSpec], after: Iterable[ServerSpec]) -> Diff:
    """Tell in what two declarations differ."""
    old, new = {each.name: each for each in before}, {each.name: each for each in after}
    kept = [name for name in new if name in old and new[name] != old[name]]
    changed = [name for name in kept if new[name].digest() != old[name].digest()]
    return Diff(
        tuple(name for name in new if name not in old),
        tuple(name for name in old if name not in new),
        tuple(changed),
        tuple(name for name in kept if name not in changed),
    )


class Pools(dict[str, Pool]):
    """Pools by their servers' names, in declared order. A server may be gone by the time it is asked for."""

    def __missing__(self, server: str) -> Pool:
        raise ServerUnavailable(f"server {server} is not declared any more")


class Changes(Protocol):
    """Brings differences in: the fleet."""

    def make(self, spec: ServerSpec, launcher: Launcher) -> Pool:
        """Make the pool of a server, which does nothing yet."""
        ...

    async def bring_up(self, pools: Sequence[Pool]) -> None:
        """Have the pools of new servers do what they are for."""
        ...

    async def roll(self, pool: Pool, spec: ServerSpec, launcher: Launcher) -> None:
        """Begin to bring in another version of a server. Does not wait until it is in."""
        ...

    def let_go(self, pool: Pool) -> None:
        """Begin to end a pool, once what is under way there is done."""
        ...


class Reconciler:
    """Makes the difference good."""

    def __init__(self, pools: Pools, changes: Changes) -> None:
        self.desired: dict[str, ServerSpec] = {}
        """What was declared last. A pool may be on its way there, or was taken back from it."""
        self._pools = pools
        self._changes = changes
        self._turn = asyncio.Lock()

    def declare(self, spec: ServerSpec, launcher: Launcher) -> None:
        """Add a server before anything runs."""
        self.desired[spec.name] = spec
        self._pools[spec.name] = self._changes.make(spec, launcher)

    async def apply(
        self, specs: Sequence[ServerSpec], launcher_for: LauncherFor, between: Callable[[], None]
    ) -> Diff:
        """Make `specs` what is desired. Raises what `launcher_for` and `between` raise; then nothing has changed.

        `between` is called in the one step in which new servers come to be known and old ones cease to be.
        """
        async with self._turn:
            diff = compare(self.desired.values(), specs)
            declared = {spec.name: spec for spec in specs}
            launchers: dict[str, Launcher] = {}
            for name in (*diff.added, *diff.changed, *diff.adjusted):
                launchers[name] = launcher_for(declared[name])
                await asyncio.sleep(0)  # many servers are many short turns of the loop, not one long one
            fresh = [self._changes.make(declared[name], launchers[name]) for name in diff.added]
            gone = self._step(declared, fresh, between)
            for pool in gone:
                self._changes.let_go(pool)
            for name in diff.adjusted:
                adjust(self._pools[name], declared[name], launchers[name])
            await self._changes.bring_up(fresh)
            for name in diff.changed:
                await self._changes.roll(self._pools[name], declared[name], launchers[name])
            return diff

    def _step(
        self, declared: Mapping[str, ServerSpec], fresh: Sequence[Pool], between: Callable[[], None]
    ) -> Sequence[Pool]:
        before = dict(self._pools)
        there = {**before, **{pool.spec.name: pool for pool in fresh}}
        self._pools.clear()
        self._pools.update((name, there[name]) for name in declared)
        try:
            between()
        except BaseException:
            self._pools.clear()
            self._pools.update(before)
            raise
        self.desired = dict(declared)
        return [pool for name, pool in before.items() if name not in declared]


def adjust(pool: Pool, spec: ServerSpec, launcher: Launcher) -> None:
    """Have what runs of a server go on with another declaration of what is the gateway's part."""
    digest = spec.digest()
    for track in pool.tracks:
        if track is pool.current and track.digest == digest:
            pool.revise(spec, launcher)
        elif track.digest == digest:  # it is on its way in
            track.spec, track.launcher = spec, launcher
