"""Whatever a client puts into its params, it gets a JSON-RPC answer: no request is a fault of ours.

And whatever it was, nothing stays behind: no intent without an outcome, no place that is not given back.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.fleet.setting import Setting, spec
from tests.unit.gateway.asking import MODERN, AskingServer
from tests.unit.gateway.setting import Client, GatewaySetting
from tidegate.domain.endpoint import EndpointSpec
from tidegate.domain.errors import Refusal
from tidegate.domain.target import Kind
from tidegate.gateway.call import Call
from tidegate.ports.identity import Credentials
from tidegate.protocol import inbound, revisions
from tidegate.protocol.codec import decode_message
from tidegate.testing.fake_runtime import Pipes
from tidegate.testing.loop_time import LoopTime
from tidegate.testing.scripted import until

Json = dict[str, Any]
VALID: dict[str, Json] = {
    "initialize": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "n", "version": "1"}},
    "ping": {},
    "server/discover": {},
    "logging/setLevel": {"level": "info"},
    "tools/list": {},
    "prompts/list": {},
    "resources/list": {},
    "resources/templates/list": {},
    "resources/subscribe": {"uri": "x://one__a"},
    "resources/unsubscribe": {"uri": "x://one__a"},
    "subscriptions/listen": {"notifications": {"toolsListChanged": True, "resourceSubscriptions": ["x://two__a"]}},
    "tools/call": {"name": "two__form", "arguments": {}},
    "prompts/get": {"name": "two__greet", "arguments": {}},
    "resources/read": {"uri": "x://two__a"},
    "completion/complete": {
        "ref": {"type": "ref/prompt", "name": "one__greet"}, "argument": {"name": "who", "value": "A"},
    },
    "tasks/get": {"taskId": "t"},
    "tasks/update": {"taskId": "t", "inputResponses": {}},
    "tasks/cancel": {"taskId": "t"},
    "tasks/result": {"taskId": "t"},
    "tasks/list": {},
    "notifications/cancelled": {"requestId": 7},
    "notifications/roots/list_changed": {},
    "x/y": {},
    "Tools/Call": {"name": "echo"},
    "": {},
}  # fmt: skip
"""A request of each method that is as it should be, or nearly."""
KEYS = (
    "name", "arguments", "uri", "cursor", "ref", "argument", "context", "level", "requestId", "protocolVersion",
    "capabilities", "clientInfo", "inputResponses", "requestState", "task", "taskId", "notifications", "other",
)  # fmt: skip
STATE = "<the state or task that was given last>"
NAMES = (
    "one__echo", "one__form", "two__form", "two__echo", "two__logs", "one__greet", "form", "one__", "ui://one__x",
    "x://one__a", "x://two__b", STATE, "file:///one__../x", "ref/prompt",
    "ref/resource", "info", "2025-11-25", "tg1p.AAAA", "tg1r.", "tg1", "tg1a.====", "null", "\ud800", "\x00", "é" * 300,
)  # fmt: skip
INNER = (
    "type", "name", "uri", "value", "ttl", "form", "url", "elicitation", "sampling", "roots", "extensions",
    "taskIds", "resourceSubscriptions", "toolsListChanged", "version", "io.modelcontextprotocol/ui",
    "io.modelcontextprotocol/tasks",
)  # fmt: skip
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.just(10**400), st.just(1e300), st.sampled_from(NAMES), st.text(max_size=8)
)  # fmt: skip
DEEP: object = json.loads("[" * 900 + "]" * 900)
VALUES = st.one_of(
    SCALARS,
    st.just(DEEP),
    st.recursive(
        SCALARS,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(st.sampled_from((*INNER, "\ud800")), inner, max_size=3),
        ),
        max_leaves=6,
    ),
)
PARAMS = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3)
META = st.dictionaries(
    st.sampled_from(
        (
            "progressToken",
            revisions.META_CLIENT,
            revisions.META_CAPABILITIES,
            revisions.META_LOG_LEVEL,
            "other",
        )
    ),
    VALUES,
    max_size=3,
)


class Everything(AskingServer):
    """An asking server that has one of everything, and answers whatever else it is asked."""

    async def _answer(self, pipes: Pipes, message: Json, waiting: dict[object, asyncio.Future[Json]]) -> None:
        method = message["method"]
        features: Json = {
            "tools": {"listChanged": True}, "prompts": {}, "resources": {"subscribe": True}, "completions": {}, "logging": {},
            **({"extensions": {"org.example/x": {}}} if self.modern else {}),
        }  # fmt: skip
        found: dict[str, Json] = {
            "prompts/list": {"prompts": [{"name": "greet"}]},
            "resources/list": {"resources": [{"uri": "x://a", "name": "a"}]},
            "resources/templates/list": {"resourceTemplates": [{"uriTemplate": "x://t/{a}", "name": "t"}]},
            "resources/read": {
                "contents": [{"uri": "x://a", "text": "t"}],
                "ttlMs": 60_000,
                "cacheScope": "private",
            },
            "prompts/get": {"messages": []},
            "completion/complete": {"completion": {"values": []}},
        }
        if method in ("initialize", "server/discover") and (method == "initialize") is not self.modern:
            result: Json = (
                {"supportedVersions": [MODERN]} if self.modern else {"protocolVersion": "2025-11-25"}
            )
            result |= {"capabilities": features, "serverInfo": {"name": "everything", "version": "1"}}
        elif method in found or method.startswith(("x/", "resources/", "Tools")):
            result = found.get(method, {})
        else:
            await super()._answer(pipes, message, waiting)
            return
        stamp = self._stamp(cached=method.endswith(("/list", "discover")))
        self._say(pipes, {"jsonrpc": "2.0", "id": message["id"], "result": {**stamp, **result}})


class Gateway:
    """A gateway with a legacy and a modern server, and a client of each era, on a loop of its own."""

    def __init__(self, place: Path) -> None:
        self._runner = asyncio.Runner()
        self._runner.run(self._open(place))

    async def _open(self, place: Path) -> None:
        self.time = LoopTime()
        servers: Json = {"one": Everything(), "two": Everything(modern=True)}
        specs = (spec("one"), spec("two"))
        fleet = Setting(specs, servers, self.time)
        self.made = GatewaySetting(fleet, [EndpointSpec("/mcp", ("one", "two"))], place, "write")
        await self.made.begin()
        await self.made.listed("/mcp", "one__echo", "two__echo")
        view = self.made.endpoints["/mcp"]
        await until(lambda: len(view.view.of(Kind.TEMPLATE)) == len(view.view.of(Kind.PROMPT)) == 2)
        self.state = "none yet"
        self.legacy: Client = await self.made.client(capabilities={"elicitation": {}, "roots": {}})

    def ask(self, method: str, params: Json, meta: Json, *, modern: bool, notification: bool) -> Json | None:
        """Send what may be anything; give the message that came back, if one had to."""
        return self._runner.run(self._ask(method, params, meta, modern=modern, notification=notification))

    async def _ask(
        self, method: str, params: Json, meta: Json, *, modern: bool, notification: bool
    ) -> Json | None:
        body: Json = {"jsonrpc": "2.0", "method": method, "params": {**params, "_meta": meta}}
        if not notification:
            body["id"] = 7
        try:
            call = self._call(body, modern=modern)
        except Refusal:
            return None  # refused unread
        handled = asyncio.create_task(self.made.send(call))
        await self.time.settle()
        if not handled.done():  # some wait for what never comes
            handled.cancel()
        done, _ = await asyncio.wait([handled])
        if handled.cancelled():
            return None
        answer = done.pop().result().answer
        told: Json | None = json.loads(answer.body) if answer.body else None
        result = {} if told is None else told.get("result", {})
        self.state = result.get("requestState") or result.get("taskId") or self.state
        return told

    def _call(self, body: Json, *, modern: bool) -> Call:
        method = body["method"]
        if not modern:
            headers = {
                b"mcp-protocol-version": b"2025-11-25",
                b"mcp-session-id": self.legacy.session.encode(),
            }
        else:
            required = {revisions.META_VERSION: revisions.MODERN, revisions.META_CAPABILITIES: {}}
            body["params"]["_meta"] = {**required, **body["params"]["_meta"]}
            headers = {b"mcp-protocol-version": revisions.MODERN.encode(), b"mcp-method": method.encode()}
            named = next(
                (body["params"][key] for key in ("name", "uri", "taskId") if key in body["params"]), None
            )
            if isinstance(named, str):
                named = named.replace(STATE, self.state)
                headers[b"mcp-name"] = (
                    f"=?base64?{b64encode(named.encode(errors='replace')).decode()}?=".encode()
                )
        data = json.dumps(body).replace(STATE, self.state).encode()
        endpoint, who = self.made.endpoints["/mcp"], Credentials(b"ann", "192.0.2.1")
        call = Call("any", inbound.read(headers, decode_message(data)), endpoint, who, self.time())
        call.say = lambda _: True
        return call

    def close(self) -> None:
        """End, and see that nothing was left behind."""
        self._runner.run(self._close())
        self._runner.close()

    async def _close(self) -> None:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.made.close)
            await self.time.until(lambda: self.made.limits.in_flight == len(self.made.built.parked))
        self.made.check_journal()
        assert self.made.limits.in_flight == 0


def test_any_params_of_any_method_are_answered_and_leave_nothing_behind(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path / "journal")

    @settings(
        derandomize=True,
        deadline=None,
        database=None,
        max_examples=700,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(list(VALID)), PARAMS, META, st.booleans(), st.integers(0, 9))
    def ask(method: str, params: Json, meta: Json, modern: bool, chance: int) -> None:
        params = params if chance == 1 else {**VALID[method], **params}
        told = gateway.ask(method, params, meta, modern=modern, notification=not chance)
        if told is not None:
            assert told["jsonrpc"] == "2.0"
            assert ("result" in told) != ("error" in told)
            assert told.get("error", {}).get("code") != -32603, told

    try:
        ask()
    finally:
        gateway.close()
