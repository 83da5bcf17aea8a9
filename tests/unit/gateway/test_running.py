"""A client's `notifications/cancelled` finds its own call, at whichever gateway it is, and no other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.unit.gateway.stream_setting import Site, settled
from tidegate.extensions.state.memory import MemoryState
from tidegate.gateway.call import Call
from tidegate.gateway.running import TOLD, Running
from tidegate.testing.loop_time import LoopTime

Two = tuple[Site, Site]


@pytest.fixture
async def time() -> LoopTime:
    return LoopTime()


@pytest.fixture
async def sites(time: LoopTime) -> AsyncIterator[Two]:
    state = MemoryState(clock=time)
    sites = Site("aaaa", state, shared=True), Site("bbbb", state, shared=True)
    yield sites
    for each in sites:
        await each.close()


async def under_way(
    site: Site, running: Running, session: str, request_id: object = 7, who: str = "ann"
) -> Call:
    call, _ = await site.post(session, request_id, who)
    call.task = asyncio.create_task(asyncio.sleep(3600))
    running.calls[call.id] = call
    return call


async def cancelled(site: Site, session: str, request_id: object = 7, who: str = "ann") -> Call:
    params = {"requestId": request_id}
    return await site.call(
        session, who, {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}
    )


async def test_it_finds_its_own_call_only_and_none_that_ended(sites: Two) -> None:
    site, _ = sites
    running = Running()
    mine, same, bobs = site.initialize(), site.initialize(), site.initialize("bob")
    call = await under_way(site, running, mine)
    for each in (
        await cancelled(site, same),
        await cancelled(site, bobs, who="bob"),
        await cancelled(site, mine, "7"),
    ):
        running.cancel(each)
    assert call.task is not None
    assert not call.task.cancelling()
    running.cancel(await cancelled(site, mine))
    assert call.task.cancelling()
    ended = await under_way(site, running, mine, 8)
    del running.calls[ended.id]
    running.cancel(await cancelled(site, mine, 8))
    assert ended.task is not None
    assert not ended.task.cancelling()
    ended.task.cancel()


async def test_of_an_id_in_use_twice_the_end_of_the_first_does_not_lose_the_second(sites: Two) -> None:
    site, _ = sites
    running, mine = Running(), site.initialize()
    first, second = await under_way(site, running, mine), await under_way(site, running, mine)
    del running.calls[first.id]
    running.cancel(await cancelled(site, mine))
    assert second.task is not None
    assert second.task.cancelling()
    assert first.task is not None
    first.task.cancel()


async def test_of_an_id_in_use_twice_the_last_one_is_cancelled(sites: Two) -> None:
    site, _ = sites
    running, mine = Running(), site.initialize()
    first, second = await under_way(site, running, mine), await under_way(site, running, mine)
    running.cancel(await cancelled(site, mine))
    assert first.task is not None
    assert second.task is not None
    assert (first.task.cancelling(), second.task.cancelling()) == (0, 1)
    first.task.cancel()


async def test_it_finds_a_call_at_another_gateway(sites: Two) -> None:
    one, two = sites
    here, there = Running(one.mail), Running(two.mail)
    for each in sites:
        each.run()
        assert each.mail is not None
        await each.mail.announce()
    mine = one.initialize()
    call, other = await under_way(two, there, mine), await under_way(two, there, two.initialize())
    here.cancel(await cancelled(one, mine))
    task, kept = call.task, other.task
    assert task is not None
    assert kept is not None
    await settled(task.cancelled)
    assert not kept.cancelling()
    kept.cancel()


async def test_a_flood_of_cancellations_of_nothing_leaves_others_theirs(sites: Two, time: LoopTime) -> None:
    one, two = sites
    here, there = Running(one.mail), Running(two.mail)
    for each in sites:
        each.run()
        assert each.mail is not None
        await each.mail.announce()
    mine, further, his = one.initialize(), one.initialize(), one.initialize("bob")
    anns, bobs = await under_way(two, there, further), await under_way(two, there, his, who="bob")
    flood = [await cancelled(one, mine, number) for number in range(TOLD)]
    for each in [
        *flood,
        wanted := await cancelled(one, further),  # another session is no way around
        await cancelled(one, his, who="bob"),
    ]:
        here.cancel(each)
    assert anns.task is not None
    assert bobs.task is not None
    await settled(bobs.task.cancelled)
    assert not anns.task.cancelling()
    await time.advance(1.0)
    here.cancel(wanted)
    await settled(anns.task.cancelled)
