"""Tasks of 2025-11-25: the gateway between a client that asks for one and a server that runs it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.fleet.setting import spec
from tests.unit.gateway.offering import Offering
from tests.unit.gateway.setting import OPEN, Client, GatewaySetting
from tidegate.testing.fake_runtime import Pipes

Json = dict[str, Any]
RELATED = "io.modelcontextprotocol/related-task"
TASKS: Json = {"tools": {}, "tasks": {"cancel": {}, "requests": {"tools": {"call": {}}}}}
TASK: Json = {
    "taskId": "own-1",
    "status": "working",
    "createdAt": "2026-01-01T00:00:00Z",
    "lastUpdatedAt": "2026-01-01T00:00:00Z",
    "ttl": 60000,
}
LAST: Json = {
    "content": [{"type": "text", "text": "done"}],
    "isError": True,
    "odd": [1.50],
    "_meta": {RELATED: {"taskId": "own-1"}, "x": 1},
}


class TaskServer(Offering):
    """A legacy server whose one tool may be a task; what it was asked is kept."""

    def __init__(self) -> None:
        tool = {"name": "t", "inputSchema": {"type": "object"}, "execution": {"taskSupport": "optional"}}
        super().__init__(TASKS, tools=[tool])
        self.heard: list[Json] = []
        self.raw |= {
            "tools/call": json.dumps({"task": TASK}).encode(),
            "tasks/get": json.dumps(TASK).encode(),
            "tasks/result": json.dumps(LAST).encode(),
            "tasks/cancel": json.dumps({**TASK, "status": "cancelled"}).encode(),
        }

    def of(self, method: str) -> list[Json]:
        """Give the messages of a method that came."""
        return [each for each in self.heard if each["method"] == method]

    async def _read(self, pipes: Pipes) -> None:
        while True:
            line = await pipes.line()
            if line.strip():
                message: Json = json.loads(line)
                self.heard.append(message)
                self.asked.append(message["method"])
                if "id" in message:
                    self._answer(pipes, message)


async def opened(gateway: OPEN) -> tuple[GatewaySetting, TaskServer]:
    """Open a gateway before a server with tasks."""
    server = TaskServer()
    return await gateway(spec("one"), servers={"one": server}, wait=["one__t"]), server


async def begun(gateway: OPEN) -> tuple[Client, TaskServer, str]:
    """Have a client begin a task; give it with the handle."""
    made, server = await opened(gateway)
    client = await made.client()
    told = await client.ask("tools/call", 7, name="one__t", arguments={}, task={"ttl": 60000})
    return client, server, told.result["task"]["taskId"]


async def test_tasks_are_declared_where_a_server_has_them(gateway: OPEN) -> None:
    made, _ = await opened(gateway)
    body: Json = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}},
    }
    declared = (await made.send(made.call({}, body, "ann"))).result["capabilities"]
    assert "call" in declared["tasks"]["requests"]["tools"]


async def test_what_a_tasks_result_is_comes_whole_and_related_to_it(gateway: OPEN) -> None:
    client, server, handle = await begun(gateway)
    assert handle != "own-1"
    told = await client.ask("tasks/result", 8, taskId=handle)
    assert [each["params"]["taskId"] for each in server.of("tasks/result")] == ["own-1"]
    assert told.result == {**LAST, "_meta": {RELATED: {"taskId": handle}, "x": 1}}


async def test_the_error_that_a_task_ended_with_is_the_error_of_its_result(gateway: OPEN) -> None:
    client, server, handle = await begun(gateway)
    del server.raw["tasks/result"]
    server.errors["tasks/result"] = -31999
    told = await client.ask("tasks/result", 8, taskId=handle)
    assert told.error == {"code": -31999, "message": "no"}


@pytest.mark.parametrize("method", ["tasks/get", "tasks/result", "tasks/cancel"])
async def test_the_task_that_a_request_names_is_the_one_it_is_about(gateway: OPEN, method: str) -> None:
    client, server, handle = await begun(gateway)
    told = await client.ask(method, 8, taskId=handle, _meta={RELATED: {"taskId": "another"}})
    assert "result" in told.message
    assert [each["params"]["taskId"] for each in server.of(method)] == ["own-1"]


@pytest.mark.parametrize("method", ["tasks/get", "tasks/result", "tasks/cancel"])
@pytest.mark.parametrize("task", ["nonsense", "own-1", "", 7, None])
async def test_a_task_that_there_is_not_is_32602_and_reaches_no_server(
    gateway: OPEN, method: str, task: object
) -> None:
    client, server, _ = await begun(gateway)
    assert (await client.ask(method, 8, taskId=task)).error["code"] == -32602
    assert server.of(method) == []


async def test_a_call_that_became_a_task_is_not_cancelled_by_notification(gateway: OPEN) -> None:
    client, server, handle = await begun(gateway)
    await client.gateway.send(client.request("notifications/cancelled", {"requestId": 7}, None))
    await client.ask("tasks/cancel", 8, taskId=handle)
    assert server.of("notifications/cancelled") == []
    assert len(server.of("tasks/cancel")) == 1
