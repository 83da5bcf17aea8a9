"""What the tests of the command line share: running it, and a gateway's control socket of the tests' own.

The double speaks the documented control API and strict stateless MCP; it must decide nothing else.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from typer.testing import CliRunner

from tidegate.cli.app import app

STATUS: dict[str, Any] = {
    "version": "0.1.0",
    "instance": "0123456789abcdef",
    "pid": 1,
    "url": "http://127.0.0.1:8080",
    "ready": True,
    "draining": False,
    "started": 1,
    "endpoints": [{"path": "/mcp", "servers": ["time", "vessels"], "names": "prefixed", "later": True}],
    "servers": [
        {
            "name": "time", "state": "ready", "reason": None, "runtime": "docker", "transport": "stdio",
            "launch": "package pypi:mcp-server-time 2026.10.19", "sharing": "principal", "tools": 2, "retry_in": None,
            "replicas": {"ready": 2, "wanted": 2, "min": 1, "max": 4}, "in_flight": 3, "waiting": 1, "p50": 0.0042,
            "p95": 1.25, "restarts": 2, "memory": 734003200, "image": "time:1 " + "feed" * 16, "since": 1, "rollout": None,
            "workloads": [
                {"id": "tg-time-0a0a0a0a", "state": "ready", "in_flight": 1, "calls": 7, "restarts": 2, "started": 1,
                 "health": "healthy", "health_reason": None, "usage": {"memory": 367001600, "cpu_seconds": 1.5, "pids": 4},
                 "facts": {"image": "x", "limits": "memory, cpus, pids", "sandbox": "container"}}
            ],
        },
        {
            "name": "vessels", "state": "failed", "reason": "image \x1b[31mnot found", "runtime": "docker", "transport": "http",
            "launch": "image [bold]x", "sharing": "shared", "tools": 0, "retry_in": 30, "workloads": [],
        },
    ],
}  # fmt: skip


ADVICE: list[dict[str, Any]] = [
    {
        "server": "time", "looks": 40, "killed": 1, "memory": 268435456, "memory_p95": 41943040,
        "memory_highest": 62914560, "memory_advised": 402653184, "cpus": 1.0, "cpus_p95": 0.2, "cpus_advised": 0.25,
        "reason": "memory because 1 were killed for want of it; processors by what was used", "changes": True,
    },
    {"server": "vessels", "looks": 3, "memory": 268435456, "cpus": 1.0, "reason": "looked at 3 times, 20 are needed"},
]  # fmt: skip


SIGNALS: list[dict[str, Any]] = [
    {"signal": "gale", "on": True, "until": None, "servers": []},
    {"signal": "sale", "on": True, "until": 1_800_000_000, "servers": ["time"]},
    {"signal": "storm", "on": False, "until": None, "servers": ["time", "ves\x1b[2Jsels"]},
]


DETAIL: dict[str, Any] = {
    **STATUS["servers"][0],
    "demand": {"calls": 40, "failures": 2, "errors": 1, "wait": 0.5},
    "versions": [
        {"digest": "aaaa", "current": True, "share": 0.9, "calls": 30, "failures": 0, "errors": 1, "p95": 0.02},
        {"digest": "bbbb", "current": False, "share": 0.1, "calls": 3, "failures": 2, "errors": 0, "p95": None},
    ],
    "history": [{"time": 1.0, "workload": "tg-time-0a0a0a0a", "state": "failed", "reason": "exit \x1b[31m3"}],
}  # fmt: skip
EVENTS = (
    b'id: b-1\nevent: workload\ndata: {"time": 1, "server": "time", "workload": "w", "state": "ready"}\n\n'
    b": \n\n"
    b'id: b-2\nevent: admin\ndata: {"time": 2, "server": "time", "event": "restart", "reason": "a\\u001b[2Jb"}\n\n'
)


@dataclass
class Ran:
    """What a command did."""

    status: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


def run(*arguments: str, given: str | None = None, env: dict[str, str] | None = None) -> Ran:
    wide = {"COLUMNS": "200", "TIDEGATE_KEY": "", "TIDEGATE_CONFIG": "", **(env or {})}
    result = CliRunner().invoke(app, list(arguments), input=given, env=wide)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ran(result.exit_code, result.stdout, result.stderr)


async def run_beside(*arguments: str, given: str | None = None, env: dict[str, str] | None = None) -> Ran:
    """Run a command while this loop serves it."""
    return await asyncio.to_thread(run, *arguments, given=given, env=env)


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory whose path is short enough for a Unix socket."""
    path = Path(tempfile.mkdtemp(prefix="tg-"))
    yield path
    shutil.rmtree(path)


@dataclass
class Gateway:
    """A control socket that answers as it is told."""

    state: Path
    status: Any = field(default_factory=lambda: STATUS)
    asked: list[web.Request] = field(default_factory=list[web.Request])
    bodies: list[Any] = field(default_factory=list[Any])
    """Of what was to be done."""
    rollouts: list[Any] = field(default_factory=list[Any])
    signals: list[Any] = field(default_factory=lambda: list(SIGNALS))
    records: bool = True
    """Whether it can record what commands change."""
    done: bool = True
    looks: int | None = None
    """How many more statuses it gives before it is gone."""
    mcp: Callable[[web.Request, dict[str, Any]], Awaitable[web.StreamResponse]] | None = None

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        if request.path == "/v1/status":
            if self.looks == 0:
                raise web.HTTPServiceUnavailable
            self.looks = None if self.looks is None else self.looks - 1
            return web.json_response(self.status)
        if request.path == "/v1/events":
            return web.Response(body=EVENTS, content_type="text/event-stream")
        if request.path.startswith("/v1/servers/"):
            return await self._server(request)
        if request.path == "/v1/rollouts":
            asked = request.query.get("server")
            found = [each for each in self.rollouts if asked in (None, each["server"])]
            return web.json_response({"rollouts": found})
        if request.path.startswith("/v1/rollouts/"):
            self.bodies.append((request.path.removeprefix("/v1/rollouts/"), await request.json()))
            return web.json_response({})
        if request.path == "/v1/signals":
            return web.json_response({"signals": self.signals})
        if request.path.startswith("/v1/signals/"):
            return await self._signal(request)
        if request.path == "/v1/changes":
            return await self._change(request)
        if request.path.startswith("/v1/advice"):
            return self._advice(request)
        if request.path.startswith("/v1/logs/"):
            return await self._logs(request)
        if request.method == "POST" and self.mcp is not None:
            return await self.mcp(request, await request.json())
        return web.json_response({"error": f"no {request.method} {request.path} here"}, status=404)

    async def _server(self, request: web.Request) -> web.StreamResponse:
        name, _, what = request.path.removeprefix("/v1/servers/").partition("/")
        if name != "time":
            return web.json_response({"error": f"no server {name!r} (known: time)"}, status=404)
        if not what:
            return web.json_response(DETAIL)
        self.bodies.append((what, await request.json()))
        return web.json_response({"server": STATUS["servers"][0], "done": self.done})

    async def _signal(self, request: web.Request) -> web.StreamResponse:
        name, asked = request.path.removeprefix("/v1/signals/"), await request.json()
        if name != "storm":
            told = f"no server is told by a signal {name!r} (known: sale, storm)"
            return web.json_response({"error": told}, status=404)
        self.bodies.append((name, asked))
        until = None if asked["seconds"] is None else 1_800_000_000
        return web.json_response({"signal": name, "on": asked["on"], "until": until, "servers": ["time"]})

    async def _change(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(("changes", await request.json()))
        if not self.records:
            told = "nothing was done, since it cannot be recorded: its disk is full"
            return web.json_response({"error": told}, status=503)
        return web.json_response({"recorded": True})

    def _advice(self, request: web.Request) -> web.StreamResponse:
        name = request.path.removeprefix("/v1/advice").removeprefix("/")
        if not name:
            return web.json_response({"advice": ADVICE})
        if name != "time":
            return web.json_response({"error": f"nothing else is recommended for server {name}"}, status=409)
        applied = [
            {"workload": "tg-time-1", "live": True, "reason": None},
            {
                "workload": "tg-time-2",
                "live": False,
                "reason": "runtime process cannot change it: by rollout",
            },
        ]
        return web.json_response({"advice": ADVICE[0], "applied": applied})

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        name = request.path.rpartition("/")[2]
        if name != "time":
            return web.json_response({"error": f"no server {name!r} (known: time)"}, status=404)
        lines = ["one", "tw\x1b[2Jo", "drei: \u00e9"][-int(request.query["lines"]) :]
        response = web.StreamResponse(headers={"content-type": "text/plain"})
        await response.prepare(request)
        for byte in "".join(line + "\n" for line in lines).encode():
            await response.write(bytes([byte]))
        return response


@pytest.fixture
async def gateway(short: Path) -> AsyncIterator[Gateway]:
    """A gateway that runs, as far as the command line can see."""
    told = Gateway(short)
    served = web.Application()
    served.router.add_route("*", "/{path:.*}", told.answer)
    runner = web.AppRunner(served, access_log=None)
    await runner.setup()
    await web.UnixSite(runner, str(short / "control.sock")).start()
    yield told
    await runner.cleanup()
