"""The stops in a state store: made, listed, lifted. Who may do that, and what they do to calls, is not known here."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import msgspec

from tidegate.domain.errors import StateError
from tidegate.domain.stop import Stop, StopScope, mistake
from tidegate.ports.state import State

PREFIX = "stop/"
"""Where the stops stand in the state store."""
MOST = 256
"""Stops in force: more than anybody keeps in view. Wider ones take the place of many."""
_ID = re.compile(r"[a-z0-9-]{1,32}")
_TRIES = 8
_FORM = 1


class _Stored(msgspec.Struct, frozen=True):
    v: int
    scope: StopScope
    name: str
    reason: str
    by: str
    since: float
    until: float | None = None
    issuer: str = ""
    tenant: str = ""


class StopStore:
    """The stops that all who share a state store have."""

    def __init__(self, state: State, *, clock: Callable[[], float], new_id: Callable[[], str]) -> None:
        """`clock` gives Unix seconds; `new_id` short words of letters, digits and dashes, hardly ever one twice."""
        self.state = state
        self._clock = clock
        self._new_id = new_id

    async def add(
        self,
        scope: StopScope,
        name: str,
        *,
        reason: str,
        by: str,
        seconds: float | None = None,
        issuer: str = "",
        tenant: str = "",
    ) -> Stop:
        """Stop something, for so many seconds or until it is resumed.

        Raises:
            ValueError: it is not said as it should be.
            StateError: it cannot be kept, or there are as many as may be.
        """
        wrong = mistake(scope, name, reason, issuer)
        if wrong is not None:
            raise ValueError(wrong)
        if seconds is not None and seconds <= 0:
            raise ValueError("a stop lasts longer than nothing")
        if scope is not StopScope.ALL and len(await self.state.scan(PREFIX)) >= MOST:
            raise StateError(
                f"{MOST} stops are in force, as many as may be: resume some, or stop more at once"
            )
        now = self._clock()
        until = None if seconds is None else now + seconds
        stored = _Stored(_FORM, scope, name, reason, by, now, until, issuer, tenant)
        for _ in range(_TRIES):
            stop_id = self._new_id()
            # No expiry in the store: its clock need not be ours, and a stop that ended is told of before it goes.
            if await self.state.compare_and_set(PREFIX + stop_id, None, msgspec.json.encode(stored)):
                return _stop(stop_id, stored)
        raise StateError("no free id for a stop was found")

    async def list(self) -> Sequence[Stop]:
        """Give the stops in force, the oldest first. Those that ended by themselves are removed.

        Raises:
            StateError: they cannot be read, or one is damaged or of a later version: nobody knows what it stops.
        """
        found: list[Stop] = []
        now = self._clock()
        for key, value in await self.state.scan(PREFIX):
            stop = _decode(key.removeprefix(PREFIX), value)
            if stop.ended(now):
                await self.state.compare_and_set(key, value, None)
            else:
                found.append(stop)
        return sorted(found, key=lambda stop: (stop.since, stop.id))

    async def lift(self, stop_id: str) -> bool:
        """Take a stop back, also one whose record is damaged. Tell whether there was one.

        Raises:
            StateError: it cannot be removed.
        """
        if not _ID.fullmatch(stop_id) or await self.state.get(PREFIX + stop_id) is None:
            return False
        await self.state.put(PREFIX + stop_id, None)
        return True

    async def ids(self) -> Sequence[str]:
        """Give the ids of all stops, those with damaged records too.

        Raises:
            StateError: they cannot be read.
        """
        return [key.removeprefix(PREFIX) for key, _ in await self.state.scan(PREFIX)]


def _decode(stop_id: str, value: bytes) -> Stop:
    try:
        stored = msgspec.json.decode(value, type=_Stored)
        if stored.v != _FORM:
            raise StateError(f"the stop {stop_id} was made by a later version of tidegate")
    except msgspec.DecodeError as error:
        raise StateError(
            f"the record of the stop {stop_id} is damaged: tidegate resume {stop_id} removes it"
        ) from error
    return _stop(stop_id, stored)


def _stop(stop_id: str, stored: _Stored) -> Stop:
    return Stop(
        stop_id,
        stored.scope,
        stored.name,
        stored.reason,
        stored.by,
        stored.since,
        stored.until,
        stored.issuer,
        stored.tenant,
    )
