"""Budgets of days: kept over restarts, shared by gateways, begun anew at midnight where the quota says it is."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from tidegate.access.budgets import GRACE, Day
from tidegate.access.quotas import Quotas
from tidegate.domain.errors import LimitExceeded, StateError, StateRefused
from tidegate.domain.principal import Principal
from tidegate.domain.quota import Per, Quota
from tidegate.domain.target import Kind, Target
from tidegate.extensions.state.memory import MemoryState
from tidegate.testing.clock import VirtualClock
from tidegate.testing.scripted import until

ANN, BEN = Principal("t", "test", "ann"), Principal("t", "test", "ben")
PAY = Target("claims", Kind.TOOL, "pay")
NOON = datetime(2026, 7, 1, 12, tzinfo=UTC).timestamp()


class Failing(MemoryState):
    """A store that can be made to fail."""

    def __init__(self) -> None:
        super().__init__()
        self.fails = False

    async def compare_and_set(
        self, key: str, expected: bytes | None, value: bytes | None, *, expires: float | None = None
    ) -> bool:
        self._check()
        return await super().compare_and_set(key, expected, value, expires=expires)

    async def get(self, key: str) -> bytes | None:
        self._check()
        return await super().get(key)

    async def scan(self, prefix: str) -> list[tuple[str, bytes]]:
        self._check()
        return list(await super().scan(prefix))

    def _check(self) -> None:
        if self.fails:
            raise StateError("the store is away")


class Setting:
    """Gateways that share a store, and their clock."""

    def __init__(self) -> None:
        self.clock = VirtualClock(NOON)
        self.state = Failing()

    async def gateway(self, calls: int = 3, *, closed: bool = True, zone: str = "UTC") -> Quotas:
        quota = Quota("day", (Per.PRINCIPAL,), calls, "day", zone=zone, closed=closed)
        quotas = Quotas([quota], clock=self.clock, now=self.clock, state=self.state)
        await quotas.budgets.open()
        return quotas


def many(quotas: Quotas, count: int, principal: Principal = ANN) -> int:
    for number in range(count):
        try:
            quotas.admit(principal, "/mcp", PAY)
        except LimitExceeded:
            return number
    return count


async def test_a_budget_ends_with_its_day_and_says_when() -> None:
    setting = Setting()
    quotas = await setting.gateway()
    assert [many(quotas, 9), many(quotas, 9), many(quotas, 9, BEN)] == [3, 0, 3]
    with pytest.raises(LimitExceeded) as caught:
        quotas.admit(ANN, "/mcp", PAY)
    assert caught.value.data == {"retryAfter": 12 * 3600, "limit": "day"}
    setting.clock.advance(12 * 3600 - 1)
    assert many(quotas, 9) == 0
    setting.clock.advance(1)
    assert many(quotas, 9) == 3


async def test_a_restart_keeps_what_is_used() -> None:
    setting = Setting()
    first = await setting.gateway()
    many(first, 2)
    await first.budgets.flush()
    second = await setting.gateway()
    assert many(second, 9) == 1
    (told,) = second.told(5)
    assert told[1][0][:2] == ("ann (test)", 3)


async def test_gateways_that_share_a_store_share_budgets_but_for_what_is_not_written() -> None:
    setting = Setting()
    one, two = await setting.gateway(10), await setting.gateway(10)
    running = [asyncio.create_task(each.budgets.run(shared=True)) for each in (one, two)]
    assert [many(one, 4), many(two, 4)] == [4, 4]  # neither knows of the other's: so inexact it may be

    def known(quotas: Quotas) -> float:
        return quotas.told(1)[0][1][0][1]

    await until(lambda: known(one) == known(two) == 8)
    assert many(one, 9) == 2
    await until(lambda: known(two) == 10)
    assert many(two, 9) == 0
    for task in running:
        task.cancel()
    await asyncio.wait(running)


async def test_two_that_write_at_once_lose_nothing() -> None:
    setting = Setting()
    gateways = [await setting.gateway(1000) for _ in range(3)]
    for _ in range(5):
        for quotas in gateways:
            many(quotas, 7)
            await quotas.budgets.flush()
    last = await setting.gateway(1000)
    assert last.told(1)[0][1][0][1] == 3 * 5 * 7


async def test_yesterdays_calls_do_not_count_today_whoever_writes_them() -> None:
    setting = Setting()
    quotas = await setting.gateway()
    many(quotas, 3)
    setting.clock.advance(12 * 3600)
    await quotas.budgets.flush()
    assert many(quotas, 9) == 3


async def test_where_the_store_fails_calls_count_here_for_a_while_and_are_then_refused() -> None:
    setting = Setting()
    quotas = await setting.gateway(100)
    setting.state.fails = True
    many(quotas, 5)
    await quotas.budgets.flush()
    assert many(quotas, 5) == 5
    setting.clock.advance(GRACE)
    await quotas.budgets.flush()
    with pytest.raises(StateRefused, match="the store is away"):
        quotas.admit(ANN, "/mcp", PAY)
    setting.state.fails = False
    await quotas.budgets.flush()
    assert many(quotas, 200) == 90


async def test_where_the_file_says_so_calls_go_on_while_the_store_fails() -> None:
    setting = Setting()
    setting.state.fails = True
    quotas = await setting.gateway(5, closed=False)
    setting.clock.advance(GRACE * 2)
    await quotas.budgets.flush()
    assert many(quotas, 9) == 5


async def test_a_gateway_that_cannot_read_at_its_start_does_not_guess() -> None:
    setting = Setting()
    first = await setting.gateway()
    many(first, 3)
    await first.budgets.flush()
    setting.state.fails = True
    second = await setting.gateway()
    with pytest.raises(StateRefused):
        second.admit(ANN, "/mcp", PAY)
    setting.state.fails = False
    await second.budgets.flush()
    assert many(second, 9) == 0


async def test_a_change_keeps_what_is_used_and_reads_what_is_new() -> None:
    setting = Setting()
    quotas = await setting.gateway()
    many(quotas, 3)
    quotas.change([Quota("day", (Per.PRINCIPAL,), 5, "day")])
    assert many(quotas, 9) == 2
    await quotas.budgets.flush()
    other = Quotas([], clock=setting.clock, now=setting.clock, state=setting.state)
    await other.budgets.open()
    other.change([Quota("day", (Per.PRINCIPAL,), 6, "day")])
    await other.budgets.flush()
    assert many(other, 9) == 1


@pytest.mark.parametrize(
    ("when", "zone", "hours"),
    [
        (datetime(2026, 3, 29, 1), "Europe/Berlin", 23),
        (datetime(2026, 10, 25, 1), "Europe/Berlin", 25),
        (datetime(2026, 7, 1, 23), "Pacific/Auckland", 24),
        (datetime(2026, 7, 1, 0), "UTC", 24),
    ],
)
def test_a_day_is_as_long_as_it_is_there(when: datetime, zone: str, hours: int) -> None:
    clock = VirtualClock(when.replace(tzinfo=ZoneInfo(zone)).timestamp())
    day = Day(zone, clock)
    day.turn()
    assert day.name == when.date().isoformat()
    assert day.ends - day.begins == hours * 3600
    assert day.begins <= clock() < day.ends


async def test_a_damaged_count_begins_from_nothing() -> None:
    setting = Setting()
    first = await setting.gateway()
    many(first, 3)
    await first.budgets.flush()
    ((key, _),) = await setting.state.scan("quota/")
    await setting.state.put(key, b"no count")
    second = await setting.gateway()
    assert many(second, 9) == 3
    await second.budgets.flush()
    third = await setting.gateway()
    assert many(third, 9) == 0
