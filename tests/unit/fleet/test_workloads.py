"""One workload's life: started, failed and tried again, broken and replaced, stopped."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.fleet.conftest import Open
from tests.unit.fleet.setting import QUICK, said, spec
from tidegate.domain.errors import ChannelClosed, MemoryLost, ServerUnavailable
from tidegate.domain.server import Health, Secret, Sharing
from tidegate.domain.workload import UNCLAIMED
from tidegate.testing.loop_time import LoopTime
from tidegate.testing.memory_server import MemoryServer

A, B = "a" * 32, "b" * 32
PATIENT = Health(restarts=100)


async def test_a_declared_server_is_brought_up_before_anybody_asks(fleet: Open) -> None:
    setting = await fleet(spec("one"), spec("two"))
    assert setting.heard.ready == ["one", "two"]
    assert [setting.state_of(name) for name in ("one", "two")] == ["ready", "ready"]
    assert setting.runtime.prepared == ["one", "two"]
    assert setting.records.of("one") == ["started"]


async def test_a_server_that_fails_is_tried_again_ever_less_often(fleet: Open, time: LoopTime) -> None:
    server = MemoryServer()
    server.exits = 3
    setting = await fleet(spec("bad", health=PATIENT), servers={"bad": server})
    assert setting.state_of("bad") == "failed"
    assert "status 3" in setting.reason_of("bad")
    waits: list[float] = []
    for _ in range(8):
        runs = server.runs
        waits.append(await time.until(lambda runs=runs: server.runs > runs))
    assert [round(wait) for wait in waits] == [1, 1, 2, 4, 8, 16, 32, 60]
    server.exits = None
    await time.until(lambda: setting.state_of("bad") == "ready")
    assert len(setting.world.running) == 1


async def test_what_failed_leaves_nothing_behind_and_every_attempt_has_a_name_of_its_own(
    fleet: Open, time: LoopTime
) -> None:
    server = MemoryServer()
    server.silent = True
    setting = await fleet(spec("mute", timeouts=QUICK), servers={"mute": server})
    names: set[str] = set()
    for _ in range(3):
        await time.until(lambda: bool(setting.world.processes))
        names |= set(setting.world.processes)
        await time.until(lambda: not setting.world.processes)
        assert setting.state_of("mute") == "failed"
    assert "handshake within 10 s" in setting.reason_of("mute") or "no answer" in setting.reason_of("mute")
    assert len(names) == 3


async def test_a_failing_preparation_is_said_with_its_reason(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(spec("one"), begin=False)
    setting.runtime.prepare_fails = "no image one: not found"
    await setting.begin()
    assert setting.reason_of("one") == "no image one: not found"
    with pytest.raises(ServerUnavailable, match="no image one: not found; trying again in"):
        await setting.lease("one")
    setting.runtime.prepare_fails = None
    await time.until(lambda: setting.state_of("one") == "ready")


async def test_a_call_does_not_take_a_failing_server_out_of_its_retries(fleet: Open, time: LoopTime) -> None:
    server = MemoryServer()
    server.exits = 3
    setting = await fleet(spec("bad", health=PATIENT), servers={"bad": server})
    for _ in range(6):
        with pytest.raises(ServerUnavailable, match="status 3"):
            await setting.lease("bad")
        await time.advance(0.7)
    runs = server.runs
    assert runs < 5
    await time.until(lambda: server.runs > runs)
    await time.advance(200)
    assert setting.state_of("bad") == "failed"
    assert "status 3" in setting.reason_of("bad")
    assert list(setting.fleet.pools["bad"].workloads) == [UNCLAIMED]


async def test_a_workload_that_fails_in_the_hands_of_a_caller_is_tried_again_for_anybody(
    fleet: Open, time: LoopTime
) -> None:
    server = MemoryServer()
    setting = await fleet(spec("bad"), servers={"bad": server}, begin=False)
    setting.runtime.hold = asyncio.Event()
    await setting.begin()
    waiting = asyncio.create_task(setting.lease("bad", A))
    await time.settle()
    server.exits = 4
    setting.runtime.hold.set()
    with pytest.raises(ServerUnavailable, match="status 4"):
        await waiting
    await time.advance(120)
    assert setting.state_of("bad") == "failed"
    server.exits = None
    await time.until(lambda: setting.state_of("bad") == "ready")
    assert await setting.text("bad", "count", B) == "1"


async def test_a_call_in_flight_fails_when_its_workload_dies_and_the_next_learns_that_memory_is_gone(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(spec("one"))
    session = setting.asker("s1")
    await time.advance(1)
    assert [await setting.text("one", "count", A, session) for _ in range(2)] == ["1", "2"]
    with await setting.lease("one", A, session) as lease:
        slow = asyncio.create_task(said(lease, "waits"))
        await time.settle()
        setting.world.kill(lease.workload.identity.id)
        with pytest.raises(ChannelClosed, match="killed"):
            await slow
    with pytest.raises(MemoryLost, match="one was restarted"):
        await setting.text("one", "count", A, session)
    assert await setting.text("one", "count", A, session) == "1"
    assert setting.records.of("one") == ["started", "broke", "started"]


async def test_a_loss_is_told_once_to_every_session_that_was_there_and_to_none_that_came_later(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(spec("all", sharing=Sharing.SHARED))
    old = [setting.asker(f"s{n}") for n in range(3)]
    await time.advance(0.5)
    for session in old:
        await setting.text("all", "count", "shared", session)
    setting.world.kill(next(iter(setting.world.running)))
    await time.settle()
    later = setting.asker("later")
    assert await setting.text("all", "count", "shared", later) == "1"
    for session in old:
        with pytest.raises(MemoryLost):
            await setting.lease("all", "shared", session)
        await setting.text("all", "count", "shared", session)
    assert await setting.text("all", "count", "shared", later) == "5"


async def test_a_caller_without_a_session_is_told_too_and_once(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(spec("one"))
    await setting.text("one", "count")
    setting.world.kill(next(iter(setting.world.running)))
    await time.settle()
    with pytest.raises(MemoryLost):
        await setting.text("one", "count")
    assert await setting.text("one", "count") == "1"


async def test_a_server_without_memory_loses_nothing(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(spec("one", stateless=True))
    await setting.text("one", "count")
    setting.world.kill(next(iter(setting.world.running)))
    await time.settle()
    assert await setting.text("one", "echo", text="x") == "x"


async def test_an_unused_workload_that_dies_is_replaced_without_a_word_to_anybody(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(spec("one"))
    session = setting.asker("s")
    setting.world.kill(next(iter(setting.world.running)))
    await time.until(lambda: setting.state_of("one") == "ready" and setting.servers["one"].runs == 2)
    assert await setting.text("one", "count", A, session) == "1"


async def test_a_workload_that_dies_again_and_again_is_not_started_in_a_loop(
    fleet: Open, time: LoopTime
) -> None:
    server = MemoryServer()
    setting = await fleet(spec("one"), servers={"one": server})
    began = server.runs
    for _ in range(30):
        await time.advance(1)
        for workload in setting.world.running:
            setting.world.kill(workload)
    assert server.runs - began < 10


async def test_a_workload_that_hangs_is_probed_after_a_timeout_and_replaced(
    fleet: Open, time: LoopTime
) -> None:
    server = MemoryServer()
    setting = await fleet(spec("one"), servers={"one": server})
    await setting.text("one", "count")
    server.silent = True
    with await setting.lease("one") as lease:
        before = lease.workload.identity.id
        lease.workload.suspect()
    await time.advance(6)
    server.silent = False
    await time.until(lambda: setting.state_of("one") == "ready")
    assert before not in setting.world.processes
    with pytest.raises(MemoryLost):
        await setting.lease("one")


async def test_a_workload_that_answers_its_probe_is_left_alone(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(spec("one"))
    with await setting.lease("one") as lease:
        lease.workload.suspect()
        await time.advance(10)
        assert await said(lease, "count") == "1"
    assert setting.servers["one"].runs == 1


async def test_a_stop_while_a_start_is_under_way_leaves_nothing(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(spec("one"), begin=False)
    setting.runtime.hold = asyncio.Event()
    await setting.begin()
    assert setting.runtime.starting == 1
    await setting.fleet.close()
    assert setting.world.processes == {}


async def test_closing_while_a_stop_is_under_way_waits_for_it(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(spec("one"))
    pool = setting.fleet.pools["one"]
    first = asyncio.create_task(pool.close())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await pool.close()
    assert setting.world.processes == {}
    await first


async def test_what_a_server_writes_to_its_error_stream_is_kept_with_its_workload(
    fleet: Open, time: LoopTime
) -> None:
    server = MemoryServer()
    server.exits = 1
    setting = await fleet(spec("bad"), servers={"bad": server})
    (line,) = setting.fleet.pools["bad"].log.tail(10)
    assert line.endswith("giving up")
    assert line.startswith("tg-bad-")


async def test_a_record_that_cannot_be_kept_does_not_end_a_server(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(spec("one"), begin=False)
    setting.records.failing = True
    await setting.begin()
    assert await setting.text("one", "echo", text="x") == "x"


async def test_the_record_of_a_start_names_the_secrets_that_were_given_and_holds_none(fleet: Open) -> None:
    given = {"token": Secret("hunter2", ("vault:secret/app#key",))}
    variables = {"A": Secret("hunter2", ("env:A",)), "B": "plain"}
    setting = await fleet(spec("one", secrets=given, env=variables), spec("two"))
    started = {each["server"]: each.get("secrets") for _, each in setting.records.events}
    assert started == {"one": ["env:A", "vault:secret/app#key"], "two": None}
    assert "hunter2" not in repr(setting.records.events)
