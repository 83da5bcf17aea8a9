"""Budgets: calls counted by calendar days, kept in a state store and shared by all gateways that share it.

Counted here at once and written in batches, about every second: a gateway that is killed forgets the last second's
calls, and gateways that share a store let through, together, up to what each lets through in that time too much.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import msgspec

from tidegate.access.rates import Table
from tidegate.domain.errors import StateError, StateRefused
from tidegate.domain.quota import Quota
from tidegate.ports.state import State
from tidegate.telemetry import log

PREFIX = "quota/"
"""Where the counts stand in the state store: by the quota's name, the day, and a digest of the key."""
PERIOD = 1.0
"""Seconds between two writings."""
GRACE = 10.0
"""Seconds for which counts that cannot be written are trusted to be all there are."""
_AFTER = 3600.0
"""Seconds that a count outlives its day: clocks of gateways differ."""
_TRIES = 16


class _Stored(msgspec.Struct, frozen=True):
    n: int
    of: str
    v: int = 1


class Day:
    """The calendar day in a time zone, as long as it lasts."""

    def __init__(self, zone: str, now: Callable[[], float]) -> None:
        self._zone: tzinfo = UTC if zone == "UTC" else ZoneInfo(zone)
        self._now = now
        self.name = ""
        """As ISO 8601 has it."""
        self.begins = self.ends = 0.0
        """Unix seconds."""

    def turn(self) -> float:
        """Have it be today, and give the time."""
        now = self._now()
        if not self.begins <= now < self.ends:
            today = datetime.fromtimestamp(now, self._zone).date()
            self.name = today.isoformat()
            self.begins, self.ends = (
                datetime(each.year, each.month, each.day, tzinfo=self._zone).timestamp()
                for each in (today, today + timedelta(days=1))
            )
        return now


class Budget:
    """One quota of a day. Changed in place, so that counts follow."""

    def __init__(self, quota: Quota, now: Callable[[], float], touched: Callable[[], None]) -> None:
        self.quota = quota
        self.day = Day(quota.zone, now)
        self.dirty: dict[str, Count] = {}
        """What is to be written, by keys."""
        self.unknown: str | None = None
        """Why its counts are not known; None where they are."""
        self.read = False
        """Whether what was kept has been read."""
        self._touched = touched
        self.table: Table[Count] = Table(lambda of: Count(self, of))

    def change(self, quota: Quota, now: Callable[[], float]) -> None:
        """Be another one of the same name, with what is used."""
        if quota.zone != self.quota.zone:
            self.day = Day(quota.zone, now)
        self.quota = quota

    def find(self, key: str, of: str) -> Count:
        """Give what a key has used."""
        count = self.table.find(key, of, 0.0)
        if not count.key:
            count.key = key
            self.dirty[key] = count  # others may have counted for it: looked up at once
            self._touched()
        return count

    def told(self, day: str, key: str, stored: _Stored) -> None:
        """Learn of what was kept."""
        self.day.turn()
        if day != self.day.name:
            return
        count = self.table.find(key, stored.of, 0.0)
        count.key = key
        count.begin()
        count.known = max(count.known, stored.n)


class Count:
    """What one key has used of a day's budget."""

    __slots__ = ("_budget", "_day", "key", "known", "of", "pending", "raw")

    def __init__(self, budget: Budget, of: str = "") -> None:
        self.of = of
        self.key = ""
        self.known = 0
        """By all gateways, as the store had it last."""
        self.pending = 0
        """Not written yet."""
        self.raw: bytes | None = None
        """What the store holds, as far as is known."""
        self._budget = budget
        self._day = ""

    @property
    def day(self) -> str:
        """The day that it counts for."""
        return self._day

    def begin(self) -> None:
        """Count from nothing where its day is over."""
        if self._day != self._budget.day.name:
            self._day = self._budget.day.name
            self.known = self.pending = 0
            self.raw = None

    def wait(self, now: float) -> float:
        """Give the seconds until the day is over where its budget is used; 0 where it is not.

        Raises:
            StateRefused: it is not known how much is used.
        """
        budget = self._budget
        today = budget.day.turn()
        if self._day != budget.day.name:
            self.begin()
        if budget.unknown is not None and budget.quota.closed:
            raise StateRefused(
                f"nothing was called, since it is not known how much of a limit is used: {budget.unknown}"
            )
        return 0.0 if self.known + self.pending < budget.quota.calls else budget.day.ends - today

    def take(self, now: float) -> None:
        """Count one call."""
        self.pending += 1
        self._budget.dirty[self.key] = self

    def wrote(self, day: str, pending: int, raw: bytes | None, total: int) -> None:
        """Learn that so many are no longer pending, and what the store has of that day."""
        if day == self._day:
            self.raw, self.known = raw, total
            self.pending -= pending

    def used(self, now: float) -> float:
        """Give how many are used today."""
        return self.known + self.pending if self._day == self._budget.day.name else 0

    def idle(self, now: float) -> bool:
        """Tell whether all of it is in the store."""
        return not self.pending


class Budgets:
    """The budgets of a gateway. `run` must run as long as they are used; `flush` before the store is closed."""

    def __init__(self, state: State | None, *, now: Callable[[], float]) -> None:
        """`state` None keeps nothing. `now` gives Unix seconds."""
        self.all: dict[str, Budget] = {}
        """By the quotas' names."""
        self._state = state
        self._now = now
        self._told = asyncio.Event()
        self._failing: float | None = None
        """Since when the store fails."""

    def change(self, quotas: Iterable[Quota]) -> None:
        """Have these, and no others. What is used of one that stays, by its name, is used."""
        found: dict[str, Budget] = {}
        for quota in quotas:
            budget = self.all.get(quota.name)
            if budget is None:
                budget = Budget(quota, self._now, self._told.set)
            else:
                budget.change(quota, self._now)
            found[quota.name] = budget
        self.all = found
        self._told.set()

    async def open(self) -> None:
        """Read what was kept, before the first call. Where that fails, budgets are unknown until it can be read."""
        try:
            await self._read()
        except StateError as error:
            self._lose(str(error), at_once=True)

    async def run(self, *, shared: bool) -> None:
        """Write what is counted, and learn what others have where the store is shared. Never ends by itself."""
        async with asyncio.TaskGroup() as group:
            if shared and self._state is not None:
                group.create_task(self._hear(self._state.watch(PREFIX)), name="quota watch")
            while True:
                await self._rest()
                await self.flush()

    async def flush(self) -> None:
        """Write what is counted and learn what others have; where that cannot be, it is logged once."""
        try:
            await self._read()
            for budget in self.all.values():
                await self._write(budget)
        except StateError as error:
            self._lose(str(error), at_once=False)
            return
        self._failing = None
        for budget in self.all.values():
            budget.unknown = None

    async def _hear(self, changes: AsyncIterator[str]) -> None:
        async for key in changes:
            name, _, rest = key.removeprefix(PREFIX).partition("/")
            budget = self.all.get(name)
            count = None if budget is None else budget.table.uses.get(rest.partition("/")[2])
            if budget is not None and count is not None:
                budget.dirty[count.key] = count  # looked up with the next writing

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(PERIOD if self.all else None):
                await self._told.wait()
        except TimeoutError:
            return
        self._told.clear()

    def _lose(self, why: str, *, at_once: bool) -> None:
        if self._failing is None:
            self._failing = self._now()
            if self.all:
                log().error("state.failed", reason=f"what is used of daily quotas cannot be kept: {why}")
        if at_once or self._now() - self._failing >= GRACE:
            for budget in self.all.values():
                budget.unknown = why

    async def _read(self) -> None:
        new = [budget for budget in self.all.values() if not budget.read]
        if self._state is None or not new:
            return
        for budget in new:
            prefix = f"{PREFIX}{budget.quota.name}/"
            for key, value in await self._state.scan(prefix):
                day, _, rest = key.removeprefix(prefix).partition("/")
                stored = _decode(value)
                if stored is not None:
                    budget.told(day, rest, stored)
            budget.read = True

    async def _write(self, budget: Budget) -> None:
        budget.day.turn()
        dirty, budget.dirty = budget.dirty, {}
        try:
            while dirty:
                key, count = next(iter(dirty.items()))
                count.begin()
                await self._add(budget, count)
                del dirty[key]
        finally:
            budget.dirty = {**dirty, **budget.dirty}

    async def _add(self, budget: Budget, count: Count) -> None:
        """Add what is pending to what the store has, and learn what that is."""
        if self._state is None:
            count.known, count.pending = count.known + count.pending, 0
            return
        day, pending, raw = count.day, count.pending, count.raw
        key = f"{PREFIX}{budget.quota.name}/{day}/{count.key}"
        expires = budget.day.ends - self._now() + _AFTER
        for _ in range(_TRIES):
            if pending:
                stored = None if raw is None else _decode(raw)
                total = pending + (0 if stored is None else stored.n)
                after = msgspec.json.encode(_Stored(total, count.of))
                if await self._state.compare_and_set(key, raw, after, expires=expires):
                    count.wrote(day, pending, after, total)
                    return
            raw = await self._state.get(key)
            if not pending:
                stored = None if raw is None else _decode(raw)
                count.wrote(day, 0, raw, 0 if stored is None else stored.n)
                return
        raise StateError("a count of calls is changed all the time by others")


def _decode(value: bytes) -> _Stored | None:
    """Read a count; one that is damaged counts from nothing, as it would once its day is over."""
    try:
        return msgspec.json.decode(value, type=_Stored)
    except msgspec.DecodeError:
        return None
