"""AskingServer: a program of `FakeRuntime` that asks its client, in the way of either era."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tidegate.testing.fake_runtime import Pipes

Json = dict[str, Any]
FORM: Json = {
    "message": "who?",
    "requestedSchema": {"type": "object", "properties": {"name": {"type": "string"}}},
}
QUESTIONS: dict[str, tuple[str, Json]] = {
    "form": ("elicitation/create", FORM),
    "url": ("elicitation/create", {"mode": "url", "url": "https://example.com/", "message": "go", "elicitationId": "e"}),
    "sample": ("sampling/createMessage", {"messages": [], "maxTokens": 5}),
    "roots": ("roots/list", {}),
    "odd": ("system/shutdown", {}),
}  # fmt: skip
TOOLS = [*QUESTIONS, "two", "twice", "echo", "logs", "hangs", "visit"]
MODERN = "2026-07-28"


class AskingServer:
    """One server. Its tools ask what they are called; the result's text is the answers as JSON.

    `two` asks for a form and roots at once, `twice` for one form after another, `logs` logs first, `visit` fails with
    the error of 2025-11-25 that wants a URL visited, `hangs` never answers.
    """

    def __init__(self, *, modern: bool = False) -> None:
        self.modern = modern
        self.offered: list[Json] = []
        """Capabilities of the client as each `initialize`, or each modern call, said them."""
        self.heard: list[Json] = []
        self.runs = 0
        self._numbers = 0

    async def __call__(self, pipes: Pipes) -> int:
        """Run one workload."""
        self.runs += 1
        waiting: dict[object, asyncio.Future[Json]] = {}
        tasks: set[asyncio.Task[None]] = set()
        closing = asyncio.create_task(pipes.closing.wait())
        try:
            while True:
                line = asyncio.create_task(pipes.line())
                await asyncio.wait([line, closing], return_when=asyncio.FIRST_COMPLETED)
                if closing.done():
                    line.cancel()
                    return 0
                if not line.result().strip():
                    continue
                message: Json = json.loads(line.result())
                self.heard.append(message)
                if "method" not in message:
                    waiting.pop(message["id"]).set_result(message)
                elif "id" in message:
                    task = asyncio.create_task(self._answer(pipes, message, waiting))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
        finally:
            closing.cancel()
            for task in tasks:
                task.cancel()

    async def _answer(self, pipes: Pipes, message: Json, waiting: dict[object, asyncio.Future[Json]]) -> None:
        method, params = message["method"], message.get("params") or {}
        if method == "tools/call":
            call = self._call_modern if self.modern else self._call_legacy
            reply = await call(pipes, params, waiting)
        elif method == "completion/complete" and not self.modern:
            asked = await self._call_legacy(pipes, {"name": "form"}, waiting)
            values = [each["text"] for each in asked["result"]["content"]]
            reply = {"result": {"completion": {"values": values}}}
        elif method == "prompts/list" and not self.modern:
            reply = {"result": {"prompts": [{"name": "p"}]}}
        elif method == "tools/list":
            tools = [{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS]
            reply = {"result": {"tools": tools, **self._stamp(cached=True)}}
        elif method == "server/discover" and self.modern:
            reply = {
                "result": {
                    "supportedVersions": [MODERN], "capabilities": {"tools": {}, "logging": {}}, **self._stamp(cached=True)
                }
            }  # fmt: skip
        elif method == "initialize" and not self.modern:
            self.offered.append(params["capabilities"])
            info = {"name": "asking", "version": "1"}
            capabilities: Json = {"tools": {}, "prompts": {}, "completions": {}, "logging": {}}
            reply = {
                "result": {"protocolVersion": "2025-11-25", "capabilities": capabilities, "serverInfo": info}
            }
        elif method in ("ping", "logging/setLevel") and not self.modern:
            reply = {"result": {}}
        else:
            reply = {"error": {"code": -32601, "message": f"no {method}"}}
        self._say(pipes, {"jsonrpc": "2.0", "id": message["id"], **reply})

    def _stamp(self, *, cached: bool = False) -> Json:
        if not self.modern:
            return {}
        return {"resultType": "complete", **({"ttlMs": 0, "cacheScope": "private"} if cached else {})}

    async def _call_legacy(
        self, pipes: Pipes, params: Json, waiting: dict[object, asyncio.Future[Json]]
    ) -> Json:
        name = params["name"]

        async def ask(kind: str) -> Json:
            self._numbers += 1
            ident = f"ask-{self._numbers}"
            answered = waiting[ident] = asyncio.get_running_loop().create_future()
            method, wanted = QUESTIONS[kind]
            self._say(pipes, {"jsonrpc": "2.0", "id": ident, "method": method, "params": wanted})
            answer = await answered
            return answer.get("result") or {"error": answer["error"]["code"]}

        if name == "hangs":
            await asyncio.Event().wait()
        if name == "visit":
            urls = [{**QUESTIONS["url"][1]}]
            return {"error": {"code": -32042, "message": "visit", "data": {"elicitations": urls}}}
        if name == "logs":
            log = {"level": "info", "data": "log of the call"}
            self._say(pipes, {"jsonrpc": "2.0", "method": "notifications/message", "params": log})
        answers = [params.get("arguments", {})] if name in ("echo", "logs") else []
        if name == "two":
            answers = list(await asyncio.gather(ask("form"), ask("roots")))
        elif name == "twice":
            answers = [await ask("form"), await ask("form")]
        elif name in QUESTIONS:
            answers = [await ask(name)]
        return {"result": {"content": [{"type": "text", "text": json.dumps(answers)}]}}

    async def _call_modern(
        self, pipes: Pipes, params: Json, waiting: dict[object, asyncio.Future[Json]]
    ) -> Json:
        name, answers = params["name"], params.get("inputResponses") or {}
        self.offered.append(params["_meta"]["io.modelcontextprotocol/clientCapabilities"])
        wanted = {"two": ["form", "roots"], "twice": ["form"]}.get(name, [name] if name in QUESTIONS else [])
        rounds = int(params.get("requestState", "0"))
        if wanted and (not answers or (name == "twice" and rounds < 2)):
            requests = {
                kind: dict(zip(("method", "params"), QUESTIONS[kind], strict=True)) for kind in wanted
            }
            return {
                "result": {
                    "resultType": "input_required", "inputRequests": requests, "requestState": str(rounds + 1)
                }
            }  # fmt: skip
        text = json.dumps([answers[kind] for kind in wanted] or [params.get("arguments", {})])
        return {"result": {"content": [{"type": "text", "text": text}], **self._stamp()}}

    def _say(self, pipes: Pipes, message: Json) -> None:
        pipes.out(json.dumps(message).encode() + b"\n")
