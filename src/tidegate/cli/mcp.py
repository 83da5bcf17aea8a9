"""A small MCP client: the messages that the client commands send, and no more. What they ask is in `requests`.

Speaks 2026-07-28 without a session; to a server that is no gateway of ours, and is of the older era,
`initialize` and a session. It declares what its `Manner` says, and to the older era nothing, so that
nothing can be asked of it there. Everything is bounded: answers, waits.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import urlsplit

import aiohttp

import tidegate
from tidegate.cli.control import bounded
from tidegate.cli.output import say
from tidegate.domain.errors import TidegateError, UpstreamProtocolError
from tidegate.protocol import client, revisions
from tidegate.protocol.sse import EventParser

MAX_ANSWER = 64 * 1024 * 1024
MAX_SAID = 2000
"""Characters shown of a server's error."""

_NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
"""The requests that work is done for, and which parameter is repeated as `Mcp-Name` (2026-07-28, transports)."""

Params = dict[str, Any]
Notice = Callable[[str, Params], None]
"""Told of each notification: method and params."""
Answer = Callable[[Params], Awaitable[Params]]
"""Takes `inputRequests` and gives `inputResponses`. Raises `Unanswered` where there are none to give."""


class Unanswered(TidegateError):
    """What was asked cannot be answered. `told` is what the server is answered all the same."""

    def __init__(self, message: str, told: Params) -> None:
        super().__init__(message)
        self.told = told


@dataclass(frozen=True, slots=True)
class Manner:
    """What a client declares, wants to be told, and how it answers what it is asked."""

    capabilities: Params = field(default_factory=dict[str, Any])
    log: str | None = None
    """The least level of log messages, where they are wanted."""
    progress: bool = False
    notice: Notice | None = None
    answer: Answer | None = None


_HINTS = {
    revisions.CODE_MISSING_CAPABILITY: "; it asks for what only a user at a terminal, --answer or --root can give"
}


class CallError(TidegateError):
    """The server answered with a JSON-RPC error."""

    def __init__(self, error: Params) -> None:
        self.error = error
        self.code = error.get("code")
        hint = _HINTS.get(self.code, "") if isinstance(self.code, int) else ""
        said = str(error.get("message") or "the server refused")[:MAX_SAID]
        super().__init__(f"{' '.join(said.split())} (code {str(self.code)[:20]}){hint}")


class Client:
    """Speaks to one MCP endpoint, in the given manner."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, *, timeout: float, manner: Manner | None = None
    ) -> None:
        self._session = session
        self._url = url
        self._timeout = timeout
        self.manner = manner or Manner()
        self._headers: dict[str, str] = {}
        self._next = 0
        self._modern = True

    async def find_era(self) -> None:
        """Find out the server's era with `server/discover`, and initialise a session with an older one.

        Raises:
            TidegateError: it is no MCP server, or refuses.
        """
        self._next += 1
        params: Params = {"_meta": self._own_meta()}
        headers = {"MCP-Protocol-Version": revisions.MODERN, "Mcp-Method": "server/discover"}
        if _speaks_modern(await self._post(self._encode("server/discover", params), headers, strict=False)):
            return
        self._modern = False
        params = {"protocolVersion": revisions.LEGACY[0], "capabilities": {}, "clientInfo": _CLIENT_INFO}
        result = await self.request("initialize", params)
        revision = result.get("protocolVersion")
        if revision not in revisions.LEGACY:
            raise UpstreamProtocolError("the server chose a revision that is not one of ours")
        self._headers["MCP-Protocol-Version"] = str(revision)
        initialized = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        await self._post(json.dumps(initialized).encode(), {}, strict=False)
        theirs = result.get("capabilities")
        if self.manner.log is not None and isinstance(theirs, dict) and "logging" in theirs:
            await self.request("logging/setLevel", {"level": self.manner.log})

    async def request(self, method: str, params: Params, *, headers: dict[str, str] | None = None) -> Params:
        """Send a request and give its result.

        Raises:
            CallError: the server answered with an error.
            TidegateError: no answer came.
        """
        self._next += 1
        sent = dict(headers or {})
        if self.manner.progress and method in _NAMED:
            params = {**params, "_meta": {"progressToken": f"cli-{self._next}"}}
        if self._modern:
            params = {**params, "_meta": {**params.get("_meta", {}), **self._own_meta()}}
            sent |= {"MCP-Protocol-Version": revisions.MODERN, "Mcp-Method": method}
            if method in _NAMED:
                sent["Mcp-Name"] = client.header_value(params[_NAMED[method]]).decode("ascii")
        answer = _object(await self._post(self._encode(method, params), sent))
        if isinstance(answer.get("error"), dict):
            raise CallError(cast(Params, answer["error"]))
        if not isinstance(answer.get("result"), dict):
            raise UpstreamProtocolError("the answer has neither a result nor an error")
        return cast(Params, answer["result"])

    async def leave(self) -> None:
        """End the session with a server of the older era. What goes wrong no longer matters."""
        if "Mcp-Session-Id" not in self._headers:
            return
        try:
            async with asyncio.timeout(5), self._session.delete(self._url, headers=self._headers):
                pass
        except (aiohttp.ClientError, OSError, TimeoutError):
            pass

    def _own_meta(self) -> Params:
        log = {} if self.manner.log is None else {revisions.META_LOG_LEVEL: self.manner.log}
        return {
            revisions.META_VERSION: revisions.MODERN,
            revisions.META_CAPABILITIES: self.manner.capabilities,
            revisions.META_CLIENT: _CLIENT_INFO,
            **log,
        }

    def _encode(self, method: str, params: Params) -> bytes:
        return json.dumps({"jsonrpc": "2.0", "id": self._next, "method": method, "params": params}).encode()

    async def _post(self, body: bytes, headers: dict[str, str], *, strict: bool = True) -> bytes:
        # Not strict: any answer without a message counts as none, as it does while finding out the era.
        sent = {**self._headers, **headers, "Content-Type": "application/json"}
        sent["Accept"] = "application/json, text/event-stream"
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._session.post(self._url, data=body, headers=sent, allow_redirects=False) as response,
            ):
                session_id = response.headers.get("Mcp-Session-Id")
                if session_id and not self._modern:
                    self._headers["Mcp-Session-Id"] = session_id
                if response.content_type == "text/event-stream":
                    return await self._stream(response)
                answer = await bounded(response, MAX_ANSWER)
        except TimeoutError:
            raise TidegateError(f"no answer came within {self._timeout:g} s") from None
        if _is_message(answer) or not strict:
            return answer
        raise TidegateError(_said(response))

    async def _stream(self, response: aiohttp.ClientResponse) -> bytes:
        parser = EventParser(MAX_ANSWER)
        async for piece in response.content.iter_any():
            for event in parser.feed(piece):
                if not event.data:
                    continue
                message = _object(event.data)
                if "result" in message or "error" in message:
                    return event.data
                params = message.get("params")
                method = message.get("method")
                if self.manner.notice is not None and isinstance(method, str) and "id" not in message:
                    self.manner.notice(method, cast(Params, params) if isinstance(params, dict) else {})
            if parser.overflowed:
                raise UpstreamProtocolError(f"an event is larger than {MAX_ANSWER} bytes")
        raise TidegateError("the answer broke off before its end")


@asynccontextmanager
async def dial(url: str, key: str | None) -> AsyncGenerator[aiohttp.ClientSession]:
    """Open the way to a URL, with a key where there is one.

    Raises:
        TidegateError: it cannot be reached, or broke off.
    """
    from tidegate.settings.values import is_loopback

    headers = {"Authorization": f"Bearer {key}"} if key else {}
    shown = url.partition("?")[0]
    here = is_loopback(urlsplit(url).hostname or "")
    if key and not here and url.startswith("http://"):
        say(f"tidegate: the key goes to {shown} over plain HTTP, which others can read")
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
    try:
        # A proxy of the environment is for what is elsewhere: it must not get what is for this machine.
        async with aiohttp.ClientSession(headers=headers, timeout=timeout, trust_env=not here) as session:
            yield session
    except aiohttp.InvalidURL:
        raise TidegateError("the URL is none") from None
    except aiohttp.ClientConnectorError as error:
        number = error.os_error.errno  # negative where the name was not found, absent where TLS failed
        why = os.strerror(number) if number and number > 0 else "name not found" if number else "not trusted"
        raise TidegateError(f"{shown} cannot be reached: {why}") from None
    except (aiohttp.ClientError, ConnectionError) as error:
        raise TidegateError(f"{shown} broke off: {type(error).__name__}") from None


_CLIENT_INFO = {"name": "tidegate", "version": tidegate.__version__}


def _speaks_modern(answer: bytes) -> bool:
    # Only what no older server says makes it modern; older ones answer with all kinds of errors, or none.
    if not _is_message(answer):
        return False
    message = _object(answer)
    result, error = message.get("result"), message.get("error")
    if isinstance(result, dict):
        versions = cast(Params, result).get("supportedVersions")
        return isinstance(versions, list) and revisions.MODERN in versions
    if isinstance(error, dict) and cast(Params, error).get("code") in revisions.MODERN_ERRORS:
        raise CallError(cast(Params, error))
    return False


def _object(data: bytes) -> Params:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise UpstreamProtocolError("the answer is not JSON") from None
    if not isinstance(value, dict):
        raise UpstreamProtocolError("the answer is not a JSON object")
    return cast(Params, value)


def _is_message(data: bytes) -> bool:
    try:
        message = _object(data)
    except UpstreamProtocolError:
        return False
    return "jsonrpc" in message


def _said(response: aiohttp.ClientResponse) -> str:
    hint = {
        401: ": a key is needed (--key-file, or the variable TIDEGATE_KEY)",
        404: ": there is no such endpoint",
    }
    return f"the answer is not MCP: HTTP status {response.status}{hint.get(response.status, '')}"
