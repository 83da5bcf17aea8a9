"""MemoryServer: an MCP server of the legacy era as a program of `FakeRuntime`, and what it was asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from tidegate.testing.fake_runtime import Pipes

Json = dict[str, Any]


class MemoryServer:
    """One server; every workload of it is a run of `__call__`, with a memory of its own.

    Tools: `echo` gives its text, `count` counts the calls of the workload, `who` gives the workload's id,
    `fails` is a tool error, `refuses` a protocol error, `dies` ends the workload, `waits` waits for `release`;
    with `more=["asks"]`, `asks` wants input as a modern server does.
    """

    def __init__(self, *, more: Sequence[str] = (), instructions: str | None = None) -> None:
        self.tools = ["echo", "count", "who", "fails", "refuses", "dies", "waits", *more]
        self.instructions = instructions
        self.exits: int | None = None
        """While set, a workload ends at once with this status."""
        self.silent = False
        """While set, nothing is answered."""
        self.mute: set[str] = set()
        """Methods that are never answered."""
        self.refused: set[str] = set()
        """Methods that are answered with an error."""
        self.page = 0
        """Tools in a page of the list; 0 gives one page."""
        self.endless = False
        """Whether the list always has one more page."""
        self.asks_first: str | None = None
        """What every workload asks of its client as soon as it is initialized."""
        self.release = asyncio.Event()
        self.runs = 0
        self.initialized = 0
        self.heard: list[Json] = []
        """Every message that came, to any workload."""
        self._pipes: list[Pipes] = []

    @property
    def calls(self) -> list[Json]:
        """The `tools/call` requests that came."""
        return [each for each in self.heard if each.get("method") == "tools/call"]

    @property
    def cancelled(self) -> list[object]:
        """Ids of requests that were cancelled."""
        methods = [each for each in self.heard if each.get("method") == "notifications/cancelled"]
        return [each["params"]["requestId"] for each in methods]

    @property
    def answers(self) -> list[Json]:
        """What its own requests were answered with."""
        return [each for each in self.heard if "method" not in each]

    def notify(self, method: str) -> None:
        """Send a notification from every workload."""
        for pipes in self._pipes:
            self._say(pipes, {"jsonrpc": "2.0", "method": method})

    def ask(self, number: int, method: str) -> None:
        """Send a request from every workload."""
        for pipes in self._pipes:
            self._say(pipes, {"jsonrpc": "2.0", "id": number, "method": method})

    async def __call__(self, pipes: Pipes) -> int:
        """Run one workload."""
        self.runs += 1
        if self.exits is not None:
            pipes.err(b"giving up\n")
            return self.exits
        self._pipes.append(pipes)
        status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        tasks = [asyncio.create_task(self._read(pipes, status)), asyncio.create_task(pipes.closing.wait())]
        try:
            await asyncio.wait([*tasks, status], return_when=asyncio.FIRST_COMPLETED)
            return status.result() if status.done() else 0
        finally:
            self._pipes.remove(pipes)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _read(self, pipes: Pipes, status: asyncio.Future[int]) -> None:
        running: dict[object, asyncio.Task[None]] = {}
        counted = 0
        try:
            while True:
                line = await pipes.line()
                if not line.strip():
                    continue
                message: Json = json.loads(line)
                self.heard.append(message)
                if message.get("method") == "notifications/cancelled":
                    task = running.pop(message["params"]["requestId"], None)
                    if task is not None:
                        task.cancel()
                method = message.get("method")
                if method == "notifications/initialized" and self.asks_first is not None:
                    self._say(pipes, {"jsonrpc": "2.0", "id": "first", "method": self.asks_first})
                if "id" not in message or method is None or self.silent or method in self.mute:
                    continue
                if message["method"] == "tools/call":
                    counted += 1
                    work = self._call(pipes, message, counted, status)
                    running[message["id"]] = asyncio.create_task(work)
                else:
                    self._answer(pipes, message)
        finally:
            for task in running.values():
                task.cancel()

    def _answer(self, pipes: Pipes, message: Json) -> None:
        method = message["method"]
        if method in self.refused:
            self._error(pipes, message, -32000, f"{method} failed")
        elif method == "initialize":
            self.initialized += 1
            result: Json = {
                "protocolVersion": "2025-11-25", "capabilities": {"tools": {"listChanged": True}},
                "serverInfo": {"name": "memory", "version": "1"},
            }  # fmt: skip
            if self.instructions:
                result["instructions"] = self.instructions
            self._result(pipes, message, result)
        elif method == "ping":
            self._result(pipes, message, {})
        elif method == "tools/list":
            self._result(pipes, message, self._list(message.get("params") or {}))
        else:
            self._error(pipes, message, -32601, f"no {method}")

    def _list(self, params: Json) -> Json:
        start = int(params.get("cursor") or 0)
        if self.endless:
            return {"tools": [{"name": f"tool-{start}", "inputSchema": {}}], "nextCursor": str(start + 1)}
        end = start + self.page if self.page else len(self.tools)
        tools = [{"name": name, "inputSchema": {"type": "object"}} for name in self.tools[start:end]]
        return {"tools": tools, **({"nextCursor": str(end)} if end < len(self.tools) else {})}

    async def _call(self, pipes: Pipes, message: Json, count: int, status: asyncio.Future[int]) -> None:
        params: Json = message["params"]
        arguments: Json = params.get("arguments") or {}
        meta: Json = params.get("_meta") or {}
        name, token = params["name"], meta.get("progressToken")
        if token is not None:
            progress: Json = {"progressToken": token, "progress": 1, "total": 2}
            self._say(pipes, {"jsonrpc": "2.0", "method": "notifications/progress", "params": progress})
        if name == "dies":
            if not status.done():
                status.set_result(int(arguments.get("status", 1)))
            return
        if name == "waits":
            await self.release.wait()
        if name == "refuses":
            self._error(pipes, message, -32050, "refused by the tool")
            return
        if name == "asks" and name in self.tools:
            self._result(pipes, message, {"resultType": "input_required", "requestState": "state"})
            return
        if name not in self.tools:
            self._error(pipes, message, -32602, f"unknown tool {name}")
            return
        text = {"count": str(count), "who": pipes.identity.id}.get(name, str(arguments.get("text", "")))
        content = [{"type": "text", "text": text}]
        self._result(pipes, message, {"content": content, "isError": name == "fails"})

    def _result(self, pipes: Pipes, message: Json, result: Json) -> None:
        self._say(pipes, {"jsonrpc": "2.0", "id": message["id"], "result": result})

    def _error(self, pipes: Pipes, message: Json, code: int, text: str) -> None:
        error = {"code": code, "message": text}
        self._say(pipes, {"jsonrpc": "2.0", "id": message["id"], "error": error})

    def _say(self, pipes: Pipes, message: Json) -> None:
        pipes.out(json.dumps(message).encode() + b"\n")
