"""The cheapest MCP server over lines that the standard library can be, both eras; it runs in any Python image.

It reads and writes file descriptors in blocks and takes `echo`'s words out of the line without parsing the
whole. It is there to be far faster than what is measured, and for nothing else.
"""

import json
import os
import re
from typing import Any

TEXT = re.compile(rb'"arguments":\{"text":("(?:[^"\\]|\\.)*")')
IDENTITY = re.compile(rb'"id":("(?:[^"\\]|\\.)*"|-?\d+)')
CALL = b'"method":"tools/call"'
PROTOCOL = "io.modelcontextprotocol"
SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
TOOLS = [{"name": "echo", "description": "Say it again.", "inputSchema": SCHEMA}]
INFO = {"name": "bench-upstream", "version": "1"}
ANSWER = b'{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":%s}],"isError":false,"resultType":"complete"}}\n'


def call(line: bytes) -> bytes:
    """Answer a call from the bytes of its line where they look as expected, else from its parsed form."""
    identity, text = IDENTITY.findall(line), TEXT.findall(line)
    if len(identity) == 1 and len(text) == 1:
        return ANSWER % (identity[0], text[0])
    message = json.loads(line)
    words = json.dumps(message["params"]["arguments"]["text"]).encode()
    return ANSWER % (json.dumps(message["id"]).encode(), words)


def answer(line: bytes) -> bytes:
    """Give the line that answers a line; empty for a notification."""
    if CALL in line:
        return call(line)
    message = json.loads(line)
    if "id" not in message:
        return b""
    value = result(message.get("method"), message.get("params") or {})
    unknown = {"error": {"code": -32601, "message": "method not found"}}
    whole = {"jsonrpc": "2.0", "id": message["id"], **(unknown if value is None else {"result": value})}
    return json.dumps(whole, separators=(",", ":")).encode() + b"\n"


def result(method: str, params: dict[str, Any]) -> dict[str, Any] | None:
    """Give the result of anything but a call; None for an unknown method."""
    fresh = {"ttlMs": 60_000, "cacheScope": "public", "resultType": "complete"}
    capabilities = {"tools": {}}
    if method == "initialize":
        return {
            "protocolVersion": params["protocolVersion"],
            "capabilities": capabilities,
            "serverInfo": INFO,
        }
    if method == "server/discover":
        meta = {f"{PROTOCOL}/serverInfo": INFO}
        return {"supportedVersions": ["2026-07-28"], "capabilities": capabilities, "_meta": meta, **fresh}
    if method == "tools/list":
        return {"tools": TOOLS, **fresh}
    return {} if method == "ping" else None


def main() -> None:
    """Answer until standard input ends."""
    rest = b""
    while block := os.read(0, 1 << 18):
        *lines, rest = (rest + block).split(b"\n")
        out = b"".join([answer(line) for line in lines if line.strip()])
        while out:
            out = out[os.write(1, out) :]


if __name__ == "__main__":
    main()
