"""The extension `io.modelcontextprotocol/tasks` (SEP-2663) of the conformance fixture, which the SDK has not.

A job does nothing while it is not looked at: what it has come to is worked out from the time since its making
and the answers it got.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import mcp_types as types
from conformance_call import Call, Context, Json, form, lacks, said
from mcp.server.lowlevel import Server
from mcp.server.subscriptions import SubscriptionBus
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

EXTENSION = "io.modelcontextprotocol/tasks"
_KEPT = 1000
"""Jobs kept; the oldest goes first."""
_TTL_MS = 600_000
_POLL_MS = 100
_HEADER_MISMATCH = -32020
_NEEDS: Json = {"extensions": {EXTENSION: {}}}


class _Named(types.RequestParams):
    task_id: str


class _Answered(_Named):
    input_responses: dict[str, Any]


def _stamp(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(slots=True)
class Job:
    """One task: it waits for answers, then takes its seconds, then has its outcome."""

    outcome: Json
    """`{"result": …}` or `{"error": …}`."""
    seconds: float = 0.0
    requests: dict[str, Json] = field(default_factory=dict)
    task_id: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    made: float = field(default_factory=time.time)
    moved: float = 0.0
    """When the last answer came, or the task was made."""
    cancelled: float | None = None

    def __post_init__(self) -> None:
        self.moved = self.made

    def status(self) -> str:
        """Tell what it has come to by now."""
        if self.cancelled is not None:
            return "cancelled"
        if self.requests:
            return "input_required"
        if time.time() < self.moved + self.seconds:
            return "working"
        return "failed" if "error" in self.outcome else "completed"

    def head(self) -> Json:
        """Give what every form of a task has."""
        status = self.status()
        ended = self.moved + self.seconds if status in ("completed", "failed") else self.moved
        return {
            "taskId": self.task_id,
            "status": status,
            "createdAt": _stamp(self.made),
            "lastUpdatedAt": _stamp(self.cancelled or ended),
            "ttlMs": _TTL_MS,
            "pollIntervalMs": _POLL_MS,
        }

    def detailed(self) -> Json:
        """Give it with what it waits for, or its outcome."""
        head = self.head()
        if head["status"] == "input_required":
            return {**head, "inputRequests": self.requests}
        return {**head, **self.outcome} if head["status"] in ("completed", "failed") else head

    def answer(self, responses: Json) -> None:
        """Take answers; those to nothing that is asked are dropped."""
        for key in responses.keys() & self.requests.keys():
            del self.requests[key]
            self.moved = time.time()

    def cancel(self) -> None:
        """End it, unless it has ended."""
        if self.status() in ("working", "input_required"):
            self.cancelled = time.time()


class Jobs:
    """The tasks there are, the tools that make them, and the methods to ask after them."""

    def __init__(self, bus: SubscriptionBus) -> None:
        self.bus = bus
        self.held: dict[str, Job] = {}

    def start(self, job: Job) -> Json:
        """Keep a task and give the result that names it."""
        self.held[job.task_id] = job
        while len(self.held) > _KEPT:
            del self.held[next(iter(self.held))]
        return {"resultType": "task", **job.head()}

    async def slow_compute(self, call: Call) -> Json:
        """Take some seconds; without the extension at once."""
        seconds = float(call.arguments.get("seconds", 0))
        result = said(f"computed {call.arguments.get('label', '')} in {seconds:g} s")
        if not call.extends(EXTENSION):
            return result
        return self.start(Job({"result": result}, seconds))

    async def failing_job(self, call: Call) -> Json:
        """Fail as a tool does; only as a task."""
        self._require(call)
        return self.start(Job({"result": {**said("the job failed"), "isError": True}}, 0.1))

    async def protocol_error_job(self, call: Call) -> Json:
        """Fail as a request does; only as a task."""
        self._require(call)
        return self.start(Job({"error": {"code": types.INTERNAL_ERROR, "message": "the job broke"}}, 0.1))

    async def confirm_delete(self, call: Call) -> Json:
        """Ask before it deletes: as a task, or in rounds."""
        name = call.arguments.get("filename", "?")
        return await self._asking(
            call, {"confirm": form(f"Delete {name}?", {"confirm": {"type": "boolean"}})}
        )

    async def multi_input(self, call: Call) -> Json:
        """Ask two things at once."""
        name = form("What is your name?", {"name": {"type": "string"}})
        return await self._asking(
            call, {"who": name, "sure": form("Sure?", {"confirm": {"type": "boolean"}})}
        )

    async def test_tool_with_task(self, call: Call) -> Json:
        """Ask in a round first, and become a task then."""
        self._require(call)
        answers = await call.ask(
            {"user_name": form("What is your name?", {"name": {"type": "string"}})}, "asked"
        )
        name = answers["user_name"].get("content", {}).get("name", "?")
        return self.start(Job({"result": said(f"Hello, {name}!")}, 0.1))

    async def _asking(self, call: Call, requests: dict[str, Json]) -> Json:
        if not call.extends(EXTENSION):
            await call.ask(requests)
            return said("done")
        return self.start(Job({"result": said("done")}, 0.1, dict(requests)))

    def _require(self, call: Call) -> None:
        if not call.extends(EXTENSION):
            raise lacks(_NEEDS)

    def _find(self, ctx: Context, params: _Named) -> Job:
        if ctx.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            raise MCPError(code=types.METHOD_NOT_FOUND, message="method not found")
        if ctx.request is not None and _decoded(ctx.request.headers.get("mcp-name")) != params.task_id:
            raise MCPError(code=_HEADER_MISMATCH, message="the header Mcp-Name is not the task's id")
        self._require(Call(ctx, types.InputResponseRequestParams(), self.bus))
        job = self.held.get(params.task_id)
        if job is None:
            raise MCPError(code=types.INVALID_PARAMS, message="no such task")
        return job

    async def get(self, ctx: Context, params: _Named) -> Json:
        """Give a task."""
        return self._find(ctx, params).detailed()

    async def update(self, ctx: Context, params: _Answered) -> Json:
        """Take answers to what a task asks."""
        self._find(ctx, params).answer(params.input_responses)
        return {}

    async def cancel(self, ctx: Context, params: _Named) -> Json:
        """End a task."""
        self._find(ctx, params).cancel()
        return {}

    def register(self, server: Server[Any]) -> None:
        """Put the methods in place and declare the extension."""
        server.extensions[EXTENSION] = {}
        server.add_request_handler("tasks/get", _Named, self.get)
        server.add_request_handler("tasks/update", _Answered, self.update)
        server.add_request_handler("tasks/cancel", _Named, self.cancel)


def _decoded(header: str | None) -> str | None:
    """Give a header's value as it was before it was made fit for a header."""
    if header is None or not (header.startswith("=?base64?") and header.endswith("?=")):
        return header
    try:
        return base64.b64decode(header[9:-2], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
