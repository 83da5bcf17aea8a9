"""Watch: sees companions end and volumes grow over their sizes, and tells whose workload that costs.

It hears the engine's events and looks itself after each time that they broke off; nothing is asked while there are
neither companions nor volumes to be watched. What is done with a workload that is lost is the runtime's.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from tidegate.domain.errors import EngineUnavailable, RuntimeFailure
from tidegate.extensions.runtimes.docker import facts
from tidegate.extensions.runtimes.docker.companions import Companions
from tidegate.extensions.runtimes.docker.engine import Engine, EngineRefused
from tidegate.extensions.runtimes.docker.scales import Weighed
from tidegate.extensions.runtimes.docker.sets import COMPANION, SET
from tidegate.extensions.runtimes.docker.volumes import INSTANCE, Kept, Volumes

Json = Mapping[str, Any]

_HEARING = 300.0
"""Seconds for which one call hears events; then it is looked whether one was missed."""
_AGAIN = 1.0
_EVENT = 256 * 1024
_MEASURED = 2.0
"""Seconds between two looks at a volume, or twenty times what one took."""
_SHARE = 20
_TICK = 0.5
_FAILED = 3
"""Looks in a row that tell nothing, after which nothing holds the volume."""


@dataclass(frozen=True, slots=True)
class Bounded:
    """Volumes that one container has, and what they may hold together."""

    volumes: tuple[Kept, ...]
    together: int | None

    def measured(self) -> tuple[Kept, ...]:
        """Give those of which it has to be known what they hold."""
        return tuple(one for one in self.volumes if self.together is not None or watched(one))


@dataclass(slots=True)
class Look:
    """What is known of a volume, and when it is looked at again."""

    volume: Kept
    due: float
    under_way: bool = False
    held: int | None = None
    failed: int = 0
    """Looks in a row that told nothing."""
    why: str = ""

    def saw(self, weighed: Weighed, now: float) -> None:
        """Take what it holds. One that takes long is looked at more rarely, and it alone."""
        self.held, self.failed = weighed.held, 0
        self.due = now + max(_MEASURED, weighed.took * _SHARE)

    def saw_nothing(self, why: str, now: float) -> None:
        """Take that it could not be measured."""
        self.failed, self.why, self.due = self.failed + 1, why, now + _MEASURED


class Watch:
    """Sees what befalls the data of workloads."""

    def __init__(self, engine: Engine, instance: str, companions: Companions, volumes: Volumes) -> None:
        self._engine = engine
        self._instance = instance
        self._companions = companions
        self._volumes = volumes
        self.lose: Callable[[str, str], None] = _nobody
        self._bounded: dict[str, list[Bounded]] = {}
        """By workload."""
        self._looks: dict[str, Look] = {}
        """By volume."""

    def bound(self, workload: str, bounded: list[Bounded]) -> None:
        """Watch the volumes of a workload."""
        if bounded:
            self._bounded[workload] = bounded

    def forget(self, workload: str) -> None:
        """Watch them no more."""
        self._bounded.pop(workload, None)

    async def over(self, bounded: list[Bounded]) -> str | None:
        """Say what holds more than it may, or may do so unseen; None where neither is.

        Raises:
            EngineUnavailable: the engine would have to tell.
        """
        looks: dict[str, Look] = {}
        for volume in (volume for one in bounded for volume in one.measured()):
            look = looks.setdefault(volume.name, Look(volume, 0.0))
            await self._weigh(look)
            if look.failed:
                return _unheld(volume, look.why)
        reason = over(bounded, looks)
        return f"{reason}; free some, or give it more" if reason is not None else None

    async def hear(self) -> None:
        """Hear of companions that end, for as long as it is let run."""
        filters = {
            "type": ["container"],
            "event": ["die"],
            "label": [SET, f"{INSTANCE}={self._instance}"],
        }
        while True:
            kept = bytearray()

            async def take(piece: bytes, kept: bytearray = kept) -> None:
                kept += piece
                if len(kept) > _EVENT:
                    raise RuntimeFailure("an event of the engine is too large")
                *lines, rest = bytes(kept).split(b"\n")
                kept[:] = rest
                for line in lines:
                    await self._heard(line)

            try:
                async with asyncio.TaskGroup() as both:
                    looking = both.create_task(self._look())
                    asked = {"filters": json.dumps(filters)}
                    await self._engine.read("hearing events", "events", take, params=asked, seconds=_HEARING)
                    await looking
            except* RuntimeFailure:
                await asyncio.sleep(_AGAIN)  # the engine is down, or the time is over: look again

    async def measure(self) -> None:
        """Look at each volume again and again, at its own pace, for as long as it is let run."""
        clock = asyncio.get_running_loop().time
        async with asyncio.TaskGroup() as looking:
            while True:
                for look in self._due(clock()):
                    look.under_way = True
                    looking.create_task(self._look_at(look))
                await asyncio.sleep(_TICK)

    def _due(self, now: float) -> list[Look]:
        volumes = {
            volume.name: volume
            for bounded in self._bounded.values()
            for one in bounded
            for volume in one.measured()
        }
        self._looks = {
            name: self._looks.get(name) or Look(volume, now + _MEASURED) for name, volume in volumes.items()
        }
        return [look for look in self._looks.values() if look.due <= now and not look.under_way]

    async def _look_at(self, look: Look) -> None:
        try:
            await self._weigh(look)
        except EngineUnavailable:
            look.due = (
                asyncio.get_running_loop().time() + _MEASURED
            )  # it is back, or workloads are lost anyway
        finally:
            look.under_way = False
        for workload, bounded in list(self._bounded.items()):
            reason = over(bounded, self._looks)
            if reason is not None:
                self.forget(workload)
                self.lose(workload, reason)

    async def _weigh(self, look: Look) -> None:
        clock = asyncio.get_running_loop().time
        try:
            weighed = await self._volumes.scales.weigh(look.volume.name, look.volume.place)
        except EngineUnavailable:
            raise
        except RuntimeFailure as error:
            look.saw_nothing(str(error), clock())
        else:
            look.saw(weighed, clock())

    async def _heard(self, line: bytes) -> None:
        try:
            actor = cast("Json", cast("Json", json.loads(line)).get("Actor") or {})
        except ValueError:
            return
        told = cast("Mapping[str, str]", actor.get("Attributes") or {})
        if COMPANION in told and SET in told:
            await self._ended(str(actor.get("ID")), told)

    async def _look(self) -> None:
        """Find companions that ended while nobody heard: now, and once it is certain that somebody hears."""
        await self._look_once()
        await asyncio.sleep(_AGAIN)
        await self._look_once()

    async def _look_once(self) -> None:
        for one in await self._engine.containers(SET):
            labels = cast("Mapping[str, str]", one.get("Labels") or {})
            ours = labels.get(INSTANCE) == self._instance and COMPANION in labels
            if ours and one.get("State") in ("exited", "dead"):
                await self._ended(str(one.get("Id")), labels)

    async def _ended(self, container: str, labels: Mapping[str, str]) -> None:
        of, name = labels[SET], labels[COMPANION]
        if f"{of}-{name}" in self._companions.ending:
            return
        try:
            seen = await self._engine.inspect(container)
        except EngineRefused:
            return  # it was removed, which is nobody's loss
        if cast("Json", seen.get("State") or {}).get("Running") or f"{of}-{name}" in self._companions.ending:
            return
        reason = f"companion {name} {facts.ending_of(seen)}"
        self._companions.broken[of] = reason
        for workload in self._companions.users(of):
            self.lose(workload, reason)


def over(bounded: Iterable[Bounded], looks: Mapping[str, Look]) -> str | None:
    """Say what holds more than it may, or what nothing holds to that any more; None where all is well."""
    for one in bounded:
        together = 0
        for volume in one.measured():
            look = looks.get(volume.name)
            if look is None:
                continue
            if look.failed >= _FAILED:
                return _unheld(volume, f"{look.why} ({look.failed} times in a row)")
            held = look.held or 0
            together += held
            if watched(volume) and held > (volume.size or 0):
                return f"volume {volume.volume} holds {held} bytes, more than its size of {volume.size}"
        if one.together is not None and together > one.together:
            return f"its volumes hold {together} bytes, more than limits.disk of {one.together}"
    return None


def _unheld(volume: Kept, why: str) -> str:
    bound = "limits.disk" if volume.size is None else f"its size of {volume.size}"
    return f"volume {volume.volume} cannot be measured, so that {bound} does not hold: {why}"


def watched(volume: Kept) -> bool:
    """Tell whether its size holds only because somebody measures."""
    return volume.size is not None and volume.bound != "quota"


def _nobody(workload: str, reason: str) -> None:
    """Stand in until somebody wants to be told."""
