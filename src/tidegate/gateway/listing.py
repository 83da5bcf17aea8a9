"""Listing: reading what a server offers, every page of it, within bounds. One kind that fails fails alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import replace

from msgspec import Raw

from tidegate.channels.channel import Channel, Outbound
from tidegate.domain.errors import ChannelFailure, ParseFailure, UpstreamProtocolError
from tidegate.domain.target import LISTED, Kind
from tidegate.gateway.definitions import (
    LISTS,
    Definition,
    Definitions,
    Listed,
    freshness,
    read_page,
)
from tidegate.protocol.client import error_code
from tidegate.protocol.codec import Object, decode_object

PAGES, MOST, SIZE = 200, 20_000, 16 * 1024 * 1024
"""Most pages, definitions and bytes that are taken of one kind from one server."""
_PAGE_TIMEOUT = 20.0
_LARGE = 128 * 1024
"""Bytes from which on a page is read beside the loop."""
_NO_METHOD = -32601


Took = Callable[[Kind, "Listed | str"], None]
"""Takes what a server lists of a kind, or why that could not be read."""


def introduced(channel: Channel, before: Definitions | None) -> Definitions:
    """Give what a server says of itself, with the lists that were known before."""
    upstream = channel.upstream
    definitions = Definitions(
        {} if before is None else before.lists,
        upstream.instructions,
        decode_object(upstream.capabilities),
        upstream.era == "modern",
        {} if before is None else before.offers,
    )
    none = {kind: Listed() for kind in LISTED if not definitions.declares(kind)}
    return replace(definitions, lists={**definitions.lists, **none})


async def fetch(channel: Channel, kinds: Collection[Kind], took: Took) -> None:
    """Read what a server offers of some kinds, all at once: one that is slow or odd holds up no other."""

    async def read(kind: Kind) -> None:
        try:
            listed: Listed | str = await _read(channel, kind)
        except (ChannelFailure, ParseFailure) as error:
            listed = str(error)
        took(kind, listed)

    async with asyncio.TaskGroup() as group:
        for kind in kinds:
            group.create_task(read(kind))


async def _read(channel: Channel, kind: Kind) -> Listed:
    """Read every page of a list.

    Raises:
        ChannelFailure: the server did not answer, or not with a list, or with too much of it.
    """
    form = LISTS[kind]
    found: dict[str, Definition] = {}
    refused: list[str] = []
    cursor: Raw | None = None
    seen: set[bytes] = set()
    size, ttl, public = 0, list[int | None](), True
    while True:
        params: Object = {} if cursor is None else {"cursor": cursor}
        reply = await channel.ask(Outbound(form.method, params, timeout=_PAGE_TIMEOUT))
        if reply.result is None:
            if kind is Kind.TEMPLATE and reply.error is not None and error_code(reply.error) == _NO_METHOD:
                return Listed()  # `resources` is declared for both, and many servers have no templates
            raise UpstreamProtocolError(f"{form.method} was answered with an error")
        size += len(reply.result)
        page = decode_object(reply.result)
        if len(reply.result) > _LARGE:
            await asyncio.to_thread(read_page, kind, page, found, refused)
        else:
            read_page(kind, page, found, refused)
        if len(found) > MOST or size > SIZE:  # also where this was the last page
            raise UpstreamProtocolError(f"{form.method} is larger than {MOST} {form.key} or {SIZE} bytes")
        holds, for_all = freshness(page)
        ttl.append(holds)
        public = public and for_all
        cursor = page.get("nextCursor")
        if cursor is None or bytes(cursor) == b"null":
            break
        if bytes(cursor) in seen or len(seen) >= PAGES:
            raise UpstreamProtocolError(f"{form.method} does not end within {PAGES} pages")
        seen.add(bytes(cursor))
    said = [each for each in ttl if each is not None]
    least = min(said) if said and len(said) == len(ttl) else None
    return Listed(tuple(found.values()), least, public, tuple(refused))
