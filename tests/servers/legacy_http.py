"""A legacy MCP server over Streamable HTTP (2025-03-26 to 2025-11-25), exactly scripted.

It says `URL http://…` on stdout when it listens. `POST /control/forget` makes it forget all its sessions,
`GET /control/seen` tells what it was sent (method, session, headers), both for tests. A modern request gets
what such servers answer: 400 without a session. Standard library only.

    python legacy_http.py [--port 0] [--answers json|sse] [--sessions|--no-sessions] [--forget-after N] …
"""

from __future__ import annotations

import argparse
import json
import queue
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from scripted import Message, Script, options

END = None


class Server(ThreadingHTTPServer):
    """Its sessions, and what it saw."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, chosen: argparse.Namespace) -> None:
        super().__init__((chosen.host, chosen.port), Exchange)
        self.chosen = chosen
        self.script = Script(chosen)
        self.sessions: dict[str, int] = {}
        self.seen: list[Message] = []

    def known(self, session: str | None) -> bool:
        """Whether a session lives; counts its request, and forgets it when it had its number."""
        if session not in self.sessions:
            return False
        self.sessions[session] += 1
        if 0 < self.chosen.forget_after < self.sessions[session]:
            del self.sessions[session]
            return False
        return True


class Exchange(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_POST(self) -> None:
        """Take one message."""
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.path == "/control/forget":
            self.server.sessions.clear()
            self._plain(200, b"{}")
            return
        if self.path != "/mcp":
            self._plain(404, b'{"error":"not found"}')
            return
        try:
            message = json.loads(body)
        except ValueError:
            self._plain(400, b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"parse error"}}')
            return
        session = self.headers.get("mcp-session-id")
        self._saw(message, session)
        if message.get("method") != "initialize" and self.server.chosen.sessions:
            if session is None:
                self._problem(400, "Bad Request: no session id")
                return
            if not self.server.known(session):
                self._problem(404, "Session not found")
                return
        self._take(message)

    def do_GET(self) -> None:
        """Tell what was seen; there is no stream to open otherwise."""
        if self.path == "/control/seen":
            self._plain(200, json.dumps(self.server.seen).encode())
        else:
            self._plain(405, b"", {"allow": "POST, DELETE"})

    def do_DELETE(self) -> None:
        """End a session."""
        self._saw({"method": "DELETE"}, self.headers.get("mcp-session-id"))
        known = self.server.sessions.pop(self.headers.get("mcp-session-id") or "", None) is not None
        self._plain(200 if known else 404, b"")

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _take(self, message: Message) -> None:
        if "method" not in message or "id" not in message:
            self.server.script.take(message, lambda answer: None)
            self._plain(202, b"")
            return
        answers: queue.Queue[Message | None] = queue.Queue()
        thread = self.server.script.take(message, answers.put)
        watcher = threading.Thread(target=lambda: (thread and thread.join(), answers.put(END)), daemon=True)
        watcher.start()
        extra: dict[str, str] = {}
        if message["method"] == "initialize" and self.server.chosen.sessions:
            session = secrets.token_hex(16)
            self.server.sessions[session] = 0
            extra["mcp-session-id"] = session
        if self.server.chosen.answers == "sse":
            self._stream(answers, extra)
        else:
            self._one(message, answers, extra)

    def _one(self, message: Message, answers: queue.Queue[Message | None], extra: dict[str, str]) -> None:
        while (answer := answers.get()) is not END:
            if answer.get("id") == message["id"]:
                self._plain(200, json.dumps(answer).encode(), extra)
                return
        self.close_connection = True  # cancelled: there is no answer to give

    def _stream(self, answers: queue.Queue[Message | None], extra: dict[str, str]) -> None:
        self.send_response(200)
        for name, value in {
            "content-type": "text/event-stream",
            "transfer-encoding": "chunked",
            **extra,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            while (answer := answers.get()) is not END:
                event = f"event: message\ndata: {json.dumps(answer)}\n\n".encode()
                self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True  # the client went away, which for a legacy server means nothing

    def _saw(self, message: Message, session: str | None) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        seen = {"method": message.get("method"), "params": message.get("params"), "session": session}
        self.server.seen.append({**seen, "headers": headers})
        del self.server.seen[:-1000]

    def _problem(self, status: int, text: str) -> None:
        body = {"jsonrpc": "2.0", "id": None, "error": {"code": -32000, "message": text}}
        self._plain(status, json.dumps(body).encode())

    def _plain(self, status: int, body: bytes, extra: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (extra or {}).items():
            self.send_header(name, value)
        if body:
            self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Serve until ended."""
    parser = options(__doc__ or "")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--answers", choices=("json", "sse"), default="json")
    parser.add_argument("--sessions", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument(
        "--forget-after", type=int, default=0, help="requests after which a session is forgotten"
    )
    chosen = parser.parse_args()
    server = Server(chosen)
    print(f"URL http://{chosen.host}:{server.server_address[1]}/mcp", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
