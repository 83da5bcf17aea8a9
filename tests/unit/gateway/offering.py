"""A server of either era that offers what a test says, and a catalog over such servers without a pipeline."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from tests.unit.fleet.setting import Setting, spec
from tidegate.access.authorize import Authorizer
from tidegate.domain.endpoint import EndpointSpec
from tidegate.domain.principal import Principal
from tidegate.domain.server import Health, Sharing
from tidegate.domain.target import Kind
from tidegate.gateway.catalog import Catalog
from tidegate.gateway.definitions import LISTS, DefinitionStore
from tidegate.gateway.endpoint import Endpoint
from tidegate.protocol.capabilities import Offer
from tidegate.testing.fake_runtime import Pipes
from tidegate.testing.loop_time import LoopTime
from tidegate.testing.scripted import until

Json = dict[str, Any]
UNPROBED = Health(every=0)
"""What servers are asked is counted here, and nothing else is to be."""
USER = Principal("t", "key", "ann", frozenset({"user"}))
EVERYTHING: Json = {"tools": {}, "prompts": {}, "resources": {}}
_BY_METHOD = {form.method: kind for kind, form in LISTS.items()}


class Offering:
    """A server. What it is asked for its lists is counted."""

    def __init__(
        self,
        capabilities: Json = EVERYTHING,
        *,
        modern: bool = False,
        hints: Json | None = None,
        **lists: Sequence[str | Json],
    ) -> None:
        """`lists`: names, URIs, or whole definitions of `tools`, `prompts`, `resources`, `resourceTemplates`."""
        self.capabilities = capabilities
        self.modern = modern
        self.hints = hints or {}
        """Further fields of each list."""
        self.lists: dict[str, Sequence[str | Json]] = dict(lists)
        self.raw: dict[str, bytes] = {}
        """Methods that are answered with these very bytes as the result."""
        self.errors: dict[str, int] = {}
        """Methods that are answered with an error of this code."""
        self.mute: set[str] = set()
        """Methods that are not answered."""
        self.endless: set[str] = set()
        """Methods whose lists have always one more page."""
        self.for_forms: Sequence[str | Json] | None = None
        """Its tools for clients that show forms, where they are others."""
        self.own: dict[str, Sequence[str | Json]] = {}
        """Its tools where it runs as the workload of an id, where they are others."""
        self.held: list[tuple[Pipes, Json]] | None = None
        """Requests for lists that wait for `release`, while it is a list."""
        self.told: list[Json] = []
        """Client capabilities of each handshake."""
        self.asked: list[str] = []
        self._pipes: list[Pipes] = []
        self._forms: dict[str, bool] = {}

    def notify(self, method: str, workload: str = "") -> None:
        """Send a notification from every workload, or from one."""
        for pipes in self._pipes:
            if workload in ("", pipes.identity.id):
                self._say(pipes, {"jsonrpc": "2.0", "method": method})

    def release(self) -> None:
        """Answer what was held, and hold nothing more."""
        held, self.held = self.held or [], None
        for pipes, message in held:
            self._answer(pipes, message)

    def count(self, method: str) -> int:
        """Give how often a method was asked for."""
        return self.asked.count(method)

    async def __call__(self, pipes: Pipes) -> int:
        """Run one workload."""
        self._pipes.append(pipes)
        self._forms[pipes.identity.id] = False
        reading = asyncio.create_task(self._read(pipes))
        await pipes.closing.wait()
        reading.cancel()
        await asyncio.wait([reading])
        self._pipes.remove(pipes)
        return 0

    async def _read(self, pipes: Pipes) -> None:
        while True:
            line = await pipes.line()
            if line.strip():
                message: Json = json.loads(line)
                self.asked.append(message["method"])
                if "id" in message and message["method"] not in self.mute:
                    self._answer(pipes, message)

    def _answer(self, pipes: Pipes, message: Json) -> None:
        method, head = message["method"], {"jsonrpc": "2.0", "id": message["id"]}
        if self.held is not None and method in _BY_METHOD:
            self.held.append((pipes, message))
            return
        if method in self.raw:
            pipes.out(
                b'{"jsonrpc":"2.0","id":%b,"result":%b}\n'
                % (json.dumps(head["id"]).encode(), self.raw[method])
            )
            return
        params = message.get("params") or {}
        if method == "initialize":
            self.told.append(params["capabilities"])
            self._forms[pipes.identity.id] = "elicitation" in params["capabilities"]
        result = self._result(method, params, pipes.identity.id)
        if method in self.errors or result is None:
            self._say(pipes, {**head, "error": {"code": self.errors.get(method, -32601), "message": "no"}})
        else:
            self._say(pipes, {**head, "result": result})

    def _result(self, method: str, params: Json, workload: str) -> Json | None:
        info = {"name": "offering", "version": "1"}
        if method == "server/discover" and self.modern:
            return {
                "resultType": "complete",
                "supportedVersions": ["2026-07-28"],
                "capabilities": self.capabilities,
            }
        if method == "initialize" and not self.modern:
            return {"protocolVersion": "2025-11-25", "capabilities": self.capabilities, "serverInfo": info}
        if method not in _BY_METHOD:
            return {} if method in ("ping", "subscriptions/listen") else None
        form = LISTS[_BY_METHOD[method]]
        given = self.lists.get(form.key, ())
        if self._forms[workload] and form.key == "tools" and self.for_forms is not None:
            given = self.for_forms
        if form.key == "tools":
            given = self.own.get(workload, given)
        items = [{form.name: each} if isinstance(each, str) else each for each in given]
        if method in self.endless:
            at = int(params.get("cursor") or 0)
            return {form.key: [{form.name: f"x:{at}"}], "nextCursor": str(at + 1)}
        return {form.key: items, **self.hints}

    def _say(self, pipes: Pipes, message: Json) -> None:
        pipes.out(json.dumps(message).encode() + b"\n")


class Cataloged:
    """A catalog over offering servers."""

    def __init__(self, servers: dict[str, Any], time: LoopTime, **more: Any) -> None:
        sharing = more.pop("sharing", Sharing.PRINCIPAL)
        specs = [spec(name, sharing=sharing, health=UNPROBED) for name in servers]
        self.names = tuple(servers)
        endpoints = more.pop("endpoints", None) or [EndpointSpec("/mcp", self.names)]
        options = {key: more.pop(key) for key in ("one_principal",) if key in more}
        self.fleet = Setting(specs, servers, time, **more)
        self.time = time
        self.endpoints = {each.path: Endpoint(each, Authorizer(each)) for each in endpoints}
        self.endpoint = next(iter(self.endpoints.values()))
        self.catalog = Catalog(
            self.fleet.fleet,
            DefinitionStore(self.fleet.state),
            list(self.endpoints.values()),
            chance=lambda: 0.5,
            **options,
        )
        self.changes: list[tuple[str, Kind]] = []
        self.catalog.changed = lambda path, kind: self.changes.append((path, kind))
        self.own_changes: list[tuple[str, Kind, str, str]] = []
        self.catalog.changed_own = lambda *change: self.own_changes.append(change)

    async def begin(self) -> Cataloged:
        """Start."""
        await self.catalog.open(self.fleet.specs)
        self.fleet.fleet.begin()
        return self

    async def close(self) -> None:
        """End in order."""
        await self.catalog.close()
        await self.fleet.fleet.close()

    async def listed(self, kind: Kind, *names: str) -> None:
        """Wait until the first endpoint shows these."""
        await until(lambda: set(names) <= self.shown(kind))

    def shown(self, kind: Kind) -> set[str]:
        """Give what the first endpoint shows of a kind."""
        return set(self.endpoint.view.of(kind))

    def offered(self, offer: Offer, who: Principal = USER, session: str = "") -> list[str]:
        """Give the tools that a client is shown that offers something."""
        found = self.endpoint.list(Kind.TOOL, who, None, modern=False, offer=offer, session=session)
        listed = json.loads(found)
        return [each["name"] for each in listed["tools"]]

    def result(
        self, kind: Kind, who: Principal = USER, *, modern: bool = True, cursor: str | None = None
    ) -> Json:
        """Give a list as a client gets it."""
        found: Json = json.loads(self.endpoint.list(kind, who, cursor, modern=modern))
        return found

    def missing(self, kind: Kind) -> Json:
        """Give what a list says of servers that are missing."""
        found: Json = self.result(kind).get("_meta", {}).get("dev.tidegate/servers", {})
        return found
