"""The bytes that are sent, and what counts as an answer. No I/O.

Arguments differ in every call. An answer counts only when it is the answer to this request, holds a result
without isError, and says the very text that was sent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from urllib.parse import urlsplit

import msgspec

PROTOCOL = "io.modelcontextprotocol"
_PLACE = "the-token"
PADDING = "the quick brown fox jumps over the lazy dog, "


class Era(StrEnum):
    """`LEGACY` opens a session with `initialize`; `MODERN` is stateless."""

    LEGACY = "legacy"
    MODERN = "modern"

    @property
    def revision(self) -> str:
        """The protocol revision that is spoken."""
        return "2025-06-18" if self is Era.LEGACY else "2026-07-28"


class Content(msgspec.Struct):
    """One block of a tool's result."""

    type: str
    text: str = ""


class Result(msgspec.Struct):
    """What is read of a result."""

    content: list[Content] = []
    isError: bool = False


class Problem(msgspec.Struct):
    """What is read of an error."""

    code: int = 0
    message: str = ""


class Answer(msgspec.Struct):
    """What is read of a response."""

    id: int | str | None = None
    result: Result | None = None
    error: Problem | None = None


class Tool(msgspec.Struct):
    """What is read of a tool."""

    name: str


class Listed(msgspec.Struct):
    """What is read of a page of tools."""

    tools: list[Tool] = []
    nextCursor: str | None = None


class ListAnswer(msgspec.Struct):
    """What is read of the response to tools/list."""

    result: Listed | None = None
    error: msgspec.Raw = msgspec.Raw()


class Progress(msgspec.Struct):
    """What is read of a notification of progress."""

    progressToken: int | str | None = None
    progress: float = 0


class Note(msgspec.Struct):
    """What is read of a notification."""

    method: str = ""
    params: Progress = msgspec.field(default_factory=Progress)


decode = msgspec.json.Decoder(Answer).decode
decode_note = msgspec.json.Decoder(Note).decode
decode_list = msgspec.json.Decoder(ListAnswer).decode


@dataclass(frozen=True, slots=True)
class Target:
    """Where the load goes."""

    url: str
    tool: str = "echo"
    token: str | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.url)
        return parts.hostname or "127.0.0.1", parts.port or 80


class Requests:
    """Makes the requests of one connection to a target, in one era."""

    def __init__(self, target: Target, era: Era, connection: int) -> None:
        self.target = target
        self.era = era
        self.connection = connection
        self._head = b""
        self._meta = b""
        self._bare = b""
        if era is Era.MODERN:
            meta = {
                f"{PROTOCOL}/protocolVersion": era.revision,
                f"{PROTOCOL}/clientCapabilities": {},
                f"{PROTOCOL}/clientInfo": {"name": "bench", "version": "1"},
            }
            self._meta = b',"_meta":' + msgspec.json.encode(meta)
        self.in_session(None)

    def in_session(self, session: str | None) -> None:
        """Fix the headers that every request carries from now on."""
        parts = urlsplit(self.target.url)
        lines = [
            f"POST {parts.path} HTTP/1.1",
            f"Host: {parts.netloc}",
            "Content-Type: application/json",
            "Accept: application/json, text/event-stream",
        ]
        if self.target.token:
            lines.append(f"Authorization: Bearer {self.target.token}")
        if session:
            lines.append(f"Mcp-Session-Id: {session}")
        if session or self.era is Era.MODERN:
            lines.append(f"MCP-Protocol-Version: {self.era.revision}")
        self._head = "\r\n".join(lines).encode()
        name = f"\r\nMcp-Method: tools/call\r\nMcp-Name: {self.target.tool}" if self.era is Era.MODERN else ""
        self._call_head = self._head + name.encode() + b"\r\nContent-Length: %d\r\n\r\n%s"
        self._end = b"DELETE" + self._head.removeprefix(b"POST") + b"\r\n\r\n"
        self._call_body = (
            b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"'
            + self.target.tool.encode()
            + b'","arguments":{"text":"%s","amount":%d,"urgent":false}'
            + self._meta
            + b"}}"
        )

    def speak_for(self, token: str) -> None:
        """Have the next requests be another principal's. Of the modern era only: a session is one principal's."""
        if self._bare == b"":
            self.target = replace(self.target, token=_PLACE)
            self.in_session(None)
            self._bare = self._call_head
        self._call_head = self._bare.replace(_PLACE.encode(), token.encode())

    def words(self, number: int) -> str:
        """Give the argument of a call; no two are alike."""
        return f"{self.connection}-{number}: {PADDING}{number * 2654435761 % 4294967296:08x}"

    def call(self, number: int, words: str) -> bytes:
        """Give a whole request of tools/call."""
        body = self._call_body % (number, words.encode(), number)
        return self._call_head % (len(body), body)

    def stream(self, number: int, words: str) -> bytes:
        """Give a whole request of tools/call that asks to be told of its progress."""
        tool = self.target.tool.removesuffix("echo") + "stream"
        name = f"\r\nMcp-Method: tools/call\r\nMcp-Name: {tool}" if self.era is Era.MODERN else ""
        meta = msgspec.json.decode(self._meta[len(b',"_meta":') :]) if self._meta else {}
        params = {"name": tool, "arguments": {"text": words}, "_meta": {**meta, "progressToken": number}}
        message = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
        body = msgspec.json.encode(message)
        return self._head + name.encode() + b"\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

    def end_session(self) -> bytes:
        """Give the request that ends the session."""
        return self._end

    def initialize(self) -> bytes:
        """Give the first request of a session."""
        params = {
            "protocolVersion": self.era.revision,
            "capabilities": {},
            "clientInfo": {"name": "bench", "version": "1"},
        }
        return self._other({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})

    def initialized(self) -> bytes:
        """Give the notification that ends the handshake."""
        return self._other({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def list_tools(self, cursor: str | None = None) -> bytes:
        """Give a request for a page of tools."""
        params: dict[str, object] = {"cursor": cursor} if cursor else {}
        return self._other({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": params})

    def ping(self, number: int) -> bytes:
        """Give a request that asks for nothing. Of the legacy era only."""
        return self._other({"jsonrpc": "2.0", "id": number, "method": "ping"})

    def _other(self, message: dict[str, object]) -> bytes:
        head = self._head
        params = message.get("params")
        if self.era is Era.MODERN and isinstance(params, dict):
            message["params"] = params | msgspec.json.decode(b"{" + self._meta[1:] + b"}")
            head += f"\r\nMcp-Method: {message['method']}".encode()
        body = msgspec.json.encode(message)
        return head + b"\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def unframed(body: bytes) -> bytes:
    """Give the JSON of a response that may have come as one SSE stream: its last `data:` line."""
    if body[:1] == b"{":
        return body
    lines = [line[5:].strip() for line in body.splitlines() if line.startswith(b"data:")]
    return lines[-1] if lines else body


def fault(status: int, body: bytes, number: int, words: str) -> str | None:
    """Say what is wrong with the response to a call, or None where it is right."""
    try:
        answer = decode(unframed(body))
    except msgspec.DecodeError as problem:
        return f"status {status}, no JSON-RPC ({problem}): {body[:100].decode(errors='replace')}"
    if answer.error is not None:
        return f"status {status}, error {answer.error.code}: {answer.error.message[:200]}"
    if answer.id != number:
        return f"answer to request {answer.id} instead of {number}"
    if answer.result is None or answer.result.isError:
        return f"tool error: {body[:200].decode(errors='replace')}"
    if status != 200:
        return f"status {status} with a result"
    if not answer.result.content or answer.result.content[0].text != words:
        return "the words of another call, or none"
    return None
