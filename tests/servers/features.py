"""A server with everything an MCP server can do, whatever carries it: one era at a time, values as plain JSON.

`Features` answers one request at a time through a `Peer`, which the carriers (`features_stdio`,
`features_http`) make. What it offers is in `features_catalog` and `features_tools`, tasks are in
`features_tasks`. Standard library only; it does no I/O but through the peer.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

Message = dict[str, Any]
Handler = Callable[["Call"], Awaitable[Message]]

LEGACY = "2025-11-25"
HANDSHAKES = ("2024-11-05", "2025-03-26", "2025-06-18", LEGACY)
MODERN = "2026-07-28"
OWN = "io.modelcontextprotocol/"
TASKS, ECHO = f"{OWN}tasks", "com.example/echo"
LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
INVALID, UNKNOWN, UNDECLARED, UNSUPPORTED = -32602, -32601, -32021, -32022
SERVER = {"name": "features", "title": "All features", "version": "1.0", "websiteUrl": "https://example.com/"}
_CACHED = frozenset({
    "server/discover", "tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read",
})  # fmt: skip


class Refused(Exception):
    """A request answered with a JSON-RPC error."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code, self.message, self.data = code, message, data

    def error(self) -> Message:
        """Give the error object."""
        return {"code": self.code, "message": self.message} | (
            {} if self.data is None else {"data": self.data}
        )


class ToolFailed(Exception):
    """A tool's failure: a result with isError."""


class NeedsInput(Exception):
    """A modern request that cannot go on without the client's answers."""

    def __init__(self, requests: Message, state: str) -> None:
        super().__init__("input required")
        self.result: Message = {
            "resultType": "input_required",
            "inputRequests": requests,
            "requestState": state,
        }


@dataclass
class Connection:
    """What lasts between the requests of a legacy client."""

    tell: Callable[[str, Message], Awaitable[None]]
    client: Message = field(default_factory=dict[str, Any])
    level: str = "info"
    subscribed: set[str] = field(default_factory=set[str])
    roots_changed: int = 0


@dataclass
class Listener:
    """One `subscriptions/listen` stream."""

    id: Any
    wanted: Message
    tell: Callable[[str, Message], Awaitable[None]]

    async def send(self, method: str, params: Message) -> None:
        """Send a notification with the subscription's id."""
        await self.tell(method, {**params, "_meta": {f"{OWN}subscriptionId": self.id}})


class Peer(Protocol):
    """The client, as one request sees it."""

    capabilities: Message
    client_info: Message
    headers: Mapping[str, str] | None
    connection: Connection | None

    async def notify(self, method: str, params: Message) -> None:
        """Send a notification that belongs to this request."""
        ...

    async def request(self, method: str, params: Message) -> Message:
        """Ask the client during this request; legacy only."""
        ...


class Call:
    """One request being answered."""

    def __init__(self, features: Features, peer: Peer, message: Message) -> None:
        self.features, self.peer = features, peer
        self.id, self.method = message.get("id"), str(message["method"])
        self.params: Message = message.get("params") or {}
        self.meta: Message = self.params.get("_meta") or {}
        self.arguments: Message = self.params.get("arguments") or {}

    async def progress(self, done: float, total: float, message: str) -> None:
        """Tell how far it is, where the client asked to know."""
        if (token := self.meta.get("progressToken")) is not None:
            told = {"progressToken": token, "progress": done, "total": total, "message": message}
            await self.peer.notify("notifications/progress", told)

    async def log(self, level: str, data: Any) -> None:
        """Send a log message, where the client wants that level."""
        connection = self.peer.connection
        least = self.meta.get(f"{OWN}logLevel") if self.features.modern else connection and connection.level
        if least in LEVELS and LEVELS.index(level) >= LEVELS.index(least):
            await self.peer.notify(
                "notifications/message", {"level": level, "logger": "features", "data": data}
            )

    async def ask(self, key: str, method: str, params: Message | None = None) -> Message:
        """Ask the client one thing, which it must have declared."""
        return (await self.ask_all({key: (method, params)}))[key]

    async def ask_all(self, questions: Mapping[str, tuple[str, Message | None]]) -> Message:
        """Ask the client several things: one after another, or all in one round."""
        for method, params in questions.values():
            self._check(needed(method, params or {}))
        return await self.ask_anyway(questions)

    async def ask_anyway(self, questions: Mapping[str, tuple[str, Message | None]]) -> Message:
        """Ask whether or not the client has declared it."""
        if not self.features.modern:
            return {key: await self.peer.request(*self._legacy(each)) for key, each in questions.items()}
        state = self._state()
        answers = state["answers"] | (self.params.get("inputResponses") or {})
        missing = {key: each for key, each in questions.items() if key not in answers}
        if not missing:
            return answers
        requests = {
            key: {"method": method, **({} if params is None else {"params": params})}
            for key, (method, params) in missing.items()
        }
        raise NeedsInput(requests, json.dumps({"for": self._what(), "answers": answers}))

    def _legacy(self, question: tuple[str, Message | None]) -> tuple[str, Message]:
        method, params = question
        if (params or {}).get("mode") == "url":
            return method, {**(params or {}), "elicitationId": f"elicitation-{self.id}"}
        return method, params or {}

    def _check(self, need: Message) -> None:
        if not holds(self.peer.capabilities, need):
            if self.features.modern:
                data = {"requiredCapabilities": need}
                raise Refused(UNDECLARED, "the client has not declared what this needs", data)
            raise ToolFailed(f"the client has not declared {json.dumps(need)}")

    def _what(self) -> str:
        return f"{self.method} {self.params.get('name') or self.params.get('uri')}"

    def _state(self) -> Message:
        given = self.params.get("requestState")
        if given is None:
            return {"answers": {}}
        try:
            state: Message = json.loads(given)
        except ValueError:
            raise Refused(INVALID, "requestState is not this server's") from None
        if state.get("for") != self._what():
            raise Refused(INVALID, "requestState belongs to another request")
        return state


class Features:
    """The server: what it offers, who listens, and the answers."""

    def __init__(self, modern: bool) -> None:
        from features_catalog import Catalog
        from features_tasks import Tasks

        self.modern = modern
        self.catalog = Catalog()
        self.tasks = Tasks(self)
        self.marks: dict[str, str] = {}
        self.rooms: dict[str, list[Any]] = {}
        self.lonely = False
        self.connections: list[Connection] = []
        self.listeners: list[Listener] = []
        self._handlers = self._common() | (self._modern() if modern else self._legacy())

    async def answer(self, peer: Peer, message: Message) -> Message:
        """Give the result of a request.

        Raises:
            Refused: answered with an error.
        """
        call = Call(self, peer, message)
        handler = self._handlers.get(call.method)
        if handler is None:
            raise Refused(UNKNOWN, f"method not found: {call.method}")
        try:
            result = await handler(call)
        except NeedsInput as need:
            result = need.result
        return self._dress(call.method, result) if self.modern else result

    def capabilities(self) -> Message:
        """Give what it declares."""
        declared: Message = {
            "tools": {"listChanged": True}, "prompts": {"listChanged": True}, "completions": {}, "logging": {},
            "resources": {"subscribe": True, "listChanged": True}, "extensions": {ECHO: {"version": 1}},
        }  # fmt: skip
        if self.modern:
            declared["extensions"][TASKS] = {}
        else:
            declared["tasks"] = {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}
        return declared

    async def updated(self, uri: str) -> None:
        """Tell all who subscribed to a resource."""
        for connection in list(self.connections):
            if uri in connection.subscribed:
                await connection.tell("notifications/resources/updated", {"uri": uri})
        for listener in list(self.listeners):
            if uri in listener.wanted.get("resourceSubscriptions", ()):
                await listener.send("notifications/resources/updated", {"uri": uri})

    async def changed(self, kind: str) -> None:
        """Tell everybody that a list (tools, prompts, resources) is another."""
        for connection in list(self.connections):
            await connection.tell(f"notifications/{kind}/list_changed", {})
        for listener in list(self.listeners):
            if listener.wanted.get(f"{kind}ListChanged"):
                await listener.send(f"notifications/{kind}/list_changed", {})

    def _common(self) -> dict[str, Handler]:
        from features_tools import call_tool

        catalog = self.catalog
        return {
            "tools/list": catalog.list_tools,
            "tools/call": call_tool,
            "prompts/list": catalog.list_prompts,
            "prompts/get": catalog.get_prompt,
            "resources/list": catalog.list_resources,
            "resources/templates/list": catalog.list_templates,
            "resources/read": catalog.read,
            "completion/complete": catalog.complete,
            "tasks/get": self.tasks.get,
            "tasks/cancel": self.tasks.cancel,
            ECHO: echo,
        }

    def _legacy(self) -> dict[str, Handler]:
        return {
            "ping": nothing,
            "initialize": self._initialize,
            "logging/setLevel": set_level,
            "resources/subscribe": subscribe,
            "resources/unsubscribe": unsubscribe,
            "tasks/result": self.tasks.result,
            "tasks/list": self.tasks.list,
        }

    def _modern(self) -> dict[str, Handler]:
        return {
            "server/discover": self._discover,
            "subscriptions/listen": self._listen,
            "tasks/update": self.tasks.update,
        }

    def _dress(self, method: str, result: Message) -> Message:
        stamped: Message = {"resultType": "complete", **result}
        stamped["_meta"] = {f"{OWN}serverInfo": SERVER, **result.get("_meta", {})}
        if method in _CACHED and stamped["resultType"] == "complete":
            stamped = {"ttlMs": 0, "cacheScope": "private", **stamped}
        return stamped

    async def _initialize(self, call: Call) -> Message:
        asked = call.params.get("protocolVersion")
        return {
            "protocolVersion": asked if asked in HANDSHAKES else LEGACY,
            "capabilities": self.capabilities(),
            "serverInfo": SERVER,
            "instructions": "Try everything once.",
        }

    async def _discover(self, call: Call) -> Message:
        return {
            "supportedVersions": [MODERN], "capabilities": self.capabilities(), "instructions": "Try everything once.",
        }  # fmt: skip

    async def _listen(self, call: Call) -> Message:
        wanted: Message = call.params.get("notifications") or {}
        if wanted.get("taskIds") and not holds(call.peer.capabilities, {"extensions": {TASKS: {}}}):
            raise Refused(
                UNDECLARED, "tasks not declared", {"requiredCapabilities": {"extensions": {TASKS: {}}}}
            )
        listener = Listener(call.id, wanted, call.peer.notify)
        await listener.send("notifications/subscriptions/acknowledged", {"notifications": wanted})
        self.listeners.append(listener)
        try:
            await forever()
        finally:
            self.listeners.remove(listener)
        return {}


def needed(method: str, params: Message) -> Message:
    """Give the client capability that a server's question needs."""
    if method == "elicitation/create":
        return {"elicitation": {params.get("mode", "form"): {}}}
    if method == "sampling/createMessage":
        return {"sampling": {"tools": {}} if "tools" in params else {}}
    return {"roots": {}}


def holds(declared: Message, need: Message) -> bool:
    """Tell whether declared capabilities have what is needed."""
    if need == {"elicitation": {"form": {}}} and declared.get("elicitation") == {}:
        return True  # an empty one means form, client/elicitation §Capabilities
    return all(
        key in declared and (not isinstance(value, dict) or holds(declared[key] or {}, value))
        for key, value in need.items()
    )


async def forever() -> None:
    """Wait until cancelled."""
    import asyncio

    await asyncio.Event().wait()


async def nothing(call: Call) -> Message:
    """Give an empty result."""
    return {}


async def echo(call: Call) -> Message:
    """Give back what came, as the extension of its own does; both sides must have declared it."""
    need = {"extensions": {ECHO: {}}}
    if not holds(call.peer.capabilities, need):
        raise Refused(
            UNDECLARED if call.features.modern else UNKNOWN, "not declared", {"requiredCapabilities": need}
        )
    return {"echoed": {key: value for key, value in call.params.items() if key != "_meta"}}


async def set_level(call: Call) -> Message:
    """Keep the least level of messages."""
    if call.params.get("level") not in LEVELS:
        raise Refused(INVALID, "unknown level")
    connection_of(call).level = call.params["level"]
    return {}


async def subscribe(call: Call) -> Message:
    """Begin to tell of a resource."""
    connection_of(call).subscribed.add(call.params["uri"])
    return {}


async def unsubscribe(call: Call) -> Message:
    """Tell of a resource no more."""
    connection_of(call).subscribed.discard(call.params["uri"])
    return {}


def connection_of(call: Call) -> Connection:
    """Give what lasts of a legacy client."""
    if call.peer.connection is None:
        raise Refused(UNKNOWN, "there is no session")
    return call.peer.connection
