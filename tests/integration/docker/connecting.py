"""An MCP server of nothing but the standard library, whose one tool connects: over its pipes, or HTTP (`http`).

connecting.py [http]
"""

from __future__ import annotations

import http.server
import json
import socket
import sys
from typing import Any

TOOL = {
    "name": "connect",
    "inputSchema": {
        "type": "object",
        "properties": {"host": {"type": "string"}, "port": {"type": "integer"}},
    },
}


def connect(host: str, port: int) -> str:
    try:
        with socket.create_connection((host, port), 10) as opened:
            opened.sendall(b"hello")
            return "got " + opened.recv(100).decode()
    except OSError as error:
        return error.__class__.__name__


def result(method: str, params: dict[str, Any]) -> dict[str, Any] | None:
    if method == "initialize":
        about = {"name": "connecting", "version": "1"}
        return {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": about}
    if method == "tools/list":
        return {"tools": [TOOL]}
    if method == "tools/call":
        return {"content": [{"type": "text", "text": connect(**params["arguments"])}]}
    return {} if method == "ping" else None


def answer(line: bytes) -> bytes | None:
    asked = json.loads(line)
    if "id" not in asked:
        return None
    said = result(asked["method"], asked.get("params") or {})
    rest = {"result": said} if said is not None else {"error": {"code": -32601, "message": "no such method"}}
    return json.dumps({"jsonrpc": "2.0", "id": asked["id"], **rest}).encode()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        said = answer(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(202 if said is None else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(said or b"")))
        self.end_headers()
        self.wfile.write(said or b"")

    def do_GET(self) -> None:
        self.send_error(405)

    do_DELETE = do_GET


if __name__ == "__main__":
    if sys.argv[1:] == ["http"]:
        http.server.ThreadingHTTPServer(("", 8000), Handler).serve_forever()
    for line in sys.stdin.buffer:
        said = answer(line)
        if said is not None:
            print(said.decode(), flush=True)
