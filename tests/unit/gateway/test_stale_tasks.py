"""The handle of a task that went with its workload brings up no other, and is asked of no other."""

from __future__ import annotations

import asyncio
import json

import msgspec

from tests.unit.fleet.setting import spec
from tests.unit.gateway.setting import KEY, OPEN, Client, GatewaySetting
from tidegate.domain.principal import Principal
from tidegate.domain.server import ServerSpec, Sharing
from tidegate.gateway.handles import Handle
from tidegate.gateway.seal import Seal
from tidegate.testing.memory_server import MemoryServer

ANN = Principal("t", "test", "ann", frozenset({"user"}))


def sealed(made: GatewaySetting, sharing: str, workload: str) -> str:
    """Give ann's handle of a task."""
    handle = Handle(False, "one", sharing, workload, "echo", "t1")
    seal = Seal({KEY[:4]: KEY}, KEY[:4], made.fleet.now)
    return seal.seal("task", msgspec.msgpack.encode(handle), bound=f"{ANN.key} /mcp")


async def opened(
    gateway: OPEN, sharing: Sharing = Sharing.SESSION, *, stateless: bool = False
) -> tuple[GatewaySetting, MemoryServer, Client]:
    """Give a gateway whose client has called its workload, and so may lose it."""
    one: ServerSpec = spec("one", sharing=sharing, stateless=stateless)
    made = await gateway(one, wait=["one__echo"])
    client = await made.client()
    await client.tool("one__echo", text="x")
    return made, made.fleet.servers["one"], client


async def test_a_task_of_a_session_that_ended_starts_no_workload(gateway: OPEN) -> None:
    made, server, client = await opened(gateway)
    runs, workloads = server.runs, set(made.fleet.fleet.pools["one"].workloads)
    handle = sealed(made, f"{ANN.key}.ended", "tg-one-gone")
    for method in ("tasks/get", "tasks/result", "tasks/cancel"):
        error = (await client.ask(method, taskId=handle)).error
        assert (error["code"], "unknown task" in error["message"]) == (-32602, True)
    assert server.runs == runs
    assert set(made.fleet.fleet.pools["one"].workloads) == workloads
    assert made.refusals() == ["invalid_params"] * 3


async def test_a_loss_is_not_told_to_who_asks_for_a_task_but_to_who_calls(gateway: OPEN) -> None:
    made, server, client = await opened(gateway)
    pool = made.fleet.fleet.pools["one"]
    (workload,) = [each for key, each in pool.workloads.items() if key.startswith(ANN.key)]
    pool.retire(workload, "idle")
    await made.time.settle()
    handle = sealed(made, workload.sharing, workload.identity.id)
    assert "unknown task" in (await client.ask("tasks/get", taskId=handle)).error["message"]
    assert "forgotten" in str(json.loads((await client.tool("one__echo", text="x")).answer.body))
    assert all(each.get("method") != "tasks/get" for each in server.heard)


async def test_a_server_that_keeps_its_tasks_elsewhere_is_asked_wherever_it_runs(gateway: OPEN) -> None:
    made, server, client = await opened(gateway, stateless=True)
    session = next(key for key in made.fleet.fleet.pools["one"].workloads if key.startswith(ANN.key))
    await client.ask("tasks/get", taskId=sealed(made, f"{session}x", "tg-one-gone"))
    assert any(each.get("method") == "tasks/get" for each in server.heard)


async def test_a_task_whose_workload_is_being_replaced_is_asked_of_no_other(gateway: OPEN) -> None:
    made, server, _ = await opened(gateway, sharing=Sharing.SHARED)
    workload = made.fleet.fleet.pools["one"].workloads["shared"]
    handle = sealed(made, "shared", workload.identity.id)
    workload.replace("it is of no use")
    later = await made.client()  # one that lost nothing
    asking = asyncio.create_task(later.ask("tasks/get", taskId=handle))
    await made.time.until(asking.done)
    assert "unknown task" in asking.result().error["message"]
    assert all(each.get("method") != "tasks/get" for each in server.heard)
