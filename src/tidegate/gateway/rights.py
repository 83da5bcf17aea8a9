"""Rights: has what is open looked at again within a second of a change of policies, roles or credentials.

Calls look for themselves; streams and parked calls wait, and would not learn of it. What may still be is not decided here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from tidegate.access.authorize import Authorizer
from tidegate.domain.target import LISTED, Kind
from tidegate.gateway.call import Call
from tidegate.gateway.deciding import check_still, made
from tidegate.gateway.endpoint import Endpoint
from tidegate.gateway.looks import Looks
from tidegate.gateway.parked import Held, ParkedCalls
from tidegate.telemetry import log

LOOK = 1.0
"""Seconds between two looks."""


class Rights:
    """Looks again at what waits."""

    def __init__(
        self,
        endpoints: Mapping[str, Endpoint],
        parked: ParkedCalls,
        changed: Callable[[str, Kind], None],
        look_again: Callable[[Call], Awaitable[None]],
    ) -> None:
        """`changed` is told of lists that may be others; `look_again` raises a `Refusal` where a call may not go on."""
        self._endpoints = endpoints
        self._parked = parked
        self._changed = changed
        self._look_again = look_again
        self._seen: dict[str, tuple[Authorizer, int]] = {}
        self._looking = Looks(self._look_at, "look at a parked call")

    async def run(self) -> None:
        """Look every second. Never ends by itself."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._every_second(self.look_at_endpoints), name="rights at endpoints")
                group.create_task(self._every_second(self.look_at_parked), name="rights of parked calls")
                group.create_task(self._every_second(self.look_at_engines), name="rights after outages")
        finally:
            self._looking.close()

    async def _every_second(self, look: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(LOOK)
            try:
                await look()
            except Exception as error:  # noqa: BLE001 - a supervisor: the next look must come
                log().error("supervisor.failed", task="rights keeper", exc_info=error)

    async def look_at_endpoints(self) -> None:
        """Tell of lists that are others by other policies."""
        for path, endpoint in list(self._endpoints.items()):
            now = endpoint.authorizer, endpoint.authorizer.version
            before = self._seen.get(path)
            self._seen[path] = now
            # Of another authorizer those were told who brought it; of other policies nobody was.
            if before is not None and before[0] is now[0] and before[1] != now[1]:
                for kind in LISTED:
                    self._changed(path, kind)
        for path in self._seen.keys() - self._endpoints.keys():
            del self._seen[path]

    async def look_at_engines(self) -> None:
        """Tell of lists that are longer again, since engines decide again that had failed."""
        for path, endpoint in list(self._endpoints.items()):
            if await endpoint.authorizer.recovered():
                log().info("policy.recovered", endpoint=path)
                for kind in LISTED:
                    self._changed(path, kind)

    async def look_at_parked(self) -> None:
        """Let go of parked calls that nobody may go on with."""
        await self._looking.over(self._parked.waiting())

    async def _look_at(self, held: Held) -> None:
        await self._parked.look_at(held, self._may_go_on)

    async def _may_go_on(self, call: Call) -> None:
        await self._look_again(call)
        await made(partial(check_still, call))
