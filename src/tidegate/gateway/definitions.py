"""Definitions: what a server says it offers, kept by the digest of its spec.

Kept ones make a list complete before the server has started, and after it has gone.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import msgspec
from msgspec import Raw

from tidegate.channels.channel import Channel, Outbound
from tidegate.domain.errors import ParseFailure, StateError, UpstreamProtocolError
from tidegate.domain.server import ServerSpec
from tidegate.ports.state import State
from tidegate.protocol.codec import Object, decode_object, decode_text, encode
from tidegate.telemetry import log

PAGES, TOOLS, SIZE = 200, 20_000, 16 * 1024 * 1024
"""Most pages, tools and bytes that are taken from one server."""
LONGEST_NAME = 256
"""Characters of a tool's name; the specification advises 128. Names stand in every record of a call."""
_PAGE_TIMEOUT = 20.0
_PART = 900_000
"""Bytes a stored part may have: the state port takes values of at most 1 MiB."""
_KEPT_FOR = 90 * 86_400.0
_decode_list = msgspec.json.Decoder(list[Raw]).decode


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as its server defines it."""

    name: str
    fields: Object
    """The whole definition, values undecoded."""


@dataclass(frozen=True, slots=True)
class Definitions:
    """What one server offers."""

    tools: tuple[Tool, ...] = ()
    instructions: str | None = None


def read_tools(page: Object, found: dict[str, Tool]) -> None:
    """Add a page's tools to `found`; what has no name, or a name that was there, is left out.

    So is a name that cannot be shown as one line of plain text.

    Raises:
        UpstreamProtocolError: `tools` is no list of objects.
    """
    try:
        for raw in _decode_list(page.get("tools", Raw(b"[]"))):
            fields = decode_object(raw)
            name = decode_text(fields.get("name"))
            if name and len(name) <= LONGEST_NAME and name.isprintable() and name not in found:
                found[name] = Tool(name, fields)
    except (msgspec.DecodeError, ParseFailure) as error:
        raise UpstreamProtocolError("tools/list gave no list of tools", sent=True) from error


async def fetch(channel: Channel) -> Definitions:
    """Read every page of a server's tools.

    Raises:
        ChannelFailure: the server did not answer, or not with a list, or with too much of it.
    """
    found: dict[str, Tool] = {}
    cursor: Raw | None = None
    seen: set[bytes] = set()
    size = 0
    capabilities = decode_object(channel.upstream.capabilities)
    while "tools" in capabilities:
        params: Object = {} if cursor is None else {"cursor": cursor}
        reply = await channel.ask(Outbound("tools/list", params, timeout=_PAGE_TIMEOUT))
        if reply.result is None:
            raise UpstreamProtocolError("tools/list was answered with an error")
        size += len(reply.result)
        page = decode_object(reply.result)
        read_tools(page, found)
        if len(found) > TOOLS or size > SIZE:  # also where this was the last page
            raise UpstreamProtocolError(f"tools/list is larger than {TOOLS} tools or {SIZE} bytes")
        cursor = page.get("nextCursor")
        if cursor is None or bytes(cursor) == b"null":
            break
        if bytes(cursor) in seen or len(seen) >= PAGES:
            raise UpstreamProtocolError(f"tools/list does not end within {PAGES} pages")
        seen.add(bytes(cursor))
    return Definitions(tuple(found.values()), channel.upstream.instructions)


class DefinitionStore:
    """Keeps definitions in the state store, by spec digest."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def load(self, spec: ServerSpec) -> Definitions | None:
        """Give what was kept, or None."""
        try:
            rows = await self._state.scan(f"definitions/{spec.digest()}/")
        except StateError as error:
            log().error("state.failed", reason=str(error))
            return None
        if not rows:
            return None
        try:
            return await asyncio.to_thread(_decode, b"".join(value for _, value in rows))
        except (msgspec.DecodeError, ParseFailure, UpstreamProtocolError):
            return None

    async def save(self, spec: ServerSpec, definitions: Definitions) -> None:
        """Keep them. What is there already in equal form is not written again."""
        data = await asyncio.to_thread(_encode, definitions)
        prefix = f"definitions/{spec.digest()}/"
        parts = {
            f"{prefix}{at:04d}": data[at * _PART : (at + 1) * _PART] for at in range(-(-len(data) // _PART))
        }
        try:
            before = dict(await self._state.scan(prefix))
            for key in before.keys() - parts.keys():
                await self._state.put(key, None)
            for key, value in parts.items():
                if before.get(key) != value:
                    await self._state.put(key, value, expires=_KEPT_FOR)
        except StateError as error:
            log().error("state.failed", reason=str(error))


def _encode(definitions: Definitions) -> bytes:
    return encode(
        {"tools": [tool.fields for tool in definitions.tools], "instructions": definitions.instructions}
    )


def _decode(data: bytes) -> Definitions:
    found: dict[str, Tool] = {}
    whole = decode_object(data)
    read_tools(whole, found)
    return Definitions(tuple(found.values()), decode_text(whole.get("instructions")))
