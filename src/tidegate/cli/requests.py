"""What the client commands ask of an endpoint: lists page by page, one request, and the rounds of input it may take.

Nothing is sent twice on its own account: a request is made again only where it was refused unread, or
where the server asked for input (MCP 2026-07-28, basic/patterns/mrtr). Pages and rounds are bounded.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import cast

from tidegate.cli.mcp import CallError, Client, Params, Unanswered
from tidegate.domain.errors import TidegateError, UpstreamProtocolError
from tidegate.protocol import client as protocol
from tidegate.protocol import revisions

MAX_PAGES = 1000
MAX_ENTRIES = 100_000
MAX_ROUNDS = 32
"""Times that a server may ask during one request; with a form that does not take the answers it would be for ever."""
PAUSE = 0.5
"""Seconds before a request is made again whose server only said that it is not done."""

_UNKNOWN_METHOD = -32601
_NAMES = {"tools": "name", "prompts": "name", "resources": "uri", "resourceTemplates": "uriTemplate"}


async def listed(client: Client, method: str, key: str, *, whole: bool = True) -> tuple[list[Params], Params]:
    """List everything of a kind (`tools`, `prompts`, …), page by page; give it and the `_meta` of the last page.

    Not `whole`: a server that does not know the method has nothing of the kind.

    Raises:
        TidegateError: the list does not end, or is none.
    """
    found: list[Params] = []
    cursor: str | None = None
    seen: set[str] = set()
    for _ in range(MAX_PAGES):
        try:
            page = await client.request(method, {"cursor": cursor} if cursor is not None else {})
        except CallError as error:
            if whole or error.code != _UNKNOWN_METHOD:
                raise
            return found, {}
        found += _entries(page, method, key)
        cursor = cast("str | None", page.get("nextCursor"))
        if cursor is None:
            meta = page.get("_meta")
            return found, cast(Params, meta) if isinstance(meta, dict) else {}
        if str(cursor) != cursor or cursor in seen or len(found) > MAX_ENTRIES:
            break
        seen.add(cursor)
    raise UpstreamProtocolError(f"the list of {_plural(key)} does not end")


async def call(client: Client, name: str, arguments: Params) -> Params:
    """Call a tool and give its result.

    Raises:
        CallError: the server answered with an error.
        TidegateError: no answer came.
    """
    params: Params = {"name": name, "arguments": arguments}
    try:
        return await ask(client, "tools/call", params)
    except CallError as error:
        if error.code != revisions.CODE_HEADER_MISMATCH:
            raise
    # The tool wants arguments in headers (MCP 2026-07-28, x-mcp-header), and only its schema says which.
    known, _ = await listed(client, "tools/list", "tools")
    schema = next((tool.get("inputSchema") for tool in known if tool["name"] == name), None)
    return await ask(client, "tools/call", params, headers=dict(_mirrored(schema, arguments)))


async def ask(
    client: Client, method: str, params: Params, *, headers: dict[str, str] | None = None
) -> Params:
    """Send a request, answer what is asked during it, and give its result.

    Where nobody can answer, the result is the one that asks.

    Raises:
        CallError: the server answered with an error.
        TidegateError: no answer came, what was asked cannot be answered, or it never ends.
    """
    sent = params
    for _ in range(MAX_ROUNDS):
        result = await client.request(method, sent, headers=headers)
        if result.get("resultType") != "input_required" or client.manner.answer is None:
            return result
        sent = {**params, **_state(result)}
        asked = result.get("inputRequests")
        if asked is None or asked == {}:
            await asyncio.sleep(PAUSE)
            continue
        if not isinstance(asked, dict):
            raise UpstreamProtocolError("what the server asks for is none of MCP")
        try:
            sent["inputResponses"] = await client.manner.answer(cast(Params, asked))
        except Unanswered as error:
            # The server need not wait until its patience ends. What it says to that no longer matters.
            with suppress(TidegateError):
                await client.request(method, {**sent, "inputResponses": error.told}, headers=headers)
            raise
    raise TidegateError(f"the server asked for input {MAX_ROUNDS} times, and that is enough")


def check_complete(what: str, result: Params) -> None:
    """Refuse a result that is none yet.

    Raises:
        TidegateError: it is none.
    """
    kind = result.get("resultType", "complete")
    if kind != "complete":
        raise TidegateError(f"{what} asks for input ({str(kind)[:40]}), which nobody here can give")


def _state(result: Params) -> Params:
    return {"requestState": result["requestState"]} if "requestState" in result else {}


def _entries(page: Params, method: str, key: str) -> list[Params]:
    entries = page.get(key)
    name = _NAMES[key]
    if isinstance(entries, list) and all(
        isinstance(each, dict) and isinstance(cast(Params, each).get(name), str)
        for each in cast("list[object]", entries)
    ):
        return cast("list[Params]", entries)
    raise UpstreamProtocolError(f"the answer to {method} is no list of {_plural(key)}")


def _plural(key: str) -> str:
    return "templates" if key == "resourceTemplates" else key


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
            found.append((f"Mcp-Param-{header}", protocol.header_value(text).decode("ascii")))
        else:
            found += _mirrored(cast(Params, about), cast(Params, value)) if isinstance(value, dict) else []
    return found
