"""A gateway without its edge: pipeline, catalog, fleet and journal are real, servers are coroutines."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.unit.fleet.setting import Setting
from tidegate.access.authenticate import Authenticator
from tidegate.access.authorize import Grants
from tidegate.access.limits import CallLimits
from tidegate.access.quotas import Quotas
from tidegate.access.stops import Stops
from tidegate.audit.journal import Durability, Journal
from tidegate.audit.verify import verify
from tidegate.domain.endpoint import EndpointSpec
from tidegate.domain.errors import Unauthenticated
from tidegate.domain.principal import Principal
from tidegate.gateway.build import Given, build
from tidegate.gateway.call import Answer, Call
from tidegate.gateway.catalog import Catalog, Endpoint
from tidegate.gateway.definitions import DefinitionStore
from tidegate.ports.identity import Credentials, Vouched
from tidegate.protocol import inbound, revisions
from tidegate.protocol.codec import Object, decode_message, decode_value, encode
from tidegate.telemetry import Metrics
from tidegate.testing.scripted import until

Json = dict[str, Any]
KEY = bytes(range(32))
OPEN = Callable[..., Awaitable["GatewaySetting"]]


class Named:
    """An identity that takes a name for a credential; `revoke` makes it know a name no more."""

    def __init__(self) -> None:
        self.version = 1
        self.principals: Mapping[str, Principal] = {}
        """Whom it vouches for wholly, by name."""
        self.scopes: frozenset[str] | None = None
        """What tokens were issued for, where they were for anything."""
        self._revoked: set[str] = set()

    def revoke(self, name: str) -> None:
        self._revoked.add(name)
        self.version += 1

    async def authenticate(self, credentials: Credentials) -> Vouched | None:
        if credentials.authorization is None:
            return None
        name, _, role = credentials.authorization.decode().partition(":")
        if name in self._revoked or name == "bad":
            raise Unauthenticated("no such key")
        made = Principal("t", "test", name, frozenset({role or "user"}))
        return Vouched(self.principals.get(name, made), credential=f"k-{name}", scopes=self.scopes)


@dataclass
class Told:
    """What a client got."""

    answer: Answer
    notified: list[tuple[str, object]]

    @property
    def message(self) -> Json:
        """The JSON-RPC message."""
        whole: Json = json.loads(self.answer.body)
        return whole

    @property
    def error(self) -> Json:
        """Its error."""
        found: Json = self.message["error"]
        return found

    @property
    def result(self) -> Json:
        """Its result."""
        found: Json = self.message["result"]
        return found

    @property
    def text(self) -> str:
        """The text of a tool's result."""
        found: str = self.result["content"][0]["text"]
        return found


class GatewaySetting:
    """One gateway, and clients of both eras to it."""

    def __init__(
        self,
        fleet: Setting,
        endpoints: Sequence[EndpointSpec],
        place: Path,
        durability: Durability,
        grants: Grants | None = None,
    ) -> None:
        grants = grants or Grants()
        self.fleet = fleet
        self.time = fleet.time
        self.place = place
        self.metrics = Metrics()
        self.identity = Named()
        self.limits = CallLimits(in_all=100, each=10)
        self.journal = Journal.open(
            place, key=KEY, writer="0123456789abcdef", durability=durability, clock=fleet.now
        )
        self.endpoints = {each.path: Endpoint(each, grants.at(each)) for each in endpoints}
        self.catalog = Catalog(
            fleet.fleet, DefinitionStore(fleet.state), list(self.endpoints.values()), grants=grants
        )
        self._numbers = itertools.count(1)
        self.stops = Stops()
        self.quotas = Quotas(clock=fleet.time, now=fleet.now)
        self.built = build(
            Given(
                fleet.state, fleet.fleet, self.catalog, self.journal, Authenticator([self.identity], fleet.now),
                self.limits, self.metrics, {KEY[:4]: KEY}, KEY[:4], fleet.now, "test",
                lambda: f"new-{next(self._numbers)}", stops=self.stops, quotas=self.quotas,
            )
        )  # fmt: skip
        self.sessions, self.pipeline = self.built.sessions, self.built.pipeline

    async def begin(self) -> GatewaySetting:
        """Start, and wait until every server that can be is listed."""
        await self.catalog.open(self.fleet.specs)
        await self.built.subscriptions.open()
        self.fleet.fleet.begin()
        return self

    async def close(self) -> None:
        """End in order."""
        await self.built.close()
        await self.catalog.close()
        await self.fleet.fleet.close()
        self.journal.close()

    async def listed(self, path: str = "/mcp", *names: str) -> None:
        """Wait until an endpoint shows these tools."""
        view = self.endpoints[path]
        await until(lambda: set(names) <= view.view.by_name.keys())

    def call(self, headers: dict[bytes, bytes], body: Json, who: str | None, path: str = "/mcp") -> Call:
        """Make a call as the edge does."""
        read = inbound.read(headers, decode_message(json.dumps(body).encode()))
        credentials = Credentials(None if who is None else who.encode(), "192.0.2.1")
        return Call(f"call-{next(self._numbers)}", read, self.endpoints[path], credentials, self.time())

    async def modern(
        self,
        method: str,
        who: str | None = "ann",
        path: str = "/mcp",
        meta: Json | None = None,
        **params: Any,
    ) -> Told:
        """Send a modern request."""
        required = {revisions.META_VERSION: revisions.MODERN, revisions.META_CAPABILITIES: {}}
        headers = {b"mcp-protocol-version": revisions.MODERN.encode(), b"mcp-method": method.encode()}
        for mirrored in ("name", "uri", "taskId"):
            if mirrored in params:
                headers[b"mcp-name"] = str(params[mirrored]).encode()
        params["_meta"] = {**required, **(meta or {})}
        body = {"jsonrpc": "2.0", "id": next(self._numbers), "method": method, "params": params}
        return await self.send(self.call(headers, body, who, path))

    async def tool(self, name: str, who: str | None = "ann", path: str = "/mcp", **arguments: Any) -> Told:
        """Call a tool as a modern client."""
        return await self.modern("tools/call", who, path, name=name, arguments=arguments)

    async def send(self, call: Call) -> Told:
        """Have a call handled."""
        heard: list[tuple[str, object]] = []

        def notify(method: str, params: Object) -> None:
            heard.append((method, decode_value(encode(params))))

        call.notify = notify
        call.task = asyncio.current_task()
        return Told(await self.pipeline.handle(call), heard)

    async def client(self, who: str = "ann", path: str = "/mcp", **params: Any) -> Client:
        """Initialise a legacy client."""
        told = await Client(self, who, path, "").ask("initialize", protocolVersion="2025-11-25", **params)
        (session,) = [value.decode() for name, value in told.answer.headers if name == b"mcp-session-id"]
        return Client(self, who, path, session)

    def records(self, kind: str | None = None) -> list[Json]:
        """Give the journal's records, of one kind where one is named."""
        files = sorted(each for each in self.place.iterdir() if each.suffix == ".jsonl")
        found = [json.loads(line) for each in files for line in each.read_bytes().splitlines()]
        return [each for each in found if kind is None or each["kind"] == kind]

    def outcomes(self) -> list[str]:
        """Give the outcomes of calls, in order."""
        return [each["outcome"] for each in self.records("call.outcome")]

    def refusals(self) -> list[str]:
        """Give the reasons of refusals, in order."""
        return [each["reason"] for each in self.records("refused")]

    def check_journal(self) -> None:
        """See that the journal proves what it holds, and that every intent has its outcome."""
        verdict = verify(self.place, KEY)
        assert verdict.ok, verdict
        assert self.journal.open_intents == 0


@dataclass
class Client:
    """A legacy client with a session."""

    gateway: GatewaySetting
    who: str
    path: str
    session: str

    def request(self, method: str, params: Json, request_id: object) -> Call:
        """Make a request, or a notification with None."""
        headers = {b"mcp-protocol-version": b"2025-11-25"}
        if self.session:
            headers[b"mcp-session-id"] = self.session.encode()
        body: Json = {"jsonrpc": "2.0", "method": method, "params": params}
        if request_id is not None:
            body["id"] = request_id
        return self.gateway.call(headers, body, self.who, self.path)

    async def ask(self, method: str, request_id: object = 1, **params: Any) -> Told:
        """Send a request."""
        return await self.gateway.send(self.request(method, params, request_id))

    async def tool(self, name: str, request_id: object = 1, **arguments: Any) -> Told:
        """Call a tool."""
        return await self.ask("tools/call", request_id, name=name, arguments=arguments)
