"""A real gateway as a child process, and the ways to talk to it. Nothing of it is replaced."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import yaml
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.servers.launch import argv

TIDEGATE = str(Path(sys.executable).with_name("tidegate"))
PATIENCE = 20.0
"""Seconds that a condition is waited for before the test fails: the machine may be busy."""
MODERN = "2026-07-28"
MODES = ("legacy", MODERN)

Json = dict[str, Any]


def server(name: str, *arguments: str, **settings: Any) -> Json:
    """Declare one of the test servers, unsandboxed so that it runs wherever the tests do."""
    return {"command": argv(name, *arguments), "unsandboxed": True, **settings}


class Gateway:
    """A gateway over a directory of its own; it can be killed and started again."""

    def __init__(self, place: Path, settings: Mapping[str, Any]) -> None:
        self.place = place
        self.config = place / "tidegate.yaml"
        self.state = place / ".tidegate"
        self.output = place / "output"
        self.config.write_text(yaml.safe_dump({"logs": {"format": "json"}, **settings}, sort_keys=False))
        self.process: subprocess.Popen[bytes] | None = None
        self.base = ""

    def start(self, port: int = 0) -> Gateway:
        """Start it and wait until its control socket answers."""
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [TIDEGATE, "serve", "--config", str(self.config), "--port", str(port)],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self.place,
            )  # fmt: skip
        self.base = str(self.until(lambda: self.status()["url"], "the gateway to answer"))
        return self

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        """Wait for a condition to hold, and give what it gave."""
        deadline = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if found := condition():
                    return found
            ended = self.process is not None and self.process.poll() is not None
            if ended or time.monotonic() > deadline:
                raise AssertionError(f"waited in vain for {what}; it said:\n{self.said()[-3000:]}")
            time.sleep(0.02)

    def until_servers(self, **states: str) -> Gateway:
        """Wait until servers are in these states, and every endpoint shows them so."""

        found: dict[str, Any] = {}

        def reached() -> bool:
            status = self.status()
            servers = {each["name"]: each for each in status["servers"]}
            found.update(servers)
            if any(servers[name]["state"] != state for name, state in states.items()):
                return False
            for endpoint in status["endpoints"]:
                missing = self.missing(endpoint["path"])
                for name in states.keys() & set(endpoint["servers"]):
                    if (name in missing) == (states[name] == "ready"):
                        return False
            return True

        try:
            self.until(reached, f"{states}")
        except AssertionError as error:
            raise AssertionError(f"{found}\n{error}") from error
        return self

    def said(self) -> str:
        """Give what it wrote to its output."""
        return self.output.read_text(errors="replace")

    def missing(self, path: str) -> Json:
        """Give the servers that an endpoint's list says are not there."""
        headers, body = Wire("", modern=True).request("tools/list", {}, 1)
        listed = self.ask(path, "POST", json.dumps(body), {**headers, "Content-Type": "application/json"})
        found: Json = listed["result"].get("_meta", {}).get("dev.tidegate/servers", {})
        return found

    def ask(self, path: str, method: str = "GET", body: str = "", headers: Mapping[str, str] = {}) -> Any:
        """Ask the control socket."""
        connection = http.client.HTTPConnection("localhost", timeout=5)
        connection.sock = socket.socket(socket.AF_UNIX)
        with contextlib.closing(connection):
            connection.sock.settimeout(5)
            connection.sock.connect(str(self.state / "control.sock"))
            connection.request(method, path, body, dict(headers))
            return json.loads(connection.getresponse().read())

    def status(self) -> Json:
        """Give `/v1/status`."""
        status: Json = self.ask("/v1/status")
        return status

    def server(self, name: str) -> Json:
        """Give what the status says of one server."""
        found: Json = next(each for each in self.status()["servers"] if each["name"] == name)
        return found

    def pids(self) -> set[int]:
        """Give the processes of servers that were started from this place and still run."""
        marker = str(self.state).encode()
        found: set[int] = set()
        for each in Path("/proc").iterdir():
            if each.name.isdecimal():
                with contextlib.suppress(OSError):
                    if b"TIDEGATE_TEST=" + marker in (each / "environ").read_bytes().split(b"\0"):
                        found.add(int(each.name))
        return found

    def url(self, path: str = "/mcp") -> str:
        """Give the URL of an endpoint."""
        return f"{self.base}{path}"

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command line on this gateway's settings."""
        return subprocess.run(
            [TIDEGATE, *arguments, "--config", str(self.config)],
            capture_output=True, text=True, timeout=30, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def kill(self) -> None:
        """End it as a crash does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> int:
        """End it in order, and give its status."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(25)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def records(self) -> list[Json]:
        """Give every record of the journal, in order."""
        files = sorted((self.state / "journal").iterdir())
        lines = [line for each in files if each.suffix == ".jsonl" for line in each.read_bytes().splitlines()]
        return [json.loads(line) for line in lines]

    def verify(self) -> None:
        """See that the journal proves what it holds."""
        done = self.command("audit", "verify")
        assert done.returncode == 0, done.stdout + done.stderr

    def check_end(self) -> None:
        """See that a stop was in order: status 0, nothing running, a sound journal, no fault in the log."""
        status = self.stop()
        assert status == 0, self.said()[-3000:]
        assert not self.pids()
        assert "Traceback" not in self.said(), self.said()[-5000:]
        assert '"supervisor.failed"' not in self.said()
        self.verify()


def marked(settings: Json, place: Path) -> Json:
    """Give every server of the settings a mark in its environment, by which its processes are found."""
    for each in settings.get("servers", {}).values():
        if "command" in each:
            each.setdefault("env", {})["TIDEGATE_TEST"] = str(place / ".tidegate")
    return settings


@asynccontextmanager
async def sdk(url: str, mode: str, key: str | None = None, **more: Any) -> AsyncGenerator[Client]:
    """Connect the official client, with an API key where one is given."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(headers=headers, timeout=30, verify=False) as http:
        transport = streamable_http_client(url, http_client=http)
        async with Client(transport, mode=mode, read_timeout_seconds=30, cache=None, **more) as client:
            yield client


@dataclass
class Answered:
    """An HTTP answer, with the JSON-RPC message in it."""

    status: int
    headers: Mapping[str, str]
    message: Json


@dataclass
class Wire:
    """A client of exact messages, of either era."""

    url: str
    modern: bool = False
    key: str | None = None
    session: str | None = None
    count: int = 0
    more: dict[str, str] = field(default_factory=dict[str, str])
    offer: Json = field(default_factory=dict[str, Any])
    """Capabilities that a modern request declares."""

    async def open(self) -> Wire:
        """Initialise, as a legacy client does."""
        params = {
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "wire", "version": "1"},
        }  # fmt: skip
        answered = await self.ask("initialize", params)
        assert answered.status == 200, answered
        self.session = answered.headers["mcp-session-id"]
        return self

    def request(self, method: str, params: Json, request_id: Any) -> tuple[dict[str, str], Json]:
        """Give headers and body of a request in its era's dress."""
        headers = {"Accept": "application/json, text/event-stream", **self.more}
        if self.key is not None:
            headers["Authorization"] = f"Bearer {self.key}"
        if self.session is not None:
            headers["Mcp-Session-Id"] = self.session
            headers["MCP-Protocol-Version"] = "2025-11-25"
        if self.modern:
            meta = {
                "io.modelcontextprotocol/protocolVersion": MODERN,
                "io.modelcontextprotocol/clientCapabilities": self.offer,
            }
            params = {**params, "_meta": {**params.get("_meta", {}), **meta}}
            headers |= {"MCP-Protocol-Version": MODERN, "Mcp-Method": method}
            if "name" in params:
                headers["Mcp-Name"] = params["name"]
        body: Json = {"jsonrpc": "2.0", "method": method, "params": params}
        if request_id is not None:
            body["id"] = request_id
        return headers, body

    async def ask(self, method: str, params: Json | None = None) -> Answered:
        """Send a request and give its answer, whichever form it has."""
        self.count += 1
        return await self.send(method, params or {}, self.count)

    async def send(self, method: str, params: Json, request_id: Any) -> Answered:
        """Send a request with an id of the test's, or a notification with None."""
        headers, body = self.request(method, params, request_id)
        async with httpx2.AsyncClient(timeout=30, verify=False) as http:
            got = await http.post(self.url, json=body, headers=headers)
        return Answered(got.status_code, got.headers, read_answer(got))

    async def call(self, tool: str, arguments: Json | None = None) -> Json:
        """Call a tool and give the JSON-RPC answer."""
        answered = await self.ask("tools/call", {"name": tool, "arguments": arguments or {}})
        return answered.message

    async def text(self, tool: str, arguments: Json | None = None) -> str:
        """Call a tool and give the text it answers with."""
        message = await self.call(tool, arguments)
        assert "result" in message, message
        found: str = message["result"]["content"][0]["text"]
        return found

    async def tools(self) -> Json:
        """List the first page, and give the result."""
        result: Json = (await self.ask("tools/list")).message["result"]
        return result


def read_answer(got: httpx2.Response) -> Json:
    """Give the last message of an answer, from JSON or from an event stream."""
    if not got.content:
        return {}
    if got.headers["content-type"].startswith("text/event-stream"):
        data = [line[6:] for line in got.text.splitlines() if line.startswith("data: ")]
        message: Json = json.loads(data[-1])
        return message
    whole: Json = got.json()
    return whole


async def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait for a condition to hold while the loop goes on, and give what it gave."""
    deadline = time.monotonic() + PATIENCE
    while True:
        if found := await asyncio.to_thread(condition):
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain for {what}")
        await asyncio.sleep(0.02)


def running(pid: int) -> bool:
    """Tell whether a process runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
