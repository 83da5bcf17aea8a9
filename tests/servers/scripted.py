"""What the hand-written legacy servers answer, whatever carries it.

`Script` takes one JSON-RPC message and a way to send messages back. It knows revisions up to 2025-11-25 and
answers anything newer as such a server does. It does no I/O but through `send`. Standard library only.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Message = dict[str, Any]
Send = Callable[[Message], None]

REVISIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")


def options(description: str) -> argparse.ArgumentParser:
    """Give the options that every scripted server has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--name", default="scripted")
    parser.add_argument("--revision", default=REVISIONS[-1], choices=REVISIONS, help="newest one spoken")
    parser.add_argument("--tools", type=int, default=0, help="further tools, filler_0 …")
    parser.add_argument("--page", type=int, default=0, help="tools in a page of tools/list; 0 = all in one")
    parser.add_argument("--endless", action="store_true", help="tools/list always has one more page")
    parser.add_argument("--instructions", default="")
    parser.add_argument("--start-delay", type=float, default=0.0, help="seconds before anything is read")
    parser.add_argument("--late", type=float, default=0.0, help="seconds before each answer to tools/call")
    return parser


def schema(**properties: str) -> Message:
    """Give the inputSchema of a tool whose arguments are of these JSON types, all required."""
    return {
        "type": "object",
        "properties": {name: {"type": kind} for name, kind in properties.items()},
        "required": list(properties),
    }


class ToolFailed(Exception):
    """Answered as a result with isError."""


class Call:
    """One tools/call being worked on: its cancellation, and its progress token."""

    def __init__(self, message: Message, send: Send) -> None:
        self.id = message["id"]
        self.arguments: Message = message["params"].get("arguments") or {}
        self.token = (message["params"].get("_meta") or {}).get("progressToken")
        self.cancelled = threading.Event()
        self._send = send

    def progress(self, done: float, total: float) -> None:
        """Tell how far it is, where the caller asked for it."""
        if self.token is not None:
            params = {"progressToken": self.token, "progress": done, "total": total, "message": f"{done:g}"}
            self._send({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})


class Script:
    """The answers of one server process."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        self.chosen = chosen
        self.count = 0
        self.cancelled: list[Any] = []
        self.calls: dict[Any, Call] = {}
        self._lock = threading.Lock()
        self._tools: dict[str, tuple[Callable[[Call], Any], Message]] = {
            "echo": (lambda call: call.arguments["text"], schema(text="string")),
            "add": (
                lambda call: str(call.arguments["a"] + call.arguments["b"]),
                schema(a="number", b="number"),
            ),
            "slow": (self._slow, schema(seconds="number", steps="integer")),
            "big": (lambda call: "x" * int(call.arguments["size"]), schema(size="integer")),
            "counter": (self._counter, schema()),
            "raises": (self._raises, schema()),
            "protocol_error": (lambda call: None, schema()),
            "crash": (lambda call: os._exit(int(call.arguments.get("status", 3))), schema()),
            "cancelled": (lambda call: json.dumps(self.cancelled), schema()),
            "log": (self._log, schema(text="string")),
            "look": (look, schema()),
            "read": (
                lambda call: Path(call.arguments["path"]).read_text(errors="replace"),
                schema(path="string"),
            ),
            "write": (write, schema(path="string", text="string")),
            "connect": (connect, schema(address="string")),
        }
        for number in range(chosen.tools):
            self._tools[f"filler_{number}"] = (lambda call: "filler", schema(text="string"))

    def take(self, message: Message, send: Send) -> threading.Thread | None:
        """Answer one message through `send`; a tool runs in a thread of its own, which is given back."""
        method, has_id = message.get("method"), "id" in message
        if method == "notifications/cancelled":
            self._cancel(message["params"]["requestId"])
        if method is None or not has_id:
            return None
        if method == "tools/call":
            thread = threading.Thread(target=self._call, args=(message, send), daemon=True)
            thread.start()
            return thread
        send(self._answer(message, method))
        return None

    def _answer(self, message: Message, method: str) -> Message:
        params = message.get("params") or {}
        if method == "initialize":
            return result(message, self._initialize(params))
        if method == "ping":
            return result(message, {})
        if method == "tools/list":
            return self._list(message, params)
        return error(message, -32601, f"method not found: {method}")

    def _initialize(self, params: Message) -> Message:
        asked, newest = params.get("protocolVersion"), self.chosen.revision
        known = REVISIONS[: REVISIONS.index(newest) + 1]
        answer: Message = {
            "protocolVersion": asked if asked in known else newest,
            "capabilities": {"tools": {"listChanged": True}},
            "serverInfo": {"name": self.chosen.name, "version": "1.0"},
        }
        if self.chosen.instructions:
            answer["instructions"] = self.chosen.instructions
        return answer

    def _list(self, message: Message, params: Message) -> Message:
        names, size = list(self._tools), self.chosen.page
        try:
            start = int(params.get("cursor") or 0)
        except ValueError:
            return error(message, -32602, "unknown cursor")
        if self.chosen.endless:
            page = [self._tool("echo") | {"name": f"page_{start}"}]
            return result(message, {"tools": page, "nextCursor": str(start + 1)})
        end = start + size if size else len(names)
        answer: Message = {"tools": [self._tool(name) for name in names[start:end]]}
        if end < len(names):
            answer["nextCursor"] = str(end)
        return result(message, answer)

    def _tool(self, name: str) -> Message:
        return {"name": name, "description": f"The tool {name}.", "inputSchema": self._tools[name][1]}

    def _call(self, message: Message, send: Send) -> None:
        name = message["params"].get("name")
        if name not in self._tools:
            send(error(message, -32602, f"Unknown tool: {name}"))
            return
        call = Call(message, send)
        with self._lock:
            self.calls[call.id] = call
        try:
            answer = self._outcome(name, call, message)
        finally:
            with self._lock:
                self.calls.pop(call.id, None)
        if self.chosen.late:
            time.sleep(self.chosen.late)
        if not call.cancelled.is_set():
            send(answer)

    def _outcome(self, name: str, call: Call, message: Message) -> Message:
        if name == "protocol_error":
            return error(message, -32603, "this tool always ends in a protocol error", {"extra": [1, 2]})
        try:
            text, failed = self._tools[name][0](call), False
        except (ToolFailed, OSError, KeyError, TypeError, ValueError) as problem:
            text, failed = f"{type(problem).__name__}: {problem}", True
        return result(message, {"content": [{"type": "text", "text": text}], "isError": failed})

    def _cancel(self, request: Any) -> None:
        with self._lock:
            self.cancelled.append(request)
            call = self.calls.get(request)
        if call is not None:
            call.cancelled.set()

    def _slow(self, call: Call) -> str:
        steps = int(call.arguments.get("steps") or 1)
        for step in range(steps):
            call.progress(step, steps)
            if call.cancelled.wait(float(call.arguments["seconds"]) / steps):
                raise ToolFailed("cancelled")
        call.progress(steps, steps)
        return "slept"

    def _counter(self, call: Call) -> str:
        with self._lock:
            self.count += 1
            return str(self.count)

    def _raises(self, call: Call) -> str:
        raise ToolFailed("this tool always fails")

    def _log(self, call: Call) -> str:
        print(call.arguments["text"], file=sys.stderr, flush=True)
        return "logged"


def look(call: Call) -> str:
    """Tell as JSON what this process is and has: ids, environment, capabilities, limits, what it may see."""
    status = dict(
        line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line
    )
    kept = ("CapEff", "CapBnd", "NoNewPrivs", "Seccomp")
    return json.dumps({
        "pid": os.getpid(), "ppid": os.getppid(), "uid": os.getuid(), "gid": os.getgid(), "cwd": os.getcwd(),
        "groups": os.getgroups(), "environment": dict(os.environ), "root": sorted(os.listdir("/")),
        "interfaces": sorted(os.listdir("/sys/class/net")) if os.path.isdir("/sys/class/net") else None,
        "status": {key: status[key].strip() for key in kept if key in status},
    })  # fmt: skip


def write(call: Call) -> str:
    """Write a file."""
    Path(call.arguments["path"]).write_text(call.arguments["text"])
    return "written"


def connect(call: Call) -> str:
    """Open a connection to `host:port` or to a Unix socket's path."""
    address = call.arguments["address"]
    if address.startswith("/"):
        with socket.socket(socket.AF_UNIX) as unix:
            unix.settimeout(3)
            unix.connect(address)
    else:
        host, _, port = address.rpartition(":")
        socket.create_connection((host, int(port)), timeout=3).close()
    return "connected"


def result(message: Message, value: Message) -> Message:
    """Give the response with a result."""
    return {"jsonrpc": "2.0", "id": message["id"], "result": value}


def error(message: Message, code: int, text: str, data: Any = None) -> Message:
    """Give the response with an error."""
    problem: Message = {"code": code, "message": text}
    if data is not None:
        problem["data"] = data
    return {"jsonrpc": "2.0", "id": message.get("id"), "error": problem}
