"""After a crash: what runs and is wanted goes on, the rest is removed; an engine may be away meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import msgspec
import pytest

from tests.unit.fleet.conftest import Open
from tests.unit.fleet.setting import KNOWN, Setting, spec
from tidegate.channels.channel import ChannelEvents
from tidegate.domain.errors import ChannelClosed, MemoryLost, ServerUnavailable
from tidegate.domain.server import Remote, ServerSpec, Sharing
from tidegate.domain.workload import SHARED, UNCLAIMED, Upstream, WorkloadIdentity
from tidegate.fleet.kept import Kept
from tidegate.fleet.workload import Opened
from tidegate.testing.loop_time import LoopTime

A, B = "a" * 32, "b" * 32


async def left(setting: Setting, declared: ServerSpec, sharing: str, *, used: bool = True) -> str:
    """Leave a workload behind, remembered as a gateway remembers it; give its id."""
    ident = await setting.leave_running(declared, sharing, UNCLAIMED)
    kept = Kept(declared.name, sharing, used, KNOWN)
    await setting.state.put(f"workload/{ident}", msgspec.json.encode(kept))
    return ident


async def remembered(setting: Setting) -> set[str]:
    """Give the ids of the workloads that are remembered."""
    return {key.removeprefix("workload/") for key, _ in await setting.state.scan("workload/")}


async def test_a_workload_that_ran_on_is_adopted_with_its_memory_and_never_initialised_twice(
    fleet: Open, time: LoopTime
) -> None:
    declared = spec("one")
    setting = await fleet(declared, begin=False)
    ident = await left(setting, declared, A)
    await setting.begin()
    assert setting.state_of("one") == "ready"
    assert await setting.text("one", "who", A, setting.asker("s")) == ident
    assert setting.servers["one"].initialized == 0
    assert setting.servers["one"].runs == 1
    assert await remembered(setting) == {ident}


async def test_an_adopted_workload_stays_its_principals_and_nobody_elses(fleet: Open) -> None:
    declared = spec("one")
    setting = await fleet(declared, begin=False)
    ident = await left(setting, declared, A)
    await setting.begin()
    assert await setting.text("one", "who", B) != ident
    assert await setting.text("one", "who", A) == ident


async def test_a_workload_kept_as_nobodys_is_replaced_since_somebody_may_have_used_it(
    fleet: Open, time: LoopTime
) -> None:
    declared = spec("one")
    setting = await fleet(declared, begin=False)
    ident = await left(setting, declared, UNCLAIMED, used=False)
    await setting.begin()
    assert await setting.text("one", "who", B) != ident
    await time.until(lambda: ident not in setting.world.processes)


async def test_a_workload_is_remembered_only_once_it_is_somebodys(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(spec("one"))
    assert setting.state_of("one") == "ready"
    assert await remembered(setting) == set()
    ident = await setting.text("one", "who", A)
    await time.settle()
    assert await remembered(setting) == {ident}


async def test_what_is_not_wanted_any_more_is_removed(fleet: Open, time: LoopTime) -> None:
    declared, gone = spec("one"), spec("gone", program="one")
    changed = spec("one", env={"A": "1"})
    setting = await fleet(declared, begin=False)
    for each in (gone, changed):
        await left(setting, each, A)
    unknown = await setting.leave_running(declared, B)  # nobody kept what its handshake settled
    await setting.begin()
    await time.settle()
    assert len(setting.world.running) == 1
    assert unknown not in setting.world.processes
    assert setting.records.of("gone") == ["removed"]
    assert await remembered(setting) <= setting.world.running


async def test_two_that_were_left_for_one_key_do_not_both_go_on(fleet: Open, time: LoopTime) -> None:
    declared = spec("one")
    setting = await fleet(declared, begin=False)
    await left(setting, declared, A)
    await left(setting, declared, A)
    await setting.begin()
    assert len(setting.world.running) == 1


async def test_what_died_with_the_gateway_is_a_loss_to_those_who_used_it_only(
    fleet: Open, time: LoopTime
) -> None:
    declared = spec("one")
    setting = await fleet(declared, begin=False)
    used, unused = await left(setting, declared, A), await left(setting, declared, B, used=False)
    before = setting.asker("before")
    await time.advance(1)
    for ident in (used, unused):
        setting.world.kill(ident)
        setting.world.processes.pop(ident)
    await setting.begin()
    with pytest.raises(MemoryLost):
        await setting.lease("one", A, before)
    assert await setting.text("one", "echo", A, before, text="x") == "x"
    assert await setting.text("one", "echo", B, before, text="x") == "x"


async def test_an_adopted_workload_that_hangs_is_replaced_and_the_loss_told(
    fleet: Open, time: LoopTime
) -> None:
    declared = spec("one")
    setting = await fleet(declared, begin=False)
    ident = await left(setting, declared, A)
    session = setting.asker("s")
    setting.servers["one"].silent = True
    await time.advance(1)
    await setting.begin()
    await time.until(lambda: ident not in setting.world.processes)
    setting.servers["one"].silent = False
    await time.until(lambda: setting.state_of("one") == "ready")
    with pytest.raises(MemoryLost):
        await setting.lease("one", A, session)
    assert await setting.text("one", "who", A, session) != ident


async def test_an_engine_that_is_away_is_said_and_what_runs_is_adopted_when_it_is_back(
    fleet: Open, time: LoopTime
) -> None:
    declared = spec("one")
    setting = await fleet(declared, begin=False)
    ident = await left(setting, declared, A)
    setting.runtime.unavailable = "the engine does not answer"
    await setting.begin()
    assert setting.state_of("one") == "failed"
    with pytest.raises(ServerUnavailable, match="the engine does not answer"):
        await setting.lease("one", A)
    await time.advance(30)
    setting.runtime.unavailable = None
    await time.until(lambda: setting.state_of("one") == "ready")
    assert await setting.text("one", "who", A) == ident
    assert setting.servers["one"].runs == 1


async def test_an_engine_that_goes_away_later_is_waited_for(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(spec("one"))
    await setting.text("one", "count", A)
    setting.runtime.unavailable = "the engine does not answer"
    setting.world.kill(next(iter(setting.world.running)))
    await time.advance(20)
    assert setting.state_of("one") == "failed"
    assert "does not answer" in setting.reason_of("one")
    setting.runtime.unavailable = None
    await time.until(lambda: setting.state_of("one") == "ready")
    with pytest.raises(MemoryLost):
        await setting.lease("one", A)
    assert await setting.text("one", "count", A) == "1"
    assert len(setting.world.running) == 1


async def test_a_stream_that_breaks_while_the_workload_lives_is_attached_to_again(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(spec("one"))
    await setting.text("one", "count", A)
    (ident,) = setting.world.running
    events = setting.world.processes[ident].pipes.events
    assert events is not None
    events.closed("connection to the engine was lost")
    await time.until(lambda: setting.state_of("one") == "ready")
    assert await setting.text("one", "who", A) == ident
    assert await setting.text("one", "count", A) == "3"
    assert setting.servers["one"].initialized == 1


async def test_a_workload_whose_stream_breaks_again_and_again_is_attached_to_ever_more_rarely(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(spec("one"))
    await setting.text("one", "count", A)
    (ident,) = setting.world.running
    began, breaks = time(), 0
    while time() - began < 60:
        await time.until(lambda: setting.state_of("one") == "ready")
        events = setting.world.processes[ident].pipes.events
        assert events is not None
        events.closed("it let the connection go")
        breaks += 1
        assert breaks < 20
        await time.settle()
    assert setting.world.running == {ident}
    await time.advance(61)
    await time.until(lambda: setting.state_of("one") == "ready")
    assert await setting.text("one", "who", A) == ident


async def test_a_workload_that_cannot_be_stopped_is_tried_again_until_it_is(
    fleet: Open, time: LoopTime
) -> None:
    declared, gone = spec("one"), spec("gone", program="one")
    setting = await fleet(declared, begin=False)
    ident = await left(setting, gone, A)
    setting.runtime.stops_to_fail = 3
    await setting.begin()
    assert ident in setting.world.running
    await time.until(lambda: ident not in setting.world.running)
    assert setting.state_of("one") == "ready"


async def test_closing_tries_once_more_to_end_what_could_not_be_ended(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(spec("one"))
    setting.runtime.stops_to_fail = 1
    await setting.fleet.close()
    assert setting.world.running == set()


async def test_a_stop_leaves_nothing_running_and_nothing_remembered(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(
        spec("one"), spec("all", sharing=Sharing.SHARED), spec("each", sharing=Sharing.CALL)
    )
    for key in (A, B):
        await setting.text("one", "count", key)
    await setting.fleet.close()
    assert setting.world.processes == {}
    assert await remembered(setting) == set()


async def test_the_next_gateway_remembers_what_was_claimed_after_it_was_labelled(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(spec("one"))
    ident = await setting.text("one", "who", A)
    await time.settle()
    (row,) = await setting.state.scan("workload/")
    kept = msgspec.json.decode(row[1], type=Kept)
    assert (row[0], kept.sharing, kept.used) == (f"workload/{ident}", A, True)


class Doors:
    """A launcher of a remote server that notes with which session it is to open, and is not let in."""

    doing: str | None = None

    def __init__(self) -> None:
        self.sessions: list[str | None] = []

    async def prepare(self) -> None: ...

    async def open(self, identity: WorkloadIdentity, events: ChannelEvents, known: Upstream | None) -> Opened:
        self.sessions.append(None if known is None else known.session)
        raise ChannelClosed("not today")

    async def end(self, identity: WorkloadIdentity, grace: float) -> None: ...


class Shut(Doors):
    """One that lets nobody in, and says nothing."""

    async def open(self, identity: WorkloadIdentity, events: ChannelEvents, known: Upstream | None) -> Opened:
        self.sessions.append(None if known is None else known.session)
        return await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize(
    ("url", "first"), [("https://one.example/mcp", "its-id"), ("https://two.example/mcp", None)]
)
async def test_a_remote_session_goes_on_with_the_url_that_gave_it_and_with_no_other(
    fleet: Open, time: LoopTime, url: str, first: str | None
) -> None:
    setting = await fleet(begin=False)
    before = ServerSpec("far", Remote("https://one.example/mcp"), "remote", sharing=Sharing.SHARED)
    upstream = replace(KNOWN, session="its-id")
    kept = Kept("far", SHARED, True, upstream, before.digest())
    await setting.state.put("workload/tg-far-0", msgspec.json.encode(kept))
    doors = Doors()
    setting.fleet.declare(replace(before, launch=Remote(url)), doors)
    await setting.begin()
    assert doors.sessions[0] == first


async def test_of_two_sessions_that_were_kept_for_one_remote_server_none_is_lost_sight_of(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(begin=False)
    declared = ServerSpec("far", Remote("https://one.example/mcp"), "remote", sharing=Sharing.SHARED)
    for number in range(2):
        kept = Kept("far", SHARED, True, replace(KNOWN, session=f"id-{number}"), declared.digest())
        await setting.state.put(f"workload/tg-far-{number}", msgspec.json.encode(kept))
    doors = Shut()
    setting.fleet.declare(declared, doors)
    await setting.begin()
    pool = setting.fleet.pools["far"]
    supervised = [task for task in asyncio.all_tasks() if task.get_name().startswith("workload ")]
    assert len(supervised) == len(pool.workloads)  # nothing goes on that nobody knows of
    assert doors.sessions == ["id-0", "id-1"]
