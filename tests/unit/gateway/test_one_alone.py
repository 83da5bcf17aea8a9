"""One principal alone does not take a shared server from the others, by what its calls do to it."""

from __future__ import annotations

import asyncio

from tests.unit.fleet.setting import spec
from tests.unit.gateway.setting import OPEN, GatewaySetting, Told
from tidegate.domain.server import Health, ServerSpec, Sharing, Timeouts

FAST = Timeouts(start=10.0, call=1.0)


def shared() -> ServerSpec:
    health = Health(every=0, failures=3, eject=10.0, restarts=4)
    return spec("one", sharing=Sharing.SHARED, stateless=True, timeouts=FAST, health=health)


async def ready(made: GatewaySetting) -> None:
    await made.time.until(lambda: made.fleet.state_of("one") == "ready")


def refused(told: Told, why: str) -> bool:
    """Tell whether a call was refused as those of a principal that is, and was told when to come again."""
    error = told.error
    assert error["code"] == -31001
    assert why in error["message"], error["message"]
    return 0 < error["data"]["retryAfter"] <= 10


async def test_whose_calls_end_a_server_again_and_again_is_refused_and_the_others_are_served(
    gateway: OPEN,
) -> None:
    made = await gateway(shared())
    for _ in range(3):
        await ready(made)
        assert (await made.tool("one__dies", who="ann")).error["code"] == -31002
        await made.time.settle()
    assert refused(await made.tool("one__echo", who="ann", text="x"), "it ended during each of the last ones")
    await ready(made)
    assert (await made.tool("one__echo", who="bob", text="x")).text == "x"
    assert "principal refused" in made.fleet.records.of("one")
    await made.time.until(lambda: not made.fleet.fleet.pools["one"].blame.refused)
    assert (await made.tool("one__echo", who="ann", text="y")).text == "y"


async def test_whose_calls_alone_time_out_is_refused_while_the_server_answers_others(gateway: OPEN) -> None:
    made = await gateway(shared())
    for _ in range(3):
        call = asyncio.create_task(made.tool("one__waits", who="ann"))
        await made.time.advance(1.5)
        assert (await call).error["code"] == -31004
    await made.time.settle()
    assert refused(await made.tool("one__echo", who="ann", text="x"), "3 in a row failed")
    assert (await made.tool("one__echo", who="bob", text="x")).text == "x"
    assert made.fleet.metrics.ejections == {}
