"""A listener of the real kind on loopback, before a gateway of coroutines, and a client of exact bytes."""

from __future__ import annotations

import asyncio
import itertools
import json
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.unit.gateway.setting import KEY, GatewaySetting
from tidegate.access.stop_store import StopStore
from tidegate.access.stops import Following
from tidegate.assemble.known import KnownHere
from tidegate.domain.errors import SettingsError
from tidegate.edge.admin import open_api
from tidegate.edge.admin.auditing import Auditing
from tidegate.edge.admin.door import Actor, Door
from tidegate.edge.admin.explaining import Explaining
from tidegate.edge.admin.feed import Feed
from tidegate.edge.admin.operations import Operations
from tidegate.edge.admin.parts import Parts
from tidegate.edge.admin.shapes import AboutShape
from tidegate.edge.admin.stopping import Stopping
from tidegate.edge.admin.views import Views
from tidegate.edge.app import App
from tidegate.edge.connection import HttpBounds
from tidegate.edge.control import Control
from tidegate.edge.guard import Guard
from tidegate.edge.listener import Listener, Tls
from tidegate.edge.mcp import McpEdge
from tidegate.edge.probes import Probes
from tidegate.edge.reloads import SettingsShape
from tidegate.extensions.identity.local import local_principal
from tidegate.gateway.explain import Explainer
from tidegate.gateway.seal import Seal
from tidegate.ports.identity import Vouched
from tidegate.ports.runtime import Usage
from tidegate.protocol import revisions

PATIENCE = 5.0
ABOUT: AboutShape = {
    "version": "test", "instance": "", "pid": 0, "url": "", "ready": True, "draining": False, "started": 0,
    "in_flight": 0,
    "settings": {
        "version": 1, "since": 0, "by": "start", "file": "", "in_place_of_the_file": False, "problems": [],
    },
}  # fmt: skip
CRLF = b"\r\n"


class EdgeSetting:
    """A gateway that listens on a port and on a socket."""

    def __init__(self, gateway: GatewaySetting, place: Path) -> None:
        self.gateway = gateway
        self.time = gateway.time
        self.socket = place / "control.sock"
        self.stopped = 0
        self.refusing: str | None = None
        self.reloads = Settled()
        self.usages: dict[str, Usage] = {}
        self.listener: Listener
        self.private: Listener
        self._ids = (f"id-{number}" for number in itertools.count(1))

    async def open(self, *, body: int = 1 << 20, tls: Tls | None = None) -> EdgeSetting:
        """Listen."""
        made = self.gateway
        edge = self._edge(body, None)
        fleet = made.fleet.fleet
        probes = Probes(fleet, made.metrics, lambda: {"tidegate_connections": 1}, lambda: self.refusing)
        pages = {"/healthz": probes.healthz, "/readyz": probes.readyz, "/metrics": probes.metrics}
        self.parts = self._parts()
        guard = Guard(listen_host="127.0.0.1")
        self.door = Door(
            made.pipeline, lambda: guard, lambda: open_api(self.parts), resources=lambda: edge.resources
        )
        app = App(edge, pages, {"/api/": self.door})
        self.listener = Listener(app, bounds=HttpBounds(body), tls=tls)
        await self.listener.open_tcp("127.0.0.1", 0)
        self.port = self.listener.port
        operator = Vouched(local_principal())
        own = Door(made.pipeline, lambda: guard, lambda: open_api(self.parts), operator)
        control = Control(fleet, self.parts, Actor(local_principal(), "control"), self._stop)
        self.private = Listener(
            App(self._edge(body, Vouched(local_principal())), pages, {"/api/": own, "/v1/": control}),
            bounds=HttpBounds(body),
        )
        await self.private.open_unix(self.socket)
        return self

    def _parts(self) -> Parts:
        made = self.gateway
        fleet, now = made.fleet.fleet, made.fleet.now
        feed = Feed("boot", now)
        feed.hear(fleet, made.journal)
        views = Views(fleet, made.catalog, made.metrics, now, lambda: self.usages)
        operations = Operations(fleet, made.journal, feed, self.reloads)
        numbers = itertools.count(1)
        store = StopStore(made.fleet.state, clock=now, new_id=lambda: f"stop{next(numbers)}")
        stopping = Stopping(Following(store, made.stops), operations, made.catalog)
        explainer = Explainer(made.endpoints, made.stops, made.quotas)
        known = KnownHere(made.fleet.state, made.pipeline.seen)
        explaining = Explaining(explainer, known, made.place, operations.record)
        return Parts(
            lambda: ABOUT,
            views,
            operations,
            feed,
            stopping,
            made.quotas,
            explaining,
            Auditing(made.place, operations.record, Seal({KEY[:4]: KEY}, KEY[:4], now)),
            lambda: made.catalog.tenants,
        )

    def _stop(self) -> None:
        self.stopped += 1

    def _edge(self, body: int, operator: Vouched | None) -> McpEdge:
        made = self.gateway
        return McpEdge(
            made.pipeline, made.endpoints, Guard(listen_host="127.0.0.1"),
            new_id=lambda: next(self._ids), operator=operator,
            streams=made.built.streams, open_stream=made.pipeline.open_stream,
        )  # fmt: skip

    async def close(self) -> None:
        """Stop listening."""
        self.parts.feed.close()
        await self.listener.close(1.0)
        await self.private.close(1.0)
        await self.parts.operations.close()

    async def connect(self, context: ssl.SSLContext | None = None) -> Wire:
        """Open a connection."""
        name = None if context is None else "localhost"
        return Wire(*await asyncio.open_connection("127.0.0.1", self.port, ssl=context, server_hostname=name))

    async def control(self) -> Wire:
        """Open a connection to the control socket."""
        return Wire(*await asyncio.open_unix_connection(str(self.socket)))

    async def post(self, body: object, **headers: str) -> Got:
        """Send one POST on a connection of its own."""
        wire = await self.connect()
        try:
            return await wire.post(body, **headers)
        finally:
            await wire.close()


class Settled:
    """Settings that are as they are: told, and asked for by those whose names are kept."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.asked: list[str] = []
        self.number = 1

    def about(self) -> SettingsShape:
        return ABOUT["settings"]

    async def reload(self, who: str) -> dict[str, object]:
        self.asked.append(who)
        if self.problems:
            raise SettingsError(self.problems)
        return {**self.about(), "changes": {"added": ["three"]}}

    async def rollback(self, number: int, who: str) -> dict[str, object]:
        self.asked.append(f"{who} to {number}")
        return {**self.about(), "changes": {}}

    async def versions(self) -> list[dict[str, object]]:
        about = self.about()
        return [
            {"version": 1, "time": 1.0, "by": about["by"], "file": about["file"], "settings": "feed", "changes": {},
             "in_place_of_the_file": False}
        ]  # fmt: skip


@dataclass
class Got:
    """An answer."""

    status: int
    headers: dict[str, str]
    body: bytes
    events: list[bytes] = field(default_factory=list[bytes])
    """Of an event stream: each block, as it came."""

    @property
    def json(self) -> Any:
        """Its JSON; of an event stream, that of the last event."""
        if self.events:
            return json.loads(self.events[-1].removeprefix(b"data: "))
        return json.loads(self.body)


def event(block: bytes) -> tuple[str, Any]:
    """Read an event: its id and its message."""
    fields = dict(line.split(": ", 1) for line in block.decode().rstrip("\n").split("\n"))
    return fields.get("id", ""), json.loads(fields["data"]) if fields["data"] else None


def modern(method: str, request_id: object = 1, **params: Any) -> tuple[dict[str, str], dict[str, Any]]:
    """Give headers and body of a modern request."""
    meta = {
        revisions.META_VERSION: revisions.MODERN,
        revisions.META_CAPABILITIES: {},
        **params.pop("meta", {}),
    }
    headers = {"MCP-Protocol-Version": revisions.MODERN, "Mcp-Method": method}
    if "name" in params:
        headers["Mcp-Name"] = params["name"]
    return headers, {
        "jsonrpc": "2.0",
        "id": request_id,
        "method": method,
        "params": {**params, "_meta": meta},
    }


def tool(name: str, request_id: object = 1, **arguments: Any) -> tuple[dict[str, str], dict[str, Any]]:
    """Give headers and body of a modern tools/call."""
    return modern("tools/call", request_id, name=name, arguments=arguments)


def raw_post(body: object, headers: dict[str, str] | None = None, path: str = "/mcp") -> bytes:
    """Encode a POST."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    whole = {
        "Host": "127.0.0.1", "Authorization": "ann", "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream", "Content-Length": str(len(data)), **(headers or {}),
    }  # fmt: skip
    lines = [f"{name}: {value}" for name, value in whole.items() if value != "-"]
    return "\r\n".join([f"POST {path} HTTP/1.1", *lines, "", ""]).encode("latin-1") + data


class Wire:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def post(self, body: object, **headers: str) -> Got:
        """Send a POST and read its answer."""
        await self.send(raw_post(body, {name.replace("_", "-"): value for name, value in headers.items()}))
        return await self.read()

    async def get(self, path: str, method: str = "GET") -> Got:
        """Send a request without a body and read its answer."""
        await self.send(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        return await self.read()

    async def listen(self, session: str, last: str | None = None, **headers: str) -> Got:
        """Open a session's stream, and read the head of the answer."""
        whole = {
            "Host": "127.0.0.1", "Authorization": "ann", "Accept": "text/event-stream",
            "MCP-Protocol-Version": "2025-11-25", "Mcp-Session-Id": session, **headers,
        }  # fmt: skip
        if last is not None:
            whole["Last-Event-ID"] = last
        lines = [f"{name}: {value}" for name, value in whole.items() if value != "-"]
        await self.send("\r\n".join(["GET /mcp HTTP/1.1", *lines, "", ""]).encode("latin-1"))
        return await self.head()

    async def head(self) -> Got:
        """Read the head of an answer."""
        async with asyncio.timeout(PATIENCE):
            head = await self.reader.readuntil(CRLF * 2)
        line, *lines = head.decode("latin-1").rstrip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)}
        return Got(int(line.split(" ")[1]), headers, b"")

    async def read(self) -> Got:
        """Read an answer."""
        got = await self.head()
        async with asyncio.timeout(PATIENCE):
            if "content-length" in got.headers:
                got.body = await self.reader.readexactly(int(got.headers["content-length"]))
            elif got.headers.get("transfer-encoding") == "chunked":
                while chunk := await self.chunk():
                    got.body += chunk
            else:
                got.body = await self.reader.read()
        if got.headers.get("content-type", "").startswith("text/event-stream"):
            got.events = [block for block in got.body.split(b"\n\n") if block]
        return got

    async def chunk(self) -> bytes:
        """Read one chunk; empty at the end."""
        async with asyncio.timeout(PATIENCE):
            size = int(await self.reader.readuntil(CRLF), 16)
            return (await self.reader.readexactly(size + 2))[:-2]

    async def ended(self) -> bytes:
        """Read until the other side closes."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""

    async def close(self) -> None:
        """Close the connection."""
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except (ConnectionError, ssl.SSLError):
            pass
