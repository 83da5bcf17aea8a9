"""Tasks of the server of all features, in both designs: the extension, and the experimental one of 2025-11-25.

Standard library only.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from features import INVALID, OWN, TASKS, UNDECLARED, Call, Features, Message, Refused, holds
from features_catalog import form

DONE = ("completed", "failed", "cancelled")


def now() -> str:
    """Give the time as tasks tell it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass
class Task:
    """One piece of work."""

    arguments: Message
    modern: bool
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    status: str = "working"
    created: str = field(default_factory=now)
    updated: str = field(default_factory=now)
    result: Message | None = None
    problem: Message | None = None
    requests: Message = field(default_factory=dict[str, Any])
    answers: dict[str, asyncio.Future[Message]] = field(default_factory=dict[str, asyncio.Future[Message]])
    over: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    work: asyncio.Task[None] | None = None

    def state(self) -> Message:
        """Give what both designs tell of a task, in the words of its own."""
        times = {"createdAt": self.created, "lastUpdatedAt": self.updated}
        kept = {"ttlMs": 60000, "pollIntervalMs": 10} if self.modern else {"ttl": 60000, "pollInterval": 10}
        return {"taskId": self.id, "status": self.status, "statusMessage": self.status, **times, **kept}

    def detailed(self) -> Message:
        """Give what the extension tells: with questions, result or error."""
        state = self.state()
        if self.status == "input_required":
            state["inputRequests"] = self.requests
        if self.status == "completed":
            state["result"] = self.result
        if self.status == "failed":
            state["error"] = self.problem
        return state


class Tasks:
    """All tasks of a server."""

    def __init__(self, features: Features) -> None:
        self._features = features
        self._all: dict[str, Task] = {}

    async def start(self, call: Call) -> Message:
        """Start the job: as a task where that was agreed, else at once."""
        task = Task(call.arguments, self._features.modern)
        if self._features.modern:
            self._check(call)
        elif call.params.get("task") is None:
            return await self._inline(task)
        self._all[task.id] = task
        task.work = asyncio.create_task(self._run(task, call))
        if self._features.modern:
            return {"resultType": "task", **task.state()}
        return {"task": task.state()}

    async def get(self, call: Call) -> Message:
        """Tell how a task is."""
        self._check(call)
        task = self._find(call)
        return task.detailed() if self._features.modern else task.state()

    async def update(self, call: Call) -> Message:
        """Take answers to a task's questions."""
        self._check(call)
        task = self._find(call)
        for key, answer in (call.params.get("inputResponses") or {}).items():
            waiting = task.answers.get(key)
            if waiting is not None and not waiting.done():
                waiting.set_result(answer)
        return {}

    async def cancel(self, call: Call) -> Message:
        """Cancel a task."""
        self._check(call)
        task = self._find(call)
        if task.status in DONE and not self._features.modern:
            raise Refused(INVALID, f"the task is {task.status}")
        if task.status not in DONE and task.work is not None:
            task.work.cancel()
            await task.over.wait()
        return {} if self._features.modern else task.state()

    async def result(self, call: Call) -> Message:
        """Wait for a task's result, asking the client what the task asks meanwhile (2025-11-25)."""
        task = self._find(call)
        related = {f"{OWN}related-task": {"taskId": task.id}}
        while not task.over.is_set():
            await self._either(task)
            for key, waiting in list(task.answers.items()):
                if not waiting.done():
                    question = task.requests[key]
                    params = {**question.get("params", {}), "_meta": related}
                    waiting.set_result(await call.peer.request(question["method"], params))
            task.asked.clear()
        if task.problem is not None:
            raise Refused(task.problem["code"], task.problem["message"], task.problem.get("data"))
        return {**(task.result or {"content": [], "isError": True}), "_meta": related}

    async def list(self, call: Call) -> Message:
        """List all tasks."""
        return {"tasks": [each.state() for each in self._all.values()]}

    async def _either(self, task: Task) -> None:
        waits = [asyncio.ensure_future(each.wait()) for each in (task.over, task.asked)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()

    async def _inline(self, task: Task) -> Message:
        return {"content": [{"type": "text", "text": f"at once: {task.arguments.get('text')}"}]}

    async def _run(self, task: Task, call: Call) -> None:
        try:
            if task.arguments.get("hold"):
                await asyncio.Event().wait()
            words = str(task.arguments.get("text"))
            if task.arguments.get("ask"):
                words = json.dumps(await self._ask(task, "name", form("Who works?")))
            if task.arguments.get("fail"):
                raise Refused(1234, "the job broke", {"extra": True})
            task.result = {"content": [{"type": "text", "text": words}], "isError": False}
            await self._become(task, "completed", call)
        except Refused as problem:
            task.problem = problem.error()
            await self._become(task, "failed", call)
        except asyncio.CancelledError:
            await self._become(task, "cancelled", call)
        finally:
            task.over.set()

    async def _ask(self, task: Task, key: str, params: Message) -> Message:
        task.requests = {key: {"method": "elicitation/create", "params": params}}
        task.answers[key] = asyncio.get_running_loop().create_future()
        task.asked.set()
        await self._become(task, "input_required", None)
        answer = await task.answers[key]
        task.requests = {}
        await self._become(task, "working", None)
        return answer

    async def _become(self, task: Task, status: str, call: Call | None) -> None:
        task.status, task.updated = status, now()
        for listener in list(self._features.listeners):
            if task.id in listener.wanted.get("taskIds", ()):
                await listener.send("notifications/tasks", task.detailed())
        if not self._features.modern and call is not None and call.peer.connection is not None:
            await call.peer.connection.tell("notifications/tasks/status", task.state())

    def _check(self, call: Call) -> None:
        need = {"extensions": {TASKS: {}}}
        if self._features.modern and not holds(call.peer.capabilities, need):
            data = {"requiredCapabilities": need}
            raise Refused(UNDECLARED, "the client has not declared tasks", data)

    def _find(self, call: Call) -> Task:
        task = self._all.get(str(call.params.get("taskId")))
        if task is None:
            raise Refused(INVALID, "task not found")
        return task
