"""The server of all features over stdio, of one era. Standard library only, so that it starts quickly.

python features_stdio.py legacy|modern
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from typing import Any

from features import INVALID, MODERN, OWN, UNSUPPORTED, Connection, Features, Message, Refused

LIMIT = 64 << 20


def send(message: Message) -> None:
    """Write one line, whole."""
    sys.stdout.buffer.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")
    sys.stdout.buffer.flush()


class Caller:
    """The client, as one request on the pipe sees it."""

    headers: Mapping[str, str] | None = None

    def __init__(self, pipe: Pipe, capabilities: Message, client_info: Message) -> None:
        self.capabilities, self.client_info = capabilities, client_info
        self.connection = None if pipe.features.modern else pipe.connection
        self.notify = pipe.tell
        self.request = pipe.ask


class Pipe:
    """The one connection of the process."""

    def __init__(self, features: Features) -> None:
        self.features = features
        self.connection = Connection(self.tell)
        self._asked = 0
        self._waiting: dict[Any, asyncio.Future[Message]] = {}
        self._running: dict[Any, asyncio.Task[None]] = {}

    async def tell(self, method: str, params: Message) -> None:
        """Send a notification."""
        send({"jsonrpc": "2.0", "method": method, "params": params})

    async def ask(self, method: str, params: Message) -> Message:
        """Send a request and wait for its answer."""
        self._asked += 1
        identity = f"server-{self._asked}"
        self._waiting[identity] = asyncio.get_running_loop().create_future()
        send({"jsonrpc": "2.0", "id": identity, "method": method} | ({"params": params} if params else {}))
        try:
            answer = await self._waiting[identity]
        finally:
            del self._waiting[identity]
        if "error" in answer:
            problem = answer["error"]
            raise Refused(problem["code"], f"the client refused: {problem['message']}", problem.get("data"))
        return answer["result"]

    def take(self, message: Message) -> None:
        """Take one message of the client's."""
        method, identity = message.get("method"), message.get("id")
        if method is None:
            waiting = self._waiting.get(identity)
            if waiting is not None and not waiting.done():
                waiting.set_result(message)
        elif identity is None:
            self._told(str(method), message.get("params") or {})
        else:
            self._running[identity] = asyncio.ensure_future(self._serve(identity, message))

    def _told(self, method: str, params: Message) -> None:
        if method == "notifications/cancelled" and params.get("requestId") in self._running:
            self._running[params["requestId"]].cancel()
        elif method == "notifications/roots/list_changed":
            self.connection.roots_changed += 1
        elif method == "notifications/initialized" and self.connection not in self.features.connections:
            self.features.connections.append(self.connection)

    async def _serve(self, identity: Any, message: Message) -> None:
        try:
            result = await self.features.answer(self._caller(message), message)
            send({"jsonrpc": "2.0", "id": identity, "result": result})
        except Refused as problem:
            send({"jsonrpc": "2.0", "id": identity, "error": problem.error()})
        except asyncio.CancelledError:
            pass  # a cancelled request has no answer, basic/patterns/cancellation
        finally:
            self._running.pop(identity, None)

    def _caller(self, message: Message) -> Caller:
        params = message.get("params") or {}
        if not self.features.modern:
            if message["method"] == "initialize":
                self.connection.client = params
            known = self.connection.client
            return Caller(self, known.get("capabilities", {}), known.get("clientInfo", {}))
        if message["method"] == "initialize":
            data = {"supported": [MODERN], "requested": params.get("protocolVersion")}
            raise Refused(UNSUPPORTED, "this server has no handshake", data)
        meta = params.get("_meta") or {}
        version, capabilities = meta.get(f"{OWN}protocolVersion"), meta.get(f"{OWN}clientCapabilities")
        if version is None or capabilities is None:
            raise Refused(INVALID, "the request lacks its _meta")
        if version != MODERN:
            raise Refused(UNSUPPORTED, "unsupported", {"supported": [MODERN], "requested": version})
        return Caller(self, capabilities, meta.get(f"{OWN}clientInfo", {}))


async def main(modern: bool) -> None:
    """Answer until standard input ends."""
    pipe = Pipe(Features(modern))
    reader = asyncio.StreamReader(limit=LIMIT)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    while line := await reader.readline():
        if line.strip():
            pipe.take(json.loads(line))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] == "modern"))
