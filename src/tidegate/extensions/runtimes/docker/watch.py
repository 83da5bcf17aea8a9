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

from tidegate.domain.errors import RuntimeFailure
from tidegate.extensions.runtimes.docker import facts
from tidegate.extensions.runtimes.docker.companions import Companions
from tidegate.extensions.runtimes.docker.engine import Engine, EngineRefused
from tidegate.extensions.runtimes.docker.sets import COMPANION, SET
from tidegate.extensions.runtimes.docker.volumes import INSTANCE, Kept, Volumes

Json = Mapping[str, Any]

_HEARING = 300.0
"""Seconds for which one call hears events; then it is looked whether one was missed."""
_AGAIN = 1.0
_EVENT = 256 * 1024
_MEASURED = 2.0
"""Seconds between two measurements, or twenty times what one took."""
_SHARE = 20


@dataclass(frozen=True, slots=True)
class Bounded:
    """Volumes that one container has, and what they may hold together."""

    volumes: tuple[Kept, ...]
    together: int | None


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

    def bound(self, workload: str, bounded: list[Bounded]) -> None:
        """Watch the volumes of a workload."""
        if bounded:
            self._bounded[workload] = bounded

    def forget(self, workload: str) -> None:
        """Watch them no more."""
        self._bounded.pop(workload, None)

    async def over(self, bounded: list[Bounded]) -> str | None:
        """Say what holds more than it may, or None."""
        return _over(bounded, await self._held(bounded)) if bounded else None

    async def _held(self, bounded: Iterable[Bounded]) -> Mapping[str, int]:
        volumes = {volume.name: volume for one in bounded for volume in one.volumes}
        return await self._volumes.measure(volumes.values())

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
        """Measure again and again, for as long as it is let run."""
        clock = asyncio.get_running_loop().time
        pause = _MEASURED
        while True:
            await asyncio.sleep(pause)
            began = clock()
            watched = dict(self._bounded)
            try:
                held = await self._held([one for bounded in watched.values() for one in bounded])
            except RuntimeFailure:
                continue  # the engine is down: the next time tells
            for workload, bounded in watched.items():
                reason = _over(bounded, held)
                if reason is not None and workload in self._bounded:
                    self.forget(workload)
                    self.lose(workload, reason)
            pause = max(_MEASURED, (clock() - began) * _SHARE)

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


def _over(bounded: Iterable[Bounded], held: Mapping[str, int]) -> str | None:
    for one in bounded:
        for volume in one.volumes:
            if watched(volume) and held.get(volume.name, 0) > (volume.size or 0):
                return f"volume {volume.volume} holds {held[volume.name]} bytes, more than its size of {volume.size}"
        together = sum(held.get(volume.name, 0) for volume in one.volumes)
        if one.together is not None and together > one.together:
            return f"its volumes hold {together} bytes, more than limits.disk of {one.together}"
    return None


def watched(volume: Kept) -> bool:
    """Tell whether its size holds only because somebody measures."""
    return volume.size is not None and volume.bound != "quota"


def _nobody(workload: str, reason: str) -> None:
    """Stand in until somebody wants to be told."""
