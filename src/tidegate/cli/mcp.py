"""A small MCP client: what `tidegate tools` and `tidegate call` need, and no more.

Speaks 2026-07-28 without a session; to a server that is no gateway of ours, and is of the older era,
`initialize` and a session. Declares no capabilities, so nothing can be asked of it. Everything is
bounded: answers, pages, waits.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
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
MAX_PAGES = 1000
MAX_TOOLS = 100_000

Params = dict[str, Any]
Notice = Callable[[str, Params], None]
"""Told of each notification: method and params."""


class CallError(TidegateError):
    """The server answered with a JSON-RPC error."""

    def __init__(self, error: Params) -> None:
        self.error = error
        self.code = error.get("code")
        super().__init__(f"{error.get('message') or 'the server refused'} (code {self.code})")


class Client:
    """Speaks to one MCP endpoint. `notice` is told of progress and log messages."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, *, timeout: float, notice: Notice | None = None
    ) -> None:
        self._session = session
        self._url = url
        self._timeout = timeout
        self._notice = notice
        self._headers: dict[str, str] = {}
        self._next = 0
        self._modern = True

    async def find_era(self) -> None:
        """Find out the server's era with `server/discover`, and initialise a session with an older one.

        Raises:
            TidegateError: it is no MCP server, or refuses.
        """
        self._next += 1
        params: Params = {"_meta": _own_meta()}
        headers = {"MCP-Protocol-Version": revisions.MODERN, "Mcp-Method": "server/discover"}
        if _speaks_modern(await self._post(self._encode("server/discover", params), headers, strict=False)):
            return
        self._modern = False
        params = {"protocolVersion": revisions.LEGACY[0], "capabilities": {}, "clientInfo": _CLIENT_INFO}
        revision = (await self.request("initialize", params)).get("protocolVersion")
        if revision not in revisions.LEGACY:
            raise UpstreamProtocolError("the server chose a revision that is not one of ours")
        self._headers["MCP-Protocol-Version"] = str(revision)
        initialized = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        await self._post(json.dumps(initialized).encode(), {}, strict=False)

    async def request(self, method: str, params: Params, *, headers: dict[str, str] | None = None) -> Params:
        """Send a request and give its result.

        Raises:
            CallError: the server answered with an error.
            TidegateError: no answer came.
        """
        self._next += 1
        sent = dict(headers or {})
        if self._modern:
            params = {**params, "_meta": {**params.get("_meta", {}), **_own_meta()}}
            sent |= {"MCP-Protocol-Version": revisions.MODERN, "Mcp-Method": method}
            if isinstance(params.get("name"), str):
                sent["Mcp-Name"] = client.header_value(params["name"]).decode("ascii")
        answer = _object(await self._post(self._encode(method, params), sent))
        if isinstance(answer.get("error"), dict):
            raise CallError(cast(Params, answer["error"]))
        if not isinstance(answer.get("result"), dict):
            raise UpstreamProtocolError("the answer has neither a result nor an error")
        return cast(Params, answer["result"])

    async def tools(self) -> tuple[list[Params], Params]:
        """List all tools, page by page; give them and the `_meta` of the last page.

        Raises:
            TidegateError: the list does not end, or is none.
        """
        found: list[Params] = []
        cursor: str | None = None
        seen: set[str] = set()
        for _ in range(MAX_PAGES):
            page = await self.request("tools/list", {"cursor": cursor} if cursor is not None else {})
            listed = page.get("tools")
            if not isinstance(listed, list) or not all(_is_tool(each) for each in cast(list[object], listed)):
                raise UpstreamProtocolError("the answer to tools/list is no list of tools")
            found += cast("list[Params]", listed)
            cursor = cast("str | None", page.get("nextCursor"))
            if cursor is None:
                meta = page.get("_meta")
                return found, cast(Params, meta) if isinstance(meta, dict) else {}
            if str(cursor) != cursor or cursor in seen or len(found) > MAX_TOOLS:
                break
            seen.add(cursor)
        raise UpstreamProtocolError("the list of tools does not end")

    async def call(self, name: str, arguments: Params) -> Params:
        """Call a tool and give its result. Never sent twice, but where the first was refused unread.

        Raises:
            CallError: the server answered with an error.
            TidegateError: no answer came.
        """
        params: Params = {
            "name": name,
            "arguments": arguments,
            "_meta": {"progressToken": f"cli-{self._next}"},
        }
        try:
            return await self.request("tools/call", params)
        except CallError as error:
            if error.code != revisions.CODE_HEADER_MISMATCH:
                raise
        # The tool wants arguments in headers (MCP 2026-07-28, x-mcp-header), and only its schema says which.
        listed, _ = await self.tools()
        schema = next((tool.get("inputSchema") for tool in listed if tool["name"] == name), None)
        mirrored = dict(_mirrored(schema, arguments))
        return await self.request("tools/call", params, headers=mirrored)

    async def leave(self) -> None:
        """End the session with a server of the older era. What goes wrong no longer matters."""
        if "Mcp-Session-Id" not in self._headers:
            return
        try:
            async with asyncio.timeout(5), self._session.delete(self._url, headers=self._headers):
                pass
        except (aiohttp.ClientError, OSError, TimeoutError):
            pass

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
                if self._notice is not None and isinstance(message.get("method"), str):
                    self._notice(message["method"], cast(Params, params) if isinstance(params, dict) else {})
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


def _own_meta() -> Params:
    return {
        revisions.META_VERSION: revisions.MODERN,
        revisions.META_CAPABILITIES: {},
        revisions.META_CLIENT: _CLIENT_INFO,
    }


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


def _is_tool(value: object) -> bool:
    return isinstance(value, dict) and isinstance(cast(Params, value).get("name"), str)


def _mirrored(schema: object, arguments: Params) -> list[tuple[str, str]]:
    properties = cast(Params, schema).get("properties") if isinstance(schema, dict) else None
    found: list[tuple[str, str]] = []
    for name, about in cast(Params, properties if isinstance(properties, dict) else {}).items():
        value = arguments.get(name)
        if not isinstance(about, dict) or value is None:
            continue
        header = cast(Params, about).get("x-mcp-header")
        if (
            isinstance(header, str)
            and header.replace("-", "").isalnum()
            and isinstance(value, str | int | bool)
        ):
            text = json.dumps(value) if not isinstance(value, str) else value
            found.append((f"Mcp-Param-{header}", client.header_value(text).decode("ascii")))
        else:
            found += _mirrored(cast(Params, about), cast(Params, value)) if isinstance(value, dict) else []
    return found
