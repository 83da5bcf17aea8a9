"""A server that answers as the documented REST API of OPA does, for the calls that the gateway makes.

After openpolicyagent.org/docs/rest-api (data API, policy API, errors). What is decided is a function of a test's.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

Json = dict[str, Any]
Decides = Callable[[Json], Any]
"""From the input to a document; None where it is undefined."""


def package(*names: str) -> list[Json]:
    """Give the path of a package, as trees have it."""
    return [{"type": "var", "value": "data"}, *({"type": "string", "value": name} for name in names)]


def tree(path: str, *references: str, rules: tuple[str, ...] = ("allow", "reads")) -> Json:
    """Give a tree of a policy that refers to some names, such as `data.grants` or `input.arguments.amount`."""

    def reference(text: str) -> Json:
        head, *keys = text.split(".")
        terms = [
            {"type": "var", "value": "x"} if key == "?" else {"type": "string", "value": key} for key in keys
        ]
        return {"type": "ref", "value": [{"type": "var", "value": head}, *terms]}

    body = [{"index": 0, "terms": reference(each)} for each in references]
    return {
        "package": {"path": package(*path.split("/"))},
        "rules": [
            {"head": {"name": name, "ref": [{"type": "var", "value": name}]}, "body": body} for name in rules
        ],
    }


@dataclass
class DocumentedOpa:
    """Its contents, and what it was asked."""

    documents: dict[str, Decides] = field(default_factory=dict[str, Decides])
    """By path."""
    policies: dict[str, tuple[str, Json]] = field(default_factory=dict[str, tuple[str, Json]])
    """By name: text, and tree."""
    data: dict[str, Any] = field(default_factory=dict[str, Any])
    """By path."""
    token: str = ""
    decisions: bool = False
    """Whether decisions have ids."""
    bundles: Mapping[str, Json] = field(default_factory=dict[str, Json])
    asked: list[str] = field(default_factory=list[str])
    inputs: list[Json] = field(default_factory=list[Json])
    answer: Callable[[web.Request], web.StreamResponse | None] | None = None
    """Gives what is answered in place of anything."""
    open: asyncio.Event = field(default_factory=asyncio.Event)
    """While it is clear, nothing is answered."""
    at_once: int = 0
    most_at_once: int = 0
    address: str = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        path = request.path.removeprefix("/v1/")
        self.asked.append(f"{request.method} {path}")
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            await self.open.wait()
            return self._answer(request, path, await request.read())
        finally:
            self.at_once -= 1

    def _answer(self, request: web.Request, path: str, body: bytes) -> web.StreamResponse:
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.json_response(
                {"code": "unauthorized", "message": "request rejected by policy"}, status=401
            )
        if self.answer is not None and (given := self.answer(request)) is not None:
            return given
        if (request.method, path) == ("GET", "policies"):
            listed = [{"id": name, "raw": raw, "ast": ast} for name, (raw, ast) in self.policies.items()]
            return web.json_response({"result": listed})
        kind, _, name = path.partition("/")
        if kind != "data":
            return web.json_response({"code": "resource_not_found", "message": "no"}, status=404)
        if request.method == "GET":
            return web.json_response({"result": self.data[name]} if name in self.data else {})
        assert request.headers["Content-Type"] == "application/json"
        return self._decided(request, name, json.loads(body)["input"])

    def _decided(self, request: web.Request, name: str, given: Json) -> web.Response:
        self.inputs.append(given)
        decides = self.documents.get(name)
        document = None if decides is None else decides(given)
        told: Json = {} if document is None else {"result": document}
        if self.decisions:
            told["decision_id"] = f"decision-{len(self.inputs)}"
        if "provenance" in request.query:
            told["provenance"] = {"version": "1.0.0", "bundles": self.bundles}
        return web.json_response(told)


@asynccontextmanager
async def documented_opa(
    opa: DocumentedOpa | None = None, *, socket: Path | None = None, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[DocumentedOpa]:
    """Serve one, on loopback or a socket."""
    opa = opa or DocumentedOpa()
    opa.open.set()
    app = web.Application(client_max_size=4 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", opa.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = (
        web.UnixSite(runner, str(socket))
        if socket is not None
        else web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    )
    await site.start()
    if socket is not None:
        opa.address = f"unix://{socket}"
    else:
        port = runner.addresses[0][1]
        opa.address = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    try:
        yield opa
    finally:
        opa.open.set()
        await runner.cleanup()
