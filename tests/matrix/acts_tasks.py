"""What a client does with tasks: the extension's, and those of 2025-11-25."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from tests.matrix.peer import Json, Peer, refused

FINAL = {"completed", "failed", "cancelled"}


def _job(peer: Peer, **arguments: Any) -> Json:
    return {"name": peer.shown.name("job"), "arguments": arguments}


async def _poll(peer: Peer, task: str, reached: Callable[[Json], bool]) -> Json:
    name = {"Mcp-Name": task} if peer.modern else {}
    async with asyncio.timeout(20):
        while not reached(told := await peer.raw("tasks/get", {"taskId": task}, headers=name)):
            await asyncio.sleep(0)
    return told


async def _done(peer: Peer, task: str) -> Json:
    return await _poll(peer, task, lambda told: told["status"] in FINAL)


async def extension(peer: Peer) -> None:
    """Have a task made, ask how it is, answer it, cancel it; another's id is nobody's."""
    made = await peer.raw("tools/call", _job(peer, text="later"))
    assert made["resultType"] == "task"
    assert made["status"] in FINAL | {"working"}
    told = await _done(peer, made["taskId"])
    assert told["resultType"] == "complete"
    assert told["taskId"] == made["taskId"]
    assert told["result"]["content"][0]["text"] == "later"
    broken = await _done(peer, (await peer.raw("tools/call", _job(peer, fail=True)))["taskId"])
    assert (broken["status"], broken["error"]["code"]) == ("failed", 1234)
    held = (await peer.raw("tools/call", _job(peer, hold=True)))["taskId"]
    cancelled = await peer.raw("tasks/cancel", {"taskId": held}, headers={"Mcp-Name": held})
    assert cancelled["resultType"] == "complete"
    assert (await _done(peer, held))["status"] == "cancelled"
    await refused(peer.raw("tasks/get", {"taskId": "nobody's"}, headers={"Mcp-Name": "nobody's"}), -32602)


async def extension_input(peer: Peer) -> None:
    """Answer what a task asks."""
    task = (await peer.raw("tools/call", _job(peer, ask=True)))["taskId"]
    told = await _poll(peer, task, lambda told: told["status"] != "working")
    assert told["status"] == "input_required"
    asked = told["inputRequests"]["name"]
    assert asked["method"] == "elicitation/create"
    assert asked["params"]["message"] == "Who works?"
    answers = {"name": {"action": "accept", "content": {"name": "someone"}}}
    await peer.raw("tasks/update", {"taskId": task, "inputResponses": answers}, headers={"Mcp-Name": task})
    done = await _done(peer, task)
    assert json.loads(done["result"]["content"][0]["text"]) == answers["name"]


async def extension_told(peer: Peer) -> None:
    """Hear of a task on a `subscriptions/listen` stream of its own."""
    task = (await peer.raw("tools/call", _job(peer, hold=True)))["taskId"]
    wanted = {"notifications": {"taskIds": [task]}}
    listen = asyncio.create_task(peer.raw("subscriptions/listen", wanted, request_id=f"listen-{task[:8]}"))
    try:
        await peer.told("notifications/subscriptions/acknowledged")
        await peer.raw("tasks/cancel", {"taskId": task}, headers={"Mcp-Name": task})
        told = await peer.told("notifications/tasks", taskId=task, status="cancelled")
        assert told["_meta"]["io.modelcontextprotocol/subscriptionId"] == f"listen-{task[:8]}"
    finally:
        listen.cancel()
        await asyncio.wait([listen])


async def core(peer: Peer) -> None:
    """Make a task of a call, ask how it is, get its result, list and cancel (2025-11-25)."""
    assert await peer.text("job", {"text": "now"}) == "at once: now"
    made = (await peer.raw("tools/call", {**_job(peer, text="later"), "task": {"ttl": 60000}}))["task"]
    assert made["status"] in FINAL | {"working"}
    result = await peer.raw("tasks/result", {"taskId": made["taskId"]})
    assert result["content"][0]["text"] == "later"
    assert result["_meta"]["io.modelcontextprotocol/related-task"] == {"taskId": made["taskId"]}
    assert (await _done(peer, made["taskId"]))["status"] == "completed"
    broken = (await peer.raw("tools/call", {**_job(peer, fail=True), "task": {}}))["task"]["taskId"]
    await refused(peer.raw("tasks/result", {"taskId": broken}), 1234)
    held = (await peer.raw("tools/call", {**_job(peer, hold=True), "task": {}}))["task"]["taskId"]
    assert (await peer.raw("tasks/cancel", {"taskId": held}))["status"] == "cancelled"
    await refused(peer.raw("tasks/get", {"taskId": "nobody's"}), -32602)


async def core_listed(peer: Peer) -> None:
    """List the tasks there are (2025-11-25)."""
    made = (await peer.raw("tools/call", {**_job(peer, text="x"), "task": {}}))["task"]["taskId"]
    listed = {each["taskId"] for each in await peer.pages("tasks/list", "tasks")}
    assert made in listed, (made, listed)


async def core_input(peer: Peer) -> None:
    """Be asked on the stream of `tasks/result` (2025-11-25)."""
    task = (await peer.raw("tools/call", {**_job(peer, ask=True), "task": {}}))["task"]["taskId"]
    result = await peer.raw("tasks/result", {"taskId": task})
    assert json.loads(result["content"][0]["text"])["content"] == {"name": "someone"}
    kind, params = peer.asked[-1]
    assert kind == "elicitation"
    related = (params.meta or {}).get("io.modelcontextprotocol/related-task")
    assert related == {"taskId": task}, params


async def core_told(peer: Peer) -> None:
    """Hear of a task's end (2025-11-25)."""
    task = (await peer.raw("tools/call", {**_job(peer, hold=True), "task": {}}))["task"]["taskId"]
    await peer.raw("tasks/cancel", {"taskId": task})
    await peer.told("notifications/tasks/status", taskId=task, status="cancelled")


async def none_made(peer: Peer) -> None:
    """Get a result at once from a server that has no tasks of this client's kind; no id is a task's."""
    result = await peer.raw("tools/call", _job(peer, text="now"))
    assert result.get("resultType", "complete") == "complete"
    assert result["content"][0]["text"] == "at once: now"


async def ignored(peer: Peer) -> None:
    """Ask for a task of a server that has none of this kind.

    The request is done as if that were not asked; but where others behind the endpoint have such tasks, it
    declares them, and this tool is one that cannot be called so.
    """
    call = peer.raw(
        "tools/call",
        {"name": peer.shown.name("echo"), "arguments": {"text": "now"}, "task": {"ttl": 60000}},
    )
    if peer.modern or peer.alone:
        assert (await call)["content"][0]["text"] == "now"
    else:
        await refused(call, -32601)
    await refused(peer.raw("tasks/result", {"taskId": "none"}), -32601, -32602)
