"""Scales: how much a volume holds on the disk: counted here where that can be, else told by the engine.

Those that are counted take turns, a piece each, so that none with many files holds up the rest. What becomes of one
that holds too much, or that nobody can measure, is not decided here.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from tidegate.domain.errors import RuntimeFailure
from tidegate.extensions.runtimes.docker.engine import Engine, EngineRefused
from tidegate.extensions.runtimes.docker.walk import Walk

Json = Mapping[str, Any]

_PIECE = 0.05
"""Seconds for which one volume is counted before it is the next one's turn."""
_WALKS = 4
"""Volumes that are counted in turns; each may have two files open for every directory that it is deep."""
_DF = 60.0
"""Seconds for the engine to measure all that it holds."""
_AGAIN = 1.0
_BUSY = "already running"
"""Engines before 23.0 measure for one who asks at a time, and refuse the others with these words."""
_PIECES = 4096
"""Of the engine's account, each of at most 64 KiB."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """What came of a look."""

    held: int
    """Bytes."""
    took: float
    """Seconds, without those for which others were looked at."""


class Scales:
    """Measures the volumes of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._walks = asyncio.Semaphore(_WALKS)
        self._turn = asyncio.Semaphore(1)
        self._asking = asyncio.Lock()
        self._begun, self._took = float("-inf"), 0.0
        self._account: Mapping[str, int] = {}

    async def weigh(self, name: str, place: str) -> Weighed:
        """Tell what a volume holds, whose directory on the engine's machine is `place`.

        Raises:
            EngineUnavailable: the engine would have to tell, and is not there.
            RuntimeFailure: it cannot be measured.
        """
        async with self._walks:
            counted = await self._count(place)
        if counted is not None:
            return counted
        account = await self._asked()
        if name not in account:
            raise RuntimeFailure("the engine cannot measure it, and its directory cannot be read from here")
        return Weighed(account[name], self._took)

    async def _count(self, place: str) -> Weighed | None:
        clock, took = asyncio.get_running_loop().time, 0.0
        walk = Walk(place)
        try:
            done = False
            while not done:
                async with self._turn:  # whoever waits longest is next
                    began = clock()
                    piece = asyncio.get_running_loop().run_in_executor(None, walk.on, _PIECE)
                    try:
                        done = await asyncio.shield(piece)
                    except asyncio.CancelledError:
                        await asyncio.wait([piece])  # the thread must not go on with what is closed
                        raise
                    took += clock() - began
        finally:
            walk.close()
        return None if walk.held is None else Weighed(walk.held, took)

    async def _asked(self) -> Mapping[str, int]:
        """Give the engine's account: of all volumes, so that those who wait for one have it together."""
        clock = asyncio.get_running_loop().time
        came = clock()
        async with self._asking:
            if self._begun < came:
                began = clock()
                self._account = await self._ask(began + _DF)
                self._begun, self._took = began, clock() - began
            return self._account

    async def _ask(self, until: float) -> Mapping[str, int]:
        clock = asyncio.get_running_loop().time
        while True:
            found: list[bytes] = []

            async def take(piece: bytes, found: list[bytes] = found) -> None:
                found.append(piece)
                if len(found) > _PIECES:
                    raise RuntimeFailure("the engine's account of what it holds is too large")

            try:
                # Its own deadline: an engine that takes too long for this is none that is not there.
                async with asyncio.timeout_at(until):
                    asked = {"type": "volume"}
                    await self._engine.read(
                        "measuring volumes", "system/df", take, params=asked, seconds=2 * _DF
                    )
            except TimeoutError:
                raise RuntimeFailure(f"the engine takes more than {_DF:g} s to measure its volumes") from None
            except EngineRefused as error:
                if _BUSY not in str(error) or clock() + _AGAIN > until:
                    raise RuntimeFailure(f"the engine does not tell what volumes hold: {error}") from error
            else:
                return sizes_of(b"".join(found))
            await asyncio.sleep(_AGAIN)


def sizes_of(answer: bytes) -> dict[str, int]:
    """Read the engine's account of what it holds; what it could not measure (-1) is left out."""
    volumes = cast("list[Json]", cast("Json", json.loads(answer)).get("Volumes") or [])
    sizes = {
        str(one.get("Name")): int(cast("Json", one.get("UsageData") or {}).get("Size", -1)) for one in volumes
    }
    return {name: size for name, size in sizes.items() if size >= 0}
