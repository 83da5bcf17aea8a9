"""A legacy MCP server over HTTP+SSE, the transport of revision 2024-11-05, exactly scripted.

`GET /sse` opens the stream, whose first event names where to POST; answers come on the stream. It says
`URL http://…/sse` on stdout when it listens. `POST /control/drop` closes every stream, for tests.
Standard library only.

    python legacy_sse.py [--port 0] [--absolute] …
"""

from __future__ import annotations

import argparse
import json
import queue
import secrets
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from scripted import Message, Script, options


class Server(ThreadingHTTPServer):
    """Its open streams by session."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, chosen: argparse.Namespace) -> None:
        super().__init__((chosen.host, chosen.port), Exchange)
        self.chosen = chosen
        self.script = Script(chosen)
        self.streams: dict[str, queue.Queue[Message | None]] = {}


class Exchange(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        """Open a stream and keep it until the client goes or it is dropped."""
        if self.path != "/sse":
            self._plain(404, b"not found")
            return
        session = secrets.token_hex(16)
        waiting: queue.Queue[Message | None] = queue.Queue()
        self.server.streams[session] = waiting
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("cache-control", "no-cache")
        self.send_header("connection", "close")
        self.end_headers()
        base = f"http://{self.headers['host']}" if self.server.chosen.absolute else ""
        try:
            self._event("endpoint", f"{base}/messages?session={session}")
            while (message := self._next(waiting)) is not None:
                self._event("message", json.dumps(message))
        except OSError:
            pass
        finally:
            del self.server.streams[session]
            self.close_connection = True

    def do_POST(self) -> None:
        """Take one message, whose answer goes on the stream."""
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.path == "/control/drop":
            for waiting in list(self.server.streams.values()):
                waiting.put(None)
            self._plain(200, b"dropped")
            return
        at = urlsplit(self.path)
        stream = self.server.streams.get(parse_qs(at.query).get("session", [""])[0])
        if at.path != "/messages" or stream is None:
            self._plain(404, b"Could not find session")
            return
        self._plain(202, b"Accepted")
        self.server.script.take(json.loads(body), stream.put)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _next(self, waiting: queue.Queue[Message | None]) -> Message | None:
        while True:
            try:
                return waiting.get(timeout=1.0)
            except queue.Empty:
                self.wfile.write(b": still here\n\n")  # fails when the client has gone

    def _event(self, name: str, data: str) -> None:
        self.wfile.write(f"event: {name}\r\ndata: {data}\r\n\r\n".encode())
        self.wfile.flush()

    def _plain(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Serve until ended."""
    parser = options(__doc__ or "")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--absolute", action=argparse.BooleanOptionalAction, default=False)
    chosen = parser.parse_args()
    server = Server(chosen)
    print(f"URL http://{chosen.host}:{server.server_address[1]}/sse", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
