"""A call that is cancelled at any step is recorded, and gives back all that it held."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.unit.fleet.setting import spec
from tests.unit.gateway.asking import AskingServer
from tests.unit.gateway.setting import OPEN, GatewaySetting, Told
from tests.unit.gateway.test_questions_of_servers import modern, person, retry
from tidegate.channels.askers import GRACE
from tidegate.domain.server import Sharing
from tidegate.domain.workload import UNCLAIMED
from tidegate.fleet.balance import base

Json = dict[str, Any]
MOST = 400
"""Turns of the loop that the longest of these takes: a test that never comes to its end is no test."""

Begin = Callable[[GatewaySetting], Awaitable[Awaitable[Told]]]
"""Does what comes before, and gives what is to be cancelled."""


async def _modern(made: GatewaySetting) -> Awaitable[Told]:
    return modern(made, "echo")


async def _asked(made: GatewaySetting) -> Awaitable[Told]:
    return modern(made, "form")


async def _again(made: GatewaySetting) -> Awaitable[Told]:
    return modern(made, "twice", **retry(await modern(made, "twice")))


async def _legacy(made: GatewaySetting) -> Awaitable[Told]:
    return (await person(made)).tool("one__two")


async def _bare(made: GatewaySetting) -> Awaitable[Told]:
    return (await made.client(capabilities={})).tool("one__echo")


def left_behind(made: GatewaySetting) -> list[str]:
    """Say what is held by nobody any more."""
    built, (pool,) = made.built, made.fleet.fleet.pools.values()
    found = {
        "intents": made.journal.open_intents,
        "limits": made.limits.in_flight - len(built.parked),
        "running": len(built.pipeline._running.calls),  # pyright: ignore[reportPrivateUsage]
        "questions": built.pipeline._questions.waiting,  # pyright: ignore[reportPrivateUsage]
        "inquiries": len(built.inquiries._open),  # pyright: ignore[reportPrivateUsage]
    }
    workloads, parked = list(pool.workloads.values()), len(built.parked)
    found |= {
        "leases": sum(each.in_flight for each in workloads) - parked,
        "callers": max(0, sum(len(each.callers) for each in workloads) - parked),
        "calls": sum(each.channel.in_flight for each in workloads if each.channel) - parked,
    }
    if pool.spec.sharing is Sharing.CALL:
        found["workloads"] = len([each for each in workloads if base(each.sharing) != UNCLAIMED]) - parked
    return [f"{count} {what}" for what, count in found.items() if count]


CASES: dict[str, Begin] = {
    "call": _modern, "question": _asked, "retry": _again, "questions of a legacy client": _legacy, "bare": _bare,
}  # fmt: skip


async def test_a_retry_that_is_cancelled_twice_leaves_nothing_behind(gateway: OPEN) -> None:
    made = await gateway(spec("one"), servers={"one": AskingServer()}, wait=["one__form"])
    ended = False
    for turns in range(MOST):
        again = asyncio.ensure_future(await _again(made))
        for _ in range(turns):
            await asyncio.sleep(0)
        ended = again.done()
        for _ in range(2):  # by its client, and by a gateway that stops
            again.cancel()
            await asyncio.sleep(0)
        await asyncio.wait([again])
        await made.time.advance(GRACE + 1, GRACE + 1)
        assert left_behind(made) == [], f"after {turns} turns"
        if len(made.built.parked):
            await made.time.advance(601, 60)
        if ended:
            break
    assert ended


@pytest.mark.parametrize("cold", [False, True], ids=["warm", "cold"])
@pytest.mark.parametrize("era", [False, True], ids=["legacy server", "modern server"])
@pytest.mark.parametrize("begin", CASES.values(), ids=CASES)
async def test_a_call_cancelled_at_any_step_leaves_nothing_behind(
    gateway: OPEN, begin: Begin, *, era: bool, cold: bool
) -> None:
    sharing = (
        Sharing.CALL if cold else Sharing.PRINCIPAL
    )  # with the first each call has a workload brought up
    server = AskingServer(modern=era)
    made = await gateway(spec("one", sharing=sharing), servers={"one": server}, wait=["one__form"])
    turns, ended = 0, False
    while not ended:
        assert turns < MOST
        work = asyncio.ensure_future(await begin(made))
        for _ in range(turns):
            await asyncio.sleep(0)
        ended = work.done()
        work.cancel()
        await asyncio.wait([work])
        await made.time.advance(
            GRACE + 1, GRACE + 1
        )  # else the next question could be the cancelled call's too
        assert left_behind(made) == [], f"after {turns} turns"
        turns += 1
        if len(made.built.parked):  # what its client does not come back for ends by itself
            await made.time.advance(601, 60)
            assert (len(made.built.parked), left_behind(made)) == (0, [])
    assert turns > 3
    made.check_journal()
