"""How calls went is what a server's health is judged by; a client is told when to come again."""

from __future__ import annotations

import asyncio

from tests.unit.fleet.setting import spec
from tests.unit.gateway.setting import OPEN
from tidegate.domain.server import Health, Timeouts

FAST = Timeouts(start=10.0, call=1.0)


async def test_a_server_whose_calls_time_out_is_spared_and_its_clients_told_when_to_come_again(
    gateway: OPEN,
) -> None:
    made = await gateway(spec("one", timeouts=FAST, health=Health(every=0, failures=3, eject=30)))
    for _ in range(3):
        call = asyncio.create_task(made.tool("one__waits"))
        await made.time.advance(1.5)
        assert (await call).error["code"] == -31004
    calls = len(made.fleet.servers["one"].calls)
    refused = (await made.tool("one__echo", text="x")).error
    assert refused["code"] == -31001
    assert refused["data"]["retryAfter"] in (29, 30)
    assert "3 failures in a row" in refused["message"]
    assert len(made.fleet.servers["one"].calls) == calls
    await made.time.advance(30)
    assert (await made.tool("one__echo", text="x")).text == "x"
    assert (await made.tool("one__echo", text="y")).text == "y"


async def test_what_calls_came_to_is_counted_for_whoever_judges_a_version(gateway: OPEN) -> None:
    made = await gateway(spec("one"))
    for tool in ("echo", "fails", "refuses", "echo"):
        await made.tool(f"one__{tool}", text="x")
    cancelled = asyncio.create_task(made.tool("one__waits"))
    await made.time.settle()
    cancelled.cancel()
    await asyncio.wait([cancelled])
    pool = made.fleet.fleet.pools["one"]
    demand = pool.demand()
    assert (demand.calls, demand.errors, demand.failures) == (4, 2, 0)
    assert pool.current.demand().calls == 4
    assert [w.health for w in pool.workloads.values()] == ["healthy"]
