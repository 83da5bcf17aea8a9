"""Operations: what an administrator may do to servers. Recorded, with who does it, before it is done.

What takes long (a restart that waits for calls to end) goes on by itself; events tell how it goes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from tidegate.domain.errors import JournalRefused, JournalUnavailable, TidegateError
from tidegate.domain.principal import Principal
from tidegate.domain.server import Replicas, Sharing
from tidegate.edge.admin.door import Actor
from tidegate.edge.admin.feed import Feed
from tidegate.edge.admin.problem import Problem, unknown_server
from tidegate.edge.admin.shapes import AdviceShape, SignalShape, TakenShape
from tidegate.edge.admin.sight import EVERYTHING, Sight
from tidegate.edge.reloads import Reloads
from tidegate.fleet.advice import Advice
from tidegate.fleet.fleet import Fleet
from tidegate.fleet.pool import Pool
from tidegate.fleet.reconcile import adjust
from tidegate.telemetry import log

_MOST = 64
"""Operations under way: more than there are servers that somebody looks after at one time."""

if TYPE_CHECKING:
    from tidegate.edge.admin.bodies import SignalBody


class Recorder(Protocol):
    """Who keeps what is changed: the journal."""

    def changed(self, principal: Principal, fields: Mapping[str, object]) -> None:
        """Record a change that is about to be made, or raise JournalUnavailable."""
        ...


class Operations:
    """What may be done."""

    def __init__(self, fleet: Fleet, journal: Recorder, feed: Feed, reloads: Reloads) -> None:
        self.reloads = reloads
        """The settings in force, and those before them."""
        self._fleet = fleet
        self._journal = journal
        self._feed = feed
        self._under_way: dict[str, asyncio.Task[None]] = {}

    def pool(self, name: str) -> Pool:
        """Give a server's pool.

        Raises:
            Problem: there is no such server.
        """
        pool = self._fleet.pools.get(name)
        if pool is None:
            raise unknown_server(name, self._fleet.pools)
        return pool

    async def restart(self, name: str, reason: str, actor: Actor, wait: float = 0.0) -> bool:
        """Replace each workload of a server, draining, one at a time. Tell whether that is done after `wait` seconds.

        Raises:
            Problem: there is no such server, or it is being restarted already.
        """
        pool = self.pool(name)
        before = self._under_way.get(name)
        if before is None:
            if len(self._under_way) >= _MOST:
                raise Problem(429, "overloaded", f"{_MOST} servers are being restarted, as many as may be")
            self.record(actor, "restart", server=name, reason=reason)
            before = self._begin(name, pool.restart(reason or f"restarted by {actor.principal.subject}"))
        done, _ = await asyncio.wait([before], timeout=wait)
        return bool(done)

    def scale(self, name: str, least: int, most: int | None, reason: str, actor: Actor) -> None:
        """Set how many workloads a shared server has, until the gateway ends or its settings change.

        Raises:
            Problem: there is no such server, or it is not shared, or would be several that know different things.
        """
        pool = self.pool(name)
        if pool.spec.sharing is not Sharing.SHARED:
            raise Problem(409, "not_shared", f"server {name} is not shared: it has as many as are called for")
        bounds = Replicas(least, max(1, least if most is None else most))
        if bounds.max > 1 and not pool.spec.stateless:
            raise Problem(
                409, "not_stateless", f"server {name} is not stateless: one workload has what it knows"
            )
        self.record(actor, "scale", server=name, min=bounds.min, max=bounds.max, reason=reason)
        adjust(pool, replace(pool.spec, replicas=bounds), pool.launcher)
        wanted = min(max(pool.wanted, bounds.min), bounds.max)
        pool.want(wanted, reason or f"scaled by {actor.principal.subject}")

    def quarantine(self, name: str, reason: str, actor: Actor) -> None:
        """Take a server out of use: it is not started again until it is released.

        Raises:
            Problem: there is no such server.
        """
        pool = self.pool(name)
        self.record(actor, "quarantine", server=name, reason=reason)
        pool.quarantine(reason or f"quarantined by {actor.principal.subject}")

    def release(self, name: str, reason: str, actor: Actor) -> None:
        """Take a server out of quarantine.

        Raises:
            Problem: there is no such server.
        """
        pool = self.pool(name)
        self.record(actor, "release", server=name, reason=reason)
        pool.release()

    async def signal(
        self, name: str, body: SignalBody, actor: Actor, sight: Sight = EVERYTHING
    ) -> SignalShape:
        """Turn a signal from outside on, for so many seconds where that is said, or off.

        Raises:
            Problem: no server has replicas by a signal of that name.
            StateError: it cannot be kept, and is as it was.
        """
        known = {each["signal"]: each for each in self.signals(sight)}
        on, seconds, reason = body.on, body.seconds, body.reason
        if name not in known or (on and not known[name]["servers"]):
            names = ", ".join(each for each in known if known[each]["servers"])[:2000] or "none"
            raise Problem(
                404, "unknown_signal", f"no server is told by a signal {name[:64]!r} (known: {names})"
            )
        self.record(actor, "signal", signal=name, on=on, seconds=seconds, reason=reason)
        await self._fleet.scaling.signal(name, on=on, seconds=seconds)
        off: SignalShape = {**known[name], "on": False, "until": None}
        return next((each for each in self.signals() if each["signal"] == name), off)

    def signals(self, sight: Sight = EVERYTHING) -> list[SignalShape]:
        """Give the signals that servers are told by, and those that are on though no server is any more; of these
        whoever has not to do with everything knows those only that are about nothing else than what it knows."""
        scaling = self._fleet.scaling
        on = {each.name: each for each in scaling.signals()}
        known = {each for pool in self._fleet.pools.values() for each in pool.spec.scaling.signals}
        found: list[SignalShape] = [
            {
                "signal": name,
                "on": name in on,
                "until": on[name].until if name in on else None,
                "servers": list(scaling.about(name)),
            }
            for name in sorted(known | on.keys())
        ]
        if sight.tenant is None:
            return found
        return [each for each in found if each["servers"] and all(map(sight.sees, each["servers"]))]

    def note(self, event: str, name: str, actor: Actor) -> None:
        """Record what a command is about to change by itself, beside the gateway.

        Raises:
            JournalRefused: it cannot be recorded, so it should not be done.
        """
        self.record(actor, event, name=name)

    async def steer(self, name: str, what: str, actor: Actor) -> None:
        """Have a server's rollout `pause`, or `promote` or `undo` it.

        Raises:
            Problem: there is no such server, or nothing of it to steer.
        """
        self.pool(name)
        rollouts = self._fleet.rollouts
        self.record(actor, "rollout", server=name, action=what)
        steering = {"pause": rollouts.pause, "promote": rollouts.promote, "undo": rollouts.undo}
        try:
            await steering[what](name)
        except TidegateError as error:
            raise Problem(409, "no_rollout", str(error)) from None

    def advice(self) -> list[AdviceShape]:
        """Give what is recommended for each server."""
        return [_advice(each) for each in self._fleet.adviser.all()]

    async def take_advice(self, name: str, actor: Actor) -> TakenShape:
        """Give the workloads of a server that run what is recommended, where their runtime can.

        Raises:
            Problem: there is no such server, or nothing else is recommended for it.
        """
        self.pool(name)
        advice = self._fleet.adviser.of(name)
        if not advice.changes:
            raise Problem(
                409, "nothing_advised", f"nothing else is recommended for server {name}: {advice.reason}"
            )
        told = _advice(advice)
        self.record(actor, "advice", server=name, memory=told["memory_advised"], cpus=told["cpus_advised"])
        applied = await self._fleet.adviser.apply(advice)
        return {
            "advice": told,
            "applied": [{"workload": w.workload, "live": w.live, "reason": w.reason} for w in applied],
        }

    def rollouts(self, name: str | None = None) -> Sequence[Mapping[str, object]]:
        """Say where the rollouts are, or the one of a server.

        Raises:
            Problem: there is no such server.
        """
        if name is not None:
            self.pool(name)
        return self._fleet.rollouts.status(name)

    async def reload(self, actor: Actor) -> Mapping[str, object]:
        """Take the settings file as it stands. Raises as `Reloads.reload` does."""
        self.record(actor, "reload")
        return await self.reloads.reload(_who(actor))

    async def roll_back(self, number: int, actor: Actor) -> Mapping[str, object]:
        """Put an earlier version of the settings in force. Raises as `Reloads.rollback` does."""
        self.record(actor, "rollback", to=number)
        return await self.reloads.rollback(number, _who(actor))

    async def close(self) -> None:
        """End what is under way."""
        for task in self._under_way.values():
            task.cancel()
        if self._under_way:
            await asyncio.wait(self._under_way.values())

    def _begin(self, name: str, work: Coroutine[object, object, object]) -> asyncio.Task[None]:
        async def supervise() -> None:
            try:
                await work
            except TidegateError as error:
                self._feed.tell("admin", {"event": "restart", "failed": str(error)}, name)
            except Exception as error:  # noqa: BLE001 - a supervisor: nobody else learns of a fault of ours
                log().error("supervisor.failed", task=f"restart {name}", exc_info=error)
            finally:
                del self._under_way[name]

        task = self._under_way[name] = asyncio.create_task(supervise(), name=f"restart {name}")
        return task

    def record(self, actor: Actor, event: str, **what: object) -> None:
        """Record what is about to be done, and tell those who follow.

        Raises:
            JournalRefused: it cannot be recorded, so it is not done.
        """
        told = {"event": event, **what}
        by = {"via": actor.via, "credential": actor.credential, "peer": actor.peer}
        try:
            self._journal.changed(actor.principal, {**told, **by})
        except JournalUnavailable as error:
            raise JournalRefused(f"nothing was done, since it cannot be recorded: {error}") from error
        who = {"subject": actor.principal.subject, "issuer": actor.principal.issuer, "via": actor.via}
        server = what.get("server")
        told.pop("server", None)
        named = server if isinstance(server, str) else None
        self._feed.tell("admin", {**told, **who}, named, actor.principal.tenant)


def _advice(advice: Advice) -> AdviceShape:
    return {
        "server": advice.server,
        "looks": advice.looks,
        "killed": advice.killed,
        "memory": advice.memory,
        "memory_p95": advice.memory_p95,
        "memory_highest": advice.memory_highest,
        "memory_advised": advice.memory_advised,
        "cpus": advice.cpus,
        "cpus_p95": advice.cpus_p95,
        "cpus_advised": advice.cpus_advised,
        "reason": advice.reason,
        "changes": advice.changes,
    }


def _who(actor: Actor) -> str:
    return f"{actor.principal.subject[:64]} ({actor.via})"
